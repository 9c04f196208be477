"""One feature in two or more groups: density, histogram, cumulative shares, every cell, boxes.

All but "every cell" are drawn from counts in bins and from percentiles, so a million cells cost no more than a hundred.
Values come in the basis of comparison and are drawn as tables print them. A group below
`core.populations.summaries.SMALL_GROUP` cells is points, never a curve or a box.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.charts.axes import drawn, title
from core.charts.groups import DrawnGroup
from core.charts.labels import number, with_unit
from core.charts.theme import LIGHT, AnyChart, Look, configured
from core.features.catalogue import CATALOGUE
from core.populations.robust import IQR_TO_STD
from core.populations.summaries import SMALL_GROUP, Basis, Statistics

NO_VALUE: Final = "no value that can be compared"
_CURVE_POINTS: Final = 200
_STRIP_POINTS: Final = 300
_GOLDEN: Final = 0.618034  # successive multiples modulo 1 never come close: neighbours in value lie apart
_BASELINE: Final = 0.88  # foot of a histogram in its row
_ROW_PX: Final = 52
_CURVE_PX: Final = 360
_REACH: Final = 3.0  # widths of the kernel beyond which a curve is as good as zero


def density_chart(
    groups: Sequence[DrawnGroup],
    feature: str,
    basis: Basis,
    edges: NDArray[np.float64],
    counts: NDArray[np.integer],
    look: Look,
    *,
    log: bool = False,
) -> AnyChart:
    """Smoothed histograms over each other, each of area 1; the cells of a small group are ticks on the axis.

    Parameters
    ----------
    groups
        As in the rows of `counts`.
    feature, basis
        What the values are.
    edges, counts
        Ends of the bins (B + 1,), even on the axis, and cells in them (G, B). 200 bins are fine enough for any curve.
    look
        Colours of the page.
    log
        Whether the axis is logarithmic.
    """
    ends = drawn(feature, edges, log=log)
    along = np.log10(ends) if log else ends
    grid = np.linspace(*_ends_of_curves(along, counts, from_zero=not log), _CURVE_POINTS)
    middles = (along[:-1] + along[1:]) / 2
    values, cells = (10**grid, 10**middles) if log else (grid, middles)
    rows: list[dict[str, Any]] = []
    ticks: list[dict[str, Any]] = []
    for group, of_group in zip(groups, counts, strict=True):
        if of_group.sum() < SMALL_GROUP:
            ticks += [{"value": float(v), "group": group.title} for v in np.repeat(cells, of_group)]
            continue
        heights = smoothed(along, of_group, grid)
        rows += [
            {"value": float(v), "frequency": float(h), "group": group.title}
            for v, h in zip(values, heights, strict=True)
        ]
    groups = [group for group, of_group in zip(groups, counts, strict=True) if of_group.any()]
    x = _value(feature, basis, log=log)
    # A height means nothing by itself, but two may be compared.
    y = alt.Y(
        "frequency:Q", stack=None, axis=alt.Axis(title="relative frequency", labels=False, ticks=False, gridOpacity=0.3)
    )
    tooltip = [alt.Tooltip("group:N"), alt.Tooltip("value:Q", title=CATALOGUE[feature].label, format=".3~g")]
    curves = alt.Chart(pd.DataFrame(rows, columns=["value", "frequency", "group"])).encode(
        x=x, y=y, color=_lines(groups, look)
    )
    marks = alt.Chart(pd.DataFrame(ticks, columns=["value", "group"])).encode(
        x=x, y=alt.value(_CURVE_PX - 8), color=_lines(groups, look)
    )
    layers = [
        curves.mark_area(opacity=0.1),
        curves.mark_line(strokeWidth=2).encode(strokeDash=_dashes(groups), tooltip=tooltip),
        marks.mark_tick(size=16, thickness=2).encode(tooltip=tooltip),
    ]
    return configured(alt.layer(*layers), _CURVE_PX)


def smoothed(edges: NDArray[np.float64], counts: NDArray[np.integer], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian kernel density of counts in bins, at the places of `grid`; its area between the grid's ends is 1.

    What would reach beyond an end of the grid is mirrored there: no value lies beyond it.
    """
    middles, weights, width = (edges[:-1] + edges[1:]) / 2, counts / counts.sum(), _kernel_width(edges, counts)
    density = np.zeros(len(grid))
    for at in (middles, 2 * grid[0] - middles, 2 * grid[-1] - middles):
        density += np.exp(-0.5 * ((grid[:, None] - at[None, :]) / width) ** 2) @ weights
    density /= width * math.sqrt(2 * math.pi)
    return density


