"""Differences between two kinds of cells in each source, in rows, with what they give together."""

import json
from collections.abc import Sequence
from typing import Final

import altair as alt
import pandas as pd

from core.charts.groups import DASHES, PALETTE, SHAPES
from core.charts.theme import DARK, AnyChart, Look, configured, edge_colour
from core.charts.trust import Reliability, is_poor
from core.features.catalogue import CATALOGUE
from core.populations.contrast import Contrast

_ROW_PX: Final = 44
_POOLED: Final = "pooled"


def forest_chart(
    contrasts: Sequence[Contrast], sources: Sequence[str], sides: tuple[str, str], reliability: Reliability, look: Look
) -> AnyChart:
    """Cliff's delta of each feature in each source with its interval, and the pooled one as a diamond.

    `sides` are the two kinds of cells in words: to the right the first has the larger values.
    """
    names = [*sources, _POOLED]
    rows: list[tuple[object, ...]] = []
    for each in contrasts:
        for source, found in each.by_source.items():
            low, high = found.interval
            rows.append((each.feature, source, found.delta, low, high, f"{found.n[0]:,} / {found.n[1]:,}"))
        if each.pooled is not None:
            rows.append((each.feature, _POOLED, each.pooled, each.low, each.high, ""))
    frame = pd.DataFrame(rows, columns=["feature", "source", "delta", "low", "high", "n"])
    keys = [each.feature for each in contrasts]
    labels = {key: CATALOGUE[key].label + (", poor" if is_poor(key, reliability) else "") for key in keys}
    axis = alt.Axis(
        title=f"larger in {sides[1]}  <  Cliff's delta  >  larger in {sides[0]}",
        orient="top", gridOpacity=0.5, tickCount=9, format=".2~f",
    )  # fmt: skip
    scale = alt.Scale(domain=[-1, 1], nice=False)
    label_axis = alt.Axis(
        title=None, labelExpr=f"{json.dumps(labels, ensure_ascii=False)}[datum.value]", labelLimit=260,
        grid=True, gridOpacity=0.25, labelOverlap=False,
    )  # fmt: skip
    palette = [PALETTE[i % len(PALETTE)] for i in range(len(sources))]
    colours = [*(palette if look == DARK else map(edge_colour, palette)), look.ink]
    shapes = [*(SHAPES[i % 3] for i in range(len(sources))), "diamond"]
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=420)
    base = alt.Chart(frame).encode(
        y=alt.Y("feature:N", sort=None, scale=alt.Scale(domain=keys), axis=label_axis),
        yOffset=alt.YOffset("source:N", scale=alt.Scale(domain=names, paddingInner=0.3)),
        stroke=alt.Stroke("source:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
    )
    x = alt.X("delta:Q", scale=scale, axis=axis)
    points = base.mark_point(size=60, strokeWidth=1.5).encode(
        x=x,
        fill=alt.Fill("source:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        shape=alt.Shape("source:N", scale=alt.Scale(domain=names, range=shapes), legend=legend),
        tooltip=[
            alt.Tooltip("source:N"),
            *(alt.Tooltip(f"{name}:Q", format="+.2f") for name in ("delta", "low", "high")),
            alt.Tooltip("n:N"),
        ],
    )
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale, axis=axis), x2="high:Q")
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=look.muted, strokeDash=list(DASHES[1]))
    return configured(
        alt.layer(zero.encode(x=alt.X("zero:Q", scale=scale)), lines, points), _ROW_PX * max(1, len(keys))
    )
