"""The red cells beside a cell, found without the network: the ruler in nearly every smear."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from core.image.morphology import bounds, dilated, filled, opened
from core.image.stain import absorbance

# Diameter of a normal red cell in a smear.
RED_CELL_UM: Final = 7.5
# Fewer whole red cells give no scale: one of two discs that touch is easily taken for one of another size.
MIN_RED_CELLS: Final = 2

# They are looked for within so many cell diameters of the cell, or so many pixels, since beside a platelet the next red
# cell lies several of its diameters off; on about so many pixels a side: enough for a disc of 20 px.
_REACH: Final = 3
_LEAST_REACH_PX: Final = 200
_SIDE_PX: Final = 200
_MIN_DIAMETER_PX: Final = 8
# Red optical density over the background: haemoglobin absorbs little red, nuclear dye much. In two laboratories 95 % of
# red cells reach up to 0.52, and 95 % of nuclei at least 0.55.
_MAX_RED_DENSITY: Final = 0.5
# A disc fills pi / 4 of its bounding square; two that overlap, or a part of one, are longer than wide or fill less.
_FILLED: Final = (0.7, 0.86)
_MIN_ROUNDNESS: Final = 0.75


def red_cell_diameter(rgb: NDArray[np.uint8], cell: NDArray[np.bool_]) -> float | None:
    """Median diameter in pixels of the whole, round red cells around a cell.

    Parameters
    ----------
    rgb
        uint8 (H, W, 3).
    cell
        Where the cell is, bool (H, W), not empty.

    Returns
    -------
    float or None
        None where fewer than `MIN_RED_CELLS` are visible: in tight crops, marrow, and pictures of other things.
    """
    rows, columns = bounds(cell)
    reach = max(_REACH * max(rows.stop - rows.start, columns.stop - columns.start), _LEAST_REACH_PX)
    around = (
        slice(max(0, rows.start - reach), rows.stop + reach),
        slice(max(0, columns.start - reach), columns.stop + reach),
    )
    step = max(1, round(max(rgb[around].shape[:2]) / _SIDE_PX))
    outside = ~dilated(cell[around][::step, ::step], 2)
    if not outside.any():
        return None
    red, green = (absorbance(rgb[around][::step, ::step, channel]) for channel in (0, 1))
    red -= np.percentile(red[outside], 10)
    green = ndimage.gaussian_filter(green - np.percentile(green[outside], 10), 0.7)
    unstained = outside & (red < _MAX_RED_DENSITY)
    if not unstained.any():
        return None
    # Green is what haemoglobin absorbs.
    coloured = outside & (green > 0.75 * threshold_otsu(green[unstained]))
    discs = opened(filled(coloured) & outside)
    parts, _ = ndimage.label(discs)
    areas, places = np.bincount(parts.ravel())[1:], ndimage.find_objects(parts)
    diameters = [
        2 * step * float(np.sqrt(area / np.pi))
        for number, (area, at) in enumerate(zip(areas, places, strict=True), start=1)
        if _is_whole_disc(area, at, discs.shape) and np.median(red[at][parts[at] == number]) < _MAX_RED_DENSITY
    ]
    return float(np.median(diameters)) if len(diameters) >= MIN_RED_CELLS else None


def _is_whole_disc(area: int, at: tuple[slice, slice], shape: tuple[int, ...]) -> bool:
    rows, columns = at
    height, width = rows.stop - rows.start, columns.stop - columns.start
    cut = rows.start == 0 or columns.start == 0 or rows.stop == shape[0] or columns.stop == shape[1]
    return (
        not cut
        and min(height, width) >= max(_MIN_DIAMETER_PX, _MIN_ROUNDNESS * max(height, width))
        and _FILLED[0] < area / (height * width) < _FILLED[1]
    )
