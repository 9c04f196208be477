"""A cell beside populations: which of them represent a cell type, and what keeps features from being compared."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from core.domain.cell_types import CellType
from core.domain.types import CellAnalysis
from core.features.catalogue import CATALOGUE
from core.populations.comparison import FeatureComparison, compare_cell
from core.populations.outlining import Outlining, model_note
from core.populations.summaries import SMALL_GROUP, ReferencePopulation


@dataclass(frozen=True, eq=False)
class Placed:
    """A cell beside one population: every catalogue feature compared, in catalogue order.

    `model_note` tells where another model outlined the cell than the population.
    """

    reference: ReferencePopulation
    comparisons: tuple[FeatureComparison, ...]
    model_note: str | None = None

    @cached_property
    def _by_feature(self) -> dict[str, FeatureComparison]:
        return {comparison.feature: comparison for comparison in self.comparisons}

    def of(self, feature: str) -> FeatureComparison:
        """Return the comparison of one feature."""
        return self._by_feature[feature]


def place_cell(analysis: CellAnalysis, references: Iterable[ReferencePopulation]) -> list[Placed]:
    """Compare a cell with each population, in the order given."""
    scale = analysis.image.um_per_px
    return [Placed(r, compare_cell(analysis.features, scale, r), models_beside(analysis, [r])) for r in references]


def models_beside(analysis: CellAnalysis, references: Iterable[ReferencePopulation]) -> str | None:
    """What is told once where a cell and measured populations were not all outlined by one model."""
    return note_beside(Outlining.of_cell(analysis), references)


def note_beside(cell: Outlining, references: Iterable[ReferencePopulation]) -> str | None:
    """As `models_beside`, for a cell of which only that is known. Published tables say themselves what they are."""
    return model_note([("this cell", cell), *((r.title, r.outlined) for r in references if not r.published)])


def by_cell_type(placed: Sequence[Placed]) -> dict[CellType, list[Placed]]:
    """Populations by cell type in the order of the cell types; in a type the largest measured first, tables last."""
    grouped = {cell_type: [p for p in placed if p.reference.cell_type is cell_type] for cell_type in CellType}
    return {
        kind: sorted(of_type, key=lambda p: (p.reference.published, -p.reference.n))
        for kind, of_type in grouped.items()
        if of_type
    }


def main_sources(placed: Sequence[Placed]) -> list[Placed]:
    """One population per cell type: its largest measured source."""
    return [sources[0] for sources in by_cell_type(placed).values() if not sources[0].reference.published]


def scale_source(chosen: Placed, placed: Sequence[Placed]) -> Placed | None:
    """Return the population whose median and spread set the rows of a range chart.

    The chosen one itself, unless it is too small to have bands: then the largest source of lymphocytes, or else the
    largest of all.
    """
    if chosen.reference.n >= SMALL_GROUP:
        return chosen
    banded = [p for p in main_sources(placed) if p.reference.n >= SMALL_GROUP]
    same_type = [p for p in banded if p.reference.cell_type is chosen.reference.cell_type]
    lymphocytes = [p for p in banded if p.reference.cell_type is CellType.LYMPHOCYTE]
    return next(iter([*same_type, *lymphocytes, *sorted(banded, key=lambda p: -p.reference.n)]), None)


def obstacles(placed: Placed, features: Collection[str] = CATALOGUE) -> list[str]:
    """Why some of the features could not be compared, each reason once with the number of its features."""
    reasons: dict[str, int] = {}
    for comparison in placed.comparisons:
        if comparison.feature in features and not comparison.comparable and comparison.reason:
            reasons[comparison.reason] = reasons.get(comparison.reason, 0) + 1
    return [
        f"{count} {'feature is' if count == 1 else 'features are'} not compared: {reason}."
        for reason, count in reasons.items()
    ]


def distances(placed: Iterable[Placed]) -> dict[str, float]:
    """How far the cell lies from a population's median in typical spreads, by feature; of several the largest."""
    largest: dict[str, float] = {}
    for comparison in (c for place in placed for c in place.comparisons):
        if comparison.comparable and comparison.robust_z is not None:
            largest[comparison.feature] = max(abs(comparison.robust_z), largest.get(comparison.feature, 0.0))
    return largest
