"""A table of measured cells made into a population: CSV, a workbook or Parquet, checked value by value.

Columns are those of the cohort (`core.store.schema`): features of the catalogue, and what is known of the cell, such as
`cell_type`, `patient_id`, `um_per_px`, `image_path`. An empty field, or one that says `NA`, is an absent value. A row
whose numbers cannot be true is left out and told (`core.store.plausibility`); a value that does not fit its column
stops the import. What lengths are counted in is taken from the table itself where it says so: its column `units`, the
metadata of a Parquet file, the description beside a CSV file. Every table that Leukoscope writes can be imported again.
"""

import hashlib
import json
import math
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from core.domain.cell_types import CellType, named_cell_type
from core.domain.errors import DataSetError, UsageError
from core.domain.flags import NOT_OK_IN_TABLE
from core.domain.options import Units
from core.domain.types import StainFactors
from core.features.catalogue import CATALOGUE
from core.store.export import SEPARATORS, units_beside
from core.store.plausibility import Judge, Judgement
from core.store.schema import (
    FORMER_FACTORS,
    FORMER_NAMES,
    FORMULA_STARTS,
    OUTLINE_COLUMNS,
    UNITS_KEY,
    CellRow,
    Population,
    arrow_schema,
    check_relative,
    of_population,
)
from core.store.shards import write_population
from core.store.text_tables import ForeignTable, is_absent, number, open_table, plain_text

ALIASES: Final = {
    "patient": "patient_id",
    **{former: name for name, former in FORMER_NAMES.items()},
}

_SET_ANEW: Final = ("cell_id", "population", "source", "tissue", "absent", "created", UNITS_KEY)
_OURS: Final = "model_id"  # a column that only Leukoscope fills
_SHARD_CELLS: Final = 1000
_EXAMPLES: Final = 3
_TRUTH: Final = {"true": True, "false": False, "1": True, "0": False}
_KINDS: Final = {field.name: field.type for field in arrow_schema() if field.name not in _SET_ANEW}


@dataclass(frozen=True)
class TableColumns:
    """What a table holds: columns that are taken, columns that are not, missing features, cell types, and its units.

    `words` say how the file was read, `notes` what a person should know of that. `units` are None where the table does
    not say them.
    """

    taken: tuple[str, ...]
    not_taken: tuple[str, ...]
    missing: tuple[str, ...]
    cell_types: tuple[CellType, ...]
    words: str = ""
    notes: tuple[str, ...] = ()
    units: Units | None = None

    def units_or(self, said: Units | None, name: str) -> Units:
        """The units of the table called `name`, of which a person may have said something, too.

        Raises
        ------
        DataSetError
            If the two contradict each other, or nobody says anything.
        """
        if self.units is not None and said is not None and said is not self.units:
            msg = (
                f"{name}: says of itself that its lengths are in {self.units}, but {said} was given; leave the units"
                " out, or correct the table"
            )
            raise DataSetError(msg)
        units = self.units or said
        if units is None:
            msg = (
                f"{name}: expected what its lengths are counted in, but it does not say so; give --units px or --units"
                " um, or add a column units"
            )
            raise DataSetError(msg)
        return units

    @property
    def cell_type(self) -> CellType | None:
        """The type of a population of these cells: theirs if all are of one, OTHER for several, None if not given."""
        return None if not self.cell_types else self.cell_types[0] if len(self.cell_types) == 1 else CellType.OTHER


def look(file: Path) -> TableColumns:
    """Read what columns and cell types a table has; raises DataSetError for one that cannot be imported."""
    table = open_table(file)
    taken = _taken(table)
    types: set[CellType] = set()
    if "cell_type" in taken:
        for row, (said,) in table.rows([taken["cell_type"]]):
            if (value := _field(table, row, "cell_type", said, ".")) is not None:
                types.add(CellType(value))
    return TableColumns(
        taken=tuple(taken),
        not_taken=tuple(
            name for place, name in enumerate(table.names) if name and name != UNITS_KEY and place not in taken.values()
        ),
        missing=tuple(name for name in CATALOGUE if name not in taken),
        cell_types=tuple(kind for kind in CellType if kind in types),
        words=table.words,
        notes=table.notes,
        units=_stated_units(table),
    )


def _taken(table: ForeignTable) -> dict[str, int]:
    """Our names of the columns that are taken, with their places; raises DataSetError without a feature."""
    names = [_text(name) for name in table.names]
    known = [(ALIASES.get(name, name), place) for place, name in enumerate(names)]
    taken = {name: place for name, place in known if name in _KINDS}
    if len(taken) < sum(name in _KINDS for name, _ in known):
        msg = f"{table.file.name}: two columns hold the same; columns must differ in their names, and {_either_name()}"
        raise DataSetError(msg)
    if not any(name in CATALOGUE for name in taken):
        there = ", ".join(names[:5])
        msg = (
            f"{table.file.name}: has no feature of the catalogue, only {there}...; name columns as `python -m core"
            f" catalogue` does (the table was read as {table.words})"
        )
        raise DataSetError(msg)
    return taken


