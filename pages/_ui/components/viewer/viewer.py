"""The viewers: image with outlines and mask side by side, zoomed together; a field whose cells can be clicked."""

from collections.abc import Callable
from typing import Final

from core.charts.overlay import OUTLINED, mask_svg, outlined_svg
from core.domain.compartments import STYLES, Compartment
from core.domain.types import CellImage, LabelMap
from pages._ui.common.state import widget_value
from pages._ui.components.assets import component

_LABELS: Final = {
    Compartment.NUCLEUS: "nucleus",
    Compartment.CYTOPLASM: "cell border",
    Compartment.ENVIRONMENT: "surroundings",
}


def _toggle(compartment: Compartment) -> str:
    style = STYLES[compartment]
    dash = " ".join(map(str, style.dash))
    checked = "" if compartment is Compartment.ENVIRONMENT else " checked"
    line = f'<path d="M0 5H26" stroke="{style.colour}" stroke-width="3" stroke-dasharray="{dash}"/>'
    return (
        f'<label><input type="checkbox" value="{compartment.label}"{checked}>'
        f'<svg viewBox="0 0 26 10" aria-hidden="true">{line}</svg>'
        f"{_LABELS[compartment]}</label>"
    )


def _pane(label: str, caption: str = "", *, kind: str = "pane") -> str:
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><div class="{kind}" tabindex="0" aria-label="{label}"></div>{below}</figure>'


def _html(panes: str, tools: str) -> str:
    return f'<div class="viewer"><div class="panes">{panes}</div><div class="tools">{tools}{_ZOOM}</div>{_KEYS}</div>'


_ZOOM: Final = """
    <span class="zoom"><button class="zoom-out" type="button" aria-label="Smaller">&minus;</button>
      <button class="zoom-fit" type="button" title="Back to the whole image">100 %</button>
      <button class="zoom-in" type="button" aria-label="Larger">+</button></span>"""
_KEYS: Final = (
    '<p class="keys">wheel or <kbd>+</kbd> <kbd>&minus;</kbd> zoom, drag or arrows move, double click or <kbd>0</kbd>'
    ' whole image<span class="lines">, <kbd>O</kbd> outlines on and off</span></p>'
)
_TOGGLES: Final = "".join(_toggle(c) for c in reversed(OUTLINED))
_OPACITY: Final = """
    <label>opacity
      <input type="range" min="0" max="100" step="5" value="100" aria-label="Opacity of the outlines"></label>"""
_HTML: Final = _html(
    _pane("Image with outlines; plus, minus and arrows: view; o: outlines", "Image with outlines")
    + _pane("Mask; plus and minus enlarge, arrows move", "Mask"),
    _TOGGLES + _OPACITY,
)
_ONE_HTML: Final = _html(_pane("Cell with outlines; plus, minus and arrows: view; o: outlines"), _TOGGLES)
_FIELD_HTML: Final = _html(
    _pane("Field with numbered cells; plus, minus and arrows: view", kind="pane wide"),
    "<span>Click a cell to see its numbers.</span>",
)
_TWO_HTML: Final = _html(
    _pane("The shown cell with outlines; plus and minus enlarge both, arrows move both", "The shown cell")
    + _pane("The other cell with outlines; plus and minus enlarge both, arrows move both", "The cell beside it"),
    "",
)
_VIEWER: Final = component(__file__, "leukoscope_viewer", _HTML)
_ONE_VIEWER: Final = component(__file__, "leukoscope_one_viewer", _ONE_HTML)
_TWO_VIEWER: Final = component(__file__, "leukoscope_two_viewer", _TWO_HTML)
_FIELD_VIEWER: Final = component(__file__, "leukoscope_field_viewer", _FIELD_HTML)
_FIELD_KEY: Final = "field_viewer"


def cell_viewer(image: CellImage, labels: LabelMap | None, key: str) -> None:
    """Show a cell and its mask, or, without labels, the image alone in the place where its outlines will be.

    `key` tells one cell's view from the next, so that the zoom is kept only for the same cell.
    """
    mask = mask_svg(image, labels) if labels is not None else ""
    _VIEWER(key="viewer", data={"id": key, "pictures": [outlined_svg(image, labels), mask]})


def one_cell_viewer(image: CellImage, labels: LabelMap, key: str) -> None:
    """Show a cell with its outlines in a single pane; `key` tells one cell's view from the next."""
    _ONE_VIEWER(key="one_viewer", data={"id": key, "pictures": [outlined_svg(image, labels)]})


def two_cells_viewer(pictures: tuple[str, str], key: str) -> None:
    """Show two pictures of one size, moved and enlarged together; `key` tells one pair from the next."""
    _TWO_VIEWER(key="two_viewer", data={"id": key, "pictures": list(pictures)})


def field_viewer(picture: str, chosen: int, on_pick: Callable[[int], None], key: str) -> None:
    """Show a field with its numbered cells (`core.charts.overlay.field_svg`), the chosen number marked.

    `on_pick` is called with the number of the cell that is clicked, before the page runs again; `key` tells one field
    from the next.
    """

    def take() -> None:
        on_pick(int(widget_value(_FIELD_KEY)["picked"]))

    _FIELD_VIEWER(key=_FIELD_KEY, data={"id": key, "pictures": [picture], "chosen": chosen}, on_picked_change=take)
