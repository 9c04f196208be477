"""Two cells of the tray side by side: the shown one, and another that is chosen."""

from typing import Final

import streamlit as st
from markupsafe import Markup

from core.cases.beside import Difference, side_by_side
from core.cases.cells import open_cells, rows_in
from core.cases.decided import decided_analyses
from core.domain.errors import CoreError
from core.domain.settings import load_settings
from core.domain.types import CellAnalysis
from core.features.catalogue import CATALOGUE
from core.pipeline import at_scale
from core.support.text import markdown, shown
from pages._ui.common.state import CELL_CHOSEN, FIELD, TRAY, Tray, TrayImage
from pages._ui.components.viewer.viewer import two_cells_viewer
from pages._ui.single_cell.tray import content

_KEY: Final = "tray_beside"
_TABLE: Final = Markup(
    '<table class="beside"><tr><th></th><th>{}</th><th>{}</th><th>The second beside the first</th></tr>{}</table>'
)
_ROW: Final = Markup("<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>")


def choose_beside(tray: Tray) -> None:
    """Ask for the cell that is to be shown beside."""
    cells = _cells(tray)
    if len(cells) > 1:
        st.selectbox(
            "Set a cell beside",
            list(cells),
            index=None,
            placeholder="Set a cell beside",
            format_func=lambda key: shown(cells[key]) if key in cells else "",
            key=_KEY,
            label_visibility="collapsed",
            width=230,
            persist_state="session",
        )


def is_beside() -> bool:
    """Whether another cell than the shown one was chosen."""
    tray, key = TRAY.get(), st.session_state.get(_KEY)
    return tray is not None and key in _cells(tray) and key != _key_of_shown(tray)


def show_beside(analysis: CellAnalysis) -> None:
    """Show the chosen cell beside the one that is shown."""
    tray = TRAY.get()
    assert tray is not None
    try:
        other = _opened(tray, st.session_state[_KEY])
    except CoreError as error:
        st.error(markdown(str(error)), icon=":material/error:")
        return
    beside = side_by_side(analysis, other)
    names = [_called(cell) for cell in (analysis, other)]
    left, right = st.columns([1.9, 1.1], gap="medium")
    with left:
        two_cells_viewer(beside.pictures, "-".join(str(hash(picture)) for picture in beside.pictures))
    with right:
        st.html(_TABLE.format(*map(shown, names), Markup().join(map(_row, beside.differences))))
        st.caption(beside.scale)
    st.divider()


def _row(difference: Difference) -> Markup:
    return _ROW.format(CATALOGUE[difference.feature].label, difference.one, difference.other, difference.words)


def _cells(tray: Tray) -> dict[str, str]:
    """The measured cells of the tray by key, with what they are called."""
    found = {}
    for image in tray.images:
        record = image.record
        for number in range(record.cells):
            name = record.name if record.cells == 1 else f"{record.name}, cell {number + 1}"
            found[f"{record.sha256}#{number}"] = name
    return found


def _key_of_shown(tray: Tray) -> str:
    return f"{tray.shown}#{(CELL_CHOSEN.get() or 1) - 1 if FIELD.get() is not None else 0}"


def _called(analysis: CellAnalysis) -> str:
    return analysis.image.name + (f", cell {analysis.cell_index + 1}" if analysis.place else "")


def _opened(tray: Tray, key: str) -> CellAnalysis:
    """A cell of the tray with the outline that holds and the scale of its image; raises CoreError."""
    sha256, _, number = key.partition("#")
    image: TrayImage = next(one for one in tray.images if one.record.sha256 == sha256)
    data, cells = content(tray, image)
    assert cells is not None
    opened = open_cells(cells, data, image.record.name)
    cell = decided_analyses(load_settings().cohort, opened, rows_in(cells))[int(number)]
    return at_scale(cell, image.record.scale)
