"""Several images at once: outlines, features and failures, to take away."""

import tempfile
from datetime import datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from core.archives import pack
from core.features.catalogue import CATALOGUE
from core.imaging import IMAGE_SUFFIXES
from core.report import file_name
from core.store.export import to_csv, to_parquet
from pages._ui.batch_run import MOST_IMAGES, folder_images, gallery, image_folders, run, uploaded_images
from pages._ui.layout import empty_state, errors_in_words, page_setup
from pages._ui.resources import settings
from pages._ui.state import BATCH, BatchOutcome
from pages._ui.widgets import scale_field

_UPLOADS, _FOLDER = "Upload images or a ZIP", "A folder on this computer"
_SHOWN = ("combined_PixelSurface", "cell_shape2D_PixelSurface", "nucleus_shape2D_PixelSurface", "nucleus_shape2D_Elongation")


def show_outcome(outcome: BatchOutcome) -> None:
    """Say what came of the run, the least certain outlines first, then failures, the table and the files."""
    table = outcome.table
    good = int(table["quality_ok"].sum()) if len(table) else 0
    counts = f"{good} good, {len(table) - good} flagged, {len(outcome.failures)} failed"
    st.markdown(f"#### {len(table)} {'cell' if len(table) == 1 else 'cells'} measured in {outcome.seconds:.0f} s: {counts}")
    if len(table):
        show_files(outcome)
        st.markdown("##### Least certain outlines: look at these first")
        gallery(outcome.uncertain, st.container())
        st.markdown("##### All cells")
        shown = table[["image_path", "cell_label", "confidence", "quality_ok", "flags", *_SHOWN]]
        shown.columns = pd.Index(["Image", "Cell", "Certainty", "Good", "Flags", *(CATALOGUE[name].label for name in _SHOWN)])
        numbers = {name: st.column_config.NumberColumn(format="%.3g") for name in shown.columns if shown[name].dtype == "float64"}
        st.dataframe(shown, hide_index=True, height=min(38 + 35 * len(shown), 360), column_config=numbers, key="batch_table")
        st.caption("Sizes in this table are in pixels; the files hold all features and the scale.")
    if outcome.failures:
        st.markdown("##### Images that could not be measured")
        st.dataframe(
            {"Image": [n for n, _ in outcome.failures], "Why": [why for _, why in outcome.failures]}, hide_index=True, key="failures"
        )


def show_files(outcome: BatchOutcome) -> None:
    """Offer the results as files."""
    now = datetime.now().astimezone()

    def parquet() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "features.parquet"
            to_parquet(outcome.table, path)
            return path.read_bytes()

    files = [
        ("Features (CSV)", lambda: to_csv(outcome.table), file_name("batch", now, "csv"), "text/csv"),
        ("Features (Parquet)", parquet, file_name("batch", now, "parquet"), "application/vnd.apache.parquet"),
        ("Masks (ZIP)", lambda: pack(outcome.masks), file_name("batch", now, "zip", "masks"), "application/zip"),
    ]
    with st.container(horizontal=True, gap="small"):
        for label, make, name, mime in files:
            st.download_button(label, make, name, mime, key=f"batch-{label}", on_click="ignore", icon=":material/download:")


page_setup("Batch")
st.markdown("### Measure many images")
left, middle, right = st.columns([5, 2, 2.4], vertical_alignment="bottom")
with left:
    folders = image_folders()
    source = st.segmented_control(
        "Images", [_UPLOADS, _FOLDER] if folders else [_UPLOADS], default=_UPLOADS, required=True, key="batch_source"
    )
    files, folder = [], None
    if source == _FOLDER:
        root = settings().data
        folder = st.selectbox("Folder", folders, format_func=lambda path: str(path.relative_to(root)), key="batch_folder")
    else:
        types = [suffix.removeprefix(".") for suffix in (*IMAGE_SUFFIXES, ".zip")]
        files = st.file_uploader("Images or ZIP archives", types, accept_multiple_files=True, key="batch_upload")
with middle:
    um_per_px = scale_field("batch_um_per_px")
with right:
    go = st.button("Measure all", type="primary", width="stretch", disabled=not files and folder is None, key="measure_all")
st.caption(f"At most {MOST_IMAGES} images here. `python -m core analyse FOLDER --out RESULTS` takes any number.")

with errors_in_words():
    if go and folder is not None:
        total = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
        run(folder_images(folder), min(total, MOST_IMAGES), um_per_px)
    elif go:
        archives = any(file.name.lower().endswith(".zip") for file in files)
        run(uploaded_images(files), None if archives else min(len(files), MOST_IMAGES), um_per_px)
    found = BATCH.get()
    if found is not None:
        show_outcome(found)
    else:
        empty_state(
            "Nothing measured yet", "Choose images above and press **Measure all**. One bad image never stops the rest.", "photo_library"
        )
