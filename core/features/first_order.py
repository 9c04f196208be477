"""Distribution of the grey values in a region: pyradiomics' definitions in plain numpy."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

# Width of a grey-level bin, pyradiomics' default. Entropy, Uniformity and any texture feature depend on it: values computed with
# another width cannot be compared with those in a cohort.
BIN_WIDTH: Final = 25.0


def first_order(grey: NDArray[np.float64], mask: NDArray[np.bool_]) -> dict[str, float]:
    """Describe the grey values of a region, as `radiomics.firstorder` does.

    Parameters
    ----------
    grey
        float64 (H, W), 0 to 255. Never 8-bit: pyradiomics' own binning wraps round at 255 there.
    mask
        bool (H, W), True in the region, which must have at least three pixels: of two, none lies between the percentiles.

    Returns
    -------
    dict
        Values by pyradiomics' feature name. A region of a single tone has Skewness and Kurtosis 0, as in pyradiomics.

    References
    ----------
    https://pyradiomics.readthedocs.io/en/latest/features.html#module-radiomics.firstorder
    """
    values = grey[mask]
    p10, p25, p50, p75, p90 = np.percentile(values, (10, 25, 50, 75, 90))
    lowest, highest, mean = values.min(), values.max(), values.mean()

    deviation = values - mean
    squared = deviation * deviation
    variance = squared.mean()
    # Asked of the values, because the mean of equal values that are no whole numbers can differ from them in the last digit.
    flat = lowest == highest

    # Bins start at multiples of the width, whatever the darkest pixel is; edges belong to the upper bin.
    counts = np.bincount((values / BIN_WIDTH).astype(np.intp))
    share = counts[counts > 0] / len(values)

    inner = values[(values >= p10) & (values <= p90)]
    energy = (values * values).sum()  # not np.dot: threads of BLAS wait for each other where every core is busy with a cell
    return {
        "10Percentile": float(p10),
        "90Percentile": float(p90),
        "Energy": float(energy),
        "Entropy": float(-(share * np.log2(share + np.spacing(1.0))).sum()),
        "InterquartileRange": float(p75 - p25),
        "Kurtosis": 0.0 if flat else float((squared * squared).mean() / variance**2),
        "Maximum": float(highest),
        "MeanAbsoluteDeviation": float(np.abs(deviation).mean()),
        "Mean": float(mean),
        "Median": float(p50),
        "Minimum": float(lowest),
        "Range": float(highest - lowest),
        "RobustMeanAbsoluteDeviation": float(np.abs(inner - inner.mean()).mean()),
        "RootMeanSquared": float(np.sqrt(energy / len(values))),
        "Skewness": 0.0 if flat else float((squared * deviation).mean() / variance**1.5),
        "Uniformity": float((share * share).sum()),
        "Variance": float(variance),
    }
