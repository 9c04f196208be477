"""Absorbance and what follows from it without a network: how much nuclear dye there is, and how an image is stained.

Everything here counts in natural absorbance, -ln of the share of light that passes; the features' optical density
(`core.features.channels`) is decadic, that is, less by the factor ln 10.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.types import CellImage, StainFactors
from core.image.quantiles import channel_counts, counted_median, counted_percentile

# -ln((value + 1) / 256) of every 8-bit value.
_ABSORBANCE: Final = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)


def absorbance(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Natural: -ln((value + 1) / 256) per value, float32 of the same shape, (H, W, 3) or one channel; 0 is white."""
    return _ABSORBANCE.take(rgb)


def nuclear_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Amount of nuclear dye, float32 (H, W): smoothed red + green - blue absorbance, 0 in the background.

    Nuclear dyes absorb red and green, haemoglobin green and blue.
    """
    density, green, blue = (absorbance(rgb[..., channel]) for channel in range(3))
    density += green
    density -= blue
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(density, 1.0)
    smooth -= np.median(smooth)
    return smooth


def nuclear_contrast(rgb: NDArray[np.uint8], nucleus: NDArray[np.bool_], cell: NDArray[np.bool_]) -> float | None:
    """How much more nuclear dye the nucleus takes than the surroundings, in natural absorbance; None without both."""
    if not nucleus.any() or cell.all():
        return None
    density = nuclear_density(rgb)
    return float(np.median(density[nucleus]) - np.percentile(density[~cell], 20))


def appearance(
    rgb: NDArray[np.uint8], nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Median natural absorbance of nucleus and of cytoplasm minus the background's, (6,); None if one is absent.

    Relative to the background, so that lamp and white balance matter less than the dye.
    """
    outside = ~(nucleus | cytoplasm)
    if not (nucleus.any() and cytoplasm.any() and outside.any()):
        return None
    # Densities ascend as values descend.
    levels, (around, *parts) = _ABSORBANCE[::-1], channel_counts(rgb, outside, nucleus, cytoplasm)[..., ::-1]
    background = np.array([counted_percentile(each, levels, 20) for each in around])
    densities = [np.array([counted_median(each, levels) for each in part]) - background for part in parts]
    return np.concatenate(densities).astype(np.float64)


def appearance_distance(
    vector: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> float:
    """Mahalanobis distance of an appearance from those of the training images."""
    offset = vector - mean
    return float(np.sqrt(offset @ np.linalg.solve(covariance, offset)))


# --- factors for the stain of a laboratory ----------------------------------------------------------------------------


def restained(rgb: NDArray[np.uint8], factors: StainFactors) -> NDArray[np.uint8]:
    """An image (H, W, 3) whose optical densities, -log(value / 255), are multiplied by a factor a channel."""
    tables = np.rint(255 * (np.arange(256)[:, np.newaxis] / 255) ** np.array(factors.channels)).astype(np.uint8)
    return np.stack([tables[:, channel].take(rgb[..., channel]) for channel in range(3)], axis=-1)


def to_restain(image: CellImage, factors: StainFactors | None) -> CellImage:
    """The image with factors that are laid over it where it is measured, and a note that says so; as it is for None."""
    if factors is None:
        return image
    return replace(image, stain=factors, notes=(*image.notes, factors.note))


def measured_pixels(image: CellImage) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) in which features are measured: restained where factors are laid over the image."""
    return image.rgb if image.stain is None else restained(image.rgb, image.stain)


def median_density(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Median of -ln(value / 255) of each channel (3,) in the pixels of a mask that is not empty."""
    middle = np.median(rgb[mask], axis=0)
    return np.asarray(-np.log(np.maximum(middle, 1) / 255), dtype=np.float64)
