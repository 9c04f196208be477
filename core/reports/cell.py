"""What one takes away of a cell: the tables, and a report that opens without a network and without scripts."""

import html
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import PurePath
from typing import Final

import pandas as pd

from core.charts.labels import number, unit, who, with_unit
from core.charts.overlay import mask_svg, outlined_svg
from core.charts.ranges import comparable, range_chart
from core.charts.rows import blocks, halves, leading, part, themes
from core.charts.strips import strip_html
from core.charts.theme import LIGHT, to_svg
from core.charts.trust import Reliability, graded, is_poor, likeness_features, poor_last, trust, why
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.types import CellAnalysis, FeatureSet
from core.evaluation.agreement import GOOD_FROM, MODERATE_FROM, Grade
from core.features.catalogue import CATALOGUE
from core.features.spec import Theme
from core.image.imaging import encode_png
from core.image.masks import encode_grey
from core.populations.comparison import INTENSITY_CAUTION, FeatureComparison, compare_cell, describe, differs_most
from core.populations.summaries import SMALL_GROUP, Basis, ReferencePopulation
from core.populations.typicality import Nearness, nearest
from core.segmentation.field_of_view import composed
from core.segmentation.model_registry import ModelEntry

NOT_FOR_DIAGNOSIS: Final = (
    "Research use, not for diagnosis. A description of one image; the judgement is the morphologist's."
)

_OPEN_THEMES: Final = (Theme.SHAPE, Theme.STRUCTURE)
_CHART_PX: Final = 520  # two beside each other on the report's page

# What a morphologist looks for first, in this order.
KEY_FEATURES: Final = (
    "combined_PixelSurface",
    "cell_shape2D_PixelSurface",
    "nucleus_shape2D_PixelSurface",
    "cell_shape2D_MaximumDiameter",
    "nucleus_shape2D_MaximumDiameter",
    "nucleus_shape2D_Elongation",
    "cell_shape2D_Elongation",
)


@dataclass(frozen=True, eq=False)
class Placed:
    """A cell beside one population: every catalogue feature compared, in catalogue order."""

    reference: ReferencePopulation
    comparisons: tuple[FeatureComparison, ...]

    @cached_property
    def _by_feature(self) -> dict[str, FeatureComparison]:
        return {comparison.feature: comparison for comparison in self.comparisons}

    def of(self, feature: str) -> FeatureComparison:
        """Return the comparison of one feature."""
        return self._by_feature[feature]


def place_cell(analysis: CellAnalysis, references: Iterable[ReferencePopulation]) -> list[Placed]:
    """Compare a cell with each population, in the order given."""
    return [Placed(r, compare_cell(analysis.features, analysis.image.um_per_px, r)) for r in references]


def by_cell_type(placed: Sequence[Placed]) -> dict[CellType, list[Placed]]:
    """Populations by cell type in the order of the cell types.

    Within a type the largest measured source first, tables last.
    """
    grouped = {cell_type: [p for p in placed if p.reference.cell_type is cell_type] for cell_type in CellType}
    return {
        kind: sorted(found, key=lambda p: (p.reference.published, -p.reference.n))
        for kind, found in grouped.items()
        if found
    }


def main_sources(placed: Sequence[Placed]) -> list[Placed]:
    """One population per cell type: its largest measured source."""
    return [sources[0] for sources in by_cell_type(placed).values() if not sources[0].reference.published]


def scale_source(chosen: Placed, placed: Sequence[Placed]) -> Placed | None:
    """Return the population whose median and spread set the rows of a range chart.

    The chosen one itself, unless it is too small to have bands: then the largest source of lymphocytes, or else the
    largest of all.
    """
    if chosen.reference.n >= SMALL_GROUP:
        return chosen
    banded = [p for p in main_sources(placed) if p.reference.n >= SMALL_GROUP]
    same_type = [p for p in banded if p.reference.cell_type is chosen.reference.cell_type]
    lymphocytes = [p for p in banded if p.reference.cell_type is CellType.LYMPHOCYTE]
    return next(iter([*same_type, *lymphocytes, *sorted(banded, key=lambda p: -p.reference.n)]), None)


