"""Very many cells as one CSV file in a fixed order, by DuckDB.

The positions of the rows are sorted first; then the rows are read stretch by stretch.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from core.domain.errors import StoreError
from core.domain.options import Units
from core.features.catalogue import CATALOGUE
from core.store.export import SEPARATORS, check_scaled
from core.store.schema import FORMULA_STARTS, OUTLINE_COLUMNS, UNITS_KEY, renamed_sql
from core.store.shards import literal

# What a stretch takes, and the places of all cells, which go to the disk where they are too many.
_MEMORY = "512MB"
# Rows written at a time: few enough that they take little memory, enough that a file is opened for few of them.
_STRETCH = 2_000
_STRETCH_SUFFIX = ".stretch"


def write_sorted_csv(
    files: Sequence[Path],
    target: Path,
    order: Sequence[str],
    superseded: pa.Table,
    units: Units = Units.PIXELS,
) -> None:
    """Write the rows of Parquet files as one CSV file (UTF-8, with a header), without outlines.

    Lists become words separated by blanks (`core.store.export.SEPARATORS`). Text that a spreadsheet would take for a
    formula gets a leading apostrophe.
    Memory grows little with the rows: by their positions, not by their contents. Files whose rows are near each other
    in the order are read about once, others once a stretch.

    Parameters
    ----------
    files
        Parquet files, at least one; all of the same columns, among them `image_path`.
    target
        The file; its folder also takes what memory cannot hold.
    order
        Columns to sort by; together they must be unique, so that the same rows always give the same file.
    superseded
        Table of `filename` and `image_path`: images whose rows in that file are left out.
    units
        What lengths and areas are counted in; the files hold pixels.

    Raises
    ------
    StoreError
        If a file is damaged, the disk refuses, or cells lack the scale that micrometres need.
    """
    connection = duckdb.connect(
        ":memory:", config={"memory_limit": _MEMORY, "temp_directory": str(target.parent), "threads": 1}
    )
    try:
        connection.register("superseded", superseded)
        kinds = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [literal(files[0])]).fetchall()
        renamed = renamed_sql([name for name, *_ in kinds])
        source = f"(SELECT *{renamed} FROM read_parquet(?, filename = true))"
        kinds = connection.execute(
            f"DESCRIBE SELECT * EXCLUDE (filename) FROM {source}", [literal(files[0])]
        ).fetchall()
        columns = ", ".join(_as_csv(name, kind, units) for name, kind, *_ in kinds if name not in OUTLINE_COLUMNS)
        keys = ", ".join(map(_quoted, order))
        connection.execute(
            f"CREATE TABLE places AS SELECT filename, {keys}, row_number() OVER (ORDER BY {keys}) - 1 AS place "
            f"FROM {source} ANTI JOIN superseded USING (filename, image_path)",
            [[literal(file) for file in files]],
        )
        [(count,)] = connection.execute("SELECT count(*) FROM places").fetchall()
        if units is Units.MICROMETRES:
            [(without,)] = connection.execute(
                f"SELECT count(*) FROM {source} ANTI JOIN superseded USING (filename, image_path)"
                " WHERE um_per_px IS NULL",
                [[literal(file) for file in files]],
            ).fetchall()
            check_scaled(without, count)
        _write_stretches(connection, f"SELECT {columns} FROM {source} AS cells", keys, count, files[0], target)
    except (duckdb.Error, OSError) as error:
        msg = (
            f"the table {target.name} cannot be written: {error}; check the free space, then give the same command"
            " again"
        )
        raise StoreError(msg) from error
    finally:
        connection.close()
        target.with_suffix(_STRETCH_SUFFIX).unlink(missing_ok=True)


def _write_stretches(
    connection: duckdb.DuckDBPyConnection, cells: str, keys: str, count: int, first: Path, target: Path
) -> None:
    """Write the rows that have places, a stretch of them at a time; `cells` selects them, by file, from some files."""
    stretch = target.with_suffix(_STRETCH_SUFFIX)
    for start in range(0, max(count, 1), _STRETCH):  # without any row the header is written all the same
        here = f"(SELECT * FROM places WHERE place >= {start} AND place < {start + _STRETCH})"
        names = connection.execute(f"SELECT DISTINCT filename FROM {here} ORDER BY ALL").fetchall() or [(str(first),)]
        query = f"{cells} JOIN {here} AS places USING (filename, {keys}) ORDER BY place"
        rows = connection.sql(query, params=[[literal(name) for (name,) in names]])
        if start == 0:
            rows.write_csv(str(target), header=True)
            continue
        rows.write_csv(str(stretch), header=False)
        with stretch.open("rb") as part, target.open("ab") as whole:
            shutil.copyfileobj(part, whole)


def _as_csv(name: str, kind: str, units: Units) -> str:
    """SQL for a column as it stands in CSV: lists as words, text guarded, times in ISO 8601, lengths in the units."""
    column = f"cells.{_quoted(name)}"
    if units is Units.MICROMETRES and name in CATALOGUE and (power := CATALOGUE[name].length_power):
        return f"{column} * pow(cells.um_per_px, {power}) AS {_quoted(name)}"
    if name == UNITS_KEY:
        return f"'{units.value}' AS {_quoted(name)}"
    if kind.startswith("TIMESTAMP"):
        return f"strftime({column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') AS {_quoted(name)}"
    if kind.endswith("[]"):
        column = f"array_to_string({column}, '{SEPARATORS.get(name, ' ')}')"
    elif kind != "VARCHAR":
        return column
    starts = ", ".join(f"chr({ord(start)})" for start in FORMULA_STARTS)
    return f"CASE WHEN left({column}, 1) IN ({starts}) THEN chr(39) || {column} ELSE {column} END AS {_quoted(name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
