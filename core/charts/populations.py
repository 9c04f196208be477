"""Populations side by side: one feature's distribution in each, and the cells that were left out."""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.charts.labels import unit, who, with_unit
from core.charts.theme import AnyChart, Look, configured, edge_colour, population_colour
from core.features.catalogue import CATALOGUE
from core.populations.summaries import SMALL_GROUP, Basis, ReferencePopulation, basis_of

_BINS: Final = 60
_ECDF_POINTS: Final = 200
_STRIP_POINTS: Final = 300
_GOLDEN: Final = 0.618034  # successive multiples modulo 1 never come close: neighbours in value lie apart
_BASELINE: Final = 0.92  # foot of a histogram in its row


class Form(StrEnum):
    """How a distribution is drawn."""

    HISTOGRAM = "Histogram"
    CUMULATIVE = "Cumulative"
    CELLS = "Every cell"


def _name(reference: ReferencePopulation) -> str:
    return f"{reference.title} (n = {reference.n})"


def distribution_chart(references: Sequence[ReferencePopulation], feature: str, form: Form, look: Look) -> AnyChart:
    """One feature in several measured and published populations, one row each, on a common axis.

    Small groups are always points and published tables always a hollow dashed bar, whatever the `form`; a tick marks
    each median. Populations without a value in the common unit are left out. At most 300 cells of a population are
    drawn as points, an even sample of the ordered values, so that the extremes stay.
    """
    spec = CATALOGUE[feature]
    basis = basis_of(spec)
    usable = [
        r
        for r in references
        if feature in r.summaries and r.summaries[feature].n > 0 and r.summaries[feature].basis is basis
    ]
    measured = [r for r in usable if not r.published]
    everything = (
        np.concatenate([spec.display_factor * r.ordered[feature] for r in measured])
        if measured
        else np.array([0.0, 1.0])
    )
    summaries = [r.summaries[feature] for r in usable]
    bands = [spec.shown(p) for s in summaries for p in (s.p2, s.p98) if p is not None]
    low, high = (float(edge) for edge in np.percentile(everything, [0.1, 99.9]))
    low, high = min([low, *bands]), max([high, *bands])
    domain = [low, high if high > low else low + 1]
    title = spec.label + (f" ({unit(spec, basis)})" if unit(spec, basis) else "")
    x = alt.X(
        "value:Q", axis=alt.Axis(title=title, gridOpacity=0.5, tickCount=8), scale=alt.Scale(domain=domain, nice=True)
    )
    names = [_name(r) for r in usable]
    colours = _colours(usable, look)
    if form is Form.CUMULATIVE:
        return configured(_cumulative(usable, feature, x, names, colours), height=380)
    colour = alt.Color("population:N", scale=alt.Scale(domain=names, range=colours), legend=None)
    rows = range(len(names))
    labels = alt.Axis(
        title=None,
        values=[i + 0.5 for i in rows],
        labelExpr=(
            f"{json.dumps({str(i + 0.5): name for i, name in zip(rows, names, strict=True)}, ensure_ascii=False)}[datum.value]"
        ),
        labelLimit=340,
        grid=False,
    )
    y = alt.Y("y:Q", scale=alt.Scale(domain=[len(names), 0], nice=False), axis=labels)
    histogram = form is Form.HISTOGRAM
    layers = []
    if histogram:
        layers.append(_histograms(usable, feature, domain).encode(x=x, x2="end:Q", y=y, y2="top:Q", color=colour))
    dotted = [(i, r) for i, r in enumerate(usable) if not r.published and (r.n < SMALL_GROUP or not histogram)]
    points = [
        {
            "population": _name(r),
            "value": float(v),
            "y": i + 0.5 + 0.3 * j,
            "Value": with_unit(spec, float(v) / spec.display_factor, basis),
            "Who": who(r),
        }
        for i, r in dotted
        for v, j in _sampled(spec.display_factor * r.ordered[feature])
    ]
    frame = pd.DataFrame(points, columns=["population", "value", "y", "Value", "Who"])
    dots = alt.Chart(frame).mark_circle(size=26, opacity=0.55, clip=True)
    layers.append(dots.encode(x=x, y=y, color=colour, tooltip=["population:N", "Value:N", "Who:N"]))
    layers += _bands(usable, feature, basis, _BASELINE if histogram else 0.5, x, y, look)
    return configured(alt.layer(*layers), height=max(1, len(names)) * 56)


def _colours(references: Sequence[ReferencePopulation], look: Look) -> list[str]:
    """Colours of populations in order; later sources of a cell type in other shades, published tables muted."""
    seen: dict[str, int] = {}
    colours = []
    for reference in references:
        index = seen.get(reference.cell_type, 0)
        seen[reference.cell_type] = index + 1
        colours.append(look.muted if reference.published else population_colour(reference.cell_type, index))
    return colours


def _sampled(values: NDArray[np.float64]) -> list[tuple[float, float]]:
    """An even sample of ordered values, each with a fixed offset between -1 and 1 that keeps neighbours apart."""
    if len(values) > _STRIP_POINTS:
        values = values[np.linspace(0, len(values) - 1, _STRIP_POINTS).round().astype(int)]
    offsets = (np.arange(len(values)) * _GOLDEN % 1 - 0.5) * 2
    return [(float(v), float(o)) for v, o in zip(values, offsets, strict=True)]


