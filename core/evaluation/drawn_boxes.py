"""Boxes that somebody drew around the objects of an image: YOLO's text files, in `labels/` beside `images/`."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.domain.objects import ObjectKind
from core.evaluation.datasets import Sample

# The classes of the files, by their numbers.
_KINDS: Final = (ObjectKind.LEUKOCYTE, ObjectKind.RED_CELL, ObjectKind.PLATELET)


class DrawnBox(NamedTuple):
    """A drawn box: what is in it, and its edges as shares of the picture's width and height, or in pixels."""

    kind: ObjectKind
    left: float
    top: float
    right: float
    bottom: float

    @property
    def sides(self) -> NDArray[np.float64]:
        """Left, top, right, bottom."""
        return np.array(self[1:])

    def on(self, shape: tuple[int, int]) -> "DrawnBox":
        """A box of shares in pixels of a picture of (H, W)."""
        height, width = shape
        return DrawnBox(self.kind, self.left * width, self.top * height, self.right * width, self.bottom * height)


def drawn_boxes(sample: Sample) -> tuple[DrawnBox, ...]:
    """The boxes drawn in a picture, as shares of it: lines of class, centre x and y, width and height."""
    drawn = sample.image.parent.parent / "labels" / f"{sample.image.stem}.txt"
    boxes = []
    for line in drawn.read_text(encoding="utf-8").splitlines():
        kind, x, y, wide, high = map(float, line.split())
        boxes.append(DrawnBox(_KINDS[int(kind)], x - wide / 2, y - high / 2, x + wide / 2, y + high / 2))
    return tuple(boxes)


def leukocyte_boxes(sample: Sample, shape: tuple[int, int]) -> list[DrawnBox]:
    """The boxes of leukocytes drawn in a picture of (H, W), in its pixels."""
    return [box.on(shape) for box in drawn_boxes(sample) if box.kind is ObjectKind.LEUKOCYTE]


def box_iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Common area of two boxes (left, top, right, bottom) over that of both together."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    both = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - common
    return common / both if both > 0 else 0.0
