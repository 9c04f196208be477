"""The centre of the explorer: the question, the groups, the answer; and below, where the cells come from."""

from typing import Final

import pandas as pd
import streamlit as st

from core.domain.cell_types import CELL_TYPES
from core.domain.flags import flag_words
from core.explorer.view import InView
from pages._ui.common import cohort_data
from pages._ui.common.state import widget_value
from pages._ui.explorer.cells import show_cells
from pages._ui.explorer.distribution import show_distribution, show_published_alone
from pages._ui.explorer.filters import choose_cells, keep_and_share
from pages._ui.explorer.groups import Compared, choose_groups, show_warnings
from pages._ui.explorer.own_data import show_own_data
from pages._ui.explorer.scatter import show_plane
from pages._ui.explorer.separation import show_separation
from pages._ui.explorer.sql import show_sql
from pages._ui.explorer.state import Question, change, explored

_MAIN: Final = {
    Question.DISTRIBUTION: "How are they distributed?",
    Question.SEPARATION: "What separates them?",
    Question.MAP: "Where do they lie?",
}
_FURTHER: Final = {Question.CELLS: "The cells", Question.OWN_DATA: "Own data", Question.SQL: "SQL"}
_MAIN_KEY, _FURTHER_KEY = "explorer_question", "explorer_further"


def ask() -> Question:
    """Show the questions; returns the one that is asked."""
    question = explored().question
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="explorer_questions"):
        st.session_state[_MAIN_KEY] = question if question in _MAIN else None
        st.segmented_control(
            "Question",
            list(_MAIN),
            format_func=_MAIN.__getitem__,
            key=_MAIN_KEY,
            on_change=_take,
            args=(_MAIN_KEY,),
            label_visibility="collapsed",
        )
        st.session_state[_FURTHER_KEY] = question if question in _FURTHER else None
        st.pills(
            "Further",
            list(_FURTHER),
            format_func=_FURTHER.__getitem__,
            key=_FURTHER_KEY,
            on_change=_take,
            args=(_FURTHER_KEY,),
            label_visibility="collapsed",
        )
    return question


def _take(widget: str) -> None:
    question = widget_value(widget)
    if question is not None:  # a click on the chosen one clears the choice
        change(question=Question(question))


def choose(question: Question) -> Compared | None:
    """Show the column of what is chosen: cells, then groups of them; returns what is compared, if the question does."""
    choose_cells()
    compared = choose_groups() if question in _MAIN else None
    if compared is not None and question is Question.DISTRIBUTION:
        show_warnings(compared.view)
    keep_and_share()
    return compared


def show_answer(question: Question, view: InView, compared: Compared | None) -> None:
    """Answer the question, about the compared groups where there are any."""
    if question is Question.MAP:
        show_plane(view, compared)
    elif question in _MAIN and compared is None:
        st.info("No group to compare: remove a condition at the left, or save two selections.", icon=":material/info:")
    elif question is Question.DISTRIBUTION and compared is not None:
        show_distribution(compared)
    elif question is Question.SEPARATION and compared is not None:
        show_separation(compared)
    elif question is Question.CELLS:
        show_cells(explored().selection)
    elif question is Question.OWN_DATA:
        show_own_data()
    else:
        show_sql()


def show_nothing() -> None:
    """Say how to get cells, offer to import one's own, and show the published tables."""
    st.markdown("### No measured population yet")
    st.markdown(
        "`make cohort` measures the reference images; here, or with `python -m core cohort import`, a laboratory's own"
        " cells come in."
    )
    show_own_data()
    show_published_alone()


def show_populations() -> None:
    """List every population, when asked for, with its cells, patients, source and terms, and how many were excluded."""
    opened = st.expander("Where the cells come from", on_change="rerun", key="explorer_populations")
    if not opened.open:
        return
    infos = cohort_data.populations()
    rows = [
        {
            "Population": info.population.title,
            "Cell type": CELL_TYPES[info.population.cell_type].name,
            "Good cells": info.n_good,
            "Patients": "not recorded" if info.patients is None else str(info.patients),
            "Left out": info.n - info.n_good,
            "Corrected outlines": info.corrected,
            "Why": ", ".join(f"{flag_words(code)} {count}" for code, count in info.excluded.items()),
            "µm per pixel": "unknown" if info.population.um_per_px is None else f"{info.population.um_per_px:g}",
            "Source": info.population.source,
            "Note": info.problem or info.population.note,
            "Terms": info.population.terms,
        }
        for info in infos
    ]
    opened.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=min(38 + 35 * len(rows), 420),
        key="populations",
        column_config={
            "Population": st.column_config.Column(pinned=True),
            "Note": st.column_config.Column(width="large"),
        },
    )
