"""How much of a difference between two sources is the laboratory's: as measured, calibrated, and where that is unseen.

Half of each source (of its patients, where all are named) finds the shifts, the other half is read. All figures are of
`SPLITS` such splits: the median over a family's features of the size of Cliff's delta between the two sources' cells of
one kind. The floor is what two halves of one source differ by: nothing can be better.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CellType
from core.domain.errors import UsageError
from core.explorer.calibrating import laboratory_cells
from core.explorer.contrasts import FEWEST_CELLS, FamilyAgreement, contrast
from core.explorer.selection import Selection, can_be_chosen
from core.explorer.view import By
from core.features.catalogue import CATALOGUE
from core.features.spec import STAINED, Family, Region
from core.populations.calibration import (
    CLOSE,
    Calibration,
    LaboratoryCells,
    LaboratoryEffect,
    fit_calibration,
    laboratory_effects,
    shared_kinds,
)
from core.populations.dominance import dominance
from core.store.database import Cohort

SPLITS: Final = 10
STILL: Final = 0.25  # up to which a delta on the other half counts as close


@dataclass(frozen=True)
class KindEffect:
    """The median size of delta between two sources' cells of one kind, and what share of the features is below `CLOSE`.

    `calibrated` and `held_out` are None of a family that is not calibrated.
    """

    cell_type: CellType
    raw: float
    raw_close: float
    calibrated: float | None = None
    held_out: float | None = None
    held_out_close: float | None = None


@dataclass(frozen=True)
class FamilyEffect:
    """A family of features between two sources.

    `floor` is the median size of delta between two halves of one source. `closing` is the mean number of features that
    close on the half that found the shifts, and `false` the share of these that on the other half lie beyond `STILL`
    in a kind left out; None where nothing closes or the family is not calibrated.
    """

    family: Family
    features: int
    floor: float
    kinds: tuple[KindEffect, ...]
    closing: float | None = None
    false: float | None = None


@dataclass(frozen=True)
class SourceKinds:
    """A source and its good cells by kind."""

    source: str
    cells: Mapping[CellType, int]


@dataclass(frozen=True)
class LaboratoryPair:
    """Two sources that share kinds of cells, and how much of their difference is the laboratory's."""

    source: str
    reference: str
    families: tuple[FamilyEffect, ...]

    @property
    def false(self) -> float | None:
        """Of all features that close on one half, the share that lies apart on the other; None where none closes."""
        closing = sum(each.closing or 0.0 for each in self.families)
        apart = sum((each.closing or 0.0) * (each.false or 0.0) for each in self.families)
        return apart / closing if closing else None


@dataclass(frozen=True)
class KindsApart:
    """How the sources that have both of two kinds of cells agree in what sets these apart."""

    first: CellType
    second: CellType
    sources: tuple[str, ...]
    families: tuple[FamilyAgreement, ...]


@dataclass(frozen=True)
class LaboratoryTables:
    """What the cohort tells of its laboratories."""

    sources: tuple[SourceKinds, ...]
    pairs: tuple[LaboratoryPair, ...]
    apart: tuple[KindsApart, ...]


def tables(cohort: Cohort, progress: Callable[[int, int], None] | None = None) -> LaboratoryTables:
    """Measure every pair of sources that shares two kinds, and every two kinds that several sources share."""
    plain = cohort.calibrated(())
    sources = source_kinds(plain)
    pairs = []
    for one, other in combinations(sources, 2):
        reference, laboratory = sorted((one, other), key=lambda each: -sum(each.cells.values()))
        with suppress(UsageError):  # they share too little
            families = family_effects(plain, laboratory.source, reference.source, progress)
            pairs.append(LaboratoryPair(laboratory.source, reference.source, families))
    apart = []
    for first, second in combinations(CellType, 2):
        if sum(min(each.cells.get(first, 0), each.cells.get(second, 0)) >= FEWEST_CELLS for each in sources) > 1:
            found = contrast(plain, Selection(), By.CELL_TYPE, [[first], [second]], (first, second))
            apart.append(KindsApart(first, second, tuple(each.source for each in found.sources), found.agreement()))
    return LaboratoryTables(sources, tuple(pairs), tuple(apart))


def source_kinds(cohort: Cohort) -> tuple[SourceKinds, ...]:
    """The sources of the cohort with their good cells by kind."""
    counted = cohort.query(
        "SELECT source, cell_type, count(*) AS n FROM cells WHERE quality_ok GROUP BY ALL ORDER BY source, n DESC",
        columns=("source", "cell_type", "quality_ok"),
    )
    return tuple(
        SourceKinds(str(source), {CellType(kind): int(n) for kind, n in zip(rows["cell_type"], rows["n"], strict=True)})
        for source, rows in counted.groupby("source")
        if can_be_chosen(str(source))
    )


