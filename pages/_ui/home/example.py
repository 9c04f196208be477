"""A cell measured on Home, so that a newcomer sees what comes out before bringing anything."""

from typing import Final

import streamlit as st

from core.domain.types import CellAnalysis
from core.pipeline import ReceivedImage
from core.populations.placement import place_cell
from core.segmentation.model_registry import ModelEntry
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.caching import cached
from pages._ui.common.state import ANALYSIS, TRAY
from pages._ui.common.widgets import draw_example, take_example
from pages._ui.components.viewer.viewer import one_cell_viewer
from pages._ui.single_cell.cell_view import show_measures
from pages._ui.single_cell.tray import take

_KIND: Final = "monocyte"
_MOST: Final = 4  # measures


@cached("resource", max_entries=2, key=lambda model: (str(model.path), model.sha256))
def _measured(_model: ModelEntry) -> CellAnalysis:
    chosen, scale = draw_example(_KIND)
    _, (analysis,) = model_in_use.analysed(ReceivedImage(chosen.data, chosen.name, scale), lambda *_words: None)
    return analysis


def show_example() -> None:
    """Show the cell with its outlines beside its first measures; raises CoreError."""
    analysis = _measured(model_in_use.default_model())
    left, right = st.columns([1, 1.5], gap="medium")
    with left:
        one_cell_viewer(analysis.image, analysis.segmentation.labels, "example")
    with right:
        placed = place_cell(analysis, cohort_data.references())
        show_measures(analysis, placed, model_in_use.reliability(), _MOST)


def open_example() -> None:
    """Let *Single cell* show it, measured, as if it had been chosen and calculated there."""
    take_example(_KIND, take)
    if TRAY.get() is None:
        ANALYSIS.set(_measured(model_in_use.default_model()))
