"""The door for image files: bytes in, a checked CellImage out, with every change said in words.

Metadata (EXIF, comments, text) ends here, once what they say of the pixels is done: which of several pictures it is
(`core.image.tiff`), how many bits count (`core.image.depth`), which way is up and what is transparent
(`core.image.decoding`), what the colours mean (`core.image.colour_profile`), how large a pixel is
(`core.image.file_scale`). Only pixels, a cleaned base name, the file's hash and what was done go on.
"""

import hashlib
import io
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from core.domain.errors import CoreError, ImageError
from core.domain.settings import Settings, load_settings
from core.domain.types import CellImage, GivenScale
from core.image import file_scale
from core.image.decoding import Opened, is_deep_png, opened, srgb_pixels
from core.image.depth import MOST_ASKED, NOT_ASKED, Depths, agree, used_bits
from core.image.file_scale import Scale
from core.image.listing import HEAD_BYTES, check_known
from core.image.remarks import Remarks
from core.image.structure import check_structure
from core.image.tiff import is_tiff

# Below this side no nucleus can be told from its cytoplasm; the smallest cells of the public data sets are 60 px
# across.
MIN_SIDE_PX: Final = 16

# A strip of a scanned slide is longer than wide, but the networks see squares over the longer side.
MAX_ASPECT: Final = 20

MAX_NAME_LENGTH: Final = 200

# The header of a JPEG's frame, with 12 bits, which Pillow does not read; it comes after metadata.
_DEEP_JPEG: Final = re.compile(rb"\A\xff\xd8.*\xff[\xc0-\xc3]\x00.\x0c", re.DOTALL)
_HEADERS: Final = 2**18
_DEEP_SUFFIXES: Final = (".png", ".tif", ".tiff")
_Found = TypeVar("_Found")


def load(path: Path, um_per_px: Scale = None, depths: Depths = NOT_ASKED) -> CellImage:
    """Read and decode one image file.

    Parameters
    ----------
    path
        PNG, JPEG, TIFF, BMP, GIF or WebP file.
    um_per_px, depths
        As in `decode`.

    Raises
    ------
    ImageError
        If the file cannot be read or is no usable image; the message says what was expected, what came and what to do.
    """
    name = base_name(path.name)
    return decode(_content(path, name), name, um_per_px, depths)


def decode(data: bytes, name: str, um_per_px: Scale = None, depths: Depths = NOT_ASKED) -> CellImage:
    """Turn the bytes of an image file into a CellImage: upright 8-bit sRGB, metadata dropped.

    Alpha is laid on white; grey, palette, 1-bit and CMYK images are converted; of deeper images the upper 8 of the bits
    that are used are kept; of several frames, pages or planes one is used; colours are converted to sRGB where the
    file's profile says that they are others. What changed the picture is in `CellImage.notes`; what of it changes
    numbers is a flag, too.

    Parameters
    ----------
    data
        The whole file; at most `Settings.max_bytes` bytes and `Settings.max_pixels` pixels.
    name
        File name as given; path parts and control characters are removed.
    um_per_px
        Side of a pixel in micrometres, if known; `file` takes what the file states.
    depths
        What is known of deep files that do not state their depth.

    Raises
    ------
    ImageError
        For any bytes that are no usable image; no other exception but MemoryError leaves this function because of its
        data.
    """
    name = base_name(name)

    def read(settings: Settings) -> CellImage:
        file = _opened(data, name, settings)
        rgb = srgb_pixels(file, name, depths)
        remarks = file.remarks
        sha256 = hashlib.sha256(data).hexdigest()
        return CellImage(rgb, name, sha256, None, remarks.notes, remarks.flags, file.scale)

    return rescaled(_in_words(read, data, name), um_per_px)


def rescaled(image: CellImage, um_per_px: Scale) -> CellImage:
    """The image with this scale, and with what there is to say of it beside the one that its file states."""
    before, now = Remarks(), Remarks()
    file_scale.judge(image.um_per_px, image.file_scale, before)
    file_scale.judge(um_per_px, image.file_scale, now)
    codes = {flag.code for flag in before.flags}
    said = um_per_px if isinstance(um_per_px, GivenScale) else None
    return replace(
        image,
        um_per_px=file_scale.taken(um_per_px, image.file_scale),
        um_per_px_error=said.error if said else None,
        um_per_px_source=said.source if said else None,
        notes=(*(note for note in image.notes if note not in before.notes), *now.notes),
        flags=(*(flag for flag in image.flags if flag.code not in codes), *now.flags),
    )