def _kernel_width(edges: NDArray[np.float64], counts: NDArray[np.integer]) -> float:
    """Silverman's (1986, eq. 3.31), at least that of a bin."""
    middles, weights = (edges[:-1] + edges[1:]) / 2, counts / counts.sum()
    mean = float(weights @ middles)
    std = math.sqrt(float(weights @ (middles - mean) ** 2))
    quarter, three = np.interp([0.25, 0.75], np.cumsum(weights), edges[1:])
    spreads = [spread for spread in (std, (three - quarter) / IQR_TO_STD) if spread > 0]
    return float(max(0.9 * min(spreads, default=0.0) * float(counts.sum()) ** -0.2, edges[1] - edges[0]))


def _ends_of_curves(edges: NDArray[np.float64], counts: NDArray[np.integer], *, from_zero: bool) -> tuple[float, float]:
    """So far beyond the outer edges that every curve comes down; not below zero where no value is, if `from_zero`."""
    widths = [_kernel_width(edges, of_group) for of_group in counts if of_group.sum() >= SMALL_GROUP]
    reach = _REACH * max(widths, default=0.0)
    low = float(edges[0]) - reach
    return (max(low, 0.0) if from_zero and edges[0] >= 0 else low), float(edges[-1]) + reach


def cumulative_chart(
    groups: Sequence[DrawnGroup],
    feature: str,
    basis: Basis,
    shares: NDArray[np.float64],
    values: NDArray[np.float64],
    look: Look,
    *,
    log: bool = False,
) -> AnyChart:
    """Share of cells at or below each value, a line a group.

    `values` (G, P) are those below which `shares` (P,), 0 to 1, of each group lie: exact numbers, not bins; a group
    whose row is nan is left out.
    """
    rows = [
        {"value": float(v), "share": 100 * float(share), "group": group.title}
        for group, of_group in zip(groups, drawn(feature, values, log=log), strict=True)
        for share, v in zip(shares, of_group, strict=True)
        if math.isfinite(v) and (v > 0 or not log)
    ]
    shown = {row["group"] for row in rows}
    groups = [group for group in groups if group.title in shown]
    chart = alt.Chart(pd.DataFrame(rows, columns=["value", "share", "group"])).encode(
        x=_value(feature, basis, log=log),
        y=alt.Y(
            "share:Q",
            axis=alt.Axis(title="cells at or below (%)", gridOpacity=0.5, values=list(range(0, 101, 20))),
            scale=alt.Scale(domain=[-1, 101], nice=False),  # room for the width of a line at either end
        ),
        color=_lines(groups, look),
        strokeDash=_dashes(groups),
        order="share:Q",
        tooltip=[
            alt.Tooltip("group:N"),
            alt.Tooltip("value:Q", title=CATALOGUE[feature].label, format=".3~g"),
            alt.Tooltip("share:Q", format=".0f", title="cells at or below (%)"),
        ],
    )
    return configured(chart.mark_line(strokeWidth=2, clip=True), _CURVE_PX)


