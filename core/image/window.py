"""Square windows of an image at any scale.

A `Window` may reach beyond the image; what lies outside is the image mirrored at its edge, so that a network never
meets an artificial black border.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# What lies outside a long strip is many times what lies in it: beyond so many pixels it is looked at on a coarser grid.
MOST_PADDED: Final = 2**26


@dataclass(frozen=True)
class Window:
    """A square of an image, in pixels of that image; `left` and `top` may be negative, `side` fractional."""

    left: float
    top: float
    side: float

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> "Window":
        """The smallest centred square that holds an image of (H, W)."""
        height, width = shape
        side = float(max(height, width))
        return cls((width - side) / 2, (height - side) / 2, side)

    @classmethod
    def around(cls, region: NDArray[np.bool_], fill: float) -> "Window":
        """The square centred on a region's bounding box, whose longer side takes the share `fill` of the window."""
        rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        side = float(max(bottom - top, right - left)) / fill
        return cls((left + right - side) / 2, (top + bottom - side) / 2, side)


def resample(image: NDArray[np.uint8], window: Window, size: int) -> NDArray[np.uint8]:
    """The window of a uint8 image (H, W, 3) as (size, size, 3): mirrored outside, bilinear, antialiased if shrunk."""
    return _resample(image, window, size, "symmetric", Image.Resampling.BILINEAR)


def resample_labels(
    labels: NDArray[np.uint8], window: Window, size: int, *, mirrored: bool = False
) -> NDArray[np.uint8]:
    """The window of a label map (H, W) as (size, size), nearest neighbour.

    Outside the image all is background: a mirrored copy of the cell is another cell, and only the centred one is
    wanted; or else the map is `mirrored`, as the image is.
    """
    return _resample(labels, window, size, "symmetric" if mirrored else "constant", Image.Resampling.NEAREST)


def _resample(
    image: NDArray[np.uint8],
    window: Window,
    size: int,
    outside: Literal["symmetric", "constant"],
    method: Image.Resampling,
) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    above, below = max(0, math.ceil(-window.top)), max(0, math.ceil(window.top + window.side - height))
    before, after = max(0, math.ceil(-window.left)), max(0, math.ceil(window.left + window.side - width))
    padded = (height + above + below) * (width + before + after)
    if padded > max(MOST_PADDED, height * width):
        step = math.ceil(math.sqrt(padded / MOST_PADDED))
        smaller = Window(window.left / step, window.top / step, window.side / step)
        labels = method is Image.Resampling.NEAREST
        coarse = image[::step, ::step] if labels else np.asarray(Image.fromarray(image).reduce(step))
        return _resample(coarse, smaller, size, outside, method)
    if above or below or before or after:
        image = np.pad(image, [(above, below), (before, after)] + [(0, 0)] * (image.ndim - 2), mode=outside)
    left, top = window.left + before, window.top + above
    box = (left, top, min(left + window.side, image.shape[1]), min(top + window.side, image.shape[0]))
    return np.asarray(Image.fromarray(image).resize((size, size), method, box=box))
