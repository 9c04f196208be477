"""Tables as other people's programs write them, each read for what it says."""

import zipfile

import openpyxl
import pandas as pd
import pytest

from core.domain.errors import DataSetError
from core.store.text_tables import is_absent, number, open_table

ROWS = [(2, ("Müller", "0.5")), (3, ("b", "12.25"))]


def written(tmp_path, content, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path):
    table = open_table(path)
    return list(table.rows(range(len(table.names))))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encoding_separator_and_line_ends_are_found(tmp_path, encoding, separator, end):
    text = end.join([f"name{separator}value", f"Müller{separator}0.5", f"b{separator}12.25", ""])
    table = open_table(written(tmp_path, text.encode(encoding)))
    assert table.names == ("name", "value")
    assert list(table.rows([0, 1])) == ROWS
    assert bool(table.notes) is (encoding in ("latin-1", "cp1252"))


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;"])
def test_a_line_that_names_the_separator_is_believed_and_no_row(tmp_path, line):
    table = open_table(written(tmp_path, f"{line}\r\nname;value\r\nMüller;0.5\r\nb;12.25\r\n"))
    assert table.names == ("name", "value")
    assert list(table.rows([0, 1])) == ROWS


def test_a_decimal_comma_does_not_pass_for_the_separator(tmp_path):
    table = open_table(written(tmp_path, "a;b;c\n1,5;2,5;3,5\n4,5;5,5;6,5\n"))
    assert table.words == "UTF-8, separated by semicolon"
    assert table.decimal([0, 1, 2]) == ","


@pytest.mark.parametrize(
    ("values", "mark"),
    [
        (["0,5"], ","),
        (["1,234", "0,5"], ","),
        (["1.234,5"], ","),
        (["1.234.567"], ","),
        (["1234,567"], ","),
        (["0,123"], ","),
        (["1,234", "0.5"], "."),
        (["1,234.5"], "."),
        (["1,234,567"], "."),
        (["10921"], "."),
        (["10.921"], "."),
        (["NA", ""], "."),
    ],
)
def test_the_decimal_mark_is_what_some_number_proves(tmp_path, values, mark):
    assert open_table(written(tmp_path, "a;b\n" + "".join(f"{value};x\n" for value in values))).decimal([0]) == mark


@pytest.mark.parametrize(
    ("values", "words"),
    [(["1,234", "2,345"], "'1,234' may be 1.234 or 1234"), (["0,5", "0.5"], r"decimal comma \(0,5\), others a point")],
)
def test_a_decimal_mark_that_cannot_be_known_is_not_guessed(tmp_path, values, words):
    with pytest.raises(DataSetError, match=words):
        open_table(written(tmp_path, "a;b\n" + "".join(f"{value};x\n" for value in values))).decimal([0])


