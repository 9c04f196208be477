"""The order in which the cells of a selection are viewed: from the typical outward, or from the farthest inward."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.explorer.selection import Quality, Selection
from core.explorer.typicality import CohortCentres
from core.explorer.view import MOST_POINTS, values
from core.store.database import Cohort


class GalleryOrder(StrEnum):
    """How the cells are ordered."""

    TYPICAL = "Most typical first"
    OUTLYING = "Farthest out first"
    CHANCE = "By chance"


@dataclass(frozen=True, eq=False)
class OrderedCells:
    """Cells, or a sample of very many, from the most typical of their populations outward, and the reverse.

    Those of unknown typicality come last in both.
    """

    outward: tuple[str, ...]
    inward: tuple[str, ...]

    def ordered(self, order: GalleryOrder) -> tuple[str, ...]:
        """The identifiers in an order."""
        if order is GalleryOrder.CHANCE:
            return tuple(self.outward[i] for i in np.random.default_rng(0).permutation(len(self.outward)))
        return self.outward if order is GalleryOrder.TYPICAL else self.inward


def order_cells(cohort: Cohort, selection: Selection, centres: CohortCentres, features: Sequence[str]) -> OrderedCells:
    """Order the cells of a selection by how typical they are of their populations."""
    cells = values(cohort, selection, features, sample=MOST_POINTS)
    distances = centres.distances(cells.matrix, cells.population)
    percent = centres.typicality(distances, cells.population)
    names = cells.cell_id.astype(str)
    outward, inward = np.lexsort((names, distances, -percent)), np.lexsort((names, -distances, percent))  # nan last
    return OrderedCells(tuple(map(str, names[outward])), tuple(map(str, names[inward])))


def typicalities(
    cohort: Cohort, cell_ids: Sequence[str], centres: CohortCentres, features: Sequence[str]
) -> dict[str, float]:
    """How typical some cells are of their populations in per cent, by id, where it is known."""
    cells = values(cohort, Selection(quality=Quality.ANY, cells=tuple(cell_ids)), features)
    percent = centres.typicality(centres.distances(cells.matrix, cells.population), cells.population)
    return {str(cell): float(share) for cell, share in zip(cells.cell_id, percent, strict=True) if not np.isnan(share)}
