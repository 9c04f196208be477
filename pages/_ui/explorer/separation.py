"""What separates them? Features ranked by how well they separate groups, and a few that do it together."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.charts.groups import DrawnGroup, styled
from core.charts.separation import separation_chart
from core.charts.trust import Reliability, graded, is_poor, poor_last, why
from core.domain.errors import UsageError
from core.explorer.calibrating import equal_by_construction
from core.explorer.panel import Panels
from core.explorer.ranking import GroupName, Separation, UnitOfAnalysis, plain_sentence, sentence
from core.explorer.redundancy import AlikeFeatures
from core.explorer.selection import Selection
from core.explorer.separation import Separated, Sides, SideSample, sample_size
from core.explorer.view import Grouping
from core.features.catalogue import CATALOGUE
from core.features.spec import Aspect
from core.reports.comparison import Comparison, html_report
from core.support.text import markdown
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.downloads import download_menu
from pages._ui.common.layout import current_look
from pages._ui.common.state import Kept, widget_value
from pages._ui.explorer import answers
from pages._ui.explorer.contrasts import row_height, show_contrasts
from pages._ui.explorer.distribution import feature_chart, sources_of
from pages._ui.explorer.groups import Compared, show_model_note, show_refused, show_warnings
from pages._ui.explorer.kept import kept_control, kept_toggle
from pages._ui.explorer.state import EACH, FIRST_FEATURE, OTHERS, ChartType, Question, change, explored

_OTHERS: Final = GroupName("the other cells", "other cell")
_CHART_ROWS: Final = 20
_LIST_PX: Final = 388
_DETAIL_PX: Final = 500
_LIST, _CHART = "List", "Chart"
_SURE: Final = 0.001
_WHERE: Final = "separation_where"
_INSIDE, _TOGETHER = "Inside each laboratory", "All cells together"

_Asked = tuple[
    Selection, Grouping, tuple[tuple[str, ...], ...], tuple[str, ...]
]  # selection, grouping, sides, and what these are called

# Of which comparison a small set was asked for.
_PANEL_OF: Final = Kept[str]("leukoscope_panel_of")


@dataclass(frozen=True, eq=False)
class Versus:
    """The sides that are compared, as groups and in words; `compared` is narrowed to them."""

    compared: Compared
    sides: Sides
    words: tuple[GroupName, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The sides as the ranking names them."""
        return tuple(word.plural for word in self.words)

    @property
    def key(self) -> str:
        """Short name of the comparison, different for different cells."""
        told = repr((cohort_data.cohort().revision, self.compared.selection, self.compared.by, self.sides))
        return hashlib.sha256(told.encode()).hexdigest()[:12]


def show_separation(compared: Compared) -> None:
    """Rank the features between two groups, one and all others, or each of them."""
    chosen = _choose_sides(compared)
    if chosen is None:
        return
    versus, where = chosen
    view = versus.compared.view
    with where:
        inside = _inside_each_source(versus)
    if inside:
        show_model_note(view)
        sides: answers.Sides = tuple(map(tuple, versus.sides))
        names = tuple(next(iter(side)) if len(side) == 1 else _OTHERS.plural for side in versus.sides)
        with st.spinner("Comparing inside each source", show_time=True):
            found = answers.contrasted(versus.compared.selection, versus.compared.by, sides, names)
        show_contrasts(found, versus.words, versus.compared.selection)
        return
    if _other_sources(versus):
        st.warning(_CONFOUNDED, icon=":material/warning:")
        show_model_note(view)
    else:
        show_warnings(view)
    if not view.offered:
        st.info(
            "These cells cannot be compared by any feature: choose cells of one source, or with a known scale.",
            icon=":material/info:",
        )
        return
    if built_equal := equal_by_construction(
        cohort_data.cohort(), versus.compared.selection, versus.compared.by, versus.sides
    ):
        st.warning(markdown(built_equal), icon=":material/balance:")
    reliability = model_in_use.reliability_if_known()
    reliable = frozenset(graded(reliability))
    sample = sample_size(len(versus.sides))
    asked: _Asked = (versus.compared.selection, versus.compared.by, tuple(map(tuple, versus.sides)), versus.names)
    with st.spinner(f"Ranking {len(view.offered)} features", show_time=True):
        cells, separated = answers.separated(*asked, view.offered, reliable, sample)
    _show_ranking(versus, asked, cells, separated, reliability)
    _show_panels(versus, lambda: answers.panels(*asked, view.offered, reliable, sample))


