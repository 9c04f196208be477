"""Texture of a region: pyradiomics' five grey-level matrices, by its own C code, and its features in lean numpy.

Where values can cancel, sums keep pyradiomics' order: the second measure of informational correlation, say, is the square root of a
difference that for a region without texture is nothing but rounding, and comes out the same only if every operation does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_EPS: Final = np.spacing(1.0)  # pyradiomics adds it before every logarithm
_DISTANCE: Final = np.array([1])  # neighbours are the eight pixels around
_FLAT: Final = (False, 0)  # the last two arguments of pyradiomics' C functions: all directions of the plane count


@dataclass(frozen=True, eq=False)
class Levels:
    """A region in grey levels, cut to its bounding box.

    Parameters
    ----------
    image
        int32 (h, w): the level of each pixel, 1 in the lowest bin that occurs; 0 outside the region.
    mask
        bool (h, w), True in the region.
    count
        The highest level.
    present
        int (n,), ascending: the levels that occur.
    """

    image: NDArray[np.int32]
    mask: NDArray[np.bool_]
    count: int
    present: NDArray[np.intp]


def discretise(plane: NDArray[np.float64], mask: NDArray[np.bool_], bin_width: float) -> Levels:
    """Sort the pixels of a region into bins of equal width, whose edges are multiples of it; an edge belongs to the upper bin.

    Parameters
    ----------
    plane
        float64 (H, W). Never 8-bit: pyradiomics' own binning wraps round at 255 there.
    mask
        bool (H, W), True in the region, which must have a pixel.
    bin_width
        In the unit of the plane.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    mask = mask[box]
    bins = np.floor(plane[box] / bin_width).astype(np.int32)
    occupied = bins[mask]
    lowest = occupied.min()
    histogram = np.bincount(occupied - lowest)
    # A contiguous copy of the mask, because the C functions would make one each.
    return Levels(np.where(mask, bins - (lowest - 1), 0), np.ascontiguousarray(mask), len(histogram), np.flatnonzero(histogram) + 1)


def glcm(levels: Levels) -> dict[str, float | str]:
    """Co-occurrence of grey levels in neighbouring pixels: `radiomics.glcm`, mean of the four directions.

    Returns
    -------
    dict
        24 values by pyradiomics' feature name, as below. A region of a single level has correlations of 1.
        Where no two pixels touch, the reason in place of each value.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.glcm
    """
    from radiomics import cMatrices  # here and below, because it brings SimpleITK along: 0.15 s

    counts = cMatrices.calculate_glcm(levels.image, levels.mask, _DISTANCE, levels.count, *_FLAT)[0][0]
    found = levels.present - 1
    counts = counts[np.ix_(found, found)]
    counts += counts.transpose(1, 0, 2)
    totals = counts.sum((0, 1))
    directions = totals > 0
    p = counts[..., directions] / totals[directions]  # (level i, level j, direction)

    i, j = levels.present[:, None, None].astype(float), levels.present[None, :, None].astype(float)
    p_i, p_j = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
    mean_i, mean_j = (i * p).sum((0, 1)), (j * p).sum((0, 1))
    from_i, from_j = i - mean_i, j - mean_j
    both = i + j - mean_i - mean_j
    variance = (p * from_i**2).sum((0, 1))
    spread = variance**0.5 * (p * from_j**2).sum((0, 1)) ** 0.5
    correlation = (p * from_i * from_j).sum((0, 1)) / (spread + _EPS)

    # Shares of the differences 0, 1, ... and of the sums 2, 3, ... of the two levels: (difference or sum, direction).
    by_difference, by_sum = _gather(p, np.abs(i - j)), _gather(p, i + j)[2:]
    k = np.arange(len(by_difference), dtype=float)[:, None]
    apart = (k * by_difference).sum(0)

    independent = p_i * p_j
    log_independent = np.log2(independent + _EPS)
    entropy = _entropy(p, (0, 1))
    information = entropy + (p * log_independent).sum((0, 1))
    entropy_i = np.fmax(_entropy(p_i, (0, 1)), _entropy(p_j, (0, 1)))
    gain = -(independent * log_independent).sum((0, 1)) - entropy

    n = levels.count
    return _mean_of_directions(
        {
            "Autocorrelation": (p * (i * j)).sum((0, 1)),
            "ClusterProminence": (p * both**4).sum((0, 1)),
            "ClusterShade": (p * both**3).sum((0, 1)),
            "ClusterTendency": (p * both**2).sum((0, 1)),
            "Contrast": (p * np.abs(i - j) ** 2).sum((0, 1)),
            "Correlation": np.where(spread == 0, 1.0, correlation),
            "DifferenceAverage": apart,
            "DifferenceEntropy": _entropy(by_difference, 0),
            "DifferenceVariance": (by_difference * (k - apart) ** 2).sum(0),
            "Id": (by_difference / (1 + k)).sum(0),
            "Idm": (by_difference / (1 + k**2)).sum(0),
            "Idmn": (by_difference / (1 + k**2 / n**2)).sum(0),
            "Idn": (by_difference / (1 + k / n)).sum(0),
            "Imc1": np.divide(information, entropy_i, out=np.zeros_like(information), where=entropy_i != 0),
            "Imc2": _root(1 - np.e ** (-2 * gain)),
            "InverseVariance": (by_difference[1:] / k[1:] ** 2).sum(0),
            "JointAverage": mean_i,
            "JointEnergy": (p**2).sum((0, 1)),
            "JointEntropy": entropy,
            "MCC": _maximal_correlation(p, p_i, p_j),
            "MaximumProbability": p.max((0, 1)),
            "SumAverage": (np.arange(2, 2 * n + 1, dtype=float)[:, None] * by_sum).sum(0),
            "SumEntropy": _entropy(by_sum, 0),
            "SumSquares": variance,
        }
    )


