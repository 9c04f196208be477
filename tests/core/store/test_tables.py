import json
import math

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.domain.cell_types import CellType
from core.domain.errors import DataSetError, StoreError
from core.domain.options import Units
from core.features.catalogue import CATALOGUE
from core.store import queries
from core.store.database import Cohort
from core.store.export import to_csv, to_parquet, write_cells
from core.store.plausibility import Judgement
from core.store.shards import write_population
from core.store.tables import check_table, import_table, look, preview, uploaded
from tests.core.store.conftest import AREA, RATIO, make_population, make_rows

LENGTH = "nucleus_shape2D_Perimeter"


def cells_of(root, population_id: str = "own") -> pd.DataFrame:
    with Cohort.open([root]) as cohort:
        return queries.cells(cohort, population_id)


def written(tmp_path, text: str, name: str = "table.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_becomes_a_population_and_what_it_lacks_is_absent_with_a_reason(root, tmp_path):
    table = written(
        tmp_path,
        f"patient,cell_type,um_per_px,{AREA},{RATIO},remark\r\n'=p1,apl,0.1,2500.5,0.8,x\r\n,,0.2,1200,,y\r\n",
    )
    columns = look(table)
    assert columns.taken == ("patient_id", "cell_type", "um_per_px", AREA, RATIO)
    assert columns.not_taken == ("remark",)
    assert len(columns.missing) == len(CATALOGUE) - 2
    assert columns.cell_type is CellType.APL
    assert import_table(root, make_population("own"), table, units=Units.PIXELS) == 2
    frame = cells_of(root)
    assert frame["patient_id"].tolist()[0] == "=p1"
    assert pd.isna(frame["patient_id"].iloc[1])
    assert frame["cell_type"].tolist() == ["apl", "monocyte"]
    assert frame["um_per_px"].tolist() == [0.1, 0.2]
    assert frame[AREA].tolist() == [2500.5, 1200]
    assert frame["image_path"].tolist() == ["table/2", "table/3"]
    assert frame["source"].tolist() == ["test laboratory"] * 2
    assert frame["quality_ok"].all()
    reasons = json.loads(frame["absent"].iloc[1])
    assert reasons[RATIO] == "empty in the imported table"
    assert reasons[LENGTH] == "not in the imported table"
    assert AREA not in reasons


def test_micrometres_are_stored_as_pixels(root, tmp_path):
    table = written(tmp_path, f"um_per_px,{AREA},{LENGTH},{RATIO}\n0.1,50,30,0.5\n,50,30,0.5\n")
    import_table(root, make_population("own", um_per_px=0.2), table, units=Units.MICROMETRES)
    frame = cells_of(root)
    assert frame[AREA].tolist() == pytest.approx([5000, 1250])
    assert frame[LENGTH].tolist() == pytest.approx([300, 150])
    assert frame[RATIO].tolist() == [0.5, 0.5]
    with pytest.raises(DataSetError, match=f"row 3, column {AREA}: in micrometres, but the cell has no um_per_px"):
        import_table(root, make_population("other"), table, units=Units.MICROMETRES)
    assert not (root / "other").exists()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_what_was_taken_away_can_be_brought_back(root, tmp_path, kind):
    population = make_population()
    rows = make_rows(population, [1.5, None, 3.25], patient="@p")
    rows[1] |= {"quality_flags": ["blurred", "border"], "severe_flags": ["border"], "quality_ok": False}
    rows[0] |= {"nucleus_outline": [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]}
    write_population(root, population, [rows])
    frame = cells_of(root, "mono")
    path = tmp_path / f"cells.{kind}"
    if kind == "csv":
        path.write_bytes(to_csv(frame))
    else:
        to_parquet(frame, path)
    assert import_table(root, make_population("own"), path, units=Units.PIXELS) == 3
    again = cells_of(root)
    assert again["cell_id"].tolist() == [name.replace("mono:", "own:") for name in frame["cell_id"]]
    # CSV takes no outlines.
    fresh = [
        "cell_id",
        "population",
        "absent",
        "created",
        *(["nucleus_outline", "cell_outline"] if kind == "csv" else []),
    ]
    plain = [
        name
        for name in frame
        if name not in [*fresh, "quality_flags", "severe_flags", "nucleus_outline", "cell_outline"]
    ]
    pd.testing.assert_frame_equal(again[plain], frame[plain])
    for name in ("quality_flags", "severe_flags"):
        assert [list(words) for words in again[name]] == [list(words) for words in frame[name]]
    if kind == "parquet":
        assert [ring.tolist() for ring in again["nucleus_outline"].iloc[0]] == [[1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{AREA}\n1\ninf\n", f"row 3, column {AREA}: expected a finite number, but is 'inf'"),
        (f"{AREA}\n1\n1e999\n", "row 3"),
        (f"{AREA}\nnan\n", "has no rows"),
        (f"{AREA}\n1.5\n1_000\n", f"row 3, column {AREA}: expected a finite number, but is '1_000'"),
        (f"{AREA};{RATIO}\n1,234;\n2,345;\n", "'1,234' may be 1.234 or 1234"),
        (f"{AREA};{RATIO}\n1,5;0,5\n2,5;0.5\n", "some numbers have a decimal comma .*, others a point"),
        (f"{AREA},um_per_px\n1,0.1\n1,95\n", "row 3, column um_per_px: expected a number from 0.005 to 10"),
        (f"{AREA},cell_type\n1,Unicorn\n", "row 2, column cell_type: expected one of monocyte, "),
        (f"{AREA},quality_ok\n1,perhaps\n", "row 2, column quality_ok: expected true or false"),
        (f"{AREA},cell_index\n1,-1\n", "row 2, column cell_index: expected a whole number"),
        (f"{AREA},image_sha256\n1,abc\n", "row 2, column image_sha256: expected 64 hexadecimal digits"),
        (f"{AREA},patient,patient_id\n1,a,b\n", "two columns hold the same"),
        (f"{AREA},{AREA}\n1,2\n", "two columns hold the same"),
        ("area;perimeter\n1;2\n", "has no feature of the catalogue, only area, perimeter"),
        ("", "has no feature of the catalogue"),
        (f"{AREA}\n", "has no rows"),
        (f"{AREA},{RATIO}\n1,0.2\n\n3\n", "row 4: expected 2 fields, as in the header, but there are 1"),
        (f"{AREA},image_sha256,cell_index\n1,{'a' * 64},0\n2,{'a' * 64},0\n", "rows 2 and 3 are the same cell"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_words_and_leaves_nothing(root, tmp_path, text, words):
    table = written(tmp_path, text)
    with pytest.raises(DataSetError, match=words):
        import_table(root, make_population("own"), table, units=Units.PIXELS)
    assert list(root.iterdir()) == []


def test_a_mistake_in_the_last_row_leaves_nothing_of_thousands(root, tmp_path):
    table = written(tmp_path, f"{AREA}\n" + "1\n" * 2500 + "x\n")
    with pytest.raises(DataSetError, match="row 2502"):
        import_table(root, make_population("own"), table, units=Units.PIXELS)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"PAR1 no table"])
@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "table.xlsx"])
def test_what_is_no_table_is_refused_in_words(root, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataSetError, match=name):
        import_table(root, make_population("own"), path, units=Units.PIXELS)


