"""How typical a cell is of a population: its distance from the centre, compared with the population's own cells.

The distance of a cell is the root mean square, over the features it has, of its robust z (`core.populations.robust`)::

    distance = sqrt(mean_j(min(|z_j|, 6) ** 2))

About 1 is usual. The metric is diagonal, correlations are not removed, and the limit of 6 keeps a single outlying
feature from deciding alone. The same distance is computed for every member, and a cell's typicality is the per cent of
members at least as far out: 100 for the most typical. This describes; it does not classify.

Small groups. Fewer than `SMALL_GROUP` members give no per cent, and a feature that fewer of them have does not count.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from core.populations.robust import Matrix, RobustScaling
from core.populations.summaries import SMALL_GROUP

MOST_FITTED: Final = (
    5000  # members of a population that tell its centre; the standard error of a per cent is 0.7 at most
)


@dataclass(frozen=True, eq=False)
class PopulationCentre:
    """Where a population's cells lie: location and scale of its features, and its cells' distances, ascending."""

    scaling: RobustScaling
    of_members: NDArray[np.float64]

    @classmethod
    def fit(cls, members: Matrix, features: Sequence[str], everyone: RobustScaling | None = None) -> Self:
        """Fit to the members of a population.

        Parameters
        ----------
        members
            Their values (n, F), nan where absent.
        features
            Names of the columns.
        everyone
            Values whose scale is used if the population is too small for its own; without it, its distances are not
            known.
        """
        scaling = RobustScaling.fit(members, features)
        own = scaling.scale
        if len(members) < SMALL_GROUP:
            own = np.full(len(own), np.nan) if everyone is None else everyone.scale
        else:
            own = np.where(np.count_nonzero(~np.isnan(members), axis=0) < SMALL_GROUP, np.nan, own)
        scaling = replace(scaling, scale=own)
        distances = _distances(scaling, members)
        return cls(scaling, np.sort(distances[~np.isnan(distances)]))

    def distances(self, cells: Matrix) -> NDArray[np.float64]:
        """How far cells (n, F) are from the centre; nan for one that has none of the features."""
        return _distances(self.scaling, cells)

    def typicality(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Per cent of the members at least as far out as cells at some distances (n,).

        nan where the distance is not known, and for a population of fewer than `SMALL_GROUP` members.
        """
        n = len(self.of_members)
        if n < SMALL_GROUP:
            return np.full(len(distances), np.nan)
        nearer = np.searchsorted(self.of_members, distances, "left")
        return np.where(np.isnan(distances), np.nan, 100 * (n - nearer) / n)


def _distances(scaling: RobustScaling, cells: Matrix) -> NDArray[np.float64]:
    squared = np.square(scaling.z(cells))
    present = ~np.isnan(squared)
    count = present.sum(axis=1)
    # Feature by feature: the order of a sum along an axis depends on how the array lies in memory, and a cell's
    # distance must be the same to the last bit alone and among its population.
    total = sum(np.where(present, squared, 0.0).T, start=np.zeros(len(cells)))
    distances: NDArray[np.float64] = np.full(len(cells), np.nan)
    np.divide(total, count, out=distances, where=count > 0)
    return np.sqrt(distances)