def test_the_proof_may_stand_behind_millions_of_letters(tmp_path):
    many = "1,234;" + "x" * 90 + "\n"
    path = written(tmp_path, "a;b\n" + many * 100_000 + "0,5;x\n")
    assert open_table(path).decimal([0]) == ","


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [
        ("1.5", ".", 1.5), (" 1e3 ", ".", 1000), ("1,234", ".", 1234), ("1,234.5", ".", 1234.5),
        ("1'234.5", ".", 1234.5), ("1,5", ",", 1.5), ("1.234,5", ",", 1234.5), ("1\u00a0234,5", ",", 1234.5),
        ("\u22121,5", ",", -1.5), ("7", ",", 7),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(text, mark, value):
    assert number(text, mark) == value


@pytest.mark.parametrize(
    ("text", "mark"),
    [("1,5", "."), ("1_000", "."), ("0x1", "."), ("inf", "."), ("1 2", "."), ("0.5", ","), ("5%", ".")],
)
def test_what_is_no_number_is_none(text, mark):
    with pytest.raises(ValueError, match=r"number|point"):
        number(text, mark)


def test_words_for_no_value():
    assert all(
        map(is_absent, ["", " ", "NA", "NaN", "nan", "N.A.", "n/a", "#N/A", "NULL", "None", "-", "\u2013", "#DIV/0!"])
    )
    assert not any(map(is_absent, ["0", "p1", "Nanna", "inf", "-1"]))


def test_names_of_rows_as_r_writes_them_are_a_column_without_a_name(tmp_path):
    path = written(tmp_path, '"name"\t"value"\n"1"\t"Müller"\t0.5\n"2"\t"b"\t12.25\n')
    assert open_table(path).names == ("", "name", "value")
    assert read(path) == [(2, ("1", "Müller", "0.5")), (3, ("2", "b", "12.25"))]


def test_decimal_commas_between_commas_are_not_taken_for_names_of_rows(tmp_path):
    with pytest.raises(DataSetError, match=r"row 2: expected 2 fields, .* are 3; .* decimal comma may, needs quotes"):
        read(written(tmp_path, "name,value\na,0,5\nb,12,25\n"))


@pytest.mark.parametrize("text", ["a;b;;\n1;2;;\n", "a;b\n1;2;\n", "a;b;\n1;2\n"])
def test_separators_at_the_end_are_no_columns(tmp_path, text):
    path = written(tmp_path, text)
    assert open_table(path).names == ("a", "b")
    assert read(path) == [(2, ("1", "2"))]


def test_rows_are_numbered_as_a_spreadsheet_does(tmp_path):
    path = written(tmp_path, '\n"a\nb",c\n1,2\n\n   \n"x\ny",4\n')
    assert open_table(path).names == ("a\nb", "c")
    assert [(row, values) for row, values in read(path) if any(values)] == [(3, ("1", "2")), (6, ("x\ny", "4"))]


def test_a_row_with_more_fields_than_the_header_names_row_and_cause(tmp_path):
    with pytest.raises(DataSetError, match=r"row 4: expected 2 fields, as in the header, but there are 3; .* comma"):
        read(written(tmp_path, "a,b\n1,2\n3,4\n1,5,2\n5,6\n7,8\n"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("table.csv", b"a,b\n1,\x00\x00\x00\n", "no text"),
        ("table.xls", b"\xd0\xcf\x11\xe0" + bytes(64), "save it as .xlsx or CSV"),
        ("table.csv", b"\xd0\xcf\x11\xe0" + bytes(64), "save it as .xlsx or CSV"),
        ("table.xlsx", b"a,b\n1,2\n", "its content is none"),
        ("table.xlsx", b"PK\x03\x04 damaged", "cannot be read as a table"),
        ("table.parquet", b"PAR1 damaged", "cannot be read as a table"),
        ("table.pdf", b"%PDF", "must be a .csv"),
        ("missing.csv", None, "No such file"),
    ],
)
def test_what_is_no_table_is_refused_for_what_it_is(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataSetError, match=words):
        read(path)


def workbook(path, sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


@pytest.mark.parametrize("name", ["table.xlsx", "table.csv"])
def test_a_workbook_is_read_whatever_it_is_called(tmp_path, name):
    path = workbook(
        tmp_path / name, {"Cells": [[], ["name", "value", "n"], ["Müller", 0.5, 1], [], ["b", "0,25", True]]}
    )
    table = open_table(path)
    assert (table.names, table.notes) == (("name", "value", "n"), ())
    assert list(table.rows([0, 1, 2])) == [(3, ("Müller", 0.5, 1)), (5, ("b", "0,25", "true"))]
    assert table.decimal([1]) == ","  # of the one that is text


def test_of_several_sheets_the_first_is_read_and_that_is_told(tmp_path):
    table = open_table(workbook(tmp_path / "table.xlsx", {"Cells": [["a"], [1]], "Notes": [["x"]]}))
    assert table.names == ("a",)
    assert "of 2 sheets only the first, 'Cells', was read" in table.notes


def test_a_workbook_that_unpacks_to_too_much_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr("core.store.text_tables._MOST_UNPACKED", 1000)
    path = workbook(tmp_path / "table.xlsx", {"Cells": [["a"], [1]]})
    with zipfile.ZipFile(path) as archive:
        assert sum(member.file_size for member in archive.infolist()) > 1000
    with pytest.raises(DataSetError, match="it unpacks to"):
        open_table(path)


def test_parquet_keeps_its_types_and_counts_from_one(tmp_path):
    pd.DataFrame({"a": ["x", "y"], "b": [1.5, None]}).to_parquet(tmp_path / "table.parquet")
    assert read(tmp_path / "table.parquet") == [(1, ("x", 1.5)), (2, ("y", None))]
