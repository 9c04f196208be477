"""How typical each cell of a cohort is of its own population (`core.populations.typicality`).

A population too small for a spread of its own has its own centre and the spread of all cells. Centres are those of the
good cells, at most `MOST_FITTED` of each population, whatever the selection: a cell is as typical in any selection.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from core.populations.robust import Matrix, RobustScaling
from core.populations.typicality import PopulationCentre
from core.store import queries
from core.store.database import Cohort


@dataclass(frozen=True, eq=False)
class CohortCentres:
    """The centres of all populations, over the same features."""

    by_population: Mapping[str, PopulationCentre]

    @classmethod
    def fit(cls, cohort: Cohort, features: Sequence[str]) -> Self:
        """Fit to the good cells of a cohort."""
        names = [stored.population.population_id for stored in cohort.populations()]
        members = {name: queries.sample(cohort, name, features).to_numpy(np.float64) for name in names}
        everyone = RobustScaling.fit(np.concatenate([np.empty((0, len(features))), *members.values()]), features)
        return cls({name: PopulationCentre.fit(cells, features, everyone) for name, cells in members.items()})

    def distances(self, matrix: Matrix, populations: NDArray[np.object_]) -> NDArray[np.float64]:
        """How far cells (n, F) are from the centres of their own populations (n,); nan where not known."""
        distances = np.full(len(matrix), np.nan)
        for centre, cells in self._each(populations):
            distances[cells] = centre.distances(matrix[cells])
        return distances

    def typicality(self, distances: NDArray[np.float64], populations: NDArray[np.object_]) -> NDArray[np.float64]:
        """Per cent of its population's cells at least as far out as a cell (n,); nan where not known."""
        percents = np.full(len(distances), np.nan)
        for centre, cells in self._each(populations):
            percents[cells] = centre.typicality(distances[cells])
        return percents

    def _each(self, populations: NDArray[np.object_]) -> list[tuple[PopulationCentre, NDArray[np.bool_]]]:
        known = set(populations.tolist()) & set(self.by_population)
        return [(self.by_population[name], populations == name) for name in known]
