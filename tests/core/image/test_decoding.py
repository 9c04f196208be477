"""Pixels of every kind of file: how deep, which way up, which colours, what is transparent."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from core.domain.errors import ImageError
from core.image.depth import Depths
from core.image.imaging import decode, load_grey
from tests.core.image.pictures import GREY, RGB, codes, encoded, shades, shows
from tests.core.image.profiles import matrix_profile

DEEP = RGB.astype(np.uint16) << 4
ALPHA = np.where(np.arange(60) < 20, 0, 65535).astype(np.uint16)[None].repeat(40, 0)
WIDE = matrix_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.2)


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png[:33] + chunk + png[33:]


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_deep_png_is_read_in_every_kind(bits):
    values = RGB.astype(np.uint16) << (bits - 8)
    flags = ["reduced_depth"]
    shows(imagecodecs.png_encode(values), RGB, flags, f"{bits} bits per value")
    shows(imagecodecs.png_encode(values[..., 1].copy()), shades(GREY), [*flags, "grey"])
    expected = RGB.copy()
    expected[:, :20] = 255
    shows(imagecodecs.png_encode(np.dstack([values, ALPHA])), expected, [*flags, "transparent"])
    opaque = np.full_like(ALPHA, 2**bits - 1)
    shows(imagecodecs.png_encode(np.dstack([values, opaque])), RGB, flags)
    grey = shades(GREY)
    grey[:, :20] = 255
    shows(imagecodecs.png_encode(np.dstack([values[..., 1], ALPHA])), grey, [*flags, "grey", "transparent"])


def test_significant_bits_of_a_png_count():
    dark = with_chunk(imagecodecs.png_encode(DEEP // 5), b"sBIT", bytes([12, 12, 12]))
    shows(dark, (DEEP // 5 >> 4).astype(np.uint8), ["reduced_depth"], "12 bits per value, as the file says (sBIT)")
    # As the format has it: the 12 bits lie in the upper ones of 16.
    scaled = with_chunk(imagecodecs.png_encode(RGB.astype(np.uint16) * 257), b"sBIT", bytes([12, 12, 12]))
    shows(scaled, RGB, ["reduced_depth"], "16 bits per value")


def test_what_a_run_knows_of_the_depth_counts():
    dark = (DEEP // 5 >> 4).astype(np.uint8)
    png = imagecodecs.png_encode(DEEP // 5)
    assert np.abs(decode(png, "a").rgb.astype(int) - dark).max() > 20
    shows(png, dark, ["reduced_depth"], "as most files", depths=Depths(None, (("PNG|2", 12),)))
    shows(png, dark, ["reduced_depth"], "12 bits per value, as given", depths=Depths(12))


def test_hot_pixels_are_clipped_and_counted():
    hot = DEEP.copy()
    hot[3, 3] = 5000
    expected = RGB.copy()
    expected[3, 3] = 255
    shows(imagecodecs.png_encode(hot), expected, ["reduced_depth"], "3 values beyond them set to white")


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_turning_upright_is_told(suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = decode(encoded(Image.fromarray(RGB), suffix, exif=exif), "a")
    assert image.shape == (60, 40)
    assert codes(image) == ["turned_upright"]
    assert image.notes == ("turned upright (orientation 6 in the file)",)


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_profiles_are_applied_whatever_the_format(suffix):
    grey = np.full((40, 60, 3), 128, np.uint8)
    grey[..., 0] = 200
    lossless = {"lossless": True} if suffix == "WEBP" else {"quality": 100} if suffix == "JPEG" else {}
    image = decode(encoded(Image.fromarray(grey), suffix, icc_profile=WIDE, **lossless), "a")
    assert codes(image) == ["profile_converted"]
    red, green, _ = image.rgb[20, 30].astype(int)
    assert red > 210
    assert abs(green - 128) < 8
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = decode(encoded(Image.fromarray(RGB), "PNG", icc_profile=srgb), "a")
    np.testing.assert_array_equal(kept.rgb, RGB)
    assert kept.flags == ()


def test_a_profile_does_not_reach_through_transparency_or_palettes():
    colour = np.full((40, 60, 3), (200, 128, 128), np.uint8)
    plain = decode(encoded(Image.fromarray(colour), "PNG", icc_profile=WIDE), "a").rgb[20, 30]
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:10] = 0
    image = decode(encoded(Image.fromarray(np.dstack([colour, alpha])), "PNG", icc_profile=WIDE), "a")
    np.testing.assert_array_equal(image.rgb[20, 30], plain)
    np.testing.assert_array_equal(image.rgb[0, 0], 255)
    palette = decode(encoded(Image.fromarray(colour).quantize(4), "PNG", icc_profile=WIDE), "a")
    np.testing.assert_array_equal(palette.rgb[20, 30], plain)


def test_the_codes_of_a_mask_are_changed_by_no_profile(tmp_path):
    path = tmp_path / "mask.png"
    mask = np.where(GREY > 127, 255, 128).astype(np.uint8)
    path.write_bytes(encoded(Image.fromarray(shades(mask)), "PNG", icc_profile=WIDE))
    np.testing.assert_array_equal(load_grey(path), mask)


def test_grey_is_told_also_where_it_is_saved_as_colour():
    shows(encoded(Image.fromarray(shades(GREY)), "PNG"), shades(GREY), ["grey"], "grey image, saved as colour")
    nearly = shades(GREY)
    nearly[0, 0] = (1, 2, 3)
    shows(encoded(Image.fromarray(nearly), "PNG"), nearly)


def test_the_scale_of_a_png_and_a_jpeg_is_offered_where_a_microscope_wrote_it():
    for suffix in ("PNG", "JPEG"):
        dpi = (127_000, 127_000) if suffix == "PNG" else (60_000, 60_000)
        image = decode(encoded(Image.fromarray(RGB), suffix, dpi=dpi), "a")
        assert image.file_scale is not None
        assert image.file_scale.um_per_px == pytest.approx(25_400 / dpi[0], rel=1e-3)
        assert decode(encoded(Image.fromarray(RGB), suffix, dpi=(300, 300)), "a").file_scale is None


def test_inks_without_a_profile_are_told():
    image = decode(encoded(Image.new("CMYK", (60, 40), (0, 255, 0, 0)), "JPEG"), "a.jpg")
    assert codes(image) == ["profile_ignored"]


def test_a_jpeg_of_12_bits_is_refused_by_its_cause():
    data = imagecodecs.jpeg8_encode(DEEP, level=95, bitspersample=12)
    with pytest.raises(ImageError, match="it is a JPEG of 12 bits per value; save the image as PNG"):
        decode(data, "a.jpg")


def test_of_an_animation_the_first_frame_is_taken_and_told():
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    shows(buffer.getvalue(), RGB, ["one_plane"], "frame 1 of 2 used")
