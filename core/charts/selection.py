"""The comparison of architectures, drawn: folds and intervals, paired differences, cost, the leak, learning curves."""

from collections.abc import Sequence
from typing import Any, Final

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.charts.theme import AnyChart, Look, configured
from core.domain.compartments import STYLES, Compartment
from core.evaluation.model_comparison import PRACTICALLY_NOTHING, Leak, Measure, PairedDifference, Score, title

MEASURE_NAMES: Final = {
    Measure.MEAN: "Dice, mean of nucleus and cytoplasm",
    Measure.NUCLEUS: "Dice of the nucleus",
    Measure.CYTOPLASM: "Dice of the cytoplasm",
}

# Columns of the table `costs`, what they are called, and by what a value is divided to be read.
COSTS: Final = {
    "milliseconds": ("milliseconds an image, one thread", 1.0),
    "macs": ("billions of multiply-adds an image", 1e9),
    "parameters": ("millions of parameters", 1e6),
    "onnx_mb": ("ONNX file, MB", 1.0),
}

# Okabe and Ito's colours that read on white and on black alike; the tenth and later networks begin again with dashes.
_PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES: Final = ([1, 0], [6, 3], [2, 2])

_ROW_PX: Final = 34


def _colour(measure: Measure, look: Look) -> str:
    parts = {Measure.NUCLEUS: Compartment.NUCLEUS, Measure.CYTOPLASM: Compartment.CYTOPLASM}
    return STYLES[parts[measure]].colour if measure in parts else look.ink


def _rows(names: Sequence[str]) -> alt.Y:
    return alt.Y("name:N", sort=list(names), axis=alt.Axis(title=None, grid=True, gridOpacity=0.25))


_MEAN_TIPS: Final = [
    alt.Tooltip("name:N", title="network"),
    alt.Tooltip("mean:Q", title="mean Dice", format=".4f"),
    alt.Tooltip("low:Q", title="95 % from", format=".4f"),
    alt.Tooltip("high:Q", title="to", format=".4f"),
    alt.Tooltip("folds:Q"),
]
_FOLD_TIPS: Final = [
    alt.Tooltip("name:N", title="network"),
    alt.Tooltip("k:Q"),
    alt.Tooltip("fold:Q"),
    alt.Tooltip("score:Q", title="Dice", format=".4f"),
    alt.Tooltip("images_validation:Q", title="validated images"),
]
_PUBLISHED_TIPS: Final = [
    alt.Tooltip("name:N", title="published"),
    alt.Tooltip("encoder:N"),
    alt.Tooltip("mean_dice_percent:Q", title="mean Dice (%)", format=".2f"),
    alt.Tooltip("source:N"),
]


def _dice_axis(values: pd.Series, measure: Measure) -> dict[str, Any]:
    """Scale and axis that all values fit in, with a little room; Dice ends at 1."""
    low, high = values.min(), values.max()
    room = 0.04 * (high - low or 0.1)
    return {
        "scale": alt.Scale(domain=[low - room, min(1.0, high + room)], nice=False),
        "axis": alt.Axis(title=MEASURE_NAMES[measure], gridOpacity=0.5, tickCount=7, format=".2f"),
    }


def ranking_chart(
    scores: Sequence[Score], folds: pd.DataFrame, measure: Measure, look: Look, published: pd.DataFrame | None = None
) -> AnyChart:
    """One row an architecture, best on top: a dot a fold, the mean with its 95 % interval, the `published` mean hollow.

    `folds` are the rows that `scores` were made of. `published` has `architecture` (as in configs),
    `mean_dice_percent`, `encoder` and `source`; architectures not in `scores` get rows of their own below.
    """
    colour = _colour(measure, look)
    means = pd.DataFrame(
        [
            {"name": title(s.architecture), "mean": s.mean, "low": s.low, "high": s.high, "folds": s.folds}
            for s in scores
        ]
    )
    dots = folds.assign(name=folds["architecture"].map(title), score=folds[measure.value])
    drawn = [dots["score"], means["low"], means["high"]]
    names = list(means["name"])
    if published is not None:
        published = published.assign(
            name=published["architecture"].map(title), score=published["mean_dice_percent"] / 100
        )
        drawn.append(published["score"])
        names = list(dict.fromkeys([*names, *published["name"]]))
    axis, y = _dice_axis(pd.concat(drawn).dropna(), measure), _rows(names)
    score = alt.X("score:Q", **axis)
    of_means = alt.Chart(means).encode(y=y)
    layers = [
        of_means.mark_rule(strokeWidth=2, color=colour).encode(x=alt.X("low:Q", **axis), x2="high:Q"),
        alt.Chart(dots).mark_circle(size=42, opacity=0.45, color=colour).encode(x=score, y=y, tooltip=_FOLD_TIPS),
        of_means.mark_point(
            shape="diamond", size=130, filled=True, opacity=1, color=colour, stroke=look.paper, strokeWidth=1.5
        ).encode(x=alt.X("mean:Q", **axis), tooltip=_MEAN_TIPS),
    ]
    if published is not None:
        rings = alt.Chart(published).mark_point(size=110, filled=False, strokeWidth=2, color=look.muted)
        layers.append(rings.encode(x=score, y=y, tooltip=_PUBLISHED_TIPS))
    return configured(alt.layer(*layers), _ROW_PX * len(names))


