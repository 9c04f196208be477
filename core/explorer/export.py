"""Downloads of the cells in view: the table as Parquet or AnnData, and the SQL or Python that makes it again.

A table is what `core.explorer.view.table` returns: features in one unit, by default micrometres, other columns as
stored. As CSV it is written by `core.store.export.to_csv`.
"""

import io
import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.domain.options import Units
from core.domain.versions import software_versions
from core.explorer.selection import Selection, sentences, to_json, where
from core.explorer.view import column_sql
from core.features.catalogue import CATALOGUE
from core.store.schema import OUTLINE_COLUMNS, UNITS_KEY, cohort_schema


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


def h5ad(frame: pd.DataFrame, selection: Selection, units: Units = Units.MICROMETRES) -> bytes:
    """Return a table as AnnData (`anndata.read_h5ad`), one observation a cell and one variable a feature.

    `X` (n, F) is float64, nan where absent; `obs` holds the other columns but the outlines, lists as words; `var` what
    the catalogue says of each feature, its unit and meaning; `uns["leukoscope"]` the selection, in words too, the units
    and the versions.
    """
    import anndata  # takes a second, and only this function needs it

    features = [name for name in frame.columns if name in CATALOGUE]
    others = [name for name in frame.columns if name not in (*features, *OUTLINE_COLUMNS, "cell_id")]
    names = frame["cell_id"].tolist() if "cell_id" in frame else [str(row) for row in range(len(frame))]
    table = anndata.AnnData(
        X=frame[features].to_numpy(dtype="float64", na_value=float("nan")),
        obs=pd.DataFrame({name: _observed(frame[name]) for name in others}, index=_texts(names)),
        # This version of AnnData writes no text of pandas 3, only that of Python.
        var=pd.DataFrame([_described(name, units) for name in features], index=_texts(features), dtype=object),
        uns={"leukoscope": _provenance(selection) | {UNITS_KEY: units.value}},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cells.h5ad")
        # Texts that repeat would become categories of the kind that it cannot write.
        table.write_h5ad(path, convert_strings_to_categoricals=False)
        return path.read_bytes()


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
        "versions": json.dumps({**software_versions(), "anndata": version("anndata")}, sort_keys=True),
    }


def _described(name: str, units: Units) -> dict[str, str]:
    spec = CATALOGUE[name]
    unit = spec.unit.um if units is Units.MICROMETRES else spec.unit.px
    depends_on = [
        what for what, does in (("magnification", not spec.scale_free), ("stain", spec.intensity_dependent)) if does
    ]
    row = {"label": spec.label, "region": str(spec.region), "theme": str(spec.theme), "unit": unit}
    return row | {"description": spec.description, "depends_on": ", ".join(depends_on)}


def _observed(column: pd.Series) -> Any:  # noqa: ANN401 (an array that AnnData can write)
    """A column of `obs`: numbers and truth as they are, all else as categories of text."""
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()
    words = [_words(value) for value in column]
    there = sorted({word for word in words if word is not None})
    places = {word: place for place, word in enumerate(there)}
    return pd.Categorical.from_codes([-1 if word is None else places[word] for word in words], _texts(there))


def _texts(texts: Sequence[str]) -> Any:  # noqa: ANN401 (pandas' stubs differ by version)
    return pd.Index(texts, dtype=object)


def _words(value: Any) -> str | None:  # noqa: ANN401 (any value)
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None if value is None or pd.isna(value) else str(value)
    return " ".join(map(str, value))
