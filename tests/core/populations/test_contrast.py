"""A difference in several sources, and pooled: counted by hand."""

import numpy as np
import pytest

from core.populations.contrast import Contrast, pool
from core.populations.dominance import Dominance

RATIO = "combined_PixelSurface"


def told(delta: float, error: float = 0.05) -> Dominance:
    return Dominance(delta, error, (50, 50))


def test_pooling_is_that_of_dersimonian_and_laird():
    """By hand: Q = 12.5, tau squared = 0.115, equal weights as the errors are equal."""
    pooled = pool(RATIO, {"a": told(0.75, 0.1), "b": told(0.25, 0.1)})
    assert pooled.pooled == pytest.approx(0.5)
    assert pooled.i2 == pytest.approx(1 - 1 / 12.5)
    assert (pooled.high - pooled.low) / 2 == pytest.approx(1.96 * np.sqrt((0.01 + 0.115) / 2))
    same = pool(RATIO, {"a": told(0.5, 0.1), "b": told(0.5, 0.1)})
    assert same.i2 == 0
    assert (same.high - same.low) / 2 == pytest.approx(1.96 * 0.1 / np.sqrt(2))
    assert pool(RATIO, {"a": told(0.5)}).pooled is None


def test_what_holds_everywhere_is_the_least_difference_of_one_sign():
    assert Contrast(RATIO, {"a": told(-0.9), "b": told(-0.4)}).smallest == 0.4
    assert Contrast(RATIO, {"a": told(0.9), "b": told(-0.4)}).smallest == 0
    assert not Contrast(RATIO, {"a": told(0.9), "b": told(-0.4)}).same_sign
