"""Fields with several cells: every leukocyte of a field, outlined on its own and at its own scale.

The localiser tells where leukocytes are; each is shown to the network in a window of its own, and what it draws there
is the cell. No pixel belongs to two.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.objects import FoundObject, ObjectKind
from core.domain.types import BoundingBox, LabelMap
from core.image.masks import cell_mask, region_mask, with_environment
from core.image.morphology import bounds
from core.segmentation.scene import of_kind, window_around
from core.segmentation.segmenter import DrawnCell, Segmenter

# Called with the cells done and their number.
Progress = Callable[[int, int], None]

# A field shows at most so many cells, or the others, further from its middle, are left out: each costs up to a tenth of
# a second. Those in the middle, because the largest would be a choice of cells.
MOST_CELLS: Final = 1000
# Of two drawings that share this much of the smaller, one is superfluous.
_SAME: Final = 0.5
# So many windows are drawn before progress is told: more take more memory, and on the CPU no less time.
_AT_ONCE: Final = 2
# Room around a cell in its cut-out, as a share of its longer side.
_MARGIN: Final = 0.5


@dataclass(frozen=True, eq=False)
class FieldCell:
    """One cell of a field: its label map over the cut-out at `place`, the confidence in it, and what led to it."""

    place: BoundingBox
    labels: LabelMap
    confidence: float
    found: FoundObject


def nearest_the_middle(places: Sequence[BoundingBox], shape: tuple[int, int]) -> int:
    """Index of the cell nearest the middle of a field of (H, W)."""
    height, width = shape

    def off_centre(place: BoundingBox) -> float:
        return math.hypot(place.left + place.width / 2 - width / 2, place.top + place.height / 2 - height / 2)

    return min(range(len(places)), key=lambda index: off_centre(places[index]))


def find_cells(
    rgb: NDArray[np.uint8],
    segmenter: Segmenter,
    objects: Sequence[FoundObject] | None = None,
    progress: Progress | None = None,
) -> list[FieldCell]:
    """Every leukocyte of a field once, in reading order, outlined at its own scale; no pixel belongs to two.

    Parameters
    ----------
    rgb
        The field, uint8 (H, W, 3). Only windows of it are copied.
    segmenter
        The localiser and the network.
    objects
        What the localiser found in it, if known. Of more than MOST_CELLS leukocytes those nearest the middle are drawn.
    progress
        Called whenever some cells are drawn.

    Returns
    -------
    list[FieldCell]
        Empty where there is no leukocyte, or the network draws a cell around none.
    """
    (objects,) = segmenter.find([rgb]) if objects is None else (objects,)
    shape = rgb.shape[0], rgb.shape[1]
    wanted = _nearest_middle(of_kind(objects, ObjectKind.LEUKOCYTE), shape)
    drawn: list[_Drawing] = []
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        cells = segmenter.outline(rgb, [window_around(found, shape, segmenter.card.cell_fill) for found in some])
        drawn += [_cropped(cell, found) for cell, found in zip(cells, some, strict=True) if cell.confidence > 0]
        if progress:
            progress(start + len(some), len(wanted))
    drawn = _settled(_distinct(drawn))
    return [_cut_out(drawing, drawn, shape) for drawing in _reading_order(drawn)]


def _nearest_middle(cells: Sequence[FoundObject], shape: tuple[int, int]) -> Sequence[FoundObject]:
    """The MOST_CELLS nearest the middle of a field of (H, W), in the order given; all where there are no more."""
    if len(cells) <= MOST_CELLS:
        return cells
    off = np.hypot(*(np.array([found.centre for found in cells]) - np.array(shape) / 2).T)
    return [cells[index] for index in np.sort(np.argsort(off)[:MOST_CELLS])]


@dataclass(frozen=True, eq=False)
class _Drawing:
    """A cell as the network drew it: labels without environment in a box at (top, left), and what led to it."""

    labels: NDArray[np.uint8]
    top: int
    left: int
    confidence: float
    found: FoundObject

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.labels))

    def shared(self, other: "_Drawing") -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The common part of two boxes, in the pixels of each."""
        rows = _overlap(self.top, self.labels.shape[0], other.top, other.labels.shape[0])
        columns = _overlap(self.left, self.labels.shape[1], other.left, other.labels.shape[1])
        return (rows[0], columns[0]), (rows[1], columns[1])


def _overlap(start: int, length: int, other: int, other_length: int) -> tuple[slice, slice]:
    """What two spans share, in the places of each; empty slices where they share nothing."""
    first, last = max(start, other), max(start, other, min(start + length, other + other_length))
    return slice(first - start, last - start), slice(first - other, last - other)


