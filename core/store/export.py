"""Cells as files: CSV that a spreadsheet opens safely, and Parquet. A table has one unit, and says which.

It stands in the column `units`, in the metadata of a Parquet file (`core.store.schema.UNITS_KEY`), and beside a CSV
file in its description, which also says what each column means: `<name>.csv-metadata.json`, where CSV on the Web (W3C)
looks for it.
"""

import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.domain.errors import StoreError, UsageError
from core.domain.options import Units
from core.domain.versions import software_versions
from core.features.catalogue import CATALOGUE
from core.store.schema import OUTLINE_COLUMNS, UNITS_KEY, cohort_schema, guarded
from core.store.shards import write_parquet
from core.support import files
from core.support.text import encodable

# What stands between the members of a list in CSV: codes hold no blank, but notes are sentences.
_BLANK: Final = " "
SEPARATORS: Final = {"notes": "; "}
_KINDS: Final = {"string": "string", "int32": "integer", "double": "double", "bool": "boolean"}


def in_units(frame: pd.DataFrame, units: Units) -> pd.DataFrame:
    """Return cells as they are stored, in pixels, with lengths and areas in a unit that the column `units` names.

    Raises
    ------
    StoreError
        If micrometres are asked for and cells have no scale; the message counts them.
    """
    if units is Units.PIXELS:
        return frame.assign(**{UNITS_KEY: units.value})
    scale = pd.to_numeric(frame["um_per_px"])
    check_scaled(int(scale.isna().sum()), len(frame))
    powers = {name: CATALOGUE[name].length_power for name in frame.columns if name in CATALOGUE}
    converted = {name: pd.to_numeric(frame[name]) * scale**power for name, power in powers.items() if power}
    return frame.assign(**converted, **{UNITS_KEY: units.value})


def check_scaled(without: int, cells: int) -> None:
    """Raise StoreError where cells that are wanted in micrometres have no scale."""
    if without:
        msg = (
            f"expected a table in micrometres, but {without:,} of {cells:,} cells have no scale (um_per_px); give the"
            " scale of their images, or ask for --units px"
        )
        raise StoreError(msg)


def write_cells(frame: pd.DataFrame, path: Path, units: Units, *, excel: bool = False) -> None:
    """Write cells as they are stored into a `.csv` file with its description, or a `.parquet` file, in a unit.

    `excel` is as in `to_csv`.

    Raises
    ------
    StoreError
        As `in_units` does.
    UsageError
        If the name ends otherwise.
    """
    if path.suffix == ".parquet":
        to_parquet(in_units(frame, units), path, units)
    elif path.suffix == ".csv":
        content = to_csv(in_units(frame, units), excel=excel)
        files.write_bytes(path, content)
        kept = [name for name in frame.columns if name not in OUTLINE_COLUMNS]
        files.write_bytes(description_of(path), described(path.name, kept, units))
    else:
        msg = f"--out must end in .csv or .parquet, but is {path.name}"
        raise UsageError(msg)


def description_of(path: Path) -> Path:
    """Where the description of a CSV file is."""
    return path.with_name(f"{path.name}-metadata.json")


def units_beside(path: Path) -> Units | None:
    """What the description beside a CSV file says its lengths are counted in; None without one that says it."""
    try:
        return Units(json.loads(description_of(path).read_bytes())[UNITS_KEY])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def described(name: str, columns: Sequence[str], units: Units) -> bytes:
    """Return the description of a CSV file: its unit, and name, type, meaning and unit of each column, as JSON."""
    schema = cohort_schema(units)
    text = {
        "@context": "http://www.w3.org/ns/csvw",
        "url": name,
        UNITS_KEY: units.value,
        "software": software_versions(),
        "tableSchema": {
            "columns": [
                _column(schema.field(column)) if column in schema.names else {"name": column} for column in columns
            ]
        },
    }
    return (json.dumps(text, indent=1, ensure_ascii=False) + "\n").encode()


def _column(field: pa.Field) -> dict[str, Any]:
    said = {key.decode(): text.decode() for key, text in field.metadata.items()}
    separator = {"separator": SEPARATORS.get(field.name, _BLANK)} if pa.types.is_list(field.type) else {}
    kind = "dateTime" if pa.types.is_timestamp(field.type) else _KINDS.get(str(field.type), "string")
    meant = {"titles": said["label"], "unit": said["unit"]} if "unit" in said else {}
    return {"name": field.name, "datatype": kind, "dc:description": said["description"], **meant, **separator}


def to_csv(frame: pd.DataFrame, *, excel: bool = False) -> bytes:
    """Return a table as CSV (RFC 4180, UTF-8, with a header), without outlines; lists become words with blanks between.

    Notes, which are sentences, have a semicolon between them. Text that a spreadsheet would take for a formula gets a
    leading apostrophe, column names too; numbers never do. For Excel a mark at the beginning says that it is UTF-8,
    which Excel does not see otherwise.
    """
    flat = frame.drop(columns=[name for name in OUTLINE_COLUMNS if name in frame])
    for name in flat.columns:
        if not (pd.api.types.is_numeric_dtype(flat[name]) or pd.api.types.is_datetime64_any_dtype(flat[name])):
            flat[name] = flat[name].map(partial(_as_text, separator=SEPARATORS.get(name, _BLANK)))
    # With the line end of RFC 4180 a carriage return inside a text is quoted, and cannot begin a row of its own.
    text = flat.rename(columns=guarded).to_csv(index=False, lineterminator="\r\n")
    return text.encode("utf-8-sig" if excel else "utf-8")


def to_parquet(frame: pd.DataFrame, path: Path, units: Units = Units.PIXELS) -> None:
    """Write a table in a unit as Parquet with each known column's type, description and unit.

    The file appears only when it is complete.
    """
    write_parquet(path, _arrow(frame, units))


def cells_parquet(frame: pd.DataFrame, units: Units) -> bytes:
    """Return cells as they are stored as Parquet in a unit; raises StoreError as `in_units` does."""
    buffer = io.BytesIO()
    pq.write_table(_arrow(in_units(frame, units), units), buffer, compression="zstd")
    return buffer.getvalue()


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Return any table as Parquet, its columns as they are."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _arrow(frame: pd.DataFrame, units: Units) -> pa.Table:
    schema = cohort_schema(units)
    texts = frame.select_dtypes(["object", "string"]).columns
    frame = frame.assign(
        **{
            name: frame[name].map(lambda value: encodable(value) if isinstance(value, str) else value)
            for name in texts
            if name not in OUTLINE_COLUMNS
        }
    )
    others = pa.Table.from_pandas(
        frame[[name for name in frame.columns if name not in schema.names]], preserve_index=False
    ).schema
    wanted = pa.schema(
        [(schema if name in schema.names else others).field(name) for name in frame.columns], metadata=schema.metadata
    )
    return pa.Table.from_pandas(frame, schema=wanted, preserve_index=False)


def _as_text(value: object, separator: str) -> object:
    """Text with a guard; lists joined; numbers (a column may mix them) and nulls unchanged."""
    if isinstance(value, str):
        return guarded(encodable(value))
    if isinstance(value, bool | int | float) or value is None:
        return value
    return guarded(encodable(separator.join(map(str, value)))) if hasattr(value, "__iter__") else value
