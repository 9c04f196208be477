"""Other leukocytes beside a drawn cell, told by their stain: no network is asked about what networks are scored on."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.image.morphology import dilated, opened
from core.image.stain import nuclear_density

# Whole cells are looked for, on at most so many pixels a side.
_COARSE_SIDE: Final = 1024


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
