import csv
import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.batch.results import cells_schema
from core.domain.errors import StoreError
from core.domain.options import Units
from core.reports.tables import analyses_table
from core.store import queries
from core.store.database import Cohort
from core.store.export import cells_parquet, in_units, parquet_bytes, to_csv, to_parquet, units_beside, write_cells
from core.store.schema import arrow_schema, cohort_schema
from core.store.shards import write_population
from tests.core.store.conftest import AREA, RATIO, make_population, make_rows

LENGTH = "nucleus_shape2D_Perimeter"


def read(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=x", "\r=x"])
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text):
    (row,) = read(to_csv(pd.DataFrame({"patient_id": [text]})))
    assert row["patient_id"] == f"'{text}"


def test_numbers_and_harmless_text_stay():
    frame = pd.DataFrame(
        {"value": [-1.5, np.nan], "count": [-2, 3], "name": ["a-b=c", None], "ok": [True, False], "mixed": ["=x", -1]}
    )
    content = to_csv(frame).decode()
    assert content == "value,count,name,ok,mixed\r\n-1.5,-2,a-b=c,True,'=x\r\n,3,,False,-1\r\n"


def test_column_names_and_lists_are_guarded_too():
    (row,) = read(to_csv(pd.DataFrame({"=evil": [1], "flags": [np.array(["-x", "y"])]})))
    assert row == {"'=evil": "1", "flags": "'-x y"}


def test_a_population_as_csv_and_parquet(root, tmp_path):
    population = make_population(source="=HYPERLINK()")
    write_population(root, population, [make_rows(population, [-1.0, None], patient="@p")])
    with Cohort.open([root]) as cohort:
        frame = queries.cells(cohort, "mono")
    first, second = read(to_csv(frame))
    assert (first["source"], first["patient_id"], first[AREA], second[AREA]) == ("'=HYPERLINK()", "'@p", "-1.0", "")
    assert "nucleus_outline" not in first
    path = tmp_path / "out.parquet"
    to_parquet(frame.assign(image_path=["a", "b"]), path)
    table = pq.read_table(path)
    assert table[AREA].to_pylist() == [-1.0, None]
    assert table.schema.field(AREA).metadata[b"unit"].decode() == "px²"
    assert table["source"].to_pylist() == ["=HYPERLINK()"] * 2
    assert table["image_path"].to_pylist() == ["a", "b"]
    assert [item.name for item in tmp_path.glob("*out*")] == ["out.parquet"]


def test_any_table_goes_through_parquet_unchanged():
    frame = pd.DataFrame({"name": ["a", None], "n": [1, 2]})
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(parquet_bytes(frame))), frame)


def rows_with(scales):
    """Cells of an area of 400 px² and a perimeter of 80 px, one per scale."""
    population = make_population()
    rows = [{**row, LENGTH: 80.0} for row in make_rows(population, [400.0] * len(scales))]
    scaled = [{**row, "um_per_px": scale} for row, scale in zip(rows, scales, strict=True)]
    return pa.Table.from_pylist(scaled, schema=cohort_schema()).to_pandas()


def test_lengths_and_areas_are_converted_and_the_table_says_so():
    frame = rows_with([0.1, 0.2])
    microns = in_units(frame, Units.MICROMETRES)
    assert microns[AREA].tolist() == pytest.approx([4, 16])
    assert microns[LENGTH].tolist() == pytest.approx([8, 16])
    assert microns[RATIO].tolist() == frame[RATIO].tolist()
    assert microns["units"].tolist() == ["um", "um"]
    assert microns["box_left"].equals(frame["box_left"])
    assert frame["units"].tolist() == ["px", "px"]
    assert in_units(frame, Units.PIXELS).equals(frame)


def test_micrometres_without_a_scale_are_refused_with_the_number_of_cells():
    with pytest.raises(StoreError, match="2 of 3 cells have no scale"):
        in_units(rows_with([0.1, None, None]), Units.MICROMETRES)


@pytest.mark.parametrize(("units", "unit"), [(Units.PIXELS, "px²"), (Units.MICROMETRES, "µm²")])
def test_a_file_of_cells_says_its_unit_in_a_column_in_metadata_and_beside_it(tmp_path, units, unit):
    frame = rows_with([0.1])
    for name in ("cells.csv", "cells.parquet"):
        write_cells(frame, tmp_path / name, units)
    (row,) = read((tmp_path / "cells.csv").read_bytes())
    assert row["units"] == units.value
    told = json.loads((tmp_path / "cells.csv-metadata.json").read_text(encoding="utf-8"))
    assert (told["url"], told["units"]) == ("cells.csv", units.value)
    columns = {column["name"]: column for column in told["tableSchema"]["columns"]}
    assert list(columns) == list(row)
    assert columns[AREA]["unit"] == unit
    assert columns[AREA]["titles"] == "Nucleus area"
    assert columns["notes"]["separator"] == "; "
    assert columns["quality_flags"]["separator"] == " "
    assert units_beside(tmp_path / "cells.csv") is units
    assert units_beside(tmp_path / "other.csv") is None
    table = pq.read_table(tmp_path / "cells.parquet")
    assert table.schema.metadata[b"units"].decode() == units.value
    assert table.schema.field(AREA).metadata[b"unit"].decode() == unit
    assert table["units"].to_pylist() == [units.value]
    assert pq.read_table(io.BytesIO(cells_parquet(frame, units))).equals(table)


# Columns of the cohort that no shard has.
_LAID_OVER = ("note", "excluded_reason", "calibrated_by")


def test_every_door_writes_the_same_columns_in_the_same_order(tmp_path):
    frame = rows_with([0.1])
    write_cells(frame, tmp_path / "cells.parquet", Units.PIXELS)
    assert pq.read_schema(tmp_path / "cells.parquet").names == cohort_schema().names
    assert cells_schema().names == arrow_schema().names
    assert [name for name in cohort_schema().names if name not in _LAID_OVER] == arrow_schema().names
    assert list(analyses_table([])) == [name for name in arrow_schema().names if not name.endswith("_outline")]


def test_notes_are_sentences_with_a_semicolon_between():
    frame = pd.DataFrame({"notes": [["frame 1 of 3 used", "converted from CMYK"], []]})
    assert [row["notes"] for row in read(to_csv(frame))] == ["frame 1 of 3 used; converted from CMYK", ""]
