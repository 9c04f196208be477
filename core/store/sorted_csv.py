"""Very many cells as one CSV file in a fixed order, sorted by DuckDB with a bounded memory."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from core.errors import StoreError
from core.store.schema import FORMULA_STARTS, OUTLINE_COLUMNS
from core.store.shards import literal

# Sorting needs little, but the widest rows of two threads are to fit.
_MEMORY = "1GB"


def write_sorted_csv(files: Sequence[Path], target: Path, order: Sequence[str], superseded: pa.Table) -> None:
    """Write the rows of Parquet files as one CSV file (UTF-8, with a header), without outlines; lists become words separated by blanks.

    Text that a spreadsheet would take for a formula gets a leading apostrophe.

    Parameters
    ----------
    files : sequence of Path
        At least one; all of the same columns, among them `image_path`.
    target : Path
        The file; its folder also takes what memory cannot hold.
    order : sequence of str
        Columns to sort by; together they are to be unique, so that the same rows always give the same file.
    superseded : table of `filename` and `image_path`
        Images whose rows in that file are left out.

    Raises
    ------
    StoreError
        If a file is damaged or the disk refuses.
    """
    connection = duckdb.connect(":memory:", config={"memory_limit": _MEMORY, "temp_directory": str(target.parent), "threads": 2})
    try:
        connection.register("superseded", superseded)
        kinds = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [literal(files[0])]).fetchall()
        columns = ", ".join(_as_csv(name, kind) for name, kind, *_ in kinds if name not in OUTLINE_COLUMNS)
        query = (
            f"SELECT {columns} FROM read_parquet(?, filename = true) AS cells "
            "ANTI JOIN superseded ON cells.filename = superseded.filename AND cells.image_path = superseded.image_path "
            f"ORDER BY {', '.join(f'cells.{_quoted(name)}' for name in order)}"
        )
        connection.sql(query, params=[[literal(file) for file in files]]).write_csv(str(target), header=True)
    except duckdb.Error as error:
        msg = f"the table {target.name} cannot be written: {error}; check the free space, then give the same command again"
        raise StoreError(msg) from error
    finally:
        connection.close()


def _as_csv(name: str, kind: str) -> str:
    """SQL for a column as it stands in CSV: lists as words, text guarded, times in ISO 8601."""
    column = f"cells.{_quoted(name)}"
    if kind.startswith("TIMESTAMP"):
        return f"strftime({column} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ') AS {_quoted(name)}"
    if kind.endswith("[]"):
        column = f"array_to_string({column}, ' ')"
    elif kind != "VARCHAR":
        return column
    starts = ", ".join(f"chr({ord(start)})" for start in FORMULA_STARTS)
    return f"CASE WHEN left({column}, 1) IN ({starts}) THEN chr(39) || {column} ELSE {column} END AS {_quoted(name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
