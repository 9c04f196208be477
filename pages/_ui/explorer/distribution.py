"""How are they distributed? Features in the groups, drawn and in numbers, beside the published tables."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from core.charts.distributions import box_chart, cells_chart, cumulative_chart, density_chart, histogram_chart
from core.charts.group_ranges import group_range_chart, published_group_chart
from core.charts.populations import published_chart
from core.charts.theme import AnyChart
from core.charts.trust import Reliability, poor_last, why
from core.explorer.distribution import published_table, summary_table, together, without_tails
from core.explorer.selection import Selection
from core.explorer.view import By, Summary
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.features.search import for_choosing
from core.populations.summaries import SMALL_GROUP, ReferencePopulation, basis_of
from core.support.text import markdown
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.downloads import download_menu
from pages._ui.common.feature_choice import feature_chooser
from pages._ui.common.layout import current_look
from pages._ui.common.state import widget_value
from pages._ui.explorer import answers
from pages._ui.explorer.groups import Compared, show_refused
from pages._ui.explorer.kept import kept_toggle
from pages._ui.explorer.state import ChartType, change, explored

CHART_WORDS: Final = {
    ChartType.DENSITY: "Density",
    ChartType.HISTOGRAM: "Histogram",
    ChartType.CUMULATIVE: "Cumulative",
    ChartType.STRIP: "Every cell",
    ChartType.BOX: "Box",
    ChartType.RANGES: "Several features",
}
_PUBLISHED: Final = (
    "Dashed: 2 to 98 %; tick: median. They were made from generated images and are never pooled with cells."
)
_TAILS: Final = " Outermost cells (1 % of a group) that would stretch the axis are not drawn."
_HINTS: Final = {
    ChartType.DENSITY: (
        "A smoothed histogram, which ends a little beyond the outermost cells; every group has the same area, whatever"
        " its number of cells."
    ),
    ChartType.HISTOGRAM: "Share of each group's cells by value, all groups on one scale.",
    ChartType.CUMULATIVE: "Share of each group's cells at or below a value: where a line crosses 50 % lies the median.",
    ChartType.STRIP: "A point a cell, of large groups 300 from the least to the greatest; the tick is the median.",
    ChartType.BOX: (
        "Line: 2 to 98 % of the cells; box: the middle half; tick: the median. Groups of few cells are points."
    ),
    ChartType.RANGES: "Line: 2 to 98 % of a group's cells; point: the median. Groups of few cells are points.",
}
_POINTS: Final = 300
_JOINED: Final = 4  # of 200 bins
_MOST_FEATURES: Final = 20
_FEATURE, _FORM, _FEATURES = "explorer_feature", "explorer_form", "explorer_features"


def show_distribution(compared: Compared) -> None:
    """Draw what was asked for, and show it in numbers."""
    reliability = model_in_use.reliability_if_known()
    seen = explored()
    st.session_state[_FORM] = seen.form
    st.segmented_control(
        "Drawn as",
        list(CHART_WORDS),
        format_func=CHART_WORDS.__getitem__,
        key=_FORM,
        on_change=_take_form,
        label_visibility="collapsed",
    )
    if not compared.view.offered:
        st.info(
            "These cells cannot be compared by any feature: choose cells of one source, or with a known scale.",
            icon=":material/info:",
        )
        return
    if seen.form is ChartType.RANGES:
        _show_ranges(compared, reliability)
    else:
        _show_feature(compared, reliability)


def _take_form() -> None:
    form = widget_value(_FORM)
    if form is not None:  # a click on the chosen one clears the choice
        change(form=ChartType(form))


# --- one feature ------------------------------------------------------------------------------------------------------


def _show_feature(compared: Compared, reliability: Reliability) -> None:
    seen = explored()
    refusal = compared.view.refusal(seen.feature)
    if refusal is not None:
        st.info(
            f"{markdown(CATALOGUE[seen.feature].label)} cannot be compared here: {markdown(refusal)}.",
            icon=":material/info:",
        )
    st.session_state[_FEATURE] = seen.feature
    view = compared.view
    feature = feature_chooser(seen.feature, reliability, _FEATURE, view.offered, _take_feature, view.refusal)
    if feature is None:
        return
    if refusal is None:
        change(feature=feature)
    spec = CATALOGUE[feature]
    told = [spec.description, why(feature, reliability), compared.view.caution(feature) or ""]
    st.caption(" ".join(markdown(text) for text in told if text))
    summaries = answers.summaries(compared.selection, (feature,), compared.by)
    by_group = {summary.group: summary for summary in summaries}
    few = all(by_group[name].n < SMALL_GROUP for name in compared.names)
    form = ChartType.STRIP if few and seen.form is not ChartType.CUMULATIVE else seen.form
    chart = feature_chart(compared, feature, form, by_group, log=spec.log_axis if seen.log is None else seen.log)
    st.altair_chart(
        chart,
        width="stretch",
        key="distribution",
        alt=f"{spec.label}, {CHART_WORDS[seen.form].lower()}, in {', '.join(compared.titles)}",
    )
    table = _table(compared, [by_group[name] for name in compared.names if name in by_group])
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="distribution_foot"):
        cut = (
            form in (ChartType.DENSITY, ChartType.HISTOGRAM) and _without_tails(compared, feature) != compared.selection
        )
        st.caption(_HINTS[form] + _TAILS * cut, width="stretch")
        if spec.log_axis or seen.log is not None:
            st.session_state["explorer_log"] = spec.log_axis if seen.log is None else seen.log
            st.toggle(
                "Logarithmic", key="explorer_log", on_change=lambda: change(log=bool(widget_value("explorer_log")))
            )
        download_menu("distribution", f"distribution_{feature}", chart, table)
    published = [
        reference
        for reference in cohort_data.published()
        if feature in reference.summaries and reference.summaries[feature].basis is basis_of(spec)
    ]
    _show_table(table, published_table(published, feature))
    _show_published(published, feature)
    show_refused(view)


def _take_feature() -> None:
    change(feature=widget_value(_FEATURE))


def feature_chart(
    compared: Compared, feature: str, form: ChartType, summaries: Mapping[str, Summary], *, log: bool
) -> AnyChart:
    """One feature in the compared groups, drawn in one of the forms."""
    look, groups, basis = current_look(), compared.drawn(), basis_of(CATALOGUE[feature])
    if form in (ChartType.DENSITY, ChartType.HISTOGRAM):
        histogram = answers.histogram(_without_tails(compared, feature), feature, compared.by, log=log)
        chart = density_chart if form is ChartType.DENSITY else histogram_chart
        if form is ChartType.HISTOGRAM:  # a curve needs fine bins, a reader coarse ones
            histogram = histogram.joined(_JOINED)
        counts = histogram.counts[[histogram.group_names.index(name) for name in compared.names]]
        return chart(groups, feature, basis, histogram.edges, counts, look, log=log)
    if form is ChartType.CUMULATIVE:
        shares, values = _quantiles(compared, feature)
        return cumulative_chart(groups, feature, basis, shares, values, look, log=log)
    cells = [_values(compared, feature, name, summaries[name].n) for name in compared.names]
    if form is ChartType.STRIP:
        return cells_chart(groups, feature, basis, cells, look, log=log)
    return box_chart(groups, feature, basis, [summaries[name] for name in compared.names], cells, look, log=log)


def _without_tails(compared: Compared, feature: str) -> Selection:
    """The cells without those beyond every group's middle 99 %, where these would stretch the axis."""
    return without_tails(compared.selection, feature, _quantiles(compared, feature)[1])


