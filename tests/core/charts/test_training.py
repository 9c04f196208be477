import numpy as np
import pandas as pd

from core.charts.theme import LIGHT
from core.charts.training import dice_chart, learning_chart, loss_chart
from tests.accounts import made_account


def _rows(spec: dict, key: str) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


def test_training_curves_hold_every_epoch_and_series():
    epochs = np.arange(1, 6)
    log = pd.DataFrame(
        {
            "epoch": epochs,
            "train_loss": 1 / epochs,
            "val_loss": 1.1 / epochs,
            "val_dice_nucleus": 0.9,
            "val_dice_cytoplasm": 0.8,
        }
    )
    dice = _rows(dice_chart(log).to_dict(), "series")
    assert {row["series"] for row in dice} == {"nucleus", "cytoplasm"}
    assert len(dice) == 10
    assert {row["series"] for row in _rows(loss_chart(log, LIGHT).to_dict(), "series")} == {
        "training images",
        "validation images",
    }


def test_the_learning_curve_has_every_point_with_its_interval_and_one_title():
    curve = made_account().curve
    spec = learning_chart(curve, LIGHT).to_dict()
    rows = _rows(spec, "cells")
    assert [(row["cells"], row["low"], row["high"]) for row in rows] == [(p.cells, p.low, p.high) for p in curve]
    titles = {layer["encoding"]["y"]["axis"]["title"] for layer in spec["layer"]}
    assert titles == {"Dice of held-back cells"}
