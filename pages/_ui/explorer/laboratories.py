"""Laboratories in view: what they share, and calibrations that are laid over their values."""

from typing import Final

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from core.charts.distributions import box_chart
from core.charts.groups import styled
from core.charts.theme import AnyChart
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import CoreError
from core.domain.settings import load_settings
from core.explorer.calibrating import calibrate
from core.explorer.laboratory_effect import source_kinds
from core.explorer.selection import Selection, can_be_chosen
from core.explorer.view import InView, values
from core.features.catalogue import CATALOGUE
from core.populations.calibration import Calibration
from core.populations.summaries import Statistics, basis_of
from core.store import calibrations
from core.support.text import markdown
from pages._ui.common import cohort_data
from pages._ui.common.caching import cached
from pages._ui.common.layout import current_look, errors_in_words
from pages._ui.common.state import Kept, widget_value
from pages._ui.explorer.state import change, explored

_APPLIED: Final = "calibrations_applied"
_FAILED: Final = Kept[str]("leukoscope_calibration_failed")
_BOXED: Final = 2000  # cells of a kind that a box is drawn of


def show_laboratories(view: InView) -> None:
    """A button that opens the laboratories in view, where there are several; says at once what is calibrated."""
    there = {each.name for each in cohort_data.calibrations()}
    chosen = [name for name in explored().calibrations if name in there]
    if missing := [name for name in explored().calibrations if name not in there]:
        st.warning(
            f"Not calibrated by {markdown(' and '.join(missing))}: no calibration of that name is kept here.",
            icon=":material/warning:",
        )
    if len(view.sources) < 2 and not explored().calibrations:
        return
    label = f"Calibrated by {' and '.join(chosen)}" if chosen else f"{len(view.sources)} laboratories"
    with st.popover(markdown(label), type="tertiary", icon=":material/balance:", key="laboratories", width="content"):
        _show_shared(view)
        _choose_applied()
        with st.expander("Make a calibration", icon=":material/add:", key="calibration_new"):
            _make([source for source in view.sources if can_be_chosen(source)])


def _show_shared(view: InView) -> None:
    """Which kinds of cells the sources have."""
    kinds = {source: _kinds().get(source, {}) for source in view.sources}
    columns = [kind for kind in CellType if any(kind in cells for cells in kinds.values())]
    rows = [
        {"Source": source, **{CELL_TYPES[kind].short: cells.get(kind) for kind in columns}}
        for source, cells in kinds.items()
    ]
    st.caption(
        "Form and, with a scale, sizes are compared between laboratories as they are. Tone, colour and texture move"
        " with stain, light and camera: a calibration finds by how much, in kinds of cells that two laboratories share."
    )
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="laboratories_kinds", placeholder="")


@cached("data", max_entries=4)
def _kinds() -> dict[str, dict[CellType, int]]:
    """Good cells of each source by kind."""
    return {each.source: dict(each.cells) for each in source_kinds(cohort_data.corrected_cohort())}


def _choose_applied() -> None:
    """Let a person lay calibrations over the values, and look at what they do."""
    kept, problems = calibrations.kept(load_settings().cohort)
    for problem in problems:
        st.warning(markdown(str(problem)), icon=":material/warning:")
    if not kept:
        st.caption("No calibration has been made yet.")
        return
    names = [each.name for each in kept]
    st.session_state[_APPLIED] = [name for name in explored().calibrations if name in names]
    st.pills("Laid over the values", names, selection_mode="multi", key=_APPLIED, on_change=_take_applied)
    if (failed := _FAILED.get()) is not None:
        st.warning(markdown(failed), icon=":material/warning:")
    for each in kept:
        if each.name in explored().calibrations:
            _show_calibration(each)


def _take_applied() -> None:
    """Apply what was chosen, or say why it cannot be applied together."""
    names = tuple(widget_value(_APPLIED) or ())
    try:
        calibrations.check_together([each for each in cohort_data.calibrations() if each.name in names])
    except CoreError as error:
        _FAILED.set(str(error))
        return
    _FAILED.clear()
    change(calibrations=names)


def _show_calibration(made: Calibration) -> None:
    """What a calibration is, and the kinds that it was made from before and after in a feature that closes."""
    st.markdown(f"**{markdown(made.name)}.** {markdown(made.sentence)}")
    for warning in made.warnings:
        st.caption(f":material/warning: {markdown(warning)}")
    if not _as_it_was(made):
        st.caption(":material/warning: The populations have changed since it was made; make it anew to be sure.")
    if made.closing:
        labels = {name: CATALOGUE[name].label for name in made.closing}
        feature = st.selectbox(
            "Before and after in", list(labels), format_func=labels.__getitem__, key=f"closing-{made.name}"
        )
        st.caption(markdown(f"{made.shifts[feature].told}."))
        for title, calibrated in (("As measured", False), ("Calibrated", True)):
            st.caption(title)
            chart = _strip(made, feature, calibrated=calibrated)
            alt = f"{labels[feature]} of the cells that the calibration was made from, {title.lower()}"
            st.altair_chart(chart, width="stretch", key=f"strip-{made.name}-{calibrated}", alt=alt)


def _as_it_was(made: Calibration) -> bool:
    now = {
        stored.population.population_id: stored.population.generation
        for stored in cohort_data.cohort().populations()
        if stored.population.source in (made.source, made.reference)
    }
    return now == dict(made.made_of)


def _strip(made: Calibration, feature: str, *, calibrated: bool) -> AnyChart:
    """Boxes of the cells of both laboratories that it was made from."""
    names = [(anchor.cell_type, source) for anchor in made.anchors for source in (made.reference, made.source)]
    columns = [_column(made.name, feature, kind, source, calibrated=calibrated) for kind, source in names]
    groups = styled(
        [
            f"{CELL_TYPES[kind].name}, {'reference' if source == made.reference else 'laboratory'}"
            for kind, source in names
        ],
        [len(column) for column in columns],
        [None] * len(names),
        [kind for kind, _ in names],
    )
    spec, summaries = CATALOGUE[feature], [Statistics.of(column) for column in columns]
    return box_chart(groups, feature, basis_of(spec), summaries, columns, current_look(), log=spec.log_axis)


@cached("data", max_entries=64)
def _column(name: str, feature: str, kind: CellType, source: str, *, calibrated: bool) -> NDArray[np.float64]:
    """Present values of a feature of one kind in one source."""
    chosen = [each for each in cohort_data.calibrations() if each.name == name and calibrated]
    cohort = cohort_data.corrected_cohort().calibrated(chosen)
    column = values(cohort, Selection(sources=(source,), cell_types=(kind,)), [feature], sample=_BOXED).matrix[:, 0]
    return column[~np.isnan(column)]


def _make(sources: list[str]) -> None:
    """Ask for two sources and a name, and make a calibration; a refusal is told in words."""
    with st.form("calibration_form", border=False):
        source = st.selectbox("Laboratory", sources, index=len(sources) - 1, key="calibration_source")
        reference = st.selectbox("is set to", sources, key="calibration_to")
        name = st.text_input("Name", max_chars=60, placeholder="ours-to-reference", key="calibration_name")
        pressed = st.form_submit_button("Find the shifts", icon=":material/balance:", key="calibration_make")
    if pressed:
        with errors_in_words(), st.spinner("Comparing the kinds of cells that both have", show_time=True):
            made = calibrate(cohort_data.corrected_cohort(), name.strip(), source, reference)
            calibrations.save(load_settings().cohort, made)
            st.success(markdown(f"{made.sentence} Choose it above to lay it over the values."))
