import csv
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.batch import sorted_csv
from core.batch.sorted_csv import write_sorted_csv
from core.domain.errors import StoreError
from core.store.schema import FORMULA_STARTS

ORDER = ("image_path", "cell_index")
COLUMNS = pa.schema(
    [
        ("image_path", pa.string()),
        ("cell_index", pa.int32()),
        ("quality_flags", pa.list_(pa.string())),
        ("value", pa.float64()),
        ("good", pa.bool_()),
        ("nucleus_outline", pa.list_(pa.list_(pa.float32()))),
        ("created", pa.timestamp("us", tz="UTC")),
    ]
)


def write_cells(path, *rows):
    """A Parquet file; what a row does not say is null."""
    pq.write_table(
        pa.Table.from_pylist([{name: row.get(name) for name in COLUMNS.names} for row in rows], schema=COLUMNS), path
    )
    return path


def cell(image_path, cell_index=0, **others):
    return {"image_path": image_path, "cell_index": cell_index, **others}


def gone(*images):
    """The table of what no longer holds, from pairs of file and image."""
    rows = [{"filename": str(file), "image_path": path} for file, path in images]
    return pa.Table.from_pylist(rows, schema=pa.schema([("filename", pa.string()), ("image_path", pa.string())]))


def table(files, folder, *superseded):
    """The rows of cells.csv as dictionaries of text."""
    write_sorted_csv(files, folder / "cells.csv", ORDER, gone(*superseded))
    with (folder / "cells.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def keys(rows):
    return [(row["image_path"], int(row["cell_index"])) for row in rows]


def test_rows_of_all_files_are_sorted_by_image_and_cell_and_give_the_same_bytes(tmp_path):
    wanted = [
        ("10.png", 0),
        ("2.png", 0),
        ("Z.png", 0),
        ("a/b.png", 2),
        ("a/b.png", 10),
        ("ä.png", 0),
    ]  # by code points, cells as numbers
    shuffled = [wanted[at] for at in np.random.default_rng(3).permutation(len(wanted))]
    one = write_cells(tmp_path / "one.parquet", *(cell(*key) for key in shuffled))
    first = write_cells(tmp_path / "first.parquet", *(cell(*key) for key in shuffled[:2]))
    second = write_cells(tmp_path / "second.parquet", *(cell(*key) for key in shuffled[2:]))
    assert keys(table([one], tmp_path)) == wanted
    content = (tmp_path / "cells.csv").read_bytes()
    assert keys(table([second, first], tmp_path)) == wanted
    assert (tmp_path / "cells.csv").read_bytes() == content


def test_every_kind_of_value_has_its_text(tmp_path):
    summer = datetime(2026, 7, 1, 12, 30, 0, 250, tzinfo=timezone(timedelta(hours=2)))
    full = cell(
        "a.png",
        quality_flags=["border", "blur"],
        value=-1.5e-7,
        good=True,
        nucleus_outline=[[0, 0, 1, 1]],
        created=summer,
    )
    others = [cell("b.png"), cell("c.png", quality_flags=[], good=False, created=datetime(2026, 1, 1, tzinfo=UTC))]
    first, second, third = table([write_cells(tmp_path / "cells.parquet", full, *others)], tmp_path)
    assert list(first) == ["image_path", "cell_index", "quality_flags", "value", "good", "created"]
    assert (first["quality_flags"], float(first["value"]), first["good"]) == ("border blur", -1.5e-7, "true")
    assert first["created"] == "2026-07-01T10:30:00.000250Z"
    assert set(second.values()) == {"b.png", "0", ""}
    assert (third["quality_flags"], third["good"], third["created"]) == ("", "false", "2026-01-01T00:00:00.000000Z")


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe(start, tmp_path):
    path = write_cells(tmp_path / "cells.parquet", cell(f"{start}1.png", quality_flags=[f"{start}x", "y"], value=-1.0))
    (row,) = table([path], tmp_path)
    assert (row["image_path"], row["quality_flags"], row["value"]) == (f"'{start}1.png", f"'{start}x y", "-1.0")


def test_names_with_the_signs_of_csv_come_back_as_they_were(tmp_path):
    names = sorted(
        ['a,"b".png', "two\nlines.png", "carriage\rreturn.png", " blank .png", "a'b;c.png", "NULL", "\U0001f9ea.png"]
    )
    assert [
        name for name, _ in keys(table([write_cells(tmp_path / "cells.parquet", *map(cell, names))], tmp_path))
    ] == names


def test_an_image_is_left_out_of_the_file_where_it_no_longer_holds(tmp_path):
    old = write_cells(
        tmp_path / "old.parquet", cell("a.png", value=1), cell("a.png", 1, value=1), cell("b.png", value=1)
    )
    new = write_cells(tmp_path / "new.parquet", cell("a.png", value=2))
    rows = table([old, new], tmp_path, (old, "a.png"), (new, "b.png"))
    assert [(row["image_path"], float(row["value"])) for row in rows] == [("a.png", 2), ("b.png", 1)]


@pytest.mark.parametrize(("name", "other"), [("run[1]", "run1"), ("run*", "running"), ("ru?", "run"), ("[!a]", "b")])
def test_a_folder_whose_name_looks_like_a_pattern_is_read_alone(name, other, tmp_path):
    for folder in (name, other):  # a copy has shards of the same names
        (tmp_path / folder).mkdir()
        write_cells(tmp_path / folder / "cells.parquet", cell(f"{folder}.png"), cell("gone.png"))
    path = tmp_path / name / "cells.parquet"
    assert [image for image, _ in keys(table([path], tmp_path, (path, "gone.png")))] == [f"{name}.png"]


@pytest.mark.parametrize("stretch", [1, 2, 5, 6])
def test_rows_written_stretch_by_stretch_are_those_written_at_once(stretch, tmp_path, monkeypatch):
    old = write_cells(
        tmp_path / "old.parquet", *(cell(f"{n}.png", part, value=n) for n in (3, 0, 2) for part in (1, 0))
    )
    new = write_cells(tmp_path / "new.parquet", cell("0.png", value=10), cell("1.png", value=1))
    rows = table([old, new], tmp_path, (old, "0.png"))
    assert keys(rows) == [("0.png", 0), ("1.png", 0), ("2.png", 0), ("2.png", 1), ("3.png", 0), ("3.png", 1)]
    monkeypatch.setattr(sorted_csv, "_STRETCH", stretch)
    assert table([old, new], tmp_path, (old, "0.png")) == rows


def test_more_than_memory_holds_is_sorted_on_the_disk(tmp_path, monkeypatch):
    """Cells that take more than 64 MB to sort, which fails where there is no place for what is put aside.

    Of that nothing is left.
    """
    count = 300_000
    numbers = np.random.default_rng(0).permutation(count)
    values = {f"value{column}": np.zeros(count) for column in range(10)}
    path = tmp_path / "cells.parquet"
    pq.write_table(
        pa.table({"image_path": [f"{n:06d}" for n in numbers], "cell_index": np.zeros(count, np.int32), **values}), path
    )
    monkeypatch.setattr(sorted_csv, "_MEMORY", "64MB")
    write_sorted_csv([path], tmp_path / "cells.csv", ORDER, gone())
    with (tmp_path / "cells.csv").open(encoding="ascii") as file:
        assert next(file).startswith("image_path,cell_index,value0")
        assert all(int(line[:6]) == number for number, line in zip(range(count), file, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.csv", "cells.parquet"]


def test_a_damaged_file_and_a_disk_that_refuses_are_told(tmp_path):
    good = write_cells(tmp_path / "good.parquet", cell("a.png"))
    (tmp_path / "bad.parquet").write_bytes(good.read_bytes()[:-30])
    with pytest.raises(StoreError, match=r"cells\.csv cannot be written.*bad\.parquet"):
        table([good, tmp_path / "bad.parquet"], tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "cells.csv").mkdir()
    with pytest.raises(StoreError, match=r"cells\.csv cannot be written.*give the same command again"):
        table([good], tmp_path / "folder")
