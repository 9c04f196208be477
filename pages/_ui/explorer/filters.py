"""Which cells are in view: counts and what was left out, conditions as sentences, saved selections, the link."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np
import streamlit as st

from core.charts.labels import unit
from core.charts.range_bars import bars_html, round_step
from core.domain.cell_types import CellType
from core.domain.errors import CoreError
from core.domain.flags import LEFT_OUT, flag_words
from core.explorer.selection import (
    CHOICES,
    Quality,
    Range,
    Scale,
    Selection,
    from_json,
    sentences,
    to_json,
    without,
)
from core.explorer.view import Facet, InView
from core.features.catalogue import CATALOGUE
from core.features.search import matching
from core.populations.summaries import basis_of
from core.support.text import markdown
from pages._ui.common import cohort_data
from pages._ui.common.state import Kept, widget_value
from pages._ui.explorer import answers
from pages._ui.explorer.laboratories import show_laboratories
from pages._ui.explorer.state import LONGEST_NAME, PROBLEM, address, change, explored, save, select

# How often a file was taken, or a name saved: their fields are then made anew, empty.
_TAKEN: Final = Kept[int]("leukoscope_explorer_taken")

_FEATURE: Final = "Range of a feature"
_AS_DRAWN: Final = "explorer_as_drawn"
_KINDS: Final = {
    **{called.capitalize(): key for key, (_, called) in CHOICES.items()},
    "Quality": "quality",
    "Scale": "scale",
    _FEATURE: "range",
}
_MOST_PILLS: Final = 14  # more are found faster by typing
_LINK_HOLDS: Final = (
    "The address of this page holds the cells, groups, charts and lists chosen here, the outline drawn on the map, the"
    " cell that is looked at and the saved selections: who opens it on this server sees the same, as long as the"
    " cohort, its corrections and calibrations stay as they are. It does not hold what is unfolded, a small set of"
    " features, a question in SQL, the page of a list, or your cell of page *Single cell*."
)


def counts_line(view: InView) -> str:
    """How many cells of whom are in view: "4,384 cells in view, 79 patients named, 4 sources; 69 left out"."""
    parts = [
        f"{view.cells:,} cell{'s' * (view.cells != 1)} in view",
        f"{view.patients:,} patient{'s' * (view.patients != 1)} named" if view.patients else "no patient named",
        f"{len(view.sources)} source{'s' * (len(view.sources) != 1)}",
    ]
    out = view.total - view.cells
    return ", ".join(parts) + (f"; {out:,} left out" if out else "")


def show_counts(view: InView) -> None:
    """Say what is in view, and one click away what was left out and why."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="explorer_counts"):
        st.markdown(f"### {counts_line(view)}", width="content")
        with st.popover("What and why", type="tertiary", icon=":material/help:", key="explorer_why"):
            st.markdown("\n".join(f"- {line}" for line in what_and_why(view)))
        show_laboratories(view)
        if decided := cohort_data.decisions():
            st.session_state[_AS_DRAWN] = explored().as_drawn
            st.toggle(
                f"As the model drew them ({decided:,} decided on)",
                key=_AS_DRAWN,
                on_change=lambda: change(as_drawn=bool(widget_value(_AS_DRAWN))),
                help="Without what people decided of outlines. Bands of other laboratories were measured in outlines of"
                " the model: so compared, both are measured alike. It holds for all pages of this session.",
            )


def what_and_why(view: InView) -> list[str]:
    """Sentences on who is in view and why cells are left out."""
    lines = [f"**{markdown(source)}**: {cells:,} cells" for source, cells in view.sources.items()]
    if view.unknown_patient:
        lines.append(f"The patient of {view.unknown_patient:,} cells is not recorded.")
    if view.total == view.cells:
        return [*lines, "No cell of the cohort is left out."]
    lines.append(f"{view.total - view.cells:,} of {view.total:,} cells are left out.")
    for left_out in view.left_out:
        reasons = ""
        if left_out.sentence.key == "quality" and view.flagged:
            listed = ", ".join(f"{flag_words(code)} {n:,}" for code, n in view.flagged.items())
            reasons = f": {listed}; a cell with two reasons counts under both"
        lines.append(f"“{markdown(left_out.sentence.words)}” alone keeps out {left_out.cells:,}{reasons}.")
    return lines


