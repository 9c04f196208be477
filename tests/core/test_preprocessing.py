from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from core.preprocessing import Window, look_up, network_input, normalise, resample, resample_labels, soften, to_image_grid, white_balance

SHAPE = (40, 60)
# Inside, beyond each side, on all sides at once; with fractional corners and sides.
WINDOWS = [
    Window(10, 5, 30),
    Window(-12.25, 5, 30.5),
    Window(40.4, 5.7, 33.3),
    Window(10, -9.5, 30),
    Window(10, 24.6, 31.7),
    Window(-7.5, -17.25, 75),
]
# Any that see some of the image: that is what cells in it give.
windows = st.builds(lambda x, y, side: Window(x - side / 2, y - side / 2, side), st.floats(0, 60), st.floats(0, 40), st.floats(12, 90))


def noise(shape=SHAPE):
    return np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)


def ramps(window, size):
    """Maps (2, size, size) holding the x and the y, in pixels of the image, of each of their own pixels' centres."""
    centres = (np.arange(size) + 0.5) * window.side / size
    y, x = np.meshgrid(window.top + centres, window.left + centres, indexing="ij")
    return np.stack([x, y]).astype(np.float32)


def pixel_centres(shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return x + 0.5, y + 0.5


def well_inside(window, size, shape=SHAPE):
    """Pixels whose centre lies between the centres of the map's outermost pixels, where interpolation is exact for a ramp."""
    x, y = pixel_centres(shape)
    margin = 0.5 * window.side / size + 1e-3
    low_x, low_y = window.left + margin, window.top + margin
    return (low_x < x) & (x < low_x + window.side - 2 * margin) & (low_y < y) & (y < low_y + window.side - 2 * margin)


# --- windows ---


@pytest.mark.parametrize(
    ("shape", "expected"), [((40, 60), Window(0, -10, 60)), ((61, 40), Window(-10.5, 0, 61)), ((9, 9), Window(0, 0, 9))]
)
def test_the_whole_image_is_centred_in_its_window(shape, expected):
    assert Window.whole(shape) == expected


def test_a_window_around_a_region_is_centred_and_filled_by_its_longer_side():
    region = np.zeros((100, 100), bool)
    region[20:30, 40:80] = True
    window = Window.around(region, 0.5)
    assert (window.side, window.left + window.side / 2, window.top + window.side / 2) == (80, 60, 25)


# --- into the window ---


def test_a_window_on_whole_pixels_at_scale_one_is_a_cut_out():
    image = noise()
    np.testing.assert_array_equal(resample(image, Window(10, 5, 30), 30), image[5:35, 10:40])


def test_outside_the_image_it_is_mirrored_at_its_edge():
    image = noise()
    window = resample(image, Window(-12, 5, 24), 24)
    np.testing.assert_array_equal(window[:, :12], image[5:29, :12][:, ::-1])
    window = resample(image, Window(5, 28, 24), 24)
    np.testing.assert_array_equal(window[12:], image[28:, 5:29][::-1])


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    shrunk = resample(stripes, Window(0, 0, 64), 16)
    assert np.abs(shrunk[:, 1:-1].astype(int) - 100).max() <= 8


@settings(deadline=None)
@given(windows)
def test_the_window_moves_with_the_image(window):
    """In a frame that shows what would be mirrored anyway, the same window sees the same, but for its outermost pixels,

    whose filter ends where the picture ends.
    """
    image = noise()
    framed = np.pad(image, [(100, 100), (100, 100), (0, 0)], mode="symmetric")
    moved = Window(window.left + 100, window.top + 100, window.side)
    # Corners are fractional, so a value may round the other way.
    difference = resample(framed, moved, 32).astype(int) - resample(image, window, 32)
    assert np.abs(difference[1:-1, 1:-1]).max() <= 1


@pytest.mark.parametrize("window", WINDOWS)
def test_labels_have_no_mirrored_copies(window):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:20, 1:20] = 3
    x, y = ramps(window, 64).astype(float)
    inside = (x >= 1) & (x < 20) & (y >= 1) & (y < 20)
    found = resample_labels(labels, window, 64)
    assert set(np.unique(found)) <= {0, 3}
    assert ndimage.label(found)[1] <= 1
    # Nearest neighbour: wrong only for map pixels that fall on the border between two image pixels.
    assert np.count_nonzero((found == 3) != inside) <= 2 * 64


# --- and back ---


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
    beyond = (x < window.left - 1) | (x > window.left + window.side + 1) | (y < window.top - 1) | (y > window.top + window.side + 1)
    assert not ones[beyond].any()


@pytest.mark.parametrize("size", [24, 96])
@pytest.mark.parametrize("window", WINDOWS)
def test_there_and_back_keeps_a_smooth_picture(window, size):
    """The pair of functions as inference uses it, half of it Pillow's: a shift of half a pixel would show as 2 grey levels."""
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
