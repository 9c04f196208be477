"""The cell of the single-cell page with its outline: the viewer, or the editor, and what was decided."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import streamlit as st

from core.corrections.opening import OpenCell, keep_out_of, key_of, open_analysed
from core.domain.settings import load_settings
from core.domain.types import CellAnalysis
from core.store import outline_log
from core.store.outline_log import OutlineStatus, OutlineVerdict
from core.support.text import markdown
from pages._ui.common import model_in_use
from pages._ui.components.viewer.viewer import cell_viewer
from pages._ui.correcting.hand import Walk, as_decided, correct
from pages._ui.correcting.history import show_history
from pages._ui.single_cell.tray import ways

_CORRECT: Final = "correct_outline"
_AS_DRAWN: Final = "as_drawn"


def show_outline(analysis: CellAnalysis, field: Sequence[CellAnalysis] = (), *, pictured: bool = True) -> CellAnalysis:
    """Show the cell; returns it with the outline that is shown: the model's, a corrected one, or that in the editor.

    Where it is not `pictured` there is nothing to correct: a new outline could not be measured.
    """
    cell = opened(analysis, field)
    decided, verdict = as_decided(cell) if pictured else (analysis, None)
    correcting = pictured and st.toggle(
        "Correct the outline",
        key=_CORRECT,
        persist_state="session",
        help="Every step can be undone; the model's stays.",
    )
    if correcting:
        where, after, before = ways()
        shown = correct(cell, Walk(where, after, before, partial(st.session_state.update, {_CORRECT: False})))
    else:
        shown = analysis if verdict is not None and _as_the_model_drew(verdict) else decided
        image, mask = shown.image, outline_log.mask_sha256(shown.segmentation.labels)
        key = f"cell-{image.sha256[:16]}-{image.um_per_px}-{shown.cell_index}-{mask[:8]}"
        cell_viewer(image, shown.segmentation.labels, key=key)
    if pictured:
        show_history(cell)
    return shown


def opened(analysis: CellAnalysis, field: Sequence[CellAnalysis] = ()) -> OpenCell:
    """The cell, opened for correction; `field` are all cells of its field."""
    keep_out = None
    if analysis.place is not None:
        others = [
            (cell.place, cell.segmentation.labels) for cell in field if cell.place and cell.place != analysis.place
        ]
        keep_out = keep_out_of(analysis.image.shape, analysis.place, others)
    return open_analysed(analysis, keep_out, model_in_use.default_model().sha256)


def decided_cells(cells: Sequence[CellAnalysis]) -> list[CellAnalysis]:
    """The cells of a field, each with the outline that holds."""
    named = {verdict.cell.name for verdict in outline_log.all_standing(load_settings().cohort)}
    return [as_decided(opened(cell, cells))[0] if key_of(cell).name in named else cell for cell in cells]


def _as_the_model_drew(verdict: OutlineVerdict) -> bool:
    """Say what a person decided, and ask for which outline is wanted where there are two."""
    when = verdict.when.strftime("%d %B %Y")
    if verdict.status is OutlineStatus.CORRECTED:
        label = f"As the model drew it, without the correction by {markdown(verdict.who)} of {when}"
        return st.toggle(label, key=_AS_DRAWN)
    st.caption(f"{verdict.status.value.capitalize()} by {markdown(verdict.who)}, {when}.")
    return False