def _quantiles(compared: Compared, feature: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Even shares (P,), and the values of the compared groups at these (G, P)."""
    quantiles = answers.quantiles(compared.selection, feature, compared.by)
    return quantiles.shares, quantiles.values[[quantiles.group_names.index(name) for name in compared.names]]


def _values(compared: Compared, feature: str, name: str, n: int) -> NDArray[np.float64]:
    """All values of a group in order, of more than `_POINTS` so many at even shares."""
    if not n:
        return np.empty(0)
    lying = answers.quantiles(compared.selection, feature, compared.by, min(n, _POINTS))
    values: NDArray[np.float64] = lying.values[lying.group_names.index(name)]
    return values


# --- in numbers -------------------------------------------------------------------------------------------------------


def _table(compared: Compared, summaries: Sequence[Summary]) -> pd.DataFrame:
    titles = dict(zip(compared.names, compared.titles, strict=True))
    return summary_table(summaries, titles, {name: sources_of(compared, name) for name in compared.names})


def sources_of(compared: Compared, name: str) -> tuple[str, ...]:
    """Where the cells of a group come from."""
    if compared.by is By.SOURCE:
        return (name,)
    if isinstance(compared.by, By):
        return answers.group_sources(compared.selection, compared.by).get(name, ())
    return tuple(answers.in_view(explored().saved[name]).sources)


def _show_table(table: pd.DataFrame, published: pd.DataFrame) -> None:
    """Show the groups, and below them the published tables."""
    both = together(table, published)
    number: Any = st.column_config.NumberColumn(format="%.4g")
    config = dict.fromkeys(("2 %", "25 %", "50 %", "75 %", "98 %", "Mean", "SD"), number) | {
        "Group": st.column_config.Column(pinned=True)
    }
    st.dataframe(
        both,
        hide_index=True,
        key="summaries",
        placeholder="",
        column_config=config,
        height=min(38 + 35 * len(both), 420),
    )


def _show_published(published: Sequence[ReferencePopulation], feature: str) -> None:
    if published:
        with st.expander("The published tables, drawn", key="published_drawn"):
            st.altair_chart(
                published_chart(published, feature, current_look()),
                width="stretch",
                key="published_chart",
                alt=f"{CATALOGUE[feature].label} in the published tables",
            )
            st.caption(_PUBLISHED)


def show_published_alone() -> None:
    """The published tables while there are no cells to show with them."""
    published = cohort_data.published()
    features = [name for name in CATALOGUE if any(name in reference.summaries for reference in published)]
    if not features:
        return
    st.markdown("### The published tables")
    feature = st.selectbox("Feature", features, format_func=lambda name: CATALOGUE[name].label, key="published_feature")
    with_it = [reference for reference in published if feature in reference.summaries]
    st.altair_chart(
        published_chart(with_it, feature, current_look()),
        width="stretch",
        key="published_chart",
        alt=f"{CATALOGUE[feature].label} in the published tables",
    )
    st.caption(_PUBLISHED)
    _show_table(published_table(with_it, feature), pd.DataFrame())


# --- several features -------------------------------------------------------------------------------------------------


def _show_ranges(compared: Compared, reliability: Reliability) -> None:
    offered = poor_last(for_choosing(compared.view.offered), reliability)
    chosen = (
        [name for name in explored().features if name in offered]
        or [name for name in KEY_FEATURES if name in offered]
        or offered[:6]
    )
    st.session_state[_FEATURES] = chosen
    columns = st.columns([5, 1.4], vertical_alignment="bottom")
    columns[0].multiselect(
        f"Features (up to {_MOST_FEATURES} of {len(offered)})",
        offered,
        format_func=lambda name: CATALOGUE[name].label,
        max_selections=_MOST_FEATURES,
        wrap=True,
        key=_FEATURES,
        on_change=lambda: change(features=tuple(widget_value(_FEATURES))),
    )
    with columns[1]:
        as_published = kept_toggle("As published", "explorer_as_published", _AS_PUBLISHED)
    summaries = answers.summaries(compared.selection, tuple(chosen), compared.by)
    summary_of = {(summary.feature, summary.group): summary for summary in summaries}
    by_feature = {name: [summary_of[name, group] for group in compared.names] for name in chosen}
    groups = compared.drawn()
    if as_published:
        chart = published_group_chart(groups, by_feature, current_look())
    else:
        cells = {
            name: [
                _values(compared, name, each.group, each.n) if each.p50 is None else np.empty(0) for each in of_groups
            ]
            for name, of_groups in by_feature.items()
        }
        chart = group_range_chart(groups, by_feature, cells, reliability, current_look())
    st.altair_chart(
        chart,
        width="stretch",
        key="ranges",
        alt=f"2 to 98 % ranges of {len(chosen)} features in {', '.join(compared.titles)}",
    )
    table = _table(compared, [summary for of_groups in by_feature.values() for summary in of_groups])
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="ranges_foot"):
        st.caption(
            _HINTS[ChartType.RANGES] + ("" if as_published else " Each row is drawn on the scale of the first group."),
            width="stretch",
        )
        download_menu("ranges", "ranges", chart, table)
    _show_table(table, pd.DataFrame())


_AS_PUBLISHED: Final = "The thesis's own view: features along the axis, values on a logarithmic scale."
