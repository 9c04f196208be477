"""Distribution of a channel's values in a region: pyradiomics' definitions in plain numpy."""

import numpy as np
from numpy.typing import NDArray


def first_order(plane: NDArray[np.float64], mask: NDArray[np.bool_], bin_width: float) -> dict[str, float | str]:
    """Describe the values of a region, as `radiomics.firstorder` does.

    Parameters
    ----------
    plane
        float64 (H, W); pixels that are not a number are left out. Never 8-bit: pyradiomics' own binning wraps round at
        255 there.
    mask
        bool (H, W), True in the region, which must have at least three pixels: of two, none lies between the
        percentiles.
    bin_width
        Width of the bins of Entropy and Uniformity, whose edges are its multiples; an edge belongs to the upper bin.

    Returns
    -------
    dict
        Values by pyradiomics' feature name, for pixels of area 1. A region of a single tone has Skewness and Kurtosis
        0, as in pyradiomics. Where fewer than three pixels hold a number, the reason in place of each value.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.firstorder
    """
    values = plane[mask]
    values.sort()
    if np.isnan(values[-1]):  # what is not a number comes last
        values = values[: np.searchsorted(values, np.nan)]
    if len(values) < 3:
        return dict.fromkeys(_NAMES, "fewer than three pixels have a colour")
    p10, p25, p50, p75, p90 = (_percentile(values, share) for share in (0.10, 0.25, 0.50, 0.75, 0.90))
    n = len(values)
    lowest, highest, mean = values[0], values[-1], values.sum() / n

    deviation = values - mean
    squared = deviation * deviation
    variance = squared.sum() / n
    # Asked of the values, because the mean of equal values that are no whole numbers can differ from them in the last
    # digit.
    flat = lowest == highest

    bins = np.floor(values / bin_width)
    last = np.flatnonzero(bins[1:] != bins[:-1])  # of each bin but the highest, in ascending order as the values are
    share = np.diff(np.concatenate([[-1], last, [n - 1]])) / n

    inner = values[np.searchsorted(values, p10) : np.searchsorted(values, p90, side="right")]
    # Not np.dot: threads of BLAS wait for each other where every core is busy with a cell.
    energy = (values * values).sum()
    return {
        "10Percentile": float(p10),
        "90Percentile": float(p90),
        "Energy": float(energy),
        "Entropy": float(-(share * np.log2(share + np.spacing(1.0))).sum()),
        "InterquartileRange": float(p75 - p25),
        "Kurtosis": 0.0 if flat else float((squared * squared).sum() / n / variance**2),
        "Maximum": float(highest),
        "MeanAbsoluteDeviation": float(np.abs(deviation).sum() / n),
        "Mean": float(mean),
        "Median": float(p50),
        "Minimum": float(lowest),
        "Range": float(highest - lowest),
        "RobustMeanAbsoluteDeviation": float(np.abs(inner - inner.sum() / len(inner)).sum() / len(inner)),
        "RootMeanSquared": float(np.sqrt(energy / n)),
        "Skewness": 0.0 if flat else float((squared * deviation).sum() / n / variance**1.5),
        "TotalEnergy": float(energy),
        "Uniformity": float((share * share).sum()),
        "Variance": float(variance),
    }


_NAMES = (
    "10Percentile", "90Percentile", "Energy", "Entropy", "InterquartileRange", "Kurtosis",
    "Maximum", "MeanAbsoluteDeviation", "Mean", "Median", "Minimum", "Range",
    "RobustMeanAbsoluteDeviation", "RootMeanSquared", "Skewness", "TotalEnergy", "Uniformity", "Variance",
)  # fmt: skip


def _percentile(ordered: NDArray[np.float64], share: float) -> np.float64:
    """Linearly interpolated order statistic of ascending values: `numpy.percentile` without its overhead."""
    position = share * (len(ordered) - 1)
    below = int(position)
    weight = position - below
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    step = high - low
    return np.float64(low + step * weight if weight < 0.5 else high - step * (1 - weight))