def most_different(
    placed: Placed, reliability: Reliability, shapes: int = 8, tones: int = 4
) -> tuple[tuple[FeatureComparison, ...], tuple[FeatureComparison, ...]]:
    """Reliable features outside the 2-98 % band, most different first.

    Those that staining leaves alone, and apart from them the others.
    """
    allowed = graded(reliability)
    reliable = [c for c in placed.comparisons if c.feature in allowed]
    tone = [c for c in reliable if CATALOGUE[c.feature].intensity_dependent]
    shape = [c for c in reliable if not CATALOGUE[c.feature].intensity_dependent]
    return differs_most(shape, shapes, placed.reference), differs_most(tone, tones, placed.reference)


def nearest_populations(
    features: FeatureSet, references: Sequence[ReferencePopulation], reliability: Reliability
) -> tuple[Nearness, ...]:
    """How typical the cell is of each population, most typical first (`core.populations.typicality`)."""
    return nearest(features, references, likeness_features(reliability))


def obstacles(placed: Placed, features: Collection[str] = CATALOGUE) -> list[str]:
    """Why some of the features could not be compared, each reason once with the number of features it keeps out."""
    reasons: dict[str, int] = {}
    for comparison in placed.comparisons:
        if comparison.feature in features and not comparison.comparable and comparison.reason:
            reasons[comparison.reason] = reasons.get(comparison.reason, 0) + 1
    return [
        f"{count} {'feature is' if count == 1 else 'features are'} not compared: {reason}."
        for reason, count in reasons.items()
    ]


def distances(placed: Iterable[Placed]) -> dict[str, float]:
    """How far the cell lies from a population's median in typical spreads, by feature.

    Of several populations the largest.
    """
    found: dict[str, float] = {}
    for comparison in (c for place in placed for c in place.comparisons):
        if comparison.comparable and comparison.robust_z is not None:
            found[comparison.feature] = max(abs(comparison.robust_z), found.get(comparison.feature, 0.0))
    return found


def nearest_in_words(found: Sequence[Nearness]) -> str:
    """Name the nearest population and the runner-up, as a description and no classification.

    Empty without populations.
    """
    if not found:
        return ""
    first, *others = found
    if first.typicality == 0:
        return (
            "Unlike every population in shape: no cell of any lies as far from the centre of its own. Closest is"
            f" {first.title}, at {first.distance:.1f} typical spreads."
        )
    text = f"Nearest in shape: {first.title} ({_typicality(first)} of {_members(first)} lie as far out or farther)"
    if others:
        text += f", then {others[0].title} ({_typicality(others[0])} of {others[0].n})"
    return f"{text}."


def _members(near: Nearness) -> str:
    return f"its {near.n} cells" if near.drawn_from is None else f"{near.n} of its {near.drawn_from} cells"


def _typicality(near: Nearness) -> str:
    return "none" if near.typicality == 0 else "fewer than 1 %" if near.typicality < 1 else f"{near.typicality:.0f} %"


