"""The only code that opens image files: bytes in, a checked CellImage out, with every change said in words.

Metadata (EXIF, comments, text, colour profiles) ends here: only pixels, a cleaned base name and the file's hash go on.
"""

import hashlib
import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from core.domain.errors import ImageError, UsageError
from core.domain.settings import Settings, load_settings
from core.domain.types import CellImage
from core.image.structure import check_structure

# Pillow knows some forty formats; the exotic ones are rarely needed and have been the way in for decompression bombs.
FORMATS: Final = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
IMAGE_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp")

# Below this side no nucleus can be told from its cytoplasm; the smallest cells of the public data sets are 60 px
# across.
MIN_SIDE_PX: Final = 16

# Cameras store 10, 12 or 14 bits in 16-bit files; the smallest depth that holds the largest value is taken as the true
# one.
BIT_DEPTHS: Final = (8, 10, 12, 14, 16)

# A strip of a scanned slide is longer than wide, but the networks see squares over the longer side.
MAX_ASPECT: Final = 20

MAX_NAME_LENGTH: Final = 200

# Worth knowing before trusting colour; palettes and other lossless conversions are not.
MODE_NOTES: Final = MappingProxyType(
    {
        "1": "black-and-white image without shades",
        "L": "grey image, no colour",
        "LA": "grey image, no colour",
        "CMYK": "converted from CMYK",
    }
)


def load(path: Path, um_per_px: float | None = None) -> CellImage:
    """Read and decode one image file.

    Parameters
    ----------
    path
        PNG, JPEG, TIFF, BMP, GIF or WebP file.
    um_per_px
        Side of a pixel in micrometres, if known.

    Raises
    ------
    ImageError
        If the file cannot be read or is no usable image; the message says what was expected, what came and what to do.
    """
    name = base_name(path.name)
    try:
        size = path.stat().st_size
        _check_bytes(size, name, load_settings())
        data = path.read_bytes()
    except OSError as error:
        msg = (
            f"{name}: expected a readable image file, but {error.strerror or error}; check the path and the permissions"
        )
        raise ImageError(msg) from error
    return decode(data, name, um_per_px)


def decode(data: bytes, name: str, um_per_px: float | None = None) -> CellImage:
    """Turn the bytes of an image file into a CellImage: upright 8-bit RGB, metadata dropped.

    Alpha is laid on white; grey, palette, 1-bit and CMYK images are converted; of 16-bit images the upper 8 bits of the
    true depth (10, 12, 14 or 16, judged by the largest value) are kept; of several frames the first is used. What
    changed the picture is in `CellImage.notes`. Colour profiles are not applied, as cameras and scanners rarely agree
    on them.

    Parameters
    ----------
    data
        The whole file; at most `Settings.max_bytes` bytes and `Settings.max_pixels` pixels.
    name
        File name as given; path parts and control characters are removed.
    um_per_px
        Side of a pixel in micrometres, if known.

    Raises
    ------
    ImageError
        For any bytes that are no usable image; no other exception but MemoryError leaves this function because of its
        data.
    """
    name = base_name(name)
    settings = load_settings()
    _check_bytes(len(data), name, settings)
    check_structure(data, name)
    try:
        rgb, notes = _read(data, name, settings)
    except (ImageError, MemoryError):  # want of memory says nothing of the file
        raise
    except UnidentifiedImageError as error:
        came = (
            "it holds plain text" if data[:512].isascii() else "its content is none of these, or its start is damaged"
        )
        msg = (
            f"{name}: expected a PNG, JPEG, TIFF, BMP, GIF or WebP image, but {came}; save the image as PNG and try"
            " again"
        )
        raise ImageError(msg) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(_too_many_pixels(name, f"more than {Image.MAX_IMAGE_PIXELS:,}", settings)) from error
    except Exception as error:  # decoders meet damaged files with a dozen exception types, all meaning this
        msg = (
            f"{name}: expected a complete image, but the file is damaged or cut short ({error}); copy or export it"
            " again"
        )
        raise ImageError(msg) from error
    return CellImage(rgb, name, hashlib.sha256(data).hexdigest(), um_per_px, notes)


