"""What several families need of regions: size, neighbourhood, holes, and the densities that bound them."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

EIGHT_NEIGHBOURS: Final = np.ones((3, 3), dtype=bool)

# Part of the environment that is taken for background: the palest tenth, because neighbours may fill the rest.
BACKGROUND_PERCENTILE: Final = 10
# Where the cytoplasm has less optical density than this beyond the background, the one cannot be told from the other:
# a tenth of natural absorbance.
MIN_CONTRAST: Final = 0.1 / math.log(10)


def widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Region and its eight neighbours, bool (H, W); `scipy.ndimage.binary_dilation` at a tenth of its time."""
    wide = mask.copy()
    wide[1:] |= mask[:-1]
    wide[:-1] |= mask[1:]
    square = wide.copy()
    square[:, 1:] |= wide[:, :-1]
    square[:, :-1] |= wide[:, 1:]
    return square


def fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Region with its holes filled, bool (H + 2, W + 2): with a margin of background. Diagonals do not enclose."""
    outside, _ = ndimage.label(~np.pad(mask, 1), EIGHT_NEIGHBOURS)
    return np.asarray(outside != outside[0, 0])


def radius_of(mask: NDArray[np.bool_]) -> float:
    """Radius in pixels of the circle that has the region's area."""
    return float(np.sqrt(np.count_nonzero(mask) / np.pi))


def background_and_cytoplasm(
    plane: NDArray[np.float64], cytoplasm: NDArray[np.bool_], environment: NDArray[np.bool_]
) -> tuple[float, float] | str:
    """Density of the background, the palest of the environment, and median of the cytoplasm; or why not, in words."""
    if not environment.any():
        return "there is no environment of the cell to tell the background"
    if not cytoplasm.any():
        return "no cytoplasm was found"
    background = float(np.percentile(plane[environment], BACKGROUND_PERCENTILE))
    typical = float(np.median(plane[cytoplasm]))
    if typical - background < MIN_CONTRAST:
        return "the cytoplasm is hardly more stained than the background"
    return background, typical