# --- who against whom -------------------------------------------------------------------------------------------------


def _choose_sides(compared: Compared) -> tuple[Versus, DeltaGenerator] | None:
    """Show the two fields that tell the sides; returns these, and the place beside the fields."""
    titles = dict(zip(compared.names, compared.titles, strict=True))
    names = list(titles)
    if len(names) < 2:
        st.info(
            "There is only one group: choose a second above, or compare by another property.", icon=":material/info:"
        )
        return None
    pair, several = explored().pair, len(names) > 2
    first = pair[0] if pair and pair[0] in [*names, *([EACH] if several else [])] else names[0]
    options = [name for name in names if name != first] + ([OTHERS] if several else [])
    second = pair[1] if len(pair) > 1 and pair[1] in options else options[0]
    st.session_state["side-first"], st.session_state["side-second"] = first, second
    called = titles | {OTHERS: "all other groups together", EACH: "Every group from every other, at once"}
    left, right, where = st.columns([2, 2, 2.7], vertical_alignment="bottom", gap="small")
    left.selectbox(
        "What sets apart",
        [*names, *([EACH] if several else [])],
        format_func=called.__getitem__,
        key="side-first",
        on_change=_take_sides,
    )
    if first == EACH:
        return Versus(compared, [[name] for name in names], compared.words()), where
    right.selectbox("from", options, format_func=called.__getitem__, key="side-second", on_change=_take_sides)
    words = dict(zip(names, compared.words(), strict=True))
    if second == OTHERS:
        others = [name for name in names if name != first]
        return Versus(compared, [[first], others], (words[first], _OTHERS)), where
    return Versus(compared.only([first, second]), [[first], [second]], (words[first], words[second])), where


def _inside_each_source(versus: Versus) -> bool:
    """Whether two sides are compared inside each source, which is so unless a person wants all cells together."""
    if len(versus.sides) != 2:
        return False
    sides: answers.Sides = tuple(map(tuple, versus.sides))
    there = answers.sides_by_source(versus.compared.selection, versus.compared.by, sides)
    if sum(each.enough for each in there) < 2:
        return False
    st.session_state[_WHERE] = _TOGETHER if explored().together else _INSIDE
    st.segmented_control(
        "Where", [_INSIDE, _TOGETHER], key=_WHERE, on_change=_take_where, label_visibility="collapsed", required=True
    )
    return not explored().together


def _take_where() -> None:
    change(together=widget_value(_WHERE) == _TOGETHER)


def _other_sources(versus: Versus) -> bool:
    """Whether no two sides have a source in common."""
    sources = [
        source
        for names in versus.sides
        for source in {of_name for name in names for of_name in sources_of(versus.compared, name)}
    ]
    return len(set(sources)) == len(sources)


_CONFOUNDED: Final = (
    "Each side comes from another source: what separates them may be stain, light, camera or patients rather than the"
    " kind of cell. Form is compared, sizes with the error of both scales; tone, colour and texture only with a"
    " calibration that closes. Within one source the comparison says more."
)


def _take_sides() -> None:
    first, second = widget_value("side-first"), widget_value("side-second")
    change(pair=(first,) if second is None or first == EACH else (first, second))


# --- the ranking ------------------------------------------------------------------------------------------------------


