"""Where cells lie in a plane, as points or counted in squares; and the same as a chart to download.

The page draws it on a canvas (`pages._ui.components.scatter.scatter`), which a browser can do for a million cells; the
Altair chart is for files.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import altair as alt
import numpy as np
from numpy.typing import NDArray

from core.charts.axes import Axis
from core.charts.groups import DrawnGroup
from core.charts.labels import number
from core.charts.theme import DARK, AnyChart, Look, configured

NO_GROUP: Final = "in no group"
_FEW: Final = 200
_COLOUR_PERCENTILES: Final = (2, 98)  # a few extreme cells would leave one colour for all others

# Viridis (van der Walt and Smith 2015), seen alike by the colour-blind, without the end that is lost on the page's
# ground.
_VIRIDIS: Final = (
    "#440154",
    "#482878",
    "#3E4989",
    "#31688E",
    "#26828E",
    "#1F9E89",
    "#35B779",
    "#6DCD59",
    "#B4DE2C",
    "#FDE725",
)


@dataclass(frozen=True)
class ColourBar:
    """Colours by a feature instead of by group; values beyond `low` and `high` have the colour of the end."""

    title: str
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Points:
    """Cells one by one: x, y (n,), nan where not drawn, and `group` (n,), an index into the groups or -1; n `ids`.

    `words` name each cell in the hover text, or are empty. `value` is what the colour bar shows. `of` is the number of
    cells of which these are a sample, or None where they are all.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    group: NDArray[np.int64]
    ids: Sequence[str]
    words: Sequence[str] = ()
    value: NDArray[np.float64] | None = None
    of: int | None = None


@dataclass(frozen=True, eq=False)
class Bins:
    """Cells counted in a grid: `counts` (G, X, Y) between `x_edges` (X + 1,) and `y_edges` (Y + 1,).

    Edges ascend, in the axes' own values. `value` (X, Y) is the mean of what the colour bar shows, nan where there is
    none. `absent` cells have no place on the axes.
    """

    counts: NDArray[np.int64]
    x_edges: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    value: NDArray[np.float64] | None = None
    absent: int = 0


@dataclass(frozen=True, eq=False)
class Scatter:
    """What is drawn: two axes, groups, their cells.

    `own` is the cell of page Single cell, `highlighted` are others to find, as x and y.
    """

    x: Axis
    y: Axis
    groups: tuple[DrawnGroup, ...]
    marks: Points | Bins
    colour: ColourBar | None = None
    own: tuple[float, float] | None = None
    highlighted: tuple[tuple[float, float], ...] = ()


def colour_bar(title: str, values: NDArray[np.float64]) -> ColourBar:
    """Return a colour bar over the middle 96 % of the finite values."""
    finite = values[np.isfinite(values)]
    low, high = (float(edge) for edge in np.percentile(finite, _COLOUR_PERCENTILES)) if finite.size else (0.0, 1.0)
    return ColourBar(title, low, high if high > low else low + 1.0)


def colours(look: Look) -> tuple[str, ...]:
    """Colours of a colour bar from low to high: the higher, the further from the page's own brightness."""
    return _VIRIDIS[3:] if look == DARK else _VIRIDIS[-2::-1]


def scatter_chart(drawn: Scatter, look: Look, height: int = 460) -> AnyChart:
    """The same picture as a vector chart, for SVG, PNG and Vega-Lite."""
    layers = [
        _points(drawn, drawn.marks, look) if isinstance(drawn.marks, Points) else _squares(drawn, drawn.marks, look)
    ]
    if drawn.highlighted:
        layers.append(_rings(drawn, drawn.highlighted, look, size=110))
    if drawn.own is not None:
        layers.append(_rings(drawn, (drawn.own,), look, size=190, fill=look.ink))
    return configured(alt.layer(*layers), height=height)


def _scale(of_axis: Axis) -> alt.Scale:
    return alt.Scale(
        type="log" if of_axis.log else "linear", domain=[of_axis.low, of_axis.high], nice=False, zero=False
    )


def _place(drawn: Scatter) -> dict[str, alt.X | alt.Y]:
    axes = [alt.Axis(title=of_axis.title, gridOpacity=0.4, tickCount=8, format="~r") for of_axis in (drawn.x, drawn.y)]
    return {
        "x": alt.X("x:Q", scale=_scale(drawn.x), axis=axes[0]),
        "y": alt.Y("y:Q", scale=_scale(drawn.y), axis=axes[1]),
    }


def _legend(groups: int) -> alt.Legend:
    return alt.Legend(title=None, orient="bottom", columns=min(groups, 3), symbolOpacity=1, symbolSize=90)


def _by_value(bar: ColourBar, look: Look) -> alt.Color:
    scale = alt.Scale(domain=[bar.low, bar.high], range=list(colours(look)), interpolate="rgb", clamp=True)
    return alt.Color(
        "value:Q", scale=scale, legend=alt.Legend(title=bar.title, orient="bottom", gradientLength=260, titleLimit=300)
    )


