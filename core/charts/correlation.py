"""Which features say the same: rank correlations as a map, alike features side by side."""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Final

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.charts.theme import ROW_HEIGHT_PX, AnyChart, Look, configured
from core.features.catalogue import CATALOGUE

MOST_FEATURES: Final = 40  # more rows are no longer read


def correlation_chart(
    alike: Sequence[Sequence[str]], features: Sequence[str], rho: NDArray[np.float64], look: Look
) -> AnyChart:
    """Map of rank correlations: blue against each other, orange together; a line after each group.

    Parameters
    ----------
    alike
        Groups of features that say nearly the same, the representative first, printed bold. As many groups are drawn,
        in order, as have room among MOST_FEATURES; of the first one, if it alone has more, its first.
    features, rho
        Spearman's rho of every two features (F, F), in the order of `features`.
    look
        Colours of the page.
    """
    shown: list[list[str]] = []
    for members in alike:
        if sum(map(len, shown)) + len(members) > MOST_FEATURES:
            break
        shown.append(list(members))
    shown = shown or [list(members)[:MOST_FEATURES] for members in alike[:1]]
    names = list(chain.from_iterable(shown))
    at = {name: i for i, name in enumerate(features)}
    rows = [
        {
            "row": a,
            "column": b,
            "rho": float(rho[at[a], at[b]]),
            "First": CATALOGUE[a].label,
            "Second": CATALOGUE[b].label,
        }
        for a in names
        for b in names
    ]
    labels = json.dumps({name: CATALOGUE[name].label for name in names}, ensure_ascii=False)
    first = json.dumps([members[0] for members in shown])
    weight = {"condition": {"test": f"indexof({first}, datum.value) >= 0", "value": "bold"}, "value": "normal"}
    axis = alt.Axis(
        title=None,
        labelExpr=f"{labels}[datum.value]",
        labelFontWeight=weight,
        labelLimit=280,
        labelOverlap=False,
        ticks=False,
        grid=False,
    )
    across = alt.Axis(title=None, labels=False, ticks=False, domain=False)
    scale = alt.Scale(domain=names, padding=0)
    colour = alt.Color(
        "rho:Q",
        scale=alt.Scale(domain=[-1, 0, 1], range=["#0072B2", look.grid, "#E69F00"], interpolate="rgb"),
        legend=alt.Legend(
            title="rank correlation (Spearman's rho)", titleLimit=300, orient="bottom", gradientLength=220
        ),
    )
    squares = (
        alt.Chart(pd.DataFrame(rows, columns=["row", "column", "rho", "First", "Second"]))
        .mark_rect(stroke=look.paper, strokeWidth=0.5)
        .encode(
            x=alt.X("column:N", sort=None, scale=scale, axis=across),
            y=alt.Y("row:N", sort=None, scale=scale, axis=axis),
            color=colour,
            tooltip=[alt.Tooltip("First:N"), alt.Tooltip("Second:N"), alt.Tooltip("rho:Q", title="rho", format="+.2f")],
        )
    )
    ends = pd.DataFrame({"row": [members[-1] for members in shown[:-1]]})
    lines = (
        alt.Chart(ends)
        .mark_rule(color=look.ink, strokeWidth=1)
        .encode(y=alt.Y("row:N", sort=None, scale=scale, bandPosition=1))
    )
    return configured(alt.layer(squares, lines), max(1, len(names)) * ROW_HEIGHT_PX)
