"""Downloads of the cells in view or chosen: a table, the query that makes it again, and cells for other programs."""

from collections.abc import Callable
from typing import Final

import pandas as pd
import streamlit as st

from core.domain.options import Units
from core.explorer import export, view
from core.explorer.selection import Selection
from core.store.export import to_csv
from core.store.schema import OUTLINE_COLUMNS, cohort_schema
from core.support.text import markdown
from pages._ui.common import cohort_data
from pages._ui.common.downloads import choose_units, file_name
from pages._ui.common.exchange import MOST, offer_exchange
from pages._ui.explorer.state import explored

# Those of every table of cells; outlines and the list of versions would be most of a file.
COLUMNS: Final = tuple(
    name for name in cohort_schema().names if name not in (*OUTLINE_COLUMNS, "absent", "versions", "created")
)


def show_export(selection: Selection, cells: int, without_scale: int) -> None:
    """Show a small menu of downloads of a selection of so many cells, some of which may lack a scale."""
    with st.popover(f"Download these {cells:,} cells", icon=":material/download:", key="take_cells"):
        st.caption("All features. Units are in every file; sentence and versions in those that can hold them.")
        units = choose_units(
            "take_cells-units", f"{without_scale:,} of these cells have no scale" if without_scale else ""
        )
        calibrated = explored().calibrations
        if calibrated:
            st.caption(
                f"Calibrated by {markdown(' and '.join(calibrated))}; the column calibrated_by says which cells."
            )
        if cells > MOST:
            st.caption(
                f"Too many for a browser (up to {MOST:,}): the Python program below makes the table on this computer."
            )
        makers: list[tuple[str, str, str, Callable[[], bytes]]] = [
            ("CSV, for a spreadsheet", "csv", "text/csv", lambda: to_csv(_table(selection, units))),
            (
                "Parquet",
                "parquet",
                "application/vnd.apache.parquet",
                lambda: export.parquet(_table(selection, units), selection, units),
            ),
        ]
        texts: list[tuple[str, str, str, Callable[[], bytes]]] = [
            (
                "SQL of this table",
                "sql",
                "application/sql",
                lambda: export.sql(selection, COLUMNS, units, calibrated).encode(),
            ),
            (
                "Python program of this table",
                "py",
                "text/x-python",
                lambda: export.python(selection, COLUMNS, units, calibrated).encode(),
            ),
        ]
        for label, suffix, mime, make in [*(makers if cells <= MOST else []), *texts]:
            st.download_button(
                label,
                make,
                file_name("cells", suffix),
                mime,
                key=f"take_cells-{suffix}",
                on_click="ignore",
                type="tertiary",
                width="stretch",
            )

    offer_exchange(
        "cells",
        "cells",
        cells,
        lambda: export.handed_over(cohort_data.cohort(), selection),
        scaled=not without_scale,
    )


def _table(selection: Selection, units: Units) -> pd.DataFrame:
    return view.table(cohort_data.cohort(), selection, COLUMNS, limit=None, units=units)