def family_effects(
    cohort: Cohort, source: str, reference: str, progress: Callable[[int, int], None] | None = None
) -> tuple[FamilyEffect, ...]:
    """Measure it for two sources that share two kinds of cells or more; raises UsageError otherwise."""
    plain = cohort.calibrated(())
    laboratory, to = (laboratory_cells(plain, each) for each in (source, reference))
    kinds = [anchor.cell_type for anchor in shared_kinds(laboratory, to)]
    features = _features(laboratory, to)
    rng, told, floors, closures = np.random.default_rng(0), [], [], []
    for split in range(SPLITS):
        (first, second), (to_first, to_second) = _halves(laboratory, rng), _halves(to, rng)
        told.append(laboratory_effects(features, (to_first, first), (to_second, second), kinds))
        floors.append([[_delta(first, second, name, kind) for name in features] for kind in kinds])
        closures.append(_closed(fit_calibration("split", first, to_first, kinds), told[-1], features))
        if progress:
            progress(split + 1, SPLITS)
    floor, closed = np.abs(np.array(floors, dtype=np.float64)), np.array(closures)
    return tuple(
        _of_family(family, [CATALOGUE[name].family is family for name in features], told, floor, closed)
        for family in Family
        if any(CATALOGUE[name].family is family for name in features)
    )


def _features(laboratory: LaboratoryCells, to: LaboratoryCells) -> list[str]:
    """Those that most cells of both have, the surroundings left out; sizes only of the cell's form."""
    present = [np.isfinite(own.matrix).mean(axis=0) > 0.5 for own in (laboratory, to)]
    return [
        name
        for index, name in enumerate(laboratory.features)
        if present[0][index] and present[1][index] and CATALOGUE[name].region is not Region.ENVIRONMENT
    ]


def _halves(cells: LaboratoryCells, rng: np.random.Generator) -> tuple[LaboratoryCells, LaboratoryCells]:
    """Two random halves; cells of one patient in one of them."""
    units = np.arange(len(cells.patients)) if cells.patients.min() < 0 else cells.patients
    drawn = np.isin(units, rng.permutation(np.unique(units))[: len(np.unique(units)) // 2])
    return _some(cells, drawn), _some(cells, ~drawn)


def _some(cells: LaboratoryCells, rows: NDArray[np.bool_]) -> LaboratoryCells:
    return replace(cells, matrix=cells.matrix[rows], cell_types=cells.cell_types[rows], patients=cells.patients[rows])


def _delta(first: LaboratoryCells, second: LaboratoryCells, feature: str, kind: CellType) -> float:
    index = first.features.index(feature)
    found = dominance(*(own.matrix[own.cell_types == kind, index] for own in (first, second)))
    return np.nan if found is None else found.delta


def _closed(
    calibration: Calibration, told: Sequence[LaboratoryEffect], features: Sequence[str]
) -> list[tuple[bool, bool]]:
    """Whether each feature closes where the shift was found, and whether it then lies apart on the other half."""
    closing = set(calibration.closing)
    apart = np.max([np.abs(each.held_out) for each in told], axis=0) > STILL
    return [(name in closing, name in closing and bool(far)) for name, far in zip(features, apart, strict=True)]


def _of_family(
    family: Family,
    of_family: Sequence[bool],
    splits: Sequence[Sequence[LaboratoryEffect]],
    floor: NDArray[np.float64],
    closed: NDArray[np.bool_],
) -> FamilyEffect:
    own, calibrated = np.flatnonzero(of_family), family in STAINED

    def of_kind(place: int) -> KindEffect:
        raw, with_all, without = (
            np.abs([getattr(told[place], field)[own] for told in splits]) for field in ("raw", "calibrated", "held_out")
        )
        shown = KindEffect(splits[0][place].cell_type, float(np.median(raw)), float((raw < CLOSE).mean()))
        if not calibrated:
            return shown
        return replace(
            shown,
            calibrated=float(np.median(with_all)),
            held_out=float(np.median(without)),
            held_out_close=float((without < CLOSE).mean()),
        )

    closing, false = closed[:, own].sum(axis=(0, 1))
    return FamilyEffect(
        family=family,
        features=len(own),
        floor=float(np.nanmedian(floor[:, :, own])),
        kinds=tuple(of_kind(place) for place in range(len(splits[0]))),
        closing=closing / len(splits) if calibrated else None,
        false=false / closing if calibrated and closing else None,
    )
