"""Fields with several cells: whether an image is one, and every cell in it, outlined on its own and at its own scale.

Nuclei are found by their stain (`core.image.stain`), and each that no cell has yet is shown to the network in a window
of its own. What the network draws around it is its cell, unless a neck shows that two cells are joined. Lobes of one
nucleus lie in one cell, so they count once.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from core.domain.compartments import Compartment
from core.domain.types import BoundingBox, LabelMap
from core.image.masks import cell_mask, region_mask, with_environment
from core.image.stain import Nucleus, find_nuclei, typical_area
from core.image.window import Window

# Turns the cell in the middle of a window of an image into a label map of that image and its confidence (0: no cell).
Outline = Callable[[NDArray[np.uint8], Window], tuple[LabelMap, float]]
# Called with the nuclei done and their number.
Progress = Callable[[int, int], None]

# An image shows one centred cell when its nucleus covers this share of the square over the image's longer side.
# Measured: 2.3 % or more in 1,334 images of one cell each (four sources), 0.4 % in a field of 895 px.
MIN_CENTRED_SHARE: Final = 0.015
# ... when it lies no further from the middle than this share of that side ...
MAX_OFF_CENTRE: Final = 0.2
# ... and when no more than so many others are there as a whole, of at least this share of its size. Dense blood shows
# three at times.
MAX_OTHERS: Final = 3
_OTHER_SHARE: Final = 0.4
# Lobes of one nucleus lie within this many diameters of each other.
_LOBES_WITHIN: Final = 1.5

# A nucleus belongs to a cell that covers this share of it.
_COVERED: Final = 0.5
# Of two drawings that share this much of the smaller, one is superfluous.
_SAME: Final = 0.5
# Between the halves of a drawing runs a seam. Below so many diameters of the smaller half it is a neck, and the halves
# are two cells. Measured in drawn masks: at least 1.18 where one cell has several lobes, at most 1.0 in nine tenths of
# touching pairs.
NECK: Final = 1.1
# A drawing that fills less of its convex hull is doubted if it holds further nuclei of this share of a typical one: it
# is one cell only if the network, asked at those, draws the first as well. Drawn masks of cells with several lobes:
# 0.96 or more in set 1.
NOTCHED: Final = 0.96
_LARGE: Final = 0.5
_MIN_HALF: Final = 0.15
_MOST_LOBES: Final = 7
# A cell covers at least this share of a typical one's area, or it is a platelet or a fragment, or too little of it is
# in the picture.
MIN_CELL_SHARE: Final = 0.15
# A field shows at most so many nuclei, or the others, further from its middle, are left out: each costs up to half a
# second. Those in the middle, because the largest would be a choice of cells.
MOST_NUCLEI: Final = 1000
# Room around a cell in its cut-out, as a share of its longer side.
_MARGIN: Final = 0.5
# Where the network draws nothing around a nucleus, or a cell that nearly fills the window (this share of its side), it
# is asked again in windows so many times larger: a lobe says little of the size of its cell.
_WINDOWS: Final = (1.0, 1.6, 2.56)
_ROOMY: Final = 0.9


@dataclass(frozen=True, eq=False)
class FieldCell:
    """One cell of a field: its label map over the cut-out at `place`, and the confidence in it."""

    place: BoundingBox
    labels: LabelMap
    confidence: float


def nearest_the_middle(places: Sequence[BoundingBox], shape: tuple[int, int]) -> int:
    """Index of the cell nearest the middle of a field of (H, W)."""
    height, width = shape

    def off_centre(place: BoundingBox) -> float:
        return math.hypot(place.left + place.width / 2 - width / 2, place.top + place.height / 2 - height / 2)

    return min(range(len(places)), key=lambda index: off_centre(places[index]))


def shows_one_cell(nuclei: Sequence[Nucleus], shape: tuple[int, int]) -> bool:
    """Whether an image of (H, W) was taken of one cell, rather than of a field with any number of them.

    It was when the nucleus nearest the middle covers MIN_CENTRED_SHARE of the square over the longer side, lies within
    MAX_OFF_CENTRE of the middle, and at most MAX_OTHERS of like size are there as a whole: a neighbour, cut or whole,
    makes no field. A lone nucleus off the middle is looked for where it lies, as those of a field are: the network
    would outline what lies in the middle. An image without any nucleus is no field.
    """
    if not nuclei:
        return True
    side = max(shape)
    middle = np.array(shape) / 2
    centres = np.array([nucleus.centre for nucleus in nuclei])
    areas = np.array([nucleus.area for nucleus in nuclei])
    nearest = int(np.argmin(np.hypot(*(centres - middle).T)))
    own = _lobes(centres, areas, nearest)
    others = sum(
        n.area >= _OTHER_SHARE * areas[own].max() and _whole(n, shape)
        for n, lobe in zip(nuclei, own, strict=True)
        if not lobe
    )
    centred = bool(np.abs(centres[nearest] - middle).max() <= MAX_OFF_CENTRE * side)
    return bool(areas[own].sum() >= MIN_CENTRED_SHARE * side**2 and centred and others <= MAX_OTHERS)


def _lobes(centres: NDArray[np.float64], areas: NDArray[np.int64], first: int) -> NDArray[np.bool_]:
    """Which nuclei are connected to the first, each within _LOBES_WITHIN diameters (of the larger) of another."""
    diameters = 2 * np.sqrt(areas / np.pi)
    near = np.hypot(*(centres[:, None] - centres[None]).T) <= _LOBES_WITHIN * np.maximum(
        diameters[:, None], diameters[None]
    )
    own: NDArray[np.bool_] = np.arange(len(areas)) == first
    while (grown := near[own].any(axis=0)).sum() > own.sum():
        own = grown
    return own


def _diameter(area: float) -> float:
    return 2 * float(np.sqrt(area / np.pi))


def _whole(nucleus: Nucleus, shape: tuple[int, int]) -> bool:
    """Whether a nucleus stays clear of the image's edge."""
    starts = (nucleus.top, nucleus.left)
    return all(
        start > 0 and start + length < size // nucleus.step
        for start, length, size in zip(starts, nucleus.mask.shape, shape, strict=True)
    )


