"""How well each feature separates groups of cells: effect first, then what chance would do, then of how many.

Only numbers are computed here. Everything depends on ranks alone, so a logarithm changes nothing and one outlier
little.

Effect. Of two groups Cliff's delta: the share of pairs in which the first group's cell is larger minus the share in
which it is smaller, ``2 AUC - 1``, from -1 to 1. Of three or more epsilon squared of Kruskal and Wallis, ``H / (N -
1)``: the share of the variance of the ranks that lies between the groups, from 0 to 1. Equal values count half a pair
each.

Patients. Cells of a patient resemble each other, so a thousand cells of three patients are not a thousand independent
observations. Where every cell of the groups names its patient, the test is made between the patients: each patient of a
group counts once, with the median of the ranks of its cells there (ranks among all cells compared, so that no scale
enters). `Separation.by_patient` is the effect between these medians. A patient with cells in two groups counts in both,
which is cautious as far as its cells resemble each other.

Interval. 95 %, percentiles of `RESAMPLES` bootstrap resamplings. Where all patients are known and every group has
`FEW_PATIENTS` of them, whole patients are drawn: within their group, or all together where one has cells in several
groups. Otherwise cells are drawn within their group, and the interval speaks of these patients only. Of perfectly
separated groups it has no width, and epsilon squared of resampled cells cannot be 0: it is no test.

Test. Mann and Whitney's U with correction for continuity, Kruskal and Wallis' H, both corrected for ties and in the
large-sample approximation (scipy's `mannwhitneyu(method="asymptotic")` and `kruskal`), two-sided. `q` is Benjamini and
Hochberg's: among the features with q up to 0.05 one in twenty is expected to be there by chance.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse, special
from scipy.stats import false_discovery_control

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import UsageError
from core.features.catalogue import CATALOGUE
from core.features.phrases import PHRASES

FEWEST: Final = 3  # cells of a group, and patients of a group for a test between them
FEW_PATIENTS: Final = 5  # fewer patients are too few to draw from
RESAMPLES: Final = 200

_TAIL: Final = 2.5  # per cent on either side of the interval
# Bins of equal numbers of cells: what lies in one counts as equal in resamplings, a 500th of all pairs at most.
_BINS: Final = 512
_GRID: Final = 1024  # larger groups are drawn in so many equal parts
_MANY_CELLS: Final = 10_000  # from which on a number is read with a mark at the thousands
_MANY: Final = 100_000  # cells from which on threads are worth their while
_MOST_WORKERS: Final = 8  # each needs some 60 bytes a cell


class UnitOfAnalysis(StrEnum):
    """What counts as independent: what was drawn for an interval, or compared by a test."""

    CELLS = "cells"
    PATIENTS = "patients"


@dataclass(frozen=True)
class Separation:
    """How well one feature separates the groups.

    Parameters
    ----------
    feature
        Its name.
    n
        Cells with a value, by group. Where a group has fewer than `FEWEST`, everything below is None.
    patients
        Patients of these cells by group; None unless every cell of the groups names its patient.
    medians
        By group.
    effect
        Cliff's delta, or epsilon squared of three or more groups.
    low, high
        Interval of the effect; None where it was not asked for, or too few patients have the feature.
    auc
        Of two groups, the chance that a cell of the first is larger than one of the second.
    by_patient
        The effect between the patients' medians; None where they are not known or a group has fewer than `FEWEST`.
    below, above
        Of two groups, shares of the first group's cells that lie below and above the second's median cells (of an even
        number the middle two).
    p, q
        Of the test between patients where these are known, else between cells; and corrected for the number of
        features.
    p_cells
        Of the test between cells in any case.
    sampled
        Whether all this was found on a sample of the cells.
    """

    feature: str
    n: tuple[int, ...]
    patients: tuple[int, ...] | None
    medians: tuple[float, ...] | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    auc: float | None = None
    by_patient: float | None = None
    below: float | None = None
    above: float | None = None
    p: float | None = None
    q: float | None = None
    p_cells: float | None = None
    sampled: bool = False


@dataclass(frozen=True)
class Ranking:
    """All features, the largest effect first.

    `n` and `patients` are of the groups, as in `Separation`. `drawn` says what was resampled for the intervals,
    `tested` what p compares, None where the patients are known but too few for a test. `sample` counts the cells of
    each group by which the features marked `sampled` are ranked; None where all cells rank all features. `note` says in
    words what to know of interval and p.
    """

    names: tuple[str, ...]
    n: tuple[int, ...]
    patients: tuple[int, ...] | None
    drawn: UnitOfAnalysis
    tested: UnitOfAnalysis | None
    sample: tuple[int, ...] | None
    note: str
    separations: tuple[Separation, ...]

    @property
    def sampling(self) -> str | None:
        """Which features are ranked by all cells and which by a sample, as a sentence; None where all by all."""
        sampled = sum(each.sampled for each in self.separations)
        if self.sample is None or not sampled:
            return None
        drawn, by_all = (
            f"a sample of {' / '.join(f'{n:,}' for n in self.sample)} cells",
            len(self.separations) - sampled,
        )
        if not by_all:
            return f"All features are ranked by {drawn}."
        first, n = "1 feature is" if by_all == 1 else f"{by_all} features are", sum(self.n)
        return (
            f"{first} ranked by all {n:,} cells, the other {sampled} by {drawn}: their effects are known to about 0.01."
        )

    def with_exact(self, exact: "Ranking") -> "Ranking":
        """The same with some features replaced by those of another ranking of the same groups, by all their cells."""
        known = {each.feature: each for each in exact.separations}
        merged = [known.get(each.feature, each) for each in self.separations]
        return replace(
            self,
            n=exact.n,
            patients=exact.patients,
            separations=tuple(sorted(_corrected(merged), key=_effect_then_chance)),
        )

    def to_frame(self) -> pd.DataFrame:
        """One row a feature in the order of the ranking; n, patients and medians in a column a group."""
        rows = []
        for each in self.separations:
            row: dict[str, object] = {"feature": each.feature, "label": CATALOGUE[each.feature].label}
            row |= {
                "effect": each.effect,
                "low": each.low,
                "high": each.high,
                "auc": each.auc,
                "by_patient": each.by_patient,
            }
            row |= {"p": each.p, "q": each.q, "p_cells": each.p_cells, "below": each.below, "above": each.above}
            for place, name in enumerate(self.names):
                row[f"n {name}"] = each.n[place]
                row[f"patients {name}"] = None if each.patients is None else each.patients[place]
                row[f"median {name}"] = None if each.medians is None else each.medians[place]
            rows.append(row | {"sampled": each.sampled})
        return pd.DataFrame(rows)


class GroupName(NamedTuple):
    """A group in a sentence: "monocytes" and "monocyte"."""

    plural: str
    singular: str


def group_name(name: str) -> GroupName:
    """Words for a group named after a cell type, else "cells of ..."."""
    if name in list(CellType):
        plural = CELL_TYPES[CellType(name)].plural
        return GroupName(plural, plural.removesuffix("s"))
    return GroupName(f"cells of {name}", f"cell of {name}")


def sentence(ranked: Separation, names: Sequence[GroupName]) -> str:
    """Return a sentence, e.g. "Nucleus area: 96 % of monocytes lie above the median lymphocyte (delta 0.94, n 9 / 9)".

    Per cents are rounded down, so that the sentence never claims more than was counted. The words tell the direction,
    so delta has no sign.
    """
    label, numbers = CATALOGUE[ranked.feature].label, _numbers(ranked)
    if ranked.effect is None:
        return f"{label}: too few cells have it to compare ({numbers})"
    if ranked.below is None or ranked.above is None:
        groups = f"{', '.join(name.plural for name in names[:-1])} and {names[-1].plural}"
        between = f"{int(100 * ranked.effect)} % of the differences in rank lie between {groups}"
        return f"{label}: {between} ({numbers})"
    amount, side = _amount(ranked)
    counted = f"{amount} of {names[0].plural}" if "%" in amount else f"{amount} {names[0].plural}"
    return f"{label}: {counted} lie {side} the median {names[1].singular} ({numbers})"


def plain_sentence(ranked: Separation, names: Sequence[GroupName]) -> str:
    """Say it as a haematologist would, where there are words for the feature and two groups; else as `sentence`.

    E.g. "Monocytes have the larger nucleus: 99 % of them lie above the median lymphocyte (nucleus area, delta 0.98,
    n 935 / 992)".
    """
    phrase = PHRASES.get(ranked.feature)
    if phrase is None or ranked.effect is None or ranked.below is None:
        return sentence(ranked, names)
    label = CATALOGUE[ranked.feature].label
    named = label if len(label) > 1 and not label[1].islower() else label[:1].lower() + label[1:]
    who = f"{names[0].plural[:1].upper()}{names[0].plural[1:]}"
    amount, side = _amount(ranked)
    counted = f"{amount} of them" if "%" in amount else amount
    said = phrase.larger if ranked.effect > 0 else phrase.smaller
    return f"{who} {said}: {counted} lie {side} the median {names[1].singular} ({named}, {_numbers(ranked)})"


def _amount(ranked: Separation) -> tuple[str, str]:
    """How many of the first group lie on which side of the second's median: "96 %" or "all", "above" or "below"."""
    share, side = (ranked.above, "above") if (ranked.effect or 0.0) > 0 else (ranked.below, "below")
    return "all" if share == 1 else f"{int(100 * (share or 0.0))} %", side


