import numpy as np
import pytest

from core.image.masks import cell_mask, region_mask
from core.image.stain import absorbance
from training.augmentation import LabelledImage
from training.experiments.disturbances import DECIDING, ImagingCondition, disturbed
from training.neighbours import count_other_nuclei


@pytest.mark.parametrize("condition", ImagingCondition)
def test_every_condition_gives_an_image_and_its_mask_the_same_again(items, condition):
    item = items[0]
    before = item.rgb.copy(), item.labels.copy()
    shown, again = (disturbed(condition, item, items[1:], 7) for _ in range(2))
    assert (shown.rgb.dtype, shown.rgb.shape) == (np.uint8, (*shown.labels.shape, 3))
    assert cell_mask(shown.labels).any()
    assert np.array_equal(shown.rgb, again.rgb)
    assert np.array_equal(shown.labels, again.labels)
    assert np.array_equal(item.rgb, before[0])
    assert np.array_equal(item.labels, before[1])
    # The cells of the tiny data are no larger than those of low magnification.
    same = np.array_equal(shown.rgb, item.rgb) if shown.rgb.shape == item.rgb.shape else False
    assert same == (condition in (ImagingCondition.CLEAN, ImagingCondition.SMALL))


def test_what_training_can_be_given_decides_nothing():
    assert ImagingCondition.THIN not in DECIDING
    assert ImagingCondition.CLEAN not in DECIDING
    assert ImagingCondition.TOUCHING in DECIDING


def test_images_are_disturbed_each_in_its_own_way(items):
    shown = [
        disturbed(ImagingCondition.LIGHT, LabelledImage(f"set1/{i}", items[0].rgb, items[0].labels), items, 7).rgb
        for i in range(6)
    ]
    assert len({image.tobytes() for image in shown}) == 6


def test_the_stain_is_that_of_another_laboratory(items):
    seen = set()
    for number in range(8):
        item = LabelledImage(f"set1/{number}", items[0].rgb, items[0].labels)
        shown = disturbed(ImagingCondition.STAIN, item, items, 7)
        assert np.array_equal(shown.labels, item.labels)
        density = absorbance(shown.rgb)
        nucleus = np.median(density[region_mask(shown.labels, "nucleus")], axis=0)
        assert 0.4 < nucleus[0] < 1.7
        assert 1.0 < nucleus[1] < 3.0
        seen.add(tuple(nucleus.round(1).tolist()))
    assert len(seen) > 3


def test_low_magnification_leaves_forty_pixels_of_cell(items):
    doubled = LabelledImage(
        "set1/doubled", *(a.repeat(2, axis=0).repeat(2, axis=1) for a in (items[0].rgb, items[0].labels))
    )
    shown = disturbed(ImagingCondition.SMALL, doubled, items, 7)
    assert len(shown.labels) < len(doubled.labels)
    area = cell_mask(shown.labels).sum()
    assert 2 * np.sqrt(area / np.pi) == pytest.approx(40, abs=2)


def test_the_edge_takes_a_part_of_the_cell(items):
    for item in items[:6]:
        shown = disturbed(ImagingCondition.CUT, item, items, 7)
        cell = cell_mask(shown.labels)
        assert cell[0].any() or cell[-1].any() or cell[:, 0].any() or cell[:, -1].any()
        assert 0.75 < cell.sum() / cell_mask(item.labels).sum() < 1


def test_a_touching_leukocyte_comes_whole_and_is_background(items):
    others = 0
    for number in range(6):
        item, other = items[0], items[8 + number % 4]
        shown = disturbed(ImagingCondition.TOUCHING, LabelledImage(f"set1/{number}", item.rgb, item.labels), [other], 7)
        assert cell_mask(shown.labels).sum() == cell_mask(item.labels).sum()
        assert max(shown.labels.shape) > 1.4 * max(item.labels.shape)
        cell = cell_mask(shown.labels)
        # The drawn cell is still in the middle, and as dark as it was.
        assert np.abs(np.argwhere(cell).mean(axis=0) - np.array(cell.shape) / 2).max() < 0.1 * len(cell)
        nucleus = region_mask(shown.labels, "nucleus")
        assert np.median(shown.rgb[nucleus]) == pytest.approx(
            np.median(item.rgb[region_mask(item.labels, "nucleus")]), abs=6
        )
        others += count_other_nuclei(shown.rgb, cell, nucleus) > 0
    assert others >= 4, "no second nucleus is to be seen"
