"""How a model was trained: its log as curves."""

from collections.abc import Sequence
from typing import Final

import altair as alt
import pandas as pd

from core.charts.theme import AnyChart, Look, configured
from core.domain.compartments import STYLES, Compartment
from core.evaluation.adaptation import LearningPoint

DICE_COLUMNS: Final = {"val_dice_nucleus": "nucleus", "val_dice_cytoplasm": "cytoplasm"}
LOSS_COLUMNS: Final = {"train_loss": "training images", "val_loss": "validation images"}


def _long(log: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    present = {column: name for column, name in columns.items() if column in log.columns}
    melted = log.melt("epoch", list(present), "series", "value").dropna()
    melted["series"] = melted["series"].map(present)
    return melted


def _curves(
    log: pd.DataFrame, columns: dict[str, str], title: str, colours: list[str], dashes: list[list[int]]
) -> AnyChart:
    names = list(columns.values())
    nearest = alt.selection_point(nearest=True, on="pointerover", fields=["epoch"], empty=False, clear="pointerout")
    legend = alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolSize=500)
    base = alt.Chart(_long(log, columns)).encode(
        x=alt.X(
            "epoch:Q",
            axis=alt.Axis(title="epoch (one pass over the training images)", tickMinStep=1, format="d", grid=False),
        ),
        y=alt.Y("value:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title=title, gridOpacity=0.5)),
        color=alt.Color("series:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
    )
    dash = alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=dashes), legend=legend)
    line = base.mark_line(strokeWidth=2, point=len(log) == 1).encode(strokeDash=dash)
    points = base.mark_point(size=50, filled=True).encode(
        opacity=alt.condition(nearest, alt.value(1), alt.value(0)),
        tooltip=[
            alt.Tooltip("epoch:Q"),
            alt.Tooltip("series:N", title="of"),
            alt.Tooltip("value:Q", title=title, format=".4f"),
        ],
    )
    return alt.layer(line, points.add_params(nearest))


def dice_chart(log: pd.DataFrame, height: int = 300) -> AnyChart:
    """Dice of the validation images by epoch and object; `log` has `epoch` and the columns of DICE_COLUMNS."""
    styles = [STYLES[Compartment[name.upper()]] for name in DICE_COLUMNS.values()]
    chart = _curves(log, DICE_COLUMNS, "Dice", [s.colour for s in styles], [list(s.dash) or [1, 0] for s in styles])
    return configured(chart, height)


def loss_chart(log: pd.DataFrame, look: Look, height: int = 300) -> AnyChart:
    """Loss of training and validation images by epoch; `log` has `epoch` and the columns of LOSS_COLUMNS."""
    return configured(_curves(log, LOSS_COLUMNS, "loss", [look.muted, look.ink], [[4, 3], [1, 0]]), height)


def learning_chart(curve: Sequence[LearningPoint], look: Look, height: int = 240) -> AnyChart:
    """Mean Dice of held-back cells by the number of cells learnt from, with 95 % intervals."""
    table = pd.DataFrame([point._asdict() for point in curve])
    cells = alt.X("cells:Q", axis=alt.Axis(title="corrected cells learnt from", format="d", grid=False, tickMinStep=1))
    axis = alt.Axis(title="Dice of held-back cells", gridOpacity=0.5)
    dice, low = (alt.Y(f"{name}:Q", scale=alt.Scale(zero=False), axis=axis) for name in ("dice", "low"))
    base = alt.Chart(table).encode(x=cells)
    interval = base.mark_rule(color=look.muted).encode(y=low, y2="high:Q")
    tooltip = [
        alt.Tooltip("cells:Q", title="cells"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("dice", "low", "high")),
    ]
    line = base.mark_line(color=look.ink, strokeWidth=2).encode(y=dice)
    points = base.mark_point(color=look.ink, filled=True, size=60).encode(y=dice, tooltip=tooltip)
    return configured(alt.layer(interval, line, points), height)
