"""Labels of cells, cell type and patient, from the folder or the name of the image, or from a table."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from core.batch.joins import Joined, JoinTable, Row, as_path, why_none
from core.domain.cell_types import CellType, named_cell_type
from core.domain.errors import DataSetError, UsageError
from core.store.text_tables import ForeignTable, is_absent, open_table, plain_text

# From an image's relative path to what is said of it; None where nothing is.
_Finder = Callable[[str], str | None]

_EXAMPLES: Final = 3
# Other names that tables have for our columns.
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "image_path": ("image_path", "image_name", "image", "file", "filename", "file_name"),
    "cell_type": ("cell_type", "label"),
    "patient_id": ("patient_id", "patient"),
}
# What folders are called that are no patient's: parts of a data set, kinds of files, and classes that have no name
# among our cell types.
_NO_PATIENT: Final = re.compile(
    r"(?:train|training|test|testing|val|valid|validation|dev|holdout|fold|split|set|subset|part|batch|run|"
    r"images?|imgs?|pictures?|pics?|photos?|png|jpe?g|tiff?|bmp|gif|webp|masks?|labels?|annotations?|ground_truth|gt|"
    r"raw|data|data_?sets?|crops?|cropped|cells?|single_cells?|leuko?cytes?|wbcs?|fields?|tiles?|patch(?:es)?|"
    r"slides?|smears?|samples|patients|cases|exports?|outputs?|inputs?|uploads?|originals?|processed|cleaned|new|old|"
    r"all|misc|unknown|unlabell?ed|unclassified|blood|peripheral_blood|marrow|bone_marrow|"
    r"(?:meta|pro)?myelocytes?|smudge(?:_cells?)?|artefacts?|artifacts?|plasma_cells?|atypical|reactive|immature|"
    r"granulocytes?|ig|mononuclear|normal|abnormal|healthy|controls?|benign|malignant|leuka?emia|aml|cll|cml|mds)"
    r"_?[0-9]*|[0-9]+_?x|"
    # Classes beyond our cell types, as `lymphocyte_reactive`.
    r".*(?:monocyte|lymphocyte|hairy|myelocyte|blast|neutrophil|eosinophil|basophil|platelet|thrombocyte).*"
)


@dataclass(frozen=True)
class Labels:
    """Cell type and patient of every image.

    `digest` is the SHA-256 of the tables they come from, empty where there is none. `notes` say how they fit the
    images, `unmatched_images` and `unmatched_rows` of a table, or a rule, count those without a partner.
    """

    _cell_type: "_Source | None"
    _patient: "_Source | None"
    digest: str = ""
    notes: tuple[str, ...] = ()
    unmatched_images: int = 0
    unmatched_rows: int = 0

    def cell_type(self, image_path: str) -> str | None:
        """A value of `CellType`; None where nothing names one. Raises UsageError for a name that is no type's."""
        said = self._cell_type.find(image_path) if self._cell_type else None
        return None if said is None else _known(said)

    def patient(self, image_path: str) -> str | None:
        """The patient's pseudonym; None where it is unknown."""
        return (self._patient.find(image_path) or None) if self._patient else None

    def fitted(self, paths: Callable[[], Iterable[str]]) -> "Labels":
        """The same, its tables joined to the images, with what is to be told of that.

        Parameters
        ----------
        paths
            Lists the images' relative paths; called once for each source.

        Raises
        ------
        UsageError
            If a table fits no image, or no image names a patient.
        """
        notes, images, rows, sources = list[str](), 0, 0, []
        for source in (self._cell_type, self._patient):
            if source is not None and source.table is not None:
                joined = source.table.join(paths())
                notes += _told(source, joined)
                images, rows = max(images, joined.unmatched_images), max(rows, joined.unmatched_rows)
                source = replace(source, find=joined.said.get)
            elif source is not None:
                without, sentence = (_patients if source is self._patient else _types)(source, paths())
                notes.append(sentence)
                images = max(images, without)
            sources.append(source)
        return replace(
            self,
            _cell_type=sources[0],
            _patient=sources[1],
            notes=tuple(notes),
            unmatched_images=images,
            unmatched_rows=rows,
        )