def _show_ranking(
    versus: Versus, asked: _Asked, cells: SideSample, separated: Separated, reliability: Reliability
) -> None:
    headline = st.container()
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="ranking_head"):
        aspect = kept_control("Of", list(separated.aspects), "ranking_aspect")
        form = kept_control("Shown as", [_LIST, _CHART], "ranking_form")
        every = kept_toggle("Every feature", "ranking_every", "Also those that say nearly the same as another.")
        trusted = graded(reliability)
        told = [best for each in separated.aspects if (best := separated.best(each, trusted))]
        with headline:
            first = _listed(separated, reliability, aspect, every=every)[:_CHART_ROWS]
            separated = _with_exact(asked, cells, separated, [*first, *told])
        by_feature, groups = separated.by_feature, _ordered(separated, reliability)
        best, names = groups[0].representative, _listed(separated, reliability, aspect, every=every)
        charted = [by_feature[name] for name in names[:_CHART_ROWS]]
        chart = separation_chart(
            charted, [sentence(each, versus.words) for each in charted], _drawn(versus), reliability, current_look()
        )
        table = separated.ranking.to_frame()
        download_menu(
            "ranking", f"ranking_{versus.key}", chart, table, lambda: _report(versus, cells, separated, reliability)
        )
    with headline:
        _show_headline(versus, separated, told or [best])
    how = separated.ranking
    if form == _CHART:
        st.altair_chart(
            chart,
            width="stretch",
            key="ranking_chart",
            alt=f"The {len(charted)} features that separate best, with their effects",
        )
        st.caption("Point: effect; line: its 95 % interval; hollow: q not below 0.05.")
    else:
        _list(versus, separated, names, {group.representative: group for group in groups}, reliability)
    st.caption(f"{markdown(separated.redundancy.sentence)} How chance was judged: {markdown(how.note)}.")
    if how.sampling is not None:
        st.caption(f"{markdown(how.sampling)} The column *By* says which.")
    chosen = explored().feature
    feature = chosen if chosen in by_feature and chosen != FIRST_FEATURE else best
    _detail(versus, _with_exact(asked, cells, separated, [feature]), feature, reliability)
    show_refused(versus.compared.view)


def _show_headline(versus: Versus, separated: Separated, told: Sequence[str]) -> None:
    """What the best feature of each aspect says, morphology first."""
    said = [markdown(plain_sentence(separated.by_feature[name], versus.words)) for name in told]
    st.markdown(f"#### {said[0]}")
    if len(said) > 1:
        st.markdown("\n".join(f"- {text}" for text in said[1:]))


def _with_exact(asked: _Asked, cells: SideSample, separated: Separated, features: Sequence[str]) -> Separated:
    """The same with these features ranked by all cells, where a sample has ranked them."""
    missing = tuple(name for name in features if separated.by_feature[name].sampled)
    if not cells.sampled or not missing:
        return separated
    with st.spinner("Counting all cells of the features on screen", show_time=True):
        return separated.with_exact(answers.ranked_exactly(*asked, missing))


def _listed(separated: Separated, reliability: Reliability, aspect: Aspect, *, every: bool) -> list[str]:
    """The features of an aspect in the list: all, or those that stand for themselves and others; poor ones last."""
    if every:
        names = [each.feature for each in separated.ranking.separations]
    else:
        names = [group.representative for group in _ordered(separated, reliability)]
    return poor_last([name for name in names if CATALOGUE[name].aspect is aspect], reliability)


def _report(versus: Versus, cells: SideSample, separated: Separated, reliability: Reliability) -> str:
    """What is shown as a report of one file."""
    stored = [
        info.population
        for info in cohort_data.cohort().populations()
        if info.population.population_id in versus.compared.view.populations
    ]
    comparison = Comparison(
        versus.compared.selection,
        versus.compared.view,
        versus.names,
        cells,
        separated,
        tuple(stored),
        cohort_data.cohort().revision,
    )
    return html_report(comparison, reliability, datetime.now().astimezone())


def _ordered(separated: Separated, reliability: Reliability) -> list[AlikeFeatures]:
    """Groups of features that say the same: morphology first, the largest effect of each first, poor ones last."""
    by_feature, aspects = separated.by_feature, list(Aspect)

    def place(group: AlikeFeatures) -> tuple[bool, int, float]:
        name = group.representative
        return is_poor(name, reliability), aspects.index(CATALOGUE[name].aspect), -abs(by_feature[name].effect or 0.0)

    return sorted(separated.redundancy.groups, key=place)


def _drawn(versus: Versus) -> tuple[DrawnGroup, ...]:
    """The sides as charts draw them; several groups together are grey."""
    by_name = dict(zip(versus.compared.names, versus.compared.drawn(), strict=True))
    cells = {group.name: group.cells for group in versus.compared.groups}
    others = styled(["the other cells"], [sum(cells[name] for name in versus.sides[-1])], [None])[0]
    return tuple(
        by_name[next(iter(names))] if len(names) == 1 else replace(others, colour=current_look().muted)
        for names in versus.sides
    )


