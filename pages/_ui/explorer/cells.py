"""The cells of a selection: thumbnails at one scale, and one of them in detail, beside its population, editable."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import streamlit as st

from core.cases.adding import gathered
from core.cases.export import HeldImage
from core.charts.labels import of_cell
from core.charts.sparklines import sparkline_html
from core.charts.thumbnail import thumbnail_svg
from core.charts.trust import likeness_features, likeness_sizes
from core.corrections.opening import OpenCell
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import CoreError, StoreError
from core.domain.flags import EXCLUDED, flag_sentence
from core.domain.settings import load_settings
from core.domain.types import CellImage, FeatureSet
from core.explorer.cells import (
    Frame,
    StoredCell,
    cells,
    decided,
    decided_features,
    features_of,
    frame,
    image_rows,
    opened,
    original,
    picture,
)
from core.explorer.gallery import GalleryOrder, OrderedCells, order_cells, typicalities
from core.explorer.neighbours import NeighbourSpace
from core.explorer.selection import Selection, to_json
from core.explorer.typicality import CohortCentres
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.populations.comparison import FeatureComparison, compare_cell, describe
from core.populations.placement import note_beside
from core.populations.summaries import SMALL_GROUP, ReferencePopulation
from core.store import outline_log, queries
from core.support.text import markdown
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.add_to_case import offer_case
from pages._ui.common.caching import cached, drawn_and_arguments
from pages._ui.common.layout import empty_state, errors_in_words
from pages._ui.common.markup import faint, measures, sentences
from pages._ui.common.nearest import nearness_of, show_nearness
from pages._ui.common.state import CARD, widget_value
from pages._ui.components.gallery.gallery import Item, gallery
from pages._ui.components.owner.owner import owner
from pages._ui.components.viewer.viewer import one_cell_viewer
from pages._ui.correcting.reviewing import correcting_switch, decide_on, progress, statuses
from pages._ui.explorer import answers
from pages._ui.explorer.edit import show_changes
from pages._ui.explorer.export import show_export
from pages._ui.explorer.groups import show_model_note
from pages._ui.explorer.kept import kept_control
from pages._ui.explorer.state import CORRECT

PLACES: Final = 18
_HEIGHT: Final = 960
_NEAREST: Final = 12
_PAPER: Final = 244  # grey level behind outlines without a picture
_MEASURES, _NEIGHBOURS, _CHANGES = "Measures", "Nearest cells", "Correct or annotate"


def look_at(cell_id: str) -> None:
    """Open a cell."""
    CARD.set(cell_id)


def show_cells(selection: Selection, called: str = "in view") -> None:
    """Show thumbnails of a selection's cells, and one of them in detail; `called` names them in a word or two."""
    in_view = answers.in_view(selection)
    n = in_view.cells
    if not n:
        empty_state(
            "No cells", "No cell meets all conditions. Remove one of them, or draw a larger outline.", "search_off"
        )
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="cells_head"):
        st.markdown(f"#### The {n:,} cells {called}" if n > 1 else f"#### The one cell {called}", width="content")
        st.space("stretch")
        order = kept_control("Order", list(GalleryOrder), "cells_order")
    left, right = st.columns([1, 1.5], gap="medium")
    pages, sources = f"cells_page-{_digest(to_json(selection) + order)}", _batch_sources()
    with left, st.container(height=_HEIGHT, border=False, key="cells_gallery"):
        ids = _in_order(selection, _features()).ordered(order)
        shown = _small(ids, pages, frame_of(selection), sources)
        if len(ids) < n:
            st.caption(f"{len(ids):,} of them, drawn by chance.")
    with right, st.container(height=_HEIGHT, key="cell_card"):
        looked_at = _stored((CARD.get() or "",)) or shown[:1]
        if looked_at:
            _card(looked_at[0], ids, pages, sources)
    with st.container(horizontal=True, gap="small", key="cells_take"):
        show_export(selection, n, in_view.without_scale)


# --- in small ---------------------------------------------------------------------------------------------------------


