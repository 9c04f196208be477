"""Calibrating a source of the cohort to another: reading its cells, and saying what the calibration was made of."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import UsageError
from core.domain.versions import software_versions
from core.explorer import view
from core.explorer.ranking import patient_codes
from core.explorer.selection import Selection
from core.explorer.separation import Sides
from core.explorer.view import By, Grouping
from core.features.catalogue import CATALOGUE
from core.populations.calibration import Calibration, LaboratoryCells, fit_calibration
from core.store.database import Cohort

MOST_OF_A_KIND: Final = 1500  # cells of a kind in a source that are read: a median is known to a fortieth of the spread


def laboratory_cells(cohort: Cohort, source: str, features: Sequence[str] = tuple(CATALOGUE)) -> LaboratoryCells:
    """The good cells of a source, at most `MOST_OF_A_KIND` of each kind, as they were measured.

    Raises
    ------
    UsageError
        If there is no such source.
    """
    selection = Selection(sources=(source,))
    seen = view.counts(cohort, selection)
    if not seen.cells:
        there = ", ".join(view.counts(cohort, Selection()).sources)
        msg = f"the cohort has no good cell of a source {source!r}; its sources are {there or 'none'}"
        raise UsageError(msg)
    cells = view.values(cohort, selection, features, By.CELL_TYPE, sample=MOST_OF_A_KIND)
    return LaboratoryCells(
        source=source,
        features=tuple(features),
        matrix=cells.matrix,
        cell_types=cells.cell_type,
        patients=patient_codes(cells.source, cells.patient_id),
        scales=None if seen.without_scale else seen.scales,
    )


def calibrate(
    cohort: Cohort,
    name: str,
    source: str,
    reference: str,
    kinds: Sequence[CellType] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Calibrate a source to a reference source; raises UsageError as `fit_calibration` and `laboratory_cells`."""
    plain = cohort.calibrated(())
    laboratory, to = (laboratory_cells(plain, each) for each in (source, reference))
    made = fit_calibration(name, laboratory, to, kinds, progress=progress)
    return replace(
        made,
        made_of={
            stored.population.population_id: stored.population.generation
            for stored in plain.populations()
            if stored.population.source in (source, reference)
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=software_versions(),
    )


def equal_by_construction(cohort: Cohort, selection: Selection, by: Grouping, sides: Sides) -> str | None:
    """Why a calibrated comparison of two sides says nothing of tone, colour and texture; None where it may.

    Cells of one kind that the calibration was made from, one side of one laboratory and the other of another, were set
    equal by it.
    """
    anchors = {anchor.cell_type for each in cohort.calibrations for anchor in each.anchors}
    if not anchors or len(sides) != 2:
        return None
    kinds = view.kinds_by_source(cohort, selection, by)
    there: list[dict[str, set[CellType]]] = []
    for names in sides:
        of_side: dict[str, set[CellType]] = {}
        for name in names:
            for source, found in kinds.get(name, {}).items():
                of_side.setdefault(source, set()).update(found)
        there.append(of_side)
    if set(there[0]) & set(there[1]):  # they share a source
        return None
    first, second = ({kind for kinds in side.values() for kind in kinds} for side in there)
    shared = [CELL_TYPES[kind].plural for kind in CellType if kind in first & second & anchors]
    if not shared:
        return None
    return (
        f"The {' and '.join(shared)} of both sides were used for the calibration, which made them equal: that tone,"
        " colour and texture agree here shows nothing."
    )
