"""Groups side by side over several features: 2-50-98 % ranges in rows, and the thesis's own chart of them."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.charts.axes import drawn
from core.charts.groups import DrawnGroup
from core.charts.labels import unit, with_unit
from core.charts.theme import AnyChart, Look, configured
from core.charts.trust import Reliability, is_poor
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureSpec
from core.populations.robust import IQR_TO_STD
from core.populations.summaries import Statistics, basis_of

LIMIT: Final = 5.0  # typical spreads; what lies beyond is drawn at the edge, its value stands in the hover text
_GROUP_PX: Final = 11
_GAP_PX: Final = 10
_COLUMNS: Final = ("row", "group", "low", "middle", "high", "Feature", "2-98 %", "Median", "Who")
_HINTS: Final = ("Feature", "group", "Median", "2-98 %", "Who")

Summaries = Mapping[str, Sequence[Statistics]]
Cells = Mapping[str, Sequence[NDArray[np.float64]]]


def group_range_chart(
    groups: Sequence[DrawnGroup], summaries: Summaries, cells: Cells, reliability: Reliability, look: Look
) -> AnyChart:
    """A row a feature with a line a group: 2-98 % range and median, on the scale of the first group.

    Parameters
    ----------
    groups
        The first sets the scale: a row's axis counts its spreads (of the logarithm where the catalogue says so, IQR /
        1.349) from its median. A feature whose quartiles are equal in the first group has no row.
    summaries, cells
        By feature, in the order of the rows, for each group; `cells` are the values of groups without percentiles,
        drawn as points, and may be left out where there are none.
    reliability, look
        How far each feature can be trusted; colours of the page.
    """
    bands, dots = _range_rows(groups, summaries, cells)
    keys = list(dict.fromkeys(row["row"] for row in (*bands, *dots)))
    poor = [key for key in keys if is_poor(key, reliability)]
    rows: dict[str, Any] = {
        "y": _feature_rows(keys, poor),
        "yOffset": alt.YOffset("group:N", sort=None, scale=alt.Scale(domain=[group.title for group in groups])),
        "opacity": alt.OpacityValue(
            1, condition={"test": f"indexof({json.dumps(poor)}, datum.row) >= 0", "value": 0.35}
        ),
    }
    scale = alt.Scale(domain=[-LIMIT - 0.3, LIMIT + 0.3], nice=False)
    spreads = alt.Axis(
        title=f"typical spreads from the median of {groups[0].name}",
        orient="top",
        values=list(range(-4, 5, 2)),
        format="d",
        gridOpacity=0.5,
    )
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=look.muted)
    ranges = alt.Chart(pd.DataFrame(bands, columns=list(_COLUMNS))).encode(**rows, tooltip=_tips(*_HINTS))
    points = alt.Chart(pd.DataFrame(dots, columns=["row", "group", "z", "Feature", "Value", "Who"]))
    plain, shaped = _styles(groups, look), _styles(groups, look, shaped=True)
    layers = [
        zero.encode(x=alt.X("zero:Q", scale=scale, axis=spreads)),
        ranges.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", scale=scale, axis=spreads), x2="high:Q", **plain),
        ranges.mark_point(filled=True, size=60, strokeWidth=0).encode(x=alt.X("middle:Q"), **shaped),
        points.mark_point(filled=True, size=22, strokeWidth=0).encode(
            x=alt.X("z:Q", scale=scale), **rows, **shaped, tooltip=_tips("Feature", "group", "Value", "Who")
        ),
    ]
    return configured(alt.layer(*layers), max(1, len(keys)) * (_GROUP_PX * len(groups) + _GAP_PX))


def _tips(*names: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{name}:N") for name in names]


def _feature_rows(keys: Sequence[str], poor: Collection[str]) -> alt.Y:
    labels = {key: CATALOGUE[key].label + (", poor" if key in poor else "") for key in keys}
    axis = alt.Axis(
        title=None,
        labelExpr=f"{json.dumps(labels, ensure_ascii=False)}[datum.value]",
        labelLimit=280,
        labelOverlap=False,
    )
    return alt.Y("row:N", sort=None, scale=alt.Scale(domain=keys, paddingInner=0.3, paddingOuter=0.1), axis=axis)


def _range_rows(
    groups: Sequence[DrawnGroup], summaries: Summaries, cells: Cells
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Ranges of the groups with percentiles and cells of those without, on the scale of the first group."""
    bands: list[dict[str, Any]] = []
    dots: list[dict[str, Any]] = []
    for name, of_groups in summaries.items():
        spec = CATALOGUE[name]
        place = _scale_of(spec, of_groups[0])
        if place is None:
            continue
        for i, (group, summary) in enumerate(zip(groups, of_groups, strict=True)):
            row = {"row": name, "group": group.title, "Feature": spec.label, "Who": group.who}
            ends = [place(p) for p in (summary.p2, summary.p50, summary.p98) if p is not None]
            if len(ends) == 3:
                bands.append(row | dict(zip(("low", "middle", "high"), ends, strict=True)) | _words(spec, summary))
            else:
                members = (float(v) for v in (cells[name][i] if name in cells else ()) if math.isfinite(v))
                dots += [row | {"z": place(v), "Value": with_unit(spec, v, basis_of(spec))} for v in members]
    return bands, dots


