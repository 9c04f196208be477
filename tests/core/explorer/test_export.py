import io
import json
import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.domain.cell_types import CellType
from core.domain.settings import ROOT
from core.explorer.calibrating import calibrate
from core.explorer.export import h5ad, parquet, python, sql
from core.explorer.selection import Gate, Quality, Range, Scale, Selection, from_json
from core.explorer.view import table
from core.features.catalogue import CATALOGUE
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


# AnnData 0.12 sets an option that pandas 3 has given up, when a part is copied.
@pytest.mark.filterwarnings("ignore:The 'mode.chained_assignment' option is deprecated")
def test_anndata_reads_values_identity_meaning_and_origin(small, tmp_path):
    selection = Selection(quality=Quality.ANY)
    frame = table(small, selection, [*COLUMNS, "note", "created", "nucleus_outline"], limit=None)
    path = tmp_path / "cells.h5ad"
    path.write_bytes(h5ad(frame, selection))
    found = anndata.read_h5ad(path)
    assert found.shape == (len(frame), 2)
    assert found.X.dtype == np.float64
    np.testing.assert_array_equal(found.X, frame[[AREA, RATIO]].to_numpy(dtype=float))
    assert found.obs_names.tolist() == frame["cell_id"].tolist()
    assert found.var_names.tolist() == [AREA, RATIO]
    assert found.var.loc[AREA, "unit"] == "µm²"
    assert found.var.loc[RATIO, "label"] == CATALOGUE[RATIO].label
    assert "nucleus_outline" not in found.obs
    assert found.obs["cell_type"].tolist() == frame["cell_type"].tolist()
    assert found.obs["patient_id"].isna().tolist() == frame["patient_id"].isna().tolist()
    assert found.obs["quality_ok"].tolist() == frame["quality_ok"].tolist()
    np.testing.assert_array_equal(found.obs["um_per_px"], frame["um_per_px"].to_numpy(dtype=float))
    assert set(found.obs["quality_flags"]) == {"", "border", "border blurred"}
    assert found.obs["note"].isna().all()
    assert from_json(found.uns["leukoscope"]["selection"]) == selection
    assert json.loads(found.uns["leukoscope"]["versions"])["anndata"]
    # What scanpy and its kin do first.
    lymphocytes = found[found.obs["cell_type"] == "lymphocyte"].copy()
    assert lymphocytes.n_obs == 40
    assert lymphocytes.to_df()[RATIO].notna().all()


def test_nothing_in_view_is_an_empty_table(small, tmp_path):
    frame = table(small, SELECTIONS["none"], COLUMNS, limit=None)
    assert len(pq.read_table(io.BytesIO(parquet(frame, SELECTIONS["none"])))) == 0
    path = tmp_path / "cells.h5ad"
    path.write_bytes(h5ad(frame, SELECTIONS["none"]))
    assert anndata.read_h5ad(path).shape == (0, 2)


def test_all_columns_of_the_cohort_fit_into_anndata(small, tmp_path):
    columns = [name for name in small.columns if not name.endswith("_outline")]
    path = tmp_path / "cells.h5ad"
    path.write_bytes(h5ad(table(small, Selection(), columns, limit=None), Selection()))
    found = anndata.read_h5ad(path)
    assert found.var_names.tolist() == list(CATALOGUE)
    assert found.var.loc[AREA, "unit"] == "µm²"
