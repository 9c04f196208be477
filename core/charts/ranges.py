"""Where one cell lies in the populations: ranges in rows, the published chart, and the overview of all populations."""

import json
import math
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import altair as alt
import pandas as pd

from core.charts.labels import number, place, unit, who, with_unit
from core.charts.rows import Block, in_thesis
from core.charts.theme import ROW_HEIGHT_PX, AnyChart, Look, configured, population_colour
from core.charts.trust import Reliability, is_poor, poor_last, why
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureSpec as Spec
from core.features.spec import Unit
from core.populations.comparison import Direction, FeatureComparison
from core.populations.summaries import SMALL_GROUP, PopulationSummary, ReferencePopulation

# Beyond this many typical spreads a mark sits at the edge; its value stands at the right and in the hover text.
LIMIT: Final = 5.0
_ROOM: Final = 0.3
_HEADING: Final = "§"
_INSIDE, _ABOVE, _BELOW, _POOR = "inside", "above", "below", "poor"
_COLUMN_CHARACTERS: Final = 28


def comparable(comparisons: Iterable[FeatureComparison], features: Collection[str]) -> list[FeatureComparison]:
    """The comparable ones of the given features, in the order they come."""
    return [c for c in comparisons if c.comparable and c.value is not None and c.feature in features]


def _clipped(z: float, limit: float = LIMIT) -> float:
    return max(-limit, min(limit, z))


def _in_rows(blocks: Sequence[Block], present: Collection[str]) -> tuple[list[str], list[str]]:
    """Features that have a row, and the keys of all rows from top to bottom, a heading before each block with rows."""
    features: list[str] = []
    keys: list[str] = []
    for block in blocks:
        members = [name for name in block.features if name in present]
        if members:
            features += members
            keys += [_HEADING + block.heading, *members]
    return features, keys


def _expression(labels: Mapping[str, str | list[str]]) -> str:
    """Vega expression that turns an axis value into its label; a list becomes several lines."""
    return f"{json.dumps(labels, ensure_ascii=False)}[datum.value]"


def _row_axis(keys: list[str], reliability: Reliability, *, grid: bool = True) -> alt.Axis:
    """Axis of features: headings bold, poor features faint and with their region, because they are grouped together."""
    poor = [key for key in keys if is_poor(key, reliability)]
    labels = {
        key: (
            key.removeprefix(_HEADING)
            if key.startswith(_HEADING)
            else CATALOGUE[key].label
            if key in poor
            else CATALOGUE[key].short
        )
        for key in keys
    }
    heading = f"datum.value[0] == '{_HEADING}'"
    return alt.Axis(
        title=None,
        labelExpr=_expression(labels),
        labelFontWeight={"condition": {"test": heading, "value": "bold"}, "value": "normal"},
        labelOpacity={
            "condition": {"test": f"indexof({json.dumps(poor)}, datum.value) >= 0", "value": 0.65},
            "value": 1,
        },
        labelPadding=6,
        labelOverlap=False,
        grid=grid,
        gridOpacity={"condition": {"test": heading, "value": 0}, "value": 0.5},
    )


# Channels as objects: from texts and conditions Altair takes several times as long to make the same.
_FAINT_WHERE_POOR: Final = alt.OpacityValue(1, condition={"test": "datum.poor", "value": 0.35})
_HIGH_X: Final = alt.X2("high:Q")
_HIGH_Y: Final = alt.Y2("high:Q")


