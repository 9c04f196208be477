"""A report of one cell that opens without a network and without scripts, for years."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from markupsafe import Markup

from core.charts.labels import number, of_cell, who
from core.charts.overlay import mask_svg, outlined_svg
from core.charts.ranges import comparable, range_chart
from core.charts.rows import blocks, halves, leading, part, themes
from core.charts.theme import LIGHT, to_svg
from core.charts.trust import Reliability, is_poor
from core.domain.cell_types import CELL_TYPES
from core.domain.types import CellAnalysis
from core.evaluation.agreement import GOOD_FROM, MODERATE_FROM, Grade
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.features.spec import Theme
from core.populations.comparison import INTENSITY_CAUTION, describe
from core.populations.nearness import Nearness, in_words
from core.populations.placement import (
    Placed,
    by_cell_type,
    distances,
    models_beside,
    obstacles,
    place_cell,
    scale_source,
)
from core.populations.summaries import SMALL_GROUP, ReferencePopulation
from core.reports.conclusions import most_different
from core.reports.engine import ReportRow, ReportTable, drawing, render
from core.reports.first_page import FirstPage, first_page, in_models_outline, quality, reviewed, scale, title
from core.reports.tables import comparison_table
from core.segmentation.model_registry import ModelEntry

_OPEN_THEMES: Final = (Theme.SHAPE, Theme.STRUCTURE)
_CHART_PX: Final = 520  # two beside each other on the report's page


class _Population(NamedTuple):
    """What the report says beside one cell type: of its first source, unless stated.

    `sources` names all; `charts` are drawn against the population `drawn_against`, and there are none without it;
    `folded` are tables by title.
    """

    cell_type: str
    sources: list[str]
    title: str
    n: int
    small: bool
    shapes: list[str]
    tones: list[str]
    obstacles: list[str]
    drawn_against: str
    charts: list[Markup]
    table: ReportTable
    folded: dict[str, ReportTable]


def html_pages(pages: Sequence[FirstPage], name: str | None = None) -> str:
    """One or several cells as one HTML text, each on a sheet of its own when it is printed, A4 or Letter.

    Everything is inside the text, nothing is fetched and nothing runs, so it opens anywhere for years. Texts from
    outside are escaped. `name` is that of the whole, by default the first page's.
    """
    return render("pages", title=name or pages[0].title, created=pages[0].created, pages=pages)


def html_report(
    analysis: CellAnalysis,
    references: Sequence[ReferencePopulation],
    nearness: Nearness,
    model: ModelEntry,
    reliability: Reliability,
    created: datetime,
    settings: dict[str, str],
    notes: str = "",
) -> str:
    """Build the report with all tables as one HTML text: the first page, places in the populations, provenance.

    As `html_pages`. `nearness` is what the cell is nearest to, `notes` what a person wrote of it; `settings` are
    further lines for the provenance.
    """
    placed = place_cell(analysis, references)
    return render(
        "cell",
        title=title(analysis),
        created=created,
        pages=[first_page(analysis, references, nearness, model, reliability, created, notes)],
        notes=notes,
        analysis=analysis,
        model=model,
        reliability=reliability,
        pictures=_pictures(analysis),
        quality=[remark.sentence for remark in quality(analysis)],
        corrected=_corrected(analysis),
        model_note=models_beside(analysis, references),
        nearness=nearness,
        nearest=in_words(nearness),
        populations=[_population(sources, placed, reliability) for sources in by_cell_type(placed).values()],
        intensity_caution=INTENSITY_CAUTION,
        catalogued=len(CATALOGUE),
        good_from=GOOD_FROM,
        moderate_from=MODERATE_FROM,
        grades=", ".join(f"{sum(known.grade is grade for known in reliability.values())} {grade}" for grade in Grade),
        provenance=_provenance(analysis, references, model, created, settings),
    )


def _pictures(analysis: CellAnalysis) -> dict[str, Markup]:
    image, labels, base = analysis.image, analysis.segmentation.labels, analysis.base
    whose = "Corrected outlines" if base else "Outlines"
    return {
        "Image": drawing(outlined_svg(image)),
        f"{whose}: nucleus solid, cell border dashed, surroundings dotted": drawing(outlined_svg(image, labels)),
        **({f"Outlines of {base.model_id}": drawing(outlined_svg(image, base.labels))} if base else {}),
        "Mask": drawing(mask_svg(image, labels)),
    }


def _corrected(analysis: CellAnalysis) -> ReportTable | None:
    """What a correction changed in the key measures; None where the outline is the model's."""
    if analysis.base is None:
        return None
    before, image = in_models_outline(analysis), analysis.image
    known = image.um_per_px, image.um_per_px_error
    rows = []
    for name in KEY_FEATURES:
        spec, old, new = CATALOGUE[name], before.get(name), analysis.features.values.get(name)
        change = "" if not old or new is None else f"{100 * (new - old) / abs(old):+.1f} %"
        rows.append(
            ReportRow([spec.label, of_cell(spec, old, *known), of_cell(spec, new, *known), change], "", poor=False)
        )
    return ReportTable(["Feature", "Model's outline", "Corrected outline", "Change"], rows)