def test_a_missing_value_of_parquet_is_absent_and_one_that_is_not_finite_is_refused(root, tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({AREA: [1.0, None, float("nan")], "patient_id": ["a", "b", "c"]}), path)
    import_table(root, make_population("own"), path, units=Units.PIXELS)
    assert cells_of(root)[AREA].isna().tolist() == [False, True, True]
    pq.write_table(pa.table({AREA: [1.0, float("inf")]}), path)
    with pytest.raises(DataSetError, match=f"row 2, column {AREA}"):
        import_table(root, make_population("other"), path, units=Units.PIXELS)


def test_an_id_is_taken_once_and_replaced_on_demand(root, tmp_path):
    import_table(root, make_population("own"), written(tmp_path, f"{AREA}\n1\n"), units=Units.PIXELS)
    second = written(tmp_path, f"{AREA}\n2\n", "second.csv")
    with pytest.raises(StoreError, match="already"):
        import_table(root, make_population("own"), second, units=Units.PIXELS)
    import_table(root, make_population("own"), second, units=Units.PIXELS, replace=True)
    assert cells_of(root)[AREA].tolist() == [2]


def test_an_absolute_path_is_reduced_and_cells_that_are_not_good_say_so(root, tmp_path):
    table = written(tmp_path, f"image_path,quality_ok,{AREA}\n/home/x/a.png,false,1\nC:\\data\\b.png,true,2\n")
    import_table(root, make_population("own"), table, units=Units.PIXELS)
    frame = cells_of(root)
    assert frame["image_path"].tolist() == ["a.png", "b.png"]
    assert frame["quality_ok"].tolist() == [False, True]
    assert [list(flags) for flags in frame["severe_flags"]] == [["not_ok_in_table"], []]


