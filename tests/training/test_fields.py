import numpy as np
import pytest
from scipy import ndimage

from core.domain.objects import FoundObject, ObjectKind
from core.domain.types import BoundingBox, LabelMap
from core.image.masks import cell_mask
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.segmentation.field_of_view import FieldCell
from tests.core.segmentation.scenes import SceneSegmenter
from training.augmentation import LabelledImage
from training.fields import CellScore, FieldScore, Placement, make_field, score_field, score_fields, summarise_fields

SIDE = 900
FOUND = FoundObject(ObjectKind.LEUKOCYTE, 0, 0, 9, 9, 0.9)


@pytest.fixture(scope="module")
def drawn():
    images = [draw_cell(seed, SYNTHETIC_CELLS["lymphocyte"]) for seed in range(3)]
    return [LabelledImage(image.name, image.rgb, labels) for image, labels in images]


@pytest.fixture(scope="module")
def made(drawn):
    return make_field(drawn, SIDE, 8, np.random.default_rng(3), touching=0.5)


def as_found(made, *numbers):
    """One find that covers the cells of these numbers."""
    own = np.isin(made.numbers, numbers)
    return FieldCell(BoundingBox(0, 0, SIDE, SIDE), LabelMap(np.where(own, made.labels, np.uint8(0))), 0.9, FOUND)


def touched(numbers, own):
    """Numbers of the cells within two pixels of one."""
    return set(np.unique(numbers[ndimage.binary_dilation(numbers == own, iterations=2)])) - {0, own}


def test_the_truth_of_a_field_is_whole(made):
    assert made.rgb.shape == (SIDE, SIDE, 3)
    assert made.rgb.dtype == np.uint8
    assert set(np.unique(made.numbers)) == set(range(len(made.standings) + 1))
    np.testing.assert_array_equal(made.numbers > 0, cell_mask(made.labels))
    # The cells are where the truth says: darker than the empty background, which is the brightest.
    grey = made.rgb.mean(axis=2)
    assert np.median(grey[made.numbers > 0]) < np.percentile(grey[made.numbers == 0], 20)


def test_cells_stand_as_the_truth_says(made):
    assert {Placement.APART, Placement.TOUCHING} <= set(made.standings)
    for number, standing in enumerate(made.standings, start=1):
        edge = np.concatenate([made.numbers[[0, -1]].ravel(), made.numbers[:, [0, -1]].ravel()])
        assert (number in edge) <= (standing is Placement.BORDER)
        if standing is Placement.APART:
            assert not touched(made.numbers, number)
        elif standing is Placement.TOUCHING:
            assert touched(made.numbers, number)


def test_none_touch_where_none_are_to(drawn):
    field = make_field(drawn, SIDE, 6, np.random.default_rng(1), touching=0)
    assert Placement.TOUCHING not in field.standings
    assert not any(touched(field.numbers, number) for number in range(1, len(field.standings) + 1))


def test_the_same_state_gives_the_same_field_and_another_one_another(drawn, made):
    again, other = (make_field(drawn, SIDE, 8, np.random.default_rng(seed), touching=0.5) for seed in (3, 4))
    np.testing.assert_array_equal(again.rgb, made.rgb)
    np.testing.assert_array_equal(again.numbers, made.numbers)
    assert (other.numbers != made.numbers).any()


def test_what_is_found_is_matched_once(made):
    count = len(made.standings)
    perfect = score_field(made, [as_found(made, number) for number in range(1, count + 1)])
    assert perfect.n_found == count
    assert all(cell.dice is not None and min(cell.dice.values()) == 1 for cell in perfect.cells)
    assert [cell.standing for cell in perfect.cells] == list(made.standings)
    empty = FieldCell(
        BoundingBox(5, 5, 20, 20),
        LabelMap(np.full((20, 20), 2, np.uint8) * (made.numbers[5:25, 5:25] == 0)),
        0.5,
        FOUND,
    )
    missed = score_field(made, [as_found(made, 1), empty])
    assert missed.n_found == 2
    assert [cell.dice is not None for cell in missed.cells] == [True] + [False] * (count - 1)
    everything = score_field(made, [as_found(made, *range(1, count + 1))])
    assert all(cell.dice is None for cell in everything.cells), "cells run together are found by none"


def test_the_summary_counts_recall_precision_and_cells_under_a_good_outline():
    def good(dice):
        return dict.fromkeys(("nucleus", "cytoplasm", "cell"), dice)

    apart = [CellScore(Placement.APART, good(dice)) for dice in (1.0, 0.7)]
    scores = [
        FieldScore((*apart, CellScore(Placement.TOUCHING, None)), 4),
        FieldScore((CellScore(Placement.TOUCHING, good(0.9)),), 1),
    ]
    found = summarise_fields(scores)
    assert (found["fields"], found["cells"], found["found"]) == (2, 4, 5)
    assert (found["recall"], found["precision"], found["count_error"]) == (0.75, 0.6, 0.5)
    assert found["apart"]["recall"] == 1
    assert found["apart"]["cell"] == {"dice_mean": 0.85, "below_0.8": 0.5}
    assert found["touching"]["recall"] == 0.5
    assert found["cut by the border"] == {"cells": 0, "recall": None}


def test_a_network_without_a_localiser_finds_nothing(drawn):
    told = []
    scores = score_fields(
        SceneSegmenter(),
        drawn,
        2,
        cells=4,
        side=SIDE,
        on_field=lambda number, made, found: told.append((number, len(made.standings), found)),
    )
    assert told == [(0, 4, []), (1, 4, [])]
    assert summarise_fields(scores)["recall"] == 0
    assert summarise_fields(scores)["precision"] is None
