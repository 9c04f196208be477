"""Populations made from images: the shipped reference (`make cohort`) and a laboratory's own."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from core.domain.cell_types import CellType
from core.domain.errors import DataSetError, StoreError, UsageError
from core.domain.options import CellChoice
from core.domain.types import GivenScale, StainFactors
from core.evaluation.datasets import DataSet, Sample, data_set
from core.image.depth import NOT_ASKED, Depths
from core.image.file_scale import Scale
from core.image.imaging import file_depths
from core.image.listing import FileKind, Passed, PassedOver, file_kind, find_images
from core.image.masks import outlines
from core.pipeline import AnalysisRequest, Outcome, analyse_many
from core.populations.outlining import model_note
from core.segmentation.model_registry import ModelEntry
from core.store import queries
from core.store.database import Cohort
from core.store.schema import OUTLINE_REGIONS, CellRow, Population, cell_id, cell_row, of_population
from core.store.shards import append_cells, scan, write_population

SHARD_CELLS: Final = 1000
TISSUES: Final = ("blood", "marrow")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ReferenceRecipe:
    """One shipped population: which samples of which data set, and what a reader must know of it."""

    population_id: str
    data_set: str
    cell_type: CellType
    title: str
    note: str
    is_field: bool = False


REFERENCE: Final = (
    ReferenceRecipe(
        "monocyte_acevedo",
        "acevedo",
        CellType.MONOCYTE,
        "Monocytes, Barcelona",
        "Healthy donors; patients not named by the source.",
    ),
    ReferenceRecipe(
        "lymphocyte_acevedo",
        "acevedo",
        CellType.LYMPHOCYTE,
        "Lymphocytes, Barcelona",
        "Healthy donors; patients not named by the source.",
    ),
    ReferenceRecipe(
        "promyelocyte_acevedo",
        "acevedo",
        CellType.PROMYELOCYTE,
        "Promyelocytes, Barcelona",
        "Filed by the source among the immature granulocytes of healthy donors; patients not named.",
    ),
    ReferenceRecipe(
        "apl_deepapl",
        "deepapl",
        CellType.APL,
        "APL cells, Johns Hopkins",
        "Promyelocytes and blasts, as the laboratory filed them, of patients with APL proven by PML/RARA; many"
        " neoplastic promyelocytes are filed under blast. The patient, not the cell, is the unit of any claim.",
    ),
    ReferenceRecipe(
        "monocyte_deepapl",
        "deepapl",
        CellType.MONOCYTE,
        "Monocytes, Johns Hopkins",
        "From patients with acute leukaemia (APL or AML), not healthy donors.",
    ),
    ReferenceRecipe(
        "lymphocyte_deepapl",
        "deepapl",
        CellType.LYMPHOCYTE,
        "Lymphocytes, Johns Hopkins",
        "From patients with acute leukaemia (APL or AML), not healthy donors.",
    ),
    ReferenceRecipe(
        "hcl_smear",
        "hairy_cell_smear",
        CellType.HCL,
        "Hairy cells, one blood smear",
        "Five cells of one patient, cut out of one field: points, no percentiles.",
        is_field=True,
    ),
    ReferenceRecipe(
        "hcl_marrow",
        "hairy_cell_marrow",
        CellType.HCL,
        "Hairy cells, bone marrow",
        "Twelve cells of bone marrow, another tissue at another scale; patients unknown: points, no percentiles.",
    ),
)


@dataclass
class ImportReport:
    """The result of an import.

    Cells written, images that failed with their reasons, copies with what they copy, and files that are no images.
    """

    population_id: str
    cells: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    duplicates: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, Passed] = field(default_factory=dict)


def build_reference(
    root: Path, model: ModelEntry, *, jobs: int, progress: Progress | None = None
) -> list[ImportReport]:
    """Build every shipped population anew in `root` from the data folder with the given model, replacing the old."""
    reports = []
    for recipe in REFERENCE:
        source = data_set(recipe.data_set)
        samples = [sample for sample in source.samples() if sample.cell_type is recipe.cell_type]
        population = _described(recipe, source)
        reports.append(
            _import(
                root,
                population,
                samples,
                model,
                jobs=jobs,
                is_field=recipe.is_field,
                progress=progress,
                replace_old=True,
                shipped=True,
            )
        )
    return reports


def import_images(
    root: Path,
    population: Population,
    images: Sequence[Path],
    model: ModelEntry,
    *,
    scale: Scale = None,
    bit_depth: int | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    replace_old: bool = False,
    stain: StainFactors | None = None,
) -> ImportReport:
    """Analyse images of one kind into a population of the user's own.

    An unreadable image is named in the report and skipped, and one that comes twice is counted once. The scale is by
    default the population's; `file` takes what each file states. `bit_depth` is that of deep images that do not state
    theirs, by default what the files agree on; `stain` are the factors with which the cells are measured.
    """
    filed = filed_once({"": images}, {"": ""})[""]
    images = filed.images
    base = Path(os.path.commonpath([path.parent for path in images]))
    names = {path: path.relative_to(base).as_posix() for path in images}
    samples = [Sample(name, path, None, population.cell_type, name) for path, name in names.items()]
    report = _import(
        root,
        population,
        samples,
        model,
        jobs=jobs,
        is_field=False,
        progress=progress,
        replace_old=replace_old,
        shipped=False,
        scale=scale,
        depths=file_depths(images, bit_depth),
        stain=stain,
    )
    report.duplicates = filed.copies
    return report


@dataclass(frozen=True)
class Filed:
    """Images of a folder, each once, and its copies of these or of an earlier folder's, with what they copy."""

    images: list[Path]
    copies: dict[str, str]


