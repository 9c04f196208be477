"""The cell viewer: image with outlines and mask side by side, enlarged and moved together, all in the browser."""

from pathlib import Path
from typing import Final

import streamlit as st

from core.charts.overlay import OUTLINED, mask_svg, outlined_svg
from core.compartments import STYLES, Compartment
from core.types import CellImage, LabelMap

_HERE: Final = Path(__file__).parent
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


_HTML: Final = f"""
<div class="viewer">
  <div class="panes">
    <figure><div class="pane" tabindex="0" aria-label="Image with outlines; plus, minus and arrows: view; o: outlines"></div>
      <figcaption>Image with outlines</figcaption></figure>
    <figure><div class="pane" tabindex="0" aria-label="Mask; plus and minus enlarge, arrows move"></div>
      <figcaption>Mask</figcaption></figure>
  </div>
  <div class="tools">
    {"".join(_toggle(c) for c in reversed(OUTLINED))}
    <label>opacity <input type="range" min="0" max="100" step="5" value="100" aria-label="Opacity of the outlines"></label>
    <span class="zoom"><button class="zoom-out" type="button" aria-label="Smaller">&minus;</button>
      <button class="zoom-fit" type="button" title="Back to the whole image">100 %</button>
      <button class="zoom-in" type="button" aria-label="Larger">+</button></span>
  </div>
</div>
"""


_VIEWER: Final = st.components.v2.component(
    "leukoscope_viewer",
    html=_HTML,
    css=(_HERE / "viewer.css").read_text(encoding="utf-8"),
    js=(_HERE / "viewer.js").read_text(encoding="utf-8"),
)


def cell_viewer(image: CellImage, labels: LabelMap | None, key: str) -> None:
    """Show a cell and its mask, or, without labels, the image alone in the place where its outlines will be.

    `key` tells one cell's view from the next, so that the enlargement is kept only for the same cell.
    """
    mask = mask_svg(image, labels) if labels is not None else ""
    _VIEWER(key="viewer", data={"id": key, "outlined": outlined_svg(image, labels), "mask": mask})
