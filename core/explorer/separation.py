"""From a question to its answer.

Which cells stand on which side, which features separate them, and which of these say the same.

What the page, the command line and the report ask; the numbers are those of `ranking`, `redundancy` and `panel`.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import CoreError, StoreError, UsageError
from core.explorer import view
from core.explorer.order import Columns, IndexBuild, OrderIndex
from core.explorer.panel import Panels, panels
from core.explorer.ranking import Ranking, Separation, patient_codes, rank_features
from core.explorer.redundancy import Redundancy, group_alike
from core.explorer.selection import Selection
from core.explorer.view import Grouping
from core.store.database import Cohort

SAMPLE: Final = 2500  # cells of a side that are ranked at once: delta is known to 0.03
MOST_AT_ONCE: Final = (
    20_000  # cells that are ranked without more ado; of more a sample is, and all by the index of their order
)
INTERVALS: Final = 40  # features that have an interval: those that come first

Sides = Sequence[Collection[str]]  # names of groups (`core.explorer.view.groups`), side by side


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of the sides with their values.

    `matrix` (n, F) in the basis of comparison, nan where absent; `sides` (n,) indices of the sides; `patients` (n,)
    numbers from 0, -1 where not recorded. `of` counts all cells of the sides, of which these may be a sample.
    """

    features: tuple[str, ...]
    matrix: NDArray[np.float64]
    sides: NDArray[np.int32]
    patients: NDArray[np.intp]
    of: int

    @property
    def sampled_from(self) -> int | None:
        """How many cells these are a sample of; None where they are all."""
        return self.of if len(self.sides) < self.of else None


@dataclass(frozen=True, eq=False)
class Separated:
    """The ranking of all features, and those that say the same together under the best of the reliable."""

    ranking: Ranking
    redundancy: Redundancy

    @property
    def by_feature(self) -> dict[str, Separation]:
        """What was found of each feature."""
        return {found.feature: found for found in self.ranking.separations}


def gather(
    cohort: Cohort,
    selection: Selection,
    by: Grouping,
    sides: Sides,
    features: Sequence[str],
    sample: int | None = None,
    seed: int = 0,
) -> Cells:
    """Read the cells of the sides: all, or at most `sample` of each side, of its groups as many as their shares.

    Raises
    ------
    UsageError
        If a side has no cell, or two have a group in common.
    """
    sizes = {group.name: group.cells for group in view.groups(cohort, selection, by)}
    side_of = _side_of(sides, sizes)
    values = view.values(cohort, selection, features, by, sample=sample, seed=seed)
    codes = np.array([side_of.get(name, -1) for name in values.group_names] + [-1], dtype=np.int32)[values.groups]
    if sample is not None:
        totals = [sum(sizes.get(name, 0) for name in names) for names in sides]
        rng = np.random.default_rng(seed)
        for group, name in enumerate(values.group_names):
            mine = np.flatnonzero((values.groups == group) & (codes >= 0))
            if len(mine):
                quota = max(1, round(min(sample, totals[codes[mine[0]]]) * sizes[name] / totals[codes[mine[0]]]))
                codes[rng.permutation(mine)[quota:]] = -1
    rows = np.flatnonzero(codes >= 0)
    return Cells(
        features=tuple(features),
        matrix=values.matrix[rows],
        sides=codes[rows],
        patients=patient_codes(values.source[rows], values.patient_id[rows]),
        of=sum(sizes.get(name, 0) for name in side_of),
    )


def separate(
    cells: Cells, names: Sequence[str], reliable: Collection[str], progress: Callable[[int, int], None] | None = None
) -> Separated:
    """Rank the features of cells that are at hand, and group those that say the same.

    `reliable` ones may stand for others.

    The first `INTERVALS` features that stand for themselves or others have an interval. Raises UsageError where a side
    has too few cells.
    """
    columns = Columns(cells.matrix, cells.features)
    ranking = rank_features(
        columns, cells.sides, names, cells.patients, intervals=(), sampled_from=cells.sampled_from, progress=progress
    )
    effects = {
        found.feature: abs(found.effect) if found.effect is not None else np.nan for found in ranking.separations
    }
    redundancy = group_alike(
        cells.matrix, cells.sides, cells.features, np.array([effects[name] for name in cells.features]), reliable
    )
    first = [group.representative for group in redundancy.groups[:INTERVALS]]
    return Separated(
        _with_intervals(ranking, rank_features(columns, cells.sides, names, cells.patients, features=first)), redundancy
    )


