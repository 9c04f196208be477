"""Projections of the cell's outline: the hairs of hairy cells, which a drawn or predicted mask mostly rounds off.

They are looked for in the amount of basic dye, not in the mask alone: hairs are cytoplasm and take it, red cells beside
them hardly do.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from core.features.regions import EIGHT_NEIGHBOURS, background_and_cytoplasm, fill_holes, radius_of, widened
from core.image.morphology import within

# Stained is what lies this far on the way from the background to the cytoplasm. Less than half, because hairs are
# thinner than the body and blurred by the lens: half loses many that the eye sees on hairy cells of two sources, a
# quarter lets in the noise of the slide.
STAINED_SHARE: Final = 0.3
# As shares of the cell's radius: a projection is narrower than twice the first (about 1.5 um on a hairy cell), higher
# than the second.
HALF_WIDTH: Final = 0.12
MIN_HEIGHT: Final = 0.05

_NAMES: Final = ("Count", "MeanHeight", "MaximumHeight", "ContourShare")


def projections(
    nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_], environment: NDArray[np.bool_], dye: NDArray[np.float64]
) -> dict[str, float | str]:
    """Count and measure thin projections of a cell, in the mask and in the environment around it.

    What is stained and connected is the cell; its opening by a disc (Serra 1982, Image Analysis and Mathematical
    Morphology, ch. II) is the body, and what the opening removes are projections. Whatever runs along the environment's
    outer limit for more than a projection's width belongs to a neighbour.

    Parameters
    ----------
    nucleus, cytoplasm, environment
        bool (H, W), disjoint; nothing outside them is measured.
    dye
        float64 (H, W), optical density of the basic dye.

    Returns
    -------
    dict
        Count; MeanHeight of those counted and MaximumHeight of any, over the radius of the circle that has the cell's
        area; ContourShare, the share of the body's outline from which those counted rise. The reason in place of an
        absent value. Heights end where the environment does, a fifth of the radius from the mask.
    """
    levels = background_and_cytoplasm(dye, cytoplasm, environment)
    if isinstance(levels, str):
        return dict.fromkeys(_NAMES, levels)
    radius = radius_of(nucleus | cytoplasm)
    half_width = HALF_WIDTH * radius
    cell = _stained_cell(nucleus, cytoplasm, environment, dye, levels, 2 * half_width)
    core = ~within(~cell, half_width)
    if not core.any():
        return dict.fromkeys(_NAMES, "what is stained is too narrow to tell projections from a body")
    # What lies within half a width of the core is the body; beyond that, the distance is height.
    body = within(core, half_width)
    parts, heights = _heights(cell, core, body, half_width)
    heights /= radius

    counted = heights > MIN_HEIGHT
    edge = body & widened(~body)
    risen = widened(counted[parts])
    return {
        "Count": float(np.count_nonzero(counted)),
        "MeanHeight": float(heights[counted].mean()) if counted.any() else "there are no projections",
        "MaximumHeight": float(heights.max()),
        "ContourShare": np.count_nonzero(edge & risen) / np.count_nonzero(edge),
    }


def _stained_cell(
    nucleus: NDArray[np.bool_],
    cytoplasm: NDArray[np.bool_],
    environment: NDArray[np.bool_],
    dye: NDArray[np.float64],
    levels: tuple[float, float],
    width: float,
) -> NDArray[np.bool_]:
    """The cell with what is stained beside it, but not what runs along the environment's outer limit for a width."""
    # A margin of background: the zone ends at the edge of the image as it does anywhere else.
    nucleus, cytoplasm, environment = (np.pad(region, 1) for region in (nucleus, cytoplasm, environment))
    background, typical = levels
    dense = np.pad(dye, 1) > background + STAINED_SHARE * (typical - background)
    stained = nucleus | (cytoplasm | environment) & dense
    outside = ~(nucleus | cytoplasm | environment)
    beside, count = ndimage.label(stained & environment, EIGHT_NEIGHBOURS)
    along_limit = np.bincount(beside[environment & widened(outside)], minlength=count + 1)
    along_limit[0] = 0
    return fill_holes(stained & (along_limit <= width)[beside])[1:-1, 1:-1]


def _heights(
    cell: NDArray[np.bool_], core: NDArray[np.bool_], body: NDArray[np.bool_], half_width: float
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Number of the part of each pixel beyond the body, and the height of each part in px; 0 if apart from the body."""
    parts, count = ndimage.label(cell & ~body, EIGHT_NEIGHBOURS)
    beyond = np.argwhere(parts)
    distance, _ = KDTree(np.argwhere(core & widened(~core))).query(beyond)
    heights = np.zeros(count + 1)
    np.maximum.at(heights, parts[tuple(beyond.T)], distance - half_width)
    heights[np.bincount(parts[widened(body)], minlength=count + 1) == 0] = 0
    return parts, heights
