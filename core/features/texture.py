"""Texture of a region: the five grey-level matrices of pyradiomics and their features, in plain numpy.

Where values can cancel, sums keep pyradiomics' order: the second measure of informational correlation, say, is the
square root of a difference that for a region without texture is nothing but rounding, and comes out the same only if
every operation does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.image.morphology import bounds

# The reason for an absent value, in either engine: a matrix without entries, or a root of what rounding has made
# negative, which takes a handful of pixels whose levels are independent of each other.
UNDEFINED: Final = "too few of its pixels are neighbours"

_EPS: Final = np.spacing(1.0)  # pyradiomics adds it before every logarithm


@dataclass(frozen=True, eq=False)
class Levels:
    """A region in grey levels, cut to its bounding box.

    Parameters
    ----------
    image
        (h + 2, w + 2), of an unsigned type that holds the sum of eight levels: the level of each pixel, 1 in the lowest
        bin that occurs; 0 outside the region, and all around as a margin.
    count
        The highest level.
    present
        int (n,), ascending: the levels that occur.
    """

    image: NDArray[np.unsignedinteger]
    count: int
    present: NDArray[np.intp]


def discretise(plane: NDArray[np.float64], mask: NDArray[np.bool_], bin_width: float) -> Levels:
    """Assign the pixels of a region to bins of equal width, whose edges are its multiples; an edge is in the upper bin.

    Parameters
    ----------
    plane
        float64 (H, W). Never 8-bit: pyradiomics' own binning wraps round at 255 there.
    mask
        bool (H, W), True in the region, which must have a pixel.
    bin_width
        In the unit of the plane.
    """
    within = bounds(mask)
    inside = mask[within]
    bins = np.floor(plane[within][inside] / bin_width)
    below = bins.min() - 1
    count = int(bins.max() - below)
    image = np.zeros((inside.shape[0] + 2, inside.shape[1] + 2), dtype=np.min_scalar_type(8 * count))
    image[1:-1, 1:-1][inside] = bins - below
    return Levels(image, count, np.flatnonzero(np.bincount(image.ravel())[1:]) + 1)


def glcm(levels: Levels) -> dict[str, float | str]:
    """How often levels i and j are neighbours: `radiomics.glcm`, mean of the four directions.

    Returns
    -------
    dict
        24 values by pyradiomics' feature name; a region of a single level has a Correlation and an MCC of 1.
        Where no two pixels are neighbours, the reason in place of each value.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.glcm
    """
    counts = _neighbours(levels)
    totals = counts.sum((0, 1))
    p = np.compress(totals > 0, counts, axis=2) / totals[totals > 0]  # (level i, level j, direction)

    i, j = levels.present[:, None, None].astype(float), levels.present[None, :, None].astype(float)
    p_i, p_j = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
    mean_i, mean_j = (i * p).sum((0, 1)), (j * p).sum((0, 1))
    from_i, from_j = i - mean_i, j - mean_j
    variance = (p * from_i**2).sum((0, 1))
    spread = variance**0.5 * (p * from_j**2).sum((0, 1)) ** 0.5
    correlation = (p * from_i * from_j).sum((0, 1)) / (spread + _EPS)
    both, apart = i + j - mean_i - mean_j, np.abs(i - j)

    # Shares of the differences k = 0, 1, ... and of the sums 2, 3, ... of the two levels: (k, direction).
    n = levels.count
    by_difference, by_sum = _gather(p, apart, n), _gather(p, i + j, 2 * n + 1)[2:]
    k = np.arange(n, dtype=float)[:, None]
    mean_difference = (k * by_difference).sum(0)

    independent = p_i * p_j
    log_independent = np.log2(independent + _EPS)
    entropy = _entropy(p, (0, 1))
    shared = entropy + (p * log_independent).sum((0, 1))
    marginal = np.fmax(_entropy(p_i, (0, 1)), _entropy(p_j, (0, 1)))
    gain = -(independent * log_independent).sum((0, 1)) - entropy

    return _mean_of_directions(
        {
            "Autocorrelation": (p * (i * j)).sum((0, 1)),
            "ClusterProminence": (p * both**4).sum((0, 1)),
            "ClusterShade": (p * both**3).sum((0, 1)),
            "ClusterTendency": (p * both**2).sum((0, 1)),
            "Contrast": (p * apart**2).sum((0, 1)),
            "Correlation": np.where(spread == 0, 1.0, correlation),
            "DifferenceAverage": mean_difference,
            "DifferenceEntropy": _entropy(by_difference, 0),
            "DifferenceVariance": (by_difference * (k - mean_difference) ** 2).sum(0),
            "Id": (by_difference / (1 + k)).sum(0),
            "Idm": (by_difference / (1 + k**2)).sum(0),
            "Idmn": (by_difference / (1 + k**2 / n**2)).sum(0),
            "Idn": (by_difference / (1 + k / n)).sum(0),
            "Imc1": np.divide(shared, marginal, out=np.zeros_like(shared), where=marginal != 0),
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
        16 values by pyradiomics' feature name. Where no line holds two pixels, the reason in place of each value.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.glrlm
    """
    runs = []
    for lines in _lines(levels.image):
        level, length = _runs(lines)
        # A direction counts where some line holds two pixels, be they apart; that a run is longer is quicker to see.
        if length.max() > 1 or np.count_nonzero(lines, axis=1).max() > 1:
            runs.append((level, length))
    sizes = np.arange(1, 1 + max((length.max() for _, length in runs), default=0))
    counts = [_table(level, length - 1, levels, len(sizes)) for level, length in runs]
    return _by_level_and_size(
        np.stack(counts) if counts else np.zeros((0, len(levels.present), 0)), levels, sizes, _RUNS
    )


