"""One image: outlines, features, and where the cell lies among the populations; of a field, any of its cells.

Several images stand in a tray, and are kept as a case; one of them is shown as a single image would be.
"""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.domain.errors import ImageError
from core.domain.options import CellChoice
from core.domain.types import CellAnalysis
from core.image.imaging import decode
from core.pipeline import ReceivedImage, at_scale
from core.populations.placement import place_cell
from core.support.text import markdown
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.layout import current_look, empty_state, errors_in_words, page_setup
from pages._ui.common.nearest import nearness_of_cell, show_nearness
from pages._ui.common.state import ANALYSIS, CHOSEN, FIELD, SCALE, TRAY, AnalysedField, Chosen
from pages._ui.common.widgets import image_chooser, offer_scale, take_asked_example
from pages._ui.components.owner.owner import owner
from pages._ui.components.viewer.viewer import cell_viewer
from pages._ui.correcting.hand import show_drafts
from pages._ui.single_cell import tray
from pages._ui.single_cell.beside import is_beside, show_beside
from pages._ui.single_cell.cell_view import (
    show_downloads,
    show_measures,
    show_models,
    show_populations,
    show_quality,
)
from pages._ui.single_cell.field_view import open_field, show_field
from pages._ui.single_cell.keeping import open_from_address, show_recent
from pages._ui.single_cell.outline import show_outline
from pages._ui.single_cell.tray_view import show_tray


def measure(chosen: Chosen, line: DeltaGenerator, cells: CellChoice = CellChoice.AUTO) -> None:
    """Run the engine on the chosen image, with its progress on the line below the buttons."""
    line.progress(0.0, text="Opening the image and the model")

    def tell(doing: str, share: float) -> None:
        line.progress(0.1 + 0.9 * share, text=doing)

    image, analyses = model_in_use.analysed(ReceivedImage(chosen.data, chosen.name, SCALE.get(), cells), tell)
    if not analyses:
        msg = f"{image.name}: no further cell could be outlined; the stained objects beside the cell are no leukocytes"
        raise ImageError(msg)
    ANALYSIS.clear()
    FIELD.clear()
    if analyses[0].place:
        FIELD.set(AnalysedField(image, analyses))
        open_field(AnalysedField(image, analyses))
    else:
        ANALYSIS.set(analyses[0])
    tray.measured()


def show_preview(chosen: Chosen) -> None:
    """Show the image as it came, in the place where its outlines will be."""
    image = decode(chosen.data, chosen.name, SCALE.get())
    left, right = st.columns([1.9, 1.1], gap="medium")
    with left:
        cell_viewer(image, None, key=f"preview-{image.sha256[:16]}-{image.um_per_px}")
        offer_scale(image)
    with right:
        empty_state(
            "Ready",
            "Press **Calculate features** to outline the nucleus and the cell and to measure them.",
            "play_circle",
        )


def show_result(analysis: CellAnalysis, chosen: Chosen | None, room: DeltaGenerator | None = None) -> None:
    """Show the cell first, then its numbers, then its place among the populations; before it, what is set beside it.

    `room` is where the numbers of a cell of a field stand: beside the field, where they change as one is chosen.
    """
    beside = st.container() if is_beside() else None
    left, right = st.columns([1.9, 1.1], gap="medium")
    with left:
        field = FIELD.get()
        analysis = show_outline(analysis, field.cells if field is not None else (), pictured=chosen is not None)
        if beside is not None:
            with beside:
                show_beside(analysis)
        measured = any(value is not None for value in analysis.features.values.values())
        placed = place_cell(analysis, cohort_data.references())
        reliability = {} if analysis.base else model_in_use.reliability()
    with left if room is None else right:
        show_quality(analysis)
        offer_scale(analysis.image)
        if (
            chosen is not None
            and analysis.segmentation.other_cells
            and st.button("Outline every cell", key="every_cell")
        ):
            measure(chosen, status, CellChoice.ALL)
            st.rerun()
    with room or right:
        if measured:
            show_measures(analysis, placed, reliability)
        else:
            empty_state(
                "Nothing to measure",
                "The sentence below the image says why. Correct the outline, or choose another image above.",
                "search_off",
            )
    nearness = nearness_of_cell(analysis)
    if measured:
        show_models(analysis, placed)
        show_nearness(nearness)
    show_downloads(analysis, placed, nearness, reliability)
    if measured:
        show_populations(placed, reliability, current_look(), corrected=analysis.base is not None)


def describe(analysis: CellAnalysis, chosen: Chosen | None) -> str:
    """Name the image, and how its outlines were made."""
    height, width = analysis.image.shape
    origin = "drawn by the program, no real cell; " if chosen is not None and chosen.example else ""
    part = f"cell {analysis.cell_index + 1}, a cut-out of " if analysis.place else ""
    segmentation = analysis.segmentation
    return (
        f"**{markdown(analysis.image.name)}**: {origin}{part}{width} x {height} px; outlined by"
        f" {markdown(segmentation.model_id)} on the {markdown(segmentation.provider)} in"
        f" {segmentation.elapsed_ms:.0f} ms"
    )


page_setup("Single cell")
owner()  # whose cases and drafts are whose
take_asked_example(tray.take)
with errors_in_words():
    open_from_address()
tray.load()
pressed = image_chooser(tray.take)
tray.settle()
status = st.container(height=44, border=False, key="status").empty()
show_tray(status)
chosen = CHOSEN.get()

with errors_in_words():
    if pressed and chosen is not None:
        try:
            measure(chosen, status)
        except ImageError as error:
            tray.failed(str(error))
            raise
    analysis, field, room = ANALYSIS.get(), FIELD.get(), None
    if field is not None:
        analysis, room = show_field(field)
    elif analysis is not None:
        analysis = at_scale(analysis, SCALE.get())
    if analysis is not None:
        status.caption(describe(analysis, chosen))
        show_result(analysis, chosen, room)
    elif chosen is not None:
        status.caption(f"**{markdown(chosen.name)}**{': drawn by the program, no real cell' if chosen.example else ''}")
        show_preview(chosen)
    elif TRAY.get() is None:
        empty_state(
            "No image yet",
            "Drop the image of a stained white blood cell above, or of a field with several, or try an example. PNG,"
            " JPEG, TIFF, BMP, GIF or WebP; it stays on this computer.",
            "add_photo_alternate",
        )
        show_drafts()
        show_recent()

cohort_data.show_set_aside()
if ANALYSIS.get() is None and FIELD.get() is None:
    model_in_use.warm_up()
