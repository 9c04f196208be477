import hashlib
import io
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image

from core.domain.errors import ImageError
from core.domain.settings import load_settings
from core.domain.types import CellImage
from core.image.depth import Depths
from core.image.imaging import (
    MIN_SIDE_PX,
    base_name,
    decode,
    encode_png,
    file_depths,
    grey,
    load,
    rescaled,
)
from core.image.listing import find_images

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY_12_BIT = np.linspace(0, 4095, 600).astype(np.uint16).reshape(20, 30)


def encoded(image: Image.Image, suffix: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def tiff(pixels: NDArray[np.generic], **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png(pixels: NDArray[np.uint16]) -> bytes:
    """A 16-bit colour PNG written by hand, because Pillow writes none."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png_header(height, width, 16) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def png_header(height: int, width: int, bits: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))


def huge_png(side: int) -> bytes:
    """The header of a very large PNG and hardly more: it must be refused before a pixel is decoded."""
    return png_header(side, side, 8) + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("BMP", {}), ("WEBP", {"lossless": True})],
)
def test_lossless_formats_keep_every_pixel(suffix: str, options: dict[str, object]) -> None:
    image = decode(encoded(Image.fromarray(RGB), suffix, **options), "a.x")
    np.testing.assert_array_equal(image.rgb, RGB)
    assert image.notes == ()


def test_jpeg_comes_close() -> None:
    smooth = np.full((20, 30, 3), (120, 60, 160), np.uint8)
    image = decode(encoded(Image.fromarray(smooth), "JPEG", quality=95), "a.jpg")
    assert np.abs(image.rgb.astype(int) - smooth).max() <= 3


def test_identity_is_that_of_the_file_and_the_scale_is_kept() -> None:
    data = encode_png(RGB)
    image = decode(data, "cell.png", 0.095)
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert image.um_per_px == 0.095
    assert decode(data, "cell.png").um_per_px is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["PNG", "TIFF", "WEBP"])
def test_orientation_is_applied(orientation: int, suffix: str) -> None:
    upright = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.swapaxes(0, 1),
        6: np.rot90(RGB, -1),
        7: RGB[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(RGB),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    options = {"lossless": True} if suffix == "WEBP" else {}
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), suffix, exif=exif, **options), "a").rgb, upright)


def test_orientation_is_applied_to_deep_tiffs_too() -> None:
    tag = [(274, "H", 1, 6, True)]
    colour = np.dstack([GREY_12_BIT] * 3)
    for pixels in (GREY_12_BIT, colour):
        image = decode(tiff(pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack", extratags=tag), "a.tif")
        np.testing.assert_array_equal(image.rgb[..., 0], np.rot90(GREY_12_BIT >> 4, -1))


def test_grey_palette_and_one_bit_become_rgb() -> None:
    shades = RGB[..., 0]
    grey_image = decode(encoded(Image.fromarray(shades), "PNG"), "a")
    np.testing.assert_array_equal(grey_image.rgb, np.dstack([shades] * 3))
    assert grey_image.notes == ("grey image, no colour",)
    palette = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(decode(encoded(palette, "PNG"), "a").rgb, np.asarray(palette.convert("RGB")))
    one_bit = decode(encoded(Image.fromarray(shades > 127), "PNG"), "a")
    np.testing.assert_array_equal(one_bit.rgb[..., 1], np.where(shades > 127, 255, 0))
    assert one_bit.notes == ("black-and-white image without shades",)


def test_cmyk_is_converted_and_said() -> None:
    image = decode(encoded(Image.new("CMYK", (30, 20), (0, 255, 0, 0)), "JPEG"), "a.jpg")
    assert image.notes == ("converted from CMYK",)
    np.testing.assert_allclose(image.rgb[10, 10], (255, 0, 255), atol=3)


def test_alpha_is_laid_on_white() -> None:
    alpha = np.full((20, 30), 255, np.uint8)
    opaque = decode(encoded(Image.fromarray(np.dstack([RGB, alpha])), "PNG"), "a")
    np.testing.assert_array_equal(opaque.rgb, RGB)
    assert opaque.notes == ()
    alpha[:10] = 0
    image = decode(encoded(Image.fromarray(np.dstack([RGB, alpha])), "PNG"), "a")
    assert (image.rgb[:10] == 255).all()
    np.testing.assert_array_equal(image.rgb[10:], RGB[10:])
    assert image.notes == ("transparent parts laid on white",)


def test_grey_with_alpha_and_palette_with_transparency() -> None:
    shades = np.dstack([RGB[..., 0], np.where(np.arange(30) < 15, 0, 255).astype(np.uint8)[None].repeat(20, 0)])
    image = decode(encoded(Image.fromarray(shades, "LA"), "PNG"), "a")
    assert (image.rgb[:, :15] == 255).all()
    np.testing.assert_array_equal(image.rgb[:, 15:, 2], shades[:, 15:, 0])
    assert image.notes == ("grey image, no colour", "transparent parts laid on white")
    palette = Image.new("P", (30, 20), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert (decode(encoded(palette, "GIF", transparency=1), "a.gif").rgb == 255).all()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("container", ["png", "tiff", "colour tiff", "planar colour tiff"])
def test_the_upper_8_bits_of_the_true_depth_are_kept(bits: int, container: str) -> None:
    values = np.linspace(0, 2**bits - 1, 600).astype(np.uint16).reshape(20, 30)
    if container == "png":
        data = encoded(Image.fromarray(values), "PNG")
    elif container == "tiff":
        data = tiff(values)
    elif container == "colour tiff":
        data = tiff(np.dstack([values] * 3), photometric="rgb")
    else:
        data = tiff(np.stack([values] * 3), photometric="rgb", planarconfig="separate")
    image = decode(data, "a")
    np.testing.assert_array_equal(image.rgb, np.dstack([values >> (bits - 8)] * 3))
    assert f"{bits} bits per value, judged by this image alone, the upper 8 kept" in image.notes


def deep_lzw_tiff(pixels: NDArray[np.uint16]) -> bytes:
    """16-bit colour in LZW, which nothing here writes: 8-bit of twice the width (the same bytes), then relabelled."""
    height, width, _ = pixels.shape
    buffer = io.BytesIO(
        encoded(Image.fromarray(pixels.view(np.uint8).reshape(height, 2 * width, 3)), "TIFF", compression="tiff_lzw")
    )
    with tifffile.TiffFile(buffer, mode="r+b") as file:
        file.pages.first.tags["ImageWidth"].overwrite(width)
        file.pages.first.tags["BitsPerSample"].overwrite((16, 16, 16))
    return buffer.getvalue()


def test_packed_16_bit_colour_is_read_whatever_its_depth() -> None:
    values = RGB.astype("<u2") * 257
    np.testing.assert_array_equal(decode(deep_lzw_tiff(values), "a.tif").rgb, RGB)
    np.testing.assert_array_equal(decode(deep_lzw_tiff(values >> 4), "a.tif").rgb, RGB)


def test_planar_8_bit_colour() -> None:
    np.testing.assert_array_equal(
        decode(tiff(np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate"), "a").rgb, RGB
    )


def test_a_16_bit_file_with_8_bit_values_is_left_alone() -> None:
    values = RGB[..., 0].astype(np.uint16)
    image = decode(encoded(Image.fromarray(values), "PNG"), "a")
    np.testing.assert_array_equal(image.rgb[..., 0], values)
    assert image.notes == ("grey image, no colour",)


def test_16_bit_colour_png() -> None:
    values = RGB.astype(np.uint16) * 257
    image = decode(deep_png(values), "a.png")
    np.testing.assert_array_equal(image.rgb, RGB)
    assert image.notes == ("16 bits per value, judged by this image alone, the upper 8 kept",)
    np.testing.assert_array_equal(decode(deep_png(values >> 4), "a.png").rgb, RGB)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros((20, 30), np.float32), "floating-point values"),
        (np.full((20, 30), -5, np.int16), "from -5 to -5"),
        (np.full((20, 30), 70000, np.uint32), "70,000"),
    ],
)
def test_values_without_a_known_white_are_refused(pixels: NDArray[np.generic], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        decode(tiff(pixels), "a.tif")


@pytest.mark.parametrize("suffix", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_the_first_is_used_and_said(suffix: str) -> None:
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if suffix == "WEBP" else {}
    image = decode(encoded(frames[0], suffix, save_all=True, append_images=frames[1:], **options), "a")
    assert image.notes == (f"{'page' if suffix == 'TIFF' else 'frame'} 1 of 3 used",)
    assert [flag.code for flag in image.flags] == ["one_plane"]
    assert (image.rgb == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"sample,stain\n1,MGG\n", "it holds plain text"),
        (bytes(range(128, 256)) * 4, "none of these"),
        (encoded(Image.fromarray(RGB), "JPEG")[:-200], "damaged or cut short"),
        (encode_png(RGB)[:300], "damaged or cut short"),
        (encode_png(RGB[:1, :1]), f"at least {MIN_SIDE_PX} pixels on each side, but the image is 1 x 1"),
        (huge_png(6000), "25,000,000 pixels, but the image has 6000 x 6000"),
        (huge_png(20000), "25,000,000 pixels, but the image has more than"),
    ],
    ids=["empty", "text", "noise", "truncated jpeg", "truncated png", "1 x 1", "6000 x 6000", "20000 x 20000"],
)
def test_each_kind_of_bad_input_is_told_apart(data: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        decode(data, "folder/smear.png")
    assert str(caught.value).startswith("smear.png: expected ")


def test_a_format_that_is_not_allowed_is_refused() -> None:
    with pytest.raises(ImageError, match="expected a PNG, JPEG, TIFF, BMP, GIF or WebP image"):
        decode(encoded(Image.fromarray(RGB), "PPM"), "a.png")


def test_limits_come_from_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(RGB))
    monkeypatch.setenv("LEUKOSCOPE_MAX_PIXELS", "599")
    with pytest.raises(ImageError, match="at most 599 pixels, but the image has 30 x 20"):
        load(path)
    monkeypatch.setenv("LEUKOSCOPE_MAX_BYTES", "1000")
    with pytest.raises(ImageError, match="raise LEUKOSCOPE_MAX_BYTES"):
        load(path)


REAL_ENCODINGS = [
    encoded(Image.fromarray(RGB), "JPEG"),
    encode_png(RGB),
    encoded(Image.fromarray(RGB), "BMP"),
    encoded(Image.fromarray(RGB), "WEBP"),
    encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"),
    encoded(Image.fromarray(RGB).quantize(8), "GIF", save_all=True, append_images=[Image.new("P", (30, 20))]),
    tiff(np.dstack([GREY_12_BIT] * 3), photometric="rgb"),
    tiff(np.dstack([GREY_12_BIT] * 3), photometric="rgb", compression="lzw", predictor=True),
    tiff(np.dstack([GREY_12_BIT] * 3), photometric="rgb", bitspersample=12),
    tiff(np.moveaxis(RGB, -1, 0), photometric="minisblack", ome=True, metadata={"axes": "CYX"}),
    tiff(np.moveaxis(RGB, -1, 0), photometric="minisblack", imagej=True, metadata={"axes": "CYX"}),
    tiff(RGB, photometric="rgb", compression="jpeg2000"),
    deep_png(RGB.astype(np.uint16) * 257),
]


@settings(max_examples=400, deadline=None)
@given(
    data=st.sampled_from(REAL_ENCODINGS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    keep=st.floats(0, 1),
)
def test_damaged_files_give_an_image_or_an_image_error(
    data: bytes, changes: list[tuple[float, int]], keep: float
) -> None:
    damaged = bytearray(data)
    for where, value in changes:
        # Squared, so that headers are hit more often than pixels.
        damaged[int(where**2 * len(damaged))] = value
    try:
        image = decode(bytes(damaged[: int(len(damaged) * (1 - keep**4))]), "a")
    except ImageError:
        return
    assert isinstance(image, CellImage)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\Users\\me\\célula 1.tif", "célula 1.tif"),
        ("血液\u202egpj.png", "血液gpj.png"),
        ("a\x00\n\tb.png", "ab.png"),
        ("=cmd()|'x'.png", "=cmd()|'x'.png"),
        ("folder/", "image"),
        ("..", "image"),
    ],
)
def test_names_lose_paths_and_invisible_characters(given_name: str, kept: str) -> None:
    assert base_name(given_name) == kept
    assert decode(encode_png(RGB), given_name).name == kept


@given(st.text(max_size=400))
def test_any_name_becomes_a_file_name(given_name: str) -> None:
    name = base_name(given_name)
    assert 0 < len(name) <= 200
    assert Path(name).name == name
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in name)


def test_load_reads_files_and_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "cell.png"
    path.write_bytes(encode_png(RGB))
    image = load(path, 0.1)
    assert (image.name, image.um_per_px) == ("cell.png", 0.1)
    with pytest.raises(ImageError, match=r"missing\.png: expected a readable image file, but No such file"):
        load(tmp_path / "missing.png")


def test_grey_is_luma_in_whole_numbers() -> None:
    luma = grey(RGB)
    assert luma.dtype == np.float64
    np.testing.assert_allclose(luma, RGB @ [0.299, 0.587, 0.114], atol=0.51)
    np.testing.assert_array_equal(luma, np.rint(luma))


@pytest.mark.parametrize("pixels", [RGB, RGB[..., 0]])
def test_encoded_png_reads_back(pixels: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(pixels)))), pixels)


def test_another_scale_is_told_anew() -> None:
    data = tiff(RGB, photometric="rgb", ome=True, metadata={"PhysicalSizeX": 0.2})
    image = decode(data, "a.tif", 0.1)
    assert [flag.code for flag in image.flags] == ["scale_contradicted"]
    for um_per_px in (0.2, None, "file", 0.1):
        again = rescaled(image, um_per_px)
        fresh = decode(data, "a.tif", um_per_px)
        assert (again.um_per_px, again.notes, again.flags) == (fresh.um_per_px, fresh.notes, fresh.flags)


def test_a_run_asks_its_files_for_the_depth_and_all_follow(tmp_path: Path) -> None:
    shades = RGB.astype(np.uint16) << 4
    for name, values in (("a", shades), ("b", shades), ("dark", shades // 5)):
        (tmp_path / f"{name}.tif").write_bytes(tiff(values, photometric="rgb"))
    (tmp_path / "other.png").write_bytes(encode_png(RGB))
    (tmp_path / "broken.tif").write_bytes(b"II*\0 no")
    paths = find_images([tmp_path])
    depths = file_depths(paths)
    np.testing.assert_array_equal(load(tmp_path / "dark.tif", None, depths).rgb, shades // 5 >> 4)
    np.testing.assert_array_equal(load(tmp_path / "a.tif", None, depths).rgb, RGB)
    assert "12 bits per value, as most files of the run use" in load(tmp_path / "dark.tif", None, depths).notes[0]
    assert file_depths(paths, 14) == Depths(14)
    assert file_depths([tmp_path / "other.png"]) == Depths()


def test_the_cases_from_elsewhere_are_read_as_their_base() -> None:
    folder = load_settings().data.parent / "cases" / "images"
    if not folder.is_dir():
        pytest.skip("the cases are not there")
    base = load(folder / "00_base.png").rgb.astype(int)
    cases = (
        "ome_3pages.ome.tif",
        "thumb_first.tif",
        "lzw12_rgb16.tif",
        "jp2k.tif",
        "ome_rgb_scaled.ome.tif",
        "icc_adobe.png",
    )
    for name in cases:
        assert np.abs(load(folder / name).rgb - base).max() <= 1, name
    hot = np.abs(load(folder / "12bit_rgb_hotpixel.tif").rgb - base)
    assert (hot > 1).any(axis=-1).sum() == 1
    grey_as_base = load(folder / "grey16_miniswhite.tif").rgb[..., 0] - grey(base.astype(np.uint8))
    assert np.abs(grey_as_base).max() <= 1


@pytest.mark.data
def test_real_images_decode(data_dir: Path) -> None:
    smear = load(next((data_dir / "hairy_cell_smear").glob("*.jpg")))
    assert smear.shape == (670, 895)
    for folder in ("acevedo", "deepapl", "wbc_zheng/set1/images"):
        for path in find_images([data_dir / folder])[:5]:
            assert min(load(path).shape) >= 88


@pytest.mark.parametrize("size", [(16, 400), (400, 16)])
def test_a_strip_is_refused_by_its_shape(size):
    with pytest.raises(ImageError, match=f"at most 20 times as long as wide, but it is {size[0]} x {size[1]}"):
        decode(encode_png(np.zeros(size[::-1], np.uint8)), "strip.png")