def find_cells(
    rgb: NDArray[np.uint8], outline: Outline, nuclei: Sequence[Nucleus] | None = None, progress: Progress | None = None
) -> list[FieldCell]:
    """Every leukocyte of a field once, in reading order, outlined at its own scale; no pixel belongs to two.

    Parameters
    ----------
    rgb
        The field, uint8 (H, W, 3). Only windows of it are copied.
    outline
        The network, as `TwoPassSegmenter.outline`.
    nuclei
        What `find_nuclei` found in it, if known. Of more than MOST_NUCLEI those nearest the middle are used.
    progress
        Called after every nucleus.

    Returns
    -------
    list[FieldCell]
        Empty where there is no stained nucleus, or the network draws a cell around none.
    """
    search = _Search(rgb, outline, find_nuclei(rgb) if nuclei is None else nuclei)
    drawn: list[_Drawing] = []
    wanted = _nearest_middle(search.nuclei, rgb.shape[:2])
    for number, nucleus in enumerate(wanted, start=1):
        if not any(nucleus in drawing.nuclei for drawing in drawn):
            for drawing in search.cells_at(nucleus):
                drawn = _with(drawn, drawing)
        if progress:
            progress(number, len(wanted))
    drawn = _settled(drawn)
    typical = typical_area([drawing.area for drawing in drawn])
    cells = [drawing for drawing in drawn if drawing.area >= MIN_CELL_SHARE * typical]
    return [_cut_out(drawing, cells, rgb.shape[:2]) for drawing in _reading_order(cells)]


def _nearest_middle(nuclei: Sequence[Nucleus], shape: tuple[int, int]) -> Sequence[Nucleus]:
    """The MOST_NUCLEI nearest the middle of a field of (H, W), in the order given; all where there are no more."""
    if len(nuclei) <= MOST_NUCLEI:
        return nuclei
    off = np.hypot(*(np.array([nucleus.centre for nucleus in nuclei]) - np.array(shape) / 2).T)
    return [nuclei[index] for index in np.sort(np.argsort(off)[:MOST_NUCLEI])]