def differences_chart(differences: Sequence[PairedDifference], beside: str, look: Look) -> AnyChart:
    """How far every other architecture lies from `beside`, in points of Dice, with 95 % intervals.

    The grey band is a practical tie.
    """
    rows = []
    for difference in differences:
        if beside not in (difference.first, difference.second):
            continue
        sign, other = (-100, difference.second) if beside == difference.first else (100, difference.first)
        edges = sorted((sign * difference.low, sign * difference.high))
        rows.append(
            {
                "name": title(other),
                "points": sign * difference.mean,
                "low": edges[0],
                "high": edges[1],
                "p": difference.p_adjusted,
                "tie": difference.practically_equal,
                "verdict": "more than chance" if difference.told_apart else "may be chance",
            }
        )
    table = pd.DataFrame(rows).sort_values("points", ascending=False)
    names = list(table["name"])
    x = alt.X(
        "low:Q",
        axis=alt.Axis(
            title=f"points of Dice from {title(beside)} (100 points = Dice of 1)", gridOpacity=0.5, tickCount=9
        ),
    )
    band = pd.DataFrame([{"from": -100 * PRACTICALLY_NOTHING, "to": 100 * PRACTICALLY_NOTHING}])
    base = alt.Chart(table).encode(y=_rows(names))
    told = alt.Color(
        "verdict:N", scale=alt.Scale(domain=["more than chance", "may be chance"], range=[look.ink, look.muted])
    )
    legend = alt.Legend(title=None, orient="bottom")
    chart = alt.layer(
        alt.Chart(band).mark_rect(color=look.muted, opacity=0.18).encode(x=alt.X("from:Q"), x2="to:Q"),
        alt.Chart(pd.DataFrame([{"zero": 0}])).mark_rule(color=look.muted).encode(x="zero:Q"),
        base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", color=told.legend(legend)),
        base.mark_point(shape="diamond", size=110, filled=True, opacity=1).encode(
            x="points:Q",
            color=told.legend(legend),
            tooltip=[
                alt.Tooltip("name:N", title="network"),
                alt.Tooltip("points:Q", format="+.2f"),
                alt.Tooltip("low:Q", title="95 % from", format="+.2f"),
                alt.Tooltip("high:Q", title="to", format="+.2f"),
                alt.Tooltip("p:Q", title="p, Holm's", format=".3f"),
                alt.Tooltip("tie:Q", title="chance of a practical tie", format=".0%"),
            ],
        ),
    )
    return configured(chart, _ROW_PX * len(names))


def cost_chart(table: pd.DataFrame, cost: str, measure: Measure, look: Look) -> AnyChart:
    """Dice against a cost of COSTS on a logarithmic axis; the stepped line joins the Pareto front.

    `table` has `architecture`, `mean`, `low`, `high`, the cost's column and `best` (bool, on the front).
    """
    words, unit = COSTS[cost]
    shown = table.assign(name=table["architecture"].map(title), cost=table[cost] / unit)
    shown["left"] = _labels_on_the_left(np.log(shown["cost"].to_numpy(float)), shown["mean"].to_numpy(float))
    edges = [shown["cost"].min() / 1.4, shown["cost"].max() * 1.6]
    x = alt.X(
        "cost:Q",
        scale=alt.Scale(type="log", domain=edges, nice=False),
        axis=alt.Axis(title=words, gridOpacity=0.5, tickCount=6, format="~g"),
    )
    y = alt.Y(
        "mean:Q",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(title=MEASURE_NAMES[measure], gridOpacity=0.5, tickCount=7, format=".3f"),
    )
    base = alt.Chart(shown).encode(x=x)
    fill = alt.condition(alt.datum.best, alt.value(_colour(measure, look)), alt.value(look.muted))
    label = base.encode(y=y, text="name:N")
    chart = alt.layer(
        alt.Chart(shown[shown["best"]])
        .mark_line(interpolate="step-after", color=look.muted, strokeDash=[4, 3])
        .encode(x=x, y=y),
        base.mark_rule(opacity=0.35, color=look.muted).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(size=110, filled=True, opacity=1, stroke=look.paper, strokeWidth=1.5).encode(
            y=y,
            color=fill,
            tooltip=[
                alt.Tooltip("name:N", title="network"),
                alt.Tooltip("mean:Q", title="mean Dice", format=".4f"),
                *[alt.Tooltip(f"{column}:Q", title=name, format=".4~s") for column, (name, _) in COSTS.items()],
            ],
        ),
        label.transform_filter("!datum.left").mark_text(align="left", dx=9, dy=-8, fontSize=12, color=look.ink),
        label.transform_filter("datum.left").mark_text(align="right", dx=-9, dy=-8, fontSize=12, color=look.ink),
    )
    return configured(chart, 380)