def choose_cells() -> None:
    """Show the column in which cells are chosen."""
    selection = explored().selection
    st.markdown("#### Which cells")
    with st.container(gap="xsmall", key="explorer_sentences"):
        for sentence in sentences(selection):
            st.button(
                markdown(sentence.words),
                key=f"drop-{sentence.key}",
                icon=":material/close:",
                icon_position="right",
                help="Remove this condition",
                on_click=_drop,
                args=(sentence.key,),
                width="stretch",
            )
        if not sentences(selection):
            st.caption(f"Every cell of the cohort, also those {LEFT_OUT} of summaries.")
    kind = st.selectbox(
        "Add a filter",
        [words for words, key in _KINDS.items() if key != "outlines" or selection.outlines or cohort_data.decisions()],
        index=None,
        placeholder="Add a filter",
        label_visibility="collapsed",
        icon=":material/add:",
        key="explorer_add",
        persist_state="session",
    )
    if kind is not None:
        with st.container(border=True, key="explorer_editor"):
            if kind == _FEATURE:
                _edit_range(selection)
            else:
                _edit_choice(_KINDS[kind], kind, selection)


def _drop(key: str) -> None:
    select(without(explored().selection, key))


def in_words(do: Callable[[], None]) -> None:
    """Run a callback's action; the page that follows shows what went wrong."""
    try:
        do()
    except CoreError as error:
        PROBLEM.set(str(error))


# --- filters by value -------------------------------------------------------------------------------------------------


def _edit_choice(key: str, called: str, selection: Selection) -> None:
    """Values of one filter, each with the cells that it would show."""
    facets = [facet for facet in answers.facets(selection)[key] if facet.value is not None]
    if not facets:
        st.caption(f"No cell names its {called.lower()}.")
        return
    labels = _labels(key, facets)
    widget = f"filter-{key}"
    if key in ("quality", "scale"):
        default: Any = getattr(selection, key).value
        free = {"quality": Quality.ANY, "scale": Scale.ANY}[key]
        st.session_state[widget] = None if default == free else default
        st.pills(
            called,
            list(labels),
            format_func=lambda value: markdown(labels[value]),
            key=widget,
            on_change=_take_side,
            args=(key, widget),
        )
    else:
        st.session_state[widget] = [str(value) for value in getattr(selection, key)]
        take: dict[str, Any] = {"key": widget, "on_change": _take_values, "args": (key, widget)}
        if len(facets) > _MOST_PILLS:
            st.multiselect(
                called, list(labels), format_func=labels.__getitem__, placeholder=f"Any of {len(labels)}", **take
            )
        else:
            st.pills(
                called, list(labels), format_func=lambda value: markdown(labels[value]), selection_mode="multi", **take
            )
    unknown = sum(facet.cells for facet in answers.facets(selection)[key] if facet.value is None)
    if unknown:
        st.caption(f"{unknown:,} cells name none: any choice leaves them out.")


def _labels(key: str, facets: list[Facet]) -> dict[str, str]:
    """Labels of a filter's values with their cells; all different, as the browser tells choices apart by them."""
    titles = cohort_data.population_titles() if key == "populations" else {}
    named = {str(facet.value): titles.get(str(facet.value), facet.label) for facet in facets}
    words = list(named.values())
    labels = {}
    for facet in facets:
        value, name = str(facet.value), named[str(facet.value)]
        labels[value] = f"{name if words.count(name) == 1 else f'{name}, {value}'} · {facet.cells:,}"
    return labels


def _take_values(key: str, widget: str) -> None:
    chosen = widget_value(widget) or ()
    values = tuple(map(CellType, chosen)) if key == "cell_types" else tuple(chosen)
    in_words(lambda: select(replace(explored().selection, **{key: values})))  # type: ignore[arg-type]


def _take_side(key: str, widget: str) -> None:
    value = widget_value(widget) or "any"
    selection = explored().selection
    select(replace(selection, quality=Quality(value)) if key == "quality" else replace(selection, scale=Scale(value)))


# --- a feature's range ------------------------------------------------------------------------------------------------