@dataclass(frozen=True, eq=False)
class _Drawing:
    """A cell as the network drew it: labels without environment in a box at (top, left), and nuclei, its own first."""

    labels: NDArray[np.uint8]
    top: int
    left: int
    confidence: float
    nuclei: tuple[Nucleus, ...]

    @property
    def area(self) -> int:
        return int(np.count_nonzero(self.labels))

    @property
    def notched(self) -> bool:
        """Whether the outline has notches, as that of several cells pressed together has."""
        return bool(self.area < NOTCHED * np.count_nonzero(convex_hull_image(self.labels > 0)))

    def inside(self, nucleus: Nucleus) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of a nucleus's grid points that lie in the box."""
        rows, columns = np.nonzero(nucleus.mask)
        rows = (rows + nucleus.top) * nucleus.step + nucleus.step // 2 - self.top
        columns = (columns + nucleus.left) * nucleus.step + nucleus.step // 2 - self.left
        height, width = self.labels.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return rows[inside], columns[inside]

    def covers(self, nucleus: Nucleus) -> float:
        """Share of a nucleus that lies in this cell."""
        # Most nuclei of a field are far away, which is seen without looking at their pixels.
        spans = zip(
            (nucleus.top, nucleus.left), nucleus.mask.shape, (self.top, self.left), self.labels.shape, strict=True
        )
        if any(
            nucleus.step * (at + length) <= edge or nucleus.step * at >= edge + size for at, length, edge, size in spans
        ):
            return 0.0
        return float(np.count_nonzero(self.labels[self.inside(nucleus)]) / np.count_nonzero(nucleus.mask))

    def at_edge(self, field: tuple[int, int]) -> NDArray[np.bool_]:
        """Pixels of the box that lie on the edge of the field of (H, W), bool."""
        edge = np.zeros(self.labels.shape, bool)
        for axis, (start, size) in enumerate(zip((self.top, self.left), field, strict=True)):
            lines = np.moveaxis(edge, axis, 0)
            lines[0], lines[-1] = lines[0] | (start == 0), lines[-1] | (start + len(lines) == size)
        return edge

    def shared(self, other: "_Drawing") -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The common part of two boxes, in the pixels of each."""
        spans = []
        for mine, yours, my_size, your_size in zip(
            (self.top, self.left), (other.top, other.left), self.labels.shape, other.labels.shape, strict=True
        ):
            start, stop = max(mine, yours), max(mine, yours, min(mine + my_size, yours + your_size))
            spans.append((slice(start - mine, stop - mine), slice(start - yours, stop - yours)))
        return (spans[0][0], spans[1][0]), (spans[0][1], spans[1][1])


class _Search:
    """A field, its nuclei and the network."""

    def __init__(self, rgb: NDArray[np.uint8], outline: Outline, nuclei: Sequence[Nucleus]) -> None:
        self.nuclei = nuclei
        self._rgb = rgb
        self._outline = outline
        self._typical = typical_area([nucleus.area for nucleus in nuclei])

    def cells_at(self, nucleus: Nucleus) -> list[_Drawing]:
        """The cell around a nucleus and others found joined to it; none where the network draws none."""
        drawing = self._draw(nucleus)
        others: list[_Drawing] = []
        for second in drawing.nuclei[1:] if drawing and drawing.notched else ():
            if drawing and second in drawing.nuclei and second.area >= _LARGE * self._typical:
                other = self._draw(second)
                if other and other.covers(nucleus) < _COVERED:
                    others.append(other)
                    drawing = _cut(drawing, [n for n in drawing.nuclei if n is second or n in other.nuclei])
        return [*others, drawing] if drawing else others

    def _draw(self, nucleus: Nucleus) -> _Drawing | None:
        extent = max(nucleus.extent, _diameter(self._typical))
        for factor in _WINDOWS:
            window = nucleus.window(factor * extent)
            drawing = self._look(nucleus, window)
            if drawing is not None and (max(drawing.labels.shape) < _ROOMY * window.side or factor == _WINDOWS[-1]):
                return self._without_neighbours(replace(drawing, nuclei=_covered(drawing, self.nuclei)))
        return None

    def _look(self, nucleus: Nucleus, window: Window) -> _Drawing | None:
        """What the network draws in a window, if it is around the nucleus."""
        # The fine pass may look beyond the window; a side more on each side is room enough.
        top, left = max(0, int(window.top - window.side)), max(0, int(window.left - window.side))
        crop = self._rgb[top : int(window.top + 2 * window.side), left : int(window.left + 2 * window.side)]
        labels, confidence = self._outline(crop, Window(window.left - left, window.top - top, window.side))
        drawing = _Drawing(np.where(cell_mask(labels), labels, np.uint8(0)), top, left, confidence, (nucleus,))
        return _trimmed(drawing) if drawing.covers(nucleus) >= _COVERED else None

    def _without_neighbours(self, drawing: _Drawing) -> _Drawing | None:
        """Cut off what hangs on the own nucleus's part by a neck, until nothing does."""
        away = self._beyond_seam(drawing, NECK)
        rest = _cut(drawing, away) if away else None
        return self._without_neighbours(rest) if rest else drawing

    def _beyond_seam(self, drawing: _Drawing, limit: float) -> list[Nucleus]:
        """The nuclei beyond a drawing's shortest seam, if it is shorter than `limit` diameters of the smaller half."""
        nuclei = [drawing.nuclei[0], *sorted(drawing.nuclei[1:], key=lambda n: -n.area)[: _MOST_LOBES - 1]]
        if len(nuclei) == 1:
            return []
        away = _beyond_seam(_owners(drawing, nuclei), len(nuclei), drawing.at_edge(self._rgb.shape[:2]), limit)
        return [nuclei[number - 1] for number in away]


