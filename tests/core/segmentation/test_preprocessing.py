from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from core.image.window import Window, resample
from core.segmentation.preprocessing import look_up, network_input, normalise, soften, to_image_grid, white_balance
from tests.windows import SHAPE, WINDOWS, noise, pixel_centres, ramps, well_inside, windows


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_ramp_comes_back_in_its_place(window, size):
    x, y = to_image_grid(ramps(window, size), window, SHAPE)
    inside = well_inside(window, size)
    expected_x, expected_y = pixel_centres()
    assert inside.any()
    np.testing.assert_allclose(x[inside], expected_x[inside], atol=1e-3)
    np.testing.assert_allclose(y[inside], expected_y[inside], atol=1e-3)


@settings(deadline=None)
@given(windows, st.integers(8, 96))
def test_any_window_comes_back_in_its_place(window, size):
    x, y = to_image_grid(ramps(window, size), window, SHAPE)
    inside = well_inside(window, size)
    expected_x, expected_y = pixel_centres()
    np.testing.assert_allclose(x[inside], expected_x[inside], atol=1e-3)
    np.testing.assert_allclose(y[inside], expected_y[inside], atol=1e-3)


@pytest.mark.parametrize("window", WINDOWS)
def test_outside_the_window_is_zero_and_inside_is_not(window):
    ones = to_image_grid(np.ones((1, 32, 32), np.float32), window, SHAPE)[0]
    x, y = pixel_centres()
    inside = (window.left < x) & (x < window.left + window.side) & (window.top < y) & (y < window.top + window.side)
    np.testing.assert_array_equal(ones[inside], 1)
    beyond = (
        (x < window.left - 1)
        | (x > window.left + window.side + 1)
        | (y < window.top - 1)
        | (y > window.top + window.side + 1)
    )
    assert not ones[beyond].any()


@pytest.mark.parametrize("size", [24, 96])
@pytest.mark.parametrize("window", WINDOWS)
def test_there_and_back_keeps_a_smooth_picture(window, size):
    """The pair of functions as inference uses it, half of it Pillow's.

    A shift of half a pixel would show as 2 grey levels.
    """
    x, y = pixel_centres()
    image = np.stack([4 * x, 4 * y, 2 * (x + y)], axis=2).round().astype(np.uint8)
    maps = resample(image, window, size).transpose(2, 0, 1).astype(np.float32)
    back = to_image_grid(maps, window, SHAPE).transpose(1, 2, 0)
    # Near the image's edge the map sees the mirrored side, whose ramp falls again.
    reach = 2 * max(1, window.side / size)
    inside = well_inside(window, size) & (x > reach) & (x < SHAPE[1] - reach) & (y > reach) & (y < SHAPE[0] - reach)
    margin_ok = ndimage.binary_erosion(inside, iterations=int(np.ceil(reach)))
    assert margin_ok.any()
    assert np.abs(back - image.astype(float))[margin_ok].max() <= 1.05


# --- numbers the network sees ---


def test_normalisation_is_the_cards():
    mean, std = (0.5, 0.25, 0.75), (0.5, 0.25, 0.1)
    rgb = np.array([[[0, 0, 0], [255, 255, 255], [51, 102, 153]]], np.uint8)
    out = normalise(rgb, mean, std)
    assert (out.shape, out.dtype, out.flags.c_contiguous) == ((3, 1, 3), np.float32, True)
    np.testing.assert_allclose(out[:, 0, 0], [-1, -1, -7.5], rtol=1e-5)
    np.testing.assert_allclose(out[:, 0, 1], [1, 3, 2.5], rtol=1e-5)
    np.testing.assert_allclose(out[:, 0, 2], [(0.2 - 0.5) / 0.5, (0.4 - 0.25) / 0.25, (0.6 - 0.75) / 0.1], rtol=1e-5)


def test_network_input_has_the_cards_size(segmenter, synthetic_cell):
    image, card = synthetic_cell[0], segmenter.card
    out = network_input(image.rgb, Window.whole(image.shape), card)
    assert (out.shape, out.dtype) == ((1, 3, card.input_size, card.input_size), np.float32)


def tinted(background, dye=(0.5, 0.3, 0.6)):
    """Noise-free plasma of a colour with a square of dye that lets these shares of it through."""
    rgb = np.full((60, 80, 3), background, np.float64)
    rgb[20:40, 30:50] *= dye
    return np.rint(rgb).astype(np.uint8)


@pytest.mark.parametrize("background", [(250, 225, 180), (200, 210, 240), (120, 110, 90)])
def test_white_balance_takes_the_backgrounds_tint_away_and_leaves_the_dye(background):
    rgb = tinted(background)
    balanced = look_up(rgb, white_balance(rgb))
    grey = balanced[0, 0].astype(float)
    assert grey == pytest.approx([grey[0]] * 3, abs=1)
    assert balanced[30, 40] / grey == pytest.approx([0.5, 0.3, 0.6], abs=0.02)


def test_white_balance_finds_the_percentile_by_counting():
    rgb = np.random.default_rng(0).integers(0, 256, (37, 41, 3)).astype(np.uint8)
    factors = 240 / np.percentile(rgb.reshape(-1, 3), 85, axis=0)
    expected = np.clip(np.rint(np.arange(256)[:, None] * factors), 0, 255)
    np.testing.assert_array_equal(white_balance(rgb), expected)


def test_white_balance_of_what_is_dark_or_even_stays_finite():
    black = np.zeros((8, 8, 3), np.uint8)
    assert look_up(black, white_balance(black)).max() == 0
    dim = np.full((8, 8, 3), 10, np.uint8)
    assert look_up(dim, white_balance(dim)).max() == 40
    # Few bright pixels are no background.
    speckled = tinted((150, 150, 150))
    speckled[:2] = 255
    assert np.array_equal(white_balance(speckled), white_balance(tinted((150, 150, 150))))


def test_white_balance_of_a_large_image_is_that_of_its_parts():
    large = np.tile(tinted((250, 225, 180)), (20, 20, 1))
    assert np.array_equal(white_balance(large), white_balance(tinted((250, 225, 180))))


def test_network_input_is_balanced_where_the_card_says_so(segmenter):
    card = replace(segmenter.card, white_balance=False)
    rgb, window = tinted((250, 225, 180)), Window(10, 0, 60)
    balanced = network_input(rgb, window, replace(card, white_balance=True))
    plain = network_input(rgb, window, card)
    assert np.allclose(balanced, network_input(look_up(rgb, white_balance(rgb)), window, card), atol=0.03)
    assert np.abs(balanced - plain).max() > 0.3


def test_softened_pictures_of_a_sharp_and_a_soft_camera_are_alike():
    sharp = np.kron(noise((48, 48)), np.ones((4, 4, 1), np.uint8))
    soft = ndimage.gaussian_filter(sharp, (1, 1, 0))
    apart = np.abs(sharp.astype(int) - soft).mean()
    together = np.abs(soften(sharp, 48).astype(int) - soften(soft, 48)).mean()
    assert soften(sharp, 48).shape == sharp.shape
    assert together < 0.6 * apart


@pytest.mark.parametrize("detail", [0, 40, 200])
def test_nothing_is_softened_where_there_is_no_more_detail(detail):
    square = noise((40, 40))
    assert np.array_equal(soften(square, detail), square)