def _stated_units(table: ForeignTable) -> Units | None:
    """What the table says of its units; raises DataSetError where it says two things."""
    stated: dict[str, Units] = {}
    if UNITS_KEY in table.names:
        for row, (said,) in table.rows([table.names.index(UNITS_KEY)]):
            if said is None or is_absent(plain_text(str(said))):
                continue
            if said not in list(Units):
                msg = f"{table.file.name}, row {row}, column {UNITS_KEY}: expected px or um, but is {said!r}"
                raise DataSetError(msg)
            stated.setdefault(f"row {row}", Units(said)) if Units(said) not in stated.values() else None
    if table.schema is not None:
        stated |= _units_of_schema(table.schema)
    elif (beside := units_beside(table.file)) is not None:
        stated["the description beside it"] = beside
    if len(set(stated.values())) > 1:
        told = ", ".join(f"{where} {units}" for where, units in stated.items())
        msg = f"{table.file.name}: expected lengths in one unit, but it says two ({told}); make it one table a unit"
        raise DataSetError(msg)
    return next(iter(stated.values()), None)


def _units_of_schema(schema: pa.Schema) -> dict[str, Units]:
    """What a Parquet file says of its units, in its metadata or in those of its columns."""
    said = (schema.metadata or {}).get(UNITS_KEY.encode(), b"").decode()
    stated = {"its metadata": Units(said)} if said in list(Units) else {}
    for field in schema:
        if field.name in CATALOGUE and CATALOGUE[field.name].length_power:
            unit, known = (field.metadata or {}).get(b"unit", b"").decode(), CATALOGUE[field.name].unit
            if unit in (known.px, known.um):
                stated.setdefault(f"column {field.name}", Units.PIXELS if unit == known.px else Units.MICROMETRES)
    return stated


def preview(file: Path, rows: int) -> pd.DataFrame:
    """The first rows of a table as they are."""
    table = open_table(file)
    first = [values for _, values in islice(table.rows(range(len(table.names))), rows)]
    return pd.DataFrame(first, columns=list(table.names))


@contextmanager
def uploaded(name: str, data: bytes) -> Iterator[Path]:
    """An upload as a temporary file, under its own name as far as that is harmless, because messages name it."""
    with tempfile.TemporaryDirectory() as folder:
        letters = (letter if letter.isalnum() or letter in "-_. " else "_" for letter in Path(name).name)
        path = Path(folder, "".join(letters).lstrip(".") or "table")
        path.write_bytes(data)
        yield path


def import_table(
    root: Path,
    population: Population,
    file: Path,
    *,
    units: Units | None = None,
    replace: bool = False,
    judgement: Judgement | None = None,
) -> int:
    """Import the cells of a table as a population of the user's own; returns how many.

    Parameters
    ----------
    root
        Folder of populations.
    population
        Its description; a cell whose row gives no type, or no scale, takes the population's.
    file
        The table, as `core.store.text_tables.open_table` reads it.
    units
        What lengths and areas in it are counted in, where it does not say so itself. They are stored in pixels, so
        micrometres need a scale.
    replace
        Replace a population of the same id.
    judgement
        Is told of rows that are left out, because they cannot be true or say again what an earlier one says.

    Raises
    ------
    DataSetError
        If a value is no finite number, or does not fit its column, by row and column; if two rows contradict each
        other; if many rows are impossible for one reason; if the units are not known or contradict the table. Nothing
        is written then.
    StoreError
        If the id is taken and not `replace`, or the disk refuses.
    """
    units = look(file).units_or(units, file.name)
    rows = _cells(file, population, units, judgement or Judgement())
    return write_population(root, population, iter(lambda: list(islice(rows, _SHARD_CELLS)), []), replace=replace)


@dataclass(frozen=True)
class TableCheck:
    """What an import would do: how many cells there are, and the first as (image, patient, cell type)."""

    cells: int
    examples: tuple[tuple[str, str | None, str], ...]


def check_table(population: Population, file: Path, *, units: Units, judgement: Judgement) -> TableCheck:
    """What `import_table` would import; writes nothing, and raises as it does."""
    cells, examples = 0, []
    for cell in _cells(file, population, units, judgement):
        cells += 1
        if cells <= _EXAMPLES:
            examples.append((cell["image_path"], cell.get("patient_id"), cell["cell_type"]))
    return TableCheck(cells, tuple(examples))


