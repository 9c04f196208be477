"""From a question to its answer: which cells are on which side, which features separate them, which say the same.

What the page, the command line and the report ask; the numbers are those of `ranking`, `redundancy` and `panel`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import UsageError
from core.explorer import view
from core.explorer.panel import Panels, panels
from core.explorer.ranking import Ranking, Separation, patient_codes, rank_features
from core.explorer.redundancy import Redundancy, group_alike
from core.explorer.selection import Selection
from core.explorer.view import Grouping
from core.store.database import Cohort

SAMPLE: Final = 20_000  # cells of a side that all features are ranked by: delta is known to 0.01
MOST_AT_ONCE: Final = 80_000  # cells of all sides together, so that their values are no more than half a gigabyte
INTERVALS: Final = 40  # features that have an interval: those that come first
_EXACT_AT_ONCE: Final = 8  # features whose values of all cells are in memory: 64 MB a million cells

Sides = Sequence[Collection[str]]  # names of groups (`core.explorer.view.groups`), side by side


@dataclass(frozen=True, eq=False)
class SideSample:
    """Cells of the sides with their values: all, or a sample where there are very many.

    `matrix` (n, F) in the basis of comparison, nan where absent; `sides` (n,) indices of the sides; `patients` (n,)
    numbers from 0, -1 where not recorded. `of` counts all cells of the sides.
    """

    features: tuple[str, ...]
    matrix: NDArray[np.float64]
    sides: NDArray[np.int32]
    patients: NDArray[np.intp]
    of: int

    @property
    def sampled(self) -> bool:
        """Whether there are more cells than these."""
        return len(self.sides) < self.of

    @cached_property
    def columns(self) -> Mapping[str, NDArray[np.float64]]:
        """Values (n,) of each feature."""
        return dict(zip(self.features, self.matrix.T, strict=True))


@dataclass(frozen=True, eq=False)
class Separated:
    """The ranking of all features, and those that say the same grouped under the best reliable one."""

    ranking: Ranking
    redundancy: Redundancy

    @property
    def by_feature(self) -> dict[str, Separation]:
        """The result of each feature."""
        return {each.feature: each for each in self.ranking.separations}

    def with_exact(self, exact: Ranking) -> "Separated":
        """The same with some features ranked by all cells."""
        return replace(self, ranking=self.ranking.with_exact(exact))


def sample_size(sides: int) -> int:
    """How many cells of each of so many sides are drawn, where they have more."""
    return min(SAMPLE, MOST_AT_ONCE // max(1, sides))


def gather(
    cohort: Cohort,
    selection: Selection,
    by: Grouping,
    sides: Sides,
    features: Sequence[str],
    sample: int | None = None,
    seed: int = 0,
) -> SideSample:
    """Read the cells of the sides: all, or at most `sample` of each side, its groups in proportion.

    Raises
    ------
    UsageError
        If a side has no cell, or two have a group in common.
    """
    sizes = {group.name: group.cells for group in view.groups(cohort, selection, by)}
    side_of = _side_of(sides, sizes)
    values = view.values(
        cohort, selection, features, by, sample=None if sample is None else _quotas(sides, sizes, sample), seed=seed
    )
    codes = np.array([side_of.get(name, -1) for name in values.group_names] + [-1], dtype=np.int32)[values.groups]
    rows = np.flatnonzero(codes >= 0)
    return SideSample(
        features=tuple(features),
        matrix=values.matrix if len(rows) == len(values) else values.matrix[rows],
        sides=codes[rows],
        patients=patient_codes(values.source[rows], values.patient_id[rows]),
        of=sum(sizes.get(name, 0) for name in side_of),
    )


def _quotas(sides: Sides, sizes: Mapping[str, int], sample: int) -> dict[str, int] | None:
    """How many cells to draw of each group; None where no side has more than are drawn."""
    totals = [sum(sizes.get(name, 0) for name in names) for names in sides]
    if max(totals) <= sample:
        return None
    return {
        name: max(1, round(min(sample, total) * sizes[name] / total))
        for names, total in zip(sides, totals, strict=True)
        for name in names
        if name in sizes
    }


def separate(
    cells: SideSample,
    names: Sequence[str],
    reliable: Collection[str],
    progress: Callable[[int, int], None] | None = None,
) -> Separated:
    """Rank the features of loaded cells, and group those that say the same under one of the `reliable`.

    The first `INTERVALS` features that represent themselves or others have an interval.

    Raises
    ------
    UsageError
        If a side has too few cells.
    """
    ranking = rank_features(
        cells.columns, cells.sides, names, cells.patients, intervals=(), sampled=cells.sampled, progress=progress
    )
    effects = {each.feature: abs(each.effect) if each.effect is not None else np.nan for each in ranking.separations}
    redundancy = group_alike(
        cells.matrix, cells.sides, cells.features, np.array([effects[name] for name in cells.features]), reliable
    )
    first = {group.representative: cells.columns[group.representative] for group in redundancy.groups[:INTERVALS]}
    return Separated(_with_intervals(ranking, rank_features(first, cells.sides, names, cells.patients)), redundancy)


def rank_exactly(
    cohort: Cohort, selection: Selection, by: Grouping, sides: Sides, names: Sequence[str], features: Sequence[str]
) -> Ranking:
    """Rank a few features by all cells of the sides, each with its interval; for `Separated.with_exact`.

    Raises
    ------
    UsageError
        If a side has too few cells.
    """
    rankings = [
        _rank_at_once(cohort, selection, by, sides, names, features[start : start + _EXACT_AT_ONCE])
        for start in range(0, max(1, len(features)), _EXACT_AT_ONCE)
    ]
    return replace(rankings[0], separations=tuple(each for ranking in rankings for each in ranking.separations))


def _rank_at_once(
    cohort: Cohort, selection: Selection, by: Grouping, sides: Sides, names: Sequence[str], features: Sequence[str]
) -> Ranking:
    cells = view.measurements(cohort, selection, features, by)
    side_of = _side_of(sides, cells.group_names)
    codes = np.array([side_of.get(name, -1) for name in cells.group_names] + [-1], dtype=np.int32)[cells.groups]
    return rank_features(cells.columns, codes, names, cells.patients)


def find_panels(cells: SideSample, names: Sequence[str], redundancy: Redundancy, reliable: Collection[str]) -> Panels:
    """Find a few reliable features that together tell the sides apart; raises UsageError for too few patients."""
    trusted = [column for column, name in enumerate(cells.features) if name in reliable]
    features = [cells.features[column] for column in trusted]
    return panels(
        cells.matrix[:, trusted], cells.sides, names, cells.patients, features, alike=redundancy.codes[trusted]
    )


def _side_of(sides: Sides, there: Collection[str]) -> dict[str, int]:
    side_of = {name: side for side, names in enumerate(sides) for name in names}
    if len(side_of) < sum(len(names) for names in sides):
        msg = "a group stands on two sides; choose sides that have none in common"
        raise UsageError(msg)
    for names in sides:
        if not any(name in there for name in names):
            msg = (
                f"no cell in view is of {' or '.join(map(repr, names)) or 'a side without groups'}; choose other groups"
                " or remove a filter"
            )
            raise UsageError(msg)
    return side_of


def _with_intervals(ranking: Ranking, drawn: Ranking) -> Ranking:
    ends = {each.feature: (each.low, each.high) for each in drawn.separations}
    return replace(
        ranking,
        separations=tuple(
            replace(each, low=ends[each.feature][0], high=ends[each.feature][1]) if each.feature in ends else each
            for each in ranking.separations
        ),
    )
