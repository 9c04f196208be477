import math
from dataclasses import replace

import numpy as np
import pytest

from core.domain.types import LabelMap, Segmentation
from core.image.stain import appearance, appearance_distance
from training.data import load_labelled
from training.evaluate import (
    REGIONS,
    ImageScore,
    appearance_of,
    by_cell_type,
    by_data_set,
    evaluate,
    in_a_line,
    in_words,
    summarise,
)

NAN = float("nan")


def score(sample_id, dice, iou=0.5):
    return ImageScore(sample_id, "monocyte", dict.fromkeys(REGIONS, dice), dict.fromkeys(REGIONS, iou), 0.9)


class Drawn:
    """A segmenter that gives the drawn mask, changed by a function: what it scores is known beforehand."""

    def __init__(self, samples, change=lambda labels: labels):
        self._change = change
        self._labels = {(sample.image.name): load_labelled(sample)[0].labels for sample in samples}

    def find(self, images):
        return [() for _ in images]

    def segment_many(self, images, objects=None):  # noqa: ARG002 (what it is given, it knows)
        changed = (LabelMap(self._change(self._labels[image.name])) for image in images)
        return [Segmentation(labels, 0.75, 0, "drawn", "none", 0.0) for labels in changed]


def test_identical_masks_score_one(samples):
    seen = []
    scores = evaluate(Drawn(samples), samples, on_image=seen.append)
    assert [s.sample_id for s in scores] == [s.sample_id for s in samples]
    assert [s.cell_type for s in scores] == [s.cell_type for s in samples]
    assert all(s.dice == s.iou == {"nucleus": 1, "cytoplasm": 1, "cell": 1} for s in scores)
    assert {s.confidence for s in scores} == {0.75}
    assert seen == list(range(1, len(samples) + 1))


def test_no_cell_found_scores_zero(samples):
    scores = evaluate(Drawn(samples, np.zeros_like), samples[:2])
    assert all(value == 0 for s in scores for value in (*s.dice.values(), *s.iou.values()))


def test_scores_of_a_shifted_mask_are_counted_by_hand(samples):
    truth = load_labelled(samples[0])[0].labels
    (found,) = evaluate(Drawn(samples, lambda labels: np.roll(labels, 3, axis=1)), samples[:1])
    for region, of in (("nucleus", lambda m: m == 3), ("cytoplasm", lambda m: m == 2), ("cell", lambda m: m >= 2)):
        wanted, got = of(truth), of(np.roll(truth, 3, axis=1))
        assert found.dice[region] == 2 * (wanted & got).sum() / (wanted.sum() + got.sum()) < 1
        assert found.iou[region] == (wanted & got).sum() / (wanted | got).sum()


def test_summary_by_hand():
    summary = summarise([score("set1/a", 1.0, 1.0), score("set1/b", 0.5, 0.25), score("set1/c", 0.9, 0.4)])
    assert summary["images"] == 3
    assert summary["mean_dice"] == summary["nucleus"]["dice_mean"] == 0.8
    assert summary["nucleus"]["dice_std"] == round(math.sqrt((0.04 + 0.09 + 0.01) / 3), 4)
    assert summary["cytoplasm"]["iou_mean"] == 0.55
    assert summary["cell"]["below_0.8"] == 0.3333


def test_mean_dice_averages_nucleus_and_cytoplasm():
    one = ImageScore(
        "set1/a", "monocyte", {"nucleus": 0.9, "cytoplasm": 0.7, "cell": 0.1}, dict.fromkeys(REGIONS, 0.5), 1.0
    )
    assert summarise([one])["mean_dice"] == 0.8


def test_image_without_a_region_does_not_count_for_it():
    with_gap = summarise([score("set1/a", 1.0, 1.0), score("set1/b", 0.5, 0.5), score("set1/c", NAN, NAN)])["cytoplasm"]
    without = summarise([score("set1/a", 1.0, 1.0), score("set1/b", 0.5, 0.5)])["cytoplasm"]
    assert with_gap == without
    assert with_gap["below_0.8"] == 0.5


