"""Calibrations of laboratories as files beside a person's populations, and what they do to cells that are read.

The values of cells are never changed: a calibration is laid over them, as people's edits are, wherever it is asked for.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from core.domain.errors import UsageError
from core.features.catalogue import CATALOGUE, feature_spec
from core.populations.calibration import Calibration
from core.store.named_files import NamedFiles

SHIFTS: Final = "_shifts"  # relation of `shift_table`
READ: Final = ("source", "calibrated_by")  # what `shifted` reads and changes beside features


def _check_features(calibration: Calibration) -> None:
    if unknown := [name for name in calibration.shifts if name not in CATALOGUE]:
        msg = f"it speaks of features that are not known, as {unknown[0]}"
        raise UsageError(msg)


_FILES: Final = NamedFiles("calibrations", "calibration", Calibration, _check_features)
save, kept, find, delete, revision = _FILES.save, _FILES.kept, _FILES.find, _FILES.delete, _FILES.revision


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