def _cells(file: Path, population: Population, units: Units, judgement: Judgement) -> Iterator[CellRow]:
    """Every row as the store keeps it, but impossible and repeated ones; raises DataSetError where there is none."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()[:16]
    now = datetime.now(UTC)
    table = open_table(file)
    taken = _taken(table)
    judge, doubles = Judge(taken), _Doubles(file)
    former = _OURS in taken and UNITS_KEY not in table.names
    missing = dict.fromkeys((name for name in CATALOGUE if name not in taken), "not in the imported table")

    @lru_cache(maxsize=256)  # most rows lack the same features, of which there are hundreds
    def absent(empty: tuple[str, ...]) -> str:
        return json.dumps(missing | dict.fromkeys(empty, "empty in the imported table"), sort_keys=True)

    for at, image, row in _rows(table, taken):
        judgement.rows += 1
        said = dict(row)
        empty = tuple(name for name in row if name in CATALOGUE and row[name] is None)
        if former:
            row |= {name: _present(name, row[name]) for name in FORMER_FACTORS if name in row}
        cell = _row(row, population, units, f"{file.name}, row {at}")
        if breach := judge.breach(cell, said):
            judgement.reject(at, breach, said[breach.column])
            continue
        known = cell.get("image_sha256") is not None and cell.get("cell_index") is not None
        key = f"{cell['image_sha256'][:16]}:{cell['cell_index']}" if known else f"{digest}:{at}"
        if (earlier := doubles.earlier(at, image, said)) is not None:
            judgement.doubled.append((at, earlier))
            continue
        yield {
            **cell,
            "cell_id": f"{population.population_id}:{key}",
            "cell_index": cell.get("cell_index") or 0,
            "image_path": cell.get("image_path") or f"{file.stem}/{at}",
            "absent": absent(empty),
            "created": now,
        }
    judgement.check(file.name)
    if not judgement.rows:
        msg = f"{file.name}: has no rows; choose a table with a row per cell"
        raise DataSetError(msg)


class _Doubles:
    """Finds rows that are of the same cell of the same image."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: dict[bytes, tuple[int, bytes]] = {}

    def earlier(self, number: int, image: str | None, row: CellRow) -> int | None:
        """The row that said the same before; raises DataSetError where one said something else of the same cell.

        By the content of its image and its number in it a cell is known. By the image's name it is only where the
        measurements agree, or number and patient, because others may call their images alike.
        """
        content = _short(sorted(row.items(), key=lambda item: item[0]))
        index, double = row.get("cell_index"), None
        if row.get("image_sha256") is not None and index is not None:
            keys: list[object] = [(row["image_sha256"], index)]
        elif (image := row.get("image_sha256") or image) is not None:
            measured = sorted((name, value) for name, value in row.items() if name in CATALOGUE and value is not None)
            keys = [
                (image, index, measured),
                *([(image, index, row.get("patient_id"), "")] if index is not None else []),
            ]
        else:
            return None
        for key in map(_short, keys):
            before, same = self._seen.setdefault(key, (number, content))
            if same != content:
                msg = (
                    f"{self._file.name}: rows {before} and {number} are the same cell of the same image, but say"
                    " different things of it; delete one"
                )
                raise DataSetError(msg)
            double = before if before != number else double
        return double


def _short(value: object) -> bytes:
    return hashlib.blake2b(repr(value).encode("utf-8", "surrogateescape"), digest_size=12).digest()


def _rows(table: ForeignTable, taken: dict[str, int]) -> Iterator[tuple[int, str | None, CellRow]]:
    """The taken columns of every row, with its number and its image as it stands there, without empty rows.

    Raises DataSetError for a value that does not fit its column.
    """
    numbers = [name for name in taken if pa.types.is_floating(_KINDS[name]) or pa.types.is_integer(_KINDS[name])]
    decimal = table.decimal([taken[name] for name in numbers])
    names, at = tuple(taken), list(taken).index("image_path") if "image_path" in taken else None
    for row, said in table.rows([taken[name] for name in names]):
        values = {name: _field(table, row, name, value, decimal) for name, value in zip(names, said, strict=True)}
        if any(value is not None for value in values.values()):
            image = None if at is None or values["image_path"] is None else str(said[at]).strip()
            yield row, image, values


def _present(name: str, value: float | None) -> float | None:
    """A value of a table that an earlier version wrote, as it is today."""
    factor = FORMER_FACTORS[name]
    return None if value is None or factor is None else factor * value


