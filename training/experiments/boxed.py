"""Pseudo-labels that drawn boxes have checked: a network outlines the leukocyte in a drawn box, or is not believed.

Boxes are weak truth: they are no outlines, but what of an outline lies outside is no part of the cell, and an outline
whose own box then does not fit the drawn one is wrong. What is kept is a data set like any, a picture a cell, each name
beginning with the data set's and the source's: `pseudo_without` of a training config leaves sources out.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CellType
from core.domain.compartments import Compartment
from core.domain.types import LabelMap
from core.evaluation.datasets import Sample
from core.evaluation.drawn_boxes import DrawnBox, box_iou, leukocyte_boxes
from core.image.imaging import encode_png, load
from core.image.masks import cell_mask, encode_grey, with_environment
from core.image.morphology import bounds
from core.image.window import Window
from core.segmentation.postprocessing import label_cell
from core.segmentation.preprocessing import to_image_grid
from core.segmentation.segmenter import TwoPassSegmenter
from core.support import files
from training.experiments.pseudo import LABELS_FILE
from training.loop import SPLIT_FILE

# An outline teaches from this intersection over union of its box with the drawn one on, and the network's own
# expectation of its Dice.
LEAST_FIT: Final = 0.86
LEAST_CONFIDENCE: Final = 0.88
# The outline is the mean of so many rotations: one, because the box checks it.
_VIEWS: Final = 1
# A drawn box is right to so much of its side; beyond, an outline is cut.
_SLACK: Final = 0.03
# Room around the cell in its picture, as a share of the box's longer side.
_ROOM: Final = 0.9


@dataclass(frozen=True)
class BoxedOutline:
    """A row of `labels.csv`: an outline, and how well its own box fits the drawn one."""

    image_id: str
    cell_type: str
    duplicate_group: str
    fit: float
    confidence: float


def write_boxed(
    teacher: TwoPassSegmenter,
    split: Path,
    samples: Sequence[Sample],
    folder: Path,
    *,
    on_image: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Outline the leukocyte of every drawn box and keep those that fit as a data set in `folder`.

    Returns the numbers kept and seen.
    """
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / SPLIT_FILE).write_text(split.read_text(encoding="utf-8"), encoding="utf-8")
    kept: list[BoxedOutline] = []
    seen = 0
    for number, sample in enumerate(samples, start=1):
        rgb = load(sample.image).rgb
        for index, (picture, labels, row) in enumerate(_outlines(teacher, sample, rgb)):
            seen += 1
            if row.fit >= LEAST_FIT and row.confidence >= LEAST_CONFIDENCE and labels.any():
                name = f"{row.image_id}-{index}"
                (folder / "images" / f"{name}.png").write_bytes(encode_png(picture))
                (folder / "masks" / f"{name}.png").write_bytes(encode_png(encode_grey(labels)))
                kept.append(BoxedOutline(**{**asdict(row), "image_id": name}))
        if on_image:
            on_image(number)
    with files.replacing(folder / LABELS_FILE) as made, made.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [field.name for field in fields(BoxedOutline)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in kept)
    return len(kept), seen


def _outlines(
    teacher: TwoPassSegmenter, sample: Sample, rgb: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.uint8], LabelMap, BoxedOutline]]:
    """For each drawn leukocyte a picture around it, its label map, cut to the box, and how well it fitted."""
    data_set, source, file = sample.sample_id.split("/", 2)
    group = sample.group.rsplit("/", 1)[1]
    shape = (rgb.shape[0], rgb.shape[1])
    for box in leukocyte_boxes(sample, shape):
        _, left, top, right, bottom = box
        side = max(right - left, bottom - top)
        window = Window((left + right) / 2, (top + bottom) / 2, side / teacher.card.cell_fill)
        window = Window(window.left - window.side / 2, window.top - window.side / 2, window.side)
        maps = teacher.probabilities(rgb, window, views=_VIEWS)
        outline = label_cell(to_image_grid(maps, window, shape), window)
        inside = np.zeros(shape, bool)
        inside[_around(box, _SLACK * side)] = True
        cut = LabelMap(np.where(inside, outline.labels, np.uint8(Compartment.BACKGROUND)))
        fit = 0.0
        if (cell := cell_mask(cut)).any():
            rows, columns = bounds(cell)
            fit = box_iou(box.sides, np.array([columns.start, rows.start, columns.stop, rows.stop], dtype=np.float64))
        around = _around(box, _ROOM * side)
        row = BoxedOutline(
            f"{data_set}-{source}-{Path(file).stem}",
            CellType.OTHER,
            f"{source}-{group}",
            round(fit, 4),
            round(outline.confidence, 4),
        )
        yield np.ascontiguousarray(rgb[around]), with_environment(LabelMap(cut[around])), row


def _around(box: DrawnBox, room: float) -> tuple[slice, slice]:
    """Rows and columns of a box and so many pixels around it."""
    _, left, top, right, bottom = box
    return (
        slice(max(0, round(top - room)), max(0, round(bottom + room))),
        slice(max(0, round(left - room)), max(0, round(right + room))),
    )
