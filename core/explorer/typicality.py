"""How typical each cell is of its population.

Its distance from the population's middle, beside that of the population's own cells.

The distance is the root mean square of a cell's robust z (`core.populations.scaling`) over the features it has: 1 is
about usual. A population of fewer than `core.populations.comparison.SMALL_GROUP` cells has a middle of its own, and the
spread of all cells. Middle and spread are those of the good cells, at most `MOST_FITTED` of each population, whatever
is looked at: a cell is as typical in any selection.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from core.explorer.selection import Selection
from core.explorer.view import By, values
from core.populations.comparison import SMALL_GROUP
from core.populations.scaling import Matrix, RobustScaling
from core.store.database import Cohort

MOST_FITTED: Final = 5000


@dataclass(frozen=True, eq=False)
class Middle:
    """Where a population's cells lie.

    The scale of its features, and how far each of its own cells is out, ascending.
    """

    scaling: RobustScaling
    distances: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Middles:
    """The middles of all populations, over the same features."""

    features: tuple[str, ...]
    by_population: Mapping[str, Middle]

    @classmethod
    def fit(cls, cohort: Cohort, features: Sequence[str]) -> Self:
        """Fit to the good cells of a cohort."""
        found = values(cohort, Selection(), features, By.POPULATION, sample=MOST_FITTED)
        everyone = RobustScaling.fit(found.matrix, features)
        middles = {}
        for code, population in enumerate(found.group_names):
            members = found.matrix[found.groups == code]
            scaling = RobustScaling.fit(members, features)
            if len(members) < SMALL_GROUP:
                scaling = replace(scaling, scale=everyone.scale)
            distances = _distances(scaling, members)
            middles[population] = Middle(scaling, np.sort(distances[~np.isnan(distances)]))
        return cls(tuple(features), middles)

    def distances(self, matrix: Matrix, populations: NDArray[np.object_]) -> NDArray[np.float64]:
        """How far cells (n, F) are from the middle of their own populations (n,); nan where that is not known."""
        found = np.full(len(matrix), np.nan)
        for population in set(populations.tolist()) & set(self.by_population):
            members = populations == population
            found[members] = _distances(self.by_population[population].scaling, matrix[members])
        return found

    def typicality(self, distances: NDArray[np.float64], populations: NDArray[np.object_]) -> NDArray[np.float64]:
        """Per cent of its population's cells that lie at least as far out as a cell (n,): 100 for the most typical.

        nan where the distance is not known, and for a population of fewer than `SMALL_GROUP` cells.
        """
        found = np.full(len(distances), np.nan)
        for population in set(populations.tolist()) & set(self.by_population):
            own = self.by_population[population].distances
            members = np.flatnonzero((populations == population) & ~np.isnan(distances))
            if len(own) >= SMALL_GROUP:
                found[members] = 100 * (1 - np.searchsorted(own, distances[members], "left") / len(own))
        return found


def _distances(scaling: RobustScaling, matrix: Matrix) -> NDArray[np.float64]:
    z = scaling.z(matrix)
    present = ~np.isnan(z)
    count = present.sum(axis=1)
    total = np.where(present, np.square(z), 0.0).sum(axis=1)
    distance: NDArray[np.float64] = np.sqrt(np.divide(total, count, out=np.full(len(z), np.nan), where=count > 0))
    return distance
