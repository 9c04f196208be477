"""Files made for tests: one small picture in the many ways in which programs write it."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from core.domain.types import CellImage
from core.image.imaging import decode

RGB = np.random.default_rng(7).integers(0, 256, (40, 60, 3), dtype=np.uint8)
GREY = RGB[..., 1]
PLANES = np.moveaxis(RGB, -1, 0)


def encoded(image: Image.Image, suffix: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, suffix, **options)
    return buffer.getvalue()


def tiff(*pictures: NDArray[np.generic] | tuple[NDArray[np.generic], dict[str, Any]], **options: Any) -> bytes:
    """A TIFF of pictures, written one after the other; each may have options of its own."""
    buffer = io.BytesIO()
    kind = {name: options.pop(name) for name in ("imagej", "ome", "bigtiff") if name in options}
    with tifffile.TiffWriter(buffer, **kind) as file:
        for picture in pictures:
            pixels, own = picture if isinstance(picture, tuple) else (picture, {})
            file.write(pixels, **{**options, **own})
    return buffer.getvalue()


def codes(image: CellImage) -> list[str]:
    return [flag.code for flag in image.flags]


def shows(data: bytes, rgb: NDArray[np.uint8], flags: Sequence[str] = (), note: str = "", **how: Any) -> CellImage:
    """Check that a file is read as these pixels, with these flags and a note with these words."""
    image = decode(data, "smear.tif", **how)
    np.testing.assert_array_equal(image.rgb, rgb)
    assert codes(image) == list(flags), image.notes
    assert note in "; ".join(image.notes)
    return image


def shades(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([values] * 3)
