import math

import numpy as np
import pytest

from core.features.projections import projections
from tests.shapes import small_patterns

SIDE, MIDDLE, RADIUS = 201, 100, 60
Y, X = (axis - MIDDLE for axis in np.mgrid[:SIDE, :SIDE])
BODY = np.hypot(Y, X) <= RADIUS
NUCLEUS = np.hypot(Y, X) <= 30
ENVIRONMENT = ~BODY & (np.hypot(Y, X) <= 1.2 * RADIUS)
NAMES = ["Count", "MeanHeight", "MaximumHeight", "ContourShare"]


def spikes(number, height, width=6):
    """Straight hairs of equal spacing, the first at an angle that is none of the grid's."""
    drawn = np.zeros_like(BODY)
    for turn in 0.3 + 2 * np.pi * np.arange(number) / number:
        along, across = X * np.cos(turn) + Y * np.sin(turn), X * np.sin(turn) - Y * np.cos(turn)
        drawn |= (np.abs(across) <= width / 2) & (along > 0) & (along <= RADIUS + height)
    return drawn & ~BODY


def dyed(stained, dye=0.5):
    return np.where(stained, dye, 0.05)


def measure(stained, mask=BODY, dye=None):
    nucleus, around = NUCLEUS & mask, (BODY | ENVIRONMENT) & ~mask
    return projections(nucleus, mask & ~nucleus, around, dyed(stained) if dye is None else dye)


def test_a_smooth_cell_has_none():
    values = measure(BODY)
    assert values["Count"] == values["ContourShare"] == 0
    assert values["MaximumHeight"] == pytest.approx(0, abs=0.02)
    assert values["MeanHeight"] == "there are no projections"


@pytest.mark.parametrize("number", [1, 5, 12])
def test_hairs_beyond_the_mask_are_found(number):
    values = measure(BODY | spikes(number, 10))
    assert values["Count"] == number
    assert values["MeanHeight"] == pytest.approx(10 / RADIUS, abs=0.02)
    assert values["MaximumHeight"] == pytest.approx(10 / RADIUS, abs=0.02)
    assert values["ContourShare"] == pytest.approx(number * 6 / (2 * math.pi * RADIUS), rel=0.5)


def test_hairs_within_a_generous_mask_are_found():
    hairs = spikes(7, 9)
    generous = np.hypot(Y, X) <= RADIUS + 6
    for mask in (generous, BODY | hairs):
        values = measure(BODY | hairs, mask)
        assert values["Count"] == 7
        assert values["MeanHeight"] == pytest.approx(9 / math.sqrt(mask.sum() / math.pi), abs=0.02)


def test_heights_and_share_grow_with_the_hairs():
    short, long, wide = (
        measure(BODY | spikes(6, 6)),
        measure(BODY | spikes(6, 11)),
        measure(BODY | spikes(6, 11, width=11)),
    )
    assert short["MeanHeight"] < long["MeanHeight"]
    assert long["ContourShare"] < wide["ContourShare"]
    assert short["Count"] == long["Count"] == wide["Count"] == 6


def test_what_is_low_is_not_counted_but_is_the_greatest_height():
    values = measure(BODY | spikes(5, 2))
    assert values["Count"] == 0
    assert values["MaximumHeight"] == pytest.approx(2 / RADIUS, abs=0.015)


def test_pale_hairs_count_and_what_is_hardly_stained_does_not():
    hairs = spikes(6, 10)
    for share, count in [(0.4, 6), (0.2, 0)]:
        dye = dyed(BODY)
        dye[hairs] = 0.05 + share * 0.45
        assert measure(BODY, dye=dye)["Count"] == count


def test_a_broad_neighbour_and_a_speck_apart_are_none():
    neighbour = np.hypot(Y - 20, X - 95) <= 36
    speck = np.hypot(Y + 67, X) <= 2.5
    values = measure(BODY | neighbour | speck)
    assert values["Count"] == 0
    assert values["MaximumHeight"] < 0.02


def test_broad_bulges_belong_to_the_body():
    bulge = np.hypot(Y, X - 50) <= 18
    values = measure(BODY | bulge, BODY | bulge)
    assert values["Count"] == 0


def test_a_vacuole_makes_no_projection():
    hollow = BODY & ~(np.hypot(Y, X - 48) <= 8)
    assert measure(hollow) == measure(BODY)


def test_what_cannot_be_told_is_absent_with_its_reason():
    nowhere = np.zeros_like(BODY)
    cytoplasm = BODY & ~NUCLEUS
    for zones, dye, reason in [
        ((NUCLEUS, cytoplasm, nowhere), dyed(BODY), "there is no environment of the cell to tell the background"),
        ((NUCLEUS, nowhere, ENVIRONMENT), dyed(BODY), "no cytoplasm was found"),
        (
            (NUCLEUS, cytoplasm, ENVIRONMENT),
            dyed(BODY, 0.04),
            "the cytoplasm is hardly more stained than the background",
        ),
        (
            (nowhere, cytoplasm, ENVIRONMENT),
            dyed((X + Y) % 3 > 0),
            "what is stained is too narrow to tell projections from a body",
        ),
    ]:
        assert projections(*zones, dye) == dict.fromkeys(NAMES, reason)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_place_and_right_angles_do_not_matter(turns):
    stained = (BODY & ~(np.hypot(Y + 40, X) <= 9)) | spikes(4, 10) | spikes(3, 6, width=9)
    planes = [NUCLEUS, BODY & ~NUCLEUS, ENVIRONMENT, dyed(stained) + 0.01 * np.random.default_rng(2).random(BODY.shape)]
    here = projections(*planes)
    assert here["Count"] >= 4
    for moved in ([np.rot90(plane, turns) for plane in planes], [plane[20:-20, 25:-22] for plane in planes]):
        there = projections(*moved)
        assert there == pytest.approx(here, rel=1e-9)


def test_the_edge_of_the_image_is_a_limit_like_any_other():
    planes = [NUCLEUS, BODY & ~NUCLEUS, ENVIRONMENT, dyed(BODY | spikes(8, 10))]
    assert projections(*(plane[:, :130] for plane in planes))["Count"] < 8


def test_only_the_zones_are_looked_at():
    dye = dyed(BODY | spikes(5, 10))
    elsewhere = np.where(BODY | ENVIRONMENT, dye, 3.0)
    assert measure(BODY, dye=elsewhere) == measure(BODY, dye=dye)


def test_every_small_pattern_has_values_or_a_reason():
    rng = np.random.default_rng(8)
    for mask in small_patterns():
        labels = np.where(mask, rng.integers(2, 4, mask.shape), rng.integers(0, 2, mask.shape))
        values = projections(
            labels == 3, labels == 2, labels == 1, np.where(labels > 1, 0.6, 0.1) + 0.4 * rng.random(mask.shape)
        )
        assert list(values) == NAMES
        assert all(isinstance(value, str) or (math.isfinite(value) and value >= 0) for value in values.values())
        assert isinstance(values["Count"], str) or values["ContourShare"] <= 1
