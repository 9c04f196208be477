"""Lobes of the nucleus: how many there are, and how far they are parted."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.features.regions import EIGHT_NEIGHBOURS, fill_holes
from core.image.morphology import bounds

# A lobe reaches this much deeper than its neck, as a share of the nucleus's greatest depth. Less is the unevenness of a
# single body.
PROMINENCE: Final = 0.1
# Depths at which bodies are counted, from the outline inwards.
_LEVELS: Final = 16


def lobes(nucleus: NDArray[np.bool_]) -> dict[str, float]:
    """Count the lobes of a nucleus and measure how far they are parted; holes are filled.

    The nucleus is eroded from its outline inwards, so that necks break before the lobes they join are gone (the
    ultimate erosion of Serra 1982, Image Analysis and Mathematical Morphology, ch. XI). Depth is the distance to the
    outline, and all lengths are relative to the greatest depth, so that a ragged outline does not matter.

    Parameters
    ----------
    nucleus
        bool (H, W) with at least one pixel; segments may be apart.

    Returns
    -------
    dict
        LobeCount: bodies that reach `PROMINENCE` of the greatest depth deeper than their necks. Lobulation: the mean
        number of such bodies over all depths, 1 for a single one; two of a size that just touch make 2, a wide neck
        little more than 1.
    """
    depth = ndimage.distance_transform_edt(fill_holes(nucleus[bounds(nucleus)]))
    rows, columns = np.nonzero((depth == ndimage.maximum_filter(depth, 3)) & (depth > 0))
    peaks = depth[rows, columns]
    prominence = PROMINENCE * peaks.max()
    count, present = 0, 0
    known = np.zeros(len(peaks), dtype=bool)
    # From the deepest level outwards, as the bodies appear; a level stands for the slice of depth around it.
    for level in (np.arange(_LEVELS)[::-1] + 0.5) / _LEVELS * (peaks.max() - prominence):
        parts, _ = ndimage.label(depth > level, EIGHT_NEIGHBOURS)
        bodies = parts[rows, columns]
        prominent = peaks >= level + prominence
        now = set(bodies[prominent].tolist())
        present += len(now)
        count += len(now) - len(set(bodies[known].tolist()))
        known = prominent
    return {"LobeCount": float(count), "Lobulation": present / _LEVELS}
