"""The reference engine is pyradiomics.

Known geometry, its own refusals, and every class of two-dimensional features.
"""

import numpy as np
import pytest

from core.features.reference import measure

SQUARE = np.zeros((12, 12), dtype=bool)
SQUARE[2:8, 3:9] = True
GREY = np.arange(144, dtype=np.float64).reshape(12, 12)


def test_a_square_of_known_size():
    shape = measure("shape2D", GREY, SQUARE)
    # pyradiomics draws the outline through pixel edges' midpoints, which cuts half a pixel off each of the four
    # corners.
    assert shape["PixelSurface"] == 36
    assert shape["MeshSurface"] == 35.5
    assert shape["Perimeter"] == pytest.approx(4 * 5 + 4 * np.sqrt(0.5))
    assert shape["Elongation"] == pytest.approx(1)


def test_lengths_come_in_the_unit_of_the_pixel():
    pixels, halves = measure("shape2D", GREY, SQUARE), measure("shape2D", GREY, SQUARE, pixel_size=0.5)
    assert halves["MaximumDiameter"] == pytest.approx(pixels["MaximumDiameter"] / 2)
    assert halves["PixelSurface"] == pytest.approx(pixels["PixelSurface"] / 4)


def test_grey_values_of_the_region_only():
    values = GREY[SQUARE]
    found = measure("firstorder", GREY, SQUARE)
    assert found["Mean"] == pytest.approx(values.mean())
    assert (found["Minimum"], found["Maximum"]) == (values.min(), values.max())


@pytest.mark.parametrize("feature_class", ["glcm", "glrlm", "glszm", "gldm", "ngtdm"])
def test_every_class_of_two_dimensions_can_be_asked(feature_class):
    found = measure(feature_class, GREY, SQUARE)
    assert found
    assert np.isfinite(list(found.values())).all()


@pytest.mark.parametrize(
    "mask", [np.zeros_like(SQUARE), np.eye(12, dtype=bool) & (np.arange(12) == 4)], ids=["empty", "one pixel"]
)
def test_pyradiomics_own_refusals_come_through(mask):
    with pytest.raises(ValueError, match=r".+"):
        measure("shape2D", GREY, mask)


def test_entropy_follows_the_width_of_the_bins():
    narrow, wide = measure("firstorder", GREY, SQUARE, bin_width=1), measure("firstorder", GREY, SQUARE, bin_width=1000)
    assert narrow["Entropy"] == pytest.approx(np.log2(36))
    assert wide["Entropy"] == pytest.approx(0, abs=1e-12)


def test_pixels_without_a_value_are_taken_out():
    holed = GREY.copy()
    holed[4, 5] = np.nan
    assert measure("firstorder", holed, SQUARE)["Mean"] == pytest.approx(np.nanmean(holed[SQUARE]))