@dataclass(frozen=True)
class _Source:
    """Where labels come from: `option` as it was given, and the table that is to be joined, if it is one."""

    option: str
    find: _Finder
    table: JoinTable | None = None
    digest: bytes = field(default=b"", repr=False)


def read_labels(label_from: str | None, patient_from: str | None) -> Labels:
    """Make the source of labels from the arguments of the command line.

    Parameters
    ----------
    label_from, patient_from
        `folder`: for the cell type the nearest folder that is named after one, for the patient the nearest that is
        named after no type, no part of a data set and no kind of file; `folder:N`: the Nth folder below the input,
        whatever its name; `regex:PATTERN`: the group `label` (or `patient`) of its match in the relative path;
        `csv:FILE`: a table (also .tsv, .xlsx, .parquet) with columns `image_path` and `cell_type` (or `patient_id`).

    Raises
    ------
    UsageError
        If an argument is none of these, the pattern or table is damaged, or the table names an unknown cell type, or
        says two things of one image.
    """
    cell_type = _source("--label-from", label_from, "label", "cell_type", _type_folder)
    patient = _source("--patient-from", patient_from, "patient", "patient_id", _patient_folder)
    tables = [source.digest for source in (cell_type, patient) if source and source.digest]
    return Labels(cell_type, patient, hashlib.sha256(b"\0".join(tables)).hexdigest() if tables else "")


def _source(option: str, how: str | None, group: str, column: str, by_folder: _Finder) -> _Source | None:
    kind, _, rest = (how or "").partition(":")
    if how is None:
        return None
    told = f"{option} {how}"
    if how == "folder":
        return _Source(told, by_folder)
    if kind == "folder" and rest.isdigit() and int(rest) > 0:
        return _Source(told, _by_level(int(rest)))
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
        return _Source(told, _by_pattern(pattern, group))
    if kind == "csv" and rest:
        return _by_table(told, Path(rest), column)
    msg = f"{option} must be folder, folder:N, regex:PATTERN or csv:FILE, but is {how!r}"
    raise UsageError(msg)


def _by_pattern(pattern: re.Pattern[str], group: str) -> _Finder:
    def find(image_path: str) -> str | None:
        match = pattern.search(image_path)
        return match[group] if match else None

    return find


def _by_level(level: int) -> _Finder:
    def find(image_path: str) -> str | None:
        folders = image_path.split("/")[:-1]
        return folders[level - 1] if level <= len(folders) else None

    return find


# --- tables -----------------------------------------------------------------------------------------------------------


def _by_table(option: str, path: Path, column: str) -> _Source:
    try:
        content = path.read_bytes()
        rows = list(_rows(open_table(path), column))
    except (OSError, DataSetError) as error:
        msg = f"{path.name}: expected a table with the columns image_path and {column}, but it cannot be read ({error})"
        raise UsageError(msg) from error
    if column == "cell_type":
        rows = [replace(row, said=_known(row.said)) for row in rows]
    table = JoinTable(path.name, rows)

    def find(image_path: str) -> str | None:
        return table.exact(as_path(image_path))

    return _Source(option, find, table, content)


def _rows(table: ForeignTable, column: str) -> Iterable[Row]:
    """Rows that say something of an image; raises UsageError without the columns."""
    names = [name.strip().casefold().replace(" ", "_") for name in table.names]
    places = []
    for wanted in ("image_path", column):
        found = [names.index(name) for name in _COLUMNS[wanted] if name in names]
        if not found:
            msg = (
                f"{table.file.name}: expected the columns image_path, {column}, but {wanted} is missing among"
                f" {', '.join(table.names[:8])} (the table was read as {table.words})"
            )
            raise UsageError(msg)
        places.append(found[0])
    for number, (image, said) in table.rows(places):
        if (
            image is not None
            and said is not None
            and not is_absent(plain_text(image))
            and not is_absent(plain_text(said))
        ):
            yield Row(number, plain_text(image), plain_text(said))