def _list(
    versus: Versus,
    separated: Separated,
    names: Sequence[str],
    stands: dict[str, AlikeFeatures],
    reliability: Reliability,
) -> None:
    """Table of features; a click on a row looks at the feature below."""
    two = len(versus.words) == 2
    rows = [_row(separated.by_feature[name], versus.words, stands.get(name), reliability) for name in names]
    effect = "Cliff's delta" if two else "Epsilon squared"
    unit = "patients" if separated.ranking.drawn is UnitOfAnalysis.PATIENTS else "cells"
    number: Any = st.column_config.ProgressColumn(
        effect, min_value=0, max_value=1, format="%.2f", width=88, help=_EFFECT_HELP[two]
    )
    config: dict[str, Any] = {
        "Feature": st.column_config.TextColumn(pinned=True, width=265),
        "In words": st.column_config.TextColumn(width=265),
        "Effect": number,
        "Interval": st.column_config.TextColumn(
            "95 %",
            width=80,
            help=f"Interval of the effect: {unit} were drawn again and again. Of the features that come first.",
        ),
        "q": st.column_config.TextColumn("q", width=55, help=_Q_HELP),
        "By": st.column_config.TextColumn(
            "By", width=60, help="All cells of the groups rank the feature, or a sample."
        ),
        "Stands for": st.column_config.NumberColumn(
            "alike", width=48, help="So many features say nearly the same; a click shows which."
        ),
    }
    # In several groups the words are the same in every row; without a sample all cells rank every feature.
    hidden = {*(["In words"] if not two else []), *(["By"] if separated.ranking.sampling is None else [])}
    key = hashlib.sha256(repr((versus.key, list(names))).encode()).hexdigest()[:12]
    event: Any = st.dataframe(
        pd.DataFrame(rows),
        column_order=[name for name in rows[0] if name not in hidden],
        hide_index=True,
        height=_LIST_PX,
        row_height=row_height(names),
        key=f"ranking-{key}",  # a row is identified by its place, so another table must be another widget
        on_select="rerun",
        selection_mode="single-row",
        column_config=config,
        placeholder="",
    )
    if event.selection.rows:
        change(feature=names[event.selection.rows[0]])


_EFFECT_HELP: Final = {
    True: (
        "Of all pairs of a cell here and a cell there: the share in which the first is larger minus the share in which"
        " it is smaller, without its sign. 0: no difference; 1: no overlap."
    ),
    False: "Share of the differences in rank that lies between the groups. 0: none; 1: no overlap.",
}
_Q_HELP: Final = (
    "The test's p, corrected for the number of features (Benjamini and Hochberg): of the features below 0.05 one in"
    " twenty is expected to be there by chance. With thousands of cells nearly everything is below: look at the effect."
)


def _row(
    ranked: Separation, words: Sequence[GroupName], group: AlikeFeatures | None, reliability: Reliability
) -> dict[str, Any]:
    label = CATALOGUE[ranked.feature].label
    said = sentence(ranked, words).removeprefix(f"{label}: ").rpartition(" (")[0]
    return {
        "Feature": label + ("  ·  poor" if is_poor(ranked.feature, reliability) else ""),
        "In words": said[:1].upper() + said[1:],
        "Effect": None if ranked.effect is None else abs(ranked.effect),
        "Interval": _interval(ranked),
        "q": _p_words(ranked.q),
        "n": " / ".join(f"{n:,}" for n in ranked.n),
        "By": "sample" if ranked.sampled else "all cells",
        "Stands for": len(group.others) if group is not None else None,
    }


def _interval(ranked: Separation) -> str:
    """Ends of the interval without the effect's sign, as the effect is shown; empty where there is none."""
    if ranked.effect is None or ranked.low is None or ranked.high is None:
        return ""
    low, high = (ranked.low, ranked.high) if ranked.effect >= 0 else (-ranked.high, -ranked.low)
    return f"{low:.2f} to {high:.2f}"


def _p_words(p: float | None) -> str:
    return "not tested" if p is None else f"< {_SURE}" if p < _SURE else f"{p:.3f}"


