"""What a laboratory's stain, light and camera shift, found in kinds of cells that it shares with another.

A calibration is one number a feature, added on the feature's natural axis (the logarithm where the catalogue says so)
to every cell of the laboratory, whatever its kind. So no order among its cells can change, and no difference between
two kinds of its cells is made larger or smaller in rank. The number is the mean, over the shared kinds, of the
reference's median less the laboratory's. A scale or a whole distribution is not carried over: fitted on one kind of
cells it harms another (`docs/laboratories.md`).

Closure. Whether the number holds for a kind of cells that it was not made from: each shared kind is left out in turn,
the number made of the others, and the two laboratories' cells of that kind are compared. A feature `closes` for a kind
where Cliff's delta is below `CLOSE` and its 95 % interval stays within `FAR`. The interval is 1.96 standard deviations
of `RESAMPLES` resamplings of patients, or of cells where not all are known, with the shift made anew in each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import UsageError
from core.features.catalogue import CATALOGUE, feature_spec
from core.features.spec import STAINED, Family, FeatureSpec, Region
from core.populations.comparison import SAME_SCALE
from core.populations.dominance import TWO_SIDED
from core.populations.robust import log_where

FEWEST_TYPES: Final = 2
FEWEST_CELLS: Final = 20
COMFORTABLE_CELLS: Final = 40
COMFORTABLE_PATIENTS: Final = 10
CLOSE: Final = 0.2
FAR: Final = 0.33
RESAMPLES: Final = 50
_MOST_EQUAL: Final = 0.1  # share of cells that may have the same value or none: more is a count

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LaboratoryCells:
    """Cells of a laboratory to calibrate with.

    `matrix` (n, F) holds the values of `features`, nan where absent; `cell_types` (n,) their kinds; `patients` (n,)
    numbers from 0, -1 where not known. `scales` are the smallest and largest micrometres per pixel, None if unknown.
    """

    source: str
    features: tuple[str, ...]
    matrix: Matrix
    cell_types: NDArray[np.object_]
    patients: NDArray[np.integer]
    scales: tuple[float, float] | None


@dataclass(frozen=True)
class Anchor:
    """A kind of cells that both laboratories have: its cells and patients (None if not all known), reference first."""

    cell_type: CellType
    cells: tuple[int, int]
    patients: tuple[int | None, int | None]


@dataclass(frozen=True)
class KindLeftOut:
    """How far apart the laboratories' cells of a kind lie in a feature after a calibration made without that kind.

    `delta` is Cliff's, the laboratory's cells against the reference's; `low` to `high` its 95 % interval; `raw` it was
    before.
    """

    cell_type: CellType
    delta: float
    low: float
    high: float
    raw: float

    @property
    def closes(self) -> bool:
        """Whether the calibration holds for it."""
        return abs(self.delta) < CLOSE and max(abs(self.low), abs(self.high)) < FAR


@dataclass(frozen=True)
class FeatureShift:
    """One feature: what is added on its natural axis, and how well that holds for each kind left out."""

    shift: float
    left_out: tuple[KindLeftOut, ...]

    @property
    def closes(self) -> bool:
        """Whether it holds for every kind of cells that could be left out."""
        return all(each.closes for each in self.left_out)

    @property
    def told(self) -> str:
        """The closure in words."""
        parts = [
            f"{CELL_TYPES[each.cell_type].plural} left out differ by {each.delta:+.2f} ({each.low:+.2f} to"
            f" {each.high:+.2f})"
            for each in self.left_out
        ]
        return "; ".join(parts)


@dataclass(frozen=True)
class Calibration:
    """How the values of a laboratory are shifted to lie where the reference's do.

    Parameters
    ----------
    name
        What it is called, unique among those of a person.
    source, reference
        The laboratory, and the one to whose cells it is set.
    anchors
        The kinds of cells it was made from.
    shifts
        By feature; what is not here is not calibrated, and `refused` says why.
    warnings
        What to know of it, a sentence each.
    made_of
        The state of each population that it was made from, by its identifier.
    created
        ISO date and time.
    versions
        The software that made it.
    """

    name: str
    source: str
    reference: str
    anchors: tuple[Anchor, ...]
    shifts: Mapping[str, FeatureShift]
    refused: Mapping[str, str]
    warnings: tuple[str, ...]
    made_of: Mapping[str, str] = field(default_factory=dict)
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def closing(self) -> tuple[str, ...]:
        """The features that may be compared between the two laboratories with it, in the order of the catalogue."""
        return tuple(name for name in CATALOGUE if name in self.shifts and self.shifts[name].closes)

    @property
    def sentence(self) -> str:
        """What it is and does, in a sentence or two."""
        kinds = " and ".join(
            f"{CELL_TYPES[each.cell_type].plural} (n {each.cells[0]:,} / {each.cells[1]:,})" for each in self.anchors
        )
        return (
            f"{self.source} is set to {self.reference} by one shift a feature, found in {kinds}. {len(self.closing)} of"
            f" {len(self.shifts)} stain and texture features close: they hold for a kind of cells that was left out."
        )

    def refusal(self, feature: str) -> str | None:
        """Why cells of the two laboratories cannot be compared by a feature that depends on the stain; None if so."""
        if feature in self.refused:
            return self.refused[feature]
        if feature not in self.shifts:
            return f"the calibration {self.name} was made without it; make it anew"
        shift = self.shifts[feature]
        return None if shift.closes else f"the calibration {self.name} does not close: {shift.told}"

    def applied(self, feature: str, values: Matrix) -> Matrix:
        """Values of a feature of the laboratory's cells, any shape, as the reference would have measured them."""
        shift = self.shifts[feature].shift
        return values * np.exp(shift) if feature_spec(feature).log_axis else values + shift


