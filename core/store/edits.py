"""What a reader may change in cells, of the shipped populations too: relabel, annotate, exclude, and undo any of it.

Nothing is overwritten: every change is a line in the log of the user's root (`core.store.edit_log`), with who, when,
the old and the new value, and `Cohort.query` applies the log to the shards.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pandas as pd

from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.store import edit_log
from core.store.database import Cohort
from core.store.edit_log import Edit, Field
from core.store.shards import is_shipped

LABELS: Final = (Field.CELL_TYPE, Field.PATIENT_ID, Field.DIAGNOSIS)

_LONGEST: Final = 2000  # characters of a value


@dataclass(frozen=True)
class Change:
    """One change of one field of a cell; `restored` where it went back to the value that the source filed."""

    when: datetime
    who: str
    field: Field
    old: str | None
    new: str | None
    restored: bool


def relabel(cohort: Cohort, cell_ids: Sequence[str], field: Field, value: str, *, who: str) -> int:
    """File cells under another cell type, patient or diagnosis (one of `LABELS`); returns how many changed.

    Raises
    ------
    StoreError
        If the value is not allowed, a cell is unknown, or the log cannot be written.
    """
    if field not in LABELS:
        msg = f"a cell can be relabelled in {', '.join(LABELS)}, but not in {field}; annotate or exclude it instead"
        raise StoreError(msg)
    if field is Field.CELL_TYPE and value not in list(CellType):
        msg = f"{value!r} is no cell type; there are {', '.join(CellType)}"
        raise StoreError(msg)
    return _set(cohort, cell_ids, field, value, who=who)


def annotate(cohort: Cohort, cell_ids: Sequence[str], note: str, *, who: str) -> int:
    """Replace the note of cells; the old one stays in the history. Returns how many changed; raises StoreError."""
    return _set(cohort, cell_ids, Field.NOTE, note, who=who)


def exclude(cohort: Cohort, cell_ids: Sequence[str], reason: str, *, who: str) -> int:
    """Leave cells out of every summary, with a reason; returns how many changed, raises StoreError."""
    return _set(cohort, cell_ids, Field.EXCLUDED_REASON, reason, who=who)


def take_back(cohort: Cohort, cell_ids: Sequence[str], field: Field, *, who: str) -> int:
    """Restore a field of cells to the value that the source filed (no note, not excluded); returns how many changed.

    Raises
    ------
    StoreError
        As `relabel`.
    """
    changed = edit_log.overlay(cohort.roots)
    among = set() if changed is None else {row["cell_id"] for row in changed.to_pylist() if row[f"{field}_changed"]}
    return _append(cohort, [cell for cell in cell_ids if cell in among], field, None, who=who, restores=True)


def log(cohort: Cohort) -> tuple[Edit, ...]:
    """Every edit, root by root in the order in which they were made; damaged lines are in `Cohort.problems`."""
    return tuple(edit for root in cohort.roots for edit in edit_log.read(root).records)


def history(cohort: Cohort, cell_id: str) -> tuple[Change, ...]:
    """The changes of a cell, the first one first; empty for a cell that is as its source filed it."""
    filed: dict[Field, str | None] = {}
    changes = []
    for edit in log(cohort):
        if cell_id in edit.old:
            old = edit.old[cell_id]
            filed.setdefault(edit.field, old)
            new = filed[edit.field] if edit.restores else edit.value
            changes.append(Change(edit.when, edit.who, edit.field, old, new, edit.restores))
    return tuple(changes)


def _set(cohort: Cohort, cell_ids: Sequence[str], field: Field, value: str, *, who: str) -> int:
    return _append(cohort, cell_ids, field, plain_text(value, field.replace("_", " ")), who=who, restores=False)


def _append(
    cohort: Cohort, cell_ids: Sequence[str], field: Field, value: str | None, *, who: str, restores: bool
) -> int:
    who = plain_text(who, "name of who makes the edit")
    with edit_log.appending(_own_root(cohort)) as edits:
        # Looked up while the log is held: no other session changes the old value in between.
        sql = f"SELECT cell_id, {field} AS old FROM cells WHERE cell_id IN (SELECT unnest($ids))"
        rows = cohort.query(sql, {"ids": list(cell_ids)}, columns=("cell_id", field))
        there = dict(zip(rows["cell_id"], (None if pd.isna(old) else old for old in rows["old"]), strict=True))
        unknown = [cell for cell in cell_ids if cell not in there]
        if unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            msg = (
                f"the cohort has no cells {', '.join(unknown[:3])}{more}; look at the cohort again, they may have been"
                " deleted"
            )
            raise StoreError(msg)
        old = {cell: there[cell] for cell in cell_ids if restores or there[cell] != value}
        if old:
            edits.append(Edit(datetime.now(UTC), who, field, value, restores, old))
    return len(old)


def _own_root(cohort: Cohort) -> Path:
    root = cohort.roots[-1]
    if is_shipped(root):
        msg = (
            "edits are kept in the folder of your own populations, but this cohort was opened without one; set"
            " LEUKOSCOPE_COHORT"
        )
        raise StoreError(msg)
    return root


def plain_text(text: str, what: str) -> str:
    """Return the text without blanks at its ends; raises StoreError if empty, too long, or with control characters."""
    text = text.strip()
    if not text or len(text) > _LONGEST or any(unicodedata.category(c) in ("Cc", "Cs") and c != "\n" for c in text):
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        msg = f"the {what} must be 1 to {_LONGEST} characters of plain text, but is {shown!r}"
        raise StoreError(msg)
    return text
