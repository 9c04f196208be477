"""Downloads of the cells in view or chosen: a table, AnnData, or the query that makes the table again."""

from collections.abc import Callable
from typing import Final

import pandas as pd
import streamlit as st

from core.explorer import export, view
from core.explorer.selection import Selection
from core.features.catalogue import CATALOGUE
from core.store.export import to_csv
from pages._ui.common import cohort_data
from pages._ui.common.downloads import file_name

# Cells. A file goes through the server's memory to the browser: of all features 20,000 cells are 115 MB there.
MOST: Final = 20_000
_IDENTITY: Final = (
    "cell_id", "population", "cell_type", "source", "patient_id", "diagnosis", "tissue", "image_name", "image_sha256",
    "cell_index", "um_per_px", "model_id", "confidence", "quality_ok", "quality_flags", "note", "excluded_reason",
)  # fmt: skip
COLUMNS: Final = (*_IDENTITY, *CATALOGUE)


def show_export(selection: Selection, cells: int) -> None:
    """Show a small menu of downloads of a selection of so many cells."""
    with st.popover(f"Download these {cells:,} cells", icon=":material/download:", key="take_cells"):
        st.caption(
            "All features, sizes in µm where the scale is known. Sentence, versions and units are in the files that can"
            " hold them."
        )
        if cells > MOST:
            st.caption(
                f"Too many for a browser (up to {MOST:,}): the Python program below makes the table on this computer."
            )
        makers: list[tuple[str, str, str, Callable[[], bytes]]] = [
            ("CSV, for a spreadsheet", "csv", "text/csv", lambda: to_csv(_table(selection))),
            (
                "Parquet",
                "parquet",
                "application/vnd.apache.parquet",
                lambda: export.parquet(_table(selection), selection),
            ),
            (
                "AnnData (h5ad), for scanpy",
                "h5ad",
                "application/x-hdf5",
                lambda: export.h5ad(_table(selection), selection),
            ),
        ]
        texts: list[tuple[str, str, str, Callable[[], bytes]]] = [
            ("SQL of this table", "sql", "application/sql", lambda: export.sql(selection, COLUMNS).encode()),
            ("Python program of this table", "py", "text/x-python", lambda: export.python(selection, COLUMNS).encode()),
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


def _table(selection: Selection) -> pd.DataFrame:
    return view.table(cohort_data.cohort(), selection, COLUMNS, limit=None)