def test_region_that_no_image_has_is_left_out():
    bare = ImageScore(
        "set1/a", "other", {"nucleus": 0.5, "cytoplasm": NAN, "cell": 0.5}, dict.fromkeys(REGIONS, 0.4), 0.9
    )
    summary = summarise([bare, bare])
    assert "cytoplasm" not in summary
    assert summary["mean_dice"] == 0.5
    assert [line.split()[0] for line in in_words(summary).splitlines()] == ["nucleus", "cell"]


def test_bootstrap_interval_holds_the_mean_and_narrows_with_more_images():
    rng = np.random.default_rng(0)
    few, many = (
        summarise([score(f"set1/{i}", dice) for i, dice in enumerate(rng.beta(20, 2, size))])["nucleus"]
        for size in (10, 400)
    )
    for summary in (few, many):
        low, high = summary["dice_ci95"]
        assert low < summary["dice_mean"] < high
        # About two standard errors to each side.
    assert high - low == pytest.approx(4 * many["dice_std"] / math.sqrt(400), rel=0.15)
    assert few["dice_ci95"][1] - few["dice_ci95"][0] > 2 * (high - low)


def test_images_of_one_group_have_no_interval():
    twice = [score("set1/a", 0.4), score("set1/b", 0.5)]
    groups = dict.fromkeys(("set1/a", "set1/b"), "the same cell")
    assert summarise(twice, groups=groups)["cell"]["dice_ci95"] == []
    assert by_data_set(twice, groups=groups)["set1"]["cell"]["dice_ci95"] == []
    assert len(summarise(twice)["cell"]["dice_ci95"]) == 2


def test_one_image_has_no_interval():
    one = summarise([score("set1/a", 0.4)])
    assert one["nucleus"]["dice_ci95"] == []
    assert "nucleus   Dice 0.4000 +- 0.0000 (no interval below 2 independent images)" in in_words(one)
    assert in_a_line(summarise([score("set1/a", 0.4), score("set1/b", 0.4)])).startswith(
        "nucleus 0.4000 (0.4000-0.4000)"
    )


def test_each_data_set_is_summarised_on_its_own():
    summaries = by_data_set([score("set2/a", 0.4), score("set1/a", 1.0), score("set1/b", 0.8), score("set10/a", 0.0)])
    assert list(summaries) == ["set1", "set10", "set2"]
    assert [s["images"] for s in summaries.values()] == [2, 1, 1]
    assert [s["nucleus"]["dice_mean"] for s in summaries.values()] == [0.9, 0.0, 0.4]


def test_each_cell_type_is_summarised_on_its_own_and_told_on_a_line():
    one, other = (
        replace(score("set1/a", 0.4), cell_type="monocyte"),
        replace(score("set1/b", 0.8), cell_type="lymphocyte"),
    )
    found = by_cell_type([one, other])
    assert list(found) == ["lymphocyte", "monocyte"]
    assert in_a_line(found["monocyte"]).startswith("nucleus 0.4000 (no interval), cytoplasm 0.4000")


def test_appearance_of_a_few_images_is_not_told(samples):
    assert appearance_of(samples) == {}


def test_appearance_describes_the_images_it_was_taken_from(samples):
    samples = 2 * samples
    described = appearance_of(samples)
    mean, covariance = np.array(described["mean"]), np.array(described["covariance"])
    assert described["images"] == len(samples)
    assert mean.shape == (6,)
    assert np.allclose(covariance, covariance.T)
    distances = []
    for sample in samples:
        item = load_labelled(sample)[0]
        vector = appearance(item.rgb, item.labels == 3, item.labels == 2)
        assert vector is not None
        distances.append(appearance_distance(vector, mean, covariance))
    assert max(distances) < described["limit"]
    assert described["limit"] == pytest.approx(1.5 * np.percentile(distances, 99))
