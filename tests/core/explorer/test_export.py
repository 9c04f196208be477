import io
import json
import subprocess
import sys

import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.domain.cell_types import CellType
from core.domain.options import Units
from core.domain.settings import ROOT
from core.exchange.cells import Handing
from core.explorer.calibrating import calibrate
from core.explorer.export import handed_over, parquet, python, sql
from core.explorer.selection import Gate, Quality, Range, Scale, Selection, from_json
from core.explorer.view import table
from core.store import calibrations
from core.store.sql_query import run
from tests.core.store.conftest import AREA, RATIO
from tests.laboratories import BARCELONA, JOHNS_HOPKINS

COLUMNS = ("cell_id", "cell_type", "patient_id", "um_per_px", "quality_ok", "quality_flags", AREA, RATIO)
HOSTILE = "O'Brien's \"--\" $1 ''; DROP"
SELECTIONS = {
    "all": Selection(),
    "filters": Selection(
        cell_types=(CellType.MONOCYTE, CellType.LYMPHOCYTE),
        sources=("A", HOSTILE),
        quality=Quality.ANY,
        scale=Scale.KNOWN,
    ),
    "values": Selection(
        ranges=(Range(AREA, 7.77, 13.1), Range(RATIO, None, 1e-1 + 1)),
        gates=(Gate("a 'gate'", AREA, RATIO, ((5.0, 0.1), (20.0, 0.1), (20.0, 2.0), (6.5, 1.9)), (True, False)),),
    ),
    "none": Selection(patients=(HOSTILE,)),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_sql_makes_the_same_table_in_the_sandbox(small, name):
    wanted = table(small, SELECTIONS[name], COLUMNS, limit=None)
    assert len(wanted) or name == "none"
    found = run(small, sql(SELECTIONS[name], COLUMNS)).table
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


def test_the_program_makes_the_same_table(small, tmp_path):
    selection = SELECTIONS["values"]
    script = tmp_path / "again.py"
    script.write_text(python(selection, COLUMNS) + "\nimport sys\ncells.to_pickle(sys.argv[1])\n", encoding="utf-8")
    environment = {
        "LEUKOSCOPE_REFERENCE": str(tmp_path / "none"),
        "LEUKOSCOPE_COHORT": str(small.roots[0]),
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run([sys.executable, str(script), str(tmp_path / "cells")], check=True, env=environment)
    again = pd.read_pickle(tmp_path / "cells")
    pd.testing.assert_frame_equal(again, table(small, selection, COLUMNS, limit=None), check_exact=True)


def test_the_program_of_a_calibrated_table_calibrates_it_again(shipped, tmp_path):
    made = calibrate(shipped, "jh-to-bcn", JOHNS_HOPKINS, BARCELONA)
    calibrations.save(tmp_path / "own", made)
    selection = Selection(sources=(JOHNS_HOPKINS,), cell_types=(CellType.MONOCYTE,))
    columns = ["cell_id", "calibrated_by", "cytoplasm_firstorder_Mean"]
    text = python(selection, columns, calibrated=["jh-to-bcn"])
    assert "# calibrated by jh-to-bcn\n" in text
    script = tmp_path / "again.py"
    script.write_text(text + "\nimport sys\ncells.to_pickle(sys.argv[1])\n", encoding="utf-8")
    environment = {"LEUKOSCOPE_COHORT": str(tmp_path / "own"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, str(script), str(tmp_path / "cells")], check=True, env=environment)
    again = pd.read_pickle(tmp_path / "cells")
    assert set(again["calibrated_by"]) == {"jh-to-bcn"}
    pd.testing.assert_frame_equal(again, table(shipped.calibrated([made]), selection, columns, limit=None))
    assert "-- calibrated by jh-to-bcn\n" in sql(selection, columns, calibrated=["jh-to-bcn"])


def test_a_name_from_outside_cannot_leave_its_place_in_the_program(small):
    text = python(SELECTIONS["none"], ["cell_id"])
    compile(text, "again.py", "exec")
    assert from_json(eval(text.split("from_json(")[1].split(")\ncolumns")[0])) == SELECTIONS["none"]


def test_parquet_tells_units_selection_and_versions(small):
    frame = table(small, SELECTIONS["filters"], COLUMNS, limit=None)
    found = pq.read_table(io.BytesIO(parquet(frame, SELECTIONS["filters"])))
    assert found.schema.field(AREA).metadata[b"unit"].decode() == "µm²"
    assert found.schema.field(RATIO).metadata[b"unit"] == b""
    assert from_json(found.schema.metadata[b"leukoscope_selection"].decode()) == SELECTIONS["filters"]
    assert "cell type is monocyte or lymphocyte" in found.schema.metadata[b"leukoscope_in_words"].decode()
    assert json.loads(found.schema.metadata[b"leukoscope_versions"])["leukoscope"]
    pd.testing.assert_frame_equal(found.to_pandas(ignore_metadata=True), frame)


def test_a_selection_is_handed_over_whole_in_parts_with_its_sentence(small, monkeypatch):
    selection = Selection(quality=Quality.ANY, sources=("A",))
    at_once = list(handed_over(small, selection).rows())
    monkeypatch.setattr("core.explorer.export._ROWS_AT_ONCE", 7)
    handover = handed_over(small, selection)
    assert list(handover.rows()) == at_once
    wanted = table(small, selection, COLUMNS, limit=None, units=Units.PIXELS)
    found = {row["cell_id"]: row for row in at_once}
    assert sorted(found) == sorted(wanted["cell_id"])
    assert {name: row[RATIO] for name, row in found.items()} == dict(zip(wanted["cell_id"], wanted[RATIO], strict=True))
    assert handover.about["selection"] == "source is A"
    assert from_json(handover.about["selection as JSON"]) == selection
    assert [image.cells[0].row["source"] for image in Handing(handover).all_images()] == ["A"] * 100


def test_nothing_in_view_is_an_empty_table(small):
    frame = table(small, SELECTIONS["none"], COLUMNS, limit=None)
    assert len(pq.read_table(io.BytesIO(parquet(frame, SELECTIONS["none"])))) == 0
    assert list(handed_over(small, SELECTIONS["none"]).rows()) == []