def comparison_table(placed: Placed, reliability: Reliability, features: Iterable[str] = CATALOGUE) -> pd.DataFrame:
    """One row per feature: this cell, its place, and the population's range, mean and spread, as shown on pages.

    Poor features last.

    Numbers in the shown unit; what is absent is nan. Columns: Feature, This cell, Unit, Trust, Percentile, Robust z,
    Place, 2 %, 50 %, 98 %, Mean, SD, n, Why (the reason of the grade), Meaning.
    """
    rows = []
    for name in poor_last(features, reliability):
        comparison, spec = placed.of(name), CATALOGUE[name]
        summary = comparison.summary
        same = summary if summary is not None and summary.basis is comparison.basis else None
        percents = (same.p2, same.p50, same.p98, same.mean, same.std) if same else (None,) * 5
        p2, p50, p98, mean, std = (None if value is None else spec.shown(value) for value in percents)
        rows.append(
            {
                "Feature": spec.label,
                "This cell": None if comparison.value is None else spec.shown(comparison.value),
                "Unit": unit(spec, comparison.basis),
                "Trust": trust(name, reliability),
                "Percentile": comparison.percentile,
                "Robust z": comparison.robust_z,
                "Place": _place_word(comparison),
                "2 %": p2,
                "50 %": p50,
                "98 %": p98,
                "Mean": mean,
                "SD": std,
                "n": same.n if same else None,
                "Why": why(name, reliability),
                "Meaning": spec.description,
            }
        )
    frame = pd.DataFrame(rows, columns=_TABLE_COLUMNS)
    return frame.astype(dict.fromkeys(_NUMBERS, "float64"))


_NUMBERS: Final = ("This cell", "Percentile", "Robust z", "2 %", "50 %", "98 %", "Mean", "SD", "n")
_SHOWN: Final = (
    "Feature",
    "This cell",
    "Unit",
    "Trust",
    "Percentile",
    "Robust z",
    "Place",
    "2 %",
    "50 %",
    "98 %",
    "Mean",
    "SD",
    "n",
)
_TABLE_COLUMNS: Final = (*_SHOWN, "Why", "Meaning")


def _place_word(comparison: FeatureComparison) -> str:
    if not comparison.comparable:
        return "not compared"
    if comparison.inside is None:
        return "no range"
    if comparison.inside:
        return "inside"
    return "above" if comparison.direction is not None and comparison.direction.value == "above" else "below"


def reliability_table(features: Iterable[str], reliability: Reliability) -> pd.DataFrame:
    """How far each of the features can be trusted, the poor ones last; features that were not measured are left out.

    Columns: Feature, Trust, About, ICC, 95 % interval, Mononuclear (their ICC alone), Bias, Limits, Annotators (these
    three in standard deviations between cells of a type), n, Most moved by, Calibrate for, Why.
    """
    rows = []
    for name in poor_last((feature for feature in features if feature in reliability), reliability):
        found, spec = reliability[name], CATALOGUE[name]
        largest, calibrate = found.largest, found.calibrate
        rows.append(
            {
                "Feature": spec.label,
                "Trust": found.grade.value,
                "About": spec.theme.value,
                "ICC": found.icc,
                "95 % interval": _interval(found.icc_low, found.icc_high),
                "Mononuclear": found.mononuclear.value if found.mononuclear else None,
                "Bias": found.bias,
                "Limits": _interval(found.limit_low, found.limit_high),
                "Annotators": found.annotators,
                "n": found.n,
                "Most moved by": f"{largest} ({found.disturbances[largest].size:.2f})" if largest else "",
                "Calibrate for": f"{calibrate} ({found.disturbances[calibrate].size:.2f})" if calibrate else "",
                "Why": why(name, reliability),
            }
        )
    return pd.DataFrame(rows, columns=_TRUST_COLUMNS).astype(
        dict.fromkeys(("ICC", "Mononuclear", "Bias", "Annotators"), "float64")
    )


_TRUST_COLUMNS: Final = (
    "Feature", "Trust", "About", "ICC", "95 % interval", "Mononuclear", "Bias", "Limits", "Annotators", "n", "Most moved by",
    "Calibrate for", "Why",
)  # fmt: skip


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def feature_table(analysis: CellAnalysis, placed: Sequence[Placed], reliability: Reliability) -> pd.DataFrame:
    """All features of one cell as a file.

    One row per feature, in pixels and, with a scale, in micrometres, its grade, and its place.

    Per measured population two columns follow: `percentile <title>` and `robust z <title>`.
    """
    image = analysis.image
    rows = []
    for name, value in analysis.features.values.items():
        spec = CATALOGUE[name]
        in_um = None if value is None or image.um_per_px is None else spec.in_um(value, image.um_per_px)
        row: dict[str, str | float | None] = {
            "image": image.name,
            "image_sha256": image.sha256,
            "cell_index": analysis.cell_index,
            "model_id": analysis.segmentation.model_id,
            "um_per_px": image.um_per_px,
            "feature": name,
            "label": spec.label,
            "value": value,
            "unit": spec.unit.px,
            "value_um": in_um,
            "unit_um": spec.unit.um if image.um_per_px is not None else None,
            "absent": analysis.features.absent.get(name),
            "trust": trust(name, reliability),
        }
        for place in placed:
            if place.reference.published:
                continue
            comparison = place.of(name)
            row[f"percentile {place.reference.title}"] = comparison.percentile
            row[f"robust z {place.reference.title}"] = comparison.robust_z
        rows.append(row)
    return pd.DataFrame(rows)


