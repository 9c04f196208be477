"""What sets two kinds of cells apart in each laboratory, and whether the laboratories agree: nothing is corrected.

Stain, light, camera and patients move all cells of a laboratory together, so a difference between two kinds of cells of
one laboratory is free of them. Where several laboratories have both kinds, each tells the difference on its own.

The difference of one feature, in each source and pooled, is `core.populations.contrast`; this asks the cohort for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from core.domain.errors import UsageError
from core.explorer import view
from core.explorer.selection import Selection, can_be_chosen
from core.explorer.separation import SAMPLE, Sides, SideSample, gather
from core.explorer.view import Grouping
from core.features.catalogue import CATALOGUE
from core.features.spec import Family, Region
from core.populations.contrast import Contrast, pool
from core.populations.dominance import Dominance, dominance
from core.store.database import Cohort

FEWEST_CELLS: Final = 12  # of a side in a source
STRONG: Final = 0.5  # a difference from which on sources should agree in its sign
CLEAR: Final = 0.3  # a difference that is told where it holds everywhere


@dataclass(frozen=True)
class SourceSides:
    """A source with its cells on both sides and their patients, None where not all name theirs."""

    source: str
    n: tuple[int, int]
    patients: tuple[int, int] | None

    @property
    def enough(self) -> bool:
        """Whether both sides have cells enough to be set apart."""
        return min(self.n) >= FEWEST_CELLS


@dataclass(frozen=True)
class FamilyAgreement:
    """How two or more sources agree in the features of a family.

    `rank` is Spearman's correlation of their deltas (of several sources the lowest of two), `same_sign` the share of
    one sign among the `strong` features, those with a difference of `STRONG` in a source; `clear` counts those with one
    sign and `CLEAR` or more everywhere. None where there is nothing to count.
    """

    family: Family
    features: int
    rank: float | None
    strong: int
    same_sign: float | None
    clear: int


@dataclass(frozen=True)
class Contrasts:
    """All features between two sides inside each source, what holds everywhere in the largest measure first.

    `sources` are those that take part, `too_few` those with fewer than `FEWEST_CELLS` on a side. `refused` says why a
    feature cannot be compared in some sources.
    """

    names: tuple[str, str]
    sources: tuple[SourceSides, ...]
    too_few: tuple[SourceSides, ...]
    contrasts: tuple[Contrast, ...]
    refused: Mapping[str, str]

    @cached_property
    def by_feature(self) -> dict[str, Contrast]:
        """The result of each feature."""
        return {each.feature: each for each in self.contrasts}

    @property
    def everywhere(self) -> tuple[Contrast, ...]:
        """Those that every source can tell."""
        return tuple(each for each in self.contrasts if len(each.by_source) == len(self.sources))

    def agreement(self) -> tuple[FamilyAgreement, ...]:
        """How the sources agree, family by family; the surroundings of cells do not count."""
        told = [each for each in self.everywhere if CATALOGUE[each.feature].region is not Region.ENVIRONMENT]
        of_family = {family: [each for each in told if CATALOGUE[each.feature].family is family] for family in Family}
        return tuple(_agreement(family, members) for family, members in of_family.items() if members)

    def to_frame(self) -> pd.DataFrame:
        """One row a feature in order: delta, its interval and n in each source, and pooled."""
        rows = []
        for each in self.contrasts:
            row: dict[str, object] = {"feature": each.feature, "label": CATALOGUE[each.feature].label}
            row |= {"family": CATALOGUE[each.feature].family.value, "smallest": each.smallest}
            row |= {"same_sign": each.same_sign, "pooled": each.pooled, "low": each.low, "high": each.high}
            row["i2"] = each.i2
            for source in self.sources:
                told = each.by_source.get(source.source)
                low, high = told.interval if told else (None, None)
                n = told.n if told else (None, None)
                row |= {f"delta {source.source}": told.delta if told else None}
                row |= {f"low {source.source}": low, f"high {source.source}": high}
                row |= {f"n {name} {source.source}": count for name, count in zip(self.names, n, strict=True)}
            rows.append(row)
        return pd.DataFrame(rows)


def sides_by_source(cohort: Cohort, selection: Selection, by: Grouping, sides: Sides) -> tuple[SourceSides, ...]:
    """The sources in view that have a cell on each of two sides, the largest first."""
    found = []
    for source, of_source in view.groups_by_source(cohort, selection, by).items():
        groups = [[group for group in of_source if group.name in names] for names in sides]
        n, named, unnamed = (
            tuple(sum(getattr(group, field) for group in side) for side in groups)
            for field in ("cells", "patients", "unknown_patient")
        )
        if min(n) and can_be_chosen(source):
            found.append(SourceSides(source, (n[0], n[1]), None if any(unnamed) else (named[0], named[1])))
    return tuple(sorted(found, key=lambda each: -min(each.n)))


def contrast(
    cohort: Cohort,
    selection: Selection,
    by: Grouping,
    sides: Sides,
    names: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> Contrasts:
    """Set two sides apart inside each source in view that has both; a sample of very many cells of a side.

    Raises
    ------
    UsageError
        If there are not two sides, or no source has cells enough of both.
    """
    if len(sides) != 2:
        msg = f"two kinds of cells are set apart inside each source, but {len(sides)} are named; name two"
        raise UsageError(msg)
    there = sides_by_source(cohort, selection, by, sides)
    sources = tuple(each for each in there if each.enough)
    if not sources:
        most = max((min(each.n) for each in there), default=0)
        msg = (
            f"no source has {FEWEST_CELLS} cells of {names[0]} and of {names[1]}, the most are {most}; choose kinds of"
            " cells that one source has both of"
        )
        raise UsageError(msg)
    found: dict[str, dict[str, Dominance]] = {}
    refused: dict[str, str] = {}
    for place, source in enumerate(sources):
        inside = replace(selection, sources=(source.source,))
        seen = view.counts(cohort, inside)
        refusals = {name: seen.refusal(name) for name in CATALOGUE}
        refused |= {name: f"{source.source}: {reason}" for name, reason in refusals.items() if reason}
        cells = gather(cohort, inside, by, sides, [name for name, reason in refusals.items() if not reason], SAMPLE)
        for name, column in cells.columns.items():
            if told := _inside(cells, column, known=source.patients is not None):
                found.setdefault(name, {})[source.source] = told
        if progress:
            progress(place + 1, len(sources))
    ordered = sorted((pool(*each) for each in found.items()), key=_everywhere_first)
    few = tuple(each for each in there if not each.enough)
    return Contrasts((names[0], names[1]), sources, few, tuple(ordered), refused)


def _everywhere_first(each: Contrast) -> tuple[int, float, float, str]:
    return -len(each.by_source), -each.smallest, -abs(each.pooled or 0.0), each.feature


def _inside(cells: SideSample, column: NDArray[np.float64], *, known: bool) -> Dominance | None:
    first, second = cells.sides == 0, cells.sides == 1
    patients = (cells.patients[first], cells.patients[second]) if known else None
    told = dominance(column[first], column[second], patients)
    return told if told and min(told.n) >= FEWEST_CELLS else None


def _agreement(family: Family, members: Sequence[Contrast]) -> FamilyAgreement:
    deltas = np.array([[told.delta for told in each.by_source.values()] for each in members])
    strong = [each for each, row in zip(members, deltas, strict=True) if np.abs(row).max() > STRONG]
    ranks = [
        float(spearmanr(deltas[:, one], deltas[:, other]).statistic)
        for one, other in combinations(range(deltas.shape[1]), 2)
        if len(members) > 2 and np.ptp(deltas[:, one]) and np.ptp(deltas[:, other])
    ]
    return FamilyAgreement(
        family=family,
        features=len(members),
        rank=min(ranks, default=None),
        strong=len(strong),
        same_sign=sum(each.same_sign for each in strong) / len(strong) if strong else None,
        clear=sum(each.smallest > CLEAR for each in members),
    )
