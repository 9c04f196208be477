"""Tables that come from outside: CSV of any separator and encoding, Excel workbooks, Parquet.

Every table that a person brings is opened here: measured cells, labels, patients. What a file is, its content says:
the encoding by its first bytes and by whether it is UTF-8 (else Windows-1252, of which Latin-1 is a part), the
separator by a line `sep=` or by what divides the first lines evenly, the decimal mark by the numbers. Tables are read
in blocks.
"""

import codecs
import csv
import io
import re
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from core.domain.errors import DataSetError

SUFFIXES: Final = (".csv", ".tsv", ".tab", ".txt", ".xlsx", ".xlsm", ".parquet")

# What programs and people write where there is no value, in lower case.
_ABSENT: Final = frozenset(
    {
        "na", "n/a", "n.a.", "n.a", "nan", "<na>", "null", "none", "nil", "missing", "-", "--", "---", "\u2013",
        "\u2014", ".", "?", "#n/a", "#na", "#div/0!", "#value!", "#num!", "#ref!", "#name?", "#null!",
    }
)  # fmt: skip
_SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_SEP_LINE: Final = re.compile(r'"?sep=(\\t|[^\r\n"])"?[ \t;,]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
_SAMPLE: Final = 2**18
_SAMPLE_ROWS: Final = 200
_ROWS: Final = 1000
_CHUNK: Final = 2**20
# A workbook is a ZIP file: what it unpacks to is bounded before it is opened.
_MOST_UNPACKED: Final = 2**30

# Numbers, also in RE2 for whole columns. {0} is the decimal mark, {1} the other of comma and point.
_EXPONENT: Final = r"(?:[eE][+-]?[0-9]+)?"
_SPACES: Final = "' \u00a0\u202f\u2009"
_PLAIN: Final = re.compile(rf"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+){_EXPONENT}")
_CAN_ONLY_BE: Final = (
    r"^\s*[+-]?(?:[0-9]{{1,3}}(?:\{1}[0-9]{{3}})+\{0}[0-9]+|[0-9]{{1,3}}(?:\{1}[0-9]{{3}}){{2,}}|0*\{0}[0-9]+|"
    r"[0-9]{{4,}}\{0}[0-9]+|[0-9]*\{0}(?:[0-9]{{1,2}}|[0-9]{{4,}}))(?:[eE][+-]?[0-9]+)?\s*$"
)
_MARKS: Final = (
    (",", _CAN_ONLY_BE.format(",", ".")),
    (".", _CAN_ONLY_BE.format(".", ",")),
    ("either", r"^\s*[+-]?[1-9][0-9]{0,2},[0-9]{3}\s*$"),
)


def _grouped(mark: str, other: str) -> re.Pattern[str]:
    return re.compile(rf"[+-]?[1-9][0-9]{{0,2}}(?:[{other}{_SPACES}][0-9]{{3}})+(?:[{mark}][0-9]*)?{_EXPONENT}")


_GROUPED: Final = {".": _grouped(".", ","), ",": _grouped(",", ".")}


def is_absent(text: str) -> bool:
    """Whether a text stands for no value, as `NA`, `NaN`, `n/a` or nothing at all."""
    text = text.strip().casefold()
    return not text or text in _ABSENT


def plain_text(value: object) -> str:
    """A value as text; a whole number, which programs keep as 7.0 where others of its column are missing, as 7."""
    return re.sub(r"^([0-9]+)\.0+$", r"\1", str(value).strip())


def number(text: str, decimal: str) -> float:
    """A number as people and programs write it, its thousands perhaps grouped; raises ValueError for what is none."""
    text = text.strip().replace("\u2212", "-")
    other = "," if decimal == "." else "."
    if _GROUPED[decimal].fullmatch(text):
        text = re.sub(f"[{other}{_SPACES}]", "", text)
    if decimal == ",":
        if "." in text:
            msg = f"{text!r} has a point where the table writes decimal commas"
            raise ValueError(msg)
        text = text.replace(",", ".")
    if not _PLAIN.fullmatch(text):
        msg = f"{text!r} is no number"
        raise ValueError(msg)
    return float(text)


# A block: the numbers of its rows, and the values of each column.
Block = tuple[Sequence[int], list[list[Any]]]


class ForeignTable(ABC):
    """A table in blocks of rows.

    `names` are those of the columns as they stand, `words` say how it was read, `notes` what a person should know of
    that. `schema` is what a file of typed columns says of them.
    """

    schema: pa.Schema | None = None

    def __init__(self, file: Path, names: Sequence[str], words: str, notes: Sequence[str] = ()) -> None:
        self.file = file
        self.names = tuple(names)
        self.words = words
        self.notes = tuple(notes)

    @abstractmethod
    def blocks(self, columns: Sequence[int]) -> Iterator[Block]:
        """Some columns, by their places; raises DataSetError where they cannot be read.

        Rows are numbered as a spreadsheet does, the header of most being row 1; those of Parquet from 1.
        """

    def decimal(self, columns: Sequence[int]) -> str:
        """The decimal mark in columns of numbers, a comma or a point; raises DataSetError where it cannot be known."""
        found: dict[str, str] = {}
        for kinds in self._marks(columns) if columns else ():
            found |= kinds
            if "," in found and "." in found:
                msg = (
                    f"{self.file.name}: some numbers have a decimal comma ({found[',']}), others a point"
                    f" ({found['.']}); write them alike"
                )
                raise DataSetError(msg)
            if "," in found or "." in found:
                return "," if "," in found else "."
        if found:
            either = found["either"]
            msg = (
                f"{self.file.name}: {either!r} may be {either.replace(',', '.')} or {either.replace(',', '')}, and no"
                " other number of the table tells which; write numbers with a decimal point and without groups of"
                " thousands"
            )
            raise DataSetError(msg)
        return "."

    def _marks(self, columns: Sequence[int]) -> Iterator[dict[str, str]]:
        """Block by block, an example of a number for each mark that can only be decimal, or can be `either`."""
        for _, values in self.blocks(columns):
            texts = [value for column in values for value in column if isinstance(value, str)]
            yield {mark: text for mark, pattern in _MARKS for text in texts if re.match(pattern, text)}

    def rows(self, columns: Sequence[int]) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Every row with its number."""
        for numbers, values in self.blocks(columns):
            yield from zip(numbers, zip(*values, strict=True), strict=True)


def open_table(file: Path) -> ForeignTable:
    """Open a table by what it holds, whatever its ending.

    Raises
    ------
    DataSetError
        If the file cannot be read as a table, naming the cause.
    """
    suffix = file.suffix.lower()
    if suffix not in (*SUFFIXES, ".xls", ".ods"):
        msg = f"a table must be a .csv, .tsv, .xlsx or .parquet file, but is {file.name}"
        raise DataSetError(msg)
    try:
        with file.open("rb") as opened:
            head = opened.read(8)
        if head.startswith(b"PAR1") or (suffix == ".parquet" and not head.startswith(b"PK")):
            return _ParquetTable(file)
        if head.startswith(b"PK") and suffix != ".ods":
            return _Workbook(file)
        if head.startswith((b"\xd0\xcf\x11\xe0", b"PK")):
            msg = f"{file.name}: is an old or locked workbook, which is not read; save it as .xlsx or CSV"
            raise DataSetError(msg)
        if suffix in (".xlsx", ".xlsm"):
            msg = f"{file.name}: expected an Excel workbook, but its content is none; name it .csv if it is text"
            raise DataSetError(msg)
        return _TextTable(file)
    except (OSError, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, why: object) -> DataSetError:
    return DataSetError(
        f"{file.name}: cannot be read as a table ({why}); save it as CSV in UTF-8, as .xlsx or as Parquet"
    )


def _named(names: Iterable[object]) -> list[str]:
    """Names of columns; those without a name at the end, which spreadsheets leave behind, are none."""
    kept = ["" if name is None else str(name).strip() for name in names]
    while kept and not kept[-1]:
        kept.pop()
    return kept


# --- text -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dialect:
    """How a text table is written.

    `lines` stand before its first row, whose number is `first`; `width` counts the fields of a row.
    """

    encoding: str
    separator: str
    lines: int
    first: int
    names: tuple[str, ...]
    width: int

    @property
    def words(self) -> str:
        """The dialect as a person would say it."""
        encoding = {"utf8": "UTF-8", "cp1252": "Windows-1252 (Latin-1)"}.get(self.encoding, self.encoding.upper())
        return f"{encoding}, separated by {_SEPARATORS.get(self.separator, repr(self.separator))}"


class _TextTable(ForeignTable):
    """CSV and its kin, read by pyarrow in the dialect that was found."""

    def __init__(self, file: Path) -> None:
        self._dialect = dialect = read_dialect(file)
        notes = () if dialect.encoding.startswith("utf") else (f"not UTF-8, so read as {dialect.words.split(',')[0]}",)
        super().__init__(file, dialect.names, dialect.words, notes)

    def blocks(self, columns: Sequence[int]) -> Iterator[Block]:
        passed: set[int] = set()
        row = self._dialect.first
        for batch in self._batches(columns, passed):
            numbers: list[int] = []
            while len(numbers) < batch.num_rows:
                if row not in passed:
                    numbers.append(row)
                row += 1
            yield numbers, [column.to_pylist() for column in batch.columns]

    def _marks(self, columns: Sequence[int]) -> Iterator[dict[str, str]]:
        for batch in self._batches(columns, set()):
            found: dict[str, str] = {}
            for column in batch.columns:
                for mark, pattern in _MARKS:
                    if mark not in found:
                        fitting = column.filter(pc.fill_null(pc.match_substring_regex(column, pattern), False))
                        found |= {mark: fitting[0].as_py()} if len(fitting) else {}
            yield found

    def _batches(self, columns: Sequence[int], passed: set[int]) -> Iterator[pa.RecordBatch]:
        """Columns of text in blocks; numbers of rows without any content, which are passed over, go to `passed`."""
        dialect, wrong = self._dialect, list[tuple[int, int]]()

        def judge(row: pa_csv.InvalidRow) -> str:
            number = row.number - dialect.lines + dialect.first - 1
            if row.text.strip(f'{dialect.separator}" \t\r\n'):
                wrong.append((number, row.actual_columns))
                return "error"
            passed.add(number)
            return "skip"

        # Names may come twice or be missing, places do not.
        places = [str(place) for place in range(dialect.width)]
        options = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(places, pa.string()),
            include_columns=[places[column] for column in columns],
            strings_can_be_null=True,
            null_values=[""],
        )
        reading = pa_csv.ReadOptions(
            column_names=places,
            skip_rows=dialect.lines,
            block_size=2**23,
            use_threads=False,
            encoding=dialect.encoding,
        )
        parsing = pa_csv.ParseOptions(
            delimiter=dialect.separator,
            newlines_in_values=True,
            ignore_empty_lines=False,
            invalid_row_handler=judge,
        )
        try:
            with pa_csv.open_csv(self.file, reading, parsing, options) as blocks:
                yield from blocks
        except (OSError, UnicodeError, pa.ArrowException) as error:
            if wrong:
                number, fields = wrong[0]
                msg = (
                    f"{self.file.name}, row {number}: expected {dialect.width} fields, as in the header, but there are"
                    f" {fields}; the table was taken for {dialect.words}: a value that holds the separator, as a number"
                    " with a decimal comma may, needs quotes, or another separator"
                )
                raise DataSetError(msg) from error
            if "Empty CSV file" in str(error):
                return
            raise _unreadable(self.file, error) from error


def read_dialect(file: Path) -> Dialect:
    """Find out how a text table is written; raises DataSetError for what is no text, UnicodeError, or csv.Error."""
    encoding = _encoding(file)
    with file.open("rb") as opened:
        data = opened.read(_SAMPLE)
        is_whole = not opened.read(1)
    text = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf8" else encoding)().decode(data, is_whole)
    if "\0" in text:
        raise _unreadable(file, "it holds bytes that are no text")
    told = _SEP_LINE.match(text)
    sample = text[told.end() :] if told else text
    separator = (told[1] if told[1] != r"\t" else "\t") if told else _separator(sample, is_whole=is_whole)
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator)
    header: list[str] = []
    first = 2
    for before, row in enumerate(reader):
        if any(map(str.strip, row)):
            header, first = row, before + 2
            break
    lines = reader.line_num + bool(told)
    rows = [row for row in islice(reader, _SAMPLE_ROWS) if any(row)]
    if not is_whole:
        rows = rows[:-1]  # it may be cut
    names, width = _named(header), len(header)
    if rows and all(len(row) == width + 1 for row in rows):
        if all(not row[-1] for row in rows):  # some programs end rows, but not the header, with a separator
            width += 1
        elif separator != ",":  # R names no column for the names of its rows; among commas it may be a decimal one
            names, width = ["", *names], width + 1
    elif rows and header and not header[-1] and all(len(row) == width - 1 for row in rows):
        width -= 1
    return Dialect(encoding, separator, lines, first, tuple(names), width)


def _encoding(file: Path) -> str:
    """The encoding of a text file, as pyarrow calls it."""
    with file.open("rb") as opened:
        head = opened.read(4096)
    for mark, name in (
        (codecs.BOM_UTF8, "utf8"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return name
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        # Most text of a table is ASCII, of which UTF-16 has a zero beside each letter.
        if len(head) > 1 and head[start::2].count(0) > len(head) / 4:
            return name
    for name in ("utf-8", "cp1252"):
        if _decodes(file, name):
            return "utf8" if name == "utf-8" else name
    return "latin-1"


def _decodes(file: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with file.open("rb") as opened:
        try:
            while chunk := opened.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _separator(sample: str, *, is_whole: bool) -> str:
    """What divides the first lines into the same number of fields, the most of them."""
    best, separator = (0.0, 1), ","
    for candidate in _SEPARATORS:
        try:
            rows = list(islice(csv.reader(io.StringIO(sample, newline=""), delimiter=candidate), _SAMPLE_ROWS))
        except csv.Error:
            continue
        rows = [row for row in (rows if is_whole else rows[:-1]) if any(map(str.strip, row))]
        if rows and len(rows[0]) > 1:
            # Names of rows may stand before the first column without one for their own.
            even = sum(abs(len(row) - len(rows[0])) <= 1 for row in rows) / len(rows)
            if (even, len(rows[0])) > best:
                best, separator = (even, len(rows[0])), candidate
    return separator


# --- workbooks and Parquet --------------------------------------------------------------------------------------------


class _Workbook(ForeignTable):
    """The first sheet that is shown of an Excel workbook."""

    def __init__(self, file: Path) -> None:
        sheets = self._sheets(file)
        self._sheet, others = sheets[0], sheets[1:]
        notes = (f"of {len(sheets)} sheets only the first, {self._sheet!r}, was read",) if others else ()
        super().__init__(file, (), f"Excel workbook, sheet {self._sheet!r}", notes)
        self._first, names = 1, list[str]()
        for number, row in self._all():
            if names := _named(row):
                self._first = number + 1
                break
        self.names = tuple(names)

    @staticmethod
    def _sheets(file: Path) -> list[str]:
        with _opened(file) as book:
            return [sheet.title for sheet in book.worksheets if sheet.sheet_state == "visible"] or [
                sheet.title for sheet in book.worksheets
            ]

    def _all(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        with _opened(self.file) as book:
            sheet = book[self._sheet]
            sheet.reset_dimensions()  # some programs write wrong ones
            yield from enumerate(sheet.iter_rows(values_only=True), start=1)

    def blocks(self, columns: Sequence[int]) -> Iterator[Block]:
        kept = ((number, row) for number, row in self._all() if number >= self._first and not _is_empty(row))
        while block := list(islice(kept, _ROWS)):
            yield (
                [number for number, _ in block],
                [[_cell(row[at]) if at < len(row) else None for _, row in block] for at in columns],
            )


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A workbook, opened for reading within limits; raises DataSetError for what is none."""
    # Not at the top: it is needed for workbooks only.
    import openpyxl

    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _MOST_UNPACKED:
            msg = (
                f"{file.name}: expected a workbook of at most {_MOST_UNPACKED / 2**20:,.0f} MB, but it unpacks to"
                f" {unpacked / 2**20:,.0f} MB; save it as CSV"
            )
            raise DataSetError(msg)
        # An open file, because by name it takes only what is called .xlsx; warnings are of styles and rules for input.
        with file.open("rb") as opened, warnings.catch_warnings(action="ignore"):
            book = openpyxl.load_workbook(io.BytesIO(opened.read()), read_only=True, data_only=True)
    except (zipfile.BadZipFile, OSError, KeyError, TypeError, SyntaxError, EOFError) as error:
        raise _unreadable(file, error) from error
    with closing(book):
        yield book


def _is_empty(row: Sequence[Any]) -> bool:
    return all(value is None or (isinstance(value, str) and not value.strip()) for value in row)


def _cell(value: Any) -> Any:  # noqa: ANN401 (what a cell of a workbook may hold)
    """A number, or text as CSV would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    return value if value is None or isinstance(value, int | float) else str(value)


class _ParquetTable(ForeignTable):
    """A Parquet file, whose values have types."""

    def __init__(self, file: Path) -> None:
        self.schema = pq.read_schema(file)
        super().__init__(file, self.schema.names, "Parquet")

    def blocks(self, columns: Sequence[int]) -> Iterator[Block]:
        names = [self.names[column] for column in columns]
        row = 1
        try:
            for batch in pq.ParquetFile(self.file).iter_batches(_ROWS, columns=names):
                yield range(row, row + batch.num_rows), [column.to_pylist() for column in batch.select(names).columns]
                row += batch.num_rows
        except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError) as error:  # text or times that are none
            raise _unreadable(self.file, error) from error
