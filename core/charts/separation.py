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
_TOLD: Final = ("In words", "Interval", "n", "Patients", "q", "Trust")  # in the hover text
_COLUMNS: Final = ("feature", "effect", "low", "high", "larger", "sure", "poor", *_TOLD)


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
    effects: Sequence[Effect], words: Sequence[str], groups: Sequence[DrawnGroup], reliability: Reliability, look: Look
) -> AnyChart:
    """Draw effects as points with intervals, in the order given; hollow where q is not below 0.05, faint where poor.

    Parameters
    ----------
    effects
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
        for each, text in zip(effects, words, strict=True)
        if each.effect is not None
    ]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    keys = list(frame["feature"])
    labels = {key: CATALOGUE[key].label + (", poor" if is_poor(key, reliability) else "") for key in keys}
    beside = {row["feature"]: f"n {row['n']}, q {row['q']}" for row in rows}
    layers = _effects(frame, _effect_axis(groups), _feature_axis(keys, labels), _by_larger(frame, groups, look), look)
    texts = alt.Chart(frame).mark_point(opacity=0).encode(y=_beside_axis(keys, beside))
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).mark_rule(color=look.muted)
    zero = zero.encode(x=alt.X("zero:Q", scale=_effect_scale(two=two)))
    chart = alt.layer(alt.layer(zero, *layers), texts).resolve_scale(y="independent")
    return configured(chart, _ROW_PX * max(1, len(keys)))


def _effect_scale(*, two: bool) -> alt.Scale:
    return alt.Scale(domain=[-1, 1] if two else [0, 1], nice=False)


def _effect_axis(groups: Sequence[DrawnGroup]) -> dict[str, Any]:
    two = len(groups) == 2
    axis = alt.Axis(title=_axis_title(groups), gridOpacity=0.5, tickCount=9 if two else 6, format=".2~f", orient="top")
    return {"scale": _effect_scale(two=two), "axis": axis}


def _feature_axis(keys: list[str], labels: dict[str, str]) -> alt.Y:
    """The features at the left, by their labels."""
    axis = alt.Axis(
        title=None, labelExpr=_expression(labels), labelLimit=280, grid=True, gridOpacity=0.25, labelOverlap=False
    )
    return alt.Y("feature:N", sort=None, scale=alt.Scale(domain=keys), axis=axis)


def _beside_axis(keys: list[str], texts: dict[str, str]) -> alt.Y:
    """What stands at the right of each row."""
    expression = _expression(texts)
    axis = alt.Axis(
        title=None, orient="right", labelExpr=expression, domain=False, ticks=False, labelOverlap=False,
        labelLimit=260, grid=False,
    )  # fmt: skip
    return alt.Y("feature:N", sort=None, scale=alt.Scale(domain=keys), axis=axis)


def _by_larger(frame: pd.DataFrame, groups: Sequence[DrawnGroup], look: Look) -> tuple[alt.Stroke, alt.Fill, alt.Shape]:
    """Line, filling and shape of the group with the larger values; of more than two groups all are alike."""
    two = len(groups) == 2
    sides = [(group.name, group.line(look), group.shape) for group in groups] if two else []
    if not two or _EQUAL in set(frame["larger"]):
        sides.append((_EQUAL, look.ink, "circle"))
    names, colours, shapes = zip(*sides, strict=True)
    colour = alt.Scale(domain=list(names), range=list(colours))
    shape = alt.Scale(domain=list(names), range=list(shapes))
    legend = alt.Legend(title="larger in", orient="bottom") if two else None
    return (
        alt.Stroke("larger:N", scale=colour, legend=legend),
        alt.Fill("larger:N", scale=colour, legend=legend),
        alt.Shape("larger:N", scale=shape, legend=legend),
    )


def _effects(
    frame: pd.DataFrame,
    effect: dict[str, Any],
    y: alt.Y,
    by_larger: tuple[alt.Stroke, alt.Fill, alt.Shape],
    look: Look,
) -> list[alt.Chart]:
    """Intervals, points of what is sure, and hollow ones of what is not."""
    stroke, fill, shape = by_larger
    faint = alt.OpacityValue(1, condition={"test": "datum.poor", "value": 0.35})
    tooltip = [alt.Tooltip(f"{name}:N") for name in _TOLD]
    base = alt.Chart(frame).encode(y=y, opacity=faint)
    marks = base.encode(x=alt.X("effect:Q", **effect), shape=shape, stroke=stroke, tooltip=tooltip)
    return [
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **effect), x2="high:Q", stroke=stroke),
        marks.transform_filter("datum.sure").mark_point(size=65, strokeWidth=1.5).encode(fill=fill),
        marks.transform_filter("!datum.sure").mark_point(size=65, strokeWidth=1.5, fill=look.paper),
    ]


def _row(ranked: Effect, words: str, groups: Sequence[DrawnGroup], reliability: Reliability) -> dict[str, Any]:
    effect = ranked.effect or 0.0
    larger = _EQUAL if effect == 0 or len(groups) > 2 else groups[0 if effect > 0 else 1].name
    interval = ranked.low is not None and ranked.high is not None
    return {
        "feature": ranked.feature,
        "effect": effect,
        "low": ranked.low,
        "high": ranked.high,
        "larger": larger,
        "sure": ranked.q is not None and ranked.q < SIGNIFICANT,
        "poor": is_poor(ranked.feature, reliability),
        "In words": words,
        "Interval": f"{number(effect)} ({number(ranked.low)} to {number(ranked.high)})" if interval else number(effect),
        "n": " / ".join(f"{n:,}" for n in ranked.n),
        "Patients": "not all known" if ranked.patients is None else " / ".join(map(str, ranked.patients)),
        "q": "not tested" if ranked.q is None else f"< {_LEAST_P}" if ranked.q < _LEAST_P else number(ranked.q),
        "Trust": why(ranked.feature, reliability) or "not yet measured for this model",
    }


def _axis_title(groups: Sequence[DrawnGroup]) -> str:
    if len(groups) != 2:
        return "epsilon squared: share of the differences in rank that lies between the groups"
    return "Cliff's delta (0: no difference, 1 or -1: no overlap)"


def _expression(labels: dict[str, str]) -> str:
    """Vega expression that turns the key of a row into its label."""
    return f"{json.dumps(labels, ensure_ascii=False)}[datum.value]"