def test_several_types_make_a_mixed_population(root, tmp_path):
    table = written(tmp_path, f"cell_type,{AREA}\nmonocyte,1\nlymphocyte,2\n")
    columns = look(table)
    assert columns.cell_types == (CellType.MONOCYTE, CellType.LYMPHOCYTE)
    assert columns.cell_type is CellType.OTHER
    assert look(written(tmp_path, f"{AREA}\n1\n")).cell_type is None


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_preview_shows_the_first_rows_as_they_are(tmp_path, suffix):
    frame = pd.DataFrame({"name": ["a", "b", "c"], "n": ["1", "02", "3"]})
    path = tmp_path / f"table.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    pd.testing.assert_frame_equal(preview(path, 2), frame[:2], check_dtype=False)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("my table.csv", "my table.csv"),
        ("../../etc/passwd", "passwd"),
        (".hidden", "hidden"),
        ("a$b;c.csv", "a_b_c.csv"),
        ("..", "table"),
    ],
)
def test_an_upload_is_a_file_under_a_harmless_name_and_then_gone(name, kept):
    with uploaded(name, b"data") as path:
        assert path.name == kept
        assert path.read_bytes() == b"data"
    assert not path.exists()


# --- tables of other programs -----------------------------------------------------------------------------------------

NUCLEUS, CELL = AREA, "cell_shape2D_PixelSurface"
HEADER = ("image_path", "cell_type", "patient_id", NUCLEUS, CELL, RATIO)
CELLS = [
    (f"img{n}.png", "monocyte", f"Müller{n % 3}", 9000.0 + n, 20000.0 + n, (9000.0 + n) / (20000.0 + n))
    for n in range(12)
]


def table_text(rows=CELLS, separator=",", mark="."):
    lines = [separator.join(HEADER)]
    lines += [separator.join(str(v).replace(".", mark) if isinstance(v, float) else v for v in row) for row in rows]
    return "\r\n".join([*lines, ""])