def rank_exactly(
    cohort: Cohort,
    index: OrderIndex,
    selection: Selection,
    by: Grouping,
    sides: Sides,
    names: Sequence[str],
    sampled: Separated,
    progress: Callable[[int, int], None] | None = None,
) -> Separated:
    """Rank by all cells of the sides, from the index of their order.

    Which features say the same stays as the sample has told.

    Raises
    ------
    StoreError
        If the index is of another state of the cohort.
    UsageError
        If a side has too few cells.
    """
    members = view.members(cohort, selection, by)
    side_of = _side_of(sides, members.group_names)
    of_group = np.array([side_of.get(name, -1) for name in members.group_names] + [-1], dtype=np.int32)
    codes, patients = np.full(index.n, -1, np.int32), np.full(index.n, -1, np.intp)
    rows = index.rows_of(members.hashes)
    codes[rows], patients[rows] = of_group[members.groups], members.patients
    ranking = rank_features(
        index,
        codes,
        names,
        patients,
        features=[found.feature for found in sampled.ranking.separations],
        intervals=[group.representative for group in sampled.redundancy.groups[:INTERVALS]],
        progress=progress,
    )
    return Separated(ranking, sampled.redundancy)


class ExactRanking:
    """A ranking by all cells that goes on in a thread of its own.

    The index of their order is made if there is none, then they are ranked.

    `result` or `error` is there when it has ended; until then `words` and `share` (0 to 1) tell how far it is.
    """

    def __init__(
        self,
        cohort: Cohort,
        build: IndexBuild | OrderIndex,
        selection: Selection,
        by: Grouping,
        sides: Sides,
        names: Sequence[str],
        sampled: Separated,
    ) -> None:
        self.result: Separated | None = None
        self.error: str | None = None
        self.share, self.words = 0.0, "All cells are being ranked."
        self._build = build
        self._ask = partial(
            rank_exactly,
            cohort,
            selection=selection,
            by=by,
            sides=sides,
            names=names,
            sampled=sampled,
            progress=self._told,
        )
        self._thread = threading.Thread(target=self._run, name="exact ranking", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when it has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self.result = self._ask(index=self._index())
        except CoreError as error:
            self.error = str(error)

    def _index(self) -> OrderIndex:
        if isinstance(self._build, OrderIndex):
            return self._build
        while self._build.running:
            self.share = self._build.done / self._build.total
            self.words = (
                f"All cells are being sorted, once for this cohort: feature {self._build.done} of {self._build.total}."
            )
            time.sleep(_LOOK_EVERY_S)
        if self._build.index is None:
            raise self._build.error or StoreError(_CANCELLED)
        return self._build.index

    def _told(self, done: int, total: int) -> None:
        self.share, self.words = done / total, f"All cells are being ranked: feature {done} of {total}."


_LOOK_EVERY_S: Final = 0.2
_CANCELLED: Final = "the sorting of all cells was ended before it was done; ask again"


def find_panels(cells: Cells, names: Sequence[str], redundancy: Redundancy, reliable: Collection[str]) -> Panels:
    """Find a few reliable features that together tell the sides apart.

    Raises UsageError where there are too few patients to judge them.
    """
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
    ends = {found.feature: (found.low, found.high) for found in drawn.separations}
    return replace(
        ranking,
        separations=tuple(
            replace(found, low=ends[found.feature][0], high=ends[found.feature][1]) if found.feature in ends else found
            for found in ranking.separations
        ),
    )