def histogram_chart(
    groups: Sequence[DrawnGroup],
    feature: str,
    basis: Basis,
    edges: NDArray[np.float64],
    counts: NDArray[np.integer],
    look: Look,
    *,
    log: bool = False,
) -> AnyChart:
    """Histograms in rows on one axis and one scale, the share of a group's cells.

    `edges` (B + 1,), `counts` (G, B). The cells of a small group are ticks in the middle of their bins.
    """
    ends = drawn(feature, edges, log=log)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.where(totals < SMALL_GROUP, 0.0, counts / np.maximum(totals, 1))
    tallest = float(shares.max(initial=0)) or 1.0
    rows = [
        {
            "value": float(ends[b]), "end": float(ends[b + 1]),
            "y": i + _BASELINE, "top": i + _BASELINE - 0.8 * float(shares[i, b]) / tallest,
            "group": group.title, "Cells": f"{int(counts[i, b]):,}", "Share": f"{100 * float(shares[i, b]):.1f} %",
            "From": f"{number(float(ends[b]))} to {number(float(ends[b + 1]))}", "Who": group.who,
        }
        for i, group in enumerate(groups)
        for b in np.flatnonzero(shares[i])
    ]  # fmt: skip
    middles = np.sqrt(ends[:-1] * ends[1:]) if log else (ends[:-1] + ends[1:]) / 2
    ticks = [
        {"value": float(v), "y": i + _BASELINE - 0.15, "group": group.title, "Who": group.who}
        for i, group in enumerate(groups)
        if totals[i] < SMALL_GROUP
        for v in np.repeat(middles, counts[i])
    ]
    columns = ["value", "end", "y", "top", "group", "Cells", "Share", "From", "Who"]
    feet = pd.DataFrame({"y": [i + _BASELINE for i in range(len(groups))]})
    bars = alt.Chart(pd.DataFrame(rows, columns=columns)).mark_bar(
        opacity=0.7, binSpacing=0, clip=True, strokeWidth=0.4
    )
    layers = [
        bars.encode(
            x=_value(feature, basis, log=log),
            x2="end:Q",
            y=_row(groups),
            y2="top:Q",
            color=_fills(groups),
            stroke=alt.Stroke("group:N", scale=_scale(groups, [g.line(look) for g in groups]), legend=None),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("group", "From", "Cells", "Share", "Who")],
        ),
        alt.Chart(pd.DataFrame(ticks, columns=["value", "y", "group", "Who"]))
        .mark_tick(orient="vertical", size=0.3 * _ROW_PX, thickness=2)
        .encode(
            x=_value(feature, basis, log=log),
            y=_row(groups),
            color=_fills(groups),
            tooltip=[alt.Tooltip("group:N"), alt.Tooltip("Who:N")],
        ),
        alt.Chart(feet).mark_rule(color=look.muted, strokeWidth=0.75).encode(y=_row(groups)),
        _empty(groups, [int(total) for total in totals.ravel()], look),
    ]
    return configured(alt.layer(*layers), _ROW_PX * max(1, len(groups)))


def cells_chart(
    groups: Sequence[DrawnGroup],
    feature: str,
    basis: Basis,
    cells: Sequence[NDArray[np.float64]],
    look: Look,
    *,
    log: bool = False,
) -> AnyChart:
    """Every cell as a point, a row a group, with a tick at the median.

    `cells` are the values of each group in the basis of comparison, nan where absent. Of more than 300 values an even
    sample is drawn, extremes included.
    """
    ordered = [np.sort(values[np.isfinite(values)]) for values in cells]
    medians = [
        {"value": float(drawn(feature, np.median(v), log=log)), "y": i + 0.5} for i, v in enumerate(ordered) if len(v)
    ]
    ticks = alt.Chart(pd.DataFrame(medians, columns=["value", "y"])).encode(
        x=_value(feature, basis, log=log), y=_row(groups)
    )
    layers = [
        _dots(groups, feature, basis, ordered, log=log),
        ticks.mark_tick(orient="vertical", size=0.7 * _ROW_PX, thickness=2.5, color=look.ink, clip=True),
        _empty(groups, [len(v) for v in ordered], look),
    ]
    return configured(alt.layer(*layers), _ROW_PX * max(1, len(groups)))


def box_chart(
    groups: Sequence[DrawnGroup],
    feature: str,
    basis: Basis,
    summaries: Sequence[Statistics],
    cells: Sequence[NDArray[np.float64]],
    look: Look,
    *,
    log: bool = False,
) -> AnyChart:
    """A row a group: line 2-98 %, box 25-75 %, tick at the median.

    A group without percentiles is its `cells`, as in `cells_chart`.
    """
    rows = []
    for i, (group, summary) in enumerate(zip(groups, summaries, strict=True)):
        known = [p for p in (summary.p2, summary.p25, summary.p50, summary.p75, summary.p98) if p is not None]
        if len(known) < 5:
            continue
        places = (drawn(feature, p, log=log) for p in known)
        ends = dict(zip(("value", "quarter", "middle", "three", "high"), places, strict=True))
        p2, p25, median, p75, p98 = (with_unit(CATALOGUE[feature], p, basis) for p in known)
        words = {"Median": median, "25-75 %": f"{p25} to {p75}", "2-98 %": f"{p2} to {p98}", "Who": group.who}
        rows.append({"y": i + 0.5, "group": group.title} | ends | words)
    columns = ["y", "group", "value", "quarter", "middle", "three", "high", "Median", "25-75 %", "2-98 %", "Who"]
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("group", "Median", "25-75 %", "2-98 %", "Who")]
    base = alt.Chart(pd.DataFrame(rows, columns=columns)).encode(y=_row(groups), tooltip=tooltip)
    x = _value(feature, basis, log=log)
    few = [np.sort(v[np.isfinite(v)]) if s.p50 is None else np.empty(0) for v, s in zip(cells, summaries, strict=True)]
    layers = [
        base.mark_rule(strokeWidth=1.5, color=look.muted, clip=True).encode(x=x, x2="high:Q"),
        base.mark_bar(size=0.5 * _ROW_PX, strokeWidth=1, clip=True).encode(
            x=alt.X("quarter:Q"),
            x2="three:Q",
            color=_fills(groups),
            stroke=alt.Stroke("group:N", scale=_scale(groups, [g.line(look) for g in groups]), legend=None),
        ),
        # Dark on any page: it lies on the group's colour.
        base.mark_tick(orient="vertical", size=0.5 * _ROW_PX, thickness=2.5, color=LIGHT.ink, clip=True).encode(
            x=alt.X("middle:Q")
        ),
        _dots(groups, feature, basis, few, log=log),
        _empty(groups, [s.n for s in summaries], look),
    ]
    return configured(alt.layer(*layers), _ROW_PX * max(1, len(groups)))


