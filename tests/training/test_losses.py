import math

import pytest
import torch

from core.domain.compartments import CHANNELS, Compartment
from training.losses import BOUNDARY_PX, boundary_loss, hard_dice, segmentation_loss, soft_dice

ENVIRONMENT, CYTOPLASM, NUCLEUS = (
    CHANNELS.index(c) for c in (Compartment.ENVIRONMENT, Compartment.CYTOPLASM, Compartment.NUCLEUS)
)
# Large enough for a probability of 0 or 1 in float32.
SURE = 50.0


def targets_of(environment, cytoplasm, nucleus):
    """A batch of one image of 1 x 4 pixels, from one list per channel."""
    target = torch.zeros(1, len(CHANNELS), 1, 4)
    for channel, values in ((ENVIRONMENT, environment), (CYTOPLASM, cytoplasm), (NUCLEUS, nucleus)):
        target[0, channel, 0] = torch.tensor(values, dtype=torch.float32)
    return target


TARGETS = targets_of([1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1])


def test_soft_dice_of_undecided_logits_by_hand():
    # All probabilities 1/2. Cytoplasm: common 1, total 2 + 2; nucleus: common 1/2, total 2 + 1; one is added above and
    # below.
    expected = ((2 * 1 + 1) / (4 + 1) + (2 * 0.5 + 1) / (3 + 1)) / 2
    assert soft_dice(torch.zeros_like(TARGETS), TARGETS).item() == pytest.approx(expected)


def test_loss_is_half_cross_entropy_over_all_channels_and_half_dice_loss():
    # Cross-entropy of probability 1/2 is ln 2 in every pixel of every channel.
    expected = 0.5 * math.log(2) + 0.5 * (1 - (3 / 5 + 2 / 4) / 2)
    assert segmentation_loss(torch.zeros_like(TARGETS), TARGETS).item() == pytest.approx(expected)


def test_right_and_sure_costs_nothing():
    logits = (2 * TARGETS - 1) * SURE
    assert segmentation_loss(logits, TARGETS).item() == pytest.approx(0, abs=1e-6)
    assert hard_dice(logits, TARGETS).tolist() == [[1, 1]]


def test_environment_counts_in_cross_entropy_and_not_in_dice():
    logits = (2 * TARGETS - 1) * SURE
    wrong = logits.clone()
    wrong[:, ENVIRONMENT] *= -1
    assert soft_dice(wrong, TARGETS).item() == soft_dice(logits, TARGETS).item() == pytest.approx(1)
    assert hard_dice(wrong, TARGETS).tolist() == [[1, 1]]
    # A third of the pixels are wrong by SURE nats each.
    assert segmentation_loss(wrong, TARGETS).item() == pytest.approx(0.5 * SURE / 3)


def test_hard_dice_by_hand_per_image_in_the_order_cytoplasm_nucleus():
    logits = torch.full((2, len(CHANNELS), 1, 4), -1.0)
    logits[0, CYTOPLASM, 0] = torch.tensor([1.0, 1.0, -1.0, -1.0])
    logits[1, NUCLEUS, 0] = torch.tensor([1.0, -1.0, -1.0, 1.0])
    scores = hard_dice(logits, TARGETS.repeat(2, 1, 1, 1))
    # Image 0: one of two cytoplasm pixels found, one wrong; no nucleus found. Image 1: the nucleus found, and one pixel
    # too many.
    assert scores.flatten().tolist() == pytest.approx([2 * 1 / 4, 0, 0, 2 * 1 / 3])


def test_object_absent_from_drawing_and_prediction_counts_as_found():
    empty = targets_of([0] * 4, [0] * 4, [0] * 4)
    nothing = torch.full_like(empty, -SURE)
    assert hard_dice(nothing, empty).tolist() == [[1, 1]]
    assert soft_dice(nothing, empty).item() == pytest.approx(1)


def test_object_invented_in_an_empty_image_counts_as_missed():
    empty = targets_of([0] * 4, [0] * 4, [0] * 4)
    everything = torch.full_like(empty, SURE)
    assert hard_dice(everything, empty).tolist() == [[0, 0]]
    assert soft_dice(everything, empty).item() == pytest.approx(1 / 5)


def test_dice_is_the_mean_over_images_not_over_pooled_pixels():
    batch = torch.cat([TARGETS, targets_of([0] * 4, [0] * 4, [0] * 4)])
    logits = (2 * batch - 1) * SURE
    logits[0] *= -1
    alone = soft_dice(logits[:1], batch[:1]), soft_dice(logits[1:], batch[1:])
    assert soft_dice(logits, batch).item() == pytest.approx((alone[0] + alone[1]).item() / 2)


def test_loss_of_several_outputs_is_their_sum():
    outputs = [torch.zeros_like(TARGETS), 0.3 * TARGETS, (2 * TARGETS - 1) * SURE]
    expected = sum(segmentation_loss(output, TARGETS).item() for output in outputs)
    assert segmentation_loss(outputs, TARGETS).item() == pytest.approx(expected)
    assert segmentation_loss(outputs[:1], TARGETS).item() == segmentation_loss(outputs[0], TARGETS).item()


def test_the_outlines_weigh_what_they_are_told_and_nothing_by_default():
    logits = 0.7 * TARGETS - 0.2
    plain = segmentation_loss(logits, TARGETS).item()
    assert segmentation_loss(logits, TARGETS, boundary=0.0).item() == plain
    weighed = segmentation_loss(logits, TARGETS, boundary=0.5).item()
    assert weighed == pytest.approx(plain + 0.5 * boundary_loss(logits, TARGETS).item())


def square(side=32):
    target = torch.zeros(1, len(CHANNELS), side, side)
    target[0, NUCLEUS, 12:20, 12:20] = 1
    return target


def test_boundary_loss_looks_at_the_outline_only():
    target = square()
    # Wrong, but far from every outline: inside the nucleus and in the corner.
    far = torch.full_like(target, -SURE)
    far[0, NUCLEUS, 12:20, 12:20] = SURE
    far[0, NUCLEUS, 15:17, 15:17] = -SURE
    far[0, CYTOPLASM, :3, :3] = SURE
    assert boundary_loss(far, target).item() == pytest.approx(0, abs=1e-6)
    near = (2 * target - 1) * SURE
    near[0, NUCLEUS, 12, 12:20] = -SURE
    # One row of 8 pixels is wrong, of a band between a square of 12 and one of 4.
    band = (8 + 2 * BOUNDARY_PX) ** 2 - (8 - 2 * BOUNDARY_PX) ** 2
    assert boundary_loss(near, target).item() == pytest.approx(SURE * 8 / band)
    assert boundary_loss(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)).item() == 0, "no outline, no loss"