def changed(row, **values):
    """The rows with other values in one of them."""
    rows = [dict(zip(HEADER, values, strict=True)) for values in CELLS]
    rows[row] |= values
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("comma.csv", table_text().encode()),
        ("excel.csv", table_text().encode("utf-8-sig")),
        ("semicolon.csv", table_text(separator=";", mark=",").encode()),
        ("sep.csv", b"sep=;\r\n" + table_text(separator=";", mark=",").encode("cp1252")),
        ("tab.tsv", table_text(separator="\t").encode()),
        ("unicode.txt", table_text(separator="\t").encode("utf-16")),
        ("latin1.csv", table_text().encode("latin-1")),
        ("folder.csv", table_text().replace("monocyte", "Monocytes").encode()),
    ],
)
def test_one_table_in_any_dialect_is_one_population(root, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert import_table(root, make_population("own"), path, units=Units.PIXELS) == 12
    frame = cells_of(root).sort_values("image_path", key=lambda names: names.str[3:-4].astype(int))
    assert frame["patient_id"].tolist() == [row[2] for row in CELLS]
    assert set(frame["cell_type"]) == {"monocyte"}
    for at, column in enumerate(HEADER[3:], start=3):
        assert frame[column].tolist() == [row[at] for row in CELLS]


def test_a_workbook_is_a_table(root, tmp_path):
    pd.DataFrame(CELLS, columns=HEADER).to_excel(tmp_path / "cells.xlsx", index=False)
    assert look(tmp_path / "cells.xlsx").words == "Excel workbook, sheet 'Sheet1'"
    assert import_table(root, make_population("own"), tmp_path / "cells.xlsx", units=Units.PIXELS) == 12
    assert sorted(cells_of(root)[CELL]) == [row[4] for row in CELLS]


@pytest.mark.parametrize("word", ["NA", "NaN", "N.A.", "n/a", "#N/A", "null", "-", ""])
def test_words_for_no_value_are_absent_values(root, tmp_path, word):
    table = written(tmp_path, table_text(changed(3, **{NUCLEUS: word, "patient_id": word})))
    assert import_table(root, make_population("own"), table, units=Units.PIXELS) == 12
    (row,) = cells_of(root).query("image_path == 'img3.png'").to_dict("records")
    assert pd.isna(row[NUCLEUS])
    assert row["patient_id"] is None
    assert json.loads(row["absent"])[NUCLEUS] == "empty in the imported table"


@pytest.mark.parametrize("name", ["Hairy cell", "hairy-cells", "HCL", "hcl", "HAC"])
def test_a_cell_type_goes_by_any_of_its_names(root, tmp_path, name):
    table = written(tmp_path, table_text().replace("monocyte", name))
    assert look(table).cell_types == (CellType.HCL,)
    import_table(root, make_population("own"), table, units=Units.PIXELS)
    assert set(cells_of(root)["cell_type"]) == {"hcl"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({NUCLEUS: -9003.0}, (5, NUCLEUS, -9003.0, "negative")),
        ({NUCLEUS: -999.0}, (5, NUCLEUS, -999.0, "missing")),
        ({RATIO: 46.0}, (5, RATIO, 46.0, "share")),
        ({NUCLEUS: 30000.0}, (5, NUCLEUS, 30000.0, "whole")),
    ],
)
def test_an_impossible_row_is_left_out_and_told(root, tmp_path, values, told):
    judgement = Judgement()
    table = written(tmp_path, table_text(changed(3, **values)))
    assert import_table(root, make_population("own"), table, units=Units.PIXELS, judgement=judgement) == 11
    assert "img3.png" not in set(cells_of(root)["image_path"])
    (rejected,) = judgement.rejected
    assert (rejected.row, rejected.column, rejected.value, rejected.rule) == told


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(*row[:3], -row[3], *row[4:]) for row in CELLS], "12 of 12 rows .* cannot be negative"),
        ([(*row[:5], 100 * row[5]) for row in CELLS], "is not a share from 0 to 1; it may be in per cent"),
        (
            [(*row[:3], row[4], row[3], row[5]) for row in CELLS],
            "is more than the cell's; two columns may be exchanged",
        ),
    ],
)
def test_a_column_that_means_something_else_refuses_the_table(root, tmp_path, rows, words):
    table = written(tmp_path, table_text(rows))
    with pytest.raises(DataSetError, match=words):
        import_table(root, make_population("own"), table, units=Units.PIXELS)
    assert list(root.iterdir()) == []