def _row(row: CellRow, population: Population, units: Units, where: str) -> CellRow:
    """A row as the store keeps it: of the population, in pixels, its flags in agreement."""
    scale, error = row.get("um_per_px"), row.get("um_per_px_error")
    if not scale:
        scale, error, _ = of_population(population)
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
        "um_per_px_error": error,
        "um_per_px_source": row.get("um_per_px_source") or (None if scale is None else _scale_source(row)),
        UNITS_KEY: Units.PIXELS.value,
        "notes": (row["notes"] or []) if "notes" in row else None,
        "severe_flags": severe,
        "quality_flags": list(dict.fromkeys([*(row.get("quality_flags") or []), *severe])),
        "quality_ok": not severe,
    }


def _scale_source(row: CellRow) -> str:
    return "given" if row.get("um_per_px") else "population"


def _field(table: ForeignTable, row: int, name: str, value: Any, decimal: str) -> Any:  # noqa: ANN401
    """A value as the store keeps it, None where there is none; raises DataSetError naming row and column."""
    if value is None or (isinstance(value, str) and is_absent(value)) or value != value:
        return None
    try:
        return _value(name, value, decimal)
    except (ValueError, TypeError, OverflowError) as error:
        shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}..."
        msg = (
            f"{table.file.name}, row {row}, column {name}: expected {error}, but is {shown}; correct it and import"
            " again"
        )
        raise DataSetError(msg) from error


def _value(name: str, value: Any, decimal: str) -> Any:  # noqa: ANN401 (a value of any column)
    """A value of a column; raises ValueError whose text says what was expected."""
    kind = _KINDS[name]
    if pa.types.is_floating(kind):
        return _number(name, value, decimal)
    if pa.types.is_integer(kind):
        whole = _number(name, value, decimal)
        if whole != int(whole) or not 0 <= whole < 2**31:
            _expected("a whole number, 0 or more")
        return int(whole)
    if pa.types.is_boolean(kind):
        truth = _TRUTH.get(_text(value).lower())
        return truth if truth is not None else _expected("true or false")
    if name in OUTLINE_COLUMNS:
        return (
            [[_number(name, place, decimal) for place in ring] for ring in value]
            if isinstance(value, list)
            else _expected("rings of numbers")
        )
    if pa.types.is_list(kind):
        return [str(word) for word in value] if isinstance(value, list) else _words(name, _text(value))
    return _named(name, _text(value))


def _words(name: str, text: str) -> list[str]:
    """The members of a list that is written as text: by this program, or as other programs show one, `['a', 'b']`."""
    if text.startswith("[") and text.endswith("]"):
        quoted = re.findall(r"'([^']*)'|\"([^\"]*)\"", text)
        return [one or other for one, other in quoted] or re.findall(r"[^,\s]+", text[1:-1])
    separator = SEPARATORS.get(name)
    return [word.strip() for word in text.split(separator) if word.strip()]


# What a number outside of the catalogue must lie between, and that in words.
_LIMITS: Final = {
    "um_per_px": (0.005, 10.0, "a number from 0.005 to 10"),
    "um_per_px_error": (0.0, 0.99, "a share from 0 to 0.99"),
}


def _number(name: str, value: Any, decimal: str) -> float:  # noqa: ANN401 (text or a number)
    low, high, expected = _LIMITS.get(name, (-math.inf, math.inf, "a finite number"))
    try:
        found = number(value, decimal) if isinstance(value, str) else float(value)
    except (ValueError, TypeError):
        _expected(expected)
    if not (math.isfinite(found) and low <= found <= high):
        _expected(expected)
    return found


def _named(name: str, text: str) -> str | None:
    if name == "cell_type":
        kind = named_cell_type(text)
        return kind.value if kind is not None else _expected(f"one of {', '.join(CellType)} or another name of one")
    if name == "stain":
        try:
            return str(StainFactors.of_text(text))
        except UsageError:
            _expected("a name and three factors from 0.2 to 5, as 'ours-to-bcn 0.85 0.91 1.04'")
    if name == "image_sha256" and not (len(text) == 64 and set(text) <= set("0123456789abcdef")):
        _expected("64 hexadecimal digits")
    if name == "image_path":
        # An absolute path tells about the machine it comes from; the name of the file is enough to know the image by.
        if PurePosixPath(text).is_absolute() or PureWindowsPath(text).drive:
            text = PureWindowsPath(text).name if "\\" in text else PurePosixPath(text).name
        check_relative(text)
    return text or None


def _text(value: Any) -> str:  # noqa: ANN401 (text, or a number used as a name)
    text = plain_text(value)
    # The apostrophe that `core.store.export.to_csv` puts before what a spreadsheet would execute.
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA_STARTS) else text


def _expected(what: str) -> Any:  # noqa: ANN401 (never returns)
    raise ValueError(what)


def _either_name() -> str:
    return " and ".join(f"{name} is another name of {known}" for name, known in ALIASES.items())
