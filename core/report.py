"""What one takes away of a cell: the tables, and a report that opens without a network and without scripts."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Final

import pandas as pd

from core.cell_types import CELL_TYPES, CellType
from core.charts.labels import number, unit, who, with_unit
from core.charts.overlay import mask_svg, outlined_svg
from core.charts.ranges import SHAPE_GROUPS, TONE_GROUPS, comparable, range_chart
from core.charts.strips import strip_html
from core.charts.theme import LIGHT, to_svg
from core.features.catalogue import CATALOGUE
from core.inference.model_registry import ModelEntry
from core.statistics import (
    SMALL_GROUP,
    Basis,
    FeatureComparison,
    Nearness,
    ReferencePopulation,
    compare_cell,
    describe,
    differs_most,
    nearest,
)
from core.types import CellAnalysis

NOT_FOR_DIAGNOSIS: Final = "Research use, not for diagnosis. A description of one image; the judgement is the morphologist's."

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

    def of(self, feature: str) -> FeatureComparison:
        """Return the comparison of one feature."""
        return next(c for c in self.comparisons if c.feature == feature)


def place_cell(analysis: CellAnalysis, references: Iterable[ReferencePopulation]) -> list[Placed]:
    """Compare a cell with each population, in the order given."""
    return [Placed(r, compare_cell(analysis.features, analysis.image.um_per_px, r)) for r in references]


def by_cell_type(placed: Sequence[Placed]) -> dict[CellType, list[Placed]]:
    """Populations by cell type in the order of the cell types; within a type the largest measured source first, tables last."""
    grouped = {cell_type: [p for p in placed if p.reference.cell_type is cell_type] for cell_type in CellType}
    return {kind: sorted(found, key=lambda p: (p.reference.published, -p.reference.n)) for kind, found in grouped.items() if found}


def main_sources(placed: Sequence[Placed]) -> list[Placed]:
    """One population per cell type: its largest measured source."""
    return [sources[0] for sources in by_cell_type(placed).values() if not sources[0].reference.published]


def scale_source(chosen: Placed, placed: Sequence[Placed]) -> Placed | None:
    """Return the population whose median and spread set the rows of a range chart.

    The chosen one itself, unless it is too small to have bands: then the largest source of lymphocytes, or else the largest of all.
    """
    if chosen.reference.n >= SMALL_GROUP:
        return chosen
    banded = [p for p in main_sources(placed) if p.reference.n >= SMALL_GROUP]
    same_type = [p for p in banded if p.reference.cell_type is chosen.reference.cell_type]
    lymphocytes = [p for p in banded if p.reference.cell_type is CellType.LYMPHOCYTE]
    return next(iter([*same_type, *lymphocytes, *sorted(banded, key=lambda p: -p.reference.n)]), None)


def most_different(placed: Placed, shapes: int = 8, tones: int = 4) -> tuple[tuple[FeatureComparison, ...], tuple[FeatureComparison, ...]]:
    """Features outside the 2-98 % band, most different first: those of shape, and apart from them those of tone, which staining moves."""
    tone = [c for c in placed.comparisons if CATALOGUE[c.feature].intensity_dependent]
    shape = [c for c in placed.comparisons if not CATALOGUE[c.feature].intensity_dependent]
    return differs_most(shape, shapes), differs_most(tone, tones)


def obstacles(placed: Placed) -> list[str]:
    """Why features could not be compared, each reason once with the number of features it keeps out."""
    reasons: dict[str, int] = {}
    for comparison in placed.comparisons:
        if not comparison.comparable and comparison.reason:
            reasons[comparison.reason] = reasons.get(comparison.reason, 0) + 1
    return [f"{count} {'feature is' if count == 1 else 'features are'} not compared: {reason}." for reason, count in reasons.items()]


def nearest_in_words(found: Sequence[Nearness]) -> str:
    """Name the nearest population and the runner-up, as a description and no classification; empty without populations."""
    if not found:
        return ""
    first, *others = found
    if first.typicality == 0:
        return (
            f"Unlike every population in shape: no cell of any lies as far from the centre of its own. Closest is {first.title}, "
            f"at {first.distance:.1f} typical spreads."
        )
    text = f"Nearest in shape: {first.title} ({_typicality(first)} of its {first.n} cells lie as far out or farther)"
    if others:
        text += f", then {others[0].title} ({_typicality(others[0])} of {others[0].n})"
    return f"{text}."


def _typicality(near: Nearness) -> str:
    return "none" if near.typicality == 0 else "fewer than 1 %" if near.typicality < 1 else f"{near.typicality:.0f} %"


def comparison_table(placed: Placed) -> pd.DataFrame:
    """One row per feature: this cell, its place, and the population's range, mean and spread, as shown on pages.

    Numbers in the shown unit; what is absent is nan. Columns: Group, Feature, This cell, Unit, Percentile, Robust z, Place,
    2 %, 50 %, 98 %, Mean, SD, n, Meaning.
    """
    rows = []
    for comparison in placed.comparisons:
        spec, summary = CATALOGUE[comparison.feature], comparison.summary
        same = summary if summary is not None and summary.basis is comparison.basis else None
        percents = (same.p2, same.p50, same.p98, same.mean, same.std) if same else (None,) * 5
        p2, p50, p98, mean, std = (None if value is None else spec.shown(value) for value in percents)
        rows.append(
            {
                "Group": spec.group,
                "Feature": spec.label,
                "This cell": None if comparison.value is None else spec.shown(comparison.value),
                "Unit": unit(spec, comparison.basis),
                "Percentile": comparison.percentile,
                "Robust z": comparison.robust_z,
                "Place": _place_word(comparison),
                "2 %": p2,
                "50 %": p50,
                "98 %": p98,
                "Mean": mean,
                "SD": std,
                "n": same.n if same else None,
                "Meaning": spec.description,
            }
        )
    frame = pd.DataFrame(rows)
    numbers = ["This cell", "Percentile", "Robust z", "2 %", "50 %", "98 %", "Mean", "SD", "n"]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def _place_word(comparison: FeatureComparison) -> str:
    if not comparison.comparable:
        return "not compared"
    if comparison.inside is None:
        return "no range"
    if comparison.inside:
        return "inside"
    return "above" if comparison.direction is not None and comparison.direction.value == "above" else "below"


def feature_table(analysis: CellAnalysis, placed: Sequence[Placed]) -> pd.DataFrame:
    """All features of one cell as a file: one row per feature, in pixels and, with a scale, in micrometres, and its place.

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
    "um_per_px",
    "model_id",
    "provider",
    "confidence",
    "other_cells",
    "quality_ok",
    "flags",
)