def grey(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """ITU-R 601 luma of a uint8 (H, W, 3) image, rounded as Pillow's `convert("L")`; float64 (H, W), 0 to 255."""
    return np.asarray(Image.fromarray(rgb).convert("L"), dtype=np.float64)


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Bytes of a PNG file of a uint8 array, grey (H, W) or colour (H, W, 3), or of a uint16 one (H, W)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def find_images(inputs: Iterable[Path | str]) -> list[Path]:
    """Image files among files and folders (searched with their subfolders), sorted, each once, without hidden ones.

    A file named explicitly is taken whatever its suffix; in folders `IMAGE_SUFFIXES` decide.

    Raises
    ------
    UsageError
        If an input does not exist, or there is no image at all.
    """
    entries = [Path(entry) for entry in inputs]
    images: set[Path] = set()
    for entry in entries:
        if entry.is_dir():
            for path in entry.rglob("*"):
                hidden = any(part.startswith(".") for part in path.relative_to(entry).parts)
                if not hidden and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                    images.add(path)
        elif entry.exists():
            images.add(entry)
        else:
            msg = f"expected an image file or a folder, but {entry} does not exist; check the path"
            raise UsageError(msg)
    if not images:
        msg = (
            f"expected images ({', '.join(IMAGE_SUFFIXES)}), but found none in"
            f" {', '.join(map(str, entries)) or 'an empty list'}"
        )
        raise UsageError(msg)
    return sorted(images)


def base_name(name: str) -> str:
    """File name without path parts, control and invisible characters; "image" if nothing is left."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    base = "".join(
        c for c in unicodedata.normalize("NFC", base) if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029"
    )
    base = base.strip()[-MAX_NAME_LENGTH:]
    return "image" if base in {"", ".", ".."} else base


def _check_bytes(size: int, name: str, settings: Settings) -> None:
    if size == 0:
        msg = f"{name}: expected an image, but the file is empty (0 bytes); copy or export it again"
        raise ImageError(msg)
    if size > settings.max_bytes:
        msg = (
            f"{name}: expected at most {settings.max_bytes / 2**20:.0f} MB, but the file has {size / 2**20:.0f} MB; "
            "cut out the cell, or raise LEUKOSCOPE_MAX_BYTES"
        )
        raise ImageError(msg)


def _too_many_pixels(name: str, came: str, settings: Settings) -> str:
    allowed = f"{name}: expected at most {settings.max_pixels:,} pixels"
    return f"{allowed}, but the image has {came}; cut out the cell, or raise LEUKOSCOPE_MAX_PIXELS"


def _read(data: bytes, name: str, settings: Settings) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Upright uint8 (H, W, 3) pixels and what was done to get them."""
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        _check_size(image.size, name, settings)
        frames = getattr(image, "n_frames", 1)
        notes = [f"frame 1 of {frames} used"] if frames > 1 else []
        # Read before load(): Pillow turns a TIFF upright while loading it and forgets the tag.
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        deep = _bits_per_sample(image, data) == 16
        image.load()
        if image.mode in {"F", "LAB"}:
            what = "floating-point values" if image.mode == "F" else "Lab colours"
            msg = (
                f"{name}: expected grey or RGB pixels in whole numbers, but the image has {what}; save it as an"
                " 8-bit PNG"
            )
            raise ImageError(msg)
        shallow: Image.Image = image
        if image.mode.startswith("I"):
            ImageOps.exif_transpose(image, in_place=True)
            shallow = _upper_8_bits(np.asarray(image), name, notes)
        elif deep and (_is_planar(image) or _brightest(image) < 64):
            shallow = _upper_8_bits(_exact_colour(image, data, name), name, notes)
            shallow.getexif()[ExifTags.Base.Orientation] = orientation
        elif deep:
            notes.append("16 bits per value, the upper 8 kept")
        ImageOps.exif_transpose(shallow, in_place=True)
        return _rgb(shallow, notes), tuple(notes)


def _check_size(size: tuple[int, int], name: str, settings: Settings) -> None:
    width, height = size
    if width * height > settings.max_pixels:
        raise ImageError(_too_many_pixels(name, f"{width} x {height}", settings))
    if min(size) < MIN_SIDE_PX:
        msg = (
            f"{name}: expected at least {MIN_SIDE_PX} pixels on each side, but the image is {width} x {height}; use the"
            " original image"
        )
        raise ImageError(msg)
    if max(size) > MAX_ASPECT * min(size):
        msg = (
            f"{name}: expected an image at most {MAX_ASPECT} times as long as wide, but it is {width} x {height};"
            " cut out the cell"
        )
        raise ImageError(msg)


def _bits_per_sample(image: Image.Image, data: bytes) -> int:
    """Depth as declared in the file; Pillow itself gives 16-bit colour as its upper bytes without a word."""
    if image.format == "PNG":
        return data[24]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))
    return 8


def _brightest(image: Image.Image) -> int:
    """Largest value in any channel but alpha."""
    return max(int(np.asarray(image.getchannel(band)).max()) for band in image.getbands() if band != "A")


def _is_planar(image: Image.Image) -> bool:
    """Whether a TIFF stores its channels one after the other: Pillow 13 scrambles 16-bit ones (see the tests)."""
    return (
        isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
    )


def _exact_colour(image: Image.Image, data: bytes, name: str) -> NDArray[np.uint16]:
    """All 16 bits of a colour TIFF, where Pillow scrambles the upper bytes or they would be nearly black."""
    if image.format != "TIFF" or image.mode != "RGB":
        msg = (
            f"{name}: expected 16-bit colour to use its range, but it uses 14 bits or fewer; save it as an 8-bit PNG or"
            " a 16-bit RGB TIFF"
        )
        raise ImageError(msg)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        try:
            values = file.pages.first.asarray()
        except ValueError as error:
            msg = (
                f"{name}: expected 16-bit colour in a common compression, but it cannot be unpacked ({error}); save it"
                " as an 8-bit PNG"
            )
            raise ImageError(msg) from error
    planes_first = values.shape[0] == 3
    return np.moveaxis(values, 0, -1).astype(np.uint16) if planes_first else values.astype(np.uint16)


def _upper_8_bits(values: NDArray[np.integer], name: str, notes: list[str]) -> Image.Image:
    """Keep the upper 8 bits of the smallest of BIT_DEPTHS that holds the largest value, and note it."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= 2**16:
        msg = (
            f"{name}: expected pixel values from 0 to 65,535, but they run from {low:,} to {high:,}; save it as an"
            " 8-bit PNG"
        )
        raise ImageError(msg)
    depth = next(bits for bits in BIT_DEPTHS if high < 2**bits)
    if depth > 8:
        notes.append(f"{depth} bits per value, the upper 8 kept")
    return Image.fromarray((values >> (depth - 8)).astype(np.uint8))


def _rgb(image: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    """8-bit pixels of any mode as uint8 (H, W, 3), alpha laid on white."""
    if image.mode in MODE_NOTES:
        notes.append(MODE_NOTES[image.mode])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            notes.append("transparent parts laid on white")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
