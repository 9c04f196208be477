"""One image: its outlines, its features, and where the cell stands among the populations."""

from dataclasses import replace

import streamlit as st

from core import pipeline
from core.imaging import decode
from core.report import nearest_populations, place_cell
from core.types import CellAnalysis
from pages._ui import resources
from pages._ui.cell_view import show_downloads, show_measures, show_nearest, show_populations, show_quality
from pages._ui.layout import current_look, empty_state, errors_in_words, page_setup
from pages._ui.state import ANALYSIS, CHOSEN, SCALE, Chosen
from pages._ui.viewer import cell_viewer
from pages._ui.widgets import image_chooser


def measure(chosen: Chosen, line: st.delta_generator.DeltaGenerator) -> None:
    """Run the engine on the chosen image, saying on the line below the buttons what is being done."""
    line.progress(0.0, text="Opening the image")
    image = decode(chosen.data, chosen.name, SCALE.get())
    line.progress(0.05, text="Loading the model")
    segmenter = resources.segmenter()

    def tell(doing: str, share: float) -> None:
        line.progress(share, text=doing)

    ANALYSIS.set(pipeline.analyse(image, segmenter, progress=tell))


def show_preview(chosen: Chosen) -> None:
    """Show the image as it came, in the place where its outlines will be."""
    image = decode(chosen.data, chosen.name, SCALE.get())
    left, right = st.columns([1.9, 1.1], gap="medium")
    with left:
        cell_viewer(image, None, key=f"preview-{image.sha256[:16]}-{image.um_per_px}")
    with right:
        empty_state("Ready", "Press **Calculate features** to outline the nucleus and the cell and to measure them.", "play_circle")


def show_result(analysis: CellAnalysis) -> None:
    """Show the cell first, then its numbers, then its place among the populations."""
    measured = any(value is not None for value in analysis.features.values.values())
    placed, reliability = place_cell(analysis, resources.references()), resources.reliability()
    left, right = st.columns([1.9, 1.1], gap="medium")
    with left:
        cell_viewer(analysis.image, analysis.segmentation.labels, key=f"cell-{analysis.image.sha256[:16]}-{analysis.image.um_per_px}")
        show_quality(analysis)
    with right:
        if measured:
            show_measures(analysis, placed, reliability)
        else:
            empty_state("Nothing to measure", "The sentence below the image says why. Choose another image above.", "search_off")
    if measured:
        show_nearest(nearest_populations(analysis.features, [p.reference for p in placed], reliability))
    show_downloads(analysis, placed, reliability)
    if measured:
        show_populations(placed, reliability, current_look())


page_setup("Single cell")
pressed = image_chooser()
status = st.container(height=44, border=False, key="status").empty()
chosen, analysis = CHOSEN.get(), ANALYSIS.get()

with errors_in_words():
    if pressed and chosen is not None:
        measure(chosen, status)
        analysis = ANALYSIS.get()
    if analysis is not None:
        # Features are kept in pixels, so a new scale needs no new outlines.
        analysis = replace(analysis, image=replace(analysis.image, um_per_px=SCALE.get()))
        height, width = analysis.image.shape
        origin = "drawn by the program, no real cell; " if chosen is not None and chosen.example else ""
        segmentation = analysis.segmentation
        status.caption(
            f"**{analysis.image.name}**: {origin}{width} x {height} px; outlined by {segmentation.model_id} on the "
            f"{segmentation.provider} in {segmentation.elapsed_ms:.0f} ms"
        )
        show_result(analysis)
    elif chosen is not None:
        status.caption(f"**{chosen.name}**{': drawn by the program, no real cell' if chosen.example else ''}")
        show_preview(chosen)
    else:
        empty_state(
            "No image yet",
            "Drop the image of one stained white blood cell above, or try an example. PNG, JPEG, TIFF or BMP; it stays on this computer.",
            "add_photo_alternate",
        )

if analysis is None:
    resources.warm_up()
