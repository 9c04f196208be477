"""Out-of-distribution negatives: pictures that show no leukocyte, by kind, which a model must refuse.

All are made from the data folder, scikit-image, or numbers.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from types import MappingProxyType
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.cell_types import CellType
from core.domain.types import CellImage
from core.evaluation.datasets import Sample, data_set
from core.image.imaging import load
from core.image.stain import absorbance, nuclear_density

Pixels = NDArray[np.uint8]
# Rows and columns of a picture.
Place = tuple[slice, slice]
_T = TypeVar("_T")


class NegativeKind(StrEnum):
    """What the picture shows, in words."""

    PLATELET = "platelet"
    ERYTHROBLAST = "erythroblast"
    SPECK = "platelets and specks beside leukocytes"
    RED_CELLS = "red cells only"
    EMPTY = "empty places of a smear"
    SMEARED = "leukocytes smeared by computation"
    TISSUE = "tissue section"
    PHOTOGRAPH = "photograph"
    TEXT = "scanned text"
    DRAWING = "drawing"
    MASK = "mask"
    BLOTS = "blots in the colours of a smear"
    NOISE = "noise"
    BLANK = "blank"


@dataclass(frozen=True, eq=False)
class OodNegative:
    """A picture and where it comes from: a data set, the name of a picture in scikit-image, or "drawn"."""

    kind: NegativeKind
    source: str
    image: CellImage


# Those that come with scikit-image's wheel and need no download.
_PHOTOGRAPHS: Final = (
    *("astronaut", "camera", "cat", "coffee", "rocket", "hubble_deep_field", "retina", "microaneurysms"),
    *("brick", "grass", "gravel", "coins", "moon", "horse", "clock", "cell"),
)
_PICTURES: Final = (
    *((NegativeKind.PHOTOGRAPH, name, 4) for name in _PHOTOGRAPHS),
    (NegativeKind.TISSUE, "immunohistochemistry", 24),
    *((NegativeKind.TEXT, name, 10) for name in ("page", "text")),
    *((NegativeKind.DRAWING, name, 5) for name in ("checkerboard", "colorwheel", "logo", "shepp_logan_phantom")),
)
_SMALLEST_CROP: Final = 60

# Smears from which places without a leukocyte are cut: the known cells come from the first among others, from the
# second none.
SMEARS: Final = ("acevedo", "deepapl")
# So many pictures of a data set are searched for each kind, evenly out of all; specks lie in few.
_SEARCHED: Final = MappingProxyType({NegativeKind.RED_CELLS: 40, NegativeKind.EMPTY: 15, NegativeKind.SPECK: 300})
_SMEARED: Final = 15
# Nuclear density (`core.image.stain`) from which on something is stained: red cells stay below it where blood is thin.
_STAINED: Final = 0.8
_CUT_PX: Final = 110
_EMPTY_PX: Final = 40


def ood_negatives() -> Iterator[OodNegative]:
    """Every picture, the same each time; raises DataSetError where a data set is missing."""
    return chain(_of_other_cells(), *(_cut_from(name) for name in SMEARS), _masks(), other_pictures())


def other_pictures() -> Iterator[OodNegative]:
    """Negatives that need no data set: pictures of scikit-image and drawings made by numbers."""
    return chain(_crops(), _blots(), _noise(), _blanks())


def evenly(items: Sequence[_T], count: int) -> list[_T]:
    """At most `count` of the items, evenly spaced."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _picture(kind: NegativeKind, source: str, name: str, rgb: NDArray[np.generic]) -> OodNegative:
    return OodNegative(kind, source, CellImage(np.ascontiguousarray(rgb, dtype=np.uint8), name, ""))


# --- from smears ------------------------------------------------------------------------------------------------------


def _of_other_cells() -> Iterator[OodNegative]:
    for sample in data_set("acevedo").samples():
        if sample.cell_type in (CellType.PLATELET, CellType.ERYTHROBLAST):
            yield OodNegative(NegativeKind[sample.cell_type.name], "acevedo", load(sample.image))