_SOURCE_COLUMNS: Final = (
    "image_path",
    "image_sha256",
    "cell_index",
    "cell_label",
    "x",
    "y",
    "width",
    "height",
    "um_per_px",
    "model_id",
    "provider",
    "confidence",
    "other_cells",
    "quality_ok",
    "flags",
)


def analyses_table(analyses: Iterable[CellAnalysis]) -> pd.DataFrame:
    """Several cells as a table: one row per cell with where it comes from, its flags and every feature in pixels.

    `x`, `y`, `width` and `height` are the cell's bounding box in the image, absent where no cell was found;
    `cell_label` is its number in pictures and its value in the image of instances, `cell_index` + 1.
    """
    return pd.DataFrame([_analysis_row(analysis) for analysis in analyses], columns=[*_SOURCE_COLUMNS, *CATALOGUE])


def mask_files(stem: str, shape: tuple[int, int], cells: Sequence[CellAnalysis]) -> dict[str, bytes]:
    """Masks of the cells of one image of (H, W) as PNG files by name.

    One of all; of a field also one of their numbers, 16 bit.
    """
    of_field = [(cell.place, cell.segmentation.labels) for cell in cells if cell.place]
    if not of_field:
        return {f"{stem}.png": encode_png(encode_grey(cells[0].segmentation.labels))}
    labels, numbers = composed(shape, of_field)
    return {f"{stem}.png": encode_png(encode_grey(labels)), f"{stem}_instances.png": encode_png(numbers)}


def _analysis_row(analysis: CellAnalysis) -> dict[str, str | float | bool | list[str] | None]:
    image, segmentation = analysis.image, analysis.segmentation
    box = analysis.box
    return {
        "image_path": image.name,
        "image_sha256": image.sha256,
        "cell_index": analysis.cell_index,
        "cell_label": analysis.cell_index + 1,
        "x": box.left if box else None,
        "y": box.top if box else None,
        "width": box.width if box else None,
        "height": box.height if box else None,
        "um_per_px": image.um_per_px,
        "model_id": segmentation.model_id,
        "provider": segmentation.provider,
        "confidence": segmentation.confidence,
        "other_cells": segmentation.other_cells,
        "quality_ok": analysis.quality_ok,
        "flags": [flag.code for flag in analysis.flags],
        **{name: analysis.features.values.get(name) for name in CATALOGUE},
    }


def file_name(image_name: str, when: datetime, suffix: str, what: str = "") -> str:
    """Name of a file to take away.

    `leukoscope_<image>_<date>[_<what>].<suffix>`, of letters, digits, dots, dashes and underscores.
    """
    stem = re.sub(r"[^\w.-]+", "_", PurePath(image_name).stem).strip("._-") or "image"
    return f"leukoscope_{stem}_{when:%Y-%m-%d}{'_' + what if what else ''}.{suffix}"


