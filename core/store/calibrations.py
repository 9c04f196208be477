"""Calibrations of laboratories as files beside a person's populations, and what they do to cells that are read.

The values of cells are never changed: a calibration is laid over them, as people's edits are, wherever it is asked for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from core.domain.errors import CoreError, StoreError, UsageError
from core.features.catalogue import CATALOGUE, feature_spec
from core.populations.calibration import Calibration
from core.store.schema import check_population_id
from core.support import files, records

SHIFTS: Final = "_shifts"  # relation of `shift_table`
READ: Final = ("source", "calibrated_by")  # what `shifted` reads and changes beside features
_FOLDER: Final = "calibrations"


def save(root: Path, calibration: Calibration) -> None:
    """Keep a calibration, in the place of one of the same name; raises StoreError if the name or the disk refuses."""
    path = _path(root, calibration.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, records.to_json(calibration, indent=1) + "\n", durable=True)
    except OSError as error:
        msg = f"{path} cannot be written ({error}); free space there or set LEUKOSCOPE_COHORT"
        raise StoreError(msg) from error


def kept(root: Path) -> tuple[tuple[Calibration, ...], tuple[StoreError, ...]]:
    """The calibrations of a root by name, and those that are damaged, an error each."""
    found, problems = [], []
    for path in sorted((root / _FOLDER).glob("*.json")):
        try:
            found.append(_read(path))
        except StoreError as error:
            problems.append(error)
    return tuple(found), tuple(problems)


def find(root: Path, name: str) -> Calibration:
    """One calibration; raises StoreError naming those there are, or what is wrong with its file."""
    path = _path(root, name)
    if not path.is_file():
        there = ", ".join(each.name for each in kept(root)[0]) or "none"
        msg = f"there is no calibration {name!r}; there are: {there}"
        raise StoreError(msg)
    return _read(path)


def delete(root: Path, name: str) -> None:
    """Remove one; raises StoreError if there is none."""
    find(root, name)
    _path(root, name).unlink(missing_ok=True)


def _path(root: Path, name: str) -> Path:
    return root / _FOLDER / f"{check_population_id(name)}.json"


def _read(path: Path) -> Calibration:
    try:
        calibration = records.from_json(Calibration, files.read_text(path))
        if unknown := [name for name in calibration.shifts if name not in CATALOGUE]:
            msg = f"it speaks of features that are not known, as {unknown[0]}"
            raise UsageError(msg)
    except (OSError, ValueError, CoreError) as error:
        msg = f"{path}: not a calibration ({error}); make it again"
        raise StoreError(msg) from error
    return calibration


def check_together(calibrations: Sequence[Calibration]) -> None:
    """Raise UsageError where calibrations cannot be applied at once: a source twice, or set to different references."""
    sources = [each.source for each in calibrations]
    references = {each.reference for each in calibrations}
    if len(references) > 1:
        msg = (
            f"calibrations are applied together where all lead to one reference, but these lead to"
            f" {' and '.join(sorted(references))}; choose those of one"
        )
        raise UsageError(msg)
    twice = sorted({source for source in sources if sources.count(source) > 1 or source in references})
    if twice:
        msg = f"{twice[0]} would be calibrated twice; choose one calibration for it"
        raise UsageError(msg)


# --- laid over cells --------------------------------------------------------------------------------------------------


def shift_table(calibrations: Sequence[Calibration]) -> pa.Table:
    """A row for each calibrated source: what each feature is multiplied by, on a logarithmic axis, or what is added."""
    features = [name for name in CATALOGUE if any(name in each.shifts for each in calibrations)]
    columns = {
        "source": pa.array([each.source for each in calibrations], pa.string()),
        "calibrated_by": pa.array([each.name for each in calibrations], pa.string()),
    }
    for name in features:
        shifts = [each.shifts[name].shift if name in each.shifts else 0.0 for each in calibrations]
        columns[name] = pa.array(np.exp(shifts) if feature_spec(name).log_axis else shifts, pa.float64())
    return pa.table(columns)


def shifted(source: str, columns: Sequence[str] | None, shifts: pa.Table) -> str:
    """SQL for the cells of `source` with the relation `SHIFTS` laid over; it has `columns`, or all of the cohort."""
    replaced = [
        f'CASE WHEN s.source IS NULL THEN c."{name}" ELSE c."{name}" {"*" if feature_spec(name).log_axis else "+"}'
        f' s."{name}" END AS "{name}"'
        for name in shifts.column_names
        if name in CATALOGUE and (columns is None or name in columns)
    ]
    joined = f"({source}) AS c LEFT JOIN {SHIFTS} AS s ON c.source = s.source"
    return f"SELECT c.* REPLACE ({', '.join(['s.calibrated_by AS calibrated_by', *replaced])}) FROM {joined}"
