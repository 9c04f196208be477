"""Robust centre, spread and z: features of different units on one scale.

``z = (g(x) - location) / scale`` with ``location = median(g(v))`` and ``scale = 1.4826 * median(|g(v) - location|)``,
or ``IQR / 1.349`` where that is 0; both estimate the standard deviation of a normal sample. ``g`` is the natural
logarithm where the catalogue says ``log_axis``, otherwise the identity; a value whose logarithm does not exist counts
as below all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from core.features.catalogue import feature_spec

LIMIT: Final = 6.0  # no single value rules a distance
IQR_TO_STD: Final = 1.349  # 2 * Phi^-1(3/4)

_MAD_TO_STD: Final = 1.4826  # 1 / Phi^-1(3/4)

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RobustScaling:
    """Location and scale (F,) of features among the cells it was fitted to, of the logarithm where `log` (F,).

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
        matrix
            Values (n, F), nan where absent.
        features
            Names of the columns.

        Raises
        ------
        FeatureError
            The catalogue lacks one of the names.
        """
        log = np.array([feature_spec(name).log_axis for name in features], dtype=np.bool_)
        rows = log_where(matrix.T, log)
        location, scale = np.full((2, len(rows)), np.nan)
        present = ~np.isnan(rows)
        complete = present.all(axis=1)
        location[complete], scale[complete] = robust_centres(rows[complete])
        for index in np.flatnonzero(~complete):
            location[index : index + 1], scale[index : index + 1] = robust_centres(
                rows[index : index + 1, present[index]]
            )
        return cls(tuple(features), location, scale, log)

    def z(self, matrix: Matrix) -> Matrix:
        """Robust z of cells (n, F), limited to +-`LIMIT`; nan where a value is absent or its feature has no scale."""
        return np.clip((log_where(matrix.T, self.log).T - self.location) / self.scale, -LIMIT, LIMIT)


def robust_centres(rows: Matrix) -> tuple[Matrix, Matrix]:
    """Location and scale (F,) of each row of values (F, n), which may hold -inf but no nan; nan where undefined."""
    if not rows.size:
        return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    location = np.median(rows, axis=1)
    location[~np.isfinite(location)] = np.nan
    scale = _MAD_TO_STD * np.median(np.abs(rows - location[:, None]), axis=1)
    equal, n = scale == 0, rows.shape[1]  # more than half of the values are
    ascending = np.sort(rows[equal], axis=1)
    scale[equal] = (ascending[:, 3 * n // 4] - ascending[:, n // 4]) / IQR_TO_STD
    scale[~((scale > 0) & (scale < np.inf))] = np.nan
    return location, scale


def log_where(rows: Matrix, log: NDArray[np.bool_]) -> Matrix:
    """Rows of values (F, n), their natural logarithm where `log` (F,); -inf where it does not exist, nan stays."""
    transformed = np.array(rows, dtype=np.float64, order="C")
    values = transformed[log]
    positive = values > 0
    values[~positive & ~np.isnan(values)] = -np.inf
    np.log(values, out=values, where=positive)
    transformed[log] = values
    return transformed
