import numpy as np
import pytest

from core.domain.types import StainFactors
from core.image.masks import region_mask
from core.image.stain import (
    absorbance,
    appearance,
    appearance_distance,
    measured_pixels,
    median_density,
    nuclear_contrast,
    nuclear_density,
    restained,
    to_restain,
)
from core.image.synthetic import draw_cell

BACKGROUND, RED_CELL, NUCLEUS = (253, 229, 206), (218, 172, 166), (70, 30, 120)


def plain(colour, side=120):
    return np.full((side, side, 3), colour, np.uint8)


def with_disc(rgb, y, x, radius, colour):
    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    mask = np.hypot(rows - y, columns - x) <= radius
    rgb = rgb.copy()
    rgb[mask] = colour
    return rgb, mask


def test_optical_density_of_white_grey_and_black():
    density = absorbance(np.array([[[255, 127, 0]]], np.uint8))
    assert density.dtype == np.float32
    np.testing.assert_allclose(density, [[[0, np.log(2), np.log(256)]]], rtol=1e-6)


def test_nuclei_stand_out_from_red_cells_and_background():
    rgb, red_cell = with_disc(plain(BACKGROUND), 30, 30, 15, RED_CELL)
    rgb, nucleus = with_disc(rgb, 80, 80, 20, NUCLEUS)
    density = nuclear_density(rgb)
    assert np.median(density) == 0
    assert np.median(density[nucleus]) > 4 * np.median(density[red_cell])


def test_contrast_is_that_of_the_dye_and_needs_both_sides():
    rgb, cell = with_disc(plain(BACKGROUND), 60, 60, 30, (150, 140, 200))
    rgb, nucleus = with_disc(rgb, 60, 60, 20, NUCLEUS)
    density = absorbance(np.array([[NUCLEUS, BACKGROUND]], np.uint8))[0] @ [1, 1, -1]
    assert nuclear_contrast(rgb, nucleus, cell) == pytest.approx(density[0] - density[1], rel=0.02)
    assert nuclear_contrast(rgb, np.zeros_like(nucleus), cell) is None
    assert nuclear_contrast(rgb, nucleus, np.ones_like(cell)) is None


def test_appearance_is_relative_to_the_background():
    """A darker lamp scales all channels: the dye has not changed."""
    image, labels = draw_cell(2)
    nucleus, cytoplasm = region_mask(labels, "nucleus"), region_mask(labels, "cytoplasm")
    bright = appearance(image.rgb, nucleus, cytoplasm)
    dim = appearance((0.8 * image.rgb).astype(np.uint8), nucleus, cytoplasm)
    assert bright.shape == (6,)
    np.testing.assert_allclose(dim, bright, atol=0.03)
    assert (bright[:3] > bright[3:]).all()  # the nucleus takes more dye than the cytoplasm


@pytest.mark.parametrize("missing", ["nucleus", "cytoplasm", "background"])
def test_without_one_of_its_parts_there_is_no_appearance(missing):
    image, labels = draw_cell(2)
    nucleus, cytoplasm = region_mask(labels, "nucleus"), region_mask(labels, "cytoplasm")
    nothing = np.zeros(labels.shape, bool)
    parts = {
        "nucleus": (nothing, cytoplasm),
        "cytoplasm": (nucleus, nothing),
        "background": (nucleus, ~nucleus),
    }
    assert appearance(image.rgb, *parts[missing]) is None


def test_distance_counts_standard_deviations():
    mean, covariance = np.array([1.0, 2.0]), np.array([[4.0, 0.0], [0.0, 0.25]])
    assert appearance_distance(mean, mean, covariance) == 0
    assert appearance_distance(np.array([5.0, 2.0]), mean, covariance) == pytest.approx(2)
    assert appearance_distance(np.array([5.0, 3.0]), mean, covariance) == pytest.approx(np.sqrt(2**2 + 2**2))


def test_factors_multiply_the_density_of_every_channel():
    rgb = np.stack([np.arange(256, dtype=np.uint8)] * 3, axis=-1)[np.newaxis]
    factors = StainFactors("x", 0.5, 1.0, 2.0)
    red, green, blue = np.moveaxis(restained(rgb, factors), 2, 0)[:, 0]
    shares = np.arange(256) / 255
    assert np.abs(red - 255 * np.sqrt(shares)).max() <= 0.5
    assert (green == np.arange(256)).all()
    assert np.abs(blue - 255 * shares**2).max() <= 0.5


def test_the_median_density_of_a_nucleus_scales_with_the_factors():
    rgb, nucleus = with_disc(plain(BACKGROUND), 60, 60, 20, NUCLEUS)
    before = median_density(rgb, nucleus)
    after = median_density(restained(rgb, StainFactors("x", 0.8, 1.1, 1.3)), nucleus)
    assert after / before == pytest.approx([0.8, 1.1, 1.3], rel=0.02)


def test_only_what_is_measured_is_restained_and_a_note_says_so():
    image, factors = draw_cell()[0], StainFactors("x", 0.8, 1.1, 1.3)
    assert to_restain(image, None) is image
    assert measured_pixels(image) is image.rgb
    stained = to_restain(image, factors)
    assert stained.rgb is image.rgb
    assert stained.notes == (*image.notes, factors.note)
    assert (measured_pixels(stained) == restained(image.rgb, factors)).all()