def _tips(*names: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:N") for name in names]


def _band_row(
    row: str,
    summary: PopulationSummary,
    scale: PopulationSummary,
    reference: ReferencePopulation,
    reliability: Reliability,
) -> dict[str, Any] | None:
    """A population's 2-98 % band on the scale of another; None where it has no band or not the same unit."""
    if summary.basis is not scale.basis or summary.p2 is None or summary.p50 is None or summary.p98 is None:
        return None
    z = [scale.robust_z(p) for p in (summary.p2, summary.p50, summary.p98)]
    if any(value is None for value in z):
        return None
    spec = CATALOGUE[row]
    low, middle, high = (_clipped(value) for value in z if value is not None)
    return {
        "row": row,
        "poor": is_poor(row, reliability),
        "low": low,
        "middle": middle,
        "high": high,
        "Feature": spec.label,
        "Population": reference.title,
        "2-98 %": f"{with_unit(spec, summary.p2, summary.basis)} to {with_unit(spec, summary.p98, summary.basis)}",
        "Median": with_unit(spec, summary.p50, summary.basis),
        "Who": who(reference),
    }


def _fill(reference: ReferencePopulation, colour: str) -> dict[str, Any]:
    """Measured bands are filled, published ones hollow and dashed."""
    return {"fillOpacity": 0, "stroke": colour, "strokeDash": [3, 2]} if reference.published else {"fillOpacity": 0.35}


_BAND_TOOLTIP: Final = ("Feature", "Population", "2-98 %", "Median", "Who")
_BAND_COLUMNS: Final = ["row", "poor", "low", "middle", "high", *_BAND_TOOLTIP]
_DOT_TOOLTIP: Final = ("Feature", "Population", "Value", "Who")
_BAND_TIPS: Final = _tips(*_BAND_TOOLTIP)


def _side(comparison: FeatureComparison, reliability: Reliability) -> str:
    """How the cell's mark looks; for a poor feature it says neither inside nor outside."""
    if is_poor(comparison.feature, reliability):
        return _POOR
    if not comparison.outside:
        return _INSIDE
    return _ABOVE if comparison.direction is Direction.ABOVE else _BELOW


def _hints(comparison: FeatureComparison, reliability: Reliability) -> dict[str, str]:
    """Hover texts of this cell's mark."""
    spec = CATALOGUE[comparison.feature]
    return {
        "Feature": spec.label,
        "This cell": with_unit(spec, comparison.value, comparison.basis),
        "Percentile": number(comparison.percentile),
        "In words": place(comparison),
        "Trust": why(comparison.feature, reliability) or "not yet measured for this model",
        "Meaning": spec.description,
    }


_HINTS: Final = ("Feature", "This cell", "Percentile", "In words", "Trust", "Meaning")


def _cell_row(
    comparison: FeatureComparison, scale: PopulationSummary, reliability: Reliability
) -> dict[str, Any] | None:
    z = scale.robust_z(comparison.value) if comparison.value is not None else None
    if z is None:
        return None
    return {
        "row": comparison.feature,
        "z": _clipped(z),
        "place": _side(comparison, reliability),
        **_hints(comparison, reliability),
    }


def _dot_rows(feature: str, reference: ReferencePopulation, scale: PopulationSummary) -> list[dict[str, Any]]:
    """The members of a small group as points on the scale of another population."""
    summary = reference.summaries.get(feature)
    if summary is None or summary.basis is not scale.basis:
        return []
    spec = CATALOGUE[feature]
    points = ((value, scale.robust_z(float(value))) for value in reference.ordered[feature])
    return [
        {
            "row": feature,
            "z": _clipped(z),
            "Feature": spec.label,
            "Population": reference.title,
            "Value": with_unit(spec, float(value), scale.basis),
            "Who": who(reference),
        }
        for value, z in points
        if z is not None
    ]


def shades(scale: ReferencePopulation, others: Sequence[ReferencePopulation]) -> list[str]:
    """Colours of the further populations of a range chart: each source its own shade, `scale` the plain colour."""
    seen = {scale.cell_type: 1}
    colours = []
    for reference in others:
        index = seen.get(reference.cell_type, 0)
        colours.append(population_colour(reference.cell_type, index))
        seen[reference.cell_type] = index + (not reference.published)
    return colours


def range_chart(
    comparisons: Sequence[FeatureComparison],
    scale: ReferencePopulation,
    others: Sequence[ReferencePopulation],
    blocks: Sequence[Block],
    reliability: Reliability,
    look: Look,
) -> AnyChart:
    """One row per feature: the populations' 2-98 % bands with a tick at the median, and this cell's mark.

    Parameters
    ----------
    comparisons
        The cell beside the population the page asks about; rows that are not comparable are left out.
    scale
        Population whose median and spread set each row's axis; drawn as the broad band. It is the population asked
        about, or, where that is a small group, the one chosen to compare it with.
    others
        Further populations on the same axis: bands as thin bars, published tables dashed and hollow, small groups as
        points.
    blocks
        Headings and features to include, from top to bottom.
    reliability
        What is known of the features with the model in use; poor ones are faint, and their marks say nothing.
    look
        Colours of the page.

    Returns
    -------
    altair.LayerChart
        Height fixed by the number of rows; width left to the caller. An empty chart if nothing is comparable.
    """
    wanted = {name for block in blocks for name in block.features}
    kept = [c for c in comparable(comparisons, wanted) if scale.summaries[c.feature].scale is not None]
    cell = [row for c in kept if (row := _cell_row(c, scale.summaries[c.feature], reliability)) is not None]
    features, keys = _in_rows(blocks, {row["row"] for row in cell})
    rows = _Rows(features, keys, scale, reliability)
    others_drawn = zip(others, shades(scale, others), strict=True)
    layers = [
        *_scale_layers(rows),
        *(layer for reference, shade in others_drawn for layer in _other_layers(reference, shade, rows, look)),
        _cell_layer(cell, population_colour(scale.cell_type), look),
    ]
    # Said at once: each further call would copy all layers.
    independent = alt.Resolve(scale=alt.ScaleResolveMap(y="independent"))
    chart = alt.layer(alt.layer(*layers), _value_column(cell, keys), resolve=independent)
    return configured(chart, height=max(1, len(keys)) * ROW_HEIGHT_PX)


@dataclass(frozen=True)
class _Rows:
    """What all populations of a range chart share: features, keys of the rows, and the scale."""

    features: Sequence[str]
    keys: list[str]
    scale: ReferencePopulation
    reliability: Reliability

    def bands(self, reference: ReferencePopulation) -> alt.Chart:
        """A population's bands, not yet drawn."""
        rows = (
            _band_row(name, reference.summaries[name], self.scale.summaries[name], reference, self.reliability)
            for name in self.features
            if name in reference.summaries
        )
        frame = pd.DataFrame([row for row in rows if row is not None], columns=_BAND_COLUMNS)
        return alt.Chart(frame).encode(opacity=_FAINT_WHERE_POOR, tooltip=_BAND_TIPS)

    def dots(self, reference: ReferencePopulation) -> alt.Chart:
        """A small group's cells, not yet drawn."""
        rows = [row for name in self.features for row in _dot_rows(name, reference, self.scale.summaries[name])]
        frame = pd.DataFrame(rows, columns=["row", "z", *_DOT_TOOLTIP])
        return alt.Chart(frame).encode(tooltip=_tips(*_DOT_TOOLTIP))


# The layers share one scale and one axis. The first says what they are like; said in each, they would be copied with
# every layer.
_ROW_Y: Final = alt.Y("row:N", sort=None)
_LOW_X: Final = alt.X("low:Q")
_MIDDLE_X: Final = alt.X("middle:Q")
_Z_X: Final = alt.X("z:Q")


def _scale_layers(rows: _Rows) -> list[alt.Chart]:
    """The population that sets the scale, as broad bands, and the axes of all."""
    axis = alt.Axis(
        title="typical spreads (robust SD) from the median",
        values=list(range(-4, 5, 2)),
        format="d",
        orient="top",
        grid=True,
        gridOpacity=0.5,
    )
    x = alt.X("low:Q", scale=alt.Scale(domain=[-LIMIT - _ROOM, LIMIT + _ROOM], nice=False), axis=axis)
    y = alt.Y("row:N", sort=None, scale=alt.Scale(domain=rows.keys), axis=_row_axis(rows.keys, rows.reliability))
    colour = population_colour(rows.scale.cell_type)
    base = rows.bands(rows.scale)
    bars = base.mark_bar(height=11, cornerRadius=3, color=colour, **_fill(rows.scale, colour))
    return [
        bars.encode(x=x, x2=_HIGH_X, y=y),
        base.mark_tick(size=13, thickness=2.5, color=colour).encode(x=_MIDDLE_X, y=_ROW_Y),
    ]


def _other_layers(reference: ReferencePopulation, shade: str, rows: _Rows, look: Look) -> list[alt.Chart]:
    """A further population: a small group as points, a published table hollow and dashed, else thin bars."""
    if not reference.published and reference.n < SMALL_GROUP:
        dots = rows.dots(reference).mark_point(
            size=34, filled=True, color=shade, stroke=look.muted, strokeWidth=0.5, opacity=0.9
        )
        return [dots.encode(x=_Z_X, y=_ROW_Y)]
    base = rows.bands(reference).encode(y=_ROW_Y)
    if reference.published:
        bars = base.mark_bar(height=15, fillOpacity=0, stroke=look.muted, strokeDash=[3, 2], strokeWidth=1)
        ticks = base.mark_tick(size=15, thickness=1, color=look.muted)
    else:
        bars = base.mark_rule(strokeWidth=2.5, color=shade)
        ticks = base.mark_tick(size=9, thickness=2.5, color=shade)
    return [bars.encode(x=_LOW_X, x2=_HIGH_X), ticks.encode(x=_MIDDLE_X)]


def _value_column(cell: list[dict[str, Any]], keys: list[str]) -> alt.Chart:
    """The cell's values at the right, as the labels of a second axis."""
    # The headings say that these are grey levels; the unit would only take the plot's room.
    values = {row["row"]: row["This cell"].partition(f" {Unit.GREY.px}")[0] for row in cell}
    values |= {key: "" for key in keys if key.startswith(_HEADING)}
    axis = alt.Axis(
        title=None,
        orient="right",
        labelExpr=_expression(values),
        domain=False,
        ticks=False,
        labelPadding=6,
        labelOverlap=False,
    )
    column: alt.Chart = (
        alt.Chart(pd.DataFrame(cell, columns=["row"]))
        .mark_point(opacity=0)
        .encode(y=alt.Y("row:N", sort=None, scale=alt.Scale(domain=keys), axis=axis))
    )
    return column


def _cell_layer(cell: list[dict[str, Any]], colour: str, look: Look) -> alt.Chart:
    """Marks of this cell, on top: a dot with a ring inside the band, a triangle in the population's colour outside."""
    marks: alt.Chart = (
        alt.Chart(pd.DataFrame(cell, columns=["row", "z", "place", *_HINTS]))
        .mark_point(size=70, filled=True, opacity=1, strokeWidth=1.6)
        .encode(x=_Z_X, y=_ROW_Y, **_marks(colour, look, "triangle-right", "triangle-left"))
    )
    return marks


def _marks(colour: str, look: Look, above: str, below: str) -> dict[str, Any]:
    """Encodings of this cell's marks by `place`; a poor feature has a hollow ring in grey."""
    sides = [_INSIDE, _ABOVE, _BELOW, _POOR]
    return {
        "shape": alt.Shape(
            "place:N", scale=alt.Scale(domain=sides, range=["circle", above, below, "circle"]), legend=None
        ),
        "fill": alt.Fill(
            "place:N", scale=alt.Scale(domain=sides, range=[look.ink, colour, colour, look.paper]), legend=None
        ),
        "stroke": alt.Stroke(
            "place:N", scale=alt.Scale(domain=sides, range=[look.paper, look.ink, look.ink, look.muted]), legend=None
        ),
        "tooltip": _tips(*_HINTS),
    }


def _published_value(spec: Spec, value: float | None) -> float | None:
    """A value as the thesis puts it on its logarithmic axis; None where it has no logarithm."""
    if value is None:
        return None
    shown = spec.shown(value) + spec.display_offset
    return shown if shown > 0 else None


def published_view(
    comparisons: Sequence[FeatureComparison],
    reference: ReferencePopulation,
    features: Sequence[str],
    reliability: Reliability,
    look: Look,
    height: int = 340,
) -> AnyChart:
    """The thesis's chart of the features that it has: the 2-50-98 % range and this cell's value, on a logarithmic y.

    Energy is shown in millions and 1 is added to Skewness, as in the thesis; a value that still has no logarithm is
    left out.
    """
    ranges: list[dict[str, Any]] = []
    cell: list[dict[str, Any]] = []
    by_feature = {c.feature: c for c in comparable(comparisons, features) if in_thesis(CATALOGUE[c.feature])}
    for comparison in (by_feature[name] for name in poor_last(by_feature, reliability)):
        spec, summary = CATALOGUE[comparison.feature], comparison.summary
        value = _published_value(spec, comparison.value)
        if summary is None or value is None:
            continue
        poor = is_poor(comparison.feature, reliability)
        shift = f" + {spec.display_offset:g}" if spec.display_offset else ""
        measure = f" ({unit(spec, comparison.basis)})" if unit(spec, comparison.basis) else ""
        common = {"feature": f"{spec.label}{shift}{measure}{', poor' if poor else ''}", "poor": poor}
        points = [_published_value(spec, p) for p in (summary.p2, summary.p50, summary.p98)]
        if all(p is not None for p in points):
            low, middle, high = points
            hints = {"Feature": spec.label, "Population": reference.title, "Who": who(reference)}
            ranges.append(common | {"low": low, "middle": middle, "high": high} | hints)
        cell.append(
            common | {"value": value, "place": _side(comparison, reliability)} | _hints(comparison, reliability)
        )
    colour = population_colour(reference.cell_type)
    x = alt.X(
        "feature:N",
        sort=None,
        scale=alt.Scale(domain=[row["feature"] for row in cell]),
        axis=alt.Axis(title=None, labelAngle=-90, labelLimit=240, labelOverlap=False),
    )
    y_axis = alt.Axis(title="value (logarithmic)", format="~g", grid=True, gridOpacity=0.5)
    range_columns = ["feature", "poor", "low", "middle", "high", "Feature", "Population", "Who"]
    percents = [
        alt.Tooltip(f"{key}:Q", title=title, format=".3~g")
        for key, title in (("low", "2 %"), ("middle", "50 %"), ("high", "98 %"))
    ]
    band = alt.Chart(pd.DataFrame(ranges, columns=range_columns)).encode(
        x=x, opacity=_FAINT_WHERE_POOR, tooltip=[*_tips("Feature", "Population"), *percents, *_tips("Who")]
    )
    y = alt.Y("low:Q", scale=alt.Scale(type="log"), axis=y_axis)
    marks = alt.Chart(pd.DataFrame(cell, columns=["feature", "poor", "value", "place", *_HINTS]))
    chart = alt.layer(
        band.mark_bar(width=9, cornerRadius=3, color=colour, **_fill(reference, colour)).encode(y=y, y2=_HIGH_Y),
        band.mark_tick(size=13, thickness=2.5, color=colour).encode(y=alt.Y("middle:Q")),
        marks.mark_point(size=60, filled=True, opacity=1, strokeWidth=1.6).encode(
            x=x, y=alt.Y("value:Q"), **_marks(colour, look, "triangle-up", "triangle-down")
        ),
    )
    return configured(chart, height=height)


_SIGNS: Final = {_INSIDE: "", _ABOVE: "▲", _BELOW: "▼", _POOR: ""}


def overview_chart(
    places: Sequence[tuple[ReferencePopulation, Sequence[FeatureComparison]]],
    blocks: Sequence[Block],
    reliability: Reliability,
    look: Look,
) -> AnyChart:
    """All populations at once: a square per feature and population.

    Blue where the cell lies below the population's median, orange above; a triangle marks a value outside the 2-98 %
    band, so that the colour is not needed. Populations without bands (small groups) have no column.
    """
    wanted = {name for block in blocks for name in block.features}
    rows = [
        {
            "row": comparison.feature,
            "poor": is_poor(comparison.feature, reliability),
            "population": f"{reference.title} (n = {reference.n})",
            "z": _clipped(comparison.robust_z, 4.0),
            "sign": _SIGNS[_side(comparison, reliability)],
            **_hints(comparison, reliability),
            "Who": who(reference),
        }
        for reference, comparisons in places
        for comparison in comparable(comparisons, wanted)
        if comparison.robust_z is not None and math.isfinite(comparison.robust_z)
    ]
    frame = pd.DataFrame(rows, columns=["row", "poor", "population", "z", "sign", *_HINTS, "Who"])
    _, keys = _in_rows(blocks, set(frame["row"]))
    middle = look.grid
    wrapped = {
        name: textwrap.wrap(name.replace(" = ", "\u00a0=\u00a0"), _COLUMN_CHARACTERS)
        for name in dict.fromkeys(frame["population"])
    }
    column_axis = alt.Axis(
        title=None, orient="top", labelExpr=_expression(wrapped), labelAngle=-90, labelAlign="left", labelFontSize=11,
        labelLimit=220, labelOverlap=False, domain=False, ticks=False,
    )  # fmt: skip
    base = alt.Chart(frame).encode(
        x=alt.X("population:N", sort=None, axis=column_axis),
        y=alt.Y("row:N", sort=None, scale=alt.Scale(domain=keys), axis=_row_axis(keys, reliability, grid=False)),
        opacity=_FAINT_WHERE_POOR,
        tooltip=_tips(*_HINTS, "Who"),
    )
    colour = alt.Color(
        "z:Q",
        scale=alt.Scale(domain=[-4, 0, 4], range=["#0072B2", middle, "#E69F00"], interpolate="rgb"),
        legend=alt.Legend(
            title="typical spreads below or above the median", titleLimit=300, orient="bottom", gradientLength=220
        ),
    )
    chart = alt.layer(
        base.mark_rect(cornerRadius=3, stroke=look.paper, strokeWidth=2).encode(color=colour),
        base.mark_text(fontSize=9, color=look.ink).encode(text=alt.Text("sign:N")),
    )
    return configured(chart, height=max(1, len(keys)) * ROW_HEIGHT_PX)