def _cut_from(name: str) -> Iterator[OodNegative]:
    samples = [s for s in data_set(name).samples() if s.cell_type in (CellType.LYMPHOCYTE, CellType.MONOCYTE)]
    for kind, find in (
        (NegativeKind.RED_CELLS, _red_cells),
        (NegativeKind.EMPTY, _empty),
        (NegativeKind.SPECK, _speck),
    ):
        for sample in evenly(samples, _SEARCHED[kind]):
            rgb = load(sample.image).rgb
            if (place := find(rgb)) is not None:
                yield _picture(kind, name, sample.sample_id, rgb[place])
    for sample in evenly(samples, _SMEARED):
        yield _picture(NegativeKind.SMEARED, name, sample.sample_id, _smeared(load(sample.image).rgb, _seeded(sample)))


def _seeded(sample: Sample) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(sample.sample_id.encode()))


def _red_cells(rgb: Pixels) -> Place | None:
    """A corner of a one-leukocyte picture where nothing takes nuclear stain, but something is: red cells."""
    density = nuclear_density(rgb)
    for rows in (slice(0, _CUT_PX), slice(-_CUT_PX, None)):
        for columns in (slice(0, _CUT_PX), slice(-_CUT_PX, None)):
            if density[rows, columns].max() < _STAINED and np.ptp(density[rows, columns]) > 0.4:
                return rows, columns
    return None


def _empty(rgb: Pixels) -> Place | None:
    """The evenest window, if it is even."""
    density = absorbance(rgb).mean(axis=2)
    variance = ndimage.uniform_filter(density**2, _EMPTY_PX) - ndimage.uniform_filter(density, _EMPTY_PX) ** 2
    half = _EMPTY_PX // 2
    inner = variance[half:-half, half:-half]
    row, column = (int(at) for at in np.unravel_index(int(inner.argmin()), inner.shape))
    return (slice(row, row + _EMPTY_PX), slice(column, column + _EMPTY_PX)) if inner.min() < 0.001 else None


def _speck(rgb: Pixels) -> Place | None:
    """The largest stained spot that is far too small for a nucleus, and lies alone and whole."""
    density = nuclear_density(rgb)
    parts, _ = ndimage.label(density > _STAINED)
    areas = np.bincount(parts.ravel())[1:]
    if len(areas) < 2:
        return None
    largest = areas.argmax()
    places = ndimage.find_objects(parts)
    leukocyte = np.argwhere(parts == largest + 1)
    darkness = np.median(density[parts == largest + 1])
    for index in np.argsort(-areas, kind="stable")[1:]:
        rows, columns = places[index]
        middle = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
        half = round(1.3 * max(rows.stop - rows.start, columns.stop - columns.start)) + 4
        window = slice(middle[0] - half, middle[0] + half), slice(middle[1] - half, middle[1] + half)
        whole = all(part.start >= 0 and part.stop <= side for part, side in zip(window, density.shape, strict=True))
        if not (whole and 0.01 < areas[index] / areas[largest] < 0.15):
            continue
        away = np.sqrt(np.square(leukocyte - middle).sum(axis=1).min())
        if away > 1.5 * half and np.median(density[parts == index + 1]) > 0.6 * darkness:
            return window
    return None


