"""The cells of the whole cohort that are most like one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.types import FeatureSet
from core.explorer.selection import Selection
from core.explorer.view import Values, values
from core.populations.neighbours import NEAREST, nearest, sentence
from core.populations.robust import RobustScaling
from core.store.database import Cohort

MOST_CELLS: Final = 100_000  # among which neighbours are searched


@dataclass(frozen=True)
class SimilarCells:
    """Cells by id, the nearest first, their distances in robust standard deviations, and a sentence on them."""

    distances: dict[str, float]
    sentence: str


@dataclass(frozen=True, eq=False)
class NeighbourSpace:
    """Good cells of the whole cohort, or a sample of very many, and their scaled features (n, F)."""

    values: Values
    scaling: RobustScaling
    z: NDArray[np.float32]

    @classmethod
    def fit(cls, cohort: Cohort, features: Sequence[str]) -> Self:
        """Read and scale the good cells of a cohort."""
        cells = values(cohort, Selection(), features, sample=MOST_CELLS)
        scaling = RobustScaling.fit(cells.matrix, features)
        return cls(cells, scaling, scaling.z(cells.matrix).astype(np.float32))

    def nearest(self, cell_id: str, features: FeatureSet, count: int = NEAREST) -> SimilarCells:
        """Find the cells most like one, without itself; raises UsageError where it has none of the features."""
        stored = [features.values[name] for name in self.values.features]
        row = np.array([[np.nan if value is None else value for value in stored]], dtype=np.float64)
        itself = np.flatnonzero(self.values.cell_id == cell_id)
        near = nearest(self.scaling.z(row)[0], self.z, count=count, leave_out=int(itself[0]) if len(itself) else None)
        labels = np.array([CELL_TYPES[CellType(name)].plural for name in self.values.cell_type], dtype=object)
        sampled = len(self.values) < self.values.cells
        drawn = f" Of {self.values.cells:,} good cells these were drawn by chance." if sampled else ""
        ids = [str(self.values.cell_id[at]) for at in near.rows]
        return SimilarCells(dict(zip(ids, near.distances.tolist(), strict=True)), sentence(near, labels) + drawn)