def run_depths(names: Sequence[str], read: Callable[[str], bytes], given: int | None = None) -> Depths:
    """What is known of the deep files of a run that do not state their depth.

    Parameters
    ----------
    names
        The run's images; up to MOST_ASKED of those that may be deep are opened.
    read
        Gives the bytes of one; what it cannot read is left out.
    given
        What a person says of all of them.
    """
    if given is not None:
        return Depths(given)
    asked = [name for name in names if name.lower().endswith(_DEEP_SUFFIXES)]
    if len(asked) > MOST_ASKED:
        asked = [asked[index * len(asked) // MOST_ASKED] for index in range(MOST_ASKED)]
    judged = []
    for name in asked:
        with suppress(CoreError, OSError, MemoryError):  # which is told when it is measured
            judged.append(_judged(read(name), base_name(name)))
    return agree(one for one in judged if one is not None)


def file_depths(paths: Sequence[Path], given: int | None = None) -> Depths:
    """As `run_depths` for files of this machine."""
    most = load_settings().max_bytes

    def read(name: str) -> bytes:
        path = Path(name)
        return path.read_bytes() if path.stat().st_size <= most else b""

    return run_depths([str(path) for path in paths], read, given)


def grey(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """ITU-R 601 luma of a uint8 (H, W, 3) image, rounded as Pillow's `convert("L")`; float64 (H, W), 0 to 255."""
    return np.asarray(Image.fromarray(rgb).convert("L"), dtype=np.float64)


def load_grey(path: Path) -> NDArray[np.uint8]:
    """Read a file as 8-bit grey, (H, W), for drawn masks, whose codes are grey levels; raises ImageError as `load`."""
    name = base_name(path.name)
    data = _content(path, name)

    def read(settings: Settings) -> NDArray[np.uint8]:
        return srgb_pixels(_opened(data, name, settings), name, NOT_ASKED, as_codes=True)

    return np.asarray(Image.fromarray(_in_words(read, data, name)).convert("L"))


def encode_png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Bytes of a PNG file of a uint8 array, grey (H, W) or colour (H, W, 3), or of a uint16 one (H, W)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def base_name(name: str) -> str:
    """File name without path parts, control and invisible characters; "image" if nothing is left."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    base = "".join(
        c for c in unicodedata.normalize("NFC", base) if unicodedata.category(c)[0] != "C" and c not in "\u2028\u2029"
    )
    base = base.strip()[-MAX_NAME_LENGTH:]
    return "image" if base in {"", ".", ".."} else base


def _content(path: Path, name: str) -> bytes:
    """The bytes of a file within the limits."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            # Slides of gigabytes are named for what they are before they are called too large.
            check_known(name, head)
            _check_bytes(os.fstat(file.fileno()).st_size, name, load_settings())
            return head + file.read()
    except OSError as error:
        msg = (
            f"{name}: expected a readable image file, but {error.strerror or error}; check the path and the permissions"
        )
        raise ImageError(msg) from error


def _opened(data: bytes, name: str, settings: Settings, *, only_deep: bool = False) -> Opened:
    return opened(data, name, lambda size: _check_size(size, name, settings), settings.max_pixels, only_deep=only_deep)


def _judged(data: bytes, name: str) -> tuple[str, int] | None:
    """The kind of a deep file that does not state its depth, and the bits it is judged to use; None for all others."""
    if not is_tiff(data) and not is_deep_png(data):
        return None
    deep = _in_words(lambda settings: _opened(data, name, settings, only_deep=True).deep, data, name)
    if deep is None or deep.container <= 8 or (deep.stated is not None and deep.stated.bits < deep.container):
        return None
    return deep.kind, used_bits(deep.colours)


def _in_words(read: Callable[[Settings], _Found], data: bytes, name: str) -> _Found:
    """What `read` gives; whatever decoders say of the file becomes an ImageError."""
    settings = load_settings()
    _check_bytes(len(data), name, settings)
    check_known(name, data[:HEAD_BYTES])
    check_structure(data, name)
    try:
        return read(settings)
    except (ImageError, MemoryError):  # want of memory says nothing of the file
        raise
    except UnidentifiedImageError as error:
        came = "its content is none of these, or its start is damaged"
        if data[:512].isascii():
            came = "it holds plain text"
        elif _DEEP_JPEG.search(data, 0, _HEADERS):
            came = "it is a JPEG of 12 bits per value"
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
