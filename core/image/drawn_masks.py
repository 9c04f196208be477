"""The only reader of drawn masks, used by `features`, training and reliability: files in, a label map out.

What a file is shows its content, not its name: a picture of grey levels or colours, COCO, or GeoJSON. Alpha, palettes
and 16 bits are read as they are, since opening a photograph would change them.
"""

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.errors import CoreError, ImageError, MaskError
from core.domain.settings import load_settings
from core.domain.types import as_label_map
from core.image.decoding import FORMATS
from core.image.mask_coding import MaskCoding
from core.image.mask_levels import DecodedMask, decode_pixels
from core.image.mask_shapes import decode_shapes
from core.image.masks import cell_mask, check_size

SHAPE_SUFFIXES: Final = (".json", ".geojson")
# Parts smaller than this share of the largest are specks: a slip of the brush, no cell and no lobe.
MAX_SPECK_SHARE: Final = 0.03
MAX_NUCLEAR_SPECK_SHARE: Final = 0.01
# A nucleus may reach so far beyond the cell that is drawn separately.
_MOST_OUTSIDE: Final = 0.5


def read_mask(
    path: Path,
    shape: tuple[int, int] | None = None,
    *,
    name: str = "",
    image_name: str = "",
    coding: MaskCoding | None = None,
    nucleus: Path | None = None,
) -> DecodedMask:
    """Read a drawn mask.

    Parameters
    ----------
    path
        PNG, TIFF or another picture of grey levels (or colours, with a coding), COCO or GeoJSON.
    shape
        Height and width of the image, where it is known; shapes need it.
    name
        For messages; by default the file's.
    image_name
        The image's name, by which a COCO file with several images is asked.
    coding
        What colours, grey levels or names of classes mean.
    nucleus
        A second mask, of the nucleus alone; then the first shows the whole cell.

    Raises
    ------
    ImageError
        If a file cannot be read.
    MaskError
        If it is no mask, says not what its values mean, or does not have the image's size.
    """
    name = name or path.name
    if nucleus is None:
        return _decoded(path, shape, name, image_name, coding)
    cell = _decoded(path, shape, name, image_name, coding, whole=True)
    inner = _decoded(nucleus, shape or cell.labels.shape, nucleus.name, image_name, coding, whole=True)
    body, core = cell_mask(cell.labels), inner.labels == Compartment.NUCLEUS
    if not core.any():
        core = cell_mask(inner.labels)
    check_size(core.shape, body.shape, nucleus.name)
    outside = np.count_nonzero(core & ~body)
    if outside > _MOST_OUTSIDE * np.count_nonzero(core):
        msg = (
            f"{nucleus.name}: {outside} of {np.count_nonzero(core)} pixels of the nucleus lie outside of the cell in"
            f" {name}; give the masks of one cell, the cell's as --mask and the nucleus's as --nucleus-mask"
        )
        raise MaskError(msg)
    labels = np.zeros(body.shape, np.uint8)
    labels[body], labels[core] = Compartment.CYTOPLASM, Compartment.NUCLEUS
    notes = [*cell.notes, *inner.notes, "the nucleus was read from a mask of its own"]
    if outside:
        notes.append(f"{outside} pixels of the nucleus lie beyond the cell and were added to it")
    return DecodedMask(as_label_map(labels), cell.repaired + inner.repaired, tuple(notes))


def _decoded(
    path: Path,
    shape: tuple[int, int] | None,
    name: str,
    image_name: str,
    coding: MaskCoding | None,
    *,
    whole: bool = False,
) -> DecodedMask:
    data = _bytes_of(path)
    if data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return decode_shapes(data, name, shape, image_name=image_name, coding=coding)
    pixels, hidden, notes = _pixels(data, path.name)
    if shape is not None:
        check_size(pixels.shape[:2], shape, name)
    decoded = decode_pixels(pixels, name, hidden=hidden, coding=coding, whole=whole)
    notes += decoded.notes
    present = set(np.unique(decoded.labels).tolist())
    if not whole and Compartment.NUCLEUS in present and not present & {Compartment.CYTOPLASM, Compartment.ENVIRONMENT}:
        notes.append(
            "what is drawn was read as nucleus: beside it there is no cytoplasm; of a mask of the whole cell give the"
            " nucleus with --nucleus-mask"
        )
    return replace(decoded, notes=tuple(notes))


# --- files ------------------------------------------------------------------------------------------------------------


def _bytes_of(path: Path) -> bytes:
    name, settings = path.name, load_settings()
    try:
        size = path.stat().st_size
        if 0 < size <= settings.max_bytes:
            return path.read_bytes()
    except OSError as error:
        msg = f"{name}: expected a readable mask, but {error.strerror or error}; check the path and the permissions"
        raise ImageError(msg) from error
    if not size:
        msg = f"{name}: expected a mask, but the file is empty (0 bytes); copy or export it again"
        raise ImageError(msg)
    msg = (
        f"{name}: expected a mask of at most {settings.max_bytes / 2**20:.0f} MB, but the file has"
        f" {size / 2**20:.0f} MB; cut out the cell, or raise LEUKOSCOPE_MAX_BYTES"
    )
    raise ImageError(msg)


