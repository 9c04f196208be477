"""Where the nucleus lies in the cell: in the middle or at the rim."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.features.regions import fill_holes, radius_of, widened
from core.image.morphology import within

# Cytoplasm no wider than this share of the cell's radius (0.5 um on a lymphocyte) is no rim to speak of.
RIM_WIDTH: Final = 0.08


def position(nucleus: NDArray[np.bool_], cell: NDArray[np.bool_]) -> dict[str, float]:
    """Measure the place of the nucleus in its cell; holes in either are filled.

    Parameters
    ----------
    nucleus, cell
        bool (H, W), the nucleus with at least one pixel and part of the cell.

    Returns
    -------
    dict
        NuclearEccentricity, the distance of the centres of gravity over the radius of the circle that has the cell's
        area; RimContact, the share of the nucleus's outermost pixels with no more than `RIM_WIDTH` of that radius
        between them and the outside of the cell.
    """
    nucleus, cell = fill_holes(nucleus), fill_holes(cell)
    radius = radius_of(cell)
    offset = _centre(nucleus) - _centre(cell)
    membrane = nucleus & widened(~nucleus)
    reach = RIM_WIDTH * radius + 1  # neighbouring pixels are 1 apart, and nothing lies between them
    return {
        "NuclearEccentricity": float(np.hypot(*offset) / radius),
        "RimContact": float(np.mean(within(~cell, reach)[membrane])),
    }


def _centre(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Row and column of the centre of gravity."""
    pixels = (np.count_nonzero(mask, axis=axis) for axis in (1, 0))
    return np.array([(counts * np.arange(len(counts))).sum() for counts in pixels]) / np.count_nonzero(mask)
