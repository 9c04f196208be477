"""The one judgement of a pair; what a training makes of it is in `tests/training/test_data.py`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.compartments import Compartment
from core.domain.errors import DataSetError, MaskError
from core.evaluation.datasets import Sample, data_set
from core.evaluation.pairs import divided, empty_part, joined, read_pair, shown_by_none, too_few_for_folds
from core.image.masks import cell_mask
from tests.pairs import cell_and_mask, save_pair


def read(tmp_path, rgb, mask):
    save_pair(tmp_path / "mine", "a", rgb, mask)
    (sample,) = data_set(str(tmp_path / "mine")).samples()
    return read_pair(sample)


def test_of_several_cells_the_largest_is_left_and_no_ring_is_drawn_into_the_others(tmp_path):
    (one, large), (two, small) = cell_and_mask(1), cell_and_mask(1, drawing="lymphocyte")
    pair = read(tmp_path, np.concatenate([one, two], axis=1), np.concatenate([large, small], axis=1))
    assert np.array_equal(cell_mask(pair.labels), np.pad(large > 0, ((0, 0), (0, 360))))
    assert np.array_equal(pair.others, np.pad(small > 0, ((0, 0), (360, 0))))
    assert (pair.labels == Compartment.ENVIRONMENT).any()
    assert np.array_equal(cell_mask(pair.mask.labels), cell_mask(pair.labels) | pair.others)


def test_repairs_are_a_share_of_what_is_drawn(tmp_path):
    rgb, mask = cell_and_mask()
    inside = np.argwhere(mask == 128)[:50]
    mask[tuple(inside.T)] = 100
    pair = read(tmp_path, rgb, mask)
    assert pair.mask.repaired == 50
    assert pair.repaired_share == pytest.approx(50 / np.count_nonzero(mask))


@pytest.mark.parametrize(
    ("image", "mask", "error", "words"),
    [
        (b"text", None, DataSetError, r"mine/a: the image a\.png: expected a PNG"),
        (None, b"text", DataSetError, r"mine/a: the mask a\.png: expected a complete mask"),
        (None, np.zeros((360, 360), np.uint8), DataSetError, "mine/a: the mask shows no cell; leave the pair out"),
        (None, np.zeros((30, 36), np.uint8), MaskError, r"mine/a: image and mask must agree .*\(360, 360\) and"),
    ],
)
def test_a_pair_that_cannot_be_used_says_why(tmp_path, image, mask, error, words):
    rgb, drawn = cell_and_mask()
    with pytest.raises(error, match=words):
        read(tmp_path, rgb if image is None else image, drawn if mask is None else mask)


def of_type(number, cell_type=CellType.OTHER):
    return [Sample(f"a/{cell_type}{i}", Path("x"), None, cell_type, f"{cell_type}{i}") for i in range(number)]


def test_groups_of_equal_files_are_one(tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "same").write_bytes(b"1")
    samples = [replace(each, image=tmp_path / name) for each, name in zip(of_type(2), ("one", "same"), strict=True)]
    assert len({sample.group for sample in joined(samples)}) == 1
    gone = [replace(sample, image=tmp_path / sample.group) for sample in samples]
    assert joined(gone) == gone


def test_what_cannot_be_divided_is_said_and_what_can_be_is_not():
    few, many = (divided(of_type(number), 0, 0.2, 0.2) for number in (2, 10))
    assert empty_part(few).startswith("every part needs images, but there are: train 2, validation 0, test 0")
    assert {part: len(members) for part, members in many.items()} == {"train": 6, "validation": 2, "test": 2}
    assert not empty_part(many)
    assert too_few_for_folds(4, 5).startswith("5 folds need at least as many independent images, but there are 4")
    assert not too_few_for_folds(5, 5)
    assert shown_by_none("nucleus", 3).startswith("none of the 3 masks shows nucleus; background is 0")
