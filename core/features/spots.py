"""Spots by their size: clear ones in the cytoplasm (vacuoles), dense ones anywhere (granules and clumps)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.features.regions import EIGHT_NEIGHBOURS, background_and_cytoplasm, radius_of, widened
from core.image.morphology import bounds

# Diameters of vacuoles as shares of the cell's diameter (0.5 to 4 um on a monocyte), and the share of the square around
# a vacuole that it fills at least: a disc fills 0.79, two that touch or half of one 0.39, the clear rim beside a
# nucleus less.
VACUOLE_DIAMETERS: Final = (0.03, 0.25)
ROUNDNESS: Final = 0.35

# Upper limits of the width of fine, medium and coarse spots, as shares of the cell's diameter: 0.5, 0.9 and 1.8 um on a
# promyelocyte. Azurophil granules are fine, those of eosinophils and basophils medium, clumps of chromatin coarse.
SPOT_WIDTHS: Final = {"Fine": 0.03, "Medium": 0.06, "Coarse": 0.12}
# Spots are shown by no fewer pixels.
MIN_SPOT_PX: Final = 2.0


def vacuoles(
    nucleus: NDArray[np.bool_],
    cytoplasm: NDArray[np.bool_],
    environment: NDArray[np.bool_],
    density: NDArray[np.float64],
) -> dict[str, float | str]:
    """Count and measure round clear spots in the cytoplasm, nearer in density to the background than to it.

    Parameters
    ----------
    nucleus, cytoplasm, environment
        bool (H, W), disjoint, the cytoplasm with at least one pixel; nothing outside them is measured.
    density
        float64 (H, W), optical density.

    Returns
    -------
    dict
        Count, and AreaShare of the cytoplasm. A vacuole is within the cell: it may touch the nucleus, but not the
        cell's edge; two that run together count as one. The reason in place of an absent value.
    """
    levels = background_and_cytoplasm(density, cytoplasm, environment)
    if isinstance(levels, str):
        return dict.fromkeys(("Count", "AreaShare"), levels)

    cytoplasm, cell = np.pad(cytoplasm, 1), np.pad(nucleus | cytoplasm, 1)
    clear = cytoplasm & (np.pad(density, 1) < sum(levels) / 2)
    parts, count = ndimage.label(clear, EIGHT_NEIGHBOURS)
    area = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    at_edge = np.bincount(parts[widened(~cell)], minlength=count + 1)[1:] > 0
    side = np.array(
        [max(part.stop - part.start for part in extent) for extent in ndimage.find_objects(parts)], dtype=float
    )
    smallest, largest = (share**2 * np.count_nonzero(cell) for share in VACUOLE_DIAMETERS)  # the areas of discs
    vacuole = ~at_edge & (area >= smallest) & (area <= largest) & (area >= ROUNDNESS * side**2)
    return {
        "Count": float(np.count_nonzero(vacuole)),
        "AreaShare": float(area[vacuole].sum() / np.count_nonzero(cytoplasm)),
    }


def granularity(
    region: NDArray[np.bool_], cell: NDArray[np.bool_], density: NDArray[np.float64]
) -> dict[str, float | str]:
    """Share of a region's optical density in spots of three sizes: what openings of growing size remove.

    The granular spectrum of Ravkin and Temov 1988 (Proc SPIE 900), as CellProfiler's MeasureGranularity has it, with
    sizes relative to the cell, and squares in place of discs. Between two odd numbers of pixels the opening is
    interpolated.

    Parameters
    ----------
    region
        bool (H, W) with at least one pixel; nothing outside it is measured.
    cell
        bool (H, W), whose area gives the scale.
    density
        float64 (H, W), optical density, 0 or more.

    Returns
    -------
    dict
        Fine, Medium, Coarse, 0 to 1; the reason in place of an absent value.
    """
    within = bounds(region)
    region, density = region[within], density[within]
    whole = density[region].sum()
    if whole == 0:
        return dict.fromkeys(SPOT_WIDTHS, "nothing is stained")
    diameter = 2 * radius_of(cell)
    shares: dict[str, float | str] = {}
    before = whole
    for name, share in SPOT_WIDTHS.items():
        width = share * diameter
        if width < MIN_SPOT_PX:
            shares[name] = f"spots of that size are less than {MIN_SPOT_PX:.0f} pixels wide"
            continue
        odd = 2 * int((width - 1) // 2) + 1
        narrower, wider = (
            density[region].sum() if side == 1 else _opened(density, region, side)[region].sum()
            for side in (odd, odd + 2)
        )
        after = narrower + (wider - narrower) * (width - odd) / 2
        shares[name] = float((before - after) / whole)
        before = after
    return shares


def _opened(plane: NDArray[np.float64], region: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """Opening of the region alone by a square of odd side; values outside the region mean nothing."""
    eroded = _lowest(np.where(region, plane, np.inf), side)
    return -_lowest(np.where(region, -eroded, np.inf), side)


def _lowest(plane: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Smallest value in the square of odd side around each pixel; twice as fast as `scipy.ndimage.minimum_filter`."""
    for _ in range(2):
        lowest = np.full((len(plane) + side - 1, plane.shape[1]), np.inf)
        lowest[side // 2 : side // 2 + len(plane)] = plane
        covered = 1
        while covered < side:
            step = min(covered, side - covered)
            lowest = np.minimum(lowest[:-step], lowest[step:])
            covered += step
        plane = lowest.T
    return plane
