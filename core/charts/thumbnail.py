"""A cell in small: its picture where it is at hand, else its outlines alone."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.domain.compartments import STYLES, Compartment

_SIDE_PX: Final = 176  # twice as many would not be seen
_QUALITY: Final = 85
_MARGIN: Final = 0.18  # of the cell's longer side, all round
_CASING_WIDTH_PX: Final = 3.2
_LINE_WIDTH_PX: Final = 1.6

Rings = Sequence[NDArray[np.float32]]


def thumbnail_svg(
    outlines: Mapping[Compartment, Rings],
    shape: tuple[int, int],
    rgb: NDArray[np.uint8] | None = None,
    side: int | None = None,
) -> str:
    """Square SVG of a cell, cut out close around it; of the whole image where there is no outline.

    Parameters
    ----------
    outlines
        Rings by compartment: of `CYTOPLASM` the border of the cell and of `NUCLEUS` that of the nucleus, (N, 2) arrays
        of x, y in pixels of the image.
    shape
        Height and width of the image.
    rgb
        The image, uint8 (H, W, 3); without it the outlines are filled.
    side
        Pixels of the square that is shown, with the cell in its middle, so that several cells can be drawn at one
        scale.
    """
    left, top, side = _window(outlines, shape, side)
    body = _picture(rgb, left, top, side) if rgb is not None else ""
    for compartment in (Compartment.CYTOPLASM, Compartment.NUCLEUS):
        style = STYLES[compartment]
        path = "".join(
            "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ring[:-1]) + "Z" for ring in outlines.get(compartment, ())
        )
        line = f'<path d="{path}" vector-effect="non-scaling-stroke" stroke-linejoin="round"'
        fill = "none"
        if rgb is None:
            fill = (
                f'{style.colour}" fill-opacity="{0.55 if compartment is Compartment.NUCLEUS else 0.3}"'
                ' fill-rule="evenodd'
            )
        else:
            body += f'{line} fill="none" stroke="#fff" stroke-opacity="0.65" stroke-width="{_CASING_WIDTH_PX}"/>'
        dash = f' stroke-dasharray="{" ".join(map(str, style.dash))}"' if style.dash else ""
        body += f'{line} fill="{fill}" stroke="{style.colour}" stroke-width="{_LINE_WIDTH_PX}"{dash}/>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left} {top} {side} {side}" aria-hidden="true">{body}</svg>'
    )


def _window(outlines: Mapping[Compartment, Rings], shape: tuple[int, int], side: int | None) -> tuple[int, int, int]:
    """Left, top and side of the square that is shown; it may reach beyond the image."""
    height, width = shape
    rings = [ring for own in outlines.values() for ring in own]
    if not rings:
        side = side or max(height, width)
        return (width - side) // 2, (height - side) // 2, side
    points = np.concatenate(rings)
    low, high = points.min(axis=0), points.max(axis=0)
    side = side or int(np.ceil((1 + 2 * _MARGIN) * (high - low).max()))
    left, top = np.floor((low + high - side) / 2).astype(int)
    return int(left), int(top), max(side, 1)


def _picture(rgb: NDArray[np.uint8], left: int, top: int, side: int) -> str:
    """What of the window lies in the image, in no more pixels than are shown."""
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    if x0 >= x1 or y0 >= y1:
        return ""
    cut = Image.fromarray(np.ascontiguousarray(rgb[y0:y1, x0:x1]))
    scale = min(1, _SIDE_PX / side)
    small = cut.resize((max(1, round(scale * cut.width)), max(1, round(scale * cut.height))), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<image href="{uri}" x="{x0}" y="{y0}" width="{x1 - x0}" height="{y1 - y0}" preserveAspectRatio="none"/>'
