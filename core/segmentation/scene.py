"""What the objects found in an image say of it: which cell it was taken of, whether it is a field, where to look."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from core.domain.objects import FoundObject, ObjectKind, red_cell_diameter
from core.image.window import Window

# An image of one cell has it within this share of its longer side of the middle (the further of the two directions).
# Drawn boxes of images with several leukocytes: at most 0.063 in 26 of 30 images that were taken of one (Acevedo,
# Raabin-WBC, BCDD), at least 0.095 in the other four and in all 12 fields (BCCD). By a localiser's boxes 10 of 680
# images taken of one become fields: none of set 1 and set 2, 2 of 200 of Acevedo, 8 of 200 of deepapl.
MAX_OFF_CENTRE: Final = 0.08
# An image of more red cells along its longer side was not taken of one cell; where it shows none, of more leukocytes.
# Drawn boxes of images taken of one: at most 6.2 red cells and, in 99 of 100, 3.8 leukocytes.
MOST_RED_CELLS_WIDE: Final = 8.0
MOST_LEUKOCYTES_WIDE: Final = 4.0
# The localiser is less sure of all it sees in a stain that is new to it. So of the leukocytes of an image those count
# whose score has this share of the surest ones' (their upper quartile). Measured on bccd and TXL-PBC: 9 false ones of
# 160 become 5, one that is drawn is lost.
AS_SURE: Final = 0.6
SURE_PERCENTILE: Final = 75
# How fast an object's claim to be meant falls with its distance from the middle.
MEANT: Final = 4.6
# A leukocyte of less than this share of the largest one's diameter is no reason to call an image a field.
_LIKE_SIZE: Final = 0.6
# So much less counts a leukocyte that the edge cuts, when that is chosen which an image was taken of.
CUT: Final = 0.4
# The same of what is no leukocyte, where none is sure: a red cell is the last that anybody photographs.
WEIGHTS: Final = {
    ObjectKind.LEUKOCYTE: 1.0,
    ObjectKind.SMUDGE: 0.7,
    ObjectKind.PLATELET: 0.5,
    ObjectKind.RED_CELL: 0.05,
}
# Later stages see what lies within so many diameters of a cell.
_NEAR: Final = 3.0


def of_kind(objects: Iterable[FoundObject], kind: ObjectKind) -> list[FoundObject]:
    """The objects of one kind."""
    return [found for found in objects if found.kind is kind]


def believed(objects: Sequence[FoundObject]) -> tuple[FoundObject, ...]:
    """The objects of an image without leukocytes of which the localiser is much less sure than of the others."""
    scores = [found.score for found in of_kind(objects, ObjectKind.LEUKOCYTE)]
    least = AS_SURE * float(np.percentile(scores, SURE_PERCENTILE, method="higher")) if scores else 0.0
    return tuple(found for found in objects if found.kind is not ObjectKind.LEUKOCYTE or found.score >= least)


def taken_of(objects: Iterable[FoundObject], shape: tuple[int, int]) -> FoundObject | None:
    """The leukocyte that an image of (H, W) was taken of; None without one.

    It is the one nearest the middle, unless that is much smaller, less sure, or cut by the edge.
    """
    leukocytes = of_kind(objects, ObjectKind.LEUKOCYTE)
    return max(leukocytes, key=lambda found: found.diameter * _weight(found, shape), default=None)


def likeliest(objects: Iterable[FoundObject], shape: tuple[int, int]) -> FoundObject | None:
    """What an image of (H, W) was taken of where no leukocyte is sure: any object near the middle; None of nothing."""
    return max(objects, key=lambda found: WEIGHTS[found.kind] * _weight(found, shape), default=None)


def _weight(found: FoundObject, shape: tuple[int, int]) -> float:
    return found.score * (CUT if found.cut else 1) * _centrality(found, shape)


def _centrality(found: FoundObject, shape: tuple[int, int]) -> float:
    """1 in the middle, a hundredth half a side away: the wanted cell was photographed on purpose."""
    offsets = ((at - side / 2) / (max(shape) / 2) for at, side in zip(found.centre, shape, strict=True))
    return math.exp(-MEANT * sum(offset**2 for offset in offsets))


def is_field(objects: Sequence[FoundObject], shape: tuple[int, int]) -> bool:
    """Whether an image of (H, W) shows a field of cells, rather than being taken of one.

    It is a field of two or more leukocytes of like size, unless the one it would be taken of lies in the middle, and
    the image is no wider than one of a single cell. A lone leukocyte makes no field, wherever it lies.
    """
    leukocytes = of_kind(objects, ObjectKind.LEUKOCYTE)
    largest = max((found.diameter for found in leukocytes), default=0.0)
    alike = [found for found in leukocytes if found.diameter >= _LIKE_SIZE * largest]
    if len(alike) < 2:
        return False
    middle = taken_of(alike, shape)
    assert middle is not None  # there are two
    return not (_off_centre(middle, shape) <= MAX_OFF_CENTRE and _narrow(objects, largest, shape))


def _off_centre(found: FoundObject, shape: tuple[int, int]) -> float:
    return max(abs(at - side / 2) for at, side in zip(found.centre, shape, strict=True)) / max(shape)


def _narrow(objects: Sequence[FoundObject], leukocyte: float, shape: tuple[int, int]) -> bool:
    """Whether an image is no wider than one of a single cell."""
    red_cell = red_cell_diameter(objects)
    most = MOST_LEUKOCYTES_WIDE * leukocyte if red_cell is None else MOST_RED_CELLS_WIDE * red_cell
    return max(shape) <= most


def window_around(found: FoundObject, shape: tuple[int, int], fill: float) -> Window:
    """The square around what is visible of an object in an image of (H, W); its longer side takes the share `fill`."""
    left, top = max(found.left, 0.0), max(found.top, 0.0)
    right, bottom = min(found.right, float(shape[1])), min(found.bottom, float(shape[0]))
    side = max(right - left, bottom - top, 1.0) / fill
    return Window((left + right - side) / 2, (top + bottom - side) / 2, side)


def around(objects: Iterable[FoundObject], cell: FoundObject) -> tuple[FoundObject, ...]:
    """The objects that reach within a few diameters of a cell, itself among them."""
    reach = _NEAR * cell.diameter
    return tuple(
        found
        for found in objects
        if found.right >= cell.left - reach
        and found.left <= cell.right + reach
        and found.bottom >= cell.top - reach
        and found.top <= cell.bottom + reach
    )