def _small(ids: Sequence[str], pages: str, square: Frame, sources: tuple[str, ...]) -> tuple[StoredCell, ...]:
    """One page of the gallery; returns its cells."""
    number = -(-len(ids) // PLACES)
    page = st.pagination(number, key=pages, max_visible_pages=5) if number > 1 else 1
    shown = _stored(tuple(ids[(page - 1) * PLACES : page * PLACES]))
    percents = _typicalities(tuple(cell.cell_id for cell in shown), _features())
    words = [
        _short(cell) + ("" if (percent := percents.get(cell.cell_id)) is None else f" {percent:.0f} %")
        for cell in shown
    ]
    gallery(
        thumbnails(shown, words, square, sources),
        "cells",
        places=min(PLACES, len(ids)),
        chosen=CARD.get() or (shown[0].cell_id if shown else None),
        on_pick=look_at,
    )
    st.caption(_scale_words(shown, square))
    return shown


def _scale_words(shown: Sequence[StoredCell], square: Frame) -> str:
    known = [cell.um_per_px is not None for cell in shown if cell.has_outline]
    if not known:
        return "Imported as numbers, without outlines: there is nothing to draw."
    words = (
        f"All at one scale: each square is {square.um:.0f} µm wide."
        if any(known)
        else "The scale is unknown: squares of equally many pixels."
    )
    if any(known) and not all(known):
        words += " Cells of unknown scale are marked with ≈."
    return (
        f"{words} The number: per cent of a cell's population that lie at least as far from its centre; 100 % is most"
        " typical."
    )


def thumbnails(
    shown: Sequence[StoredCell], words: Sequence[str], square: Frame, sources: tuple[str, ...]
) -> list[Item]:
    """Thumbnails of cells with words under them, all at one scale; `sources` are further folders of pictures."""
    items = []
    for cell, text in zip(shown, words, strict=True):
        svg = _thumbnail(cell, square.side(cell), sources)
        hint = f"{_type(cell)}, {cell.source}, {'patient ' + cell.patient_id if cell.patient_id else 'patient unknown'}"
        items.append(
            Item(cell.cell_id, svg, ("≈ " if cell.um_per_px is None else "") + text, hint, flagged=not cell.quality_ok)
        )
    return items


def _type(cell: StoredCell) -> str:
    return CELL_TYPES[CellType(cell.cell_type)].name


def _short(cell: StoredCell) -> str:
    return CELL_TYPES[CellType(cell.cell_type)].short


@cached("data", max_entries=4000, key=lambda cell, *how: (cell.cell_id, cell.image_sha256, cell.drawing, how))
def _thumbnail(cell: StoredCell, side: int, sources: tuple[str, ...]) -> str:
    image = _picture(cell, sources)
    return thumbnail_svg(
        cell.outlines, cell.canvas, None if image is None else image.rgb, side if cell.has_outline else None
    )


def _picture(cell: StoredCell, sources: tuple[str, ...]) -> CellImage | None:
    return picture(cell, load_settings(), [Path(source) for source in sources])


def _batch_sources() -> tuple[str, ...]:
    """Folders that this person's batches have measured: pictures of cells are shown while they are there."""
    person = owner()
    return () if person is None else tuple(sorted({str(job.source) for job in person.jobs()}))


# --- one of them ------------------------------------------------------------------------------------------------------


def _card(cell: StoredCell, ids: Sequence[str], pages: str, sources: tuple[str, ...]) -> None:
    _walk(cell, ids, pages)
    if cell.has_outline and correcting_switch(CORRECT):
        _in_hand(cell, ids, pages, sources)
    else:
        left, right = st.columns([1.6, 1], gap="medium")
        with left:
            _large(cell, sources)
        with right:
            _who(cell)
        if cell.has_outline and cell.image_sha256 is not None:
            offer_case(lambda: _gathered(cell, sources))
        with errors_in_words():
            show_nearness(nearness_of(_feature_set(cell.cell_id), cell.um_per_px, cell.flags, cell.severe_flags))
    if note := note_beside(cell.outlined, [_reference(cell.population)]):
        st.caption(f":material/warning: {markdown(note)}")
    section = st.segmented_control(
        "About the cell",
        [_MEASURES, _NEIGHBOURS, _CHANGES],
        default=_MEASURES,
        required=True,
        key="card_section",
        label_visibility="collapsed",
        persist_state="session",
    )
    if section == _MEASURES:
        _measures(cell)
    elif section == _NEIGHBOURS:
        with errors_in_words():
            _neighbours(cell, sources)
    else:
        show_changes(cell)


def _walk(cell: StoredCell, ids: Sequence[str], pages: str) -> None:
    """Go on to the next cell, or back."""
    at = ids.index(cell.cell_id) if cell.cell_id in ids else None
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="card_walk"):
        st.button(
            "Previous",
            icon=":material/chevron_left:",
            key="card_back",
            disabled=not at,
            on_click=_go,
            args=(ids, (at or 0) - 1, pages),
        )
        st.button(
            "Next",
            icon=":material/chevron_right:",
            icon_position="right",
            key="card_on",
            disabled=at == len(ids) - 1,
            on_click=_go,
            args=(ids, 0 if at is None else at + 1, pages),
        )
        st.caption(f"{at + 1:,} of {len(ids):,}" if at is not None else "not among the cells shown")