def glrlm(levels: Levels) -> dict[str, float | str]:
    """Runs of pixels of one level along a line: `radiomics.glrlm`, mean of the four directions.

    Returns
    -------
    dict
        16 values by pyradiomics' feature name. Where no line has two pixels, the reason in place of each value.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.glrlm
    """
    from radiomics import cMatrices

    longest = max(levels.image.shape)
    counts = cMatrices.calculate_glrlm(levels.image, levels.mask, levels.count, longest, *_FLAT)[0][0]
    return _by_level_and_size(levels, counts, _RUNS)


def glszm(levels: Levels) -> dict[str, float | str]:
    """Zones of touching pixels of one level, by their size: `radiomics.glszm`.

    Returns
    -------
    dict
        16 values by pyradiomics' feature name.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.glszm
    """
    from radiomics import cMatrices

    area = int(np.count_nonzero(levels.mask))
    # The C function marks in the mask which pixels it has seen, and puts it back.
    counts = cMatrices.calculate_glszm(levels.image, levels.mask, levels.count, area, *_FLAT)[0]
    return _by_level_and_size(levels, counts[..., None], _ZONES)


def gldm(levels: Levels) -> dict[str, float | str]:
    """Pixels by the number of neighbours of the same level, themselves included: `radiomics.gldm`.

    Returns
    -------
    dict
        14 values by pyradiomics' feature name.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.gldm
    """
    from radiomics import cMatrices

    counts = cMatrices.calculate_gldm(levels.image, levels.mask, _DISTANCE, levels.count, 0, *_FLAT)[0]
    return _by_level_and_size(levels, counts[..., None], _DEPENDENCES)


def ngtdm(levels: Levels) -> dict[str, float | str]:
    """How far pixels differ from the mean level of their neighbours: `radiomics.ngtdm`.

    Returns
    -------
    dict
        5 values by pyradiomics' feature name. Where no pixel differs, Coarseness is a million, by convention.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.ngtdm
    """
    from radiomics import cMatrices

    matrix = cMatrices.calculate_ngtdm(levels.image, levels.mask, _DISTANCE, levels.count, *_FLAT)[0]
    pixels, difference, level = matrix[levels.present - 1].T
    area, kinds, total = pixels.sum(), len(pixels), difference.sum()
    share = pixels / area
    weighted = share * difference
    product, pair = share[:, None] * share, share[:, None] + share
    apart = level[:, None] - level
    bend = np.abs(level[:, None] * share[:, None] - level * share).sum()
    return {
        "Busyness": float(weighted.sum() / bend) if bend else 0.0,
        "Coarseness": float(1 / weighted.sum()) if total else 1e6,
        "Complexity": float((np.abs(apart) * (weighted[:, None] + weighted) / pair).sum() / area),
        "Contrast": float((product * apart**2).sum() * total / area / (kinds * (kinds - 1))) if kinds > 1 else 0.0,
        "Strength": float((pair * apart**2).sum() / total) if total else 0.0,
    }