def _edit_range(selection: Selection) -> None:
    """Search a feature, see how its values lie, and keep a part of them."""
    words = st.text_input(
        "Search", placeholder="round nucleus, eosin, entropy …", key="range-words", persist_state="session"
    )
    matches = matching(words)
    if not matches:
        st.caption("No feature holds all these words; try fewer.")
        return
    if widget_value("range-feature") not in matches:
        st.session_state["range-feature"] = matches[0]
    feature = st.selectbox(
        f"Feature ({len(matches)})",
        matches,
        format_func=lambda name: CATALOGUE[name].label,
        key="range-feature",
        persist_state="session",
    )
    spec = CATALOGUE[feature]
    lying = answers.quantiles(without(selection, f"range:{feature}"), feature)
    values = lying.values[0] * spec.display_factor if len(lying.values) else np.empty(0)
    # Between the outermost 0.5 % of the cells: a few extreme ones would leave the slider no room. Its ends stay open.
    low, high = (float(values[1]), float(values[-2])) if len(values) and np.isfinite(values).all() else (0.0, 0.0)
    if low >= high:
        st.caption(
            "No cells in view have it, or all the same value."
            if spec.scale_free
            else "No cells in view have it with a known scale."
        )
        return
    step = round_step(high - low)
    low, high = np.floor(low / step) * step, np.ceil(high / step) * step
    given = next((range_ for range_ in selection.ranges if range_.feature == feature), Range(feature, high=0.0))
    kept_low, kept_high = (
        end if stored is None else min(max(spec.shown(stored), low), high)
        for end, stored in ((low, given.low), (high, None if given not in selection.ranges else given.high))
    )
    kept = kept_low, kept_high
    widget = f"range-{feature}"
    st.session_state[widget] = kept
    st.html(bars_html(values, lying.shares * int(lying.n[0]), (low, high), kept))
    label = f"{spec.label} ({unit(spec, basis_of(spec))})" if unit(spec, basis_of(spec)) else spec.label
    decimals = max(0, int(np.ceil(-np.log10(step))))
    st.slider(
        markdown(label),
        low,
        high,
        step=step,
        format=f"%.{decimals}f",
        key=widget,
        on_change=_take_range,
        args=(feature, widget, (low, high)),
    )
    st.caption(f"{int(lying.n[0]):,} cells have it; at its ends the range is open.")


def _take_range(feature: str, widget: str, ends: tuple[float, float]) -> None:
    spec, selection = CATALOGUE[feature], explored().selection
    low, high = widget_value(widget)
    others = tuple(given for given in selection.ranges if given.feature != feature)
    if low <= ends[0] and high >= ends[1]:
        select(replace(selection, ranges=others))
        return
    given = Range(
        feature,
        low / spec.display_factor if low > ends[0] else None,
        high / spec.display_factor if high < ends[1] else None,
    )
    in_words(lambda: select(replace(selection, ranges=(*others, given))))


# --- saved selections, files, the link --------------------------------------------------------------------------------


def keep_and_share() -> None:
    """Name what is looked at, find it again, take it along as a file or an address."""
    selection, turn = explored().selection, _TAKEN.get() or 0
    if explored().saved:
        st.markdown("#### Saved selections")
    for name, stored in explored().saved.items():
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", wrap=False, key=f"saved-{name}"):
            shown = stored == selection
            st.button(
                markdown(name),
                key=f"load-{name}",
                icon=":material/check:" if shown else ":material/bookmark:",
                help="; ".join(markdown(sentence.words) for sentence in sentences(stored)) or "Every cell",
                on_click=select,
                args=(stored,),
                width="stretch",
            )
            st.button(
                "",
                key=f"forget-{name}",
                icon=":material/delete:",
                type="tertiary",
                help=f"Forget “{markdown(name)}”",
                on_click=_forget,
                args=(name,),
            )
    with st.popover("Keep and share", icon=":material/share:", width="stretch", key="explorer_share"):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", wrap=False, key="explorer_save"):
            st.text_input(
                "Name for these cells", max_chars=LONGEST_NAME, placeholder="round ones", key=f"save-name-{turn}"
            )
            st.button("Save", key="explorer_save_button", on_click=_save, args=(f"save-name-{turn}",))
        st.markdown(_LINK_HOLDS)
        st.code(_link(), language=None, wrap_lines=True)
        st.download_button(
            "These cells as a file", lambda: to_json(selection), "leukoscope_selection.json", "application/json",
            key="explorer_down", icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.file_uploader(
            "A file saved here",
            ["json"],
            max_upload_size=2,
            key=f"explorer_up_{turn}",
            on_change=_take_file,
            args=(f"explorer_up_{turn}",),
        )


def _link() -> str:
    base = (st.context.url or "").partition("?")[0]
    return f"{base}?{urlencode(address(), doseq=True)}"


def _forget(name: str) -> None:
    change(saved={other: stored for other, stored in explored().saved.items() if other != name})


def _save(widget: str) -> None:
    def do() -> None:
        save(str(widget_value(widget) or ""), explored().selection)
        _TAKEN.set((_TAKEN.get() or 0) + 1)

    in_words(do)


def _take_file(widget: str) -> None:
    """Save the selection of a file under the file's name, and look at it."""

    def do() -> None:
        file = widget_value(widget)
        selection = from_json(file.getvalue().decode(errors="replace"))
        save(file.name.rpartition(".")[0].replace("~", " ")[:LONGEST_NAME], selection)
        select(selection)

    in_words(do)
    _TAKEN.set((_TAKEN.get() or 0) + 1)