def published_group_chart(
    groups: Sequence[DrawnGroup], summaries: Summaries, look: Look, height: int = 360
) -> AnyChart:
    """The thesis's chart: features along x, values on a logarithmic y, the 2-50-98 % range of each group.

    As in the thesis, energy is in millions and 1 is added to skewness; a range that still has no logarithm is left out.
    """
    rows = []
    for name, of_groups in summaries.items():
        spec = CATALOGUE[name]
        added = f" + {spec.display_offset:g}" if spec.display_offset else ""
        label = spec.label + added + (f" ({unit(spec, basis_of(spec))})" if unit(spec, basis_of(spec)) else "")
        for group, summary in zip(groups, of_groups, strict=True):
            ends = [drawn(name, p, log=True) for p in (summary.p2, summary.p50, summary.p98) if p is not None]
            if len(ends) == 3 and ends[0] > 0:
                row: dict[str, Any] = {"row": label, "group": group.title, "Feature": spec.label, "Who": group.who}
                rows.append(row | dict(zip(("low", "middle", "high"), ends, strict=True)) | _words(spec, summary))
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    scale = alt.Scale(type="log", nice=False, padding=8)
    y_axis = alt.Axis(title="value (logarithmic)", gridOpacity=0.4, tickCount=8, format="~r")
    base = alt.Chart(frame).encode(
        x=alt.X("row:N", sort=None, axis=alt.Axis(title=None, labelAngle=-40, labelLimit=230, labelOverlap=False)),
        xOffset=alt.XOffset("group:N", sort=None, scale=alt.Scale(domain=[group.title for group in groups])),
        tooltip=_tips(*_HINTS),
    )
    layers = [
        base.mark_rule(strokeWidth=2.5).encode(
            y=alt.Y("low:Q", scale=scale, axis=y_axis), y2="high:Q", **_styles(groups, look)
        ),
        base.mark_point(filled=True, size=60, strokeWidth=0).encode(
            y=alt.Y("middle:Q"), **_styles(groups, look, shaped=True)
        ),
    ]
    return configured(alt.layer(*layers), height)


class _Place:
    """Where a value lies among a group: in its typical spreads from its median, at most LIMIT."""

    def __init__(self, *, log: bool, middle: float, spread: float) -> None:
        self.log, self.middle, self.spread = log, middle, spread

    def __call__(self, value: float) -> float:
        if self.log and value <= 0:
            return -LIMIT  # counts as below all others, as in core.populations.robust
        z = ((math.log(value) if self.log else value) - self.middle) / self.spread
        return max(-LIMIT, min(LIMIT, z))


def _scale_of(spec: FeatureSpec, summary: Statistics) -> _Place | None:
    if summary.p25 is None or summary.p50 is None or summary.p75 is None:
        return None
    log = spec.log_axis and summary.p25 > 0
    low, middle, high = (math.log(p) if log else p for p in (summary.p25, summary.p50, summary.p75))
    return _Place(log=log, middle=middle, spread=(high - low) / IQR_TO_STD) if high > low else None


def _words(spec: FeatureSpec, summary: Statistics) -> dict[str, str]:
    basis = basis_of(spec)
    return {
        "2-98 %": f"{with_unit(spec, summary.p2, basis)} to {with_unit(spec, summary.p98, basis)}",
        "Median": with_unit(spec, summary.p50, basis),
    }


def _styles(groups: Sequence[DrawnGroup], look: Look, *, shaped: bool = False) -> dict[str, Any]:
    """Colour of each group and, of its points, the shape, in one legend."""
    titles = [group.title for group in groups]
    legend = alt.Legend(title=None, orient="bottom", columns=2, symbolOpacity=1, symbolSize=80)
    styles: dict[str, Any] = {
        "color": alt.Color(
            "group:N", scale=alt.Scale(domain=titles, range=[g.line(look) for g in groups]), legend=legend
        )
    }
    if shaped:
        styles["shape"] = alt.Shape(
            "group:N", scale=alt.Scale(domain=titles, range=[g.shape for g in groups]), legend=legend
        )
    return styles