def _go(ids: Sequence[str], at: int, pages: str) -> None:
    look_at(ids[at])
    if widget_value(pages) is not None:
        st.session_state[pages] = at // PLACES + 1


def _in_hand(cell: StoredCell, ids: Sequence[str], pages: str, sources: tuple[str, ...]) -> None:
    """The cell in the editor, with the ways to the others."""
    at = ids.index(cell.cell_id) if cell.cell_id in ids else None
    CARD.set(cell.cell_id)  # it stays before the eyes, even if it leaves the cells in view
    with errors_in_words():
        open_cell = _opened(cell.cell_id, sources)
        decide_on(open_cell, at, len(ids), lambda to: _go(ids, to, pages), CORRECT, progress(ids, statuses()))
    if at is not None and at + 1 < len(ids):
        with suppress(CoreError):  # told when it is its turn
            _opened(ids[at + 1], sources)
            _drawn_features(ids[at + 1])


@cached("resource", max_entries=8, key=drawn_and_arguments)
def _opened(cell_id: str, sources: tuple[str, ...]) -> OpenCell:
    """A cell with its picture; raises StoreError."""
    (cell,) = _as_drawn((cell_id,))
    image = _picture(cell, sources)
    if image is None:
        msg = (
            f"the picture of {cell.image_path} is not at hand, and without it nothing can be measured; put its folder"
            " among those that pages may choose from (LEUKOSCOPE_ROOTS)"
        )
        raise StoreError(msg)
    return opened(cohort_data.corrected_cohort(), cell, image)


def _gathered(cell: StoredCell, sources: tuple[str, ...]) -> HeldImage:
    """The image of a cell with what the cohort holds of it, as a case keeps it; raises CoreError."""
    rows = image_rows(cohort_data.corrected_cohort(), cell)
    if all(row["cell_index"] != cell.cell_index for row in rows):
        msg = f"the cohort has no cell {cell.cell_id} any more"
        raise StoreError(msg)
    data = original(cell, load_settings(), [Path(source) for source in sources])
    return gathered(load_settings().cohort, rows, data, cell.cell_index)


def _large(cell: StoredCell, sources: tuple[str, ...]) -> None:
    image = _picture(cell, sources)
    if image is None and not cell.has_outline:
        empty_state("No outline", "This cell was imported as numbers: there is nothing to draw.", "table_rows")
        return
    if image is None:
        image = CellImage(
            np.full((*cell.canvas, 3), _PAPER, np.uint8), cell.image_path, cell.image_sha256 or "", cell.um_per_px
        )
        st.caption("Its picture is not at hand, only the outline.")
    labels = cell.labels()
    one_cell_viewer(image, labels, key=f"{cell.cell_id}-{outline_log.mask_sha256(labels)[:8]}")


def _who(cell: StoredCell) -> None:
    patient = f"Patient: {markdown(cell.patient_id)}" if cell.patient_id else "Patient unknown"
    diagnosis = f", {markdown(cell.diagnosis)}" if cell.diagnosis else ""
    scale = f"{cell.um_per_px:g} µm per pixel" if cell.um_per_px is not None else "scale unknown"
    certainty = f"; outline certain to {cell.certainty:.2f}" if cell.certainty is not None else ""
    st.markdown(f"**{markdown(_type(cell))}**  \n{markdown(cell.source)}  \n{patient}{diagnosis}  \n{scale}{certainty}")
    percent = _typicalities((cell.cell_id,), _features()).get(cell.cell_id)
    if percent is not None:
        st.markdown(f"**{percent:.0f} %** of its population lie at least as far from the centre in shape.")
    codes = [code for code in dict.fromkeys((*cell.severe_flags, *cell.flags)) if code != EXCLUDED]
    notes = [("warn" if code in cell.severe_flags else "info", flag_sentence(code)) for code in codes]
    if cell.excluded_reason:
        notes.append(("warn", f"Left out: {cell.excluded_reason}"))
    notes = notes or [("good", "Quality: nothing stands against using its numbers.")]
    notes += [("info", f"On opening the image: {note}.") for note in cell.notes]
    if cell.outline_status and cell.outline_who:
        notes.append(("info", f"Outline {cell.outline_status} by {cell.outline_who}"))
    if cell.note:
        notes.append(("info", f"Note: {cell.note}"))
    st.html(sentences(notes))
    st.caption(markdown(cell.image_path))