def filed_once(folders: Mapping[str, Sequence[Path]], labels: Mapping[str, str]) -> dict[str, Filed]:
    """Find images that come twice, by their content, whatever their names.

    Parameters
    ----------
    folders
        Images by folder.
    labels
        What the images of each folder are filed as.

    Raises
    ------
    DataSetError
        If an image lies in folders of two labels.
    """
    of_size: dict[int, list[Path]] = {}
    for path in (path for images in folders.values() for path in images):
        with suppress(OSError):  # which is told where it is read
            of_size.setdefault(path.stat().st_size, []).append(path)
    # Only files of one size can hold the same.
    alike = {path for paths in of_size.values() if len(paths) > 1 for path in paths}
    first: dict[bytes, tuple[Path, str]] = {}
    filed = {}
    for name, images in folders.items():
        filed[name] = Filed([], {})
        for path in images:
            digest = _digest(path) if path in alike else None
            kept, folder = (path, name) if digest is None else first.setdefault(digest, (path, name))
            if labels[folder] != labels[name]:
                msg = (
                    f"{kept.as_posix()} and {path.as_posix()} are the same image, but are filed as {labels[folder]} and"
                    f" {labels[name]}; keep the one that is right"
                )
                raise DataSetError(msg)
            if kept == path:
                filed[name].images.append(path)
            else:
                filed[name].copies[path.as_posix()] = kept.as_posix()
    return filed