def _histograms(references: Sequence[ReferencePopulation], feature: str, domain: list[float]) -> alt.Chart:
    """Histograms whose height is relative to the population's fullest bin.

    Values beyond the axis count in its last bins.
    """
    factor = CATALOGUE[feature].display_factor
    edges = np.linspace(domain[0], domain[1], _BINS + 1)
    rows: list[dict[str, Any]] = []
    for index, reference in enumerate(references):
        if reference.published or reference.n < SMALL_GROUP:
            continue
        values = factor * reference.ordered[feature]
        counts, _ = np.histogram(np.clip(values, domain[0], domain[1]), edges)
        floor = index + _BASELINE - 0.04
        rows += [
            {"population": _name(reference), "value": float(a), "end": float(b), "y": floor, "top": floor - 0.75 * count / counts.max(),
             "Cells": int(count), "Share": f"{100 * count / len(values):.1f} %", "Who": who(reference)}
            for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True)
            if count
        ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["population", "value", "end", "y", "top", "Cells", "Share", "Who"])
    bars: alt.Chart = (
        alt.Chart(frame)
        .mark_bar(opacity=0.6, binSpacing=0.5, clip=True)
        .encode(tooltip=["population:N", "Cells:N", "Share:N", "Who:N"])
    )
    return bars


def _bands(
    references: Sequence[ReferencePopulation], feature: str, basis: Basis, at: float, x: alt.X, y: alt.Y, look: Look
) -> list[alt.Chart]:
    """Median ticks and 2-98 % ranges: lines for measured populations, hollow dashed bars for published tables."""
    spec = CATALOGUE[feature]
    rows = []
    for index, reference in enumerate(references):
        summary = reference.summaries[feature]
        if summary.p2 is not None and summary.p50 is not None and summary.p98 is not None:
            rows.append(
                {
                    "population": _name(reference),
                    "published": reference.published,
                    "y": index + (0.5 if reference.published else at),
                    "value": spec.shown(summary.p2),
                    "middle": spec.shown(summary.p50),
                    "high": spec.shown(summary.p98),
                    "2-98 %": f"{with_unit(spec, summary.p2, basis)} to {with_unit(spec, summary.p98, basis)}",
                    "Median": with_unit(spec, summary.p50, basis),
                    "Who": who(reference),
                }
            )
    frame = pd.DataFrame(
        rows, columns=["population", "published", "y", "value", "middle", "high", "2-98 %", "Median", "Who"]
    )
    base = alt.Chart(frame).encode(y=y, tooltip=["population:N", "2-98 %:N", "Median:N", "Who:N"])
    hollow = base.transform_filter("datum.published").mark_bar(
        height=18, fillOpacity=0, stroke=look.muted, strokeDash=[4, 3], clip=True
    )
    return [
        hollow.encode(x=x, x2="high:Q"),
        base.transform_filter("!datum.published")
        .mark_rule(strokeWidth=1.5, color=look.muted, clip=True)
        .encode(x=x, x2="high:Q"),
        base.mark_tick(orient="vertical", size=14, thickness=2.5, color=look.ink, clip=True).encode(
            x=alt.X("middle:Q")
        ),
    ]


def _cumulative(
    references: Sequence[ReferencePopulation], feature: str, x: alt.X, names: list[str], colours: list[str]
) -> AnyChart:
    """Share of cells at or below each value; published tables as their three known points."""
    factor = CATALOGUE[feature].display_factor
    rows: list[dict[str, Any]] = []
    for reference in references:
        summary = reference.summaries[feature]
        if reference.published:
            known = ((summary.p2, 2), (summary.p50, 50), (summary.p98, 98))
            rows += [
                {"population": _name(reference), "value": factor * p, "share": s, "known": True}
                for p, s in known
                if p is not None
            ]
            continue
        values = factor * reference.ordered[feature]
        at = np.linspace(0, len(values) - 1, min(len(values), _ECDF_POINTS)).round().astype(int)
        rows += [
            {
                "population": _name(reference),
                "value": float(values[i]),
                "share": 100 * (i + 1) / len(values),
                "known": False,
            }
            for i in at
        ]
    frame = pd.DataFrame(rows, columns=["population", "value", "share", "known"])
    base = alt.Chart(frame).encode(
        x=x,
        y=alt.Y(
            "share:Q", axis=alt.Axis(title="cells at or below (%)", gridOpacity=0.5), scale=alt.Scale(domain=[0, 100])
        ),
        color=alt.Color(
            "population:N",
            scale=alt.Scale(domain=names, range=[edge_colour(c) for c in colours]),
            legend=alt.Legend(title=None, orient="bottom", columns=2),
        ),
        tooltip=[
            "population:N",
            alt.Tooltip("value:Q", format=".3~g"),
            alt.Tooltip("share:Q", format=".0f", title="cells at or below (%)"),
        ],
    )
    return alt.layer(
        base.transform_filter("!datum.known").mark_line(interpolate="step-after", strokeWidth=2, clip=True),
        base.transform_filter("datum.known").mark_point(size=70, filled=False, strokeWidth=2, clip=True),
    )