def calibratable(spec: FeatureSpec) -> str | None:
    """Why a feature is never calibrated, whatever the cells; None if it may be."""
    if spec.region is Region.ENVIRONMENT:
        return "it is measured beside the cell"
    if spec.length_power:
        return "it has a length in its unit: the scale is its measure, no stain"
    if spec.family is Family.STRUCTURE:
        return "a count, or a share that is 0 in many cells, is not shifted by a stain"
    return None if spec.family in STAINED else "it does not depend on the stain"


def fit_calibration(
    name: str,
    laboratory: LaboratoryCells,
    reference: LaboratoryCells,
    kinds: Sequence[CellType] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Find the shift of every feature, and whether it closes.

    Parameters
    ----------
    name
        What to call it.
    laboratory, reference
        Cells of both, with the same features.
    kinds
        The kinds to make it from; by default all that both have enough of.
    seed
        Of the resamplings.
    progress
        Called with the resamplings done and all of them.

    Raises
    ------
    UsageError
        If the two are one source, or share too few kinds of cells, or too few cells of them.
    """
    anchors = shared_kinds(laboratory, reference, kinds)
    kinds_of = [[_Kind.of(own, anchor.cell_type) for own in (reference, laboratory)] for anchor in anchors]
    same_scale = _same_scale(laboratory, reference)
    refused = {}
    for index, feature in enumerate(laboratory.features):
        columns = [kind.rows[index] for pair in kinds_of for kind in pair]
        if reason := _refused(feature_spec(feature), columns, same_scale=same_scale):
            refused[feature] = reason
    kept = [index for index, feature in enumerate(laboratory.features) if feature not in refused]
    pairs = [(there.some(kept), here.some(kept)) for there, here in kinds_of]
    left_out = _left_out(pairs, [anchor.cell_type for anchor in anchors], seed, progress)
    shifts = {
        laboratory.features[index]: FeatureShift(float(shift), of_kinds)
        for index, shift, of_kinds in zip(kept, _shift(pairs), left_out, strict=True)
    }
    warnings = _warnings(anchors)
    return Calibration(name, laboratory.source, reference.source, anchors, shifts, refused, warnings)


@dataclass(frozen=True, eq=False)
class LaboratoryEffect:
    """How far apart two laboratories' cells of a kind lie: Cliff's delta of each feature (F,).

    As measured (`raw`), `calibrated` on all shared kinds, and calibrated on all but this one (`held_out`).
    """

    cell_type: CellType
    raw: Matrix
    calibrated: Matrix
    held_out: Matrix


def laboratory_effects(
    features: Sequence[str],
    fitted: tuple[LaboratoryCells, LaboratoryCells],
    read: tuple[LaboratoryCells, LaboratoryCells],
    kinds: Sequence[CellType],
) -> tuple[LaboratoryEffect, ...]:
    """What calibrating does to cells that it was not made from: shifts found in `fitted` cells, seen in `read` ones.

    Both are the reference's cells and the laboratory's; `kinds` are two or more that all four have.
    """
    kept = [read[0].features.index(name) for name in features]

    def pairs_of(both: tuple[LaboratoryCells, LaboratoryCells]) -> list[_Pair]:
        return [(_Kind.of(both[0], kind).some(kept), _Kind.of(both[1], kind).some(kept)) for kind in kinds]

    made_of, seen = pairs_of(fitted), pairs_of(read)
    return tuple(
        LaboratoryEffect(
            kind,
            _deltas(pair, np.zeros(len(kept))),
            _deltas(pair, _shift(made_of)),
            _deltas(pair, _shift(made_of[:place] + made_of[place + 1 :])),
        )
        for place, (kind, pair) in enumerate(zip(kinds, seen, strict=True))
    )


def shared_kinds(
    laboratory: LaboratoryCells, reference: LaboratoryCells, kinds: Sequence[CellType] | None = None
) -> tuple[Anchor, ...]:
    """The kinds of cells that a calibration is made from; raises UsageError, in words, where there are too few."""
    if laboratory.source == reference.source:
        msg = f"a calibration sets one source to another, but both are {laboratory.source}; name two"
        raise UsageError(msg)
    counted = [
        Anchor(
            kind,
            (_count(reference, kind), _count(laboratory, kind)),
            (_people(reference, kind), _people(laboratory, kind)),
        )
        for kind in CellType
        if kind is not CellType.OTHER and (kinds is None or kind in kinds)
    ]
    shared = [anchor for anchor in counted if min(anchor.cells)]
    enough = tuple(anchor for anchor in shared if min(anchor.cells) >= FEWEST_CELLS)
    if len(enough) >= FEWEST_TYPES:
        return enough
    between = f"{laboratory.source} and {reference.source}"
    few = ", ".join(f"{CELL_TYPES[each.cell_type].plural} {min(each.cells)}" for each in shared if each not in enough)
    if not shared:
        msg = (
            f"{between} share no kind of cells: any difference can be the laboratory's or the disease's, and a"
            " calibration would erase both; bring cells of two kinds that both have, such as lymphocytes and monocytes"
        )
    elif not enough:
        msg = (
            f"{between} share too few cells of a kind ({few}); at least {FEWEST_CELLS} of each of {FEWEST_TYPES} kinds"
            f" are needed, {COMFORTABLE_CELLS} of {COMFORTABLE_PATIENTS} patients are better"
        )
    else:
        one = CELL_TYPES[enough[0].cell_type].plural
        msg = (
            f"{between} share only {one} in sufficient number{f' ({few})' if few else ''}: a calibration on one kind"
            " makes that kind equal by construction and harms others; bring at least"
            f" {FEWEST_CELLS} cells of a second kind"
        )
    raise UsageError(msg)


def _count(cells: LaboratoryCells, kind: CellType) -> int:
    return int(np.count_nonzero(cells.cell_types == kind))


def _people(cells: LaboratoryCells, kind: CellType) -> int | None:
    patients = cells.patients[cells.cell_types == kind]
    return len(np.unique(patients)) if len(patients) and patients.min() >= 0 else None


def _warnings(anchors: Sequence[Anchor]) -> tuple[str, ...]:
    warnings = []
    for anchor in anchors:
        called = CELL_TYPES[anchor.cell_type].plural
        if (fewest := min(anchor.cells)) < COMFORTABLE_CELLS:
            warnings.append(f"One laboratory has only {fewest} {called}; {COMFORTABLE_CELLS} are better.")
        known = [people for people in anchor.patients if people is not None]
        if len(known) < 2:
            warnings.append(f"Not all {called} name their patient, and a few patients do not stand for a laboratory.")
        if known and (fewest := min(known)) < COMFORTABLE_PATIENTS:
            warnings.append(f"One laboratory's {called} are of {fewest} patients; {COMFORTABLE_PATIENTS} are better.")
    return tuple(warnings)


def _same_scale(laboratory: LaboratoryCells, reference: LaboratoryCells) -> bool:
    known = [own.scales for own in (laboratory, reference) if own.scales is not None]
    return len(known) == 2 and max(high for _, high in known) / min(low for low, _ in known) - 1 <= SAME_SCALE


def _refused(spec: FeatureSpec, columns: Sequence[Matrix], *, same_scale: bool) -> str | None:
    """Why a feature is not calibrated with these cells, a column a kind and laboratory; None if it is."""
    if reason := calibratable(spec):
        return reason
    if spec.pixel_bound and not same_scale:
        return "it changes with the size of the pixels, and not all cells are known to have the same scale"
    for column in columns:
        _, equal = np.unique(column, return_counts=True, equal_nan=True)
        if max(equal.max(), np.count_nonzero(~np.isfinite(column))) > _MOST_EQUAL * len(column):
            return "too many cells have the same value or none, which no shift can mend"
    return None


@dataclass(frozen=True, eq=False)
class _Kind:
    """Cells of one kind in one laboratory: their values (F, n) on the natural axes, and patients (n,)."""

    rows: Matrix
    patients: NDArray[np.integer]

    @classmethod
    def of(cls, cells: LaboratoryCells, kind: CellType) -> "_Kind":
        own = np.flatnonzero(cells.cell_types == kind)
        log = np.array([feature_spec(feature).log_axis for feature in cells.features], dtype=np.bool_)
        rows = log_where(cells.matrix[own].T, log)
        rows[~np.isfinite(rows)] = np.nan
        return cls(rows, cells.patients[own])

    def some(self, features: Sequence[int]) -> "_Kind":
        return _Kind(self.rows[list(features)], self.patients)

    def drawn(self, rng: np.random.Generator) -> "_Kind":
        """As many patients drawn with replacement, each with all its cells; cells where a patient is not known."""
        if self.patients.min() < 0:
            chosen = rng.integers(len(self.patients), size=len(self.patients))
        else:
            people, codes = np.unique(self.patients, return_inverse=True)
            times = np.bincount(rng.integers(len(people), size=len(people)), minlength=len(people))
            chosen = np.repeat(np.arange(len(codes)), times[codes])
        return _Kind(self.rows[:, chosen], self.patients[chosen])

    @cached_property
    def ascending(self) -> Matrix:
        """Values (F, n) in ascending order, nan last."""
        return np.sort(self.rows, axis=1)

    @cached_property
    def present(self) -> NDArray[np.intp]:
        """How many cells have each feature (F,)."""
        return np.asarray((~np.isnan(self.rows)).sum(axis=1))

    @property
    def medians(self) -> Matrix:
        """Of each feature (F,)."""
        middle = np.stack([(self.present - 1) // 2, self.present // 2], axis=1)
        return np.asarray(np.take_along_axis(self.ascending, middle, axis=1).mean(axis=1))


_Pair = tuple[_Kind, _Kind]  # the reference's, the laboratory's


def _shift(pairs: Sequence[_Pair]) -> Matrix:
    """Shift of each feature (F,)."""
    return np.asarray(np.mean([there.medians - here.medians for there, here in pairs], axis=0))


def _deltas(pair: _Pair, shift: Matrix) -> Matrix:
    """Cliff's delta of each feature (F,), the laboratory's cells after a shift against the reference's."""
    there, here = pair
    deltas = np.empty(len(shift))
    for index, (n, m) in enumerate(zip(there.present, here.present, strict=True)):
        others, own = there.ascending[index, :n], here.ascending[index, :m] + shift[index]
        below = np.searchsorted(others, own, "left").sum() + np.searchsorted(others, own, "right").sum()
        deltas[index] = below / (n * m) - 1
    return deltas


def _left_out(
    pairs: Sequence[_Pair], kinds: Sequence[CellType], seed: int, progress: Callable[[int, int], None] | None
) -> list[tuple[KindLeftOut, ...]]:
    """For each feature, every kind left out in turn."""

    def each_left_out(given: Sequence[_Pair]) -> Matrix:
        return np.stack([_deltas(pair, _shift([other for other in given if other is not pair])) for pair in given])

    told, raw = each_left_out(pairs), np.stack([_deltas(pair, np.zeros(len(pair[0].rows))) for pair in pairs])
    rng, draws = np.random.default_rng(seed), []
    for done in range(RESAMPLES):
        draws.append(each_left_out([(there.drawn(rng), here.drawn(rng)) for there, here in pairs]))
        if progress:
            progress(done + 1, RESAMPLES)
    reach = TWO_SIDED * np.std(draws, axis=0, ddof=1)
    low, high = np.clip(told - reach, -1, 1), np.clip(told + reach, -1, 1)
    return [
        tuple(
            KindLeftOut(
                kind, *map(float, (told[place, index], low[place, index], high[place, index], raw[place, index]))
            )
            for place, kind in enumerate(kinds)
        )
        for index in range(told.shape[1])
    ]
