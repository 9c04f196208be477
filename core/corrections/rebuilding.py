"""A person's populations measured anew with another model, from the images they were made of.

What people said stays: identity, cell type, patient, scale, edits. A cell on whose outline somebody has decided keeps
its row, because nobody has seen the new outline; a correction lies over it as before. A population is exchanged in one
step (`core.store.shards.write_population`), so whatever ends a rebuild before it leaves the cells as they were.
Cells that were measured with stain factors are measured with the same again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from core.cohort import SHARD_CELLS, Progress
from core.corrections.opening import rings_of
from core.corrections.pictures import FoldersOfPictures
from core.domain.errors import StoreError, UsageError
from core.domain.options import CellChoice, Device
from core.domain.types import BoundingBox, CellAnalysis, StainFactors
from core.image.imaging import file_depths
from core.pipeline import AnalysisRequest, Outcome, analyse_many
from core.populations.outlining import OutlineModel
from core.segmentation.model_registry import ModelEntry
from core.store import outline_log
from core.store.database import Cohort
from core.store.schema import CellRow, Population, cell_row, decode_rings, place_of, stain_of
from core.store.shards import StoredPopulation, is_shipped, scan, write_population

# Boxes that share so much of what both cover together are of one cell.
_SAME_CELL: Final = 0.5
_KEPT: Final = (
    "cell_id", "population", "cell_type", "source", "tissue", "patient_id", "diagnosis", "image_path", "image_sha256",
    "cell_index", "cell_label", "um_per_px", "um_per_px_error", "um_per_px_source",
)  # fmt: skip


@dataclass
class RebuildReport:
    """What became of the cells of a population.

    `measured` were measured anew, `present` had been by that very model before, and `decided` keep the outline on which
    a person has decided; `kept` stay as they were, with the reason by `cell_id`.
    """

    population_id: str
    model_id: str
    measured: int = 0
    present: int = 0
    decided: int = 0
    kept: dict[str, str] = field(default_factory=dict)


@dataclass
class _StoredImage:
    """The cells of one image with one stain, `wanted` those to be measured anew, and its file where that was found."""

    sha256: str | None
    um_per_px: float | None
    stain: StainFactors | None
    cell_ids: list[str] = field(default_factory=list)
    wanted: set[str] = field(default_factory=set)
    in_field: bool = False
    path: Path | None = None


def rebuildable(cohort: Cohort, names: Sequence[str] = ()) -> list[str]:
    """The populations of a person's own that name their images: of those given, or of all.

    Raises
    ------
    UsageError
        If one that is given is shipped, or came as a table without images.
    StoreError
        If one is not there.
    """
    own = [stored.population.population_id for stored in cohort.populations() if not is_shipped(stored.root)]
    for name in names:
        cohort.population(name)  # names those there are where it is unknown
        if name not in own:
            msg = (
                f"expected populations of your own, but {name} is shipped with the program; `leukoscope cohort build`"
                " measures all of those anew from the images in LEUKOSCOPE_DATA, where the folder may be written"
            )
            raise UsageError(msg)
    found = [name for name in dict.fromkeys(names or own) if _names_images(cohort, name)]
    if without := [name for name in names if name not in found]:
        msg = (
            f"expected populations that were measured from images, but {without[0]} came as a table without them; bring"
            " the table in anew (`leukoscope cohort import-table --replace`), or the images (`leukoscope cohort"
            " import`)"
        )
        raise UsageError(msg)
    return found


def rebuild(
    root: Path,
    population_id: str,
    model: ModelEntry,
    folders: FoldersOfPictures,
    *,
    bit_depth: int | None = None,
    jobs: int = 1,
    device: Device = Device.AUTO,
    progress: Progress | None = None,
) -> RebuildReport:
    """Measure the cells of a population anew whose images are found, and put them in the place of the old.

    Parameters
    ----------
    root
        Folder of populations.
    population_id
        One that `rebuildable` names.
    model
        What outlines the cells; those that it has outlined before stay as they are.
    folders
        Where the images are.
    bit_depth
        That of deep images that do not state theirs, by default what the files agree on.
    jobs, device
        As for `core.pipeline.analyse_many`.
    progress
        Told the population, and how many images are done of how many.

    Raises
    ------
    StoreError
        If a part of the population or its stain factors are damaged, if it or decisions on its outlines change
        meanwhile, or if the disk refuses. All is as before then.
    """
    report, stored, decided = RebuildReport(population_id, model.model_id), _sound(root, population_id), _decided(root)
    with Cohort.open([root]) as cohort:
        filed = cohort.as_drawn(edits=False)
        images = _images(filed, population_id, model, decided, report)
        _find(images, folders, report)
        found = [image for image in images if image.path is not None]
        outcomes = analyse_many(_requests(found, bit_depth), model, jobs=jobs, device=device)

        def batches() -> Iterator[list[CellRow]]:
            done = 0
            for some in _in_shards(images):
                former, rows = _rows(filed, population_id, some), list[CellRow]()
                for image in some:
                    own = [former[cell_id] for cell_id in image.cell_ids]
                    if image.path is not None:
                        own, done = _anew(image, own, next(outcomes), stored.population, report), done + 1
                        if progress:
                            progress(population_id, done, len(found))
                    rows += own
                yield rows
            _check_unchanged(root, stored, {cell for image in found for cell in image.wanted})

        if found:
            write_population(root, stored.population, batches(), replace=True)
    return report


# --- what there is to do ----------------------------------------------------------------------------------------------


def _names_images(cohort: Cohort, population_id: str) -> bool:
    sql = "SELECT count(image_sha256) AS n FROM cells"
    return bool(cohort.query(sql, populations=[population_id], columns=["image_sha256"])["n"].item())


def _sound(root: Path, population_id: str) -> StoredPopulation:
    """A population as it is now; raises StoreError where a part of it is damaged and would be lost."""
    with Cohort.open([root]) as cohort:
        cohort.population(population_id)
    stored = scan([root]).populations[population_id]
    if stored.set_aside:
        raise stored.set_aside[0]
    return stored


def _decided(root: Path) -> set[str]:
    """The cells of the cohort on whose outlines decisions hold."""
    return {verdict.cell.cell_id for verdict in outline_log.all_standing(root) if verdict.cell.cell_id is not None}


def _images(
    cohort: Cohort, population_id: str, model: ModelEntry, decided: set[str], report: RebuildReport
) -> list[_StoredImage]:
    """The images of a population with their cells, in the order of their paths; what needs no measuring is counted."""
    columns = ("cell_id", "image_sha256", "um_per_px", "place_left", "model_id", "versions", "stain")
    sql = f"SELECT {', '.join(columns)} FROM cells ORDER BY image_path, cell_index, cell_id"
    frame = cohort.query(sql, populations=[population_id])
    images, by = dict[tuple[str, str | None], _StoredImage](), OutlineModel(model.model_id, model.sha256)
    for row in frame.itertuples(index=False):
        cell_id, *others = row
        sha256, scale, left, model_id, versions, stain = (None if pd.isna(value) else value for value in others)
        factors = stain_of({"stain": stain, "image_path": cell_id})
        image = images.setdefault((sha256 or cell_id, stain), _StoredImage(sha256, scale, factors))
        image.cell_ids.append(cell_id)
        image.in_field |= left is not None
        if cell_id in decided:
            report.decided += 1
        elif model_id and OutlineModel.of_row(model_id, versions) == by:
            report.present += 1
        else:
            image.wanted.add(cell_id)
    return list(images.values())


def _find(images: Sequence[_StoredImage], folders: FoldersOfPictures, report: RebuildReport) -> None:
    for image in images:
        if image.wanted:
            image.path = folders.path_of(image.sha256) if image.sha256 else None
            if image.path is None:
                why = "its image is in none of the folders" if image.sha256 else "it names no image"
                report.kept |= dict.fromkeys(sorted(image.wanted), why)


def _requests(found: Sequence[_StoredImage], bit_depth: int | None) -> list[AnalysisRequest]:
    paths = [(image.path, image) for image in found if image.path is not None]
    depths = file_depths([path for path, _ in paths], bit_depth)
    return [
        AnalysisRequest(
            path,
            image.um_per_px,
            CellChoice.ALL if image.in_field else CellChoice.ONE,
            depths=depths,
            stain=image.stain,
        )
        for path, image in paths
    ]


def _in_shards(images: Sequence[_StoredImage]) -> Iterator[list[_StoredImage]]:
    """The images in as many parts as shards are written; cells of one image stay together."""
    some: list[_StoredImage] = []
    for image in images:
        some.append(image)
        if sum(len(each.cell_ids) for each in some) >= SHARD_CELLS:
            yield some
            some = []
    if some:
        yield some


def _rows(cohort: Cohort, population_id: str, images: Sequence[_StoredImage]) -> dict[str, CellRow]:
    ids = [cell_id for image in images for cell_id in image.cell_ids]
    rows = cohort.cell_rows("cell_id IN (SELECT unnest($ids))", {"ids": ids}, [population_id])
    return {row["cell_id"]: row for row in rows}


def _check_unchanged(root: Path, stored: StoredPopulation, measured: set[str]) -> None:
    """Raise StoreError where cells came or went, or somebody decided on an outline that would be exchanged."""
    name = stored.population.population_id
    if _sound(root, name) != stored or _decided(root) & measured:
        msg = (
            f"{name} was changed while it was measured anew (cells were added, or somebody decided on an outline), so"
            " it was left as it is; rebuild it again"
        )
        raise StoreError(msg)


# --- cells of an image ------------------------------------------------------------------------------------------------


def _anew(
    image: _StoredImage, rows: Sequence[CellRow], outcome: Outcome, population: Population, report: RebuildReport
) -> list[CellRow]:
    """The rows of an image, those that are wanted and found measured anew, the others as they were."""
    same_file = all(analysis.image.sha256 == image.sha256 for analysis in outcome.analyses)
    found = _matched(rows, outcome.analyses) if same_file else {}
    why = outcome.reason or ("the model finds no such cell there" if same_file else "its image was changed meanwhile")
    anew = []
    for row in rows:
        analysis = found.get(row["cell_id"])
        if row["cell_id"] in image.wanted and analysis is not None:
            row = _measured(row, analysis, population)
            report.measured += 1
        elif row["cell_id"] in image.wanted:
            report.kept[row["cell_id"]] = why
        anew.append(row)
    return anew


def _measured(row: CellRow, analysis: CellAnalysis, population: Population) -> CellRow:
    named = replace(analysis, image=replace(analysis.image, name=row["image_path"]))
    return cell_row(named, population, outlines=rings_of(analysis)) | {name: row[name] for name in _KEPT}


def _matched(rows: Sequence[CellRow], analyses: Sequence[CellAnalysis]) -> dict[str, CellAnalysis]:
    """Which of the cells that the model finds in an image are those that are stored, by `cell_id`."""
    if len(rows) == len(analyses) == 1 and analyses[0].place is None:
        return {rows[0]["cell_id"]: analyses[0]}
    shared = sorted(
        ((_shared(_box(row), cell.box), row["cell_id"], at) for row in rows for at, cell in enumerate(analyses)),
        reverse=True,
    )
    found: dict[str, int] = {}
    for share, cell_id, at in shared:
        if share >= _SAME_CELL and cell_id not in found and at not in found.values():
            found[cell_id] = at
    return {cell_id: analyses[at] for cell_id, at in found.items()}


def _box(row: CellRow) -> BoundingBox | None:
    """The box around a stored outline in the whole image; None where there is none."""
    rings, place = decode_rings(row["cell_outline"]), place_of(row)
    if not rings:
        return None
    points = np.concatenate(rings) + ((place.left, place.top) if place else (0, 0))
    left, top = np.floor(points.min(axis=0)).astype(int).tolist()
    width, height = np.ceil(points.max(axis=0) - (left, top)).astype(int).tolist()
    return BoundingBox(left, top, width, height)


def _shared(one: BoundingBox | None, other: BoundingBox | None) -> float:
    """What two boxes share of all that they cover."""
    if one is None or other is None:
        return 0.0
    width = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    height = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    both = max(width, 0) * max(height, 0)
    return both / (one.width * one.height + other.width * other.height - both)
