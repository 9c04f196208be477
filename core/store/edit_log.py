"""The log of what readers have changed in cells: one line of JSON per edit, appended under a lock, never rewritten.

`<root>/edits.jsonl` of a user's root. The shards keep what was measured and filed; the log is applied on top of them. A
line is whole or it is left out: one that a power cut has torn is reported and skipped, and the next edit begins on a
line of its own. Where the disk is full the log stays as it was.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Final, Self

import pyarrow as pa

from core.domain.cell_types import CellType
from core.domain.errors import CoreError, StoreError
from core.domain.flags import EXCLUDED
from core.support import files, locks, records

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

    def to_json(self) -> str:
        """Return the edit as one line."""
        return records.to_json(self) + "\n"

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Read a line; raises CoreError when it is damaged."""
        return records.from_json(cls, line, others=True)


@dataclass(frozen=True, eq=False)
class Log:
    """The edits of one root in their order, and what could not be read, in words."""

    edits: tuple[Edit, ...] = ()
    problems: tuple[StoreError, ...] = ()


def read(root: Path) -> Log:
    """Return the log of a root; empty where there is none, and with a problem where it cannot be read."""
    path = root / _LOG
    try:
        found = path.stat()
        return _read(path, found.st_size, found.st_mtime_ns)
    except FileNotFoundError:
        return Log()
    except OSError as error:
        msg = (
            f"{path}: cannot be read ({error.strerror or error}); no edit counts until it can: check the permissions"
            " of the file"
        )
        return Log((), (StoreError(msg),))


def revision(roots: Sequence[Path]) -> str:
    """Text that changes with every edit; empty where there is none."""
    stats = [(root / _LOG).stat() for root in roots if (root / _LOG).exists()]
    return "".join(f"-{stat.st_size}-{stat.st_mtime_ns}" for stat in stats)


@contextmanager
def appending(root: Path) -> Iterator[list[Edit]]:
    """Hold the log of a root under a lock; edits put in the list are on disk when the block ends. Raises StoreError."""
    path = root / _LOG
    edits: list[Edit] = []
    try:
        with locks.lock(path), path.open("r+b", buffering=0) as file:
            yield edits
            text = "".join(edit.to_json() for edit in edits).encode()
            if not text:
                return
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            torn = size > 0 and file.read(1) != b"\n"
            try:
                _write(file, b"\n" * torn + text)
            except BaseException:
                file.truncate(size)
                raise
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}; check the free space and the permissions of the folder"
        raise StoreError(msg) from error


def overlay(roots: Sequence[Path]) -> pa.Table | None:
    """The edits of all roots as a table: `cell_id`, each field's value and whether it is changed; None if no edit."""
    return _overlay(tuple(edit for root in roots for edit in read(root).edits))


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


def _write(file: FileIO, text: bytes) -> None:
    """Write all of a text and have it on the disk: of a full one a part of it may be taken first."""
    rest = memoryview(text)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


@lru_cache(maxsize=8)
def _read(path: Path, size: int, changed_ns: int) -> Log:  # noqa: ARG001 (size and time tell one state of the file from the next)
    edits, problems = [], []
    for number, line in enumerate(files.read_bytes(path).splitlines(), start=1):
        try:
            edits.append(Edit.from_json(line))
        except CoreError:
            problems.append(
                StoreError(
                    f"{path}: line {number} is damaged and was left out; see to it what that edit was, and make it"
                    " again"
                )
            )
    return Log(tuple(edits), tuple(problems))
