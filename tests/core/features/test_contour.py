import math

import numpy as np
import pytest

from core.features.contour import contour
from tests.shapes import disc, polar, small_patterns

DISC = polar(60)


def notched(side):
    """A square without one of its quarters."""
    mask = np.ones((side, side), dtype=bool)
    mask[: side // 2, : side // 2] = False
    return mask


@pytest.mark.parametrize("radius", [10, 20, 45, 90])
def test_a_disc_is_round(radius):
    for centre in [(0, 0), (0.3, 0.4)]:
        values = contour(polar(radius, centre=centre))
        assert values["Solidity"] == pytest.approx(1, abs=0.004)
        assert values["Convexity"] == pytest.approx(1, abs=0.004)
        assert values["FormFactor"] == pytest.approx(1, abs=0.01)
        assert values["IndentationDepth"] == pytest.approx(0, abs=0.02)
        assert values["LowHarmonics"] < 0.02
        assert values["HighHarmonics"] < 0.01


@pytest.mark.parametrize("side", [120, 240])
def test_a_square_without_a_quarter_has_the_values_of_geometry(side):
    values = contour(notched(side))
    assert values["Solidity"] == pytest.approx(6 / 7, rel=0.01)  # but for its corners, which are rounded
    assert values["Convexity"] == pytest.approx((3 + math.sqrt(0.5)) / 4, rel=0.02)
    assert values["FormFactor"] == pytest.approx(4 * math.pi * 0.75 / 16, rel=0.04)
    assert values["IndentationDepth"] == pytest.approx(math.sqrt(1 / 8) / math.sqrt(0.75 / math.pi), rel=5 / side)


def test_an_ellipse_loses_its_roundness_alone():
    a, b = 80, 40
    y, x = np.mgrid[-90:91, -90:91]
    values = contour((x / a) ** 2 + (y / b) ** 2 <= 1)
    h = ((a - b) / (a + b)) ** 2
    circumference = math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))  # Ramanujan
    assert values["FormFactor"] == pytest.approx(4 * math.pi * math.pi * a * b / circumference**2, rel=0.01)
    assert values["Solidity"] == pytest.approx(1, abs=0.004)
    assert values["LowHarmonics"] < 0.03
    assert values["HighHarmonics"] < 0.01


@pytest.mark.parametrize(("waves", "amplitude"), [(3, 0.2), (5, 0.1), (7, 0.06)])
def test_few_waves_are_low_harmonics_of_their_mean_amplitude(waves, amplitude):
    values = contour(polar(80, lambda angle: 1 + amplitude * np.cos(waves * angle)))
    # Travelled at constant speed, m waves move the outline sideways too, by a share 1 / m.
    assert values["LowHarmonics"] == pytest.approx(amplitude / math.sqrt(2) * math.sqrt(1 + 1 / waves**2), rel=0.07)
    assert values["HighHarmonics"] < 0.1 * amplitude


@pytest.mark.parametrize("waves", [9, 14, 20])
def test_many_waves_are_high_harmonics(waves):
    values = contour(polar(80, lambda angle: 1 + 0.04 * np.cos(waves * angle)))
    assert values["HighHarmonics"] == pytest.approx(0.04 / math.sqrt(2), rel=0.15)
    assert values["LowHarmonics"] < 0.004


def test_a_ragged_edge_raises_the_high_harmonics_and_lowers_convexity():
    rng = np.random.default_rng(3)
    teeth = rng.normal(size=40) * 0.03

    def kidney(angle):
        return 1 - 0.3 * np.exp(-((angle / 0.6) ** 2))

    def ragged(angle):
        return kidney(angle) + np.interp(angle, np.linspace(-np.pi, np.pi, 40), teeth, period=2 * np.pi)

    smooth, rough = contour(polar(70, kidney)), contour(polar(70, ragged))
    assert rough["HighHarmonics"] > 3 * smooth["HighHarmonics"]
    assert rough["LowHarmonics"] == pytest.approx(smooth["LowHarmonics"], rel=0.2)
    assert rough["Convexity"] < smooth["Convexity"] - 0.03


def test_a_kidney_is_dented_by_the_depth_of_its_hilus():
    depth = 30
    mask = disc(100, 100, 60)
    mask[100 - 8 : 100 + 9, 160 - depth :] = False
    sagitta = 60 - math.sqrt(60**2 - 8.5**2)
    assert contour(mask)["IndentationDepth"] == pytest.approx(
        (depth - sagitta) / math.sqrt(mask.sum() / math.pi), abs=0.03
    )


def test_holes_do_not_count():
    pierced = DISC.copy()
    pierced[80:95, 80:95] = False
    assert contour(pierced) == contour(DISC)


def test_parts_are_added_up():
    two = contour(disc(40, 60, 30) | disc(140, 60, 30))
    one = contour(disc(40, 60, 30))
    assert two["FormFactor"] == pytest.approx(one["FormFactor"] / 2, rel=1e-9)
    assert two["IndentationDepth"] == pytest.approx(one["IndentationDepth"] / math.sqrt(2), rel=1e-9)
    assert two["HighHarmonics"] == pytest.approx(one["HighHarmonics"], rel=1e-9)
    assert two["Solidity"] == pytest.approx(2 * math.pi * 900 / (math.pi * 900 + 60 * 100), rel=0.01)
    speck = disc(40, 60, 30) | disc(100, 60, 1)
    assert contour(speck)["LowHarmonics"] == pytest.approx(one["LowHarmonics"], abs=0.005)


def test_size_cancels_out():
    small, large = (contour(polar(radius, lambda angle: 1 + 0.1 * np.cos(4 * angle))) for radius in (25, 100))
    for name in small:
        assert small[name] == pytest.approx(large[name], abs=0.01)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_place_and_right_angles_do_not_matter(turns):
    mask = polar(50, lambda angle: 1 + 0.15 * np.cos(3 * angle) + 0.05 * np.sin(11 * angle), centre=(0.2, 0.4))
    assert contour(np.pad(mask, ((7, 30), (11, 2)))) == contour(mask)
    assert contour(np.rot90(mask, turns)) == pytest.approx(contour(mask), rel=1e-9)
    assert contour(mask.T) == pytest.approx(contour(mask), rel=1e-9)


def test_every_small_pattern_has_finite_values():
    for mask in small_patterns():
        values = contour(mask)
        assert all(math.isfinite(value) for value in values.values())
        assert 0 < values["FormFactor"] <= 1
        assert 0 < values["Solidity"] <= 1 + 1e-12
