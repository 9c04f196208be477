import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage

from core.image.window import Window, resample, resample_labels
from tests.windows import SHAPE, WINDOWS, noise, ramps, windows


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


def test_the_square_over_a_long_strip_costs_no_more_than_a_large_image(monkeypatch):
    """It is looked at on a coarser grid, and shows the same."""
    y, x = np.mgrid[:40, :800]
    strip = np.stack([np.where(np.hypot(y - 20, (x - 400) / 4) < 15, 60, 220)] * 3, axis=-1).astype(np.uint8)
    whole = Window.whole((40, 800))
    exact, exact_labels = resample(strip, whole, 64), resample_labels(strip[..., 0], whole, 64)
    monkeypatch.setattr("core.image.window.MOST_PADDED", 800 * 800 // 4)
    coarse = resample(strip, whole, 64)
    assert np.abs(coarse.astype(int) - exact).mean() < 5
    assert np.mean(resample_labels(strip[..., 0], whole, 64) != exact_labels) < 0.02