def _population(sources: Sequence[Placed], placed: Sequence[Placed], reliability: Reliability) -> _Population:
    chosen = sources[0]
    reference = chosen.reference
    shapes, tones = most_different(chosen, reliability)
    scale = scale_source(chosen, placed)
    poor = [name for name in CATALOGUE if is_poor(name, reliability)]
    return _Population(
        cell_type=CELL_TYPES[reference.cell_type].name,
        sources=[_source(source.reference) for source in sources],
        title=reference.title,
        n=reference.n,
        small=reference.n < SMALL_GROUP,
        shapes=[describe(comparison) for comparison in shapes],
        tones=[describe(comparison) for comparison in tones],
        obstacles=obstacles(chosen),
        drawn_against=scale.reference.title if scale else "",
        charts=_charts(scale, [p.reference for p in sources if p is not scale], reliability) if scale else [],
        table=_table(chosen, [n for theme in _OPEN_THEMES for n in part(theme) if n not in poor], reliability),
        folded=_folded(chosen, poor, reliability),
    )


def _source(reference: ReferencePopulation) -> str:
    return f"{reference.title}: {who(reference)}{' (published reference)' if reference.published else ''}"


def _charts(scale: Placed, others: Sequence[ReferencePopulation], reliability: Reliability) -> list[Markup]:
    """Range charts of shape and of structure, at most two columns each; what depends on the stain is in the tables."""
    drawn = []
    for theme in _OPEN_THEMES:
        present = [c.feature for c in comparable(scale.comparisons, part(theme))]
        for column in halves(blocks(leading(present, distances([scale]), reliability), reliability)):
            chart = range_chart(scale.comparisons, scale.reference, others, column, reliability, LIGHT)
            drawn.append(drawing(to_svg(chart, width=_CHART_PX)))
    return drawn


def _folded(chosen: Placed, poor: Sequence[str], reliability: Reliability) -> dict[str, ReportTable]:
    """The other themes by title, and at the end the poor features of all themes, with the reason of each."""
    beside = f"beside {chosen.reference.title}"
    tables = {}
    for theme in themes():
        if theme not in _OPEN_THEMES:
            features = [name for name in part(theme) if name not in poor]
            tables[f"{theme} {beside}: {len(features)} features"] = _table(chosen, features, reliability)
    if poor:
        title = f"Poor: {len(poor)} features that should not be relied on, {beside}"
        tables[title] = _table(chosen, poor, reliability, reason=True)
    return tables


def _table(chosen: Placed, features: Sequence[str], reliability: Reliability, *, reason: bool = False) -> ReportTable:
    """The rows of `comparison_table`, with the reason for each grade where asked for."""
    table = comparison_table(chosen, reliability, features)
    head = [name for name in table.columns if name != "Meaning" and (reason or name != "Why")]
    rows = [
        ReportRow([_shown(name, row[name]) for name in head], row["Meaning"], poor=row["Trust"] == Grade.POOR)
        for row in table.to_dict("records")
    ]
    return ReportTable(head, rows)


def _shown(column: str, value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if column == "n" and math.isfinite(value) else number(value)


def _by_whom(reference: ReferencePopulation) -> str:
    """How many cells of whom, and which models outlined them."""
    models = ", ".join(dict.fromkeys(model.model_id for model in reference.outlined.models))
    return f"{who(reference)}{f'; outlined by {models}' if models else ''}"


def _provenance(
    analysis: CellAnalysis,
    references: Sequence[ReferencePopulation],
    model: ModelEntry,
    created: datetime,
    settings: dict[str, str],
) -> dict[str, str]:
    image, segmentation = analysis.image, analysis.segmentation
    height, width = image.shape
    box = analysis.box
    of_field = (
        {"Cell": f"number {analysis.cell_index + 1} of a field, at {box.left}, {box.top} px"}
        if analysis.place and box
        else {}
    )
    return {
        "Image": f"{image.name}, {width} x {height} px{', cut out' if analysis.place else ''}",
        **of_field,
        "SHA-256 of the image file": image.sha256,
        "Scale": scale(image),
        **(
            {"Scale that the file states": f"{image.file_scale.um_per_px:g} µm per pixel ({image.file_scale.source})"}
            if image.file_scale
            else {}
        ),
        **reviewed(analysis),
        "Model": f"{segmentation.model_id} ({model.card.architecture}, {model.card.encoder})",
        "SHA-256 of the model file": model.sha256,
        "Computed on": segmentation.provider,
        "Date": created.isoformat(timespec="seconds"),
        **settings,
        **{f"Version of {name}": version for name, version in sorted(analysis.versions.items())},
        **{f"Population {r.title}": _by_whom(r) for r in references},
    }
