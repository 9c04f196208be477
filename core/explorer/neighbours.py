"""The cells of the whole cohort that are most like one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.types import FeatureSet
from core.explorer.selection import Selection
from core.explorer.view import Values, values
from core.populations.neighbours import NEAREST, in_um, nearest, sentence
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
    def fit(cls, cohort: Cohort, shapes: Sequence[str], sizes: Sequence[str] = ()) -> Self:
        """Read and scale the good cells of a cohort: their shapes, and their sizes where every cell has a scale."""
        cells = values(cohort, Selection(), [*shapes, *sizes], sample=MOST_CELLS)
        if np.isnan(cells.um_per_px).any():
            cells = replace(cells, features=tuple(shapes), matrix=cells.matrix[:, : len(shapes)])
        scaling = RobustScaling.fit(cells.matrix, cells.features)
        return cls(cells, scaling, scaling.z(cells.matrix).astype(np.float32))

    def nearest(
        self, cell_id: str, features: FeatureSet, um_per_px: float | None, count: int = NEAREST
    ) -> SimilarCells:
        """Find the cells most like one, without itself; raises UsageError where it has none of the features."""
        row = in_um(features.vector(self.values.features)[None], self.values.features, um_per_px)
        itself = np.flatnonzero(self.values.cell_id == cell_id)
        near = nearest(self.scaling.z(row)[0], self.z, count=count, leave_out=int(itself[0]) if len(itself) else None)
        labels = np.array([CELL_TYPES[CellType(name)].plural for name in self.values.cell_type], dtype=object)
        sized = any(spec.length_power and not spec.scale_free for spec in self.values.specs)
        of = "of shape and size" if sized and um_per_px is not None else "of shape"
        sampled = len(self.values) < self.values.cells
        drawn = f" Of {self.values.cells:,} good cells these were drawn by chance." if sampled else ""
        ids = [str(self.values.cell_id[at]) for at in near.rows]
        return SimilarCells(dict(zip(ids, near.distances.tolist(), strict=True)), sentence(near, labels, of) + drawn)
