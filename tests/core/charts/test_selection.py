import json

import pandas as pd
import pytest

from core.charts.selection import COSTS, cost_chart, differences_chart, leak_chart, learning_chart, ranking_chart
from core.charts.theme import LIGHT
from core.evaluation import model_selection as results
from core.evaluation.model_comparison import Measure, fair, leaks, paired_differences, pareto, ranking
from tests.selection_runs import LEVELS, K, tables, write_run


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path)


def rows(chart, key: str) -> list[dict]:
    """The data a chart carries that have this field."""
    return [row for block in chart.to_dict()["datasets"].values() for row in block if key in row]


def test_the_ranking_holds_every_fold_the_means_and_the_published_ones_hollow(run):
    folds, _ = tables(run)
    published = pd.DataFrame(
        {"architecture": ["unet", "u2net"], "encoder": "b6", "mean_dice_percent": [95.1, 94.4], "source": "thesis"}
    )
    chart = ranking_chart(ranking(folds, Measure.MEAN), fair(folds), Measure.MEAN, LIGHT, published)
    assert len([row for row in rows(chart, "fold") if "folds" not in row]) == K * len(LEVELS)
    assert [row["name"] for row in rows(chart, "folds")] == ["UNet", "FPN", "PSPNet"]
    assert {row["name"] for row in rows(chart, "mean_dice_percent")} == {"UNet", "U2-Net"}
    spec = json.dumps(chart.to_dict())
    assert '"filled": false' in spec
    assert '["UNet", "FPN", "PSPNet", "U2-Net"]' in spec


def test_a_single_fold_is_drawn_without_an_interval(run):
    folds, _ = tables(run)
    one = folds[folds["fold"] == 1]
    chart = ranking_chart(ranking(one, Measure.NUCLEUS), fair(one), Measure.NUCLEUS, LIGHT)
    assert all(row["low"] is None for row in rows(chart, "low"))


@pytest.mark.parametrize("beside", list(LEVELS))
def test_differences_point_away_from_the_chosen_network(run, beside):
    folds, _ = tables(run)
    found = rows(differences_chart(paired_differences(folds, Measure.MEAN), beside, LIGHT), "points")
    assert len(found) == len(LEVELS) - 1
    for row in found:
        assert row["low"] < row["points"] < row["high"]
        other = {"UNet": "unet", "FPN": "fpn", "PSPNet": "pspnet"}[row["name"]]
        assert row["points"] == pytest.approx(100 * (LEVELS[other] - LEVELS[beside]), abs=0.4)


def test_costs_are_drawn_in_their_unit_with_the_line_of_the_best():
    table = pd.DataFrame(
        {"architecture": ["unet", "fpn", "pspnet"], "mean": [0.95, 0.94, 0.90], "low": 0.8, "high": 0.99}
        | {
            "milliseconds": [30.0, 40.0, 10.0],
            "macs": [1e9, 2e9, 5e8],
            "parameters": [5e6, 4e6, 1e6],
            "onnx_mb": [20.0, 16.0, 4.0],
        }
    )
    for cost, (_, unit) in COSTS.items():
        table["best"] = pareto(table[cost].to_numpy(float), table["mean"].to_numpy(float))
        drawn = rows(cost_chart(table, cost, Measure.MEAN, LIGHT), "cost")
        assert {row["name"]: row["cost"] for row in drawn}["UNet"] == pytest.approx(table[cost].iloc[0] / unit)
        assert {row["name"] for row in drawn if row["best"]} >= {"UNet", "PSPNet"}


def test_the_leak_is_drawn_for_both_protocols(run):
    found = rows(leak_chart(leaks(*tables(run, None), Measure.MEAN), Measure.MEAN, LIGHT), "protocol")
    assert {row["protocol"] for row in found} == {"copies kept together", "as published: copies in both"}
    assert {row["name"] for row in found} == {"UNet"}


def test_curves_hold_every_epoch_of_every_network(run):
    epochs = results.read(run, "epochs")
    chart = learning_chart(epochs[epochs["protocol"] == "grouped"], "val_dice_nucleus", "Dice of the nucleus")
    drawn = rows(chart, "epoch")
    assert {(row["name"], row["epoch"]) for row in drawn} == {
        (name, e) for name in ("UNet", "FPN", "PSPNet") for e in (1, 2, 3)
    }
    assert all(row["low"] <= row["mean"] <= row["high"] and row["folds"] == K for row in drawn)
