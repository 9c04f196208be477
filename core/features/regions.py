"""What families need of regions: their place, their neighbourhood, their holes, and the densities that bound them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.features.first_order import percentile

EIGHT_NEIGHBOURS: Final = np.ones((3, 3), dtype=bool)

# Part of the environment that is taken for background: the palest tenth, because neighbours may fill the rest.
PALEST: Final = 0.1
# Where the cytoplasm has less optical density than this beyond the background, the one cannot be told from the other.
MIN_CONTRAST: Final = 0.1


def box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of a region that has at least one pixel."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Region and its eight neighbours, bool (H, W); `scipy.ndimage.binary_dilation` at a tenth of its time."""
    wide = mask.copy()
    wide[1:] |= mask[:-1]
    wide[:-1] |= mask[1:]
    square = wide.copy()
    square[:, 1:] |= wide[:, :-1]
    square[:, :-1] |= wide[:, 1:]
    return square


def reached(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Pixels no farther than a radius from one of the region, bool (H, W).

    What `scipy.ndimage.distance_transform_edt(~mask) <= radius` gives, at a fifth of its time: a disc is a bundle of rows.
    """
    steps = np.arange(int(radius) + 1)
    across = np.count_nonzero(np.sqrt(np.add.outer(steps**2, steps**2)) <= radius, axis=1) - 1  # of the disc's rows from the middle on
    row, disc = mask.copy(), np.zeros_like(mask)
    for aside in steps.tolist():
        row[:, aside:] |= mask[:, : -aside or None]
        row[:, : -aside or None] |= mask[:, aside:]
        for down in np.flatnonzero(across == aside).tolist():
            disc[down:] |= row[: -down or None]
            disc[: -down or None] |= row[down:]
    return disc


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Region and what it encloses, bool (H + 2, W + 2): with a margin of background. Diagonal pixels enclose nothing."""
    outside, _ = ndimage.label(~np.pad(mask, 1), EIGHT_NEIGHBOURS)
    return np.asarray(outside != outside[0, 0])


def radius_of(mask: NDArray[np.bool_]) -> float:
    """Radius in pixels of the circle that has the region's area."""
    return float(np.sqrt(np.count_nonzero(mask) / np.pi))


def background_and_cytoplasm(
    plane: NDArray[np.float64], cytoplasm: NDArray[np.bool_], environment: NDArray[np.bool_]
) -> tuple[float, float] | str:
    """Density of the background, the palest of the environment, and the median of the cytoplasm; or why they cannot be told, in words."""
    if not environment.any():
        return "there is no environment of the cell to tell the background"
    if not cytoplasm.any():
        return "no cytoplasm was found"
    around, within = np.sort(plane[environment]), np.sort(plane[cytoplasm])
    background = float(percentile(around, PALEST))
    typical = float(within[(len(within) - 1) // 2] + within[len(within) // 2]) / 2
    if typical - background < MIN_CONTRAST:
        return "the cytoplasm is hardly more stained than the background"
    return background, typical
