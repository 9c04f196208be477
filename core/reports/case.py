"""A report of a case: a table of all its cells, then the essentials of each, image by image."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from markupsafe import Markup

from core.cases.store import Case, CaseImage
from core.charts.labels import of_cell, scale_caution, scale_words
from core.charts.overlay import mask_svg, outlined_svg
from core.charts.sparklines import sparkline_html
from core.domain.types import CellAnalysis
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.populations.placement import main_sources, place_cell
from core.populations.summaries import ReferencePopulation
from core.reports.engine import ReportRow, ReportTable, drawing, render


class CaseCell(NamedTuple):
    """What the report says of one cell: its name in the report, its picture, its measures with their strips."""

    name: str
    analysis: CellAnalysis
    pictures: dict[str, Markup]
    measures: list[tuple[str, str, Markup]]
    scale_note: str | None


class CaseSection(NamedTuple):
    """An image of the report with its cells."""

    record: CaseImage
    cells: list[CaseCell]


def case_report(
    case: Case,
    measured: Sequence[tuple[CaseImage, Sequence[CellAnalysis]]],
    references: Sequence[ReferencePopulation],
    created: datetime,
) -> str:
    """Build the report as one HTML text, which fetches nothing and runs nothing; names and notes are escaped.

    Parameters
    ----------
    case
        Its words.
    measured
        Its images in their order, each with its cells as people decided on them.
    references
        The populations beside which each measure is drawn.
    created
        When the report is made.
    """
    sections = [CaseSection(image, [_cell(image, cell, references) for cell in cells]) for image, cells in measured]
    return render(
        "case",
        title=case.title,
        created=created,
        case=case,
        summary=_summary([cell for section in sections for cell in section.cells]),
        sections=sections,
        provenance=_provenance(case, [cell for _, cells in measured for cell in cells]),
    )


def _cell(image: CaseImage, cell: CellAnalysis, references: Sequence[ReferencePopulation]) -> CaseCell:
    sources = main_sources(place_cell(cell, references))
    measures = [
        (CATALOGUE[name].label, _value(cell, name), sparkline_html(name, [(p.reference, p.of(name)) for p in sources]))
        for name in KEY_FEATURES
    ]
    whose = "Corrected outlines" if cell.base else "Outlines"
    name = f"{image.name}, cell {cell.cell_index + 1}" if cell.place else image.name
    pictures = {
        f"{whose}: nucleus solid, cell border dashed, surroundings dotted": drawing(
            outlined_svg(cell.image, cell.segmentation.labels)
        ),
        "Mask": drawing(mask_svg(cell.image, cell.segmentation.labels)),
    }
    return CaseCell(name, cell, pictures, measures, scale_caution(cell.image.um_per_px, cell.image.um_per_px_error))


def _value(cell: CellAnalysis, name: str) -> str:
    return of_cell(CATALOGUE[name], cell.features.values.get(name), cell.image.um_per_px, cell.image.um_per_px_error)


def _summary(cells: Sequence[CaseCell]) -> ReportTable:
    """A row per cell: name, quality, certainty, key measures."""
    rows = []
    for cell in cells:
        analysis = cell.analysis
        quality = "good" if analysis.quality_ok else "flagged"
        certainty = "drawn by a person" if analysis.certainty is None else f"{analysis.certainty:.2f}"
        rows.append(ReportRow([cell.name, quality, certainty, *(_value(analysis, name) for name in KEY_FEATURES)], ""))
    return ReportTable(["Cell", "Quality", "Certainty", *(CATALOGUE[name].label for name in KEY_FEATURES)], rows)


def _provenance(case: Case, cells: Sequence[CellAnalysis]) -> dict[str, str]:
    models = sorted({cell.segmentation.model_id for cell in cells})
    versions = sorted({f"{name} {version}" for cell in cells for name, version in cell.versions.items()})
    return {
        "Case": f"{case.id}, made {case.created.isoformat(timespec='minutes')}, changed"
        f" {case.changed.isoformat(timespec='minutes')}",
        "Outlined by": ", ".join(models) or "nobody",
        "Versions": ", ".join(versions) or "none",
        **{
            f"Image {image.name}": f"SHA-256 {image.sha256}; "
            + (scale_words(image.scale.um_per_px, image.scale.error) if image.scale else "scale unknown")
            + ("" if image.size else "; the picture itself was not at hand")
            for image in case.images
        },
    }
