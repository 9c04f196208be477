import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from core.evaluation.model_comparison import (
    Measure,
    fair,
    few_images,
    hardest,
    holm,
    leaks,
    paired_differences,
    pareto,
    ranking,
    verdict,
)
from tests.selection_runs import IMAGES_A_FOLD, LEAK, LEVELS, K, tables, write_run


def folds_of(scores: dict[str, list[float]], *, train: int = 80, validation: int = 20) -> pd.DataFrame:
    """Rows of `folds` with these mean Dice per architecture and fold."""
    return pd.DataFrame(
        [
            {"k": len(values), "fold": fold, "architecture": name, "dice_mean": value, "status": "done"}
            | {"images_train": train, "images_validation": validation}
            for name, values in scores.items()
            for fold, value in enumerate(values, start=1)
        ]
    )


def test_the_test_is_nadeau_and_bengios():
    # Differences 0.01 0.02 0.03 0.02 0.02: mean 0.02, variance 5e-5, corrected error sqrt((1/5 + 20/80) * 5e-5) =
    # 0.004743, t = 4.216.
    table = folds_of({"a": [0.91, 0.92, 0.93, 0.92, 0.92], "b": [0.90] * 5})
    (found,) = paired_differences(table, Measure.MEAN)
    assert (found.first, found.second, found.folds) == ("a", "b", 5)
    assert found.mean == pytest.approx(0.02)
    assert found.p == pytest.approx(2 * stats.t.sf(4.2164, 4), rel=1e-4)
    assert found.p == pytest.approx(0.0135, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((0.02 - 2.7764 * 0.0047434, 0.02 + 2.7764 * 0.0047434), abs=1e-6)
    tie = stats.t.cdf([-0.005, 0.005], 4, loc=0.02, scale=0.0047434)
    assert found.practically_equal == pytest.approx(tie[1] - tie[0], rel=1e-4)


def test_the_correction_keeps_chance_from_looking_like_a_difference():
    """Scores of folds that share training images.

    A plain t-test calls chance a difference too often, the corrected one does not.
    """
    rng = np.random.default_rng(3)
    plain = corrected = 0
    trials = 150
    for _ in range(trials):
        # Two models that differ by chance on 40 images, scored on ten random fifths of them: the fifths overlap, the
        # images stay few.
        by_image = rng.normal(0, 0.01, 40)
        differences = [float(rng.permutation(by_image)[:8].mean()) for _ in range(10)]
        plain += stats.ttest_1samp(differences, 0).pvalue < 0.05
        corrected += (
            paired_differences(folds_of({"a": differences, "b": [0.0] * 10}, train=32, validation=8), Measure.MEAN)[0].p
            < 0.05
        )
    assert plain > 0.1 * trials
    assert corrected < 0.05 * trials


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_never_smaller_than_p_and_keeps_the_order(p):
    adjusted = holm(p)
    assert all(a >= b and a <= 1 for a, b in zip(adjusted, p, strict=True))
    order = np.argsort(p, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= 0)
    assert min(adjusted) == pytest.approx(min(1.0, len(p) * min(p)))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_means_are_compared_over_folds_that_all_have(tmp_path):
    folds, _ = tables(write_run(tmp_path, skip=[("pspnet", 5)], failed=[("fpn", 4)]))
    assert set(fair(folds)["fold"]) == {1, 2, 3}
    scores = ranking(folds, Measure.MEAN)
    assert [score.architecture for score in scores] == list(LEVELS)
    assert {score.folds for score in scores} == {3}
    assert all(found.folds == 3 for found in paired_differences(folds, Measure.MEAN))


def test_ranking_and_differences_of_a_whole_run(tmp_path):
    folds, _ = tables(write_run(tmp_path))
    for measure, shift in ((Measure.MEAN, 0), (Measure.NUCLEUS, 0.01), (Measure.CYTOPLASM, -0.01)):
        for score in ranking(folds, measure):
            assert score.mean == pytest.approx(LEVELS[score.architecture] + shift, abs=0.002)
            assert score.low < score.mean < score.high
    pairs = paired_differences(folds, Measure.MEAN)
    assert [(found.first, found.second) for found in pairs] == [("unet", "fpn"), ("unet", "pspnet"), ("fpn", "pspnet")]
    assert all(found.mean > 0 and found.told_apart and found.practically_equal < 0.2 for found in pairs)
    assert all(found.p_adjusted >= found.p for found in pairs)


def test_one_fold_has_no_spread_and_no_test():
    table = folds_of({"unet": [0.95], "fpn": [0.94]})
    scores = ranking(table, Measure.MEAN)
    assert (scores[0].sd, scores[0].low, scores[0].high) == (None, None, None)
    assert paired_differences(table, Measure.MEAN) == ()
    assert "One fold says nothing of chance: 3 are needed at least" in verdict(scores, ())


def test_two_folds_have_a_spread_but_no_interval_and_no_test():
    table = folds_of({"unet": [0.975, 0.976], "linknet": [0.829, 0.967]})
    scores = ranking(table, Measure.MEAN)
    assert scores[1].sd == pytest.approx(0.0976, abs=1e-4)
    assert {(score.low, score.high) for score in scores} == {(None, None)}
    assert paired_differences(table, Measure.MEAN) == ()
    assert verdict(scores, ()).endswith(
        "before LinkNet. 2 folds say nothing of chance: 3 are needed at least, and a k of 5 or more is better."
    )
    assert "2 folds say nothing of chance" in verdict(scores[:1], ())


def test_intervals_end_where_dice_does():
    table = folds_of({"unet": [0.99, 0.5, 0.99], "fpn": [0.01, 0.7, 0.01]})
    first, second = ranking(table, Measure.MEAN)
    assert first.high == 1
    assert second.low == 0
    (found,) = paired_differences(table, Measure.MEAN)
    assert (found.low, found.high) == (-1, 1)


def test_folds_that_are_scored_on_few_images_are_told(tmp_path):
    _, images = tables(write_run(tmp_path))
    assert few_images(images).startswith(f"A fold is scored on as few as {IMAGES_A_FOLD} images: much of what differs")
    assert few_images(pd.concat([images, images.assign(sample_id=images["sample_id"] + "'")])) == ""
    assert few_images(images.iloc[:0]) == ""


def test_identical_scores_differ_in_nothing():
    (found,) = paired_differences(folds_of({"a": [0.9, 0.91, 0.9], "b": [0.9, 0.91, 0.9]}), Measure.MEAN)
    assert (found.mean, found.p, found.practically_equal) == (0, 1, 1)


def test_the_leak_is_measured_on_the_same_originals(tmp_path):
    folds, images = tables(write_run(tmp_path), None)
    (leak,) = leaks(folds, images, Measure.MEAN)
    assert leak.architecture == "unet"
    assert leak.originals == K * IMAGES_A_FOLD
    assert leak.added == pytest.approx(LEAK)
    assert leak.low <= leak.added <= leak.high
    assert leak.as_published - leak.grouped == pytest.approx(LEAK)


def test_an_unfinished_protocol_says_nothing_of_the_leak(tmp_path):
    folds, images = tables(write_run(tmp_path, skip=[("unet", 5)]), None)
    assert leaks(folds, images, Measure.MEAN) == ()


def test_the_hardest_originals_come_first(tmp_path):
    _, images = tables(write_run(tmp_path))
    worst = hardest(images, Measure.CYTOPLASM, 3)
    assert worst["sample_id"].iloc[0] == "set2/10"
    assert worst["mean"].is_monotonic_increasing
    assert (worst["networks"] == len(LEVELS)).all()
    assert (worst["worst"] <= worst["mean"]).all()
    assert (worst["mean"] <= worst["best"]).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8))
