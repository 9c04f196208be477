"""Lobes of the nucleus: into how many bodies it is parted, and how far."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.features.regions import EIGHT_NEIGHBOURS, box, fill_holes

# A lobe reaches this much deeper than its neck, as a share of the nucleus's greatest depth. Less is the unevenness of a single body.
PROMINENCE: Final = 0.1
# Depths at which bodies are counted, from the outline inwards.
_LEVELS: Final = 16


def lobes(nucleus: NDArray[np.bool_]) -> dict[str, float]:
    """Count the lobes of a nucleus and say how far they are parted; holes are filled.

    The nucleus is worn down from its outline inwards, so that necks break before the lobes they join are gone (the ultimate erosion
    of Serra 1982, Image Analysis and Mathematical Morphology, ch. XI). Depth is the distance to the outline, and all lengths are
    relative to the greatest depth, so that a ragged outline does not matter.

    Parameters
    ----------
    nucleus
        bool (H, W) with at least one pixel; segments may be apart.

    Returns
    -------
    dict
        LobeCount: bodies that reach `PROMINENCE` of the greatest depth deeper than their necks. Lobulation: how many such bodies there
        are on the average of all depths, 1 for a single one; two of a size that just touch make 2, a wide neck little more than 1.
    """
    depth = ndimage.distance_transform_edt(fill_holes(nucleus[box(nucleus)]))
    rows, columns = np.nonzero((depth == ndimage.maximum_filter(depth, 3)) & (depth > 0))
    deepest_first = np.argsort(-depth[rows, columns])
    rows, columns = rows[deepest_first], columns[deepest_first]
    peaks = depth[rows, columns]
    prominence = PROMINENCE * peaks[0]
    count, present, known = 0, 0, 0
    # From the deepest level outwards, as the bodies appear; a level stands for the slice of depth around it.
    for level in (np.arange(_LEVELS)[::-1] + 0.5) / _LEVELS * (peaks[0] - prominence):
        deep = depth > level
        within = box(deep)
        parts, _ = ndimage.label(deep[within], EIGHT_NEIGHBOURS)
        prominent = int(np.count_nonzero(peaks >= level + prominence))
        bodies = parts[rows[:prominent] - within[0].start, columns[:prominent] - within[1].start].tolist()
        now = set(bodies)
        present += len(now)
        count += len(now) - len(set(bodies[:known]))
        known = prominent
    return {"LobeCount": float(count), "Lobulation": present / _LEVELS}
