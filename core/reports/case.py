"""The report of a case: what it holds and a table of all its cells, then a page for each cell (`first_page`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from core.cases.store import Case, CaseImage
from core.charts.labels import of_cell, scale_words
from core.domain.flags import quality_word
from core.domain.types import CellAnalysis
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.reports.engine import ReportRow, ReportTable, render
from core.reports.first_page import FirstPage, title


class ImageOfCase(NamedTuple):
    """An image of a case in words: its name, what came of it, and what a person wrote of it."""

    name: str
    found: str
    notes: str


@dataclass(frozen=True)
class CaseFront:
    """What stands before the pages of the cells; texts as they came, to be escaped by whoever shows them."""

    title: str
    created: datetime
    described: str
    notes: str
    table: ReportTable
    images: tuple[ImageOfCase, ...]
    provenance: tuple[tuple[str, str], ...]


def case_front(
    case: Case, measured: Sequence[tuple[CaseImage, Sequence[CellAnalysis]]], created: datetime
) -> CaseFront:
    """Put together what stands before the pages; `measured` are the images in their order, each with its cells."""
    cells = [cell for _, found in measured for cell in found]
    images = f"{len(case.images)} image{'s' * (len(case.images) != 1)}"
    return CaseFront(
        title=case.title,
        created=created,
        described=f"{images}, {len(cells)} cell{'s' * (len(cells) != 1)}",
        notes=case.notes,
        table=_table(cells),
        images=tuple(ImageOfCase(image.name, _found(image, len(found)), image.notes) for image, found in measured),
        provenance=tuple(_provenance(case, cells)),
    )


def html_case(front: CaseFront, pages: Sequence[FirstPage]) -> str:
    """A case as one HTML text that fetches nothing and runs nothing; each cell is a sheet of its own in print."""
    return render("case", title=front.title, created=front.created, front=front, pages=pages)


def _table(cells: Sequence[CellAnalysis]) -> ReportTable:
    """A row per cell: name, quality, certainty, key measures."""
    rows = []
    for cell in cells:
        known = cell.image.um_per_px, cell.image.um_per_px_error
        quality = quality_word(good=cell.quality_ok)
        certainty = "drawn by a person" if cell.certainty is None else f"{cell.certainty:.2f}"
        values = (of_cell(CATALOGUE[name], cell.features.values.get(name), *known) for name in KEY_FEATURES)
        rows.append(ReportRow([title(cell), quality, certainty, *values], ""))
    return ReportTable(["Cell", "Quality", "Certainty", *(CATALOGUE[name].label for name in KEY_FEATURES)], rows)


def _found(image: CaseImage, cells: int) -> str:
    if image.problem and not cells:
        return f"could not be measured: {image.problem}"
    scale = scale_words(image.scale.um_per_px, image.scale.error) if image.scale else "scale unknown"
    picture = "" if image.size else "; the picture itself was not at hand"
    return (f"{cells} cell{'s' * (cells != 1)}, {scale}" if cells else "not measured") + picture


def _provenance(case: Case, cells: Sequence[CellAnalysis]) -> Iterable[tuple[str, str]]:
    models = sorted({cell.segmentation.model_id for cell in cells})
    versions = sorted({f"{name} {version}" for cell in cells for name, version in cell.versions.items()})
    made, changed = (moment.isoformat(" ", timespec="minutes") for moment in (case.created, case.changed))
    yield "Case", f"{case.id}, made {made}, changed {changed}"
    yield "Outlined by", ", ".join(models) or "nobody"
    yield "Versions", ", ".join(versions) or "none"
    yield from ((f"SHA-256 of {image.name}", image.sha256) for image in case.images)
