"""Cells drawn by the program: examples that may be shown to anyone, and images whose true mask is known.

The look is that of May-Gruenwald-Giemsa smears under an automated microscope. Outlines are polar curves scaled to a
stated area, so the label map is known exactly; the texture is seeded noise.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.types import CellImage, LabelMap, as_label_map
from core.image.imaging import decode, encode_png
from core.image.masks import with_environment

SIDE_PX: Final = 360
# The scale of the drawing: red cells of 7.5 um are 79 px across, as in the CellaVision images it imitates.
UM_PER_PX: Final = 0.095
RED_CELL_RADIUS_PX: Final = 7.5 / UM_PER_PX / 2

_BACKGROUND: Final = (253, 229, 206)
_RED_CELL: Final = (218, 172, 166)
_CHROMATIN: Final = (64, 24, 116)
_CHROMATIN_GAPS: Final = (128, 74, 158)
_VACUOLE: Final = (226, 214, 222)
_OPTICAL_BLUR_PX: Final = 0.8


@dataclass(frozen=True)
class CellDrawing:
    """What to draw. Diameters are those of circles with the same area.

    `nucleus_share` is nucleus area / cell area (without hairs), `elongation` minor / major axis (1 for round, as in
    pyradiomics), `notch` the depth of the nucleus's dent as a share of its radius, `clumping` the contrast of the
    chromatin, 0 to 1. The nucleus is shifted along the cell's long axis.
    """

    name: str
    cell_diameter_px: float
    cell_elongation: float
    ruffle: float
    nucleus_share: float
    nucleus_elongation: float
    nucleus_shift_px: float
    notch: float
    clumping: float
    cytoplasm: tuple[int, int, int]
    vacuoles: int = 0
    hairs: int = 0
    hair_length_px: float = 0.0


SYNTHETIC_CELLS: Final = MappingProxyType(
    {
        drawing.name: drawing
        for drawing in (
            CellDrawing("lymphocyte", 118, 0.93, 0.015, 0.72, 0.90, 5, 0.10, 0.45, (134, 150, 206)),
            CellDrawing("monocyte", 168, 0.88, 0.035, 0.45, 0.72, 8, 0.55, 0.75, (166, 160, 194), vacuoles=7),
            CellDrawing(
                "hairy_cell", 148, 0.92, 0.025, 0.46, 0.84, 12, 0.18, 0.60, (164, 172, 214), hairs=22, hair_length_px=24
            ),
        )
    }
)


def draw_cell(seed: int = 0, drawing: CellDrawing = SYNTHETIC_CELLS["monocyte"]) -> tuple[CellImage, LabelMap]:
    """Draw one stained cell among red cells.

    Parameters
    ----------
    seed
        Of outline details, neighbours and noise; the same seed gives the same pixels.
    drawing
        One of `SYNTHETIC_CELLS`, or any other.

    Returns
    -------
    tuple[CellImage, LabelMap]
        Image of 360 x 360 pixels named ``synthetic_<name>.png`` with `UM_PER_PX`, and its true label map with the
        environment ring.
    """
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi)
    centre = SIDE_PX / 2 + rng.uniform(-6, 6, 2)
    cell_area = np.pi * drawing.cell_diameter_px**2 / 4
    cell_curve = _ellipse(drawing.cell_elongation) * _wobble(rng, drawing.ruffle)
    cell_curve *= np.sqrt(cell_area / _area(cell_curve))
    cell_curve += _hairs(rng, drawing)
    nucleus_curve = _ellipse(drawing.nucleus_elongation) * _wobble(rng, 0.012) * _notch(drawing.notch)
    nucleus_curve *= np.sqrt(drawing.nucleus_share * cell_area / _area(nucleus_curve))
    shift = drawing.nucleus_shift_px * np.array([np.sin(angle), np.cos(angle)])

    in_cell = _inside(cell_curve, centre, angle)
    in_nucleus = np.minimum(_inside(nucleus_curve, centre + shift, angle), in_cell)
    labels = np.full((SIDE_PX, SIDE_PX), Compartment.BACKGROUND, np.uint8)
    labels[in_cell > 0] = Compartment.CYTOPLASM
    labels[in_nucleus > 0] = Compartment.NUCLEUS

    picture = np.full((SIDE_PX, SIDE_PX, 3), _BACKGROUND, np.float64)
    picture = _with_red_cells(picture, rng, centre, keep_away_px=float(cell_curve.max()) + 4)
    picture = _blend(picture, _cytoplasm(rng, drawing, in_cell), in_cell)
    picture = _blend(picture, _nucleus(rng, drawing, in_nucleus), in_nucleus)
    picture = ndimage.gaussian_filter(picture, (_OPTICAL_BLUR_PX, _OPTICAL_BLUR_PX, 0))
    picture += rng.normal(0, 1.5, picture.shape)
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    image = decode(encode_png(pixels), f"synthetic_{drawing.name}.png", UM_PER_PX)
    return image, with_environment(as_label_map(labels))


# Outlines are radii at these angles; an outline's own long axis lies along angle 0.
_ANGLES: Final = np.linspace(-np.pi, np.pi, 1440, endpoint=False)


def _ellipse(elongation: float) -> NDArray[np.float64]:
    return np.asarray(elongation / np.sqrt((elongation * np.cos(_ANGLES)) ** 2 + np.sin(_ANGLES) ** 2))


def _wobble(rng: np.random.Generator, amplitude: float) -> NDArray[np.float64]:
    """Gentle irregularity: a few harmonics of falling strength around 1."""
    radii = np.ones_like(_ANGLES)
    for harmonic in range(2, 10):
        strength = 2 / harmonic * amplitude * rng.normal()
        radii += strength * np.cos(harmonic * _ANGLES + rng.uniform(0, 2 * np.pi))
    return radii


def _notch(depth: float) -> NDArray[np.float64]:
    """Radius factor of a dent across the short axis; deep ones give the kidney shape of monocytes."""
    return np.asarray(1 - depth * np.exp(-(((_ANGLES - np.pi / 2) / 0.45) ** 2)))


def _hairs(rng: np.random.Generator, drawing: CellDrawing) -> NDArray[np.float64]:
    """Thin projections of uneven length and width all around."""
    tips = np.linspace(-np.pi, np.pi, drawing.hairs, endpoint=False) + rng.uniform(-0.12, 0.12, drawing.hairs)
    radii = np.zeros_like(_ANGLES)
    for tip in tips:
        distance = np.angle(np.exp(1j * (_ANGLES - tip)))
        length = drawing.hair_length_px * rng.uniform(0.25, 1.0)
        radii = np.maximum(radii, length * np.exp(-(np.abs(distance / rng.uniform(0.025, 0.05)) ** 1.2)))
    return radii


def _area(curve: NDArray[np.float64]) -> float:
    """Area inside a polar curve, half the integral of the squared radius."""
    return float(np.mean(curve**2) * np.pi)


_WHOLE: Final = (slice(0, SIDE_PX), slice(0, SIDE_PX))


def _inside(
    curve: NDArray[np.float64], centre: NDArray[np.float64], angle: float, window: tuple[slice, slice] = _WHOLE
) -> NDArray[np.float64]:
    """Depth below the outline in pixels along the radius, positive inside; float64, of a window of the picture."""
    y, x = np.mgrid[window]
    dy, dx = y - centre[0], x - centre[1]
    return np.asarray(np.interp(np.arctan2(dy, dx) - angle, _ANGLES, curve, period=2 * np.pi) - np.hypot(dy, dx))


def _blend(below: NDArray[np.float64], above: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lay one picture over another where depth is positive, with an edge of one pixel."""
    cover = np.clip(depth + 0.5, 0, 1)[..., None]
    return np.asarray(below * (1 - cover) + above * cover)