def analyses_table(analyses: Iterable[CellAnalysis]) -> pd.DataFrame:
    """Several cells as a table: one row per cell with where it comes from, its flags and every feature in pixels."""
    return pd.DataFrame([_analysis_row(analysis) for analysis in analyses], columns=[*_SOURCE_COLUMNS, *CATALOGUE])


def _analysis_row(analysis: CellAnalysis) -> dict[str, str | float | bool | list[str] | None]:
    image, segmentation = analysis.image, analysis.segmentation
    return {
        "image_path": image.name,
        "image_sha256": image.sha256,
        "cell_index": analysis.cell_index,
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
    """Name of a file to take away: `leukoscope_<image>_<date>[_<what>].<suffix>`, of letters, digits, dots, dashes and underscores."""
    stem = re.sub(r"[^\w.-]+", "_", PurePath(image_name).stem).strip("._-") or "image"
    return f"leukoscope_{stem}_{when:%Y-%m-%d}{'_' + what if what else ''}.{suffix}"


def html_report(
    analysis: CellAnalysis, references: Sequence[ReferencePopulation], model: ModelEntry, created: datetime, settings: dict[str, str]
) -> str:
    """Build the report as one HTML text: pictures, quality, measures, places in the populations, tables, provenance.

    Everything is inside the text, nothing is fetched and nothing runs, so it opens anywhere for years. Names from outside are
    escaped. `settings` are further lines for the provenance.
    """
    placed = place_cell(analysis, references)
    title = f"{analysis.image.name}: Leukoscope report"
    sections = [
        _pictures(analysis),
        _section("Quality", _quality(analysis)),
        _section("Key measures", _measures(placed, analysis)),
        _section("Nearest populations", _nearest(analysis, references)),
        *(_section(CELL_TYPES[kind].name, _population(sources, placed)) for kind, sources in by_cell_type(placed).items()),
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
    return "<ul>" + "".join(f"<li>{html.escape(s)}</li>" for s in sentences) + "</ul>"


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
    return _items([f"The outline expects an overlap (Dice) of {analysis.segmentation.confidence:.2f} with an expert's.", *sentences])


def _measures(placed: Sequence[Placed], analysis: CellAnalysis) -> str:
    rows = []
    for feature in KEY_FEATURES:
        spec, value = CATALOGUE[feature], analysis.features.values.get(feature)
        scale = analysis.image.um_per_px
        in_um = spec.length_power != 0 and scale is not None
        shown = spec.in_um(value, scale) if in_um and value is not None and scale is not None else value
        text = with_unit(spec, shown, Basis.MICROMETRES if in_um else Basis.PIXELS)
        strip = strip_html(feature, [(p.reference, p.of(feature)) for p in main_sources(placed)])
        rows.append(f"<tr><th>{html.escape(spec.label)}</th><td class='number'>{html.escape(text)}</td><td class='strip'>{strip}</td></tr>")
    return f"<table class='measures'>{''.join(rows)}</table>"


def _nearest(analysis: CellAnalysis, references: Sequence[ReferencePopulation]) -> str:
    words = nearest_in_words(nearest(analysis.features, references))
    how = "Distance over the scale-free shape features, each in the population's own spread. A description, not a classification."
    return f"<p>{html.escape(words)}</p><p class='small'>{how}</p>" if words else ""


def _population(sources: Sequence[Placed], placed: Sequence[Placed]) -> str:
    chosen = sources[0]
    parts = [
        _items(f"{p.reference.title}: {who(p.reference)}" + (" (published reference)" if p.reference.published else "") for p in sources)
    ]
    shapes, tones = most_different(chosen)
    if chosen.reference.n < SMALL_GROUP:
        parts.append(f"<p>Only {chosen.reference.n} cells: drawn as points, no percentiles.</p>")
    elif shapes or tones:
        parts.append(
            f"<h3>Where this cell differs most from {html.escape(chosen.reference.title)}</h3>"
            + _items(describe(c) for c in (*shapes, *tones))
        )
    else:
        parts.append("<p>Every comparable feature lies within the 2-98 % range.</p>")
    parts += [f"<p class='small'>{html.escape(text)}</p>" for text in obstacles(chosen)]
    scale = scale_source(chosen, placed)
    if scale is not None:
        others = [p.reference for p in sources if p is not scale]
        charts = [
            to_svg(range_chart(scale.comparisons, scale.reference, others, groups, LIGHT), width=_CHART_PX)
            for groups in (SHAPE_GROUPS, TONE_GROUPS)
            if comparable(scale.comparisons, groups)
        ]
        legend = f"Band: 2-98 % of {scale.reference.title}; tick: median; mark: this cell (a triangle lies outside the band)."
        parts.append(f"<p class='small'>{html.escape(legend)}</p><div class='charts'>{''.join(charts)}</div>")
    table = comparison_table(chosen).drop(columns="Meaning")
    shown = table.map(lambda cell: number(cell) if isinstance(cell, float) else html.escape(str(cell)))
    shown["n"] = [number(n) if pd.isna(n) else f"{n:.0f}" for n in table["n"]]
    body = shown.to_html(index=False, escape=False, border=0, classes="features")
    parts.append(f"<details><summary>All features beside {html.escape(chosen.reference.title)}</summary>{body}</details>")
    return "".join(parts)


def _provenance(
    analysis: CellAnalysis, references: Sequence[ReferencePopulation], model: ModelEntry, created: datetime, settings: dict[str, str]
) -> str:
    image, segmentation = analysis.image, analysis.segmentation
    height, width = image.shape
    lines = {
        "Image": f"{image.name}, {width} x {height} px",
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
.provenance th{width:34%}.features{font-size:.8rem}.features td{overflow-wrap:normal}
.charts{display:flex;flex-wrap:wrap;gap:12px}.charts svg{max-width:100%;height:auto}
details{margin:.6rem 0}summary{cursor:pointer}
@media print{section{break-inside:auto}figure,.charts svg{break-inside:avoid}}
"""