def _measures(cell: StoredCell) -> None:
    """Show what a morphologist looks for first, and where it lies in the cell's own population."""
    features, reference = (
        _feature_set(cell.cell_id),
        _reference(cell.population),
    )
    placed = {comparison.feature: comparison for comparison in compare_cell(features, cell.um_per_px, reference)}
    reliability = model_in_use.reliability_if_known()
    rows = []
    for name in KEY_FEATURES:
        beside = sparkline_html(name, [(reference, placed[name])])
        beside += faint(_stands(placed[name], reference, cell.um_per_px))
        rows.append((name, of_cell(CATALOGUE[name], features.values.get(name), cell.um_per_px), beside))
    st.caption(f"Beside {markdown(reference.title)}: n = {reference.n:,} good cells. Band: 2-98 %, tick: median.")
    st.html(measures(rows, reliability))


def _stands(comparison: FeatureComparison, reference: ReferencePopulation, scale: float | None) -> str:
    if not comparison.comparable:
        return (
            "its scale is unknown"
            if scale is None and not CATALOGUE[comparison.feature].scale_free
            else comparison.reason or ""
        )
    return describe(comparison) if reference.n >= SMALL_GROUP else f"only {reference.n} cells to compare with"


@cached("resource", max_entries=32)
def _reference(population_id: str) -> ReferencePopulation:
    """The cell's population, by the key measures only: all features of a million cells would not fit in memory."""
    return queries.reference(cohort_data.cohort(), population_id, KEY_FEATURES)


def _neighbours(cell: StoredCell, sources: tuple[str, ...]) -> None:
    """Show the cells of the whole cohort that are most like it."""
    similar = _space(_features(), _sizes()).nearest(cell.cell_id, _feature_set(cell.cell_id), cell.um_per_px, _NEAREST)
    st.caption(markdown(similar.sentence))
    show_model_note(answers.in_view(Selection()))
    shown = _stored(tuple(similar.distances))
    words = [f"{_short(other)} {similar.distances[other.cell_id]:.2f}" for other in shown]
    gallery(
        thumbnails(shown, words, frame_of(Selection()), sources), "card_neighbours", places=_NEAREST, on_pick=look_at
    )


# --- what is computed once --------------------------------------------------------------------------------------------


def _features() -> tuple[str, ...]:
    """Features for telling which cells are typical or alike."""
    return likeness_features(model_in_use.reliability_if_known())


def _sizes() -> tuple[str, ...]:
    """Sizes that count as well where all cells have a scale."""
    return likeness_sizes(model_in_use.reliability_if_known())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stored(cell_ids: tuple[str, ...]) -> tuple[StoredCell, ...]:
    """Cells as they are now: a decision is laid over what was read, and no file is read again for it."""
    return decided(cohort_data.cohort(), _as_drawn(cell_ids))


@cached("resource", max_entries=200, key=drawn_and_arguments)
def _as_drawn(cell_ids: tuple[str, ...]) -> tuple[StoredCell, ...]:
    return cells(cohort_data.cohort().as_drawn(), cell_ids)


def _feature_set(cell_id: str) -> FeatureSet:
    return decided_features(cohort_data.cohort(), cell_id) or _drawn_features(cell_id)


@cached("resource", max_entries=200, key=drawn_and_arguments)
def _drawn_features(cell_id: str) -> FeatureSet:
    return features_of(cohort_data.cohort().as_drawn(), cell_id)


@cached("resource", max_entries=2, spinner="Reading the cohort to find neighbours")
def _space(shapes: tuple[str, ...], sizes: tuple[str, ...]) -> NeighbourSpace:
    return NeighbourSpace.fit(cohort_data.cohort(), shapes, sizes)


@cached("resource", max_entries=16, spinner="Ordering the cells")
def _in_order(selection: Selection, features: tuple[str, ...]) -> OrderedCells:
    return order_cells(cohort_data.cohort(), selection, _centres(features), features)


@cached("resource", max_entries=2, spinner="Finding the centre of each population")
def _centres(features: tuple[str, ...]) -> CohortCentres:
    return CohortCentres.fit(cohort_data.cohort(), features)


@cached("data", max_entries=200)
def _typicalities(cell_ids: tuple[str, ...], features: tuple[str, ...]) -> dict[str, float]:
    """How typical some cells are of their populations, by id, as far as that is known."""
    return typicalities(cohort_data.cohort(), cell_ids, _centres(features), features)


@cached("data", max_entries=32)
def frame_of(selection: Selection) -> Frame:
    """The square in which the cells of a selection are drawn."""
    return frame(cohort_data.cohort(), selection)
