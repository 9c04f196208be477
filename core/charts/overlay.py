"""The cell and its outlines: as an SVG figure for pages and reports, and as a PNG to download."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from markupsafe import escape
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from core.domain.compartments import STYLES, Compartment
from core.domain.types import BoundingBox, CellImage, LabelMap
from core.image.imaging import encode_png
from core.image.masks import cell_mask, outlines
from core.image.morphology import bounds
from core.support.text import shown

OUTLINED: Final = (Compartment.ENVIRONMENT, Compartment.CYTOPLASM, Compartment.NUCLEUS)
OUTLINE_WIDTH_PX: Final = 1.8
# A pale casing under the lines on the cell: a violet line on a violet nucleus would not be seen without it.
_CASED: Final = (Compartment.CYTOPLASM, Compartment.NUCLEUS)
_CASING_WIDTH_PX: Final = 3.6
_SMALL_IMAGE_PX: Final = 200
# A close-up shows so many times the cell with its surroundings.
_CLOSE_UP: Final = 1.25
# Of a picture on paper a line takes this share of the width: 0.4 mm of 8 cm.
_PRINTED_LINE_SHARE: Final = 0.005
# What reports embed in a PDF; elsewhere any sans serif.
_FONT: Final = "Source Sans Pro, sans-serif"
# A field is shown as an overview: no more pixels than a screen has, which also keeps the page light.
_OVERVIEW_PX: Final = 1600
_OVERVIEW_QUALITY: Final = 88
# Lines are drawn at twice the size and reduced up to this side; larger pictures are fine enough for plain lines, and
# many megabytes.
_SMOOTH_UP_TO_PX: Final = 2048
_SCALE_BAR_STEPS_UM: Final = (0.5, 1, 2, 5, 10, 20, 50, 100, 200)
_SCALE_BAR_MAX_SHARE: Final = 0.3


def outer_outline(labels: LabelMap, compartment: Compartment) -> list[NDArray[np.float32]]:
    """Outline of a compartment together with all that lies inside it, as (N, 2) arrays of x, y in pixels.

    The cytoplasm's line is therefore the cell's border, the environment's the outer edge of the ring: no border is
    drawn twice.
    """
    inside = np.where(labels >= compartment, np.uint8(Compartment.NUCLEUS), np.uint8(Compartment.BACKGROUND))
    return outlines(LabelMap(inside), Compartment.NUCLEUS.label)


def scale_bar_um(width_px: float, um_per_px: float) -> float:
    """Length in micrometres of the longest round scale bar that takes at most 30 % of the width."""
    room = width_px * um_per_px * _SCALE_BAR_MAX_SHARE
    return max((step for step in _SCALE_BAR_STEPS_UM if step <= room), default=_SCALE_BAR_STEPS_UM[0])


def path_of(rings: Sequence[NDArray[np.float32]]) -> str:
    """Closed rings as the path of an SVG."""
    return "".join("M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in ring[:-1]) + "Z" for ring in rings)


def _data_uri(rgb: NDArray[np.uint8]) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(rgb)).decode("ascii")


def scale_bar_svg(
    shape: tuple[float, float], um_per_px: float | None, *, printed: bool = False, unknown: str = "scale unknown"
) -> str:
    """The scale bar in the corner of a picture of this height and width; without a scale, the words instead."""
    height, width = shape
    unit = width / 100
    x, y = 3 * unit, height - 3.5 * unit
    size = f'font-family="{_FONT}" font-size="{4 * unit:.2f}" fill="#fff"'
    edge = f'stroke="#000" stroke-width="{0.5 * unit:.2f}" paint-order="stroke"'

    def text(said: str, y: float) -> str:
        at = f'<text x="{x:.2f}" y="{y:.2f}" {size}'
        # Not everything that prints paints the edge below the letters.
        return f"{at} {edge}>{said}</text>" + (f"{at}>{said}</text>" if printed else "")

    if um_per_px is None:
        return f'<g class="scale">{text(unknown, y)}</g>'
    length = scale_bar_um(width, um_per_px)
    bar = length / um_per_px
    return (
        f'<g class="scale" data-um-per-px="{um_per_px:g}" data-um="{length:g}">'
        f'<rect x="{x:.2f}" y="{y - unit:.2f}" width="{bar:.2f}" height="{1.2 * unit:.2f}" '
        f'fill="#fff" stroke="#000" stroke-width="{0.3 * unit:.2f}"/>{text(f"{length:g} µm", y - 2 * unit)}</g>'
    )


def _rendering(image: CellImage) -> str:
    """Squares for small images, which are always shown enlarged; the viewer decides anew at every zoom."""
    return "pixelated" if max(image.shape) <= _SMALL_IMAGE_PX else "auto"


def _svg(image: CellImage, label: str, body: str, scale_bar: str) -> str:
    height, width = image.shape
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" preserveAspectRatio="xMidYMid meet" '
        f'role="img" aria-label="{escape(shown(label))}">{body}{scale_bar}</svg>'
    )


def close_up(image: CellImage, *drawn: LabelMap) -> tuple[CellImage, list[LabelMap]]:
    """What is drawn and a little around it, cut out of an image and out of each label map; all where nothing is drawn.

    The cut-out is square as far as the image goes.
    """
    ring = np.any([labels > Compartment.BACKGROUND for labels in drawn], axis=0)
    if not ring.any():
        return image, list(drawn)
    sides = bounds(ring)
    room = math.ceil(_CLOSE_UP * max(side.stop - side.start for side in sides))
    place = []
    for side, length in zip(sides, image.shape, strict=True):
        first = max(0, min((side.start + side.stop - room) // 2, length - room))
        place.append(slice(first, first + room))
    rows, columns = place
    return replace(image, rgb=image.rgb[rows, columns].copy()), [LabelMap(labels[rows, columns]) for labels in drawn]


def outlined_svg(
    image: CellImage,
    labels: LabelMap | None = None,
    opacity: float = 1.0,
    *,
    printed: bool = False,
    scale_bar: bool = True,
) -> str:
    """The image with its outlines as SVG text, in the image's own coordinates; pixels stay sharp at any zoom.

    Nucleus solid, cell border dashed, surroundings dotted, each in a group of class `outline <compartment>` so that a
    page can hide it. Without `labels` it is the bare image. The image's name goes in escaped. Lines keep their width at
    every zoom, or, `printed`, grow with the picture, which not everything that prints can do otherwise.
    """
    height, width = image.shape
    unit = width * _PRINTED_LINE_SHARE / OUTLINE_WIDTH_PX if printed else 1.0
    fixed = "" if printed else ' vector-effect="non-scaling-stroke"'
    body = (
        f'<image href="{_data_uri(image.rgb)}" width="{width}" height="{height}"'
        f' style="image-rendering:{_rendering(image)}"/>'
    )
    if labels is not None:
        body += f'<g class="outlines" opacity="{opacity:g}" fill="none" stroke-linejoin="round">'
        for compartment in OUTLINED:
            style = STYLES[compartment]
            path = path_of(outer_outline(labels, compartment))
            dash = (
                f' stroke-dasharray="{" ".join(f"{unit * length:g}" for length in style.dash)}"' if style.dash else ""
            )
            line = f'<path d="{path}"{fixed}'
            casing = (
                f'{line} stroke="#fff" stroke-opacity="0.65" stroke-width="{unit * _CASING_WIDTH_PX:g}"/>'
                if compartment in _CASED
                else ""
            )
            body += (
                f'<g class="outline {compartment.label}">{casing}'
                f'{line} stroke="{style.colour}" stroke-width="{unit * OUTLINE_WIDTH_PX:g}"{dash}/></g>'
            )
        body += "</g>"
    bar = scale_bar_svg(image.shape, image.um_per_px, printed=printed) if scale_bar else ""
    return _svg(image, f"{image.name} with outlines" if labels is not None else image.name, body, bar)


def mask_svg(image: CellImage, labels: LabelMap) -> str:
    """The mask as filled shapes in the compartments' colours, in the same coordinates as `outlined_svg`."""
    height, width = image.shape
    body = f'<rect class="ground" width="{width}" height="{height}" fill="#808080" fill-opacity="0.12"/>'
    for compartment in OUTLINED:
        style = STYLES[compartment]
        path = path_of(outer_outline(labels, compartment))
        paint = f'fill="{style.colour}" fill-opacity="{style.fill_opacity}" fill-rule="evenodd"'
        body += f'<path class="fill {compartment.label}" d="{path}" {paint}/>'
    return _svg(image, f"Mask of {image.name}", body, scale_bar_svg(image.shape, image.um_per_px))