def _pixels(data: bytes, name: str) -> tuple[NDArray[np.integer], NDArray[np.bool_] | None, list[str]]:
    """Whole numbers, grey (H, W) or colour (H, W, 3), upright; where they are transparent; and what was done."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(image.size, name)
            frames = getattr(image, "n_frames", 1)
            notes = [f"page 1 of {frames} of the mask used"] if frames > 1 else []
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.size != image.size or upright.tobytes() != image.tobytes():
                notes.append("the mask was turned as its EXIF tag says")
            return *_values(upright, name), notes
    except (CoreError, MemoryError):
        raise
    except Exception as error:  # decoders meet damaged files with a dozen exception types, all meaning this
        if (values := _by_tifffile(data, name)) is not None:
            return values, None, []
        msg = (
            f"{name}: expected a complete mask (PNG, TIFF or another picture, COCO or GeoJSON), but the file is none"
            f" of these, damaged or cut short ({error}); copy or export it again"
        )
        raise ImageError(msg) from error


def _by_tifffile(data: bytes, name: str) -> NDArray[np.integer] | None:
    """The first page of a TIFF of kinds of numbers that Pillow does not know; None if that fails, too."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            _check_pixels((page.imagewidth, page.imagelength), name)
            values = page.asarray()
    except (CoreError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  # as with Pillow
        return None
    return _whole_numbers(values, name) if values.ndim == 2 else None


def turned_by(path: Path) -> int:
    """The turn that an image file asks for, as its EXIF orientation, 1 to 8; 1 is upright as stored."""
    with suppress(Exception), Image.open(path, formats=FORMATS) as image:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _check_pixels(size: tuple[int, int], name: str) -> None:
    most = load_settings().max_pixels
    if size[0] * size[1] > most:
        msg = (
            f"{name}: expected at most {most:,} pixels, but the mask has {size[0]} x {size[1]}; cut out the cell, or"
            " raise LEUKOSCOPE_MAX_PIXELS"
        )
        raise ImageError(msg)


def _values(image: Image.Image, name: str) -> tuple[NDArray[np.integer], NDArray[np.bool_] | None]:
    hidden = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.asarray(image.getchannel("A"))
        # A layer may be drawn half transparent throughout.
        hidden = alpha <= alpha.max() // 2 if alpha.min() <= alpha.max() // 2 else None
        if hidden is not None and hidden.all():
            msg = f"{name}: expected a drawn mask, but the whole picture is transparent; draw it with full opacity"
            raise MaskError(msg)
    if image.mode == "F":
        return _whole_numbers(np.asarray(image), name), hidden
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.int64), hidden
    return np.asarray(image.convert("L" if image.mode in {"1", "L"} else "RGB")), hidden


def _whole_numbers(values: NDArray[np.number[Any]], name: str) -> NDArray[np.integer]:
    """Levels of large or floating-point numbers: whole ones, or shares from 0 to 1."""
    if np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max() < 2**16:
        if (values == np.rint(values)).all():
            return np.asarray(values, dtype=np.int64)
        if values.max() <= 1:
            return np.asarray(np.rint(255 * values), dtype=np.int64)
    msg = (
        f"{name}: a mask holds whole numbers below 65,536 or shares from 0 to 1, but its values run from"
        f" {values.min():.6g} to {values.max():.6g}; save it as 8-bit PNG"
    )
    raise MaskError(msg)


# --- specks -----------------------------------------------------------------------------------------------------------


def without_specks(mask: DecodedMask) -> DecodedMask:
    """The mask without what is drawn away from the cell and too small to be one, and without specks of nucleus in it.

    A single pixel far off would make the cell's diameter that of the picture. What was left out is told (`specks`);
    larger parts stay, and are flagged (`core.quality.drawn`).
    """
    labels, said = mask.labels.copy(), []
    for where, most, instead, what in (
        (cell_mask(labels), MAX_SPECK_SHARE, Compartment.BACKGROUND, "away from the cell"),
        (labels == Compartment.NUCLEUS, MAX_NUCLEAR_SPECK_SHARE, Compartment.CYTOPLASM, "of nucleus in the cytoplasm"),
    ):
        specks = _specks(where, most) & (labels >= Compartment.CYTOPLASM)
        if specks.any():
            count = ndimage.label(specks, np.ones((3, 3)))[1]
            said.append(f"{count} {what} ({np.count_nonzero(specks)} px)")
            labels[specks] = instead
    return replace(mask, labels=as_label_map(labels), specks=" and ".join(said)) if said else mask


def _specks(mask: NDArray[np.bool_], most: float) -> NDArray[np.bool_]:
    """The parts of a mask that are smaller than a share of the largest, bool (H, W)."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    small = areas < most * areas.max()
    small[0] = False
    return np.asarray(small[parts])