def test_a_value_is_judged_in_pixels_and_told_as_it_stands(root, tmp_path):
    rows = [(*row[:3], row[3] / 100, row[4] / 100, row[5]) for row in changed(3, **{NUCLEUS: -2500.0})]
    judgement = Judgement()
    table = written(tmp_path, table_text(rows))
    population = make_population("own", um_per_px=0.1)
    assert import_table(root, population, table, units=Units.MICROMETRES, judgement=judgement) == 11
    assert judgement.rejected[0].value == -25
    assert cells_of(root)[CELL].min() == pytest.approx(20000)


def test_a_row_that_comes_twice_is_counted_once_and_told(root, tmp_path):
    judgement = Judgement()
    table = written(tmp_path, table_text([*CELLS, CELLS[4]]))
    assert import_table(root, make_population("own"), table, units=Units.PIXELS, judgement=judgement) == 12
    assert judgement.doubled == [(14, 6)]


@pytest.mark.parametrize("other", [{"cell_type": "lymphocyte"}, {"patient_id": "somebody else"}])
def test_one_cell_under_two_labels_is_an_error(root, tmp_path, other):
    twin = tuple((dict(zip(HEADER, CELLS[4], strict=True)) | other).values())
    with pytest.raises(DataSetError, match="rows 6 and 14 are the same cell of the same image, but say different"):
        import_table(root, make_population("own"), written(tmp_path, table_text([*CELLS, twin])), units=Units.PIXELS)


def test_cells_of_one_image_and_images_of_one_name_are_no_doubles(root, tmp_path):
    rows = [(f"/data/p{n % 3}/1.png", *row[1:]) for n, row in enumerate(CELLS)]
    judgement = Judgement()
    table = written(tmp_path, table_text(rows))
    assert import_table(root, make_population("own"), table, units=Units.PIXELS, judgement=judgement) == 12
    assert judgement.doubled == []


def test_a_check_says_what_would_be_imported_and_writes_nothing(root, tmp_path):
    table = written(tmp_path, table_text(changed(3, **{RATIO: 46.0})))
    judgement = Judgement()
    checked = check_table(make_population("own"), table, units=Units.PIXELS, judgement=judgement)
    assert checked.cells == 11
    assert checked.examples[0] == ("img0.png", "Müller0", "monocyte")
    assert len(checked.examples) == 3
    assert judgement.left_out == 1
    assert list(root.iterdir()) == []


