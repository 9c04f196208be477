"""Absorbance and what follows from it without a network: where nuclei are, and how an image is stained.

Everything here counts in natural absorbance, -ln of the share of light that passes; the features' optical density
(`core.features.channels`) is decadic, that is, less by the factor ln 10.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from core.image.morphology import bounds, dilated, eroded, filled, opened
from core.image.quantiles import BYTES, channel_counts, counted_median, counted_percentile, counts
from core.image.window import Window

# -ln((value + 1) / 256) of every 8-bit value.
_ABSORBANCE: Final = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
# Nuclear dyes absorb red and green, haemoglobin green and blue: red + green - blue sets nuclei apart from red cells.
# Excess over the background below which nothing counts as nuclear stain, however pale the image.
MIN_NUCLEAR_DENSITY: Final = 0.5
# Blue over green absorption, over the background. Measured: at least 0.42 in 1,008 red cells that are dense enough to
# be taken for nuclei (1 in 1,000 below 0.43), at most 0.43 in 99 % of the nuclei of set 1 and 0.33 elsewhere. Black
# nuclei absorb blue too, but are denser than any red cell (at most 1.3).
MAX_BLUE_OVER_GREEN: Final = 0.43
_DENSER_THAN_RED_CELLS: Final = 1.5
# Whole images are searched on at most this many pixels a side: a nucleus of 8 um, scanned at 0.25 um per pixel, is 16
# of them across.
_GRID_SIDE: Final = 2048
_STRIP_ROWS: Final = 64
# `count_other_nuclei` looks for whole cells only, on a coarser grid.
_COARSE_SIDE: Final = 1024
# A nucleus ends where the stain falls to half of its own: at every strength, and apart from blue cytoplasm.
_EDGE: Final = 0.5
# Specks of fewer grid pixels are no nuclei at any magnification, and may number thousands.
_SPECK_PX: Final = 12
# A dark nucleus hides a paler one beside it, unless what is left outside its rim is looked at again. Both as shares of
# its half-width.
_RIM: Final = 0.25
_LEAST_DEPTH: Final = 0.5
# What follows a nucleus's rim along more than this share of its own outline is its cytoplasm.
_HUGGING: Final = 0.3
# Platelets and fragments are smaller than this share of a typical nucleus; lobes of a neutrophil's are larger.
MIN_NUCLEUS_SHARE: Final = 0.12
# The typical nucleus is the one at which the larger ones hold this share of all stain: many platelets do not pull it
# down.
_TYPICAL_SHARE: Final = 0.3
# Nuclei that touch are cut where the distance to the edge falls by this share of a typical radius between two maxima.
# Lobes are cut too: what belongs to one cell is decided later, with its cytoplasm in view.
_WAIST: Final = 0.08
# Side of the window around a nucleus over its extent: room for an ample cytoplasm and some surroundings.
WINDOW_SIDE: Final = 2.6


@dataclass(frozen=True, eq=False)
class Nucleus:
    """A stained nucleus or a lobe of one: its pixels on a grid of squares of `step` image pixels, and its corner."""

    mask: NDArray[np.bool_]
    top: int
    left: int
    step: int

    @property
    def area(self) -> int:
        """Area in image pixels."""
        return int(np.count_nonzero(self.mask)) * self.step * self.step

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the centre of gravity in image pixels."""
        rows, columns = np.nonzero(self.mask)
        return self.step * (self.top + float(rows.mean()) + 0.5), self.step * (self.left + float(columns.mean()) + 0.5)

    @property
    def extent(self) -> int:
        """Longer side of the bounding box in image pixels."""
        return self.step * int(max(self.mask.shape))

    def window(self, extent: float = 0) -> Window:
        """The square in which to look for its cell; `extent` is the least size assumed for a nucleus."""
        side = WINDOW_SIDE * max(extent, self.extent)
        row, column = self.centre
        return Window(column - side / 2, row - side / 2, side)