def _told(source: _Source, joined: Joined) -> list[str]:
    """How a table fits, in sentences; raises UsageError where it fits no image."""
    if joined.images and not joined.said:
        if not joined.rows:
            msg = f"{source.option}: the table says nothing of any image"
            raise UsageError(msg)
        msg = f"{source.option}: no row of the table fits an image: {why_none(joined)}"
        raise UsageError(msg)
    notes = [f"{source.option}: {len(joined.said):,} of {joined.images:,} images have a row"]
    if joined.unmatched_images:
        more = ", ..." if joined.unmatched_images > len(joined.image_examples) else ""
        notes.append(f"{joined.unmatched_images:,} have none ({', '.join(joined.image_examples)}{more})")
    if joined.unmatched_rows:
        more = ", ..." if joined.unmatched_rows > len(joined.row_examples) else ""
        notes.append(f"{joined.unmatched_rows:,} rows fit no image ({', '.join(joined.row_examples)}{more})")
    if source.table is not None and source.table.doubled:
        notes.append(f"{source.table.doubled:,} rows say again what another says")
    return ["; ".join(notes)]


# --- folders ----------------------------------------------------------------------------------------------------------


def _patients(source: _Source, paths: Iterable[str]) -> tuple[int, str]:
    """How many images name no patient, and what the names were taken for; raises UsageError where none names one."""
    images, named, patients = 0, 0, set[str]()
    shown, without = list[str](), list[str]()
    for path in paths:
        images += 1
        patient = source.find(path)
        if not patient:
            without += [path] if len(without) < _EXAMPLES else []
            continue
        named += 1
        if patient not in patients and len(shown) < _EXAMPLES:
            shown.append(f"{patient} for {path}")
        patients.add(patient)
    if images and not named:
        msg = (
            f"{source.option}: expected a patient in each path, but none of {images:,} images names one"
            f" ({', '.join(without)}): folders that are called after cell types, parts of a data set or kinds of files"
            " are no patients; say which folder it is with --patient-from folder:N (1 is the first below the input),"
            " or give a pattern or a table"
        )
        raise UsageError(msg)
    many = "" if len(patients) == 1 else "s"
    sentence = (
        f"{source.option}: {len(patients):,} patient{many} in {named:,} of {images:,} images ({', '.join(shown)})"
    )
    if images > named:
        more = ", ..." if images - named > len(without) else ""
        sentence += f"; {images - named:,} images name none ({', '.join(without)}{more})"
    return images - named, sentence


def _types(source: _Source, paths: Iterable[str]) -> tuple[int, str]:
    """How many images name no cell type, and how many do."""
    images, without, shown = 0, 0, list[str]()
    for path in paths:
        images += 1
        if source.find(path) is None:
            without += 1
            shown += [path] if len(shown) < _EXAMPLES else []
    sentence = f"{source.option}: {images - without:,} of {images:,} images name a cell type"
    if without:
        more = ", ..." if without > len(shown) else ""
        sentence += f"; {without:,} name none and are measured without ({', '.join(shown)}{more})"
    return without, sentence


def _known(said: str) -> str:
    cell_type = named_cell_type(said)
    if cell_type is None:
        msg = f"{said!r} is no cell type; known are {', '.join(CellType)}, and other names of these"
        raise UsageError(msg)
    return cell_type.value


def _type_folder(image_path: str) -> str | None:
    return next((folder for folder in _folders(image_path) if named_cell_type(folder)), None)


def _patient_folder(image_path: str) -> str | None:
    return next((folder for folder in _folders(image_path) if not _is_no_patient(folder)), None)


def _is_no_patient(folder: str) -> bool:
    return named_cell_type(folder) is not None or bool(
        _NO_PATIENT.fullmatch(re.sub(r"[\s_-]+", "_", folder.strip().casefold()))
    )


def _folders(image_path: str) -> Sequence[str]:
    """The folders an image lies in, the nearest first."""
    return image_path.split("/")[-2::-1]
