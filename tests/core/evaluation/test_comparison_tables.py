import numpy as np
import pandas as pd
import pytest

from core.evaluation import model_selection as results
from core.evaluation.comparison_tables import MEASURES, differences_table, of_protocol, ranking_table, with_costs
from core.evaluation.model_comparison import Measure, paired_differences, ranking
from tests.selection_runs import LEVELS, K, write_run


@pytest.fixture(scope="module")
def folds(tmp_path_factory) -> pd.DataFrame:
    everything = results.read(write_run(tmp_path_factory.mktemp("runs")), "folds")
    return of_protocol(everything, "grouped", [K])


def test_rows_are_of_one_protocol_and_of_the_wanted_folds(folds):
    assert len(folds) == K * len(LEVELS)
    assert set(folds["protocol"]) == {"grouped"}
    assert of_protocol(folds, "grouped", [K + 1]).empty


def test_the_ranking_as_a_table_holds_every_measure_best_first(folds):
    scores = ranking(folds, Measure.MEAN)
    table = ranking_table(folds, scores)
    assert table["Network"].tolist() == ["UNet", "FPN", "PSPNet"]
    for measure, words in MEASURES.items():
        of = {score.architecture: score for score in ranking(folds, measure)}
        assert table[words].tolist() == [of[score.architecture].mean for score in scores]
        assert table[f"{words}, spread (SD)"].tolist() == [of[score.architecture].sd for score in scores]
    assert table["Minutes a fold"].iloc[0] == pytest.approx(
        folds.loc[folds["architecture"] == "unet", "seconds"].mean() / 60
    )


def test_differences_are_in_points_with_both_names(folds):
    differences = paired_differences(folds, Measure.MEAN)
    table = differences_table(differences)
    assert len(table) == 3
    assert table["Points"].tolist() == [100 * found.mean for found in differences]
    assert table.loc[0, ["Better", "Other"]].tolist() == ["UNet", "FPN"]


def test_the_best_for_their_cost_are_marked(folds):
    costs = pd.DataFrame({"architecture": ["unet", "fpn", "pspnet"], "milliseconds": [9.0, 3.0, 5.0]})
    table = with_costs(ranking(folds, Measure.MEAN), costs, "milliseconds")
    assert dict(zip(table["architecture"], table["best"], strict=True)) == {"unet": True, "fpn": True, "pspnet": False}
    assert len(with_costs(ranking(folds, Measure.MEAN), costs[:1], "milliseconds")) == 1
    assert np.isfinite(table["low"]).all()