def _detail(versus: Versus, separated: Separated, feature: str, reliability: Reliability) -> None:
    """The feature that was clicked: how it lies in the groups, and what says the same."""
    ranked, view = separated.by_feature[feature], versus.compared.view
    with st.container(border=True, height=_DETAIL_PX, key="separation_detail"):
        left, right = st.columns([1.3, 1], gap="medium")
        with left:
            summaries = {
                each.group: each
                for each in answers.summaries(versus.compared.selection, (feature,), versus.compared.by)
            }
            chart = feature_chart(
                versus.compared, feature, ChartType.DENSITY, summaries, log=CATALOGUE[feature].log_axis
            )
            st.altair_chart(
                chart, width="stretch", key="separation_density", alt=f"{CATALOGUE[feature].label} in the groups"
            )
        with right:
            st.markdown(f"**{markdown(sentence(ranked, versus.words))}**")
            st.caption(
                " ".join(markdown(text) for text in _qualified(ranked, separated, reliability, view.caution(feature)))
            )
            st.button(
                "Look at it closely",
                key="separation_open",
                icon=":material/open_in_full:",
                on_click=_open,
                args=(feature,),
            )
            group = next(group for group in separated.redundancy.groups if feature in group.members)
            if len(group.members) > 1:
                st.caption(f"Nearly the same say{' (effects of the sample)' if separated.ranking.sampling else ''}:")
                others = [name for name in group.members if name != feature]
                rows = [
                    {"Feature": CATALOGUE[name].label, "Effect": abs(separated.by_feature[name].effect or 0.0)}
                    for name in others
                ]
                st.dataframe(
                    pd.DataFrame(rows),
                    hide_index=True,
                    key=f"alike-{feature}",
                    height=min(38 + 35 * len(rows), 150),
                    column_config=_TWO_DIGITS,
                )


_TWO_DIGITS: Final[Any] = {"Effect": st.column_config.NumberColumn(format="%.2f")}


def _qualified(ranked: Separation, separated: Separated, reliability: Reliability, caution: str | None) -> list[str]:
    """What stands behind an effect, in sentences."""
    told = []
    if _interval(ranked):
        told.append(f"95 % interval {_interval(ranked)}, drawing {separated.ranking.drawn.value}.")
    if ranked.by_patient is not None:
        told.append(f"Between the patients' medians the effect is {abs(ranked.by_patient):.2f}.")
    if separated.ranking.tested is not None:
        told.append(f"Test between {separated.ranking.tested.value}: q {_p_words(ranked.q)} (p {_p_words(ranked.p)}).")
    return [
        text
        for text in (*told, why(ranked.feature, reliability), CATALOGUE[ranked.feature].description, caution)
        if text
    ]


def _open(feature: str) -> None:
    change(feature=feature, question=Question.DISTRIBUTION, form=ChartType.DENSITY)


# --- a small set ------------------------------------------------------------------------------------------------------


def _show_panels(versus: Versus, find: Callable[[], Panels]) -> None:
    st.markdown("#### A small set that tells them apart")
    if _PANEL_OF.get() != versus.key:
        st.caption(
            "Up to five features that together tell the groups, judged on patients that had no part in the choice."
            " Takes some seconds."
        )
        st.button("Find it", key="find_panel", icon=":material/search:", on_click=lambda: _PANEL_OF.set(versus.key))
        return
    try:
        with st.spinner(
            "Choosing features without each patient in turn, and judging them on that patient", show_time=True
        ):
            panels = find()
    except UsageError as error:
        st.info(markdown(str(error)), icon=":material/info:")
        return
    for panel in panels.panels:
        st.markdown(f"**{markdown(panel.sentence)}**")
        rows = [
            {
                "Feature": CATALOGUE[each.feature].label,
                "Alone, AUC": max(each.auc, 1 - each.auc),
                "Larger in": panel.group if each.auc >= 0.5 else panel.rest,
                "In the folds": f"{each.chosen} of {panels.folds}; or one that says the same: {each.chosen_alike}",
            }
            for each in panel.features
        ]
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            key=f"panel-{panel.group}",
            column_config={"Alone, AUC": st.column_config.NumberColumn(format="%.3f")},
        )
        if panel.rules:
            st.caption(
                f"As rules, which are right in {100 * panel.balanced_accuracy:.0f} % of the cells on either side:"
            )
            st.markdown("\n".join(f"- {markdown(rule.sentence)}" for rule in panel.rules))
    for note in panels.notes:
        st.caption(f":material/warning: {markdown(note)}")
    st.caption(
        "AUC: the chance that a cell of the first group scores higher than one of the second; 0.5 is chance, 1 is"
        " always."
    )
