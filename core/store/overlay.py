"""What people changed, laid over the shards whenever cells are read: corrected outlines, decisions, edits of fields.

Last comes a calibration of laboratories, where one is asked for.

A corrected cell is a row of its own in the place of the model's; whoever asks for the cells "as the model drew them"
gets that one again, to the bit.
"""

import hashlib
import json
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from core.domain.errors import StoreError
from core.domain.flags import OUTLINE_REJECTED
from core.domain.types import GivenScale
from core.store import calibrations, edit_log, outline_log
from core.store.outline_log import ANSWERED, RAISED, OutlineStatus, OutlineVerdict
from core.store.schema import CellRow, cohort_schema

CORRECTED, VERDICTS, EDITS = "_corrected", "_verdicts", "_edits"
_SCALE: Final = ("um_per_px", "um_per_px_error", "um_per_px_source")
_SAID: Final = ("outline_status", "outline_who", "outline_when", "outline_why")
_READ: Final = ("cell_id", *_SAID, "quality_flags", "severe_flags", "quality_ok")
_VERDICT_SCHEMA: Final = pa.schema(
    [("cell_id", pa.string()), *((name, cohort_schema().field(name).type) for name in _SAID)]
)


class Overlay:
    """The changes of some roots at one moment: relations for a database, and SQL that uses them.

    Parameters
    ----------
    relations
        Tables that the database must have by these names.
    scale
        That of the cells without one of their own.
    """

    def __init__(self, relations: Mapping[str, pa.Table], scale: GivenScale | None = None) -> None:
        self.relations: Final = relations
        self.scale: Final = scale

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return bool(self.relations) or self.scale is not None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the cells that `sql` reads and changes."""
        read = dict.fromkeys(edit_log.COLUMNS if EDITS in self.relations else ())
        read |= dict.fromkeys(_READ if VERDICTS in self.relations else ())
        read |= dict.fromkeys(calibrations.READ if calibrations.SHIFTS in self.relations else ())
        read |= dict.fromkeys(_SCALE if self.scale is not None else ())
        return tuple(read)

    def digest_of(self, population_id: str) -> str:
        """Text that differs when something else is changed in the cells of a population."""
        digest = hashlib.sha256(repr(self.scale).encode())
        for name, table in sorted(self.relations.items()):
            of_cells = "cell_id" in table.column_names
            told = table.filter(pc.starts_with(table["cell_id"], f"{population_id}:")) if of_cells else table
            if len(told):
                buffer = pa.BufferOutputStream()
                with pa.ipc.new_stream(buffer, told.schema) as stream:
                    stream.write_table(told.combine_chunks())
                digest.update(name.encode())
                digest.update(buffer.getvalue())
        return digest.hexdigest()

    def sql(self, source: str, columns: Sequence[str] | None = None) -> str:
        """SQL for the cells of `source` as people changed them; it has `columns`, or, with None, all of the cohort."""
        if CORRECTED in self.relations:
            listed = ", ".join(f'"{name}"' for name in columns or cohort_schema().names)
            source = (
                f"SELECT {listed} FROM ({source}) ANTI JOIN {CORRECTED} USING (cell_id) UNION ALL"
                f" SELECT {listed} FROM {CORRECTED} SEMI JOIN ({source}) USING (cell_id)"
            )
        if VERDICTS in self.relations:
            source = _decided(source)
        if self.scale is not None:
            source = _scaled(source, self.scale)
        if EDITS in self.relations:
            source = edit_log.laid_over(source, EDITS)
        shifts = self.relations.get(calibrations.SHIFTS)
        return source if shifts is None else calibrations.shifted(source, columns, shifts)


def overlay(
    roots: Sequence[Path],
    *,
    corrections: bool = True,
    edits: bool = True,
    shifts: pa.Table | None = None,
) -> Overlay:
    """The changes of all roots: what was decided of outlines, the edits of fields, and `calibrations.shift_table`."""
    relations = {} if shifts is None else {calibrations.SHIFTS: shifts}
    if corrections:
        standing = {cell_id: verdict for root in roots for cell_id, verdict in _standing_in_cohort(root).items()}
        if standing:
            relations[VERDICTS] = _verdict_table(standing)
        corrected = [table for root in roots if (table := _corrected(root)) is not None]
        if corrected:
            relations[CORRECTED] = pa.concat_tables(corrected)
    edited = edit_log.overlay(roots) if edits else None
    return Overlay(relations if edited is None else relations | {EDITS: edited})


def overlay_of(
    standing: Mapping[str, OutlineVerdict], rows: Mapping[str, CellRow], scale: GivenScale | None = None
) -> Overlay:
    """Decisions by `cell_id`, rows of corrected cells by the id of that decision, and a scale, over any table of cells.

    The scale is that of the cells without one of their own.
    """
    if not standing:
        return Overlay({}, scale)
    corrected = [row for verdict in standing.values() if (row := rows.get(verdict.drawn_in or "")) is not None]
    relations = {VERDICTS: _verdict_table(standing)}
    return Overlay(relations | ({CORRECTED: _as_table(corrected)} if corrected else {}), scale)


def at_scale(row: CellRow, scale: GivenScale | None) -> CellRow:
    """A cell's row with a scale where it has none of its own; as `Overlay.sql` does it."""
    if scale is None or row["um_per_px"] is not None:
        return row
    return {**row, "um_per_px": scale.um_per_px, "um_per_px_error": scale.error, "um_per_px_source": scale.source}


