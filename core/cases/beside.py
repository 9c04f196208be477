"""Two cells side by side: both drawn on one scale, and what differs between their key measures, in words."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from markupsafe import escape

from core.charts.labels import of_cell
from core.charts.overlay import outlined_svg, scale_bar_svg
from core.domain.types import CellAnalysis, LabelMap
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.features.spec import FeatureSpec
from core.image.masks import cell_mask
from core.store.outline_log import without_ring
from core.support.text import shown

_ROOM: Final = 1.5  # of the larger cell's longer side
_SAME: Final = 0.005  # a smaller difference than half a per cent is none


@dataclass(frozen=True)
class Difference:
    """A feature of both cells as it is shown, and how the second differs from the first, in words."""

    feature: str
    one: str
    other: str
    words: str


@dataclass(frozen=True)
class CellsBeside:
    """Two pictures (SVG) of one size and scale, what that scale is, in words, and the differences."""

    pictures: tuple[str, str]
    scale: str
    differences: tuple[Difference, ...]


def side_by_side(one: CellAnalysis, other: CellAnalysis) -> CellsBeside:
    """Draw two cells on one scale, and compare their key measures.

    Where both scales are known a micrometre is as long in both pictures, and the first has the bar; else a pixel is,
    and sizes are compared in pixels only where neither is known.
    """
    scales = one.image.um_per_px, other.image.um_per_px
    known = scales[0] is not None and scales[1] is not None
    ratio = scales[1] / scales[0] if scales[0] is not None and scales[1] is not None else 1.0
    side = _ROOM * max(_extent(one.segmentation.labels), ratio * _extent(other.segmentation.labels))
    bar = scale_bar_svg((side, side), scales[0] if known else None, unknown="one scale in pixels")
    words = (
        "One scale: a micrometre is as long in both pictures."
        if known
        else "A pixel is as large in both pictures, because "
        + ("neither scale is known." if scales == (None, None) else "one of the two scales is not known.")
        + " Sizes may only be compared if both were taken at the same magnification."
    )
    differences = tuple(_difference(name, one, other) for name in KEY_FEATURES)
    return CellsBeside(
        (_framed(one, 1.0, side, bar), _framed(other, ratio, side, '<g class="scale"></g>')), words, differences
    )


def _extent(labels: LabelMap) -> float:
    """Longer side of the box around the cell, in pixels; of the image where there is no cell."""
    rows, columns = np.nonzero(cell_mask(labels))
    return float(max(np.ptp(rows), np.ptp(columns)) + 1) if len(rows) else float(max(labels.shape))


def _framed(cell: CellAnalysis, ratio: float, side: float, bar: str) -> str:
    """The cell in the middle of a square of `side`; a pixel of its image is `ratio` wide there."""
    labels, rgb = cell.segmentation.labels, cell.image.rgb
    rows, columns = np.nonzero(cell_mask(labels))
    height, width = labels.shape
    y, x = ((rows.min() + rows.max() + 1) / 2, (columns.min() + columns.max() + 1) / 2) if len(rows) else (
        height / 2, width / 2,
    )  # fmt: skip
    half = side / ratio / 2
    left, top = max(0, int(np.floor(x - half))), max(0, int(np.floor(y - half)))
    right, bottom = min(width, int(np.ceil(x + half))), min(height, int(np.ceil(y + half)))
    cut = replace(cell.image, rgb=rgb[top:bottom, left:right].copy())
    drawn = outlined_svg(cut, LabelMap(without_ring(labels)[top:bottom, left:right]), scale_bar=False)
    body = drawn[drawn.index(">") + 1 : drawn.rindex("</svg>")]  # without its own frame: the square has one
    move = f"translate({side / 2 + ratio * (left - x):.3f} {side / 2 + ratio * (top - y):.3f}) scale({ratio:.6f})"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side:.3f} {side:.3f}" role="img"'
        f' aria-label="{escape(shown(cell.image.name))} with outlines"><g transform="{move}">{body}</g>{bar}</svg>'
    )


def _difference(name: str, one: CellAnalysis, other: CellAnalysis) -> Difference:
    spec, values = CATALOGUE[name], [cell.features.values.get(name) for cell in (one, other)]
    first, second = (
        of_cell(spec, value, cell.image.um_per_px, cell.image.um_per_px_error)
        for value, cell in zip(values, (one, other), strict=True)
    )
    return Difference(name, first, second, _words(spec, values, one, other))


def _words(spec: FeatureSpec, values: list[float | None], one: CellAnalysis, other: CellAnalysis) -> str:
    first, second = values
    if first is None or second is None:
        return "not measured in both"
    scales = one.image.um_per_px, other.image.um_per_px
    within = ""
    if spec.length_power and scales[0] is not None and scales[1] is not None:
        ranges = [
            spec.um_range(value, cell.image.um_per_px or 1, cell.image.um_per_px_error or 0)
            for value, cell in ((first, one), (second, other))
        ]
        if max(low for low, _ in ranges) <= min(high for _, high in ranges):
            within = ", within the error of the scales"
        first, second = spec.in_um(first, scales[0]), spec.in_um(second, scales[1])
    elif spec.length_power and scales != (None, None):
        return "cannot be compared: one scale is unknown"
    if abs(second - first) <= _SAME * abs(first):
        return "the same"
    more, less = ("larger", "smaller") if spec.length_power else ("higher", "lower")
    by = f"{100 * abs(second - first) / abs(first):.0f} % " if first else ""
    pixels = " in pixels" if spec.length_power and scales == (None, None) else ""
    return f"{by}{more if second > first else less}{pixels}{within}"