def _dots(
    groups: Sequence[DrawnGroup], feature: str, basis: Basis, ordered: Sequence[NDArray[np.float64]], *, log: bool
) -> alt.Chart:
    """Ascending values as points, each with a fixed offset across its row that keeps neighbours apart."""
    rows = []
    for i, (group, values) in enumerate(zip(groups, ordered, strict=True)):
        shown = values
        if len(shown) > _STRIP_POINTS:
            shown = shown[np.linspace(0, len(shown) - 1, _STRIP_POINTS).round().astype(int)]
        offsets = 0.6 * (np.arange(len(shown)) * _GOLDEN % 1 - 0.5)
        rows += [
            {
                "value": float(drawn(feature, v, log=log)), "y": i + 0.5 + float(offset), "group": group.title,
                "Value": with_unit(CATALOGUE[feature], float(v), basis), "Who": group.who,
            }
            for v, offset in zip(shown, offsets, strict=True)
        ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["value", "y", "group", "Value", "Who"])
    dots: alt.Chart = (
        alt.Chart(frame)
        .mark_point(filled=True, size=30, opacity=0.6, strokeWidth=0.4, clip=True)
        .encode(
            x=_value(feature, basis, log=log),
            y=_row(groups),
            color=_fills(groups),
            shape=alt.Shape("group:N", scale=_scale(groups, [g.shape for g in groups]), legend=None),
            tooltip=[alt.Tooltip(f"{name}:N") for name in ("group", "Value", "Who")],
        )
    )
    return dots


def _empty(groups: Sequence[DrawnGroup], n: Sequence[int], look: Look) -> alt.Chart:
    """Words in the rows of groups without any value."""
    rows = pd.DataFrame({"y": [i + 0.5 for i in range(len(groups)) if not n[i]]})
    words: alt.Chart = (
        alt.Chart(rows)
        .mark_text(align="left", fontSize=12, color=look.muted, text=NO_VALUE)
        .encode(x=alt.value(10), y=_row(groups))
    )
    return words


def _value(feature: str, basis: Basis, *, log: bool) -> alt.X:
    axis = alt.Axis(title=title(feature, basis, log=log), gridOpacity=0.4, tickCount=8)
    return alt.X(
        "value:Q", axis=axis, scale=alt.Scale(type="log" if log else "linear", zero=False, nice=False, padding=6)
    )


def _row(groups: Sequence[DrawnGroup]) -> alt.Y:
    """Axis of rows, a group in each."""
    names = json.dumps({str(i + 0.5): group.title for i, group in enumerate(groups)}, ensure_ascii=False)
    axis = alt.Axis(
        title=None,
        values=[i + 0.5 for i in range(len(groups))],
        labelExpr=f"{names}[datum.value]",
        labelLimit=300,
        grid=False,
    )
    return alt.Y("y:Q", scale=alt.Scale(domain=[len(groups), 0], nice=False), axis=axis)


def _scale(groups: Sequence[DrawnGroup], values: Sequence[Any]) -> alt.Scale:
    return alt.Scale(domain=[group.title for group in groups], range=list(values))


def _fills(groups: Sequence[DrawnGroup]) -> alt.Color:
    return alt.Color("group:N", scale=_scale(groups, [g.colour for g in groups]), legend=None)


def _legend() -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", columns=2, symbolType="stroke", symbolSize=700, symbolOpacity=1)


def _lines(groups: Sequence[DrawnGroup], look: Look) -> alt.Color:
    return alt.Color("group:N", scale=_scale(groups, [g.line(look) for g in groups]), legend=_legend())


def _dashes(groups: Sequence[DrawnGroup]) -> alt.StrokeDash:
    return alt.StrokeDash("group:N", scale=_scale(groups, [list(g.dash) for g in groups]), legend=_legend())
