import numpy as np
import pytest

from core.features.lobes import PROMINENCE, lobes
from tests.shapes import disc, polar, small_patterns

LEVELS = 16


def test_a_round_and_a_kidney_shaped_nucleus_are_one_body():
    for nucleus in (
        polar(30),
        polar(60, lambda angle: 1 - 0.4 * np.exp(-((angle / 0.5) ** 2))),
        np.ones((40, 90), dtype=bool),
    ):
        assert lobes(nucleus) == {"LobeCount": 1, "Lobulation": 1}


def test_a_ragged_outline_makes_no_lobes():
    teeth = np.random.default_rng(5).normal(size=50) * 0.05
    ragged = polar(60, lambda angle: 1 + np.interp(angle, np.linspace(-np.pi, np.pi, 50), teeth, period=2 * np.pi))
    assert lobes(ragged) == {"LobeCount": 1, "Lobulation": 1}


@pytest.mark.parametrize("distance", [40, 48, 54, 58, 64])
def test_two_lobes_are_parted_as_far_as_their_neck_is_narrow(distance):
    values = lobes(disc(70, 60, 30) | disc(70, 60 + distance, 30))
    neck = np.sqrt(max(0, 30**2 - (distance / 2) ** 2))
    deepest = (1 - PROMINENCE) * 30
    assert values["LobeCount"] == 2
    assert values["Lobulation"] == pytest.approx(1 + (deepest - neck) / deepest, abs=1.5 / LEVELS)


def test_a_wide_waist_is_no_neck():
    assert lobes(disc(70, 60, 30) | disc(70, 80, 30)) == {"LobeCount": 1, "Lobulation": 1}


def test_a_small_lobe_counts_in_full_and_parts_less():
    values = lobes(disc(70, 60, 30) | disc(70, 115, 15))
    assert values["LobeCount"] == 2
    assert values["Lobulation"] == pytest.approx(1 + (15 - 3) / 27, abs=1.5 / LEVELS)


@pytest.mark.parametrize("segments", [3, 4, 5])
def test_segments_in_a_bow_are_counted(segments):
    angles = np.linspace(0, np.pi, segments)
    nucleus = np.any([disc(100 - 60 * np.sin(a), 100 + 60 * np.cos(a), 17) for a in angles], axis=0)
    threads = disc(100, 100, 61) & ~disc(100, 100, 58)
    threads[100:] = False
    assert lobes(nucleus | threads)["LobeCount"] == segments
    assert lobes(nucleus | threads)["Lobulation"] == pytest.approx(segments, abs=0.15 * segments)


def test_a_speck_beside_the_nucleus_is_no_lobe():
    assert lobes(disc(70, 60, 30) | disc(70, 100, 2)) == {"LobeCount": 1, "Lobulation": 1}


def test_holes_part_nothing():
    pierced = disc(70, 60, 30)
    pierced[60:75, 55:65] = False
    assert lobes(pierced) == {"LobeCount": 1, "Lobulation": 1}


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_place_and_right_angles_do_not_matter(turns):
    nucleus = disc(60, 62, 27) | disc(100, 75, 22) | disc(88, 112, 19)
    assert lobes(nucleus)["LobeCount"] == 3
    assert lobes(np.rot90(nucleus, turns)) == lobes(nucleus) == lobes(np.pad(nucleus, ((5, 0), (1, 9))))


def test_every_small_pattern_has_at_least_one_body():
    for mask in small_patterns():
        values = lobes(mask)
        assert values["LobeCount"] >= 1
        assert 0 < values["Lobulation"] <= values["LobeCount"]
