import math

import numpy as np
import pytest

from core.features.position import RIM_WIDTH, position
from tests.shapes import disc, small_patterns


def test_a_nucleus_in_the_middle():
    assert position(disc(100, 100, 30), disc(100, 100, 60)) == {"NuclearEccentricity": 0, "RimContact": 0}


def test_the_offset_is_relative_to_the_radius():
    values = position(disc(100, 120, 30), disc(100, 100, 60))
    assert values["NuclearEccentricity"] == pytest.approx(20 / 60, rel=0.005)


def test_a_nucleus_that_fills_the_cell_is_all_at_the_rim():
    assert position(disc(100, 100, 30), disc(100, 100, 30))["RimContact"] == 1


def test_half_a_square_touches_with_three_of_its_sides():
    cell = np.ones((40, 40), dtype=bool)
    nucleus = cell.copy()
    nucleus[:, 20:] = False
    rim = int(RIM_WIDTH * 40 / math.sqrt(math.pi))  # pixels that may lie between
    inner = 40 - 2 * (1 + rim)
    assert position(nucleus, cell)["RimContact"] == pytest.approx(1 - inner / (2 * (20 + 40) - 4), rel=1e-12)


@pytest.mark.parametrize(("rim", "contact"), [(4, 1), (7, 0)])
def test_a_narrow_rim_counts_as_none(rim, contact):
    assert position(disc(100, 100, 60 - rim), disc(100, 100, 60))["RimContact"] == contact


def test_holes_are_no_outside():
    cell, nucleus = disc(100, 100, 60), disc(100, 100, 30)
    pierced = cell.copy()
    pierced[66:70, 98:103] = False  # a vacuole at the nucleus
    assert position(nucleus, pierced) == position(nucleus, cell)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_place_and_right_angles_do_not_matter(turns):
    cell, nucleus = disc(90, 100, 55) | disc(110, 130, 30), disc(120, 135, 34)
    here = position(nucleus, cell)
    assert 0 < here["RimContact"] < 1
    assert position(np.rot90(nucleus, turns), np.rot90(cell, turns)) == pytest.approx(here, rel=1e-9)
    assert position(nucleus[20:, 10:], cell[20:, 10:]) == pytest.approx(here, rel=1e-9)


def test_every_small_pattern_has_values_in_range():
    rng = np.random.default_rng(1)
    for cell in small_patterns():
        nucleus = cell & (rng.random(cell.shape) < 0.5)
        if nucleus.any():
            values = position(nucleus, cell)
            assert values["NuclearEccentricity"] >= 0
            assert 0 <= values["RimContact"] <= 1