def html_report(
    analysis: CellAnalysis,
    references: Sequence[ReferencePopulation],
    model: ModelEntry,
    reliability: Reliability,
    created: datetime,
    settings: dict[str, str],
) -> str:
    """Build the report as one HTML text.

    Pictures, quality, measures, places in the populations, tables, methods, provenance.

    Everything is inside the text, nothing is fetched and nothing runs, so it opens anywhere for years. Names from
    outside are escaped. `settings` are further lines for the provenance.
    """
    placed = place_cell(analysis, references)
    title = f"{analysis.image.name}: Leukoscope report"
    sections = [
        _pictures(analysis),
        _section("Quality", _quality(analysis)),
        _section("Key measures", _measures(placed, analysis, reliability)),
        _section("Nearest populations", _nearest(analysis, references, reliability)),
        *(
            _section(CELL_TYPES[kind].name, _population(sources, placed, reliability))
            for kind, sources in by_cell_type(placed).items()
        ),
        _section("How it was measured, and how far to trust it", _methods(analysis, model, reliability)),
        _section("Where this comes from", _provenance(analysis, references, model, created, settings)),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_CSS}</style></head><body><main>"
        f"<header><h1>{html.escape(analysis.image.name)}</h1><p>Leukoscope report, {created:%d %B %Y, %H:%M}</p>"
        f'<p class="notice">{NOT_FOR_DIAGNOSIS}</p></header>{"".join(sections)}</main></body></html>'
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{body}</section>" if body else ""


def _items(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(s)}</li>" for s in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _pictures(analysis: CellAnalysis) -> str:
    image, labels = analysis.image, analysis.segmentation.labels
    pictures = {
        "Image": outlined_svg(image),
        "Outlines: nucleus solid, cell border dashed, surroundings dotted": outlined_svg(image, labels),
        "Mask": mask_svg(image, labels),
    }
    figures = (f"<figure>{svg}<figcaption>{text}</figcaption></figure>" for text, svg in pictures.items())
    return f'<div class="pictures">{"".join(figures)}</div>'


def _quality(analysis: CellAnalysis) -> str:
    sentences = [flag.message for flag in analysis.flags] or ["Nothing stands against using these numbers."]
    sentences += [f"On opening the image: {note}." for note in analysis.image.notes]
    return _items(
        [
            f"The outline expects an overlap (Dice) of {analysis.segmentation.confidence:.2f} with an expert's.",
            *sentences,
        ]
    )


def _measures(placed: Sequence[Placed], analysis: CellAnalysis, reliability: Reliability) -> str:
    rows = []
    for feature in KEY_FEATURES:
        spec, value = CATALOGUE[feature], analysis.features.values.get(feature)
        scale = analysis.image.um_per_px
        in_um = spec.length_power != 0 and scale is not None
        shown = spec.in_um(value, scale) if in_um and value is not None and scale is not None else value
        text = with_unit(spec, shown, Basis.MICROMETRES if in_um else Basis.PIXELS)
        strip = strip_html(feature, [(p.reference, p.of(feature)) for p in main_sources(placed)])
        mark = " (poor)" if is_poor(feature, reliability) else ""
        name = html.escape(spec.label + mark)
        rows.append(
            f"<tr><th>{name}</th><td class='number'>{html.escape(text)}</td><td class='strip'>{strip}</td></tr>"
        )
    return f"<table class='measures'>{''.join(rows)}</table>"


def _nearest(analysis: CellAnalysis, references: Sequence[ReferencePopulation], reliability: Reliability) -> str:
    words = nearest_in_words(nearest_populations(analysis.features, references, reliability))
    graded_good = " that are graded good" if reliability else ""
    how = f"Distance over the scale-free features of shape{graded_good}, each in the population's own spread."
    return (
        f"<p>{html.escape(words)}</p><p class='small'>{how} A description, not a classification.</p>" if words else ""
    )