def _numbers(ranked: Separation) -> str:
    """The effect and how many cells of how many patients it is of: "delta 0.94, n 9 / 9 of 2 / 3 patients"."""
    n = " / ".join(f"{n:,}" if n >= _MANY_CELLS else str(n) for n in ranked.n)
    if ranked.effect is None:
        return f"n {n}"
    if ranked.patients is not None:
        n += f" of {' / '.join(map(str, ranked.patients))} patients"
    called = "epsilon squared" if ranked.below is None else "delta"
    return f"{called} {abs(ranked.effect):.2f}, n {n}"


def patient_codes(
    source: Sequence[object] | NDArray[np.object_], patient_id: Sequence[object] | NDArray[np.object_]
) -> NDArray[np.intp]:
    """Number the patients from 0, -1 where a cell names none; one pseudonym in two sources is two patients."""
    pairs = pd.DataFrame({"source": source, "patient_id": patient_id})
    numbers = pairs.groupby(["source", "patient_id"], sort=False).ngroup()
    return np.where(pairs["patient_id"].isna(), -1, numbers).astype(np.intp)


def rank_features(
    columns: Mapping[str, NDArray[np.float64]],
    groups: NDArray[np.integer],
    names: Sequence[str],
    patients: NDArray[np.integer] | None = None,
    *,
    intervals: Collection[str] | None = None,
    seed: int = 0,
    sampled: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Rank features by how well they separate groups of cells.

    Parameters
    ----------
    columns
        Values (n,) of each feature, nan where absent.
    groups
        Indices into `names` (n,), -1 for a cell in none.
    names
        Of the groups; of two, the effect is positive where the first has the larger values.
    patients
        Numbers from 0 (n,), -1 where not known; None if none is.
    intervals
        Features to have an interval; all if None.
    seed
        Of the resamplings. A feature's interval does not depend on which others are ranked.
    sampled
        Whether the cells are a sample of those that are compared; it is noted with each feature.
    progress
        Called with the features done and all features; an exception raised in it ends the ranking.

    Raises
    ------
    UsageError
        If there are fewer than two groups, or one of fewer than `FEWEST` cells.
    """
    plan = _plan(groups, names, patients)
    bootstrap = _Bootstrap(plan, seed)

    def separate(feature: str) -> Separation:
        wanted = intervals is None or feature in intervals
        result = _separate(feature, columns[feature], plan, bootstrap if wanted else None)
        return replace(result, sampled=True) if sampled else result

    separations = []
    with ThreadPoolExecutor(min(_MOST_WORKERS, os.cpu_count() or 1) if len(groups) >= _MANY else 1) as pool:
        try:
            for separation in pool.map(separate, columns):
                separations.append(separation)
                if progress:
                    progress(len(separations), len(columns))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Ranking(
        names=tuple(names),
        n=plan.sizes,
        patients=plan.patients,
        drawn=plan.drawn,
        tested=plan.tested,
        sample=plan.sizes if sampled else None,
        note=plan.note,
        separations=tuple(sorted(_corrected(separations), key=_effect_then_chance)),
    )


# --- who is compared --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Plan:
    """Cells, groups and patients of a ranking.

    `rows` (m,) are the cells in groups, None if all n are; `codes` (m,) numbers the group of each. Where the patients
    are known, a unit is a patient in a group: `units` (m,) numbers it, group by group; `group_of_unit` (U,) leads back
    and `patient_of_unit` (U,) tells which are the same patient.
    """

    rows: NDArray[np.intp] | None
    codes: NDArray[np.int8]
    sizes: tuple[int, ...]
    patients: tuple[int, ...] | None
    units: NDArray[np.integer] | None
    group_of_unit: NDArray[np.int8]
    patient_of_unit: NDArray[np.intp]
    drawn: UnitOfAnalysis
    tested: UnitOfAnalysis | None
    note: str

    @property
    def k(self) -> int:
        return len(self.sizes)


def _plan(groups: NDArray[np.integer], names: Sequence[str], patients: NDArray[np.integer] | None) -> _Plan:
    k = len(names)
    if not 2 <= k <= np.iinfo(np.int8).max:
        msg = (
            f"features are ranked between two or more groups of cells, at most {np.iinfo(np.int8).max}, but there are"
            f" {k}; choose others"
        )
        raise UsageError(msg)
    rows = np.flatnonzero(groups >= 0) if groups.min(initial=0) < 0 else None
    codes = (groups if rows is None else groups[rows]).astype(np.int8)
    sizes = tuple(np.bincount(codes, minlength=k).tolist())
    small = [f"{name!r} has {size}" for name, size in zip(names, sizes, strict=True) if size < FEWEST]
    if small:
        msg = (
            f"every group needs at least {FEWEST} cells, but {' and '.join(small)}; widen the selection or leave the"
            " group out"
        )
        raise UsageError(msg)
    people = None if patients is None else patients if rows is None else patients[rows]
    unknown = sum(sizes) if people is None else int((people < 0).sum())
    if unknown or people is None:
        whose = (
            "no cell names its patient" if unknown == sum(sizes) else f"{unknown} of {sum(sizes)} cells name no patient"
        )
        note = (
            f"{whose}, so cells were tested and drawn as if they were independent: interval and p are too sure of"
            " themselves"
        )
        cells = UnitOfAnalysis.CELLS
        return _Plan(rows, codes, sizes, None, None, np.empty(0, np.int8), np.empty(0, np.intp), cells, cells, note)

    several = int(people.max()) + 1
    pairs, units = np.unique(codes.astype(np.int64) * several + people, return_inverse=True)
    units = units.astype(np.min_scalar_type(len(pairs)))  # small numbers are sorted faster
    of_group, of_patient = (pairs // several).astype(np.int8), pairs % several
    counts = tuple(np.bincount(of_group).tolist())
    drawn = UnitOfAnalysis.PATIENTS if min(counts) >= FEW_PATIENTS else UnitOfAnalysis.CELLS
    tested = UnitOfAnalysis.PATIENTS if min(counts) >= FEWEST else None
    return _Plan(rows, codes, sizes, counts, units, of_group, of_patient, drawn, tested, _note(counts, drawn, tested))


def _note(patients: tuple[int, ...], drawn: UnitOfAnalysis, tested: UnitOfAnalysis | None) -> str:
    fewest = min(patients)
    who = f"{fewest} patient{'s' if fewest > 1 else ''} in a group"
    if drawn is UnitOfAnalysis.PATIENTS:
        return "p is between patients, and whole patients were drawn for the interval"
    interval = "cells were drawn for the interval, which speaks of these patients only"
    if tested is UnitOfAnalysis.PATIENTS:
        return f"p is between patients; with {who} {interval}"
    return f"with {who} no test between patients is possible; {interval}"


# --- one feature ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Ranks:
    """Ranks of cells in ascending order, equal values with their mean rank; doubled, so that they are whole numbers.

    `doubled` (m,) are the cells' own; `sums` (k,) adds them up by group and `n` (k,) counts the cells. `runs` are the
    places (r + 1,) where another value begins, and the end. `untied` is the share of the variance that ties leave to
    ranks.
    """

    doubled: NDArray[np.intp]
    sums: NDArray[np.float64]
    n: NDArray[np.intp]
    runs: NDArray[np.intp]
    untied: float


def _ascending(column: NDArray[np.float64]) -> NDArray[np.intp]:
    """Rows (m,) of the values there are in a column (n,), in ascending order."""
    return np.argsort(column)[: len(column) - int(np.isnan(column).sum())]  # nan is sorted last


def _rank(ascending: NDArray[np.float64], codes: NDArray[np.integer], k: int) -> _Ranks:
    """Rank cells given by their ascending values (m,) and their groups (m,)."""
    total = len(ascending)
    first = np.ones(total, dtype=np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    runs = np.append(np.flatnonzero(first), total)
    equal = np.diff(runs)
    doubled = np.repeat(runs[:-1] + runs[1:] + 1, equal)
    tied = equal[equal > 1].astype(np.float64)
    untied = 1 - float((tied**3 - tied).sum()) / (float(total) ** 3 - total) if total > 1 else 0.0
    # Whole numbers far below 2^53.
    sums: NDArray[np.float64] = np.bincount(codes, weights=doubled, minlength=k).astype(np.float64, copy=False)
    return _Ranks(doubled, sums, np.bincount(codes, minlength=k), runs, untied)


def _effect(sums: NDArray[np.number], n: NDArray[np.number], untied: float) -> NDArray[np.float64]:
    """Cliff's delta or epsilon squared from twice the rank sums and sizes of the groups, (k,) or (k, R); may be nan."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if len(n) == 2:
            delta: NDArray[np.float64] = (sums[0] - n[0] * (n[0] + 1.0)) / (n[0] * n[1]) - 1
            return delta
        total = n.sum(axis=0)
        between = (n * (sums / (2 * n) - (total + 1) / 2) ** 2).sum(axis=0)
        return 12 * between / (total * (total + 1) * (total - 1) * untied) if untied > 0 else np.zeros(total.shape)


def _p(sums: NDArray[np.float64], n: NDArray[np.intp], untied: float) -> float:
    """Two-sided p of Mann and Whitney's or Kruskal and Wallis' test from twice the rank sums."""
    total = float(n.sum())
    if untied <= 0:  # all values are equal
        return 1.0
    if len(n) == 2:
        pairs = float(n[0]) * float(n[1])
        distance = abs(float(sums[0]) - float(n[0]) * (float(n[0]) + 1) - pairs) / 2
        return float(min(1.0, 2 * special.ndtr(-(distance - 0.5) / np.sqrt(pairs * (total + 1) * untied / 12))))
    h = float(_effect(sums, n, untied)) * (total - 1)
    return float(special.chdtrc(len(n) - 1, h))


def _separate(feature: str, column: NDArray[np.float64], plan: _Plan, bootstrap: "_Bootstrap | None") -> Separation:
    k, column = plan.k, column if plan.rows is None else column[plan.rows]
    rows = _ascending(column)
    values = column[rows]
    codes, units = plan.codes[rows], None if plan.units is None else plan.units[rows]
    ranks = _rank(values, codes, k)
    middles = patients = None
    if units is not None:
        middles = _Middles.of(units, len(plan.group_of_unit))
        patients = tuple(np.bincount(plan.group_of_unit[middles.there], minlength=k).tolist())
    separation = Separation(feature, tuple(ranks.n.tolist()), patients)
    if ranks.n.min() < FEWEST:
        return separation

    effect = float(_effect(ranks.sums, ranks.n, ranks.untied))
    p_cells = _p(ranks.sums, ranks.n, ranks.untied)
    p, by_patient = (p_cells, None) if middles is None else _between_patients(middles, ranks, plan)
    of_groups = _Middles.of(codes, k)
    medians = tuple(((values[of_groups.lower] + values[of_groups.upper]) / 2).tolist())
    separation = replace(separation, medians=medians, effect=effect, by_patient=by_patient, p=p, p_cells=p_cells)
    if k == 2:
        below, above = _beside(codes, ranks, int(of_groups.lower[1]), int(of_groups.upper[1]))
        separation = replace(
            separation, auc=(effect + 1) / 2, below=below / int(ranks.n[0]), above=above / int(ranks.n[0])
        )
    if bootstrap is not None:
        low, high = bootstrap.interval(codes, units, ranks, patients)
        separation = replace(separation, low=low, high=high)
    return separation


class _Middles(NamedTuple):
    """Labels that occur, and the places of their lower and upper middle occurrences (the same for an odd number)."""

    there: NDArray[np.intp]
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]

    @classmethod
    def of(cls, labels: NDArray[np.integer], several: int) -> "_Middles":
        """Find them among labels (m,) from 0 to below `several`."""
        counts = np.bincount(labels, minlength=several)
        there = np.flatnonzero(counts)
        by_label = np.argsort(labels, kind="stable")  # of small integers that is a radix sort
        counts, begin = counts[there], (np.cumsum(counts) - counts)[there]
        return cls(there, by_label[begin + (counts - 1) // 2], by_label[begin + counts // 2])


def _between_patients(middles: _Middles, ranks: _Ranks, plan: _Plan) -> tuple[float | None, float | None]:
    """Return p and effect between the patients' medians; None where a group has too few patients."""
    of_patients = (ranks.doubled[middles.lower] + ranks.doubled[middles.upper]).astype(np.float64)
    rows = _ascending(of_patients)
    medians = _rank(of_patients[rows], plan.group_of_unit[middles.there[rows]], plan.k)
    if medians.n.min() < FEWEST:
        return None, None
    return _p(medians.sums, medians.n, medians.untied), float(_effect(medians.sums, medians.n, medians.untied))


def _beside(codes: NDArray[np.integer], ranks: _Ranks, lower: int, upper: int) -> tuple[int, int]:
    """How many cells of group 0 lie strictly below the lower of two places and strictly above the upper."""
    runs = np.searchsorted(ranks.runs, (lower, upper), side="right")
    start, end = int(ranks.runs[runs[0] - 1]), int(ranks.runs[runs[1]])
    return int(np.count_nonzero(codes[:start] == 0)), int(np.count_nonzero(codes[end:] == 0))


# --- intervals --------------------------------------------------------------------------------------------------------


class _Bootstrap:
    """Resamplings of the cells or patients of a plan.

    The cells in ascending order are cut into bins, and a resampling is how often the cells of each group in each bin
    were drawn. Bins are single values where there are few; otherwise the values in one count as equal. The first column
    of every table of draws is the data themselves, each cell or patient once: its effect is that of the bins, and the
    interval is shifted by its difference from the exact one.
    """

    def __init__(self, plan: _Plan, seed: int) -> None:
        self._plan, self._seed = plan, seed
        self._draws_of = lru_cache(maxsize=32)(self._draw_cells)

    def interval(
        self,
        codes: NDArray[np.integer],
        units: NDArray[np.integer] | None,
        ranks: _Ranks,
        patients: tuple[int, ...] | None,
    ) -> tuple[float | None, float | None]:
        """Low and high end for one feature, of cells in ascending order; None where too few patients have it."""
        m = len(codes)
        edges = np.arange(_BINS) * m // _BINS if m > _BINS else np.arange(m)
        # Never between equal values.
        edges = np.unique(ranks.runs[np.searchsorted(ranks.runs, edges, side="right") - 1])
        if self._plan.drawn is UnitOfAnalysis.CELLS:
            drawn = [self._of_cells(group, codes, edges) for group in range(self._plan.k)]
        elif units is None or patients is None or min(patients) < FEW_PATIENTS:
            return None, None
        else:
            drawn = self._of_patients(units, edges)
        total = np.sum(drawn, axis=0)
        doubled = 2 * np.cumsum(total, axis=0) - total + 1
        sums = np.array([np.einsum("br,br->r", counts, doubled) for counts in drawn])
        effects = _effect(sums, np.array([counts.sum(axis=0) for counts in drawn]), ranks.untied)
        exact = float(_effect(ranks.sums, ranks.n, ranks.untied))
        low, high = np.nanpercentile(effects[1:], (_TAIL, 100 - _TAIL)) + exact - effects[0]
        least = -1.0 if self._plan.k == 2 else 0.0
        return float(np.clip(low, least, 1.0)), float(np.clip(high, least, 1.0))

    def _of_cells(self, group: int, codes: NDArray[np.integer], edges: NDArray[np.intp]) -> NDArray[np.float64]:
        """Draws by bin, (bins, R + 1)."""
        # The same draws serve all features: what is drawn is the place in the order of the group, and the cell in any
        # place of any feature is drawn as often as any other.
        counts = np.add.reduceat(codes == group, edges, dtype=np.int64)
        ends = np.append(0, np.cumsum(counts))
        n = int(ends[-1])
        table = self._draws_of(group, n)
        if n <= _GRID:
            return np.diff(table[ends], axis=0)
        places = ends * (_GRID / n)
        floor = np.minimum(places.astype(np.intp), _GRID - 1)
        return np.diff(table[floor] + (places - floor)[:, None] * (table[floor + 1] - table[floor]), axis=0)

    def _draw_cells(self, group: int, n: int) -> NDArray[np.float64]:
        """Draws of n cells with replacement, cumulated along their order: (min(n, grid) + 1, R + 1)."""
        parts = min(n, _GRID)
        rng = np.random.default_rng((self._seed, group, n))
        draws = rng.multinomial(n, np.full(parts, 1 / parts), size=RESAMPLES).T
        table = np.zeros((parts + 1, RESAMPLES + 1))
        table[1:, 0], table[1:, 1:] = np.arange(1, parts + 1) * (n / parts), np.cumsum(draws, axis=0)
        return table

    def _of_patients(self, units: NDArray[np.integer], edges: NDArray[np.intp]) -> list[NDArray[np.float64]]:
        bins = np.repeat(np.arange(len(edges)), np.diff(edges, append=len(units)))
        counts = sparse.coo_matrix((np.ones(len(units)), (bins, units)), (len(edges), len(self._patients))).tocsc()
        borders = np.searchsorted(self._plan.group_of_unit, np.arange(self._plan.k + 1))
        return [counts[:, low:high] @ self._patients[low:high] for low, high in pairwise(borders)]

    @cached_property
    def _patients(self) -> NDArray[np.float64]:
        """How often each unit was drawn: (U, R + 1)."""
        plan, rng = self._plan, np.random.default_rng(self._seed)
        group, patient = plan.group_of_unit, plan.patient_of_unit
        table = np.ones((len(group), RESAMPLES + 1))
        there, place = np.unique(patient, return_inverse=True)
        # A patient with cells in two groups is drawn with both, as it came.
        together = len(there) < len(patient)
        for members in [np.arange(len(group))] if together else [np.flatnonzero(group == g) for g in range(plan.k)]:
            n = len(there) if together else len(members)
            draws = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).T
            table[members, 1:] = draws[place] if together else draws
        return table


# --- all features -----------------------------------------------------------------------------------------------------


def _corrected(separations: Sequence[Separation]) -> list[Separation]:
    """With q over all features that have a p."""
    tested = [separation.p for separation in separations if separation.p is not None]
    q = iter(false_discovery_control(tested).tolist() if tested else ())
    return [separation if separation.p is None else replace(separation, q=next(q)) for separation in separations]


def _effect_then_chance(separation: Separation) -> tuple[float, float, str]:
    return (
        -abs(separation.effect) if separation.effect is not None else 1.0,
        separation.p if separation.p is not None else 1.0,
        separation.feature,
    )
