import json
from datetime import datetime

import openpyxl
import pandas as pd
import pytest

from core.domain.errors import UsageError
from core.domain.options import Units
from core.exchange import tables
from core.exchange.cells import COLUMNS, Handing
from core.store.export import to_csv
from tests.exchange import AREA, HOSTILE, RATIO, ROWS, handover


def test_csv_is_the_same_whether_written_at_once_or_by_and_by(tmp_path, monkeypatch):
    tables.write_csv(Handing(handover()), tmp_path / "once")
    monkeypatch.setattr("core.exchange.cells._AT_ONCE", 1)
    tables.write_csv(Handing(handover()), tmp_path / "by_and_by")
    content = (tmp_path / "once" / "cells.csv").read_bytes()
    assert content == (tmp_path / "by_and_by" / "cells.csv").read_bytes()
    ((_, frame),) = ((None, pd.concat(frame for _, frame in Handing(handover()).frames())),)
    assert content == to_csv(frame)
    read = pd.read_csv(tmp_path / "once" / "cells.csv")
    assert read[AREA].tolist() == [row[AREA] for row in ROWS]
    assert set(read["patient_id"]) == {f"'{HOSTILE}"}
    described = json.loads((tmp_path / "once" / "cells.csv-metadata.json").read_text())
    assert [column["name"] for column in described["tableSchema"]["columns"]] == list(read.columns) == list(COLUMNS)
    assert json.loads((tmp_path / "once" / "about.json").read_text())["cells"] == "5"


def test_a_workbook_has_types_a_frozen_header_and_says_where_it_is_from(tmp_path):
    path = tmp_path / "cells.xlsx"
    handing = Handing(handover(lambda row: row | {"notes": ["a\x01b", "c"]}), Units.MICROMETRES)
    tables.write_xlsx(handing, path)
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["cells", "about"]
    sheet = book["cells"]
    assert sheet.freeze_panes == "B2"
    header, *rows = sheet.iter_rows()
    names = [cell.value for cell in header]
    assert names == list(COLUMNS)
    first = dict(zip(names, rows[0], strict=True))
    assert first[AREA].value == pytest.approx(ROWS[0][AREA] * 0.01, rel=1e-15)
    assert first["quality_ok"].value is True
    assert first["created"].value == datetime(2026, 1, 1)
    assert type(first["cell_index"].value) is int
    assert first["notes"].value == "a\N{REPLACEMENT CHARACTER}b; c"
    assert [cell.value for cell in (row[names.index(RATIO)] for row in rows)].count(None) == 1
    about = {key.value: value.value for key, value in book["about"].iter_rows()}
    assert about["settings"] == HOSTILE
    assert about["units"] == "um"


def test_no_cell_of_a_workbook_is_a_formula(tmp_path):
    tables.write_xlsx(Handing(handover(lambda row: row | {"source": "+1", "diagnosis": "@x"})), tmp_path / "cells.xlsx")
    book = openpyxl.load_workbook(tmp_path / "cells.xlsx")
    cells = [cell for sheet in book for row in sheet.iter_rows() for cell in row]
    assert not [cell for cell in cells if cell.data_type == "f"]
    (patient,) = {
        (cell.value, cell.quotePrefix) for cell in cells if isinstance(cell.value, str) and "HYPER" in cell.value
    }
    assert patient == (HOSTILE, True)


def test_a_sheet_that_is_too_small_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_MOST_ROWS", 4)
    with pytest.raises(UsageError, match="choose csv"):
        tables.write_xlsx(Handing(handover()), tmp_path / "cells.xlsx")