def glszm(levels: Levels) -> dict[str, float | str]:
    """Zones of touching pixels of one level, by their number of pixels: `radiomics.glszm`.

    Returns
    -------
    dict
        16 values by pyradiomics' feature name.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.glszm
    """
    from skimage.measure import label  # here, because it brings scipy along

    zones = label(levels.image, background=0, connectivity=2).ravel()
    area = np.bincount(zones)[1:]
    level = np.zeros(len(area) + 1, dtype=np.intp)
    level[zones] = levels.image.ravel()
    sizes, size = np.unique(area, return_inverse=True)
    return _by_level_and_size(_table(level[1:], size, levels, len(sizes))[None], levels, sizes, _ZONES)


def gldm(levels: Levels) -> dict[str, float | str]:
    """Pixels by how many of the three by three around them, themselves included, have their level: `radiomics.gldm`.

    Returns
    -------
    dict
        14 values by pyradiomics' feature name.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.gldm
    """
    height, width = levels.image.shape
    centre = levels.image[1:-1, 1:-1]
    same = np.zeros(centre.shape, dtype=np.uint8)
    for y in range(3):
        for x in range(3):
            same += centre == levels.image[y : y + height - 2, x : x + width - 2]
    pixels = np.flatnonzero(centre)
    counts = _table(centre.ravel()[pixels], same.ravel()[pixels] - 1, levels, 9)
    return _by_level_and_size(counts[None], levels, np.arange(1, 10), _DEPENDENCES)


def ngtdm(levels: Levels) -> dict[str, float | str]:
    """How far pixels are from the mean level of their neighbours: `radiomics.ngtdm`.

    As there, a pixel without neighbours counts as one that does not differ; the IBSI leaves it out.

    Returns
    -------
    dict
        5 values by pyradiomics' feature name. Where no pixel differs, Coarseness is a million.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.ngtdm
    """
    centre = levels.image[1:-1, 1:-1]
    pixels = np.flatnonzero(centre)
    level = centre.ravel()[pixels]
    total = (_three_by_three(levels.image) - centre).ravel()[pixels]
    neighbours = _three_by_three((levels.image > 0).view(np.uint8)).ravel()[pixels] - 1
    apart = np.where(neighbours == 0, 0.0, np.abs(level - total / np.maximum(neighbours, 1)))
    present = levels.present
    number, difference = (np.bincount(level, weights)[present] for weights in (None, apart))

    share, i = number / len(level), present.astype(float)
    weighted, summed = share * difference, difference.sum()
    product, pair, step = share[:, None] * share, share[:, None] + share, np.abs(i[:, None] - i)
    unlike = np.abs(i[:, None] * share[:, None] - i * share).sum()
    return {
        "Busyness": float(weighted.sum() / unlike) if unlike else 0.0,
        "Coarseness": float(1 / weighted.sum()) if summed else 1e6,
        "Complexity": float((step * (weighted[:, None] + weighted) / pair).sum() / len(level)),
        "Contrast": (
            float((product * step**2).sum() * summed / len(level) / (len(i) * (len(i) - 1))) if len(i) > 1 else 0.0
        ),
        "Strength": float((pair * step**2).sum() / summed) if summed else 0.0,
    }