def test_pareto_keeps_whom_nobody_beats_in_both(points):
    cost, gain = np.array(points, float).T
    kept = pareto(cost, gain)
    for i in range(len(points)):
        beaten = any(
            cost[j] <= cost[i] and gain[j] >= gain[i] and (cost[j] < cost[i] or gain[j] > gain[i])
            for j in range(len(points))
        )
        assert kept[i] == (not beaten)


def said_of(scores):
    table = folds_of(scores)
    return verdict(ranking(table, Measure.MEAN), paired_differences(table, Measure.MEAN))


def test_the_verdict_names_whom_the_leader_cannot_be_told_apart_from(tmp_path):
    folds, _ = tables(write_run(tmp_path))
    said = verdict(ranking(folds, Measure.MEAN), paired_differences(folds, Measure.MEAN))
    assert said.startswith("UNet leads with a Dice of 0.950, 1.0 points before FPN.")
    assert said.endswith("better than every other by more than chance.")
    noisy = {"unet": [0.95, 0.93, 0.96], "fpn": [0.94, 0.95, 0.94], "pspnet": [0.85, 0.83, 0.86]}
    assert said_of(noisy).endswith("Over 3 folds all can be told apart from it but FPN.")
    noisy["manet"] = [0.93, 0.95, 0.93]
    assert said_of(noisy).endswith("Over 3 folds only PSPNet can be told apart from it.")
    alike = said_of({"unet": [0.95, 0.93, 0.96], "fpn": [0.95, 0.93, 0.959]})
    assert alike.endswith("less than 0.1 points before FPN. Over 3 folds none of the others can be told apart from it.")