def _points(drawn: Scatter, marks: Points, look: Look) -> alt.Chart:
    groups = drawn.groups
    # The last stands for those in no group: an index of -1 finds it.
    names = [*(g.title for g in groups), NO_GROUP]
    shapes, fills, strokes = (
        [*(g.shape for g in groups), "circle"],
        [*(g.colour for g in groups), look.muted],
        [*(g.line(look) for g in groups), look.muted],
    )
    if not (marks.group < 0).any():
        names, shapes, fills, strokes = names[:-1], shapes[:-1], fills[:-1], strokes[:-1]
    value = marks.value if marks.value is not None else np.full(len(marks.x), np.nan)
    placed = np.isfinite(drawn.x.along(marks.x) + drawn.y.along(marks.y))
    # Rows rather than a frame: those are not held to Altair's 5,000.
    rows = [
        {
            "x": float(x),
            "y": float(y),
            "group": names[code],
            "value": float(v) if math.isfinite(v) else None,
            "cell": name,
        }
        for there, x, y, code, v, name in zip(placed, marks.x, marks.y, marks.group, value, marks.ids, strict=True)
        if there
    ]
    legend = _legend(len(names))
    shape = alt.Shape("group:N", scale=alt.Scale(domain=names, range=shapes), legend=legend)
    tooltip = [
        alt.Tooltip("cell:N"),
        alt.Tooltip("group:N"),
        alt.Tooltip("x:Q", title=drawn.x.title),
        alt.Tooltip("y:Q", title=drawn.y.title),
    ]
    data = alt.InlineData(values=rows)
    chart = alt.Chart(data).mark_point(
        filled=True, size=_symbol_size(len(rows)), opacity=0.65, strokeWidth=0.4, clip=True
    )
    encoded: alt.Chart = chart.encode(**_place(drawn), shape=shape, tooltip=tooltip)
    if drawn.colour is not None:
        encoded = encoded.encode(color=_by_value(drawn.colour, look))
    else:
        encoded = encoded.encode(
            color=alt.Color("group:N", scale=alt.Scale(domain=names, range=fills), legend=legend),
            stroke=alt.Stroke("group:N", scale=alt.Scale(domain=names, range=strokes), legend=None),
        )
    return encoded


def _symbol_size(n: int) -> float:
    """Area of a symbol in px²: the fewer, the larger."""
    return float(np.clip(90 * math.sqrt(_FEW / max(n, 1)), 18, 90))


def _squares(drawn: Scatter, marks: Bins, look: Look) -> alt.Chart:
    total = marks.counts.sum(axis=0)
    commonest = marks.counts.argmax(axis=0)
    strongest = math.log1p(float(total.max(initial=1)))
    across, up = ([float(edge) for edge in edges] for edges in (marks.x_edges, marks.y_edges))
    rows = [
        {
            "x": across[i], "x2": across[i + 1], "y": up[j], "y2": up[j + 1],
            "group": drawn.groups[commonest[i, j]].title,
            "n": int(total[i, j]), "strength": math.log1p(float(total[i, j])) / strongest,
            "value": None if marks.value is None or not math.isfinite(marks.value[i, j]) else float(marks.value[i, j]),
        }
        for i, j in zip(*np.nonzero(total), strict=True)
    ]  # fmt: skip
    names, fills = [g.title for g in drawn.groups], [g.colour for g in drawn.groups]
    by_group = alt.Color("group:N", scale=alt.Scale(domain=names, range=fills), legend=_legend(len(names)))
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(clip=True)
        .encode(
            **_place(drawn),
            x2="x2:Q",
            y2="y2:Q",
            color=_by_value(drawn.colour, look) if drawn.colour is not None else by_group,
            opacity=alt.Opacity("strength:Q", scale=alt.Scale(domain=[0, 1], range=[0.35, 1]), legend=None),
            tooltip=[alt.Tooltip("n:Q", title="cells"), alt.Tooltip("group:N", title="most of them")],
        )
    )
    return chart


def _rings(
    drawn: Scatter, places: Sequence[tuple[float, float]], look: Look, *, size: int, fill: str | None = None
) -> alt.Chart:
    """Marks with a ring of the page's opposite brightness, visible on points of any colour."""
    rows = [{"x": x, "y": y, "place": f"{number(x)}, {number(y)}"} for x, y in places]
    chart = alt.Chart(alt.InlineData(values=rows)).mark_point(
        size=size,
        opacity=1,
        clip=True,
        stroke=look.paper if fill else look.ink,
        strokeWidth=2,
        fill=fill or "transparent",
    )
    encoded: alt.Chart = chart.encode(
        **_place(drawn), tooltip=[alt.Tooltip("place:N", title="This cell" if fill else "Highlighted")]
    )
    return encoded