def field_svg(field: CellImage, cells: Sequence[tuple[BoundingBox, LabelMap]]) -> str:
    """A field with every cell outlined and numbered from 1, as SVG text in the field's own pixels.

    Each cell is a group of class `cell` whose `data-cell` is its number, with a filled shape to click on; the picture
    is reduced to what a screen shows. The image's name goes in escaped.
    """
    width = field.shape[1]
    body = field_ground(field)
    for number, (place, labels) in enumerate(cells, start=1):
        lines = {c: path_of(moved(outer_outline(labels, c), place)) for c in _CASED}
        drawn = "".join(
            f'<path class="outline {c.label}" d="{path}" fill="none" stroke="{STYLES[c].colour}"'
            f' stroke-width="{OUTLINE_WIDTH_PX}" vector-effect="non-scaling-stroke"/>'
            for c, path in lines.items()
        )
        x, y, size = _number_at(place, labels, width)
        body += (
            f'<g class="cell" data-cell="{number}"><path class="shape" d="{lines[Compartment.CYTOPLASM]}" fill="#fff"'
            f' fill-opacity="0"/>{drawn}<text x="{x:.1f}" y="{y:.1f}" font-family="sans-serif" font-weight="600"'
            f' font-size="{size:.1f}" text-anchor="middle" fill="#fff" stroke="#000" stroke-width="{size / 5:.1f}"'
            f' stroke-linejoin="round" paint-order="stroke">{number}</text></g>'
        )
    return _svg(
        field,
        f"{field.name}: {len(cells)} cells, outlined and numbered",
        body,
        scale_bar_svg(field.shape, field.um_per_px),
    )


