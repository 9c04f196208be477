"""Questions in SQL for the expert: the question, the columns that can be used, the answer for download."""

from typing import Final

import pandas as pd
import streamlit as st

from core.store import sql_query
from core.store.export import parquet_bytes, to_csv
from core.store.sql_query import Answer, Limits, Running
from core.support.text import markdown
from pages._ui.common import cohort_data
from pages._ui.common.downloads import file_name
from pages._ui.common.layout import errors_in_words
from pages._ui.common.state import Kept, widget_value
from pages._ui.explorer.filters import in_words
from pages._ui.explorer.state import explored

_LIMITS: Final = Limits()
_HEIGHT: Final = 420
_TEXT: Final = "sql_text"

# The question that is being answered or was answered last.
_RUNNING: Final = Kept[Running]("leukoscope_sql_running")

_EXAMPLES: Final = {
    "Cells and patients by type": (
        "SELECT cell_type, count(*) AS cells, count(DISTINCT patient_id) AS patients\nFROM cells\nGROUP BY"
        " cell_type\nORDER BY cells DESC"
    ),
    "Median size by population": (
        "SELECT population, count(*) AS cells,\n  median(cell_shape2D_PixelSurface * um_per_px ** 2) AS area_um2\n"
        "FROM cells\nWHERE quality_ok\nGROUP BY population\nORDER BY area_um2 DESC"
    ),
    "Patients with the most cells": (
        "SELECT source, patient_id, diagnosis, count(*) AS cells\nFROM cells\n"
        "WHERE patient_id IS NOT NULL\nGROUP BY ALL\nORDER BY cells DESC"
    ),
    "Why cells are left out": (
        "SELECT flag, count(*) AS cells\nFROM (SELECT unnest(severe_flags) AS flag FROM cells)\nGROUP BY flag\nORDER BY"
        " cells DESC"
    ),
}
_FIRST: Final = next(iter(_EXAMPLES.values()))


def show_sql() -> None:
    """Show the question, the columns, and the answer."""
    left, right = st.columns([1.7, 1], gap="medium")
    running = _RUNNING.get()
    busy = running is not None and not running.done
    with left:
        st.menu_button(
            "Start from an example",
            list(_EXAMPLES),
            key="sql_example",
            on_click=_take_example,
            icon=":material/lightbulb:",
        )
        st.session_state.setdefault(_TEXT, _FIRST)
        st.text_area("Question", key=_TEXT, height=230, label_visibility="collapsed", persist_state="session")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(
                "Run", type="primary", icon=":material/play_arrow:", key="sql_run", disabled=busy, on_click=_start
            )
            st.button("Cancel", icon=":material/stop:", key="sql_cancel", disabled=not busy, on_click=_cancel)
            st.caption(
                f"Reads only. At most {_LIMITS.rows:,} rows and {_LIMITS.seconds:g} seconds; sizes are stored in"
                " pixels: `um_per_px` converts them."
            )
        if calibrated := explored().calibrations:
            st.caption(
                f":material/balance: The answer is calibrated by {markdown(' and '.join(calibrated))}: `calibrated_by`"
                " says which cells."
            )
    with right:
        _columns()
    with st.container(height=_HEIGHT, border=False, key="sql_answer"):
        if running is None:
            st.caption("The answer will stand here.")
        elif busy:
            _watch(running)
        else:
            with errors_in_words():
                _show(running.result(0))


def _take_example() -> None:
    st.session_state[_TEXT] = _EXAMPLES[widget_value("sql_example")]


def _start() -> None:
    """Ask what stands in the field now: typing and a click may come in one."""
    in_words(lambda: _RUNNING.set(sql_query.start(cohort_data.cohort(), str(widget_value(_TEXT) or ""))))


def _cancel() -> None:
    running = _RUNNING.get()
    if running is not None:
        running.cancel()


@st.fragment(run_every=0.5)
def _watch(running: Running) -> None:
    if running.done:
        st.rerun()
    st.markdown(":material/hourglass_top: The cohort is asked; **Cancel** stops it.")


def _show(answer: Answer) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{answer.rows_in_words}** in {answer.seconds:.1f} s", width="content")
        for label, suffix, mime, make in (
            ("CSV", "csv", "text/csv", lambda: to_csv(answer.table.copy())),
            ("Parquet", "parquet", "application/vnd.apache.parquet", lambda: parquet_bytes(answer.table)),
        ):
            st.download_button(
                label,
                make,
                file_name("answer", suffix),
                mime,
                key=f"sql-{suffix}",
                on_click="ignore",
                icon=":material/download:",
                type="tertiary",
            )
    st.dataframe(answer.table.head(1000), hide_index=True, height=_HEIGHT - 90, key="sql_table", placeholder="null")
    if len(answer.table) > 1000:
        st.caption("The first 1,000 rows are shown; the files hold all.")


def _columns() -> None:
    """What can be asked for: searched by name or meaning."""
    words = st.text_input(
        "Columns",
        placeholder="Search columns: nucleus area, patient …",
        key="sql_search",
        label_visibility="collapsed",
        persist_state="session",
    )
    rows = [
        {
            "Column": column.name,
            "Meaning": column.description,
            "Unit": column.unit,
            "Of": column.relation,
            "Kind": column.kind,
        }
        for column in sql_query.columns_about(words)
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True, height=290, key="sql_columns")
        st.caption(f"{len(rows):,} columns of the relations cells and populations.")
    else:
        st.caption("No column holds all these words; try fewer.")
