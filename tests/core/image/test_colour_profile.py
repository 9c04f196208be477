import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from core.image.colour_profile import in_srgb, tell_unconverted
from core.image.remarks import Remarks
from tests.core.image.profiles import matrix_profile

RNG = np.random.default_rng(4)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE_PRIMARIES = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
ADOBE = matrix_profile(ADOBE_PRIMARIES, 2.19921875)


def codes(remarks: Remarks) -> list[str]:
    return [flag.code for flag in remarks.flags]


def stored_as_adobe(rgb: np.ndarray) -> Image.Image:
    """The same colours as numbers of Adobe RGB."""
    profiles = (ImageCms.ImageCmsProfile(io.BytesIO(data)) for data in (SRGB, ADOBE))
    image = ImageCms.profileToProfile(Image.fromarray(rgb), *profiles, renderingIntent=1)
    assert image is not None
    return image


def test_colours_of_a_wide_space_come_back_as_they_are_in_srgb():
    muted = (64 + RGB // 2).astype(np.uint8)
    remarks = Remarks()
    stored = stored_as_adobe(muted)
    assert np.abs(np.asarray(stored, int) - muted).max() > 10
    converted = in_srgb(stored, ADOBE, remarks)
    assert np.abs(np.asarray(converted, int) - muted).max() <= 2
    assert codes(remarks) == ["profile_converted"]


@pytest.mark.parametrize("profile", [None, b"", SRGB])
def test_srgb_is_left_as_it_is_to_the_pixel(profile):
    remarks = Remarks()
    image = in_srgb(Image.fromarray(RGB), profile, remarks)
    np.testing.assert_array_equal(np.asarray(image), RGB)
    assert remarks.notes == ()


@pytest.mark.parametrize(
    ("profile", "mode", "said"),
    [(b"no profile", "RGB", "damaged"), (ADOBE[:200], "RGB", "damaged"), (SRGB, "L", "is for RGB values")],
)
def test_a_profile_that_does_not_fit_is_told_and_not_applied(profile, mode, said):
    remarks = Remarks()
    image = Image.fromarray(RGB).convert(mode)
    assert in_srgb(image, profile, remarks) is image
    assert said in remarks.notes[0] or "cannot be used" in remarks.notes[0]
    assert codes(remarks) == ["profile_ignored"]


def reopened(**options: object) -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG", **options)
    return Image.open(buffer)


def test_other_colours_that_are_only_named_are_told():
    for info, said in (
        ({"gamma": 1.0}, "gamma of 1"),
        ({"chromaticity": (0.31, 0.33, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)}, "primary"),
    ):
        image = Image.fromarray(RGB)
        image.info.update(info)
        remarks = Remarks()
        tell_unconverted(image, remarks)
        assert said in remarks.notes[0]
        assert codes(remarks) == ["profile_ignored"]
    plain = Image.fromarray(RGB)
    plain.info.update({"gamma": 0.45455})
    remarks = Remarks()
    tell_unconverted(plain, remarks)
    assert remarks.notes == ()


def test_adobe_rgb_by_exif_alone_is_told():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    remarks = Remarks()
    tell_unconverted(reopened(exif=exif), remarks)
    assert codes(remarks) == ["profile_ignored"]
    exif.get_ifd(0x8769)[0xA001] = 1
    remarks = Remarks()
    tell_unconverted(reopened(exif=exif), remarks)
    assert remarks.notes == ()