def _population(sources: Sequence[Placed], placed: Sequence[Placed], reliability: Reliability) -> str:
    chosen = sources[0]
    parts = [
        _items(
            f"{p.reference.title}: {who(p.reference)}" + (" (published reference)" if p.reference.published else "")
            for p in sources
        )
    ]
    shapes, tones = most_different(chosen, reliability)
    if chosen.reference.n < SMALL_GROUP:
        parts.append(f"<p>Only {chosen.reference.n} cells: drawn as points, no percentiles.</p>")
    elif shapes or tones:
        parts.append(
            f"<h3>Where this cell differs most from {html.escape(chosen.reference.title)}</h3>"
            + _items(map(describe, shapes))
            + (
                f"<p class='small'>In tone, colour and texture. {INTENSITY_CAUTION}</p>{_items(map(describe, tones))}"
                if tones
                else ""
            )
        )
    else:
        parts.append("<p>Every reliable feature that can be compared lies within the 2-98 % range.</p>")
    parts += [f"<p class='small'>{html.escape(text)}</p>" for text in obstacles(chosen)]
    scale = scale_source(chosen, placed)
    if scale is not None:
        parts.append(_charts(scale, [p.reference for p in sources if p is not scale], reliability))
    parts.append(_tables(chosen, reliability))
    return "".join(parts)


def _charts(scale: Placed, others: Sequence[ReferencePopulation], reliability: Reliability) -> str:
    """Range charts of shape and of structure, at most two columns each; what depends on the stain is in the tables."""
    drawings: list[str] = []
    for theme in _OPEN_THEMES:
        features = part(theme)
        present = [c.feature for c in comparable(scale.comparisons, features)]
        columns = halves(blocks(leading(present, distances([scale]), reliability), reliability))
        drawings += [
            to_svg(range_chart(scale.comparisons, scale.reference, others, column, reliability, LIGHT), width=_CHART_PX)
            for column in columns
        ]
    legend = (
        f"Band: 2-98 % of {scale.reference.title}; tick: median; mark: this cell (a triangle lies outside the band)."
    )
    return f"<p class='small'>{html.escape(legend)}</p><div class='charts'>{''.join(drawings)}</div>"


def _tables(chosen: Placed, reliability: Reliability) -> str:
    """All features.

    Shape and structure open, the other themes folded, the poor ones of all themes last, folded and with their reason.
    """
    beside = f"beside {chosen.reference.title}"
    poor = [name for name in CATALOGUE if is_poor(name, reliability)]
    parts = [_table(chosen, [n for theme in _OPEN_THEMES for n in part(theme) if n not in poor], reliability)]
    for theme in themes():
        if theme not in _OPEN_THEMES:
            features = [name for name in part(theme) if name not in poor]
            parts.append(_folded(f"{theme} {beside}: {len(features)} features", _table(chosen, features, reliability)))
    if poor:
        table = _table(chosen, poor, reliability, reason=True)
        parts.append(
            _folded(
                f"Poor: {len(poor)} features that should not be relied on, {beside}", f"<div class='poor'>{table}</div>"
            )
        )
    return "".join(parts)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"