def _noise(rng: np.random.Generator, grain_px: float) -> NDArray[np.float64]:
    """Smooth noise of unit variance whose grains are about that large."""
    noise = ndimage.gaussian_filter(rng.normal(size=(SIDE_PX, SIDE_PX)), grain_px)
    return np.asarray(noise / noise.std())


def _with_red_cells(
    picture: NDArray[np.float64], rng: np.random.Generator, cell_centre: NDArray[np.float64], keep_away_px: float
) -> NDArray[np.float64]:
    """Red cells with their pale centre, apart from each other and from the cell."""
    centres: list[NDArray[np.float64]] = []
    for candidate in rng.uniform(-25, SIDE_PX + 25, (400, 2)):
        apart = all(np.hypot(*(candidate - other)) > 2 * RED_CELL_RADIUS_PX for other in centres)
        if not apart or np.hypot(*(candidate - cell_centre)) < keep_away_px + RED_CELL_RADIUS_PX:
            continue
        centres.append(candidate)
        curve = _ellipse(rng.uniform(0.85, 1.0)) * _wobble(rng, 0.02) * RED_CELL_RADIUS_PX * rng.uniform(0.86, 0.98)
        reach = float(curve.max()) + 2
        top, left = (max(0, math.floor(at - reach)) for at in candidate)
        bottom, right = (min(SIDE_PX, max(0, math.ceil(at + reach))) for at in candidate)
        window = slice(top, bottom), slice(left, right)
        depth = _inside(curve, candidate, rng.uniform(0, 2 * np.pi), window)
        pallor = rng.uniform(0.2, 0.75) / (1 + np.exp(-(depth - rng.uniform(22, 28)) / 3.5))
        rim = 0.25 * np.exp(-((depth / 2.5) ** 2))
        stain = (1 - pallor + rim)[..., None]
        colour = np.array(_BACKGROUND) + stain * (np.array(_RED_CELL) - np.array(_BACKGROUND))
        picture[window] = _blend(picture[window], colour, depth)
    return picture


def _cytoplasm(rng: np.random.Generator, drawing: CellDrawing, depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Blue-grey, a little darker at the rim, cloudy and finely granular, with vacuoles."""
    shade = 5 * _noise(rng, 7) + 5 * _noise(rng, 1.2) - 14 * np.exp(-((depth / 3) ** 2))
    body: NDArray[np.float64] = np.array(drawing.cytoplasm) + shade[..., None] * np.array([1.0, 1.0, 0.6])
    where = np.argwhere(depth > 9)
    for row, column in where[rng.integers(len(where), size=drawing.vacuoles)]:
        window = slice(max(0, row - 6), row + 7), slice(max(0, column - 6), column + 7)
        y, x = np.ogrid[:SIDE_PX, :SIDE_PX]
        away = np.hypot(y[window[0]] - row, x[:, window[1]] - column)
        body[window] = _blend(body[window], np.array(_VACUOLE), rng.uniform(2, 4) - away)
    return body


def _nucleus(rng: np.random.Generator, drawing: CellDrawing, depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Purple chromatin in strands and clumps, dark at the nuclear membrane."""
    strands = np.abs(_noise(rng, 2.2)) + 0.6 * np.abs(_noise(rng, 4.5))
    gaps = drawing.clumping * np.clip(1.3 - strands, 0, 1) * np.clip(depth / 4, 0.1, 1)
    return np.asarray(np.array(_CHROMATIN) + gaps[..., None] * (np.array(_CHROMATIN_GAPS) - np.array(_CHROMATIN)))
