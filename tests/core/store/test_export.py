import csv
import io

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.store import queries
from core.store.database import Cohort
from core.store.export import parquet_bytes, to_csv, to_parquet
from core.store.shards import write_population
from tests.core.store.conftest import AREA, make_population, make_rows


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