def _table(chosen: Placed, features: Sequence[str], reliability: Reliability, *, reason: bool = False) -> str:
    """Rows of `comparison_table` in HTML, each feature's meaning in the hover text.

    With the reason for its grade where asked for.
    """
    names = (*_SHOWN, "Why") if reason else _SHOWN
    rows = []
    for row in comparison_table(chosen, reliability, features).to_dict("records"):
        cells = [
            (
                f"{row[name]:.0f}"
                if name == "n" and not pd.isna(row[name])
                else number(row[name])
                if name in _NUMBERS
                else html.escape(row[name])
            )
            for name in names[1:]
        ]
        body = "".join(f"<td>{text}</td>" for text in cells)
        rows.append(
            f'<tr><td title="{html.escape(row["Meaning"], quote=True)}">{html.escape(row["Feature"])}</td>{body}</tr>'
        )
    head = "".join(f"<th>{name}</th>" for name in names)
    return (
        "<div class='wide'><table"
        f" class='features'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _methods(analysis: CellAnalysis, model: ModelEntry, reliability: Reliability) -> str:
    sentences = [
        (
            f"Nucleus and cell were outlined by {analysis.segmentation.model_id} and {len(CATALOGUE)} features measured"
            " in the outlines, with the definitions of pyradiomics where it has them."
        ),
        (
            "The 2-98 % range, the percentile and the robust z (distance from the median in units of the population's"
            " own spread) are counted among the population's good cells, in micrometres where a feature has a unit of"
            " length. Of hundreds of features about one in 25 lies outside the range in a member of the population too."
        ),
    ]
    if not reliability:
        return _items(
            [
                *sentences,
                f"How far each feature can be trusted is not yet measured for {model.model_id}: none is marked.",
            ]
        )
    counts = ", ".join(f"{sum(found.grade is grade for found in reliability.values())} {grade}" for grade in Grade)
    cells = max(found.n for found in reliability.values())
    return _items(
        [
            *sentences,
            (
                f"Trust: each feature from the outline of {model.model_id} was set beside the same feature from a drawn"
                f" outline, on up to {cells} cells not used in training. Good: the lower limit of the agreement (ICC) is"
                f" {GOOD_FROM} or more and no plausible disturbance moves it far; moderate: {MODERATE_FROM} or more; poor:"
                f" less. Here {counts}. Poor features come last and decide nothing above."
            ),
        ]
    )


def _provenance(
    analysis: CellAnalysis,
    references: Sequence[ReferencePopulation],
    model: ModelEntry,
    created: datetime,
    settings: dict[str, str],
) -> str:
    image, segmentation = analysis.image, analysis.segmentation
    height, width = image.shape
    box = analysis.box
    of_field = (
        {"Cell": f"number {analysis.cell_index + 1} of a field, at {box.left}, {box.top} px"}
        if analysis.place and box
        else {}
    )
    lines = {
        "Image": f"{image.name}, {width} x {height} px{', cut out' if analysis.place else ''}",
        **of_field,
        "SHA-256 of the image file": image.sha256,
        "Scale": f"{image.um_per_px:g} µm per pixel, as given by the user" if image.um_per_px else "unknown",
        "Model": f"{segmentation.model_id} ({model.card.architecture}, {model.card.encoder})",
        "SHA-256 of the model file": model.sha256,
        "Computed on": segmentation.provider,
        "Date": created.isoformat(timespec="seconds"),
        **settings,
        **{f"Version of {name}": version for name, version in sorted(analysis.versions.items())},
        **{f"Population {r.title}": who(r) for r in references},
    }
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in lines.items())
    return f"<table class='provenance'>{rows}</table>"


_CSS: Final = """
body{font:15px/1.45 system-ui,'Segoe UI',Helvetica,Arial,sans-serif;color:#16191d;background:#fff;margin:0}
main{max-width:1080px;margin:0 auto;padding:24px}
h1{font-size:1.6rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid #d5d9de;padding-bottom:.2rem}
h3{font-size:1rem;margin:1rem 0 .2rem}header p{margin:.2rem 0}.notice{font-weight:600}.small{font-size:.87rem;color:#4b5563}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(260px,1fr));gap:16px;margin-top:16px}figure{margin:0}
figure svg{width:100%;height:auto;border:1px solid #d5d9de;border-radius:6px}figcaption{font-size:.85rem;color:#4b5563}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{text-align:left;font-weight:500;vertical-align:top}
td,th{padding:.2rem .6rem .2rem 0;border-bottom:1px solid #eceff2;overflow-wrap:anywhere}
.number{font-weight:600;white-space:nowrap}
.measures th{vertical-align:middle;width:30%}.strip{width:420px}
.provenance th{width:34%}.features{font-size:.8rem}.features td,.features th{overflow-wrap:normal}.features th{font-weight:600}
.wide{overflow-x:auto}.poor{color:#6b7280}
.charts{display:flex;flex-wrap:wrap;gap:12px}.charts svg{max-width:100%;height:auto}
details{margin:.6rem 0}summary{cursor:pointer}
@media print{section{break-inside:auto}figure,.charts svg{break-inside:avoid}}
"""
