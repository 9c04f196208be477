"""Features of different units on one scale.

Robust deviations from the middle, limited so that no single value rules a distance.

The same quantities as in `core.populations.comparison`: ``z = (g(x) - location) / scale`` with the median and 1.4826
times the median absolute deviation (``IQR / 1.349`` where that is 0), ``g`` the natural logarithm where the catalogue
says ``log_axis``, limited to +-`LIMIT`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from core.features.catalogue import feature_spec

LIMIT: Final = 6.0

_MAD_TO_STD: Final = 1.4826  # 1 / Phi^-1(3/4)
_IQR_TO_STD: Final = 1.349  # 2 * Phi^-1(3/4)

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RobustScaling:
    """Middle and spread of each feature among the cells it was fitted to, of the logarithm where `log`; all (F,).

    `scale` is nan where more than half of the values are equal and so are the quartiles, or where no value is there.
    """

    features: tuple[str, ...]
    location: Matrix
    scale: Matrix
    log: NDArray[np.bool_]

    @classmethod
    def fit(cls, matrix: Matrix, features: Sequence[str]) -> Self:
        """Fit to cells.

        Parameters
        ----------
        matrix : array (n, F)
            Values, nan where absent. A value whose logarithm is wanted and does not exist counts as below all others.
        features : sequence of str
            Names of the columns.

        Raises
        ------
        FeatureError
            The catalogue lacks one of the names.
        """
        log = np.array([feature_spec(name).log_axis for name in features], dtype=np.bool_)
        values = _transformed(matrix, log)
        location = _medians(values)
        location[~np.isfinite(location)] = np.nan
        with np.errstate(invalid="ignore"):
            deviations = np.abs(values - location)
        scale = _MAD_TO_STD * _medians(deviations)
        for column in np.flatnonzero(scale == 0):
            present = values[~np.isnan(values[:, column]), column]
            low, high = np.percentile(present, (25, 75), method="nearest")  # no interpolation: -inf may be among them
            scale[column] = (high - low) / _IQR_TO_STD
        scale[~((scale > 0) & np.isfinite(scale))] = np.nan
        return cls(tuple(features), location, scale, log)

    def z(self, matrix: Matrix) -> Matrix:
        """Robust z of cells (n, F), limited to +-`LIMIT`; nan where a value is absent or its feature has no scale."""
        return np.clip((_transformed(matrix, self.log) - self.location) / self.scale, -LIMIT, LIMIT)


def _transformed(matrix: Matrix, log: NDArray[np.bool_]) -> Matrix:
    values = matrix.astype(np.float64)
    columns = values[:, log]
    positive = columns > 0
    columns[~positive & ~np.isnan(columns)] = -np.inf
    np.log(columns, out=columns, where=positive)
    values[:, log] = columns
    return values


def _medians(values: Matrix) -> Matrix:
    """Median of what is present in each column; nan where nothing is."""
    medians = np.full(values.shape[1], np.nan)
    absent = np.isnan(values)
    complete = ~absent.any(axis=0)
    if len(values):
        medians[complete] = np.median(values[:, complete], axis=0)
    for column in np.flatnonzero(~complete):
        present = values[~absent[:, column], column]
        if present.size:
            medians[column] = np.median(present)
    return medians
