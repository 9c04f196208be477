import math

import numpy as np
import pytest
from scipy import ndimage

from core.domain.types import LabelMap, Segmentation
from core.image.imaging import load
from core.image.masks import cell_mask, with_environment
from export.fidelity import KEY_FEATURES, MAX_DICE_DROP, MAX_DRIFT, compare, harm
from training.data import load_labelled, masked_samples


class Prepared:
    """A segmenter whose outlines were drawn beforehand: those of the masks after `change`."""

    def __init__(self, samples, change=lambda labels: labels):
        self.labels = {load(sample.image).sha256: change(load_labelled(sample)[0].labels) for sample in samples}

    def segment(self, image):
        return Segmentation(self.labels[image.sha256], 1.0, 0, "prepared", "none", 0.0)


def thinner(labels):
    """The cell without its outermost pixels; the nucleus as it is."""
    cell = ndimage.binary_erosion(cell_mask(labels)) | (labels == labels.max())
    return with_environment(LabelMap(np.where(cell, labels, 0).astype(np.uint8)))


def nothing(labels):
    return LabelMap(np.zeros_like(labels))


@pytest.fixture
def samples(tiny_data):
    return masked_samples(("set1", "set2"))


def test_same_outlines_cost_nothing(samples):
    cost = compare(Prepared(samples), Prepared(samples), samples)
    assert cost["images"] == len(samples)
    assert cost["agreement"] == cost["least_agreement"] == {"nucleus": 1, "cytoplasm": 1, "cell": 1}
    assert cost["dice_change"] == {"nucleus": 0, "cytoplasm": 0, "cell": 0}
    assert list(cost["drift"]) == list(KEY_FEATURES)
    assert all(drift == {"mean": 0, "rms": 0} for drift in cost["drift"].values())
    assert harm(cost) == []


def test_thinner_cells_are_measured_as_such(samples):
    original, candidate = Prepared(samples), Prepared(samples, thinner)
    cost = compare(original, candidate, samples)
    pairs = [(original.labels[key], candidate.labels[key]) for key in original.labels]
    dice = [2 * (cell_mask(a) & cell_mask(b)).sum() / (cell_mask(a).sum() + cell_mask(b).sum()) for a, b in pairs]
    # The original is the drawing itself: what the candidate differs by is what it loses.
    assert cost["agreement"]["cell"] == pytest.approx(np.mean(dice), abs=1e-4)
    assert cost["least_agreement"]["cell"] == pytest.approx(min(dice), abs=1e-4)
    assert cost["dice_change"]["cell"] == pytest.approx(np.mean(dice) - 1, abs=1e-4)
    assert cost["dice_change"]["nucleus"] == 0

    areas = np.array([[cell_mask(labels).sum() for labels in pair] for pair in pairs], dtype=float)
    in_set1 = np.array([sample.sample_id.startswith("set1/") for sample in samples])
    squares = sum(((areas[part, 0] - areas[part, 0].mean()) ** 2).sum() for part in (in_set1, ~in_set1))
    change = (areas[:, 1] - areas[:, 0]) / math.sqrt(squares / (len(samples) - 2))
    drift = cost["drift"]["cell_shape2D_PixelSurface"]
    assert drift["mean"] == pytest.approx(change.mean(), abs=1e-4)
    assert drift["rms"] == pytest.approx(math.sqrt((change**2).mean()), abs=1e-4)
    assert cost["drift"]["nucleus_shape2D_PixelSurface"] == {"mean": 0, "rms": 0}
    reasons = harm(cost)
    assert reasons[0].startswith("Dice of the cytoplasm with the drawn masks falls by ")
    assert "key features move too far, most of all " in reasons[1]


def test_cells_that_are_lost_are_harm(samples):
    cost = compare(Prepared(samples), Prepared(samples, nothing), samples)
    assert cost["agreement"] == {"nucleus": 0, "cytoplasm": 0, "cell": 0}
    assert cost["drift"] == {}
    assert len(harm(cost)) == 3


def test_drift_of_too_few_cells_is_left_out(samples):
    pair = [sample for sample in samples if sample.sample_id.startswith("set2/")][:2]
    cost = compare(Prepared(pair), Prepared(pair), pair)
    assert cost["drift"] == {}
    # What was not measured is not taken for harmless.
    assert harm(cost) == [
        "in 2 validation images no key feature could be measured with both often enough to see what it does"
    ]


def cost_of(nucleus=0.0, cytoplasm=0.0, rms=0.0):
    drift = {
        "nucleus_shape2D_Perimeter": {"mean": 0.0, "rms": rms},
        "cell_shape2D_Elongation": {"mean": 0.0, "rms": rms / 2},
    }
    return {"dice_change": {"nucleus": nucleus, "cytoplasm": cytoplasm, "cell": -1.0}, "drift": drift}


def test_what_is_within_the_bounds_is_no_harm():
    assert harm(cost_of(-MAX_DICE_DROP, -MAX_DICE_DROP, MAX_DRIFT)) == []
    assert harm(cost_of(0.01, 0.01)) == []


@pytest.mark.parametrize("region", ["nucleus", "cytoplasm"])
@pytest.mark.parametrize("change", [-0.0021, math.nan])
def test_region_that_is_outlined_worse_is_named(region, change):
    (reason,) = harm(cost_of(**{region: change}))
    assert reason.startswith(f"Dice of the {region} with the drawn masks falls by ")
    assert reason.endswith("(at most 0.002)")


def test_feature_that_moves_is_named():
    (reason,) = harm(cost_of(rms=0.2))
    assert (
        reason
        == "1 of 2 key features move too far, most of all nucleus_shape2D_Perimeter by 0.20 standard deviations between"
        " cells (at most 0.14)"
    )


def test_bound_of_the_drift_is_an_agreement_of_99_percent():
    rng = np.random.default_rng(0)
    first = rng.normal(size=100_000)
    second = first + rng.normal(size=first.size) * MAX_DRIFT
    # Absolute agreement of two measurements: the share of the variance that is not their difference's.
    assert 1 - ((second - first) ** 2).mean() / 2 == pytest.approx(0.99, abs=1e-3)
