"""A table of measured cells made into a population: CSV or Parquet, checked value by value, imported whole or not.

Columns are those of the cohort (`core.store.schema`): features of the catalogue, and what is known of the cell, such as
`cell_type`, `patient_id`, `um_per_px`, `image_name`. An empty field is an absent value. A table exported from the
cohort can be imported again.
"""

import csv
import hashlib
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from core.domain.cell_types import CellType
from core.domain.errors import DataSetError
from core.domain.flags import NOT_OK_IN_TABLE
from core.features.catalogue import CATALOGUE
from core.store.schema import (
    FORMER_NAMES,
    FORMULA_STARTS,
    OUTLINE_COLUMNS,
    CellRow,
    Population,
    arrow_schema,
    check_relative,
)
from core.store.shards import write_population

ALIASES: Final = {
    "patient": "patient_id",
    "image_path": "image_name",
    **{former: name for name, former in FORMER_NAMES.items()},
}

_SET_ANEW: Final = ("cell_id", "population", "source", "tissue", "absent", "created")
_SHARD_CELLS: Final = 1000
_TRUTH: Final = {"true": True, "false": False, "1": True, "0": False}
_KINDS: Final = {field.name: field.type for field in arrow_schema() if field.name not in _SET_ANEW}


class Units(StrEnum):
    """What lengths and areas of a table are counted in."""

    PIXELS = "px"
    MICROMETRES = "um"


@dataclass(frozen=True)
class TableColumns:
    """What a table holds: columns that are taken, columns that are not, missing features, and cell types."""

    taken: tuple[str, ...]
    not_taken: tuple[str, ...]
    missing: tuple[str, ...]
    cell_types: tuple[CellType, ...]

    @property
    def cell_type(self) -> CellType | None:
        """The type of a population of these cells: theirs if all are of one, OTHER for several, None if not given."""
        return None if not self.cell_types else self.cell_types[0] if len(self.cell_types) == 1 else CellType.OTHER


def look(file: Path) -> TableColumns:
    """Read what columns and cell types a table has; raises DataSetError for one that cannot be imported."""
    names = _names(file)
    taken = {ALIASES.get(name, name): name for name in names if ALIASES.get(name, name) in _KINDS}
    if len(taken) < sum(ALIASES.get(name, name) in _KINDS for name in names) or len(set(names)) < len(names):
        msg = f"{file.name}: two columns hold the same; columns must differ in their names, and {_either_name()}"
        raise DataSetError(msg)
    if not any(name in CATALOGUE for name in taken):
        there = ", ".join(names[:5])
        msg = (
            f"{file.name}: has no feature of the catalogue, only {there}...; name columns as `python -m core catalogue`"
            " does"
        )
        raise DataSetError(msg)
    types: set[CellType] = set()
    if "cell_type" in taken:
        for first, batch in _batches(file, [taken["cell_type"]]):
            types |= {
                CellType(value) for value in _column(file, first, batch.column(0), "cell_type") if value is not None
            }
    return TableColumns(
        taken=tuple(taken),
        not_taken=tuple(name for name in names if name not in taken.values()),
        missing=tuple(name for name in CATALOGUE if name not in taken),
        cell_types=tuple(kind for kind in CellType if kind in types),
    )


def preview(file: Path, rows: int) -> pd.DataFrame:
    """The first rows of a table as they are."""
    if file.suffix.lower() == ".parquet":
        first: pd.DataFrame = next(pq.ParquetFile(file).iter_batches(rows)).to_pandas()
        return first
    return pd.read_csv(file, nrows=rows, encoding="utf-8-sig", dtype=str)


@contextmanager
def uploaded(name: str, data: bytes) -> Iterator[Path]:
    """An upload as a temporary file, under its own name as far as that is harmless, because messages name it."""
    with tempfile.TemporaryDirectory() as folder:
        letters = (letter if letter.isalnum() or letter in "-_. " else "_" for letter in Path(name).name)
        path = Path(folder, "".join(letters).lstrip(".") or "table")
        path.write_bytes(data)
        yield path