def _covered(drawing: _Drawing, nuclei: Iterable[Nucleus]) -> tuple[Nucleus, ...]:
    """The own nucleus, then the others that lie in the cell."""
    own = drawing.nuclei[0]
    return own, *(n for n in nuclei if n is not own and drawing.covers(n) >= _COVERED)


def _owners(drawing: _Drawing, nuclei: Sequence[Nucleus]) -> NDArray[np.int32]:
    """For every pixel of a cell which of the nuclei is the nearest: 1, 2, ... in their order, 0 outside."""
    marks = np.zeros(drawing.labels.shape, np.int32)
    for number, nucleus in enumerate(nuclei, start=1):
        marks[drawing.inside(nucleus)] = number
    nearest = ndimage.distance_transform_edt(marks == 0, return_distances=False, return_indices=True)
    return np.asarray(np.where(drawing.labels > 0, marks[tuple(nearest)], 0), dtype=np.int32)


def _cut(drawing: _Drawing, away: Sequence[Nucleus]) -> _Drawing | None:
    """A drawing without the pixels that are nearest to certain of its nuclei; None where nothing of its own remains."""
    kept = [n for n in drawing.nuclei if n not in away]
    own = _owners(drawing, [*kept, *away]) <= len(kept)
    rest = _trimmed(replace(drawing, labels=np.where(own, drawing.labels, np.uint8(0))))
    return replace(rest, nuclei=_covered(rest, kept)) if rest else None


def _trimmed(drawing: _Drawing) -> _Drawing | None:
    """Only the part that holds most of the own nucleus, in the smallest box; None where none does."""
    parts, count = ndimage.label(drawing.labels)
    votes = np.bincount(parts[drawing.inside(drawing.nuclei[0])], minlength=count + 1)
    votes[0] = 0
    if not votes.any():
        return None
    own = parts == int(votes.argmax())
    at = ndimage.find_objects(own.astype(np.uint8))[0]
    labels = np.where(own[at], drawing.labels[at], np.uint8(0))
    return replace(drawing, labels=labels, top=drawing.top + at[0].start, left=drawing.left + at[1].start)


