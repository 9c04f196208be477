"""Labels of cells, cell type and patient, from the folder or the name of the image, or from a table."""

import csv
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.domain.cell_types import CellType, folder_cell_type
from core.domain.errors import UsageError

# From an image's relative path to what is said of it; None where nothing is.
_Finder = Callable[[str], str | None]
# The column of a table that says which image is meant, as in every table that is written, and as it was called once.
_PATH, _FORMER = "image_name", "image_path"


@dataclass(frozen=True)
class Labels:
    """Cell type and patient of every image.

    `digest` is the SHA-256 of the tables they come from, empty where there is none.
    """

    _cell_type: _Finder | None
    _patient: _Finder | None
    digest: str = ""

    def cell_type(self, image_path: str) -> str | None:
        """A value of `CellType`; None where no labels were asked for.

        Raises
        ------
        UsageError
            If the label is missing or unknown.
        """
        if self._cell_type is None:
            return None
        said = self._cell_type(image_path)
        if said is None:
            msg = (
                "expected a cell type, but nothing names one for this image; file it in a folder named after its type,"
                " or list it"
            )
            raise UsageError(msg)
        return _known(said)

    def patient(self, image_path: str) -> str | None:
        """The patient's pseudonym; None where it is unknown."""
        return (self._patient(image_path) or None) if self._patient else None


def read_labels(label_from: str | None, patient_from: str | None) -> Labels:
    """Make the source of labels from the arguments of the command line.

    Parameters
    ----------
    label_from, patient_from
        `folder`: for the cell type the nearest folder that is named after one, for the patient the nearest that is not;
        `regex:PATTERN`: the group `label` (or `patient`) of its match in the relative path; `csv:FILE`: columns
        `image_name` and `cell_type` (or `patient_id`).

    Raises
    ------
    UsageError
        If an argument is none of these, the pattern or table is damaged, or the table names an unknown cell type.
    """
    tables: list[bytes] = []
    cell_type = _localiser("--label-from", label_from, "label", "cell_type", _type_folder, tables)
    patient = _localiser("--patient-from", patient_from, "patient", "patient_id", _other_folder, tables)
    return Labels(cell_type, patient, hashlib.sha256(b"\0".join(tables)).hexdigest() if tables else "")


def _localiser(
    option: str, how: str | None, group: str, column: str, by_folder: _Finder, tables: list[bytes]
) -> _Finder | None:
    kind, _, rest = (how or "").partition(":")
    if how is None:
        return None
    if how == "folder":
        return by_folder
    if kind == "regex" and rest:
        try:
            pattern = re.compile(rest)
        except re.error as error:
            msg = f"{option}: {rest!r} is no regular expression ({error})"
            raise UsageError(msg) from error
        if group not in pattern.groupindex:
            msg = (
                f"{option}: expected a pattern with a group named {group}, as '(?P<{group}>[a-z]+)_', but it is"
                f" {rest!r}"
            )
            raise UsageError(msg)
        return _by_pattern(pattern, group)
    if kind == "csv" and rest:
        table = _read_table(Path(rest), column, tables)
        if column == "cell_type":
            for said in sorted(set(table.values())):
                _known(said)
        return table.get
    msg = f"{option} must be folder, regex:PATTERN or csv:FILE, but is {how!r}"
    raise UsageError(msg)


def _by_pattern(pattern: re.Pattern[str], group: str) -> _Finder:
    def find(image_path: str) -> str | None:
        match = pattern.search(image_path)
        return match[group] if match else None

    return find


def _read_table(path: Path, column: str, tables: list[bytes]) -> Mapping[str, str]:
    try:
        content = path.read_bytes()
        rows = csv.DictReader(content.decode("utf-8-sig").splitlines())
        names = set(rows.fieldnames or ())
        path_column = _FORMER if _FORMER in names and _PATH not in names else _PATH
        wanted = {path_column, column}
        if missing := sorted(wanted - names):
            msg = f"{path.name}: expected the columns {', '.join(sorted(wanted))}, but {', '.join(missing)} is missing"
            raise UsageError(msg)
        table = {row[path_column]: row[column].strip() for row in rows if row[column] and row[column].strip()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = (
            f"{path.name}: expected a table in UTF-8 with the columns image_name and {column}, but it cannot be read"
            f" ({error})"
        )
        raise UsageError(msg) from error
    tables.append(content)
    return table


def _known(said: str) -> str:
    cell_type = folder_cell_type(said)
    if cell_type is CellType.OTHER and said.strip().lower() != CellType.OTHER:
        msg = f"{said!r} is no cell type; known are {', '.join(CellType)}"
        raise UsageError(msg)
    return cell_type.value


def _type_folder(image_path: str) -> str | None:
    return next((folder for folder in _folders(image_path) if _names_type(folder)), None)


def _other_folder(image_path: str) -> str | None:
    return next((folder for folder in _folders(image_path) if not _names_type(folder)), None)


def _folders(image_path: str) -> list[str]:
    """The folders an image lies in, the nearest first."""
    return image_path.split("/")[-2::-1]


def _names_type(folder: str) -> bool:
    return folder_cell_type(folder) is not CellType.OTHER or folder.lower() == CellType.OTHER