def absorbance(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Natural: -ln((value + 1) / 256) per value, float32 of the same shape, (H, W, 3) or one channel; 0 is white."""
    return _ABSORBANCE.take(rgb)


def nuclear_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Amount of nuclear dye, float32 (H, W): smoothed red + green - blue absorbance, 0 in the background."""
    density, green, blue = (absorbance(rgb[..., channel]) for channel in range(3))
    density += green
    density -= blue
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(density, 1.0)
    smooth -= np.median(smooth)
    return smooth


def nuclear_stain(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where nuclei are, bool (H, W): each dense object of the dye's colour, down to half of its own density."""
    density = nuclear_density(rgb)
    objects, _ = ndimage.label(density > MIN_NUCLEAR_DENSITY)
    stained = np.zeros(density.shape, bool)
    for number, (area, at) in enumerate(
        zip(np.bincount(objects.ravel())[1:], ndimage.find_objects(objects), strict=True), start=1
    ):
        if area >= _SPECK_PX:
            stained[at] |= _to_half(density[at], objects[at] == number)
    if stained.any():
        at = bounds(stained)
        background = [counted_percentile(counts(rgb[::4, ::4, channel]), BYTES, 75) for channel in range(3)]
        stained[at] = filled(
            _dyed(stained[at], density[at], rgb[at], absorbance(np.array(background).astype(np.uint8)))
        )
    return stained


def _dyed(
    stained: NDArray[np.bool_], density: NDArray[np.float32], rgb: NDArray[np.uint8], background: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """The objects whose colour is that of the dye."""
    parts, count = ndimage.label(stained)
    part = parts[stained]
    absorbed = (absorbance(rgb[..., channel][stained]) - background[channel] for channel in (1, 2))
    green, blue = (np.maximum(np.bincount(part, each, count + 1), 0) for each in absorbed)
    dyed = blue <= MAX_BLUE_OVER_GREEN * green
    dyed |= np.bincount(part, density[stained], count + 1) >= _DENSER_THAN_RED_CELLS * np.bincount(
        part, minlength=count + 1
    )
    return np.asarray(dyed[parts] & stained)


def _to_half(density: NDArray[np.float32], dense: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Each dense object down to half of its density; repeated for what it leaves of a paler nucleus beside it."""
    stained = dense & (density > _EDGE * np.percentile(density[dense], 90))
    if 2 * np.count_nonzero(stained) > np.count_nonzero(dense):
        return stained
    depth, away = _depth(stained).max(), _depth(~stained)
    rim, reach = _RIM * depth, _LEAST_DEPTH * depth
    rest = dense & (away > rim)
    cores, _ = ndimage.label(_depth(np.pad(rest, 1))[1:-1, 1:-1] >= reach)
    for number, core in enumerate(ndimage.find_objects(cores), start=1):
        at = tuple(slice(max(0, part.start - math.ceil(reach)), part.stop + math.ceil(reach)) for part in core)
        paler = _to_half(density[at], rest[at] & (_depth(cores[at] != number) < reach))
        outline = paler & ~eroded(paler)
        if np.mean(away[at][outline] <= rim + 2) < _HUGGING:
            stained[at] |= paler
    return stained


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(ndimage.distance_transform_edt(mask))


def find_nuclei(rgb: NDArray[np.uint8]) -> list[Nucleus]:
    """Every nucleus, and every lobe of a lobed one, the largest first, without platelets, fragments and red cells.

    Works on a reduced copy of large images, so that memory stays small beside the image.
    """
    step = min(-(-max(rgb.shape[:2]) // _GRID_SIDE), *rgb.shape[:2])
    stained = nuclear_stain(_reduced(rgb, step))
    if not stained.any():
        return []
    rows, columns = bounds(stained)
    objects, _ = ndimage.label(stained[rows, columns])
    areas = np.bincount(objects.ravel())[1:]
    typical = typical_area(areas)
    nuclei = []
    for number, (area, at) in enumerate(zip(areas, ndimage.find_objects(objects), strict=True), start=1):
        if area >= MIN_NUCLEUS_SHARE * typical:
            top, left = rows.start + at[0].start, columns.start + at[1].start
            nuclei += _parted(np.pad(objects[at] == number, 1), top - 1, left - 1, step, typical)
    return sorted(nuclei, key=lambda nucleus: -nucleus.area)


def typical_area(areas: Sequence[float] | NDArray[np.floating[Any] | np.integer[Any]]) -> float:
    """The area of objects at which the larger ones hold three tenths of all area; 0 where there is none."""
    descending = np.sort(np.asarray(areas, dtype=np.float64))[::-1]
    if not descending.size:
        return 0.0
    return float(descending[np.searchsorted(np.cumsum(descending), _TYPICAL_SHARE * descending.sum())])


def _reduced(rgb: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Means over squares of `step` pixels, uint8; strip by strip, so that the whole image is never copied."""
    if step == 1:
        return rgb
    height, width = rgb.shape[0] // step, rgb.shape[1] // step
    small = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _STRIP_ROWS):
        strip = rgb[top * step : min(height, top + _STRIP_ROWS) * step, : width * step]
        small[top : top + _STRIP_ROWS] = strip.reshape(-1, step, width, step, 3).mean(axis=(1, 3), dtype=np.float32)
    return small


def _parted(mask: NDArray[np.bool_], top: int, left: int, step: int, typical: float) -> list[Nucleus]:
    """Cut a stained object at its waists."""
    waist = _WAIST * float(np.sqrt(typical / np.pi))
    depth = ndimage.distance_transform_edt(mask)
    depth = np.where(mask, ndimage.gaussian_filter(depth, waist), 0)
    peaks, count = ndimage.label(_peaks(depth, waist))
    parts = watershed(-depth, peaks, mask=mask) if count > 1 else mask.astype(np.int32)
    nuclei = []
    for number, at in enumerate(ndimage.find_objects(parts), start=1):
        if at is not None:
            nuclei.append(Nucleus(parts[at] == number, top + at[0].start, left + at[1].start, step))
    return nuclei


def _peaks(depth: NDArray[np.float64], height: float) -> NDArray[np.bool_]:
    """The tops of all that rises so high above every way to something higher, bool (H, W)."""
    least = 0.99 * height
    maxima = (depth == ndimage.maximum_filter(depth, 3)) & (depth > least)
    peaks = np.zeros(depth.shape, bool)
    if maxima.any():
        # Below the foot of the lowest maximum is neither a peak nor a way from one that matters.
        upper = depth >= depth[maxima].min() - height
        at = bounds(upper)
        peaks[at] = upper[at] & (depth[at] - reconstruction(np.maximum(depth[at] - height, 0), depth[at]) > least)
    return peaks


def count_other_nuclei(rgb: NDArray[np.uint8], cell: NDArray[np.bool_], nucleus: NDArray[np.bool_]) -> int:
    """Objects outside the cell as dense as the paler quarter of its nucleus, and a quarter of its area large."""
    if not nucleus.any():
        return 0
    step = -(-max(nucleus.shape) // _COARSE_SIDE)
    rgb, cell, nucleus = rgb[::step, ::step], cell[::step, ::step], nucleus[::step, ::step]
    if not nucleus.any():
        return 0
    density = nuclear_density(rgb)
    outside = (density >= np.percentile(density[nucleus], 25)) & ~dilated(cell, 2)
    others, least = opened(outside, 2), 0.25 * np.count_nonzero(nucleus)
    if np.count_nonzero(others) < least:
        return 0
    parts, _ = ndimage.label(others)
    return int(np.count_nonzero(np.bincount(parts.ravel())[1:] >= least))


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