def _beyond_seam(owner: NDArray[np.int32], count: int, edge: NDArray[np.bool_], limit: float) -> set[int]:
    """Of the parts 1 to `count` of a drawing, those beyond the relatively shortest seam, as seen from part 1."""
    # Where both halves reach the field's edge, only half of seam and halves is visible, and they are taken so.
    areas = np.bincount(owner.ravel(), minlength=count + 1)
    seams = np.zeros((2, count + 1, count + 1))
    for axis in (0, 1):
        first, second = np.moveaxis(owner, axis, 0)[:-1], np.moveaxis(owner, axis, 0)[1:]
        met = (first != second) & (first > 0) & (second > 0)
        np.add.at(seams[axis], (first[met], second[met]), 1)
    seams += seams.transpose(0, 2, 1)
    cut = np.bincount(owner[edge], minlength=count + 1) > 0
    best, away = limit, set[int]()
    others = range(2, count + 1)
    for chosen in itertools.chain.from_iterable(itertools.combinations(others, size) for size in range(1, count)):
        there, here = list(chosen), [1, *(n for n in others if n not in chosen)]
        smaller = min(areas[there].sum(), areas[here].sum())
        # A seam is nearly straight, so its steps along rows and columns are the sides of a right angle.
        length = np.hypot(*(steps[np.ix_(there, here)].sum() for steps in seams))
        ratio = length / max(_diameter(smaller), 1)
        if cut[there].any() and cut[here].any():
            ratio *= np.sqrt(2)
        if smaller >= _MIN_HALF * areas[1:].sum() and ratio < best:
            best, away = ratio, set(there)
    return away


def _with(drawn: list[_Drawing], new: _Drawing) -> list[_Drawing]:
    """The drawings with one more; of two drawings of the same cell the more certain remains."""
    for index, old in enumerate(drawn):
        in_new, in_old = new.shared(old)
        both = np.count_nonzero((new.labels[in_new] > 0) & (old.labels[in_old] > 0))
        if both >= _SAME * min(new.area, old.area):
            better, worse = (new, old) if new.confidence > old.confidence else (old, new)
            kept = replace(better, nuclei=(*better.nuclei, *(n for n in worse.nuclei if n not in better.nuclei)))
            return [*drawn[:index], kept, *drawn[index + 1 :]]
    return [*drawn, new]


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
    return [trimmed for trimmed in map(_trimmed, settled) if trimmed is not None]


def _to_nucleus(drawing: _Drawing) -> NDArray[np.float64]:
    """Distance of every pixel of the box from the drawn nucleus; infinite where there is none."""
    nucleus = drawing.labels == Compartment.NUCLEUS
    if not nucleus.any():
        return np.full(nucleus.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~nucleus))


def _reading_order(drawn: Sequence[_Drawing]) -> list[_Drawing]:
    """From top to bottom in rows as high as a typical cell, from left to right in each."""
    height = max(1.0, _diameter(typical_area([drawing.area for drawing in drawn])))

    def place(drawing: _Drawing) -> tuple[int, float]:
        return int((drawing.top + drawing.labels.shape[0] / 2) // height), drawing.left + drawing.labels.shape[1] / 2

    return sorted(drawn, key=place)


def _cut_out(drawing: _Drawing, drawn: Sequence[_Drawing], shape: tuple[int, ...]) -> FieldCell:
    """The cell with its surroundings, its environment ring kept out of the other cells."""
    height, width = drawing.labels.shape
    margin = round(_MARGIN * max(height, width))
    top, left = max(0, drawing.top - margin), max(0, drawing.left - margin)
    bottom, right = min(shape[0], drawing.top + height + margin), min(shape[1], drawing.left + width + margin)
    canvas = _Drawing(np.zeros((bottom - top, right - left), np.uint8), top, left, 0, ())
    others = np.zeros(canvas.labels.shape, bool)
    for other in drawn:
        here, there = canvas.shared(other)
        if other is drawing:
            canvas.labels[here] = other.labels[there]
        else:
            others[here] |= other.labels[there] > 0
    ringed = with_environment(LabelMap(canvas.labels), keep_out=others)
    return FieldCell(BoundingBox(left, top, right - left, bottom - top), ringed, drawing.confidence)


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
