import numpy as np
import pytest

from core.domain.objects import ObjectKind
from core.evaluation.datasets import Sample
from core.evaluation.drawn_boxes import box_iou, drawn_boxes, leukocyte_boxes


@pytest.fixture
def boxed(tmp_path):
    """A picture with a leukocyte's box in its middle and a red cell's in its corner."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.4\n1 0.1 0.1 0.2 0.2\n")
    return Sample("boxes/Lab/a.png", tmp_path / "images" / "a.png", None, "other", "boxes/Lab/a")


def test_boxes_are_read_as_shares_with_their_kind(boxed):
    first, second = drawn_boxes(boxed)
    assert (first.kind, second.kind) == (ObjectKind.LEUKOCYTE, ObjectKind.RED_CELL)
    assert second.sides == pytest.approx([0, 0, 0.2, 0.2])


def test_leukocytes_come_in_pixels(boxed):
    (box,) = leukocyte_boxes(boxed, (100, 200))
    assert box.sides == pytest.approx([80, 30, 120, 70])


def test_intersection_over_union_of_boxes():
    one = np.array([0.0, 0, 2, 2])
    assert box_iou(one, one) == 1
    assert box_iou(one, one + np.array([1, 0, 1, 0])) == pytest.approx(1 / 3)
    assert box_iou(one, one + 5) == 0
