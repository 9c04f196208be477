import io
import zipfile

import pandas as pd
import pytest

from core.domain.errors import StoreError, UsageError
from core.domain.options import Units
from core.exchange.writing import FORMATS, ExchangeFormat, export, packed
from tests.exchange import handover


def out_of(tmp_path, name):
    return tmp_path / "new" / f"cells{FORMATS[name].suffix}"


def content(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in files if file.is_file()}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_written_whole_and_never_over_what_is_there(tmp_path, name):
    out = out_of(tmp_path, name)
    handing = export(handover(), name, out)
    assert (handing.images, handing.cells, dict(handing.left_out)) == (4, 5, {})
    before = content(out)
    assert before
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    with pytest.raises(UsageError, match="--force"):
        export(handover(), name, out)
    assert content(out) == before
    one_image = handover()
    rows = [row for row in one_image.rows() if row["image_path"] == "field.png"]
    export(type(one_image)("one", {}, lambda: rows), name, out, force=True)
    after = content(out)
    assert after != before
    assert not any("005" in file for file in after)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("name", FORMATS)
def test_what_fails_leaves_nothing_and_what_was_there(tmp_path, name):
    out = out_of(tmp_path, name)
    export(handover(), name, out)
    before = content(out)

    def failing():
        yield from list(handover().rows())[:1]
        raise StoreError("the disk is gone")

    with pytest.raises(StoreError, match="gone"):
        export(type(handover())("bad", {}, failing), name, out, force=True)
    assert content(out) == before
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_no_file(tmp_path, name):
    with pytest.raises(UsageError, match="no cell"):
        export(type(handover())("nothing", {}, list), name, out_of(tmp_path, name))
    assert list((tmp_path / "new").iterdir()) == []


def test_a_name_must_be_that_of_the_format_and_a_folder_is_no_file(tmp_path):
    with pytest.raises(UsageError, match=r"\.xlsx"):
        export(handover(), "xlsx", tmp_path / "cells.csv")
    (tmp_path / "cells.xlsx").mkdir()
    with pytest.raises(UsageError, match="folder"):
        export(handover(), "xlsx", tmp_path / "cells.xlsx", force=True)
    (tmp_path / "coco").write_text("mine")
    with pytest.raises(UsageError, match="folder"):
        export(handover(), "coco", tmp_path / "coco", force=True)
    assert (tmp_path / "coco").read_text() == "mine"


def test_a_folder_comes_to_the_browser_as_a_zip_file():
    with zipfile.ZipFile(io.BytesIO(packed(handover(), "qupath"))) as archive:
        assert set(archive.namelist()) == {
            "field.geojson",
            "a _b_/005.geojson",
            "a _b_/005_jpg.geojson",
            "_con/05.tar.geojson",
        }
        assert archive.testzip() is None
    assert len(pd.read_excel(io.BytesIO(packed(handover(), "xlsx", Units.MICROMETRES)))) == 5


def test_every_format_says_what_it_is():
    assert all(isinstance(known, ExchangeFormat) and known.label and known.opens_in for known in FORMATS.values())