def _scaled(source: str, scale: GivenScale) -> str:
    error = "NULL" if scale.error is None else f"{scale.error:.17e}"
    known = {"um_per_px": f"{scale.um_per_px:.17e}", "um_per_px_error": error, "um_per_px_source": f"'{scale.source}'"}
    said = [f"CASE WHEN um_per_px IS NULL THEN {text} ELSE {name} END AS {name}" for name, text in known.items()]
    return f"SELECT * REPLACE ({', '.join(said)}) FROM ({source})"


def _standing_in_cohort(root: Path) -> dict[str, OutlineVerdict]:
    found = outline_log.all_standing(root)
    return {verdict.cell.cell_id: verdict for verdict in found if verdict.cell.cell_id is not None}


def _verdict_table(standing: Mapping[str, OutlineVerdict]) -> pa.Table:
    rows = [{"cell_id": cell_id, **said_of(verdict)} for cell_id, verdict in standing.items()]
    return pa.Table.from_pylist(rows, schema=_VERDICT_SCHEMA)


def _as_table(rows: Sequence[CellRow]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=cohort_schema())


def said_of(verdict: OutlineVerdict) -> dict[str, Any]:
    """The columns that say what a person decided of a cell."""
    said = (verdict.status.value, verdict.who, verdict.when, verdict.reason or None)
    return dict(zip(_SAID, said, strict=True))


def judged(row: CellRow, verdict: OutlineVerdict) -> CellRow:
    """A cell's row with a person's decision and what follows from it for its flags; as `Overlay.sql` does it."""
    flags, severe = flags_after(verdict.status, row["quality_flags"], row["severe_flags"])
    return {**row, **said_of(verdict), "quality_flags": flags, "severe_flags": severe, "quality_ok": not severe}


def flags_after(status: OutlineStatus, flags: Sequence[str], severe: Sequence[str]) -> tuple[list[str], list[str]]:
    """All flags of a cell and the severe ones after a person's decision."""
    if status is OutlineStatus.ACCEPTED:
        flags, severe = ([code for code in codes if code not in ANSWERED] for codes in (flags, severe))
    raised = [RAISED[status]] if status in RAISED else []
    return [*flags, *raised], [*severe, *(code for code in raised if code == OUTLINE_REJECTED)]


def _decided(source: str) -> str:
    answered = ", ".join(f"'{code}'" for code in ANSWERED)

    def flags(column: str, raised: Mapping[OutlineStatus, str]) -> str:
        cases = "".join(f" WHEN '{status}' THEN list_append(c.{column}, '{code}')" for status, code in raised.items())
        kept = f"list_filter(c.{column}, lambda code: code NOT IN ({answered}))"
        return f"CASE v.outline_status WHEN 'accepted' THEN {kept}{cases} ELSE c.{column} END"

    severe = flags("severe_flags", {OutlineStatus.REJECTED: OUTLINE_REJECTED})
    said = [f"v.{name} AS {name}" for name in _SAID]
    replaced = [
        *said,
        f"{flags('quality_flags', RAISED)} AS quality_flags",
        f"{severe} AS severe_flags",
        f"CASE WHEN v.outline_status IN ('accepted', 'rejected') THEN len({severe}) = 0 ELSE c.quality_ok END AS"
        " quality_ok",
    ]
    return (
        f"SELECT c.* REPLACE ({', '.join(replaced)}) FROM ({source}) AS c LEFT JOIN {VERDICTS} AS v ON c.cell_id ="
        " v.cell_id"
    )


# --- the rows of corrected cells --------------------------------------------------------------------------------------


def corrected_rows(root: Path, wanted: Collection[str]) -> dict[str, CellRow]:
    """Rows of corrected cells by the id of the decision that drew them, without those that are damaged."""
    found: dict[str, CellRow] = {}
    path = outline_log.rows_of(root)
    if path.is_file():
        starts = {f'{{"id": "{number}"'.encode() for number in wanted}
        with path.open("rb") as file:
            for line in file:
                if line.partition(b",")[0] in starts:  # to read all of it would take a millisecond a line
                    with suppress(ValueError, KeyError, TypeError):
                        kept = json.loads(line)
                        kept["row"]["created"] = datetime.fromisoformat(kept["row"]["created"])
                        found[kept["id"]] = kept["row"]
    return found


def lost_rows(root: Path) -> list[StoreError]:
    """Corrected cells of the cohort whose measurements are damaged, a sentence each: the model's count for them."""
    table = _corrected(root)
    there = set(table["cell_id"].to_pylist()) if table is not None else set()
    standing = _standing_in_cohort(root)
    lost = (name for name, verdict in standing.items() if verdict.drawn_in is not None and name not in there)
    return [
        StoreError(
            f"{outline_log.rows_of(root)}: the measurements of the corrected cell {name} are damaged, so that the"
            " model's count; correct that cell again"
        )
        for name in lost
    ]


_TABLES: Final[dict[Path, tuple[str, dict[str, pa.Table]]]] = {}
_LOCK: Final = threading.Lock()


def _corrected(root: Path) -> pa.Table | None:
    """The rows of the cohort's corrected cells as a table of its columns; None where there are none."""
    revision = outline_log.revision([root])
    with _LOCK:
        known, rows = _TABLES.get(root, ("", {}))
    if known != revision:
        wanted = {verdict.drawn_in for verdict in _standing_in_cohort(root).values() if verdict.drawn_in is not None}
        new = corrected_rows(root, missing) if (missing := wanted - rows.keys()) else {}
        made = rows | {number: _as_table([row]) for number, row in new.items()}
        rows = {number: table for number, table in made.items() if number in wanted}
        with _LOCK:
            _TABLES[root] = revision, rows
    return pa.concat_tables(rows.values()) if rows else None
