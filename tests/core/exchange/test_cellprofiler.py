"""The questions that CellProfiler Analyst asks of its tables, as its `dbconnect.py` and `datatable` write them."""

import configparser
import sqlite3
from contextlib import closing

import pytest

from core.exchange import cellprofiler
from core.exchange.cells import Handing
from core.features.catalogue import CATALOGUE
from tests.exchange import AREA, HOLED, HOSTILE, RATIO, ROWS, TWIN, handover


@pytest.fixture(scope="module", params=[1000, 1])
def folder(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("cpa") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.exchange.cells._AT_ONCE", request.param)
        cellprofiler.write(Handing(handover()), out)
    return out


@pytest.fixture(scope="module")
def properties(folder):
    parser = configparser.ConfigParser()
    parser.read_string("[all]\n" + (folder / "cells.properties").read_text())
    return dict(parser["all"])


def test_objects_are_counted_placed_and_found_with_their_image(folder, properties):
    p = properties
    with closing(sqlite3.connect(folder / p["db_sqlite_file"])) as database:

        def ask(sql):
            return database.execute(sql).fetchall()

        counted = ask(
            f"SELECT {p['image_id']}, COUNT({p['object_id']}) FROM {p['object_table']} GROUP BY {p['image_id']}"
        )
        assert counted == [(1, 2), (2, 1), (3, 1), (4, 1)]
        key = f"{p['image_id']} = 1 AND {p['object_id']} = 2"
        ((x, y),) = ask(f"SELECT {p['cell_x_loc']}, {p['cell_y_loc']} FROM {p['object_table']} WHERE {key}")
        assert (x, y) == (ROWS[1]["centre_x"], ROWS[1]["centre_y"])
        paths = ask(f"SELECT {p['image_path_cols']}, {p['image_file_cols']} FROM {p['image_table']} ORDER BY 1, 2")
        assert ("a <b>", "005.png") in paths
        assert ("", "field.png") in paths
        joined = ask(
            f"SELECT Per_Image.Image_FileName_RGB, Per_Object.patient_id FROM {p['image_table']}, {p['object_table']}"
            " WHERE Per_Image.ImageNumber = Per_Object.ImageNumber"
        )
        assert len(joined) == 5
        assert {patient for _, patient in joined} == {HOSTILE}


def test_every_feature_is_a_number_and_an_absent_one_null(folder):
    with closing(sqlite3.connect(folder / "cells.db")) as database:
        types = {name: kind for _, name, kind, *_ in database.execute("PRAGMA table_info(Per_Object)")}
        assert {types[name] for name in CATALOGUE} == {"REAL"}
        joined = "Per_Object o JOIN Per_Image i USING (ImageNumber)"
        sql = f'SELECT i.Image_FileName_RGB, o."{AREA}", o."{RATIO}" FROM {joined}'
        found = database.execute(sql).fetchall()
    assert sorted(area for _, area, _ in found) == sorted(row[AREA] for row in ROWS)
    assert [name for name, _, ratio in found if ratio is None] == [TWIN.split("/")[1]]
    assert HOLED.split("/")[1] in [name for name, _, _ in found]
