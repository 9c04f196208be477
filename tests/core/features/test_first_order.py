import math

import numpy as np
import pytest

from core.features.channels import BIN_WIDTH, Channel
from core.features.first_order import first_order
from core.features.reference import measure

WIDTH = BIN_WIDTH[Channel.GREY]


def describe(*values, bin_width=WIDTH):
    plane = np.array([values], dtype=np.float64)
    return first_order(plane, np.ones(plane.shape, dtype=bool), bin_width)


def test_four_values_worked_out_by_hand():
    values = describe(0, 50, 100, 250)
    assert values == pytest.approx(
        {
            "10Percentile": 15,
            "90Percentile": 205,
            "Energy": 75000,
            "Entropy": 2,
            "InterquartileRange": 137.5 - 37.5,
            "Kurtosis": (100**4 + 50**4 + 150**4) / 4 / 8750**2,
            "Maximum": 250,
            "MeanAbsoluteDeviation": 75,
            "Mean": 100,
            "Median": 75,
            "Minimum": 0,
            "Range": 250,
            "RobustMeanAbsoluteDeviation": 25,
            "RootMeanSquared": math.sqrt(18750),
            "Skewness": (-(100**3) - 50**3 + 150**3) / 4 / 8750**1.5,
            "TotalEnergy": 75000,
            "Uniformity": 0.25,
            "Variance": 8750,
        },
        rel=1e-12,
    )


def test_pixels_outside_the_region_do_not_count():
    grey = np.array([[10.0, 20.0], [200.0, 30.0]])
    mask = np.array([[True, True], [False, True]])
    assert first_order(grey, mask, WIDTH) == describe(10, 20, 30)


def test_an_edge_belongs_to_the_upper_bin():
    for edge in np.arange(WIDTH, 256, WIDTH):
        below = np.nextafter(edge, 0)
        assert describe(edge, edge, below)["Uniformity"] == pytest.approx(5 / 9)
        assert describe(edge, edge, edge + WIDTH / 2)["Uniformity"] == 1


@pytest.mark.parametrize("tone", [0.0, 25.0, 128.0, 0.1, 200.7, 255.0])
def test_a_single_tone_has_no_spread_and_no_bend(tone):
    values = describe(*[tone] * 7)
    for name in ("Range", "InterquartileRange", "Skewness", "Kurtosis"):
        assert values[name] == 0
    for name in ("Variance", "MeanAbsoluteDeviation", "RobustMeanAbsoluteDeviation", "Entropy"):
        assert values[name] == pytest.approx(0, abs=1e-12)
    assert values["Uniformity"] == 1
    assert values["Mean"] == pytest.approx(tone, rel=1e-15)


@pytest.mark.parametrize("tone", [0.0, 25.0, 128.0, 255.0])
def test_a_single_tone_is_what_pyradiomics_says(tone):
    grey, mask = np.full((6, 5), tone), np.ones((6, 5), dtype=bool)
    theirs, ours = measure("firstorder", grey, mask), first_order(grey, mask, WIDTH)
    assert ours == theirs


def test_values_below_zero_and_narrow_bins_are_what_pyradiomics_says():
    plane = np.random.default_rng(3).normal(0.4, 0.7, (24, 31))
    mask = np.random.default_rng(4).random(plane.shape) < 0.6
    assert first_order(plane, mask, 0.125) == pytest.approx(
        measure("firstorder", plane, mask, bin_width=0.125), rel=1e-9
    )


@pytest.mark.parametrize("n", range(3, 40))
def test_percentiles_are_numpys_to_the_last_digit(n):
    values = np.random.default_rng(n).uniform(0, 255, n)
    found = describe(*values)
    for name, percent in {"10Percentile": 10, "Median": 50, "90Percentile": 90}.items():
        assert found[name] == np.percentile(values, percent)


def test_pixels_without_a_value_are_left_out():
    assert describe(1.0, np.nan, 2.0, 4.0) == describe(1.0, 2.0, 4.0)
    assert set(describe(1.0, np.nan, 2.0).values()) == {"fewer than three pixels have a colour"}