def _smeared(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """Drawn out along a wavy line, as a cell that broke when the drop was spread."""
    height, width = rgb.shape[:2]
    length = 0.12 * min(height, width)
    waves = [ndimage.gaussian_filter(rng.normal(size=(height, width)), 0.05 * min(height, width)) for _ in range(2)]
    bent = [length * wave / np.abs(wave).max() for wave in waves]
    angle = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[:height, :width]
    steps = np.linspace(-length, length, 7)
    drawn = np.zeros(rgb.shape)
    for step in steps:
        at = [rows + bent[0] + step * np.sin(angle), columns + bent[1] + step * np.cos(angle)]
        for colour in range(3):
            drawn[..., colour] += ndimage.map_coordinates(
                rgb[..., colour].astype(np.float64), at, order=1, mode="reflect"
            )
    return np.asarray(np.rint(drawn / len(steps)), dtype=np.uint8)


# --- other pictures ---------------------------------------------------------------------------------------------------


def _crops() -> Iterator[OodNegative]:
    import skimage.data  # reads its registry on import

    for index, (kind, name, count) in enumerate(_PICTURES):
        whole = _colour(getattr(skimage.data, name)())
        rng = np.random.default_rng([7, index])
        for number in range(count):
            largest = min(whole.shape[:2])
            side = round(float(np.exp(rng.uniform(np.log(_SMALLEST_CROP), np.log(largest)))))
            top, left = (int(rng.integers(0, length - side + 1)) for length in whole.shape[:2])
            yield _picture(kind, name, f"{name} {number}", whole[top : top + side, left : left + side])


def _colour(pixels: NDArray[np.generic]) -> Pixels:
    """Any of scikit-image's pictures as uint8 (H, W, 3); transparency lies on black."""
    from skimage.util import img_as_ubyte

    whole = np.asarray(img_as_ubyte(pixels))
    return np.repeat(whole[..., None], 3, axis=2) if whole.ndim == 2 else whole[..., :3]


def _masks() -> Iterator[OodNegative]:
    for name in ("set1", "set2"):
        for sample in evenly(data_set(name).samples(), 10):
            if sample.mask is not None:
                yield OodNegative(NegativeKind.MASK, name, load(sample.mask))


_DRAWN_PX: Final = 200
# Background, red cell, cytoplasm, nucleus.
_PALETTE: Final = np.array([[240, 225, 230], [215, 160, 165], [170, 150, 200], [95, 50, 130]], dtype=np.float64)


def _blots() -> Iterator[OodNegative]:
    """Smooth noise cut into the colours of a smear: round dark patches with a paler rim, of any size."""
    for seed in range(20):
        rng = np.random.default_rng([11, seed])
        noise = ndimage.gaussian_filter(
            rng.normal(size=(_DRAWN_PX, _DRAWN_PX)), np.exp(rng.uniform(np.log(4), np.log(30)))
        )
        dark = rng.uniform(0.03, 0.2)
        levels = np.quantile(noise, [rng.uniform(0.3, 0.6), 1 - 2 * dark, 1 - dark])
        smooth = ndimage.gaussian_filter(_PALETTE[np.digitize(noise, levels)], (1, 1, 0))
        yield _picture(
            NegativeKind.BLOTS, "drawn", f"blots {seed}", np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255)
        )


def _noise() -> Iterator[OodNegative]:
    shape = (_DRAWN_PX, _DRAWN_PX, 3)
    for seed in range(10):
        rng = np.random.default_rng([13, seed])
        clouds = ndimage.gaussian_filter(
            rng.normal(size=shape), (*(np.exp(rng.uniform(np.log(2), np.log(30))),) * 2, 0)
        )
        for name, pixels in (
            ("white", rng.uniform(0, 256, shape)),
            ("faint", np.array([235, 215, 225]) + rng.normal(0, 12, shape)),
            ("clouds", 128 + 55 * clouds / clouds.std()),
        ):
            yield _picture(NegativeKind.NOISE, "drawn", f"{name} {seed}", np.clip(pixels, 0, 255))


def _blanks() -> Iterator[OodNegative]:
    colours = (
        (255, 255, 255),
        (0, 0, 0),
        (128, 128, 128),
        (240, 220, 230),
        (230, 230, 250),
        (250, 245, 220),
        (120, 60, 150),
        (200, 150, 150),
    )
    for colour in colours:
        yield _picture(NegativeKind.BLANK, "drawn", f"{colour}", np.full((_DRAWN_PX, _DRAWN_PX, 3), colour))
    slope = np.linspace(0, 255, _DRAWN_PX)
    for name, pixels in (("across", np.tile(slope, (_DRAWN_PX, 1))), ("down", np.tile(slope[:, None], (1, _DRAWN_PX)))):
        yield _picture(
            NegativeKind.BLANK, "drawn", f"from black to white, {name}", np.repeat(pixels[..., None], 3, axis=2)
        )
