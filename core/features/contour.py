"""The outline of a region: how convex, how smooth, how it undulates.

Everything here is a ratio: the size of the region cancels out.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from core.features.regions import fill_holes
from core.image.masks import traced
from core.image.morphology import bounds

# An outline traced along pixels is a staircase, a twentieth too long on a circle. Each pass gives a vertex half of its
# own place and a quarter of either neighbour's; four leave the circumference of circles from a radius of 8 px on right
# to half a per cent, at the price of rounding what is finer than some three pixels.
_SMOOTHING_PASSES: Final = 4

# Undulations a turn: a dent of a kidney, a clover leaf and a flower are few; teeth, frays and hairs are many. Two are
# an ellipse, which is elongation and has its own feature. Beyond 24 the outlines of our smallest regions (60 px around)
# hold no more information.
LOW_HARMONICS: Final = (3, 7)
HIGH_HARMONICS: Final = (8, 24)


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.complex128]]:
    """Outer outlines of a region, a closed polygon of x + iy for each part, smoothed below the pixel's staircase.

    Holes are filled. Parts are 4-connected. Turning the mask by a right angle turns the polygons, up to where they
    start.
    """
    polygons = []
    for rows_columns in traced(fill_holes(mask[bounds(mask)])):
        ring = rows_columns[:-1, 1] + 1j * rows_columns[:-1, 0]
        vertices = np.concatenate(
            [ring[-_SMOOTHING_PASSES:], ring, ring[:_SMOOTHING_PASSES]]
        )  # a pass takes one at either end
        for _ in range(_SMOOTHING_PASSES):
            vertices = vertices[1:-1] / 2 + (vertices[:-2] + vertices[2:]) / 4
        polygons.append(vertices)
    return polygons


def contour(mask: NDArray[np.bool_]) -> dict[str, float]:
    """Describe the outer outline of a region; holes are filled.

    Parameters
    ----------
    mask
        bool (H, W) with at least one pixel.

    Returns
    -------
    dict
        Solidity, Convexity, FormFactor, 1 for a circle and less for anything else (Convexity can exceed 1 where parts
        lie apart); IndentationDepth, the largest distance of the outline from its convex hull, over the radius of the
        circle of the same area; LowHarmonics and HighHarmonics, the root mean square deviation from a circle in
        undulations of these numbers a turn, over the radius. Of several parts the areas and the lengths are added up,
        the deepest dent counts, and the harmonics are averaged by area.

    References
    ----------
    FormFactor, Convexity and Solidity: Russ 2011, The Image Processing Handbook, 6th ed., ch. 11. IndentationDepth: the
    depth of OpenCV's convexityDefects. Harmonics: the elliptic Fourier description of Kuhl and Giardina 1982, Comput
    Graph Image Process 18:236, in the complex notation of Granlund 1972, IEEE Trans Comput C-21:195.
    """
    parts = outlines(mask)
    areas = np.array([_area(part) for part in parts])
    area, length = areas.sum(), sum(_length(part) for part in parts)
    corners = [_hull(part) for part in parts]
    spanning = np.concatenate([part[at] for part, at in zip(parts, corners, strict=True)])
    envelope = spanning[_hull(spanning)] if len(parts) > 1 else spanning
    dents = [_deepest_dent(part, at) for part, at in zip(parts, corners, strict=True)]
    low, high = np.sqrt(areas @ np.square([_harmonics(part) for part in parts]) / area)
    return {
        "Solidity": float(area / _area(envelope)),
        "Convexity": float(_length(envelope) / length),
        "FormFactor": float(4 * np.pi * area / length**2),
        "IndentationDepth": float(max(dents) / np.sqrt(area / np.pi)),
        "LowHarmonics": float(low),
        "HighHarmonics": float(high),
    }


def _area(vertices: NDArray[np.complex128]) -> float:
    """Area within a closed polygon of x + iy."""
    moved = vertices - vertices[0]  # so that the place in the image costs no digits
    return float(abs((moved.conj() * np.roll(moved, -1)).imag.sum()) / 2)


def _length(vertices: NDArray[np.complex128]) -> float:
    """Length of a closed polygon of x + iy."""
    return float(np.abs(np.roll(vertices, -1) - vertices).sum())


def _hull(vertices: NDArray[np.complex128]) -> NDArray[np.intp]:
    """Which of the points x + iy are the corners of their convex hull, once around."""
    return np.asarray(ConvexHull(np.column_stack([vertices.real, vertices.imag])).vertices)


def _deepest_dent(vertices: NDArray[np.complex128], corners: NDArray[np.intp]) -> float:
    """Largest distance of an outline from its convex hull; each point is measured from the hull's edge over it."""
    corners = np.sort(corners)
    bridge = (
        np.searchsorted(corners, np.arange(len(vertices)), side="right") - 1
    )  # -1: from the last corner over the start
    start = vertices[corners]
    along = np.roll(start, -1) - start
    return float(np.abs(((along / np.abs(along)).conj()[bridge] * (vertices - start[bridge])).imag).max())


def _harmonics(vertices: NDArray[np.complex128]) -> tuple[float, float]:
    """Strength of `LOW_HARMONICS` and `HIGH_HARMONICS` relative to the circle, along the outline at constant speed."""
    # m undulations of amplitude a on a circle, z = r exp(it) (1 + a cos(mt)), are the coefficients 1 + m and 1 - m with
    # r a / 2 each. The coefficients are the integrals over the polygon's edges in closed form, so that without
    # resampling its first vertex does not matter.
    steps = np.roll(vertices, -1) - vertices
    if (vertices.conj() * steps).imag.sum() < 0:  # clockwise: mirrored, so that the circle is coefficient 1
        steps = steps.conj()
    times = np.abs(steps)
    velocity = steps / times
    turn = np.exp(-2j * np.pi * np.cumsum(times) / times.sum())
    kinks = (
        np.roll(velocity, -1) - velocity
    )  # at the end of each edge; of a polygon, the second derivative is in its vertices
    powers = np.cumprod(np.broadcast_to(turn, (HIGH_HARMONICS[1] + 1, len(turn))), axis=0)  # of order 1, 2, ...
    orders = np.arange(1, len(powers) + 1)
    # Not as matrix products: threads of BLAS wait for each other where every core is busy with a cell.
    forward = np.abs((powers * kinks).sum(axis=1)) / orders**2
    backward = np.abs((powers * kinks.conj()).sum(axis=1)) / orders**2
    # Undulation m = 2, 3, ...: coefficients 1 + m and 1 - m against coefficient 1.
    strength = np.hypot(forward[2:], backward[:-2]) / forward[0]
    lobes, ragged = (strength[low - 2 : high - 1] for low, high in (LOW_HARMONICS, HIGH_HARMONICS))
    return float(np.hypot.reduce(lobes)), float(np.hypot.reduce(ragged))