def _labels_on_the_left(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of n points have their name on the left: those with another directly above on their right side."""
    near_x, near_y = 0.18 * (np.ptp(x) or 1), 0.06 * (np.ptp(y) or 1)
    right = x[None, :] - x[:, None]
    crowded = (right >= 0) & (right < near_x) & (np.abs(y[None, :] - y[:, None]) < near_y)
    np.fill_diagonal(crowded, val=False)
    return np.asarray(crowded.any(axis=1))


def leak_chart(leaks: Sequence[Leak], measure: Measure, look: Look) -> AnyChart:
    """For each architecture its reported Dice, with folds over originals (filled) and over copies (hollow)."""
    table = pd.DataFrame(
        [
            {"name": title(leak.architecture), "score": score, "protocol": protocol}
            for leak in leaks
            for protocol, score in (
                ("copies kept together", leak.grouped),
                ("as published: copies in both", leak.as_published),
            )
        ]
    )
    kinds = list(table["protocol"].unique())
    names = list(table.groupby("name")["score"].max().sort_values(ascending=False).index)
    base = alt.Chart(table).encode(y=_rows(names))
    x = alt.X(
        "score:Q",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(title=MEASURE_NAMES[measure], gridOpacity=0.5, tickCount=7, format=".3f"),
    )
    shape = alt.Shape(
        "protocol:N",
        scale=alt.Scale(domain=kinds, range=["diamond", "circle"]),
        legend=alt.Legend(title=None, orient="bottom"),
    )
    colour = _colour(measure, look)
    chart = alt.layer(
        base.mark_line(color=colour, strokeWidth=1.5, opacity=0.5).encode(x=x, detail="name:N"),
        base.mark_point(size=120, strokeWidth=2, color=colour, fill=look.paper, opacity=1).encode(
            x=x,
            shape=shape,
            tooltip=[
                alt.Tooltip("name:N", title="network"),
                alt.Tooltip("protocol:N"),
                alt.Tooltip("score:Q", title="Dice", format=".4f"),
            ],
        ),
    )
    return configured(chart, max(90, _ROW_PX * len(names)))


def learning_chart(epochs: pd.DataFrame, column: str, words: str) -> AnyChart:
    """Mean over the folds by epoch, a line an architecture, its lowest to highest fold as a band.

    `column` is one of `epochs`. The axis holds all that comes after the first quarter of the epochs.
    """
    table = epochs.assign(name=epochs["architecture"].map(title))
    names = list(dict.fromkeys(table["name"]))
    colours = [_PALETTE[i % len(_PALETTE)] for i in range(len(names))]
    dashes = [_DASHES[i // len(_PALETTE) % len(_DASHES)] for i in range(len(names))]
    by_epoch = (
        table.groupby(["name", "epoch"])[column].agg(mean="mean", low="min", high="max", folds="size").reset_index()
    )
    legend = alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolSize=500, symbolOpacity=1, columns=5)
    colour = alt.Color("name:N", scale=alt.Scale(domain=names, range=colours), legend=legend)
    base = alt.Chart(by_epoch).encode(
        x=alt.X("epoch:Q", axis=alt.Axis(title="epoch", tickMinStep=1, format="d", grid=False)), color=colour
    )
    # The first steps from nothing would press the rest, where networks differ, into one line.
    late = by_epoch[by_epoch["epoch"] > by_epoch["epoch"].max() / 4]
    low, high = float(late["low"].min()), float(late["high"].max())
    room = 0.05 * (high - low or 0.1)
    scale = alt.Scale(domain=[low - room, high + room], nice=False)
    y = alt.Y("mean:Q", scale=scale, axis=alt.Axis(title=words, gridOpacity=0.5))
    chart = alt.layer(
        base.mark_area(opacity=0.12, clip=True).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"),
        base.mark_line(strokeWidth=2, clip=True).encode(
            y=y, strokeDash=alt.StrokeDash("name:N", scale=alt.Scale(domain=names, range=dashes), legend=legend)
        ),
        base.mark_point(size=60, filled=True, opacity=0, clip=True).encode(
            y=y,
            tooltip=[
                alt.Tooltip("name:N", title="network"),
                alt.Tooltip("epoch:Q"),
                alt.Tooltip("mean:Q", title="mean over folds", format=".4f"),
                alt.Tooltip("low:Q", title="lowest fold", format=".4f"),
                alt.Tooltip("high:Q", title="highest", format=".4f"),
            ],
        ),
    )
    return configured(chart, 340)