# The features of a table of levels and sizes, in the order of `_by_level_and_size`. pyradiomics has retired two of the
# dependences: one is the uniformity of tone again, the other always 1.
_RUNS: Final = (
    "ShortRunEmphasis", "LongRunEmphasis", "LowGrayLevelRunEmphasis", "HighGrayLevelRunEmphasis",
    "ShortRunLowGrayLevelEmphasis", "ShortRunHighGrayLevelEmphasis",
    "LongRunLowGrayLevelEmphasis", "LongRunHighGrayLevelEmphasis",
    "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized",
    "RunLengthNonUniformity", "RunLengthNonUniformityNormalized",
    "GrayLevelVariance", "RunVariance", "RunEntropy", "RunPercentage",
)  # fmt: skip
_ZONES: Final = (
    "SmallAreaEmphasis", "LargeAreaEmphasis", "LowGrayLevelZoneEmphasis", "HighGrayLevelZoneEmphasis",
    "SmallAreaLowGrayLevelEmphasis", "SmallAreaHighGrayLevelEmphasis",
    "LargeAreaLowGrayLevelEmphasis", "LargeAreaHighGrayLevelEmphasis",
    "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized",
    "SizeZoneNonUniformity", "SizeZoneNonUniformityNormalized",
    "GrayLevelVariance", "ZoneVariance", "ZoneEntropy", "ZonePercentage",
)  # fmt: skip
_DEPENDENCES: Final = (
    "SmallDependenceEmphasis", "LargeDependenceEmphasis", "LowGrayLevelEmphasis", "HighGrayLevelEmphasis",
    "SmallDependenceLowGrayLevelEmphasis", "SmallDependenceHighGrayLevelEmphasis",
    "LargeDependenceLowGrayLevelEmphasis", "LargeDependenceHighGrayLevelEmphasis",
    "GrayLevelNonUniformity", None, "DependenceNonUniformity", "DependenceNonUniformityNormalized",
    "GrayLevelVariance", "DependenceVariance", "DependenceEntropy", None,
)  # fmt: skip


def _neighbours(levels: Levels) -> NDArray[np.float64]:
    """Pairs of neighbours, each counted from both sides: (level i, level j, direction), of levels present."""
    size, width = levels.count + 1, levels.image.shape[1]
    flat = levels.image.ravel()
    pixels = np.flatnonzero(flat)
    row = flat[pixels].astype(np.intp) * size
    steps = (width + 1, width, width - 1, 1)
    counts = np.stack([np.bincount(row + flat[pixels + step], minlength=size**2) for step in steps], axis=-1)
    counts = counts.reshape(size, size, len(steps))[np.ix_(levels.present, levels.present)]
    return np.ascontiguousarray(counts + counts.transpose(1, 0, 2), dtype=float)


def _lines(image: NDArray[np.unsignedinteger]) -> Iterator[NDArray[np.unsignedinteger]]:
    """The image turned so that its rows are the lines of each of the four directions in turn."""
    yield _diagonals(image[:, ::-1])
    yield image.T
    yield _diagonals(image)
    yield image


