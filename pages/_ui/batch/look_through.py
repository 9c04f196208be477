"""Looking through the cells of a run: the least certain first, one of them large or in the editor, decided by a key."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import numpy as np
import streamlit as st

from core.batch.jobs import Job
from core.batch.review import MeasuredCell, Review
from core.cases.adding import gathered
from core.cases.export import HeldImage
from core.domain.errors import CoreError
from core.domain.flags import flags_told
from core.domain.settings import load_settings
from core.domain.types import CellImage
from core.store.outline_log import OutlineStatus
from core.support.text import shown as shown_text
from pages._ui.batch.pictures import as_drawn, in_order, opened, pictures, scale_of
from pages._ui.batch.training import offer_training_folder
from pages._ui.common.add_to_case import offer_case
from pages._ui.common.layout import empty_state, errors_in_words
from pages._ui.common.state import CELL_LOOKED_AT, RUN_CHOSEN
from pages._ui.components.gallery.gallery import gallery
from pages._ui.components.viewer.viewer import cell_viewer
from pages._ui.correcting.reviewing import correcting_switch, decide_on, progress, statuses

_PICTURES: Final = 16
_BESIDE_EDITOR: Final = 8
_PAPER: Final = 244  # grey level behind outlines without a picture
_CORRECT: Final = "batch_correct"
_ANY, _NOT_SEEN = "all", "not yet seen"
_FILTERS: Final = (
    _ANY,
    _NOT_SEEN,
    *(status.value for status in OutlineStatus if status is not OutlineStatus.TAKEN_BACK),
)


def look_through(job: Job, review: Review) -> None:
    """Show a run's cells, one of them large; with the editor they are decided on one after the other."""
    decided = statuses()
    ordered = in_order(job)
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="look_through_head"):
        correcting = correcting_switch(_CORRECT)
        wanted = st.selectbox("Show", _FILTERS, key="batch_status", label_visibility="collapsed", width=170)
        st.markdown(progress([name for _, name in ordered], decided))
        offer_training_folder(job, review)
    keys = [key for key, name in ordered if _is_wanted(wanted, decided.get(name))]
    if not keys:
        empty_state("No such cells", "No cell of this run has that status. Choose another one above.", "filter_alt_off")
        return
    left, right = st.columns([1, 2.2] if correcting else [1.1, 1], gap="medium")
    with left:
        looked_at = _in_small(job, review, keys, _BESIDE_EDITOR if correcting else _PICTURES)
    with right:
        _write_address(job.name, looked_at.key if correcting else None)
        if correcting:
            _in_hand(job, looked_at.key, keys)
        else:
            _closely(review, looked_at)
            offer_case(lambda: _gathered(job, review, looked_at))


def read_address() -> None:
    """Open the run and the cell again that were being corrected, in a session that knows of neither."""
    run, cell = st.query_params.get("run"), st.query_params.get("cell")
    if run and cell and RUN_CHOSEN.get() is None:
        RUN_CHOSEN.set(run)
        CELL_LOOKED_AT.set((run, cell))
        st.session_state[_CORRECT] = True


def _write_address(run: str, cell: str | None) -> None:
    """Keep in the address what is being corrected; nothing else."""
    wanted = {} if cell is None else {"run": run, "cell": cell}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def _is_wanted(wanted: str, status: OutlineStatus | None) -> bool:
    return wanted == _ANY or (status is None if wanted == _NOT_SEEN else status == wanted)


def _in_small(job: Job, review: Review, keys: Sequence[str], places: int) -> MeasuredCell:
    """A page of thumbnails; returns the cell that is looked at: the one that was chosen, else the first."""
    chosen = CELL_LOOKED_AT.get()
    at = keys.index(chosen[1]) if chosen is not None and chosen[0] == job.name and chosen[1] in keys else None
    st.caption(
        "Least certain outlines first. The number is the certainty: how far a careful drawing would probably agree with"
        " the outline (Dice). Click a cell to see it large."
    )
    pages, key = -(-len(keys) // places), f"batch_page_{job.name}_{places}"
    with st.container(height=620, border=False, key="batch_pictures"):
        place = st.container()
        page = min(st.pagination(pages, key=key, max_visible_pages=5), pages) if pages > 1 else 1
        wanted = keys[(page - 1) * places : page * places]
        *shown, looked_at = review.cells_of([*wanted, keys[at] if at is not None else wanted[0]])
        with place:
            gallery(
                pictures(job, shown),
                f"batch_gallery_{job.name}",
                places=min(places, len(keys)),
                chosen=looked_at.key,
                on_pick=lambda picked: CELL_LOOKED_AT.set((job.name, picked)),
            )
    return looked_at


def _in_hand(job: Job, key: str, keys: Sequence[str]) -> None:
    """The cell in the editor, with the ways on."""
    at = keys.index(key)
    with errors_in_words():
        cell = opened(job, key)
        st.text(shown_text(key.rpartition("#")[0]) + (f", cell {cell.key.cell_index + 1}" if cell.key.place else ""))
        decide_on(cell, at, len(keys), lambda to: CELL_LOOKED_AT.set((job.name, keys[to])), _CORRECT)
    if at + 1 < len(keys):
        with suppress(CoreError):  # told when it is its turn
            opened(job, keys[at + 1])


def _gathered(job: Job, review: Review, cell: MeasuredCell) -> HeldImage:
    """The image of a cell with all its cells, as a case keeps it; raises CoreError."""
    rows = as_drawn(job).rows_of_image(cell.image_path)
    scale = scale_of(job, review) if cell.um_per_px is None or rows[0]["um_per_px"] is None else None
    return gathered(load_settings().cohort, rows, review.original(cell), cell.cell_index, scale)


def _closely(review: Review, cell: MeasuredCell) -> None:
    shown = review.picture(cell)
    words = "Drawn by a person; " if cell.certainty is None else f"Certainty {cell.certainty:.2f}; "
    words += f"{flags_told(cell.flags, good=cell.quality_ok)}."
    words += f" {cell.status.value.capitalize()} by a reader." if cell.status else ""
    words += "".join(f" On opening the image: {note}." for note in cell.notes)
    if shown is None:
        words += " The picture is not there any more, only the outlines."
        paper = np.full((*cell.shape, 3), _PAPER, np.uint8)
        shown = CellImage(paper, cell.image_path, cell.image_sha256, cell.um_per_px)
    with st.container(height=76, border=False, gap="xxsmall", key="batch_cell_words"):
        st.text(shown_text(cell.image_path) + (f", cell {cell.cell_index + 1}" if cell.place else ""))
        st.caption(words)
    cell_viewer(shown, review.labels(cell), key=f"{cell.image_sha256[:16]}-{cell.cell_index}-{cell.drawing}")
