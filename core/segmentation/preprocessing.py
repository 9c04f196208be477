"""From an image to the network's input and back: the one preprocessing, for training and inference alike.

The network sees square windows (`core.image.window`) at a canonical scale.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.image.quantiles import BYTES, channel_counts, counted_percentile
from core.image.window import Window, resample
from core.segmentation.model_card import ModelCard

# The background's grey after white balance, below 255 so that its grain is not cut off; and what tells it.
WHITE: Final = 240
BACKGROUND_PERCENTILE: Final = 85
MOST_BRIGHTENING: Final = 4
ENOUGH_PIXELS: Final = 50_000


def normalise(rgb: NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 to (3, H, W) float32, per channel ((x / 255) - mean) / std with the card's constants."""
    scale = 1 / (255 * np.asarray(std, dtype=np.float32))
    shift = np.asarray(mean, dtype=np.float32) / np.asarray(std, dtype=np.float32)
    table = np.arange(256, dtype=np.uint8)[:, None] * scale - shift
    return np.stack([table[:, channel].take(rgb[..., channel]) for channel in range(3)])


def white_balance(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The lookup table (256, 3) that turns the colour of an image's empty background into one light grey.

    Lamp, camera and stain tint the plasma of every laboratory in its own way, and a network that has seen few of them
    takes the tint for dye. A factor per channel removes it: in optical density, the background's is subtracted. The
    background is what 85 % of the pixels are darker than, channel by channel; a picture may be dark, so the factors
    have a limit.
    """
    step = max(1, math.isqrt(rgb.shape[0] * rgb.shape[1] // ENOUGH_PIXELS))
    (counts,) = channel_counts(np.ascontiguousarray(rgb[::step, ::step]))
    background = np.array([counted_percentile(channel, BYTES, BACKGROUND_PERCENTILE) for channel in counts])
    factors = np.minimum(WHITE / np.maximum(background, 1), MOST_BRIGHTENING)
    return np.asarray(np.clip(np.rint(np.arange(256)[:, None] * factors), 0, 255), dtype=np.uint8)


def look_up(rgb: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image (H, W, 3) through a lookup table (256, 3)."""
    return np.asarray(Image.fromarray(rgb).point(table.T.ravel().tolist()))


def soften(rgb: NDArray[np.uint8], detail: int) -> NDArray[np.uint8]:
    """A square (S, S, 3) with no more detail than one of `detail` pixels a side; 0 leaves it as it is.

    It hides differences in sharpness between cameras: a network trained on soft pictures takes the grain of a sharp one
    for edges.
    """
    if not 0 < detail < len(rgb):
        return rgb
    small = Image.fromarray(rgb).resize((detail, detail), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((len(rgb), len(rgb)), Image.Resampling.BILINEAR))


def network_input(
    rgb: NDArray[np.uint8], window: Window, card: ModelCard, size: int | None = None
) -> NDArray[np.float32]:
    """The window as the network expects it, (1, 3, S, S) float32; S is `size`, or else the card's input size."""
    seen = resample(rgb, window, size or card.input_size)
    if card.white_balance:
        seen = look_up(seen, white_balance(rgb))
    return normalise(soften(seen, card.detail), card.mean, card.std)[None]


def to_image_grid(maps: NDArray[np.float32], window: Window, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The inverse geometry: maps (C, S, S) over the window, bilinearly on the image's (C, H, W); 0 outside."""
    height, width = shape
    size = maps.shape[1]
    top, bottom = max(0, int(np.floor(window.top))), min(height, int(np.ceil(window.top + window.side)))
    left, right = max(0, int(np.floor(window.left))), min(width, int(np.ceil(window.left + window.side)))
    # Pixel centres of the target, in the map's pixel-centre coordinates.
    rows = (np.arange(top, bottom, dtype=np.float32) + 0.5 - window.top) * (size / window.side) - 0.5
    columns = (np.arange(left, right, dtype=np.float32) + 0.5 - window.left) * (size / window.side) - 0.5
    out = np.zeros((maps.shape[0], height, width), dtype=np.float32)
    along_rows = _interpolate(maps, rows, axis=1)
    out[:, top:bottom, left:right] = _interpolate(along_rows, columns, axis=2)
    return out


def _interpolate(maps: NDArray[np.float32], positions: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Linear interpolation of (C, H, W) along one axis at fractional positions, clamped at the ends."""
    clamped = np.clip(positions, 0, maps.shape[axis] - 1)
    low = np.minimum(clamped.astype(np.intp), maps.shape[axis] - 2)
    shape = [1, 1, 1]
    shape[axis] = -1
    weight = (clamped - low).reshape(shape).astype(np.float32)
    return np.asarray(np.take(maps, low, axis) * (1 - weight) + np.take(maps, low + 1, axis) * weight)
