"""How a model was trained: its log as curves, and published scores as hollow marks."""

from typing import Final

import altair as alt
import pandas as pd

from core.charts.theme import AnyChart, Look, configured
from core.compartments import STYLES, Compartment

DICE_COLUMNS: Final = {"val_dice_nucleus": "nucleus", "val_dice_cytoplasm": "cytoplasm"}
LOSS_COLUMNS: Final = {"train_loss": "training images", "val_loss": "validation images"}


def _long(log: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    present = {column: name for column, name in columns.items() if column in log.columns}
    melted = log.melt("epoch", list(present), "series", "value").dropna()
    melted["series"] = melted["series"].map(present)
    return melted


def _curves(log: pd.DataFrame, columns: dict[str, str], title: str, colours: list[str], dashes: list[list[int]]) -> AnyChart:
    names = list(columns.values())
    nearest = alt.selection_point(nearest=True, on="pointerover", fields=["epoch"], empty=False, clear="pointerout")
    legend = alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolSize=500)
    base = alt.Chart(_long(log, columns)).encode(
        x=alt.X("epoch:Q", axis=alt.Axis(title="epoch (one pass over the training images)", tickMinStep=1, grid=False)),
        y=alt.Y("value:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title=title, gridOpacity=0.5)),
        color=alt.Color("series:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
    )
    dash = alt.StrokeDash("series:N", scale=alt.Scale(domain=names, range=dashes), legend=legend)
    line = base.mark_line(strokeWidth=2).encode(strokeDash=dash)
    points = base.mark_point(size=50, filled=True).encode(
        opacity=alt.condition(nearest, alt.value(1), alt.value(0)),
        tooltip=[alt.Tooltip("epoch:Q"), alt.Tooltip("series:N", title="of"), alt.Tooltip("value:Q", title=title, format=".4f")],
    )
    return alt.layer(line, points.add_params(nearest))


def dice_chart(log: pd.DataFrame, height: int = 300) -> AnyChart:
    """Dice of the validation images by epoch, nucleus and cytoplasm; `log` has `epoch` and the columns of DICE_COLUMNS."""
    styles = [STYLES[Compartment[name.upper()]] for name in DICE_COLUMNS.values()]
    chart = _curves(log, DICE_COLUMNS, "Dice", [s.colour for s in styles], [list(s.dash) or [1, 0] for s in styles])
    return configured(chart, height)


def loss_chart(log: pd.DataFrame, look: Look, height: int = 300) -> AnyChart:
    """Loss of training and validation images by epoch; `log` has `epoch` and the columns of LOSS_COLUMNS."""
    return configured(_curves(log, LOSS_COLUMNS, "loss", [look.muted, look.ink], [[4, 3], [1, 0]]), height)


def published_scores_chart(table: pd.DataFrame, look: Look) -> AnyChart:
    """Published mean Dice by architecture as hollow marks, best on top; `table` has `architecture`, `mean_dice_percent`, `source`."""
    ordered = table.sort_values("mean_dice_percent", ascending=False)
    low = float(ordered["mean_dice_percent"].min())
    base = alt.Chart(ordered).encode(y=alt.Y("architecture:N", sort=None, axis=alt.Axis(title=None)))
    x = alt.X(
        "mean_dice_percent:Q",
        scale=alt.Scale(domain=[low - 0.5, 96], nice=False),
        axis=alt.Axis(title="mean Dice (%)", gridOpacity=0.5, tickCount=6),
    )
    tooltip = [
        alt.Tooltip("architecture:N"),
        alt.Tooltip("encoder:N"),
        alt.Tooltip("mean_dice_percent:Q", title="mean Dice (%)"),
        alt.Tooltip("source:N"),
    ]
    chart = alt.layer(
        base.mark_point(size=110, filled=False, strokeWidth=2, color=look.muted).encode(x=x, tooltip=tooltip),
        base.mark_text(align="left", dx=10, color=look.muted, fontSize=12).encode(x=x, text=alt.Text("mean_dice_percent:Q", format=".2f")),
    )
    return configured(chart, height=28 * len(ordered))
