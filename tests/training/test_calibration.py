import numpy as np
import pytest
import torch

from core.domain.compartments import CHANNELS
from tests.training.tiny import tiny_config
from training.calibration import calibration_error, fit_temperature, logits_of, trust
from training.data import SegDataset
from training.evaluate import REGIONS, ImageScore


def drawn(temperature, seed=0):
    """Logits, and targets drawn with the probabilities they mean at a temperature."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, len(CHANNELS), 64, 64, generator=rng)
    return logits, torch.bernoulli(torch.sigmoid(logits / temperature), generator=rng)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_of_known_probabilities_is_found(temperature):
    logits, targets = drawn(temperature)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.05)
    assert calibration_error(logits, targets, temperature) < 0.01


def test_overconfident_network_is_told_and_mended():
    logits, targets = drawn(3.0)
    before, after = (calibration_error(logits, targets, t) for t in (1.0, fit_temperature(logits, targets)))
    assert before > 0.08
    assert after < 0.2 * before


def test_calibration_error_by_hand():
    # All pixels say 0.75 (logit ln 3), half of them are it.
    logits = torch.full((1, len(CHANNELS), 2, 2), float(np.log(3)))
    targets = torch.zeros_like(logits)
    targets[..., 0] = 1
    assert calibration_error(logits, targets) == pytest.approx(0.25)


def test_logits_of_a_data_set_come_in_order(items):
    data = SegDataset(items[:3], tiny_config(), augment=False)
    logits, targets = logits_of(lambda images: images[:, :3] * 2, data, 2)
    assert logits.shape == targets.shape == (3, len(CHANNELS), 64, 64)
    assert torch.equal(logits[2], data[2][0] * 2)
    assert torch.equal(targets[2], data[2][1])


def score(dice, confidence, nucleus=None):
    regions = dict.fromkeys(REGIONS, dice) | ({"nucleus": nucleus} if nucleus is not None else {})
    return ImageScore("set1/x", "monocyte", regions, dict.fromkeys(REGIONS, 0.5), confidence)


def test_confidence_that_foretells_every_error():
    found = trust([score(0.95, 0.99), score(0.92, 0.9), score(0.8, 0.7), score(0.5, 0.6)])
    assert found == {"spearman": 1.0, "auroc": 1.0, "poor": 2}


def test_confidence_that_foretells_nothing_and_the_wrong_way_round():
    assert trust([score(0.95, 0.5), score(0.8, 0.9), score(0.85, 0.9)])["auroc"] == 0
    tied = trust([score(0.95, 0.7), score(0.8, 0.7), score(0.91, 0.7)])
    assert tied == {"spearman": None, "auroc": 0.5, "poor": 1}


def test_where_nothing_can_be_told_there_is_no_number():
    assert trust([score(0.95, 0.9), score(0.97, 0.8), score(0.99, 0.7)])["auroc"] is None
    assert trust([score(0.5, 0.9)]) == {"spearman": None, "auroc": None, "poor": 1}


def test_cell_of_which_one_region_cannot_be_scored_counts_by_the_other():
    assert trust([score(float("nan"), 0.9, nucleus=0.5), score(0.95, 0.99), score(0.96, 0.98)])["poor"] == 1
