"""From a question to its answer: which cells are on which side, which features separate them, which say the same.

What the page, the command line and the report ask; the numbers are those of `ranking`, `redundancy` and `panel`.

Scale. Sizes of several sources are as far from each other as their scales are wrong. Where a population says how well
its scale is known, the effect is counted again with the cells of each source larger by that much: the changes of all
sources, as independent errors, widen the interval. Within one source nothing changes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import UsageError
from core.explorer import view
from core.explorer.panel import Panels, panels
from core.explorer.ranking import Ranking, Separation, patient_codes, rank_features
from core.explorer.redundancy import AlikeFeatures, Redundancy, group_alike
from core.explorer.selection import Selection
from core.explorer.view import Grouping
from core.features.catalogue import CATALOGUE, feature_spec
from core.features.phrases import PHRASES
from core.features.spec import Aspect
from core.store.database import Cohort

SAMPLE: Final = 20_000  # cells of a side that all features are ranked by: delta is known to 0.01
MOST_AT_ONCE: Final = 80_000  # cells of all sides together, so that their values are no more than half a gigabyte
INTERVALS: Final = 16  # features of each aspect that have an interval: those that come first
_EXACT_AT_ONCE: Final = 8  # features whose values of all cells are in memory: 64 MB a million cells

Sides = Sequence[Collection[str]]  # names of groups (`core.explorer.view.groups`), side by side


@dataclass(frozen=True, eq=False)
class SideSample:
    """Cells of the sides with their values: all, or a sample where there are very many.

    `matrix` (n, F) in the basis of comparison, nan where absent; `sides` (n,) indices of the sides; `patients` (n,)
    numbers from 0, -1 where not recorded; `sources` (n,) names, and `scale_errors` the share by which the scale of a
    source may be wrong. `of` counts all cells of the sides.
    """

    features: tuple[str, ...]
    matrix: NDArray[np.float64]
    sides: NDArray[np.int32]
    patients: NDArray[np.intp]
    of: int
    sources: NDArray[np.object_] = field(default_factory=lambda: np.empty(0, object))
    scale_errors: Mapping[str, float] = field(default_factory=dict)

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
    """The ranking of all features, and those that say the same grouped under the best reliable one.

    `scale_reach` tells of sizes how far the effect may be off because the scales of sources are not known exactly.
    """

    ranking: Ranking
    redundancy: Redundancy
    scale_reach: Mapping[str, float] = field(default_factory=dict)

    @property
    def by_feature(self) -> dict[str, Separation]:
        """The result of each feature."""
        return {each.feature: each for each in self.ranking.separations}

    @property
    def aspects(self) -> dict[Aspect, list[AlikeFeatures]]:
        """The groups of features by what their representative speaks of, morphology first, the best of each first."""
        of: dict[Aspect, list[AlikeFeatures]] = {aspect: [] for aspect in Aspect}
        for group in self.redundancy.groups:
            of[CATALOGUE[group.representative].aspect].append(group)
        return {aspect: groups for aspect, groups in of.items() if groups}

    def best(self, aspect: Aspect, reliable: Collection[str]) -> str | None:
        """The reliable feature of an aspect that separates best: of those that have words, else any; None without."""
        told = [
            each
            for each in self.ranking.separations
            if each.effect is not None and each.feature in reliable and CATALOGUE[each.feature].aspect is aspect
        ]
        spoken = [each for each in told if each.feature in PHRASES and len(self.ranking.names) == 2] or told
        return max(spoken, key=lambda each: abs(each.effect or 0.0)).feature if spoken else None

    def with_exact(self, exact: Ranking) -> "Separated":
        """The same with some features ranked by all cells."""
        return replace(self, ranking=self.ranking.with_exact(_widened(exact, self.scale_reach)))


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
        sources=values.source[rows],
        scale_errors=view.scale_errors(cohort),
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

    The first `INTERVALS` features of each aspect that represent themselves or others have an interval, and those that
    sentences begin with.

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
    reach = _scale_reach(cells, names, ranking)
    found = Separated(ranking, redundancy, reach)
    first = [group.representative for groups in found.aspects.values() for group in groups[:INTERVALS]]
    told = [best for aspect in found.aspects if (best := found.best(aspect, reliable))]
    drawn = {name: cells.columns[name] for name in dict.fromkeys([*first, *told])}
    with_intervals = _with_intervals(ranking, rank_features(drawn, cells.sides, names, cells.patients))
    return replace(found, ranking=_widened(with_intervals, reach))


def rank_gathered(cells: SideSample, names: Sequence[str]) -> Ranking:
    """Rank the features of loaded cells, each with its interval; raises UsageError if a side has too few cells."""
    ranking = rank_features(cells.columns, cells.sides, names, cells.patients, sampled=cells.sampled)
    return _widened(ranking, _scale_reach(cells, names, ranking))


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


def _scale_reach(cells: SideSample, names: Sequence[str], ranking: Ranking) -> dict[str, float]:
    """How far the effect of each size may be off because the scales of the sources are not known exactly."""
    sizes = {name: power for name in cells.features if (power := feature_spec(name).length_power)}
    wrong = {source: cells.scale_errors.get(source, 0.0) for source in dict.fromkeys(cells.sources)}
    if len(wrong) < 2 or not sizes:
        return {}
    exact = {each.feature: each.effect for each in ranking.separations}
    squared = dict.fromkeys(sizes, 0.0)
    for source, error in wrong.items():
        factor = np.where(cells.sources == source, 1 + error, 1.0)
        columns = {name: cells.columns[name] * factor**power for name, power in sizes.items()}
        for each in rank_features(columns, cells.sides, names, cells.patients, intervals=()).separations:
            before = exact[each.feature]
            if each.effect is not None and before is not None:
                squared[each.feature] += (each.effect - before) ** 2
    return {name: float(np.sqrt(total)) for name, total in squared.items()}


def _widened(ranking: Ranking, reach: Mapping[str, float]) -> Ranking:
    """With the intervals of sizes as wide as the error of the scales makes them."""

    def widened(each: Separation) -> Separation:
        more = reach.get(each.feature)
        if not more or each.effect is None or each.low is None or each.high is None:
            return each
        least = -1.0 if len(ranking.names) == 2 else 0.0
        low, high = (
            float(np.clip(each.effect + sign * np.hypot(end - each.effect, more), least, 1))
            for end, sign in ((each.low, -1), (each.high, 1))
        )
        return replace(each, low=low, high=high)

    return replace(ranking, separations=tuple(map(widened, ranking.separations)))