def test_what_was_written_for_excel_is_read_back(root, tmp_path):
    import_table(root, make_population("own"), written(tmp_path, table_text()), units=Units.PIXELS)
    frame = cells_of(root)
    (tmp_path / "excel.csv").write_bytes(to_csv(frame, excel=True))
    assert (tmp_path / "excel.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert import_table(root, make_population("again"), tmp_path / "excel.csv", units=Units.PIXELS) == 12
    assert sorted(cells_of(root, "again")["patient_id"]) == sorted(frame["patient_id"])


@pytest.mark.parametrize("units", list(Units))
@pytest.mark.parametrize("name", ["cells.csv", "cells.parquet"])
def test_a_table_is_read_in_the_unit_that_it_states(root, tmp_path, name, units):
    population = make_population(um_per_px=0.1)
    rows = make_rows(population, [400.0, None])
    rows[0] |= {"notes": ["frame 1 of 3 used", "converted from CMYK"]}
    write_population(root, population, [rows])
    write_cells(cells_of(root, "mono"), tmp_path / name, units)
    assert look(tmp_path / name).units is units
    import_table(root, make_population("own"), tmp_path / name)
    again = cells_of(root)
    pd.testing.assert_frame_equal(again[list(CATALOGUE)], cells_of(root, "mono")[list(CATALOGUE)])
    assert again["units"].tolist() == ["px", "px"]
    assert [list(notes) for notes in again["notes"]] == [["frame 1 of 3 used", "converted from CMYK"], []]
    other = next(unit for unit in Units if unit is not units)
    with pytest.raises(DataSetError, match=f"in {units.value}, but {other.value} was given"):
        import_table(root, make_population("other"), tmp_path / name, units=other)


def test_units_come_from_the_column_alone_from_the_metadata_alone_or_from_beside(root, tmp_path):
    column = written(tmp_path, f"units,um_per_px,{AREA}\num,0.1,4\n,0.1,4\n", "column.csv")
    plain = pa.table({"um_per_px": [0.1], AREA: [4.0]})
    pq.write_table(plain.replace_schema_metadata({"units": "um"}), tmp_path / "file.parquet")
    field = pa.field(AREA, pa.float64(), metadata={"unit": "µm²"})
    pq.write_table(
        pa.table([[0.1], [4.0]], schema=pa.schema([("um_per_px", pa.float64()), field])), tmp_path / "f.parquet"
    )
    beside = written(tmp_path, f"um_per_px,{AREA}\n0.1,4\n", "beside.csv")
    written(tmp_path, '{"units": "um"}', "beside.csv-metadata.json")
    for number, path in enumerate([column, tmp_path / "file.parquet", tmp_path / "f.parquet", beside]):
        assert look(path).units is Units.MICROMETRES
        import_table(root, make_population(f"own{number}"), path)
        assert cells_of(root, f"own{number}")[AREA].tolist()[0] == pytest.approx(400)


def test_units_that_contradict_each_other_or_are_not_said_are_refused(root, tmp_path):
    mixed = written(tmp_path, f"units,um_per_px,{AREA}\npx,0.1,1\num,0.1,2\n")
    with pytest.raises(DataSetError, match=r"two \(row 2 px, row 3 um\)"):
        look(mixed)
    written(tmp_path, f"units,{AREA}\npx,1\n", "two.csv")
    written(tmp_path, '{"units": "um"}', "two.csv-metadata.json")
    with pytest.raises(DataSetError, match="row 2 px, the description beside it um"):
        look(tmp_path / "two.csv")
    with pytest.raises(DataSetError, match="row 2, column units: expected px or um, but is 'inch'"):
        look(written(tmp_path, f"units,{AREA}\ninch,1\n"))
    silent = written(tmp_path, f"{AREA}\n1\n", "silent.csv")
    with pytest.raises(DataSetError, match="give --units px or --units um"):
        import_table(root, make_population("own"), silent)
    assert list(root.iterdir()) == []


def test_an_empty_list_is_no_flag_however_it_is_written(root, tmp_path):
    table = written(
        tmp_path,
        f'severe_flags,quality_flags,{AREA}\n[],[],1\n,,2\n"[\'border\', \'blurred\']","[""border""]",3\nborder,,4\n',
    )
    import_table(root, make_population("own"), table, units=Units.PIXELS)
    frame = cells_of(root)
    assert [list(flags) for flags in frame["severe_flags"]] == [[], [], ["border", "blurred"], ["border"]]
    assert [list(flags) for flags in frame["quality_flags"]] == [[], [], ["border", "blurred"], ["border"]]
    assert frame["quality_ok"].tolist() == [True, True, False, False]


def test_a_table_that_an_earlier_version_wrote_held_natural_densities(root, tmp_path):
    columns = "nucleus_od_Mean,nucleus_od_Variance,nucleus_od_Entropy"
    former = written(tmp_path, f"model_id,image_path,{columns}\nm,a.png,{math.log(10)},{math.log(10) ** 2},3\n")
    import_table(root, make_population("own"), former, units=Units.PIXELS)
    row = cells_of(root).iloc[0]
    assert (row["nucleus_od_Mean"], row["nucleus_od_Variance"]) == (pytest.approx(1), pytest.approx(1))
    assert pd.isna(row["nucleus_od_Entropy"])
    assert row["image_path"] == "a.png"
    others = written(tmp_path, f"{columns}\n1,2,3\n", "others.csv")
    import_table(root, make_population("others"), others, units=Units.PIXELS)
    assert cells_of(root, "others")[columns.split(",")].iloc[0].tolist() == [1, 2, 3]
