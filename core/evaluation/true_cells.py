"""Leukocytes of many laboratories whose outlines or boxes somebody drew, and what a network outlines there.

Truth is the Dice of the cell where its outline is drawn; where only its box is, the Dice that two boxes as different as
the drawn one and the outline's suggest. Outlines are also spoilt on purpose, so that there are bad ones everywhere.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.objects import FoundObject, ObjectKind
from core.domain.types import LabelMap, Segmentation
from core.evaluation.datasets import DATA_SETS, Sample, drawn_mask
from core.evaluation.drawn_boxes import DrawnBox, box_iou, drawn_boxes
from core.image.imaging import load
from core.image.masks import cell_mask
from core.image.morphology import bounds, within
from core.image.window import Window
from core.quality.outline_signs import outline_signs
from core.segmentation.scene import window_around
from core.segmentation.segmenter import Segmenter

Mask = NDArray[np.bool_]

# Data sets with drawn outlines, and the one with drawn boxes in pictures of several laboratories.
DRAWN_SETS: Final = ("bccd", "set1", "set2")
BOXED_SET: Final = "txl_pbc"
# Its pictures of this source are in `bccd` as well, with outlines.
_WITH_OUTLINES: Final = "BCCD"
# Laboratories with drawn leukocytes: of the data set with boxes by the names that it has for them; and those that are
# in no picture of it.
LABORATORIES: Final = (*DRAWN_SETS, "Raabin-WBC", "BCDD", "PBC")
_UNBOXED: Final = frozenset({"set1", "set2"})
# A drawn part of less of the largest one's area is no cell.
_SPECK: Final = 0.2
# Boxes are drawn loosely: an edge that lies off by this share of the side means nothing.
_LOOSE: Final = 0.03
# The Dice of an outline whose box fits that of the drawn outline: the median of 125 in `bccd`.
_WHERE_BOXES_FIT: Final = 0.973
# Of a segmenter without a localiser the drawn box stands for the found one, its edges off by so much of its sides.
SIMULATED_OFF: Final = 0.03
# A found box that shares less with a drawn one is of something else.
_SAME: Final = 0.3
# The outlines of a picture as it is, and those that are spoilt: by another window, or by hand.
PLAIN: Final = "as it is"
_WINDOWS: Final = {
    "window too large": (1.8, 0.03),
    "window too small": (0.65, 0.03),
    "window off the cell": (1.0, 0.25),
}
_BY_HAND: Final = ("takes in a neighbour", "cut off", "too wide", "too narrow")


@dataclass(frozen=True)
class TruePicture:
    """A picture whose leukocytes are drawn: of which laboratory it is, and the boxes in it, as shares of it."""

    source: str
    sample: Sample
    boxes: tuple[DrawnBox, ...]

    def boxes_in(self, shape: tuple[int, int]) -> list[DrawnBox]:
        """The boxes in pixels of the picture, (H, W)."""
        return [box.on(shape) for box in self.boxes]


def true_pictures(limit: int | None = None, sources: tuple[str, ...] = LABORATORIES) -> list[TruePicture]:
    """Every picture of some laboratories with drawn leukocytes, at most `limit` of each.

    Raises
    ------
    DataSetError
        If images are missing.
    """
    chosen: list[TruePicture] = []
    with_outlines, boxed = _boxed_pictures() if set(sources) - _UNBOXED else ({}, [])
    for source in sources:
        here = [picture for picture in boxed if picture.source == source]
        if source in DRAWN_SETS:
            samples = DATA_SETS[source].samples()
            here = [TruePicture(source, sample, with_outlines.get(sample.image.name, ())) for sample in samples]
        chosen += here[:: math.ceil(len(here) / limit)] if limit else here
    return chosen


def _boxed_pictures() -> tuple[dict[str, tuple[DrawnBox, ...]], list[TruePicture]]:
    """The boxes of pictures whose outlines are drawn, too, by the name of the picture; and the other pictures."""
    with_outlines, pictures = {}, []
    for sample in DATA_SETS[BOXED_SET].samples():
        source, boxes = sample.sample_id.split("/")[1], drawn_boxes(sample)
        if source == _WITH_OUTLINES:
            with_outlines[Path(sample.group).name] = boxes
        else:
            pictures.append(TruePicture(source, sample, boxes))
    return with_outlines, pictures


@dataclass(frozen=True, eq=False)
class _TrueCell:
    """A drawn leukocyte: its box, and its outline where that is drawn."""

    box: DrawnBox
    mask: Mask | None


def _cells_of(picture: TruePicture, shape: tuple[int, int]) -> list[_TrueCell]:
    if picture.sample.mask is None:
        return [_TrueCell(box, None) for box in picture.boxes_in(shape) if box.kind is ObjectKind.LEUKOCYTE]
    parts, count = ndimage.label(cell_mask(drawn_mask(picture.sample, shape).labels))
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    cells = []
    for number, at in enumerate(ndimage.find_objects(parts), start=1):
        if areas[number - 1] >= _SPECK * areas.max():
            edges = (at[1].start, at[0].start, at[1].stop, at[0].stop)
            cells.append(_TrueCell(DrawnBox(ObjectKind.LEUKOCYTE, *edges), parts == number))
    return cells


def measure(picture: TruePicture, segmenter: Segmenter) -> list[dict[str, Any]]:
    """A row for each drawn leukocyte and each of its outlines, as the network draws it and spoilt.

    Columns: `model_id`, `source`, `group`, `image`, `cell` (its number in the image), `kind` (how it was outlined),
    `dice`, the true or suggested one, `box_iou` of the drawn box and the outline's, `drawn` (whether the outline is
    drawn, not only the box), and the signs.
    """
    rgb = load(picture.sample.image).rgb
    (found,) = segmenter.find([rgb])
    cells = _cells_of(picture, rgb.shape[:2])
    rows = []
    for number, cell in enumerate(cells):
        rng = np.random.default_rng(zlib.crc32(f"{picture.sample.sample_id}/{number}".encode()))
        led = _led(cell.box, found, segmenter, rng)
        known = {
            "model_id": segmenter.card.model_id,
            "source": picture.source,
            "group": picture.sample.group,
            "image": picture.sample.sample_id,
        }
        objects = found or tuple(_as_found(box.kind, box.sides) for box in picture.boxes_in(rgb.shape[:2]))
        for kind, labels, confidence in _outlines(rgb, led, segmenter, rng):
            outline = Segmentation(labels, confidence, 0, segmenter.card.model_id, "", 0.0, led, objects)
            row = {**known, "cell": number, "kind": kind, "drawn": cell.mask is not None, **_truth(labels, cell)}
            seen = outline_signs(outline)
            rows.append({**row, **(seen.values if seen else {})})
    return rows


def _led(
    box: DrawnBox, found: tuple[FoundObject, ...], segmenter: Segmenter, rng: np.random.Generator
) -> FoundObject | None:
    """What the localiser found of a drawn leukocyte; without a localiser the drawn box, about."""
    if not found and getattr(segmenter, "localiser", None) is None:
        wide, high = box.right - box.left, box.bottom - box.top
        edges = box.sides + rng.normal(0, SIMULATED_OFF, 4) * [wide, high, wide, high]
        return _as_found(box.kind, edges)
    leukocytes = [one for one in found if one.kind is ObjectKind.LEUKOCYTE]
    best = max(leukocytes, key=lambda one: box_iou(_edges(one), box.sides), default=None)
    return best if best is not None and box_iou(_edges(best), box.sides) >= _SAME else None


def _as_found(kind: ObjectKind, edges: NDArray[np.float64]) -> FoundObject:
    left, top, right, bottom = map(float, edges)
    return FoundObject(kind, left, top, right, bottom, 1.0)


def _edges(found: FoundObject) -> NDArray[np.float64]:
    return np.array([found.left, found.top, found.right, found.bottom])


def _outlines(
    rgb: NDArray[np.uint8], led: FoundObject | None, segmenter: Segmenter, rng: np.random.Generator
) -> Iterator[tuple[str, LabelMap, float]]:
    """How a cell is outlined, the labels and the confidence: as it is, in another window, and spoilt by hand."""
    if led is None:
        return
    shape = rgb.shape[:2]
    window = window_around(led, shape, segmenter.card.cell_fill)
    other = str(rng.choice(list(_WINDOWS)))
    factor, off = _WINDOWS[other]
    angle, side = rng.uniform(0, 2 * math.pi), factor * window.side
    middle = (
        window.left + window.side / 2 + off * side * math.cos(angle),
        window.top + window.side / 2 + off * side * math.sin(angle),
    )
    for kind, seen in ((PLAIN, window), (other, Window(middle[0] - side / 2, middle[1] - side / 2, side))):
        (drawn,) = segmenter.outline(rgb, [seen])
        labels = drawn.on(shape)
        if not cell_mask(labels).any():
            continue
        yield kind, labels, drawn.confidence
        if kind == PLAIN:
            spoilt = str(rng.choice(_BY_HAND))
            yield spoilt, _spoilt(labels, spoilt, rng), drawn.confidence


def _spoilt(labels: LabelMap, how: str, rng: np.random.Generator) -> LabelMap:
    """An outline with a fault that it did not have."""
    cell, changed = cell_mask(labels), labels.copy()
    diameter = 2 * math.sqrt(np.count_nonzero(cell) / math.pi)
    y, x = np.mgrid[: cell.shape[0], : cell.shape[1]]
    down, right = (side - at.mean() for side, at in zip((y, x), np.nonzero(cell), strict=True))
    angle = rng.uniform(0, 2 * math.pi)
    if how == "takes in a neighbour":
        radius = rng.uniform(0.18, 0.45) * diameter
        away = 0.5 * diameter + radius * rng.uniform(0.2, 0.8)
        disc = np.hypot(down - away * math.sin(angle), right - away * math.cos(angle)) < radius
        changed[disc & ~cell] = Compartment.CYTOPLASM
    elif how == "cut off":
        beyond = down * math.sin(angle) + right * math.cos(angle) > rng.uniform(0.1, 0.4) * diameter
        changed[beyond & cell] = Compartment.BACKGROUND
    elif how == "too wide":
        changed[within(cell, rng.uniform(0.03, 0.15) * diameter) & ~cell] = Compartment.CYTOPLASM
    else:
        changed[within(~cell, rng.uniform(0.03, 0.12) * diameter) & cell] = Compartment.BACKGROUND
    return LabelMap(changed)


# --- truth ------------------------------------------------------------------------------------------------------------


def _truth(labels: LabelMap, cell: _TrueCell) -> dict[str, float]:
    outlined = cell_mask(labels)
    if not outlined.any():
        return {"dice": 0.0, "box_iou": 0.0}
    rows, columns = bounds(outlined)
    edges = np.array([columns.start, rows.start, columns.stop, rows.stop], dtype=np.float64)
    if cell.mask is not None:
        common = int(np.count_nonzero(outlined & cell.mask))
        dice = 2 * common / int(np.count_nonzero(outlined) + np.count_nonzero(cell.mask))
    else:
        dice = dice_of_boxes(edges, cell.box.sides)
    return {"dice": dice, "box_iou": box_iou(edges, cell.box.sides)}


def dice_of_boxes(outlined: NDArray[np.float64], drawn: NDArray[np.float64]) -> float:
    """The Dice of two regions alike in shape whose boxes differ as these do, but for a box drawn loosely."""
    slack = _LOOSE * np.tile(drawn[2:] - drawn[:2], 2)
    off = outlined - drawn
    iou = box_iou(drawn + np.sign(off) * np.maximum(np.abs(off) - slack, 0), drawn)
    return _WHERE_BOXES_FIT * 2 * iou / (1 + iou)
