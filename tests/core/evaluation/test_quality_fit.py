"""Fitting how good outlines are: on made tables, and a few real cells."""

from dataclasses import replace
from shutil import copyfile

import numpy as np
import pandas as pd
import pytest

from core.domain.errors import DataSetError
from core.evaluation.quality_fit import evaluate, expected, fit_score, judge_of, left_out, limit_of, store
from core.quality.outline_quality import load
from core.quality.outline_signs import OUTLINE_SIGNS
from core.segmentation.model_registry import find_model


@pytest.fixture(scope="module")
def rows():
    """Outlines of three laboratories whose Dice hangs on how they fit their boxes, in one of them drawn boxes only."""
    rng = np.random.default_rng(0)
    parts = []
    for source in ("set1", "bccd", "BCDD"):
        dice = rng.beta(14, 1.2, 300)
        signs = {name: rng.normal(0, 0.3, 300) for name in OUTLINE_SIGNS}
        signs["box"] = -np.log10(1.02 - dice) + rng.normal(0, 0.1, 300)
        known = {"model_id": "m", "source": source, "drawn": source != "BCDD", "dice": dice, "box_iou": dice}
        parts.append(pd.DataFrame({**known, "kind": "as it is", **signs}))
    return pd.concat(parts, ignore_index=True)


def test_the_sign_that_tells_weighs_and_what_is_expected_is_true(rows):
    score = fit_score(rows)
    weights = {name: abs(term.weight) for name, term in score.coefficients.items()}
    assert max(weights, key=weights.get) == "box"
    told = expected(rows, score)
    assert told.mean() == pytest.approx(rows["dice"].clip(0, 0.995).mean(), abs=0.01)
    assert told.corr(rows["dice"], method="spearman") > 0.9


def test_the_limit_refuses_few_right_outlines_of_every_laboratory(rows):
    told = left_out(rows)
    limit = limit_of(rows, told)
    right = rows["dice"] >= 0.9
    assert (told[right] < limit).groupby(rows.loc[right, "source"]).mean().max() <= 0.05
    tables = evaluate(rows, told, ("set1",))
    for row in tables["laboratories"]:
        # By a limit that was chosen without it.
        assert row["refused"] <= 0.1
        assert row["flagged"] > 0.8
        assert row["rank"] > 0.8
        assert row["seen in training"] == (row["source"] == "set1")
    assert all(
        abs(row["mean_expected"] - row["mean_true"]) < 0.05 for row in tables["calibration"] if row["outlines"] > 20
    )


def test_a_laboratory_of_another_network_stands_for_the_models_own(rows, model_entry):
    own = rows[rows["source"] == "set1"].assign(model_id=model_entry.model_id)
    other = rows[rows["source"] == "set1"].assign(model_id="without-set1")
    rest = rows[rows["source"] != "set1"].assign(model_id=model_entry.model_id)
    assert judge_of(model_entry, [pd.concat([own, rest])], "").trained_on == ("bccd", "set1")
    judge = judge_of(model_entry, [other, pd.concat([own, rest])], "")
    assert judge.trained_on == ("bccd",)
    assert judge.checked["cells"] == 300


def test_one_laboratory_is_too_few(rows, model_entry):
    with pytest.raises(DataSetError, match="two laboratories"):
        judge_of(model_entry, [rows[rows["source"] == "bccd"]], "")


def test_it_is_kept_beside_the_model_and_named_in_the_manifest(rows, model_entry, tmp_path):
    copyfile(model_entry.path.with_name("manifest.json"), tmp_path / "manifest.json")
    judge = judge_of(model_entry, [rows], "python -m core quality")
    kept = store(judge, replace(model_entry, path=tmp_path / model_entry.path.name))
    assert find_model(folder=tmp_path).quality == kept
    assert load(kept, model_entry.sha256) == judge
