"""Simulated conditions of another laboratory: held-out images and masks under fixed, seeded disturbances.

None is made as the training's augmentation makes its own, and blur and compression go beyond its range: a network
cannot do well by having met the disturbance itself.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from core.domain.types import LabelMap
from core.image.imaging import decode
from core.image.masks import cell_mask, region_mask
from core.image.stain import absorbance
from training.augment import surrounded
from training.augmentation import LabelledImage, beside, shifted, widen_nucleus


class ImagingCondition(StrEnum):
    """How an image is shown to the network, in words."""

    CLEAN = "as photographed"
    STAIN = "stain of another laboratory"
    LIGHT = "uneven, coloured light"
    BLUR = "out of focus"
    SMALL = "low magnification"
    JPEG = "JPEG quality 25"
    CUT = "cut by the image's edge"
    TOUCHING = "against another leukocyte"
    THIN = "thin cytoplasm"


# Thin cytoplasm is the one that training can be given too (`thin_probability`): it informs, and decides nothing.
DECIDING: Final = tuple(
    condition for condition in ImagingCondition if condition not in (ImagingCondition.CLEAN, ImagingCondition.THIN)
)

# Optical density in red, green and blue of the background (its 20th percentile) and of the nucleus (median) in single
# images of Barcelona and Baltimore (CellaVision) and of Munich (marrow): those that lie furthest from each other among
# 127.
_STAINS: Final = np.array(
    [
        [[0.00, 0.10, 0.23], [0.91, 1.78, 0.60]],
        [[0.11, 0.06, 0.13], [1.56, 2.84, 0.61]],
        [[0.11, 0.15, 0.11], [0.90, 1.67, 0.39]],
        [[0.00, 0.12, 0.23], [1.42, 2.11, 0.77]],
        [[0.11, 0.06, 0.15], [1.15, 2.33, 0.45]],
        [[0.00, 0.05, 0.14], [0.84, 1.28, 0.48]],
        [[0.02, 0.12, 0.24], [0.50, 1.15, 0.51]],
        [[0.09, 0.13, 0.09], [1.13, 2.14, 0.46]],
        [[0.15, 0.10, 0.19], [1.45, 2.77, 0.62]],
        [[0.00, 0.12, 0.24], [1.01, 1.99, 0.73]],
        [[0.01, 0.05, 0.14], [1.08, 1.57, 0.55]],
        [[0.00, 0.10, 0.23], [0.80, 1.30, 0.56]],
    ]
)
# A channel in which nucleus and background hardly differ would be stretched without end.
_STRETCH: Final = (0.25, 4.0)
# Standard deviation of the further blur in shares of the cell's diameter; for `core.quality.assessment` an image is out
# of focus from 0.06 on.
_BLUR: Final = 0.04
# Pixels across the cell; the smallest cell drawn in the masked data is 47 px across.
_SMALL_PX: Final = 40.0
_CUT_SHARE: Final = 0.15
# Room around an image for a neighbour, as a share of the image's longer side.
_ROOM: Final = 0.25
# The neighbour comes nearer by this share of the cell's extent at a time, until it covers this share of the cell.
_STEP: Final = 0.02
_CONTACT: Final = 0.01


def disturbed(
    condition: ImagingCondition, item: LabelledImage, others: Sequence[LabelledImage], seed: int
) -> LabelledImage:
    """The image and its label map under a condition, the same for the same id and seed; `others` may be neighbours."""
    if condition is ImagingCondition.CLEAN:
        return item
    rng = np.random.default_rng((seed, crc32(f"{condition}:{item.sample_id}".encode())))
    if condition is ImagingCondition.TOUCHING:
        return LabelledImage(item.sample_id, *_touching(item, others[int(rng.integers(len(others)))], rng))
    return LabelledImage(item.sample_id, *_CHANGES[condition](item.rgb, item.labels, rng))


Pair = tuple[NDArray[np.uint8], LabelMap]


def _stain(rgb: NDArray[np.uint8], labels: LabelMap, rng: np.random.Generator) -> Pair:
    """Background and nucleus take their optical density in an image of another laboratory; the rest is interpolated."""
    nucleus, outside = region_mask(labels, "nucleus"), ~cell_mask(labels)
    if not nucleus.any() or not outside.any():
        return rgb, labels
    density = absorbance(rgb)
    background, dark = np.percentile(density[outside], 20, axis=0), np.median(density[nucleus], axis=0)
    wanted_background, wanted_dark = _STAINS[int(rng.integers(len(_STAINS)))]
    span = np.maximum(dark - background, 1e-3)
    slope = np.clip((wanted_dark - wanted_background) / span, *_STRETCH)
    return _seen_through(wanted_background + (density - background) * slope), labels


def _light(rgb: NDArray[np.uint8], labels: LabelMap, rng: np.random.Generator) -> Pair:
    """A lamp too warm or too cold, whose light falls to 60 % across the image and to 85 % in the corners."""
    height, width = labels.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * math.pi)
    across = (math.sin(angle) * y + math.cos(angle) * x) / math.sqrt(2)
    fall = (0.8 - 0.2 * across) * (1 - 0.15 * (x**2 + y**2) / 2)
    lamp = np.array([1.0, 0.92, 0.80] if rng.random() < 0.5 else [0.82, 0.92, 1.0])
    return np.asarray(np.clip(rgb * fall[..., None] * lamp, 0, 255), dtype=np.uint8), labels


def _blurred(rgb: NDArray[np.uint8], labels: LabelMap, _: np.random.Generator) -> Pair:
    return (
        np.asarray(
            cv2.GaussianBlur(rgb, (0, 0), _BLUR * _diameter(labels), borderType=cv2.BORDER_REFLECT_101), dtype=np.uint8
        ),
        labels,
    )


def _small(rgb: NDArray[np.uint8], labels: LabelMap, _: np.random.Generator) -> Pair:
    factor = min(1.0, _SMALL_PX / _diameter(labels))
    size = (max(16, round(factor * labels.shape[1])), max(16, round(factor * labels.shape[0])))
    shrunk = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
    return shrunk, LabelMap(np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)))


def _compressed(rgb: NDArray[np.uint8], labels: LabelMap, _: np.random.Generator) -> Pair:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=25)
    return decode(buffer.getvalue(), "again.jpg").rgb, labels


def _cut(rgb: NDArray[np.uint8], labels: LabelMap, rng: np.random.Generator) -> Pair:
    """One side of the image is moved in, over a part of the cell."""
    turns = int(rng.integers(4))
    turned_rgb, turned = np.rot90(rgb, turns), np.rot90(labels, turns)
    rows = np.flatnonzero(cell_mask(LabelMap(turned)).any(axis=1))
    top = int(rows[0] + _CUT_SHARE * (rows[-1] + 1 - rows[0]))
    return np.ascontiguousarray(np.rot90(turned_rgb[top:], -turns)), LabelMap(
        np.ascontiguousarray(np.rot90(turned[top:], -turns))
    )


def _touching(item: LabelledImage, other: LabelledImage, rng: np.random.Generator) -> Pair:
    """Another leukocyte of the same laboratory touches the cell; where they overlap, optical densities add up."""
    # There is no visible seam, and what lies over the drawn cell, if anything, is faintly visible through it.
    wide_rgb, wide_labels = surrounded(item.rgb, item.labels)
    room = round(_ROOM * max(item.labels.shape))
    sides = zip(wide_labels.shape, item.labels.shape, strict=True)
    inside = tuple(slice((wide - side) // 2 - room, (wide + side) // 2 + room) for wide, side in sides)
    rgb, labels = np.ascontiguousarray(wide_rgb[inside]), LabelMap(np.ascontiguousarray(wide_labels[inside]))
    turns = int(rng.integers(4))
    other_rgb, other_labels = np.rot90(other.rgb, turns), np.rot90(other.labels, turns)
    other_cell, density = cell_mask(LabelMap(other_labels)), absorbance(other_rgb)
    extra = _on_canvas(np.maximum(density - np.percentile(density[~other_cell], 20, axis=0), 0), labels.shape)
    mask = _on_canvas(other_cell, labels.shape)
    cell, angle, gap = cell_mask(labels), rng.uniform(0, 2 * math.pi), 0.0
    place = beside(cell, mask, angle, gap)
    while (shifted(mask, *place) & cell).sum() < _CONTACT * cell.sum() and gap > -1:
        gap -= _STEP
        place = beside(cell, mask, angle, gap)
    soft = cv2.GaussianBlur(shifted(ndimage.binary_dilation(mask), *place).astype(np.float32), (0, 0), 1.5)
    return _seen_through(absorbance(rgb) + soft[..., None] * shifted(extra, *place)), labels


def _on_canvas(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array in the middle of a canvas of zeros, cut where it is larger."""
    canvas = np.zeros((*shape[:2], *array.shape[2:]), array.dtype)
    to, come = [], []
    for side, length in zip(shape, array.shape, strict=False):
        offset = (side - length) // 2
        to.append(slice(max(0, offset), max(0, offset) + min(side, length)))
        come.append(slice(max(0, -offset), max(0, -offset) + min(side, length)))
    canvas[tuple(to)] = array[tuple(come)]
    return canvas


def _diameter(labels: LabelMap) -> float:
    return 2 * math.sqrt(float(cell_mask(labels).sum()) / math.pi)


def _seen_through(density: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255), dtype=np.uint8)


_CHANGES: Final[Mapping[ImagingCondition, Callable[[NDArray[np.uint8], LabelMap, np.random.Generator], Pair]]] = (
    MappingProxyType(
        {
            ImagingCondition.STAIN: _stain,
            ImagingCondition.LIGHT: _light,
            ImagingCondition.BLUR: _blurred,
            ImagingCondition.SMALL: _small,
            ImagingCondition.JPEG: _compressed,
            ImagingCondition.CUT: _cut,
            ImagingCondition.THIN: widen_nucleus,
        }
    )
)
