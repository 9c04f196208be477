"""Optical density and what it tells without a network: where nuclear stain is, and how an image's colours are spread."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_multiotsu
from skimage.morphology import disk

from core.preprocessing import Window

# Nuclear dyes absorb red and green, haemoglobin green and blue: red + green - blue sets nuclei apart from red cells.
_NUCLEAR: Final = np.array([1, 1, -1], dtype=np.float32)
# Excess over the background below which nothing counts as nuclear stain, however pale the image: red cells stay below it.
MIN_NUCLEAR_DENSITY: Final = 0.5
# Nuclei are looked for on at most this many pixels a side: a leukocyte of a 4,000 px field is still 30 px across.
_COARSE_SIDE: Final = 1024
# A nucleus is kept from this share of the largest one's area on: platelets and debris are smaller.
MIN_NUCLEUS_SHARE: Final = 0.25
# Side of the window around a nucleus over its longer extent: room for an ample cytoplasm and some surroundings.
WINDOW_SIDE: Final = 2.6


def coarse_step(shape: tuple[int, ...]) -> int:
    """Every how many pixels to look at an image of (H, W, ...) where only whole nuclei matter."""
    return -(-max(shape[:2]) // _COARSE_SIDE)


def optical_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """-ln((value + 1) / 256) per channel, float32 (H, W, 3); 0 is white."""
    return np.asarray(-np.log((rgb.astype(np.float32) + 1) / 256), dtype=np.float32)


def nuclear_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much nuclear dye there is, float32 (H, W): red + green - blue optical density, smoothed by a pixel, 0 in the background."""
    density = ndimage.gaussian_filter((optical_density(rgb) * _NUCLEAR).sum(axis=2), 1.0)
    return np.asarray(density - np.median(density), dtype=np.float32)


def nuclear_stain(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where nuclei are, bool (H, W): the upper of Otsu's three classes (background, other cells and cytoplasm, nuclei)."""
    density = nuclear_density(rgb)
    try:
        threshold = float(threshold_multiotsu(density, classes=3)[1])
    except ValueError:  # fewer than three grey levels: a blank image
        return np.zeros(density.shape, dtype=bool)
    return np.asarray(density > max(MIN_NUCLEAR_DENSITY, threshold))


def find_nuclei(rgb: NDArray[np.uint8]) -> list[Window]:
    """A window around each stained nucleus, in pixels of the image; segments with gaps up to a fifth of a nucleus count as one."""
    step = coarse_step(rgb.shape)
    stained = nuclear_stain(rgb[::step, ::step])
    typical = float(np.sqrt(max(stained.sum(), 1) / np.pi))
    solid = ndimage.binary_opening(stained, disk(max(1, round(0.04 * typical))))
    joined = ndimage.binary_closing(solid, disk(max(1, round(0.08 * typical))))
    parts, _ = ndimage.label(joined)
    areas = np.bincount(parts.ravel())[1:]
    windows = []
    for area, (rows, columns) in zip(areas, ndimage.find_objects(parts), strict=True):
        if area >= MIN_NUCLEUS_SHARE * areas.max():
            side = WINDOW_SIDE * step * max(rows.stop - rows.start, columns.stop - columns.start)
            left, top = (step * (part.start + part.stop) - side for part in (columns, rows))
            windows.append(Window(left / 2, top / 2, side))
    return windows


def count_other_nuclei(rgb: NDArray[np.uint8], cell: NDArray[np.bool_], nucleus: NDArray[np.bool_]) -> int:
    """Objects outside the cell at least as densely stained as its nucleus's paler quarter, and a quarter of its area large."""
    if not nucleus.any():
        return 0
    step = coarse_step(nucleus.shape)
    rgb, cell, nucleus = rgb[::step, ::step], cell[::step, ::step], nucleus[::step, ::step]
    if not nucleus.any():
        return 0
    density = nuclear_density(rgb)
    outside = (density >= np.percentile(density[nucleus], 25)) & ~ndimage.binary_dilation(cell, iterations=2)
    parts, count = ndimage.label(ndimage.binary_opening(outside, iterations=2))
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    return int(np.count_nonzero(areas >= 0.25 * nucleus.sum()))


def nuclear_contrast(rgb: NDArray[np.uint8], nucleus: NDArray[np.bool_], cell: NDArray[np.bool_]) -> float | None:
    """How much more nuclear dye the nucleus takes than the surroundings of the cell, in optical density; None if one is absent."""
    if not nucleus.any() or cell.all():
        return None
    density = nuclear_density(rgb)
    return float(np.median(density[nucleus]) - np.percentile(density[~cell], 20))


def appearance(rgb: NDArray[np.uint8], nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """How the stain came out: median optical density of nucleus and of cytoplasm over the background's, (6,); None if one is absent.

    Relative to the background, so that lamp and white balance matter less than the dye.
    """
    outside = ~(nucleus | cytoplasm)
    if not (nucleus.any() and cytoplasm.any() and outside.any()):
        return None
    density = optical_density(rgb)
    background = np.percentile(density[outside], 20, axis=0)
    return np.concatenate([np.median(density[region], axis=0) - background for region in (nucleus, cytoplasm)]).astype(np.float64)


def appearance_distance(vector: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> float:
    """Mahalanobis distance of an appearance from the training images', in standard deviations along its direction."""
    offset = vector - mean
    return float(np.sqrt(offset @ np.linalg.solve(covariance, offset)))
