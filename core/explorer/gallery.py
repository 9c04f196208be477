"""The order in which the cells of a selection are viewed: from the typical outward, or from the farthest inward."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from core.explorer.selection import Quality, Selection
from core.explorer.typicality import CohortCentres
from core.explorer.view import MOST_POINTS, values
from core.store.database import Cohort

# Of cells without a certainty, which come last.
_UNKNOWN: Final = 2.0


class GalleryOrder(StrEnum):
    """How the cells are ordered."""

    TYPICAL = "Most typical first"
    OUTLYING = "Farthest out first"
    CHANCE = "By chance"
    LEAST_CERTAIN = "Least certain first"


@dataclass(frozen=True, eq=False)
class OrderedCells:
    """Cells, or a sample of very many, from the most typical of their populations outward, and the reverse.

    Those of unknown typicality come last in both. `doubtful` are the same by the certainty of the model's outlines, so
    that a correction moves none.
    """

    outward: tuple[str, ...]
    inward: tuple[str, ...]
    doubtful: tuple[str, ...]

    def ordered(self, order: GalleryOrder) -> tuple[str, ...]:
        """The identifiers in an order."""
        if order is GalleryOrder.CHANCE:
            return tuple(self.outward[i] for i in np.random.default_rng(0).permutation(len(self.outward)))
        if order is GalleryOrder.LEAST_CERTAIN:
            return self.doubtful
        return self.outward if order is GalleryOrder.TYPICAL else self.inward


def order_cells(cohort: Cohort, selection: Selection, centres: CohortCentres, features: Sequence[str]) -> OrderedCells:
    """Order the cells of a selection by how typical they are of their populations."""
    cells = values(cohort, selection, features, sample=MOST_POINTS)
    distances = centres.distances(cells.matrix, cells.population)
    percent = centres.typicality(distances, cells.population)
    names = cells.cell_id.astype(str)
    outward, inward = np.lexsort((names, distances, -percent)), np.lexsort((names, -distances, percent))  # nan last
    sure = _certainty(cohort, tuple(names))
    doubtful = sorted(names, key=lambda name: (sure.get(name, _UNKNOWN), name))
    return OrderedCells(tuple(map(str, names[outward])), tuple(map(str, names[inward])), tuple(map(str, doubtful)))


def _certainty(cohort: Cohort, names: tuple[str, ...]) -> dict[str, float]:
    """How sure the model was of its outlines, by cell, where it is recorded."""
    sure = "coalesce(outline_quality, confidence)"
    rows = cohort.as_drawn().query(
        f"SELECT cell_id, {sure} AS sure FROM cells WHERE {sure} IS NOT NULL AND cell_id IN (SELECT unnest($ids))",
        {"ids": list(names)},
        columns=("cell_id", "outline_quality", "confidence"),
    )
    return dict(zip(rows["cell_id"].astype(str), rows["sure"].astype(float), strict=True))


def typicalities(
    cohort: Cohort, cell_ids: Sequence[str], centres: CohortCentres, features: Sequence[str]
) -> dict[str, float]:
    """How typical some cells are of their populations in per cent, by id, where it is known."""
    cells = values(cohort, Selection(quality=Quality.ANY, cells=tuple(cell_ids)), features)
    percent = centres.typicality(centres.distances(cells.matrix, cells.population), cells.population)
    return {str(cell): float(share) for cell, share in zip(cells.cell_id, percent, strict=True) if not np.isnan(share)}
