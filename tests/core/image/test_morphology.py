import math

import numpy as np
import pytest
from scipy import ndimage

from core.image.morphology import bounds, dilated, eroded, filled, opened, within
from tests.shapes import disc, small_patterns


def masks():
    """Every pattern of a few pixels, noise of every density, discs that touch edges; empty, full, a pixel thin."""
    yield from small_patterns()
    rng = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.5, 0.7, 0.98):
        yield rng.random((23, 31)) < share
    yield from (disc(40, 30, 12), disc(20, 30, 25), np.roll(disc(40, 40, 9), 17, axis=1))
    for shape in ((9, 8), (1, 7), (7, 1), (1, 1), (2, 2)):
        yield from (np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) < 0.5)


def test_the_bounds_hold_the_region_and_no_more():
    mask = np.zeros((9, 12), dtype=bool)
    mask[2, 5] = mask[6, 3] = True
    assert bounds(mask) == (slice(2, 7), slice(3, 6))


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize(
    ("ours", "scipys"),
    [(dilated, ndimage.binary_dilation), (eroded, ndimage.binary_erosion), (opened, ndimage.binary_opening)],
)
def test_dilation_erosion_and_opening_are_those_of_scipy(ours, scipys, times):
    for mask in masks():
        before = mask.copy()
        assert np.array_equal(ours(mask, times), scipys(mask, iterations=times))
        assert np.array_equal(mask, before)


def test_filling_is_that_of_scipy():
    for mask in masks():
        assert np.array_equal(filled(mask), ndimage.binary_fill_holes(mask))


@pytest.mark.parametrize("distance", [0.5, 1, math.sqrt(2), 2.3, 5, math.sqrt(13), 50])
def test_what_lies_within_a_distance_is_that_of_the_distance_transform(distance):
    for mask in masks():
        expected = ndimage.distance_transform_edt(~mask) <= distance if mask.any() else mask
        assert np.array_equal(within(mask, distance), expected)
