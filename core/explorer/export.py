"""Downloads of the cells in view: the table, the SQL or Python that makes it again, and cells for other programs.

A table is what `core.explorer.view.table` returns: features in one unit, by default micrometres, other columns as
stored. As CSV it is written by `core.store.export.to_csv`.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.domain.options import Units
from core.domain.versions import software_versions
from core.exchange.cells import Handover
from core.explorer.selection import Selection, columns_read, sentences, to_json, where
from core.explorer.view import column_sql
from core.store.database import Cohort
from core.store.schema import UNITS_KEY, CellRow, cohort_schema

# A row of 750 columns takes some 50 kB of memory.
_ROWS_AT_ONCE: Final = 1000


def parquet(frame: pd.DataFrame, selection: Selection, units: Units = Units.MICROMETRES) -> bytes:
    """Return a table as Parquet: columns carry description and unit, the file its units, selection and versions."""
    known = cohort_schema(units)
    fields = [known.field(name) for name in frame.columns]
    metadata = {f"leukoscope_{name}": text for name, text in _provenance(selection).items()} | {UNITS_KEY: units.value}
    table = pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False).replace_schema_metadata(
        metadata
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def handed_over(cohort: Cohort, selection: Selection) -> Handover:
    """The cells of a selection for other programs, some read at a time, those of an image one after the other."""
    condition, parameters = where(selection)
    order = "population, image_path, image_sha256, cell_index, cell_id"
    columns = (*order.split(", "), *columns_read(selection))

    def rows() -> Iterator[CellRow]:
        sql = f"SELECT cell_id FROM cells WHERE {condition} ORDER BY {order}"
        ids = cohort.query(sql, parameters, columns=columns)["cell_id"].tolist()
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            some = {"ids": ids[start : start + _ROWS_AT_ONCE]}
            yield from cohort.cell_rows(f"cell_id IN (SELECT unnest($ids)) ORDER BY {order}", some)

    said = _provenance(selection)
    about = {"source": "a cohort", "selection": said["in_words"] or "all cells", "selection as JSON": said["selection"]}
    calibrated = {"calibrated by": " ".join(one.name for one in cohort.calibrations)} if cohort.calibrations else {}
    return Handover("Cells of a cohort", about | calibrated, rows)


def sql(
    selection: Selection, columns: Sequence[str], units: Units = Units.MICROMETRES, calibrated: Sequence[str] = ()
) -> str:
    """Return the SQL that makes the table again, for the explorer's own page and for `Cohort.query`.

    `calibrated` names the calibrations that were laid over the values, which the remarks ask for.
    """
    condition, parameters = where(selection)
    condition = re.sub(r"\$(\w+)", lambda match: _literal(parameters[match[1]]), condition)
    listed = ",\n  ".join(f'{column_sql(name, units)} AS "{name}"' for name in columns)
    return (
        f"{_remarks('--', selection, calibrated)}SELECT\n  {listed}\nFROM cells\nWHERE {condition}\nORDER BY cell_id\n"
    )


def python(
    selection: Selection, columns: Sequence[str], units: Units = Units.MICROMETRES, calibrated: Sequence[str] = ()
) -> str:
    """Return a program that makes the table again as the data frame `cells`, run in the folder of the program.

    `calibrated` names the calibrations that are laid over the values.
    """
    listed = "".join(f"    {name!r},\n" for name in columns)
    imported = "from core.store.calibrations import find\n" * bool(calibrated)
    named = f"[find(settings.cohort, name) for name in {list(calibrated)!r}]"
    laid_over = f"    cohort = cohort.calibrated({named})\n" * bool(calibrated)
    return (
        f"{_remarks('#', selection, calibrated)}"
        "from core.explorer.selection import from_json\n"
        "from core.explorer.view import table\n"
        "from core.domain.options import Units\n"
        "from core.domain.settings import load_settings\n"
        f"{imported}"
        "from core.store.database import Cohort\n\n"
        f"selection = from_json({to_json(selection)!r})\n"
        f"columns = [\n{listed}]\n"
        "settings = load_settings()\n"
        "with Cohort.open([settings.reference, settings.cohort]) as cohort:\n"
        f"{laid_over}"
        f"    cells = table(cohort, selection, columns, limit=None, units=Units({units.value!r}))\n"
    )


def _remarks(sign: str, selection: Selection, calibrated: Sequence[str]) -> str:
    """What is selected, as lines of remarks; a name from outside holds no line end (`core.explorer.selection`)."""
    lines = (
        f"Cells of the cohort, Leukoscope {software_versions()['leukoscope']}:",
        *(said.words for said in sentences(selection)),
        *(f"calibrated by {name}" for name in calibrated),
    )
    return "".join(f"{sign} {line}\n" for line in lines)


def _literal(value: Any) -> str:  # noqa: ANN401 (any value of a parameter)
    """A value as SQL; numbers as doubles, which DuckDB makes of nothing without an exponent."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        return repr(value) if "e" in repr(value) else f"{value!r}e0"
    return f"[{', '.join(map(_literal, value))}]"


def _provenance(selection: Selection) -> dict[str, str]:
    return {
        "selection": to_json(selection),
        "in_words": "; ".join(said.words for said in sentences(selection)),
        "versions": json.dumps(software_versions(), sort_keys=True),
    }
