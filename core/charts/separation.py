"""What separates groups: features in rows, each with effect and interval, the effect before p, n always beside it."""

import json
from collections.abc import Sequence
from typing import Any, Final, Protocol

import altair as alt
import pandas as pd

from core.charts.groups import DrawnGroup
from core.charts.labels import number
from core.charts.theme import AnyChart, Look, configured
from core.charts.trust import Reliability, is_poor, why
from core.features.catalogue import CATALOGUE

SIGNIFICANT: Final = 0.05
_ROW_PX: Final = 24
_EQUAL: Final = "equal"
_LEAST_P: Final = 0.001


class Effect(Protocol):
    """One feature between groups: Cliff's delta of two, positive where the first is larger; epsilon squared of more.

    `n` cells, and patients where known, by group; `low` to `high` an interval, `q` the corrected p. None where not
    known.
    """

    @property
    def feature(self) -> str: ...  # noqa: D102 - see the class
    @property
    def n(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def patients(self) -> tuple[int, ...] | None: ...  # noqa: D102
    @property
    def effect(self) -> float | None: ...  # noqa: D102
    @property
    def low(self) -> float | None: ...  # noqa: D102
    @property
    def high(self) -> float | None: ...  # noqa: D102
    @property
    def q(self) -> float | None: ...  # noqa: D102


def separation_chart(
    found: Sequence[Effect], words: Sequence[str], groups: Sequence[DrawnGroup], reliability: Reliability, look: Look
) -> AnyChart:
    """Draw effects as points with intervals, in the order given; hollow where q is not below 0.05, faint where poor.

    Parameters
    ----------
    found
        Effects between `groups`; one without an effect has no row.
    words
        What each says in plain words, for the hover text.
    groups
        Two: the point has the colour and shape of the group with the larger values. More: one colour.
    reliability
        How far each feature can be trusted.
    look
        Colours of the page.
    """
    two = len(groups) == 2
    rows = [
        _row(each, text, groups, reliability)
        for each, text in zip(found, words, strict=True)
        if each.effect is not None
    ]
    columns = [
        "feature",
        "effect",
        "low",
        "high",
        "larger",
        "sure",
        "poor",
        "In words",
        "Interval",
        "n",
        "Patients",
        "q",
        "Trust",
    ]
    frame = pd.DataFrame(rows, columns=columns)
    keys = list(frame["feature"])
    scale = alt.Scale(domain=[-1, 1] if two else [0, 1], nice=False)
    x_axis = alt.Axis(
        title=_axis_title(groups), gridOpacity=0.5, tickCount=9 if two else 6, format=".2~f", orient="top"
    )
    x = alt.X("effect:Q", scale=scale, axis=x_axis)
    labels = {key: CATALOGUE[key].label + (", poor" if is_poor(key, reliability) else "") for key in keys}
    left = alt.Axis(
        title=None, labelExpr=_expression(labels), labelLimit=280, grid=True, gridOpacity=0.25, labelOverlap=False
    )
    beside = {row["feature"]: f"n {row['n']}, q {row['q']}" for row in rows}
    right = alt.Axis(
        title=None,
        orient="right",
        labelExpr=_expression(beside),
        domain=False,
        ticks=False,
        labelOverlap=False,
        labelLimit=260,
        grid=False,
    )
    y_scale = alt.Scale(domain=keys)
    y = alt.Y("feature:N", sort=None, scale=y_scale, axis=left)
    sides = [(group.name, group.line(look), group.shape) for group in groups] if two else []
    if not two or _EQUAL in set(frame["larger"]):
        sides.append((_EQUAL, look.ink, "circle"))
    names, colours, shapes = zip(*sides, strict=True)
    colour, shape = (
        alt.Scale(domain=list(names), range=list(colours)),
        alt.Scale(domain=list(names), range=list(shapes)),
    )
    faint = alt.OpacityValue(1, condition={"test": "datum.poor", "value": 0.35})
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("In words", "Interval", "n", "Patients", "q", "Trust")]
    base = alt.Chart(frame).encode(y=y, opacity=faint)
    legend = alt.Legend(title="larger in", orient="bottom") if two else None
    stroke = alt.Stroke("larger:N", scale=colour, legend=legend)
    fill = alt.Fill("larger:N", scale=colour, legend=legend)
    marks = base.encode(x=x, shape=alt.Shape("larger:N", scale=shape, legend=legend), stroke=stroke, tooltip=tooltip)
    layers = [
        alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=look.muted).encode(x=alt.X("zero:Q", scale=scale)),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", scale=scale, axis=x_axis), x2="high:Q", stroke=stroke),
        marks.transform_filter("datum.sure").mark_point(size=65, strokeWidth=1.5).encode(fill=fill),
        marks.transform_filter("!datum.sure").mark_point(size=65, strokeWidth=1.5, fill=look.paper),
    ]
    texts = alt.Chart(frame).mark_point(opacity=0).encode(y=alt.Y("feature:N", sort=None, scale=y_scale, axis=right))
    chart = alt.layer(alt.layer(*layers), texts).resolve_scale(y="independent")
    return configured(chart, _ROW_PX * max(1, len(keys)))


def _row(found: Effect, words: str, groups: Sequence[DrawnGroup], reliability: Reliability) -> dict[str, Any]:
    effect = found.effect or 0.0
    larger = _EQUAL if effect == 0 or len(groups) > 2 else groups[0 if effect > 0 else 1].name
    interval = found.low is not None and found.high is not None
    return {
        "feature": found.feature,
        "effect": effect,
        "low": found.low,
        "high": found.high,
        "larger": larger,
        "sure": found.q is not None and found.q < SIGNIFICANT,
        "poor": is_poor(found.feature, reliability),
        "In words": words,
        "Interval": f"{number(effect)} ({number(found.low)} to {number(found.high)})" if interval else number(effect),
        "n": " / ".join(f"{n:,}" for n in found.n),
        "Patients": "not all known" if found.patients is None else " / ".join(map(str, found.patients)),
        "q": "not tested" if found.q is None else f"< {_LEAST_P}" if found.q < _LEAST_P else number(found.q),
        "Trust": why(found.feature, reliability) or "not yet measured for this model",
    }


def _axis_title(groups: Sequence[DrawnGroup]) -> str:
    if len(groups) != 2:
        return "epsilon squared: share of the differences in rank that lies between the groups"
    return "Cliff's delta (0: no difference, 1 or -1: no overlap)"


def _expression(labels: dict[str, str]) -> str:
    """Vega expression that turns the key of a row into its label."""
    return f"{json.dumps(labels, ensure_ascii=False)}[datum.value]"
