"""The account of an adapted model: kept, told in words, and what speaks against the model."""

from dataclasses import replace

import pytest

from core.domain.errors import ModelError
from core.evaluation.adaptation import (
    ACCOUNT_FILE,
    AdaptationProgress,
    FeatureBias,
    LearningPoint,
    compared,
    in_words,
    learnt,
    load,
    refusal,
    save,
)
from tests.accounts import difference, made_account

SAME = {"set1": {region: difference(0.96, 0.9551) for region in ("nucleus", "cytoplasm", "cell", "mean")}}
WORSE = {"set1": SAME["set1"] | {"cytoplasm": difference(0.95, 0.944)}}
BETTER = {"mean": difference(0.80, 0.85)}


def test_an_account_comes_back_as_it_was_kept(tmp_path):
    account = made_account()
    save(account, tmp_path / ACCOUNT_FILE)
    assert load(tmp_path / ACCOUNT_FILE) == account


def test_a_damaged_account_is_told(tmp_path):
    (tmp_path / ACCOUNT_FILE).write_text("{}")
    with pytest.raises(ModelError, match=r"adaptation\.json is missing or damaged"):
        load(tmp_path / ACCOUNT_FILE)
    with pytest.raises(ModelError, match="missing"):
        load(tmp_path / "nowhere" / ACCOUNT_FILE)


def test_more_than_half_a_point_forgotten_refuses():
    assert refusal(SAME, BETTER, {}, 0.005) == ""
    assert "forgets what it knew: cytoplasm of Jiangxi Tecom rapid stain -0.6 points" in refusal(
        WORSE, BETTER, {}, 0.005
    )


def test_a_model_that_draws_the_laboratory_worse_is_refused():
    worse = {"mean": difference(0.8, 0.79)}
    assert "worse: -1.0 points" in refusal({}, worse, {}, 0.005)
    assert "worse: -1.0 points" in refusal({}, BETTER, worse, 0.005)
    by_chance = {"mean": replace(worse["mean"], ci95=(-0.05, 0.03))}
    assert refusal({}, BETTER, by_chance, 0.005) == ""


def test_the_curve_says_what_as_many_cells_more_would_add():
    curve = (LearningPoint(0, 0.80, 0.7, 0.9), LearningPoint(8, 0.84, 0.7, 0.9), LearningPoint(16, 0.86, 0.8, 0.9))
    assert "16 further corrected cells add about 2.0 points" in learnt(curve)
    flat = (*curve[:2], LearningPoint(16, 0.842, 0.8, 0.9))
    assert "hardly help" in learnt(flat)


def test_the_blind_sample_judges_where_there_is_one():
    blind = {"mean": difference(0.7, 0.8)}
    assert made_account().judged_by == made_account().held_back
    account = made_account(blind_sample=blind, blind=5)
    assert account.judged_by == blind
    assert next(iter(compared(account))) == "Cells drawn without the model's outline"


def test_words_tell_gain_cost_and_what_is_not_known():
    said = "\n".join(in_words(made_account()))
    assert "before 0.8000, now 0.8500: +5.00 points" in said
    assert "only cells drawn blind tell" in said
    assert "is not measured: no image is at hand" in said
    assert "Do not use it" not in said
    refused = "\n".join(in_words(made_account(known=SAME, refused="it forgets")))
    assert "Jiangxi Tecom rapid stain, which shipped knows:" in refused
    assert "Do not use it: it forgets." in refused


@pytest.mark.parametrize(
    ("before", "after", "went", "stays"),
    [
        ((0.5, 0.3, 0.7), (0.1, -0.1, 0.3), True, False),
        ((0.5, 0.3, 0.7), (0.4, 0.2, 0.6), False, True),
        ((0.5, -0.1, 1.1), (0.1, -0.1, 0.3), False, False),
        ((0.1, 0.05, 0.15), (-0.6, -0.8, -0.4), False, True),
    ],
)
def test_a_bias_goes_only_if_it_was_there_beyond_chance(before, after, went, stays):
    bias = FeatureBias("nucleus_shape2D_Elongation", *before, *after)
    assert (bias.went, bias.stays) == (went, stays)


def test_progress_is_found_again_by_the_folder(tmp_path):
    assert AdaptationProgress.of(tmp_path) is None
    AdaptationProgress("network 2 of 7", 0.2).keep(tmp_path)
    assert AdaptationProgress.of(tmp_path) == AdaptationProgress("network 2 of 7", 0.2)