def field_ground(field: CellImage) -> str:
    """The picture of a field, reduced to what a screen shows, as an element of an SVG in the field's own pixels."""
    height, width = field.shape
    return f'<image href="{_overview_uri(field.rgb)}" width="{width}" height="{height}"/>'


def _overview_uri(rgb: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(rgb)
    picture = picture.reduce(-(-max(picture.size) // _OVERVIEW_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_OVERVIEW_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def moved(rings: Sequence[NDArray[np.float32]], place: BoundingBox) -> list[NDArray[np.float32]]:
    """Rings of a cut-out in pixels of its field."""
    return [ring + np.array([place.left, place.top], np.float32) for ring in rings]


def _number_at(place: BoundingBox, labels: LabelMap, field_width: int) -> tuple[float, float, float]:
    """Where to write a cell's number (x, y of the middle of its baseline, on the cell's upper edge), and how large."""
    rows, columns = (np.flatnonzero(cell_mask(labels).any(axis=axis)) for axis in (1, 0))
    size = min(max(field_width / 45, 0.16 * rows.size), 0.5 * rows.size)
    return place.left + (columns[0] + columns[-1]) / 2, max(size, place.top + rows[0] + size / 3), size


def _dashes(ring: NDArray[np.float32], dash: tuple[int, ...]) -> list[list[tuple[float, float]]]:
    """Cut a closed polyline into its drawn pieces; `dash` holds drawn and blank lengths in the ring's own unit."""
    if not dash:
        return [[(float(x), float(y)) for x, y in ring]]
    steps = np.hypot(*np.diff(ring, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    on, off = dash
    pieces = []
    for start in np.arange(0.0, along[-1], on + off):
        at = np.linspace(start, min(start + on, along[-1]), num=max(2, int(on)))
        pieces.append(
            [
                (float(x), float(y))
                for x, y in zip(np.interp(at, along, ring[:, 0]), np.interp(at, along, ring[:, 1]), strict=True)
            ]
        )
    return pieces


def outlined_png(image: CellImage, labels: LabelMap, min_side_px: int = 1024) -> bytes:
    """The image with outlines and scale bar as a PNG file, enlarged until its longer side has `min_side_px`.

    The factor is whole and pixels are repeated, not blurred; lines are drawn at twice that size and reduced, so they
    are smooth.
    """
    return _drawn_png(image, [(BoundingBox(0, 0, image.shape[1], image.shape[0]), labels)], min_side_px, numbered=False)


def field_png(field: CellImage, cells: Sequence[tuple[BoundingBox, LabelMap]], min_side_px: int = 1024) -> bytes:
    """A field with every cell outlined and numbered from 1 as a PNG file, enlarged as by `outlined_png`."""
    return _drawn_png(field, cells, min_side_px, numbered=True)


def _drawn_png(
    image: CellImage, cells: Sequence[tuple[BoundingBox, LabelMap]], min_side_px: int, *, numbered: bool
) -> bytes:
    side = max(image.shape)
    factor = max(1, -(-min_side_px // side))
    smooth = 2 if factor * side <= _SMOOTH_UP_TO_PX else 1
    big = np.repeat(np.repeat(image.rgb, factor, axis=0), factor, axis=1) if factor > 1 else image.rgb
    picture = Image.fromarray(big)
    layer = (
        Image.new("RGBA", (smooth * picture.width, smooth * picture.height), (255, 255, 255, 0))
        if smooth > 1
        else picture
    )
    pen = ImageDraw.Draw(layer, "RGBA" if smooth == 1 else None)
    line = smooth * max(2, round(factor * side / (800 if numbered else 400)))
    for number, (place, labels) in enumerate(cells, start=1):
        for compartment in _CASED if numbered else OUTLINED:
            style = STYLES[compartment]
            for ring in moved(outer_outline(labels, compartment), place):
                scaled = ring * (smooth * factor)
                if compartment in _CASED:
                    pen.line(
                        [(float(x), float(y)) for x, y in scaled],
                        fill=(255, 255, 255, 150),
                        width=2 * line,
                        joint="curve",
                    )
                for piece in _dashes(scaled, () if numbered else tuple(length * line // 2 for length in style.dash)):
                    pen.line(piece, fill=style.colour, width=line, joint="curve")
        if numbered:
            x, y, size = (smooth * factor * value for value in _number_at(place, labels, image.shape[1]))
            pen.text(
                (x, y),
                str(number),
                fill="white",
                stroke_fill="black",
                stroke_width=max(1, round(size / 9)),
                font_size=size,
                anchor="ms",
            )
    _draw_scale(pen, image, smooth * factor)
    if smooth > 1:
        picture = picture.convert("RGBA")
        picture.alpha_composite(layer.resize(picture.size, Image.Resampling.LANCZOS))
        picture = picture.convert("RGB")
    return encode_png(np.asarray(picture))


def _draw_scale(pen: ImageDraw.ImageDraw, image: CellImage, factor: int) -> None:
    height, width = image.shape
    unit = width * factor / 100
    x, y = 3 * unit, height * factor - 3.5 * unit
    text = "scale unknown"
    if image.um_per_px is not None:
        length = scale_bar_um(width, image.um_per_px)
        text = f"{length:g} um"  # Pillow's built-in font has no micro sign
        pen.rectangle(
            (x, y, x + length / image.um_per_px * factor, y + 1.2 * unit),
            fill="white",
            outline="black",
            width=max(1, round(unit / 4)),
        )
    pen.text(
        (x, y - 0.8 * unit),
        text,
        fill="white",
        stroke_fill="black",
        stroke_width=max(1, round(unit / 3)),
        font_size=4 * unit,
        anchor="ls",
    )
