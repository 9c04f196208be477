"""The signs of an outline, on drawings: what each sees, and where a fault is said to be."""

import numpy as np
import pytest

from core.domain.compartments import Compartment
from core.domain.objects import FoundObject, ObjectKind
from core.domain.types import LabelMap, Segmentation
from core.quality.outline_signs import OUTLINE_SIGNS, outline_signs

BOX = FoundObject(ObjectKind.LEUKOCYTE, 60, 60, 140, 140, 0.9)
Y, X = np.mgrid[:200, :200]
DISC = np.hypot(Y - 99.5, X - 99.5) < 40


def outlined(cell, found=BOX, objects=(), confidence=0.95):
    labels = LabelMap(np.where(cell, Compartment.CYTOPLASM, Compartment.BACKGROUND).astype(np.uint8))
    return Segmentation(labels, confidence, 0, "", "", 0.0, found, tuple(objects))


def test_a_right_outline_has_no_fault_and_every_sign():
    seen = outline_signs(outlined(DISC))
    assert tuple(seen.values) == OUTLINE_SIGNS
    assert seen.fault is None
    assert seen.values["box"] == pytest.approx(1.7, abs=0.05)


def test_without_a_cell_or_a_localiser_there_are_no_signs():
    assert outline_signs(outlined(np.zeros_like(DISC))) is None
    assert outline_signs(outlined(DISC, found=None)) is None


@pytest.mark.parametrize(
    ("row", "column", "where"),
    [(100, 150, "on the right"), (100, 50, "on the left"), (50, 100, "at the top"), (150, 100, "at the bottom")],
)
def test_what_is_taken_in_is_told_with_its_side(row, column, where):
    leak = np.hypot(Y - row, X - column) < 20
    seen = outline_signs(outlined(DISC | leak))
    assert (seen.fault.takes_in, seen.fault.where) == (True, where)
    assert seen.fault.what == "what lies beside the cell"
    red = FoundObject(ObjectKind.RED_CELL, column - 20, row - 20, column + 20, row + 20, 0.9)
    assert outline_signs(outlined(DISC | leak, objects=[BOX, red])).fault.what == "a red cell"


def test_what_is_left_out_is_told_with_its_side():
    seen = outline_signs(outlined(DISC & (Y > 75)))
    assert (seen.fault.takes_in, seen.fault.where) == (False, "at the top")


def test_too_wide_an_outline_is_so_all_around():
    assert outline_signs(outlined(np.hypot(Y - 99.5, X - 99.5) < 55)).fault.where == "all around"


def test_worse_outlines_have_worse_signs():
    horn = DISC | ((np.abs(Y - 100) < 4) & (X > 100) & (X < 190))
    right, horned = outline_signs(outlined(DISC)).values, outline_signs(outlined(horn, confidence=0.8)).values
    assert horned["box"] < right["box"]
    assert horned["certainty"] < right["certainty"]


def test_a_box_that_reaches_beyond_the_image_is_met_at_its_edge():
    cut = outlined(DISC[100:], found=BOX.moved(0, -100))
    assert outline_signs(cut).fault is None