def _cropped(cell: DrawnCell, found: FoundObject) -> _Drawing:
    """A drawn cell in its smallest box, without its environment."""
    own = cell_mask(cell.labels)
    rows, columns = bounds(own)
    labels = np.where(own, cell.labels, np.uint8(0))[rows, columns]
    return _Drawing(labels, cell.top + rows.start, cell.left + columns.start, cell.confidence, found)


def _distinct(drawn: Sequence[_Drawing]) -> list[_Drawing]:
    """Each cell once: of two drawings of the same one that stays of which the localiser is more sure."""
    kept: list[_Drawing] = []
    for new in sorted(drawn, key=lambda drawing: -drawing.found.score):
        if not any(_same(new, old) for old in kept):
            kept.append(new)
    return kept


def _same(one: _Drawing, other: _Drawing) -> bool:
    in_one, in_other = one.shared(other)
    both = np.count_nonzero((one.labels[in_one] > 0) & (other.labels[in_other] > 0))
    return bool(both >= _SAME * min(one.area, other.area))


def _settled(drawn: Sequence[_Drawing]) -> list[_Drawing]:
    """The drawings without overlaps: a pixel of two cells goes to the one whose nucleus is nearer."""
    settled = [replace(drawing, labels=drawing.labels.copy()) for drawing in drawn]
    for first, second in itertools.combinations(settled, 2):
        in_first, in_second = first.shared(second)
        both = (first.labels[in_first] > 0) & (second.labels[in_second] > 0)
        if both.any():
            nearer = _to_nucleus(first)[in_first] <= _to_nucleus(second)[in_second]
            first.labels[in_first][both & ~nearer] = 0
            second.labels[in_second][both & nearer] = 0
    return [_largest_part(drawing) for drawing in settled if drawing.labels.any()]


def _to_nucleus(drawing: _Drawing) -> NDArray[np.float64]:
    """Distance of every pixel of the box from the drawn nucleus; infinite where there is none."""
    nucleus = drawing.labels == Compartment.NUCLEUS
    if not nucleus.any():
        return np.full(nucleus.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~nucleus))


def _largest_part(drawing: _Drawing) -> _Drawing:
    """What is left of a drawing without what a neighbour has cut off from it."""
    parts, count = ndimage.label(drawing.labels)
    if count == 1:
        return drawing
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    return replace(drawing, labels=np.where(parts == areas.argmax(), drawing.labels, np.uint8(0)))


def _reading_order(drawn: Sequence[_Drawing]) -> list[_Drawing]:
    """From top to bottom in rows as high as a typical cell, from left to right in each."""
    height = statistics.median([drawing.labels.shape[0] for drawing in drawn]) if drawn else 1

    def place(drawing: _Drawing) -> tuple[int, float]:
        return int((drawing.top + drawing.labels.shape[0] / 2) // height), drawing.left + drawing.labels.shape[1] / 2

    return sorted(drawn, key=place)


def _cut_out(drawing: _Drawing, drawn: Sequence[_Drawing], shape: tuple[int, int]) -> FieldCell:
    """The cell with its surroundings, its environment ring kept out of the other cells."""
    height, width = drawing.labels.shape
    margin = round(_MARGIN * max(height, width))
    top, left = max(0, drawing.top - margin), max(0, drawing.left - margin)
    bottom, right = min(shape[0], drawing.top + height + margin), min(shape[1], drawing.left + width + margin)
    canvas = replace(drawing, labels=np.zeros((bottom - top, right - left), np.uint8), top=top, left=left)
    others = np.zeros(canvas.labels.shape, bool)
    for other in drawn:
        here, there = canvas.shared(other)
        if other is drawing:
            canvas.labels[here] = other.labels[there]
        else:
            others[here] |= other.labels[there] > 0
    ringed = with_environment(LabelMap(canvas.labels), keep_out=others)
    return FieldCell(BoundingBox(left, top, right - left, bottom - top), ringed, drawing.confidence, drawing.found)


def composed(
    shape: tuple[int, int], cells: Iterable[tuple[BoundingBox, LabelMap]]
) -> tuple[LabelMap, NDArray[np.uint16]]:
    """All cells of a field of (H, W) in one label map, and their numbers, 1, 2, ... in the order given, 0 elsewhere.

    The numbers cover the cells without their environment; where two rings overlap they are one.
    """
    labels = np.zeros(shape, np.uint8)
    numbers = np.zeros(shape, np.uint16)
    for number, (place, own) in enumerate(cells, start=1):
        here = np.s_[place.top : place.top + place.height, place.left : place.left + place.width]
        np.maximum(labels[here], own, out=labels[here])
        numbers[here][region_mask(own, "cell")] = number
    return LabelMap(labels), numbers
