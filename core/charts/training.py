"""How a model was trained: its log as curves."""

from typing import Final

import altair as alt
import pandas as pd

from core.charts.theme import AnyChart, Look, configured
from core.domain.compartments import STYLES, Compartment

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
