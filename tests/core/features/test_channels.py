import colorsys

import numpy as np
import pytest
from skimage.color import rgb2hsv, separate_stains

from core.features.channels import BASIC_DYE, BIN_WIDTH, EOSIN, HUE_CUT, Channel, planes
from core.image.imaging import grey

RGB = np.random.default_rng(5).integers(0, 256, (17, 23, 3), dtype=np.uint8)


def of(*rgb):
    return {channel: float(plane[0, 0]) for channel, plane in planes(np.array([[rgb]], dtype=np.uint8)).items()}


def test_every_channel_has_the_image_s_size_and_a_bin_width():
    found = planes(RGB)
    assert set(found) == set(Channel) == set(BIN_WIDTH)
    assert {(plane.dtype.name, plane.shape) for plane in found.values()} == {("float64", (17, 23))}
    assert np.array_equal(found[Channel.GREY], grey(RGB))


def test_hue_and_saturation_are_those_of_other_libraries():
    found, theirs = planes(RGB), rgb2hsv(RGB)
    assert found[Channel.SATURATION] == pytest.approx(100 * theirs[..., 1], rel=1e-12)
    assert found[Channel.HUE] % 360 == pytest.approx(360 * theirs[..., 0], rel=1e-9)
    for rgb in ((120, 80, 200), (200, 80, 120), (80, 200, 120), (10, 9, 9)):
        hue, saturation, _ = colorsys.rgb_to_hsv(*(v / 255 for v in rgb))
        assert of(*rgb)[Channel.HUE] % 360 == pytest.approx(360 * hue)
        assert of(*rgb)[Channel.SATURATION] == pytest.approx(100 * saturation)


@pytest.mark.parametrize(
    ("rgb", "hue"),
    [((0, 0, 255), 240), ((255, 0, 255), 300), ((255, 0, 0), 360), ((255, 255, 0), 420), ((0, 255, 0), 120)],
)
def test_hue_runs_from_green_over_blue_and_red_to_yellow(rgb, hue):
    assert of(*rgb)[Channel.HUE] == hue
    assert HUE_CUT <= hue < HUE_CUT + 360


def test_purples_on_both_sides_of_red_average_to_red():
    hues = planes(np.array([[(200, 0, 20), (200, 20, 0)]], dtype=np.uint8))[Channel.HUE]
    assert hues.mean() == pytest.approx(360)


def test_grey_has_no_hue_and_black_no_saturation():
    assert np.isnan(of(90, 90, 90)[Channel.HUE])
    assert np.isnan(of(0, 0, 0)[Channel.HUE])
    assert of(0, 0, 0)[Channel.SATURATION] == 0


def test_density_is_nothing_in_white_and_adds_up():
    assert of(255, 255, 255)[Channel.OPTICAL_DENSITY] == 0
    assert of(127, 127, 127)[Channel.OPTICAL_DENSITY] == pytest.approx(np.log10(2))
    assert of(63, 63, 63)[Channel.OPTICAL_DENSITY] == pytest.approx(2 * np.log10(2))
    assert of(24.6, 24.6, 24.6)[Channel.OPTICAL_DENSITY] == pytest.approx(1, abs=0.02)  # a tenth of the light passes


@pytest.mark.parametrize("amount", [0.1, 0.4, 0.7])
def test_a_pure_dye_is_found_as_itself_alone(amount):
    for dye, here, there in (
        (BASIC_DYE, Channel.HAEMATOXYLIN, Channel.EOSIN),
        (EOSIN, Channel.EOSIN, Channel.HAEMATOXYLIN),
    ):
        direction = dye / np.linalg.norm(dye)
        found = of(*np.round(256 * 10 ** (-amount * direction) - 1).clip(0, 255).astype(int))
        assert found[here] == pytest.approx(amount, abs=0.02)  # 8 bits
        assert found[there] == pytest.approx(0, abs=0.02)


def test_dyes_are_what_scikit_image_separates():
    dyes = np.stack([BASIC_DYE / np.linalg.norm(BASIC_DYE), EOSIN / np.linalg.norm(EOSIN)])
    matrix = np.linalg.inv(np.vstack([dyes, np.cross(*dyes) / np.linalg.norm(np.cross(*dyes))]))
    shifted = (RGB + 1.0) / 256  # scikit-image takes no 8-bit image's zero, and floors at 1e-6
    theirs = separate_stains(shifted, matrix) * -np.log10(1e-6)
    found = planes(RGB)
    positive = theirs > 0  # it cuts off what is negative
    for index, channel in enumerate((Channel.HAEMATOXYLIN, Channel.EOSIN)):
        assert found[channel][positive[..., index]] == pytest.approx(theirs[..., index][positive[..., index]], rel=1e-9)


def test_a_grey_image_has_no_colour():
    for image in (np.full((2, 3), 127, dtype=np.uint8), np.full((2, 3), 127.0)):
        found = planes(image)
        assert set(found) == {Channel.GREY, Channel.OPTICAL_DENSITY}
        assert found[Channel.OPTICAL_DENSITY] == pytest.approx(np.full((2, 3), np.log10(2)))
