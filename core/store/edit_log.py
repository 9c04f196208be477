"""The log of what readers have changed in cells (`core.support.journal`): a line per edit.

`<root>/edits.jsonl` of a user's root. The shards keep what was measured and filed; the log is applied on top of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final

import pyarrow as pa

from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.domain.flags import EXCLUDED
from core.support import journal
from core.support.journal import Journal, LogContent

_LOG: Final = "edits.jsonl"


class Field(StrEnum):
    """What a reader may change; each is a column of the cohort."""

    CELL_TYPE = "cell_type"
    PATIENT_ID = "patient_id"
    DIAGNOSIS = "diagnosis"
    NOTE = "note"
    EXCLUDED_REASON = "excluded_reason"


COLUMNS: Final = (
    "cell_id",
    *Field,
    "quality_flags",
    "severe_flags",
    "quality_ok",
)  # what `laid_over` reads and changes


@dataclass(frozen=True, eq=False)
class Edit:
    """One field of some cells set to one value, or restored to what the shard says (`restores`, with value None).

    `old` holds the value before it by cell, in the order of the cells given; `when` has a time zone.
    """

    when: datetime
    who: str
    field: Field
    value: str | None
    restores: bool
    old: Mapping[str, str | None]

    def __post_init__(self) -> None:
        """Refuse what no reader could have entered, as a log that another program has written may hold it."""
        if self.when.tzinfo is None:
            msg = f"the time of an edit must have a time zone, but is {self.when.isoformat()}"
            raise StoreError(msg)
        if self.field is Field.CELL_TYPE and self.value is not None and self.value not in set(CellType):
            msg = f"{self.value!r} is no cell type; there are {', '.join(CellType)}"
            raise StoreError(msg)


_EDITS: Final = Journal(
    Edit,
    damaged="see to it what that edit was, and make it again",
    unread="no edit counts until it can: check the permissions of the file",
)


def read(root: Path) -> LogContent[Edit]:
    """Return the log of a root; empty where there is none, and with a problem where it cannot be read."""
    return _EDITS.read(root / _LOG)


def revision(roots: Sequence[Path]) -> str:
    """Text that changes with every edit; empty where there is none."""
    return journal.revision(*(root / _LOG for root in roots))


@contextmanager
def appending(root: Path) -> Iterator[list[Edit]]:
    """Hold the log of a root under a lock; edits put in the list are on disk when the block ends. Raises StoreError."""
    with _EDITS.appending(root / _LOG) as edits:
        yield edits


def overlay(roots: Sequence[Path]) -> pa.Table | None:
    """The edits of all roots as a table: `cell_id`, each field's value and whether it is changed; None if no edit."""
    return _overlay(tuple(edit for root in roots for edit in read(root).records))


@lru_cache(maxsize=8)
def _overlay(edits: tuple[Edit, ...]) -> pa.Table | None:
    changed: dict[str, dict[Field, str | None]] = {}
    for edit in edits:
        for cell in edit.old:
            if edit.restores:
                changed.get(cell, {}).pop(edit.field, None)
            else:
                changed.setdefault(cell, {})[edit.field] = edit.value
    changed = {cell: fields for cell, fields in changed.items() if fields}
    if not changed:
        return None
    columns = {"cell_id": pa.array(changed, pa.string())}
    for field in Field:
        columns[field] = pa.array([fields.get(field) for fields in changed.values()], pa.string())
        columns[f"{field}_changed"] = pa.array([field in fields for fields in changed.values()], pa.bool_())
    return pa.table(columns)


def laid_over(source: str, edits: str) -> str:
    """SQL for the cells of `source` as changed by the relation `edits` (see `overlay`).

    An excluded cell is not good, and has a flag for it.
    """
    fields = [f"CASE WHEN e.{field}_changed THEN e.{field} ELSE c.{field} END AS {field}" for field in Field]
    flags = [
        f"CASE WHEN e.excluded_reason IS NULL THEN c.{column} ELSE list_append(c.{column}, '{EXCLUDED}') END AS"
        f" {column}"
        for column in ("quality_flags", "severe_flags")
    ]
    good = "c.quality_ok AND e.excluded_reason IS NULL AS quality_ok"
    return (
        f"SELECT c.* REPLACE ({', '.join([*fields, *flags, good])}) FROM ({source}) AS c LEFT JOIN {edits} AS e ON"
        " c.cell_id = e.cell_id"
    )
