"""Shape of a region on the pixel grid: pyradiomics' definitions in numpy."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.image.morphology import bounds

# The outline is found by marching squares: it runs straight or at 45 degrees through each square between four pixel
# centres, according to which of the four lie in the region (the bits of the index: top left, top right, bottom left,
# bottom right). Per square, the length of outline in it and the area within it; of two opposite corners, each keeps its
# own.
_HALF: Final = np.sqrt(0.5)
_LENGTH: Final = np.array(
    [0, _HALF, _HALF, 1, _HALF, 1, 2 * _HALF, _HALF, _HALF, 2 * _HALF, 1, _HALF, 1, _HALF, _HALF, 0]
)
_AREA: Final = np.array([0, 1, 1, 4, 1, 4, 2, 7, 1, 2, 4, 7, 4, 7, 7, 8]) / 8


def shape_2d(mask: NDArray[np.bool_]) -> dict[str, float]:
    """Measure the shape of a region in pixels, as `radiomics.shape2D` does.

    Parameters
    ----------
    mask
        bool (H, W), True in the region, whose pixels must not all lie on one line.

    Returns
    -------
    dict
        Values by pyradiomics' feature name; lengths in pixels, areas in square pixels.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.shape2D
    """
    region = mask[bounds(mask)]
    inside = np.zeros((region.shape[0] + 2, region.shape[1] + 2), dtype=np.uint8)  # the outline needs a margin
    inside[1:-1, 1:-1] = region
    top, bottom = inside[:-1], inside[1:]
    squares = np.bincount((top[:, :-1] + 2 * top[:, 1:] + 4 * bottom[:, :-1] + 8 * bottom[:, 1:]).ravel(), minlength=16)
    perimeter, surface = (squares * _LENGTH).sum(), (squares * _AREA).sum()

    by_row, by_column = inside.sum(axis=1), inside.sum(axis=0)
    area = by_row.sum()
    y, x = (np.arange(len(counts)) - (counts * np.arange(len(counts))).sum() / area for counts in (by_row, by_column))
    covariance = ((inside * x).sum(axis=1) * y).sum() / area
    variances = (by_row * y * y).sum() / area, (by_column * x * x).sum() / area
    minor, major = np.linalg.eigvalsh([[variances[0], covariance], [covariance, variances[1]]])
    return {
        "Elongation": float(np.sqrt(minor / major)),
        "MajorAxisLength": float(4 * np.sqrt(major)),
        "MaximumDiameter": _diameter(region),
        "MeshSurface": float(surface),
        "MinorAxisLength": float(4 * np.sqrt(minor)),
        "Perimeter": float(perimeter),
        "PerimeterSurfaceRatio": float(perimeter / surface),
        "PixelSurface": float(area),
        "Sphericity": float(2 * np.sqrt(np.pi * surface) / perimeter),
    }


def _diameter(inside: NDArray[np.bool_]) -> float:
    """Largest distance between two points of the outline, half way between a pixel inside and one outside."""
    # pyradiomics compares all with all. But the farthest apart lie at corners of the convex hull of the pixels'
    # centres, which are the first or the last of their rows, and both half a pixel beyond, in the direction in which
    # the two are farther apart.
    from scipy.spatial import ConvexHull  # here, because not every program that reads the catalogue measures

    (row,) = np.nonzero(inside.any(axis=1))
    first, last = inside[row].argmax(axis=1), inside.shape[1] - 1 - inside[row, ::-1].argmax(axis=1)
    ends = np.concatenate([np.column_stack([row, column]) for column in (first, last)])
    y, x = ends[ConvexHull(ends).vertices].T
    down, across = np.abs(y[:, None] - y), np.abs(x[:, None] - x)
    return float(np.sqrt((down * down + across * across + 2 * np.maximum(down, across)).max() + 1))
