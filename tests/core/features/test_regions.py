import numpy as np
import pytest
from scipy import ndimage

from core.features.regions import MIN_CONTRAST, background_and_cytoplasm, fill_holes, radius_of, widened
from tests.shapes import disc, small_patterns


def test_widening_is_a_dilation_by_a_square():
    for mask in small_patterns():
        assert np.array_equal(widened(mask), ndimage.binary_dilation(mask, np.ones((3, 3))))


def test_holes_are_filled_and_diagonals_enclose_nothing():
    for mask in small_patterns():
        assert np.array_equal(fill_holes(mask)[1:-1, 1:-1], ndimage.binary_fill_holes(mask, np.ones((3, 3))))
        assert not fill_holes(mask)[[0, -1]].any()


def test_the_radius_is_that_of_a_disc():
    assert radius_of(disc(100, 100, 60)) == pytest.approx(60, rel=2e-3)


def zones(background, cytoplasm):
    labels = np.repeat([[1], [2]], 20, axis=1)
    return np.where(labels == 1, background, cytoplasm).astype(float), labels == 2, labels == 1


def test_the_background_is_the_palest_of_the_environment():
    plane, cytoplasm, environment = zones(0.1, 0.6)
    plane[0, 4:] = 0.9  # a neighbour takes four fifths
    assert background_and_cytoplasm(plane, cytoplasm, environment) == pytest.approx((0.1, 0.6))


def test_what_cannot_be_told_has_its_reason():
    plane, cytoplasm, environment = zones(0.1, 0.09 + MIN_CONTRAST)
    assert "hardly more stained" in background_and_cytoplasm(plane, cytoplasm, environment)
    assert "no environment" in background_and_cytoplasm(plane, cytoplasm, environment & False)
    assert "no cytoplasm" in background_and_cytoplasm(plane, cytoplasm & False, environment)