def _digest(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


@dataclass(frozen=True)
class Added:
    """How many cells are new in a population, how many were there already, and what is told of their models."""

    new: int
    known: int
    model_note: str | None = None


def add_cells(
    root: Path, population: Population, batches: Iterable[Sequence[CellRow]], *, patient_id: str | None = None
) -> Added:
    """Add cells that a batch has measured to a population of the user's own, which is made if it is not there.

    Parameters
    ----------
    root
        Folder of populations.
    population
        Where they are added. One of that id that is there already keeps its description, and must agree in cell type,
        source and tissue.
    batches
        Sequences of rows: cells as the shards of a batch hold them; nothing is measured again. A shard is written for
        each sequence.
    patient_id
        The patient of all of them; by default each keeps its own.

    Raises
    ------
    StoreError
        If there is no cell, the population there is of another kind or shipped, or the disk refuses.
    """
    brought = 0

    def brought_rows() -> Iterator[list[CellRow]]:
        nonlocal brought
        for rows in batches:
            brought += len(rows)
            yield [filed(row, population, patient_id) for row in rows]

    stored = scan([root]).populations.get(population.population_id)
    if stored is None:
        new = write_population(root, population, _at_least_one(brought_rows()))
    else:
        there = stored.population
        differing = [
            name for name in ("cell_type", "source", "tissue") if getattr(there, name) != getattr(population, name)
        ]
        if differing:
            msg = (
                f"the population {there.title!r} has another {' and '.join(differing).replace('_', ' ')}"
                f" ({there.cell_type.value}, {there.source}, {there.tissue}); choose another name, or the same values"
            )
            raise StoreError(msg)
        new = sum(append_cells(root, population.population_id, rows) for rows in _at_least_one(brought_rows()))
    with Cohort.open([root]) as cohort:
        note = model_note([(population.title, queries.outlining(cohort, population.population_id))])
    return Added(new, brought - new, note)


def _at_least_one(batches: Iterator[list[CellRow]]) -> Iterator[list[CellRow]]:
    first = next((rows for rows in batches if rows), None)
    if first is None:
        msg = "expected cells to add, but there are none; choose a run that has measured some"
        raise StoreError(msg)
    yield first
    yield from batches


def filed(row: CellRow, population: Population, patient_id: str | None) -> CellRow:
    """The row of a batch as one of a population; without `patient_id` with its own patient."""
    scale, error, source = row["um_per_px"], row.get("um_per_px_error"), row.get("um_per_px_source")
    if scale is None:
        scale, error, source = of_population(population)
    return row | {
        "cell_id": cell_id(population.population_id, row["image_sha256"], row["cell_index"]),
        "population": population.population_id,
        "cell_type": population.cell_type.value,
        "source": population.source,
        "tissue": population.tissue,
        "patient_id": patient_id or row["patient_id"],
        "um_per_px": scale,
        "um_per_px_error": error,
        "um_per_px_source": None if scale is None else source,
    }


def own_population(
    title: str,
    cell_type: CellType | None,
    source: str,
    *,
    tissue: str,
    note: str,
    scale: GivenScale | None,
    shipped: Collection[str],
) -> Population:
    """Describe a population of the user's own, made today.

    Parameters
    ----------
    title, cell_type, source
        What a person said of it.
    tissue
        One of `TISSUES`.
    note
        What a reader must know of it.
    scale
        The scale if it is known, and how it is known.
    shipped
        Identifiers of the populations that come with the program.

    Raises
    ------
    UsageError
        If the title, the source or the cell type is missing, or the title is that of a shipped population.
    """
    title, source = title.strip(), source.strip()
    if not title or not source or cell_type is None:
        msg = "expected a name, a source and a cell type, but one is missing; fill them in"
        raise UsageError(msg)
    population_id = identifier(title)
    if population_id in shipped:
        msg = f"{title!r} is the name of a population that is shipped with the program; choose another name"
        raise UsageError(msg)
    return Population(
        population_id=population_id,
        cell_type=cell_type,
        title=title,
        source=source,
        tissue=tissue,
        citation="",
        terms="the user's own",
        note=note,
        created=date.today().isoformat(),
        um_per_px=scale.um_per_px if scale else None,
        um_per_px_origin=(scale.origin or "given by the user") if scale else "unknown",
        um_per_px_error=scale.error if scale else None,
    )


def identifier(title: str) -> str:
    """A folder name for the title of a population; raises UsageError for one without letters or digits."""
    letters = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    slug = re.sub("[^a-z0-9]+", "_", letters).strip("_")[:60]
    if not slug:
        msg = f"expected a name with letters or digits (a to z, 0 to 9), but got {title!r}; choose another"
        raise UsageError(msg)
    return slug


def folders_of(root: Path, passed_over: PassedOver | None = None) -> dict[str, list[Path]]:
    """Images by the name of their sub-folder, one per cell type (as in MLL23).

    Files that are no images, and those that lie in no sub-folder, are added to `passed_over`.

    Raises
    ------
    DataSetError
        If there is no image in a sub-folder.
    """
    passed_over = PassedOver() if passed_over is None else passed_over
    if not root.is_dir():
        msg = f"expected a folder with one sub-folder of images per cell type, but {root} is no folder"
        raise DataSetError(msg)
    images: dict[str, list[Path]] = {}
    for folder in sorted(root.iterdir()):
        if file_kind(folder.name) is FileKind.HIDDEN:
            continue
        if not folder.is_dir():
            is_image = file_kind(folder.name) is FileKind.IMAGE
            passed_over.add(folder.name, "image in no sub-folder" if is_image else None)
            continue
        with suppress(UsageError):  # a folder without images
            images[folder.name] = find_images([folder], passed_over)
    if not images:
        msg = f"expected one sub-folder of images per cell type in {root}, but none holds an image"
        raise DataSetError(msg)
    return images


def _described(recipe: ReferenceRecipe, source: DataSet) -> Population:
    return Population(
        population_id=recipe.population_id,
        cell_type=recipe.cell_type,
        title=recipe.title,
        source=source.title,
        tissue=source.tissue,
        citation=source.citation,
        terms=source.terms,
        note=recipe.note,
        created=datetime.now(UTC).date().isoformat(),
        um_per_px=source.um_per_px,
        um_per_px_origin=source.scale_origin,
        um_per_px_error=source.scale_error,
    )


def _import(
    root: Path,
    population: Population,
    samples: Sequence[Sample],
    model: ModelEntry,
    *,
    jobs: int,
    is_field: bool,
    progress: Progress | None,
    replace_old: bool,
    shipped: bool,
    scale: Scale = None,
    depths: Depths = NOT_ASKED,
    stain: StainFactors | None = None,
) -> ImportReport:
    report = ImportReport(population.population_id)
    by_path = {sample.image: sample for sample in samples}
    cells = CellChoice.ALL if is_field else CellChoice.ONE
    if scale is None and population.um_per_px is not None:
        scale = GivenScale(population.um_per_px, population.um_per_px_error)
    tasks = [AnalysisRequest(sample.image, scale, cells, depths=depths, stain=stain) for sample in samples]

    def batches() -> Iterator[list[CellRow]]:
        rows: list[CellRow] = []
        for number, outcome in enumerate(analyse_many(tasks, model, jobs=jobs), start=1):
            if outcome.reason is not None:
                report.failures[by_path[outcome.path].sample_id] = outcome.reason
            rows.extend(_rows(outcome, by_path[outcome.path], population))
            if progress:
                progress(population.population_id, number, len(tasks))
            if len(rows) >= SHARD_CELLS:
                yield rows
                rows = []
        if rows:
            yield rows

    report.cells = write_population(root, population, batches(), replace=replace_old, shipped=shipped)
    return report


def _rows(outcome: Outcome, sample: Sample, population: Population) -> Iterator[CellRow]:
    for analysis in outcome.analyses:
        rings = {region: outlines(analysis.segmentation.labels, region) for region in OUTLINE_REGIONS}
        named = replace(analysis, image=replace(analysis.image, name=sample.sample_id))
        yield cell_row(named, population, outlines=rings, patient_id=sample.patient_id, diagnosis=sample.diagnosis)