# The features of a matrix of levels and sizes, in the order of `_by_level_and_size`. pyradiomics has retired two of the dependences:
# one repeats the uniformity of tone, the other is always 1.
_RUNS: Final = (
    "ShortRunEmphasis", "LongRunEmphasis", "LowGrayLevelRunEmphasis", "HighGrayLevelRunEmphasis",
    "ShortRunLowGrayLevelEmphasis", "ShortRunHighGrayLevelEmphasis", "LongRunLowGrayLevelEmphasis", "LongRunHighGrayLevelEmphasis",
    "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized", "RunLengthNonUniformity", "RunLengthNonUniformityNormalized",
    "GrayLevelVariance", "RunVariance", "RunEntropy", "RunPercentage",
)  # fmt: skip
_ZONES: Final = (
    "SmallAreaEmphasis", "LargeAreaEmphasis", "LowGrayLevelZoneEmphasis", "HighGrayLevelZoneEmphasis",
    "SmallAreaLowGrayLevelEmphasis", "SmallAreaHighGrayLevelEmphasis", "LargeAreaLowGrayLevelEmphasis", "LargeAreaHighGrayLevelEmphasis",
    "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized", "SizeZoneNonUniformity", "SizeZoneNonUniformityNormalized",
    "GrayLevelVariance", "ZoneVariance", "ZoneEntropy", "ZonePercentage",
)  # fmt: skip
_DEPENDENCES: Final = (
    "SmallDependenceEmphasis", "LargeDependenceEmphasis", "LowGrayLevelEmphasis", "HighGrayLevelEmphasis",
    "SmallDependenceLowGrayLevelEmphasis", "SmallDependenceHighGrayLevelEmphasis",
    "LargeDependenceLowGrayLevelEmphasis", "LargeDependenceHighGrayLevelEmphasis",
    "GrayLevelNonUniformity", None, "DependenceNonUniformity", "DependenceNonUniformityNormalized",
    "GrayLevelVariance", "DependenceVariance", "DependenceEntropy", None,
)  # fmt: skip


def _by_level_and_size(levels: Levels, counts: NDArray[np.float64], names: tuple[str | None, ...]) -> dict[str, float | str]:
    """The features that runs, zones and dependences share; `counts` is (level, size, direction), from level 1 and size 1."""
    directions = np.flatnonzero(counts.any((0, 1)))
    sizes = np.flatnonzero(counts.any((0, 2)))
    counts = counts.transpose(2, 0, 1)[np.ix_(directions, levels.present - 1, sizes)]
    i, j = levels.present.astype(float), sizes + 1.0
    by_level, by_size = counts.sum(2), counts.sum(1)
    n = by_level.sum(1)

    weights_i, weights_j = (np.stack([1 / value**2, np.ones_like(value), value**2]) for value in (i, j))
    emphasis = (weights_i @ counts @ weights_j.T / n[:, None, None]).transpose(1, 2, 0)
    (small_low, low, large_low), (small, _, large), (small_high, high, large_high) = emphasis

    uneven_levels, uneven_sizes = (by_level**2).sum(1) / n, (by_size**2).sum(1) / n
    values = (
        small, large, low, high, small_low, small_high, large_low, large_high,
        uneven_levels, uneven_levels / n, uneven_sizes, uneven_sizes / n,
        _variance(by_level / n[:, None], i), _variance(by_size / n[:, None], j),
        _entropy(counts / n[:, None, None], (1, 2)), n / (by_size * j).sum(1),
    )  # fmt: skip
    return _mean_of_directions({name: value for name, value in zip(names, values, strict=True) if name})


def _variance(shares: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of the values in each row (direction) of shares."""
    mean = (shares * values).sum(1, keepdims=True)
    return np.asarray((shares * (values - mean) ** 2).sum(1))


def _entropy(shares: NDArray[np.float64], axis: int | tuple[int, ...]) -> NDArray[np.float64]:
    return np.asarray(-(shares * np.log2(shares + _EPS)).sum(axis))


def _gather(p: NDArray[np.float64], index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of p (i, j, direction) over the cells of equal `index` (i, j, 1): (index, direction)."""
    directions = p.shape[2]
    cell = index.astype(np.intp) * directions + np.arange(directions)
    return np.bincount(cell.ravel(), p.ravel()).reshape(-1, directions)


def _root(squares: NDArray[np.inexact]) -> NDArray[np.float64]:
    """Square root; not a number where rounding has made a square negative: such a direction is left out of the mean."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(squares).real)


def _maximal_correlation(p: NDArray[np.float64], p_i: NDArray[np.float64], p_j: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the second largest eigenvalue of Q(i, j) = sum over k of p(i, k) p(j, k) / (p_i(i) p_j(k)); 1 for a single level."""
    if len(p) == 1:
        return np.ones(p.shape[2])
    q = (p[:, None] * p[None] / (p_i[:, None] * p_j + _EPS)).sum(2)
    eigenvalues = np.linalg.eigvals(q.transpose(2, 0, 1))
    eigenvalues.sort()
    return _root(eigenvalues[:, -2])


def _mean_of_directions(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float | str]:
    """Mean of each feature over the directions in which it has a value, or the reason why there is none."""
    table = np.stack(list(values.values()))
    if not table.shape[1]:
        return dict.fromkeys(values, "no two of its pixels are neighbours")
    known = ~np.isnan(table)
    means = table.sum(1, where=known) / np.maximum(known.sum(1), 1)
    return {name: mean if any_known else "xx" for name, mean, any_known in zip(values, means.tolist(), known.any(1), strict=True)}