def _diagonals(image: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """The rising diagonals as rows."""
    # Cut into rows one pixel shorter than they are, a wider image moves each one to the right.
    height, width = image.shape
    wide = np.zeros((height, width + height), dtype=image.dtype)
    wide[:, :width] = image
    return wide.ravel()[:-height].reshape(height, width + height - 1).T


def _runs(lines: NDArray[np.unsignedinteger]) -> tuple[NDArray[np.unsignedinteger], NDArray[np.intp]]:
    """Level and length of each run; every line begins and ends outside the region, so no run continues in the next."""
    flat = lines.ravel()
    last = np.flatnonzero(flat[1:] != flat[:-1])
    level = flat[last[1:]]
    runs = np.flatnonzero(level)
    return level[runs], np.diff(last)[runs]


def _three_by_three(image: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Sum of the pixels around and at each pixel, without the margin."""
    rows = image[:-2] + image[1:-1] + image[2:]
    return np.asarray(rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:])


def _table(level: NDArray[np.integer], size: NDArray[np.integer], levels: Levels, sizes: int) -> NDArray[np.float64]:
    """How often each level that is present comes with each size, numbered from 0: (level, size)."""
    counts = np.bincount(level.astype(np.intp) * sizes + size, minlength=(levels.count + 1) * sizes)
    return counts.reshape(-1, sizes)[levels.present].astype(float)


def _by_level_and_size(
    counts: NDArray[np.float64], levels: Levels, sizes: NDArray[np.intp], names: tuple[str | None, ...]
) -> dict[str, float | str]:
    """The features that runs, zones and dependences share; `counts` is (direction, level, size)."""
    i, j = levels.present.astype(float), sizes.astype(float)
    by_level, by_size = counts.sum(2), counts.sum(1)
    n = by_level.sum(1, keepdims=True)

    of_level, of_size = (np.stack([value**-2, value**0, value**2]) for value in (i, j))
    emphasis = of_level @ counts @ of_size.T / n[..., None]
    (small_low, low, large_low), (small, _, large), (small_high, high, large_high) = emphasis.transpose(1, 2, 0)
    uneven_levels, uneven_sizes = ((by**2).sum(1) / n[:, 0] for by in (by_level, by_size))
    values = (
        small, large, low, high, small_low, small_high, large_low, large_high,
        uneven_levels, uneven_levels / n[:, 0], uneven_sizes, uneven_sizes / n[:, 0],
        _variance(by_level / n, i), _variance(by_size / n, j),
        _entropy(counts / n[..., None], (1, 2)), n[:, 0] / (by_size * j).sum(1),
    )  # fmt: skip
    return _mean_of_directions({name: value for name, value in zip(names, values, strict=True) if name})


def _variance(share: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance of the values in each row (direction) of shares."""
    mean = (share * values).sum(1, keepdims=True)
    return np.asarray((share * (values - mean) ** 2).sum(1))


def _entropy(share: NDArray[np.float64], axis: int | tuple[int, ...]) -> NDArray[np.float64]:
    return np.asarray(-(share * np.log2(share + _EPS)).sum(axis))


def _gather(p: NDArray[np.float64], index: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Sums of p (level i, level j, direction) where `index` (level i, level j, 1) is 0, 1, ...: (index, direction)."""
    directions = p.shape[2]
    cell = index.astype(np.intp) * directions + np.arange(directions)
    return np.asarray(np.bincount(cell.ravel(), p.ravel(), size * directions).reshape(size, directions), dtype=float)


def _root(square: NDArray[np.inexact]) -> NDArray[np.float64]:
    """Square root; not a number where rounding has made the square negative."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(square).real)


def _maximal_correlation(
    p: NDArray[np.float64], p_i: NDArray[np.float64], p_j: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Root of the second largest eigenvalue of Q(i, j) = Σ_k p(i, k) p(j, k) / (p(i) p(k)); 1 for a single level."""
    if len(p) == 1:
        return np.ones(p.shape[2])
    q = (p[:, None] * p[None] / (p_i[:, None] * p_j + _EPS)).sum(2)
    eigenvalues = np.linalg.eigvals(q.transpose(2, 0, 1))
    eigenvalues.sort()
    return _root(eigenvalues[:, -2])


def _mean_of_directions(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float | str]:
    """Mean of each feature over the directions in which it is a number, or the reason why there is none."""
    table = np.stack(list(values.values()))
    known = ~np.isnan(table)
    number = known.sum(1)
    means = table.sum(1, where=known) / np.maximum(number, 1)
    return {
        name: mean if some else UNDEFINED
        for name, mean, some in zip(values, means.tolist(), number.tolist(), strict=True)
    }
