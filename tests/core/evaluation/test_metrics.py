import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from core.domain.errors import MaskError
from core.evaluation.metrics import overlap

masks = arrays(bool, (5, 7))


def test_counts_and_measures_by_hand():
    predicted = np.array([[True, True, True, False]])
    true = np.array([[False, True, True, True]])
    found = overlap(predicted, true)
    assert (found.both, found.predicted_only, found.true_only) == (2, 1, 1)
    assert found.dice == pytest.approx(4 / 6)
    assert found.iou == pytest.approx(2 / 4)


@given(masks, masks)
def test_measures_agree_with_each_other_and_are_symmetric(a, b):
    found = overlap(a, b)
    if not (a.any() or b.any()):
        assert math.isnan(found.dice)
        assert math.isnan(found.iou)
        return
    assert 0 <= found.iou <= found.dice <= 1
    assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))
    assert found.dice == overlap(b, a).dice
    assert overlap(a, a).dice == 1 or not a.any()


def test_masks_of_different_size_cannot_be_compared():
    with pytest.raises(MaskError, match=r"equal shapes, but are \(2, 2\) \(predicted\) and \(2, 3\) \(true\)"):
        overlap(np.ones((2, 2), bool), np.ones((2, 3), bool))