def import_table(root: Path, population: Population, file: Path, *, units: Units, replace: bool = False) -> int:
    """Import the cells of a table as a population of the user's own; returns how many.

    Parameters
    ----------
    root
        Folder of populations.
    population
        Its description; a cell whose row gives no type, or no scale, takes the population's.
    file
        The table: `.csv` (UTF-8, comma, point) or `.parquet`.
    units
        What lengths and areas in it are counted in. They are stored in pixels, so micrometres need a scale.
    replace
        Replace a population of the same id.

    Raises
    ------
    DataSetError
        If a value is no finite number, or does not fit its column, by row and column; nothing is written then.
    StoreError
        If the id is taken and not `replace`, or the disk refuses.
    """
    rows = _cells(file, look(file), population, units)
    return write_population(root, population, iter(lambda: list(islice(rows, _SHARD_CELLS)), []), replace=replace)


def _cells(file: Path, columns: TableColumns, population: Population, units: Units) -> Iterator[CellRow]:
    """Every row as the store keeps it; raises DataSetError for a cell that comes twice, and where there is none."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()[:16]
    now = datetime.now(UTC)
    seen: dict[str, int] = {}
    for number, row in _rows(file, columns):
        absent = dict.fromkeys(columns.missing, "not in the imported table")
        absent |= {name: "empty in the imported table" for name in row if name in CATALOGUE and row[name] is None}
        cell = _row(row, population, units, f"{file.name}, row {number}")
        known = cell.get("image_sha256") is not None and cell.get("cell_index") is not None
        key = f"{cell['image_sha256'][:16]}:{cell['cell_index']}" if known else f"{digest}:{number}"
        if key in seen:
            msg = f"{file.name}: rows {seen[key]} and {number} are the same cell of the same image; delete one"
            raise DataSetError(msg)
        seen[key] = number
        yield {
            **cell,
            "cell_id": f"{population.population_id}:{key}",
            "cell_index": cell.get("cell_index") or 0,
            "image_name": cell.get("image_name") or f"{file.stem}/{number}",
            "absent": json.dumps(absent, sort_keys=True),
            "created": now,
        }
    if not seen:
        msg = f"{file.name}: has no rows; choose a table with a row per cell"
        raise DataSetError(msg)


def _rows(file: Path, columns: TableColumns) -> Iterator[tuple[int, CellRow]]:
    """The taken columns of every row, with its number; raises DataSetError for a value that does not fit its column."""
    names = {ALIASES.get(name, name): name for name in _names(file)}
    for first, batch in _batches(file, [names[name] for name in columns.taken]):
        values = [_column(file, first, batch.column(index), name) for index, name in enumerate(columns.taken)]
        for number, row in enumerate(zip(*values, strict=True), start=first):
            yield number, dict(zip(columns.taken, row, strict=True))


def _row(row: CellRow, population: Population, units: Units, where: str) -> CellRow:
    """A row as the store keeps it: of the population, in pixels, its flags in agreement."""
    scale = row.get("um_per_px") or population.um_per_px
    if units is Units.MICROMETRES:
        for name in row:
            if name in CATALOGUE and (power := CATALOGUE[name].length_power) and row[name] is not None:
                if scale is None:
                    msg = (
                        f"{where}, column {name}: in micrometres, but the cell has no um_per_px; add that column or"
                        " give the scale"
                    )
                    raise DataSetError(msg)
                row[name] = row[name] / scale**power
    severe = row.get("severe_flags") or []
    if row.get("quality_ok") is False and not severe:
        severe = [NOT_OK_IN_TABLE]
    return {
        **row,
        "population": population.population_id,
        "cell_type": row.get("cell_type") or population.cell_type.value,
        "source": population.source,
        "tissue": population.tissue,
        "um_per_px": scale,
        "severe_flags": severe,
        "quality_flags": list(dict.fromkeys([*(row.get("quality_flags") or []), *severe])),
        "quality_ok": not severe,
    }


def _column(file: Path, first: int, column: pa.Array, name: str) -> list[Any]:
    """Values of a column as the store keeps them, None where empty; raises DataSetError naming row and column."""
    values: list[Any] = column.to_pylist()
    stored = []
    for offset, value in enumerate(values):
        try:
            stored.append(None if value is None or value == "" else _value(name, value))
        except (ValueError, TypeError, OverflowError) as error:
            shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}..."
            msg = (
                f"{file.name}, row {first + offset}, column {name}: expected {error}, but is {shown}; correct it and"
                " import again"
            )
            raise DataSetError(msg) from error
    return stored


def _value(name: str, value: Any) -> Any:  # noqa: ANN401 (a value of any column)
    """A value of a column; raises ValueError whose text says what was expected."""
    kind = _KINDS[name]
    if pa.types.is_floating(kind):
        return _number(name, value)
    if pa.types.is_integer(kind):
        number = _number(name, value)
        if number != int(number) or not 0 <= number < 2**31:
            _expected("a whole number, 0 or more")
        return int(number)
    if pa.types.is_boolean(kind):
        truth = _TRUTH.get(str(value).lower())
        return truth if truth is not None else _expected("true or false")
    if name in OUTLINE_COLUMNS:
        return (
            [[_number(name, place) for place in ring] for ring in value]
            if isinstance(value, list)
            else _expected("rings of numbers")
        )
    if pa.types.is_list(kind):
        return [str(word) for word in value] if isinstance(value, list) else _text(value).split()
    return _named(name, _text(value))


def _number(name: str, value: Any) -> float:  # noqa: ANN401 (text of a CSV or a number)
    expected = "a number from 0.005 to 10" if name == "um_per_px" else "a finite number"
    try:
        number = float(value)
    except (ValueError, TypeError):
        _expected(expected)
    if not math.isfinite(number) or (name == "um_per_px" and not 0.005 <= number <= 10):
        _expected(expected)
    return number


def _named(name: str, text: str) -> str | None:
    if name == "cell_type" and text not in list(CellType):
        _expected(f"one of {', '.join(CellType)}")
    if name == "image_sha256" and not (len(text) == 64 and set(text) <= set("0123456789abcdef")):
        _expected("64 hexadecimal digits")
    if name == "image_name":
        # An absolute path tells about the machine it comes from; the name of the file is enough to know the image by.
        if PurePosixPath(text).is_absolute() or PureWindowsPath(text).drive:
            text = PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name
        check_relative(text)
    return text or None


def _text(value: Any) -> str:  # noqa: ANN401 (text, or a number used as a name)
    text = str(value).strip()
    # The apostrophe that `core.store.export.to_csv` puts before what a spreadsheet would execute.
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA_STARTS) else text


def _expected(what: str) -> Any:  # noqa: ANN401 (never returns)
    raise ValueError(what)


def _names(file: Path) -> list[str]:
    """Names of the columns; raises DataSetError."""
    try:
        if file.suffix.lower() == ".parquet":
            return list(pq.read_schema(file).names)
        if file.suffix.lower() == ".csv":
            with file.open(encoding="utf-8-sig", newline="") as text:
                return [_text(name) for name in next(csv.reader(text), [])]
    except (OSError, ValueError, csv.Error, pa.ArrowException) as error:
        raise _unreadable(file, error) from error
    msg = f"a table must be a .csv or .parquet file, but is {file.name}"
    raise DataSetError(msg)


def _batches(file: Path, names: list[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Some columns of a table in blocks, each with the number of its first row, as a spreadsheet counts or from 1."""
    try:
        if file.suffix.lower() == ".parquet":
            number = 1
            for batch in pq.ParquetFile(file).iter_batches(_SHARD_CELLS, columns=names):
                yield number, batch.select(names)
                number += batch.num_rows
            return
        all_names = _names(file)
        options = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(all_names, pa.string()),
            include_columns=names,
            strings_can_be_null=True,
            null_values=[""],
        )
        reading = pa_csv.ReadOptions(column_names=all_names, skip_rows=1, block_size=2**23, use_threads=False)
        number = 2
        with pa_csv.open_csv(file, reading, pa_csv.ParseOptions(newlines_in_values=True), options) as blocks:
            for batch in blocks:
                yield number, batch
                number += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> DataSetError:
    return DataSetError(
        f"{file.name}: cannot be read as a table ({error}); save it as CSV (UTF-8, comma, point) or Parquet"
    )


def _either_name() -> str:
    return " and ".join(f"{name} is another name of {known}" for name, known in ALIASES.items())
