"""Signs by which an outline is told to be right or wrong, without the truth, and what seems to be wrong with it.

Two hold in laboratories that nobody has seen: how sure the network is of its own pixels, and whether the outline lies
in the box that the localiser, another network, gave the same cell. What else was tried told less of natural errors, or
only within a laboratory: `training/EXPERIMENTS.md`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.domain.objects import FoundObject, ObjectKind
from core.domain.types import Segmentation
from core.image.masks import cell_mask
from core.image.morphology import bounds

OUTLINE_SIGNS: Final = ("certainty", "box")

# Below these nothing is gained by being better: a network is never so sure, nor does a box fit so well.
_LEAST_DOUBT: Final = 0.005
_LEAST_MISFIT: Final = 0.02
# An outline that goes this share of the found box's side beyond it, or ends so much before it, has a fault there.
WORTH_A_WORD: Final = 0.08
# ... all around, where the opposite sides do so.
_SIDES: Final = ("on the left", "at the top", "on the right", "at the bottom")
# Of what is taken in, a red cell covers more than this share.
_MOSTLY: Final = 0.4

Mask = NDArray[np.bool_]


class Fault(NamedTuple):
    """What seems wrong with an outline: it takes something in ("a red cell"), or leaves out a part, on one side."""

    takes_in: bool
    what: str
    where: str


@dataclass(frozen=True)
class OutlineSigns:
    """The signs of an outline by name, and the worst fault that can be told."""

    values: dict[str, float]
    fault: Fault | None


class _Sides(NamedTuple):
    """Left, upper, right and lower edge, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        return max(self.right - self.left, 0.0) * max(self.bottom - self.top, 0.0)


def outline_signs(segmentation: Segmentation) -> OutlineSigns | None:
    """The signs of a model's outline; None where nothing is outlined, or no localiser told where the cell is."""
    cell, found = cell_mask(segmentation.labels), segmentation.found
    if found is None or segmentation.confidence is None or not cell.any():
        return None
    outlined, boxed = _around(cell), _clipped(found, cell.shape)
    values = {
        "certainty": -math.log10(max(1 - segmentation.confidence, _LEAST_DOUBT)),
        "box": -math.log10(max(1 - _overlap(outlined, boxed), _LEAST_MISFIT)),
    }
    return OutlineSigns(values, _fault(cell, outlined, boxed, segmentation.objects))


def _around(cell: Mask) -> _Sides:
    rows, columns = bounds(cell)
    return _Sides(columns.start, rows.start, columns.stop, rows.stop)


def _clipped(found: FoundObject, shape: tuple[int, ...]) -> _Sides:
    """What of an object's box is in an image of (H, W)."""
    return _Sides(max(found.left, 0), max(found.top, 0), min(found.right, shape[1]), min(found.bottom, shape[0]))


def _overlap(one: _Sides, other: _Sides) -> float:
    """Common area of two boxes over that of both together."""
    common = _Sides(*np.maximum(one, other)[:2], *np.minimum(one, other)[2:]).area
    both = one.area + other.area - common
    return common / both if both > 0 else 0.0


def _fault(cell: Mask, outlined: _Sides, boxed: _Sides, objects: Sequence[FoundObject]) -> Fault | None:
    """Where the outline leaves the box of the cell or does not fill it, on the side where it does so most."""
    wide, high = max(boxed.right - boxed.left, 1.0), max(boxed.bottom - boxed.top, 1.0)
    beyond = np.array(
        [
            (boxed.left - outlined.left) / wide,
            (boxed.top - outlined.top) / high,
            (outlined.right - boxed.right) / wide,
            (outlined.bottom - boxed.bottom) / high,
        ]
    )
    side = int(np.argmax(np.abs(beyond)))
    if abs(beyond[side]) < WORTH_A_WORD:
        return None
    takes_in = bool(beyond[side] > 0)
    alike = beyond >= WORTH_A_WORD if takes_in else beyond <= -WORTH_A_WORD
    where = "all around" if np.count_nonzero(alike) > 2 else _SIDES[side]
    red = takes_in and _is_red_cell(cell, boxed, side, objects)
    return Fault(takes_in, "a red cell" if red else "what lies beside the cell", where)


def _is_red_cell(cell: Mask, boxed: _Sides, side: int, objects: Sequence[FoundObject]) -> bool:
    """Whether what is outlined beyond one side of a box lies on a red cell."""
    outside = cell.copy()
    edge = round(boxed[side])
    beside = (np.s_[:, edge:], np.s_[edge:], np.s_[:, :edge], np.s_[:edge])[side]
    outside[beside] = False
    rows, columns = np.nonzero(outside)
    covered = np.zeros(len(rows), bool)
    for found in objects:
        if found.kind is ObjectKind.RED_CELL:
            row, column = (found.top + found.bottom) / 2, (found.left + found.right) / 2
            down, right = 2 * (rows + 0.5 - row) / found.height, 2 * (columns + 0.5 - column) / found.width
            covered |= down**2 + right**2 <= 1
    return bool(len(rows) and covered.mean() > _MOSTLY)
