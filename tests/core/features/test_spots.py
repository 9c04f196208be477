import math

import numpy as np
import pytest
from scipy import ndimage

from core.features.spots import SPOT_WIDTHS, granularity, vacuoles
from tests.shapes import disc, small_patterns

CELL, NUCLEUS = disc(100, 100, 75), disc(100, 85, 35)
CYTOPLASM, ENVIRONMENT = CELL & ~NUCLEUS, disc(100, 100, 88) & ~CELL
CLEAR, STAINED = 0.1, 0.5


def seen(*spots):
    density = np.where(CELL, STAINED, CLEAR)
    for spot in spots:
        density[spot & CYTOPLASM] = CLEAR
    return vacuoles(NUCLEUS, CYTOPLASM, ENVIRONMENT, density)


def test_drawn_vacuoles_are_counted_and_measured():
    spots = [disc(100, 140, 6), disc(70, 140, 9), disc(130, 140, 4), disc(160, 100, 5)]
    values = seen(*spots)
    assert values["Count"] == 4
    assert values["AreaShare"] == pytest.approx(np.any(spots, axis=0).sum() / CYTOPLASM.sum(), rel=1e-12)


def test_a_vacuole_may_lie_at_the_nucleus_but_not_at_the_edge():
    assert seen(disc(100, 128, 8))["Count"] == 1
    assert seen(disc(100, 120, 8) & CYTOPLASM)["Count"] == 1
    assert seen(disc(100, 172, 8))["Count"] == 0


def test_what_is_no_round_spot_is_no_vacuole():
    halo = disc(100, 85, 38)  # a clear rim around the nucleus
    slit = np.zeros_like(CELL)
    slit[60:140, 145:149] = True
    assert seen(halo)["Count"] == seen(slit)["Count"] == 0


def test_what_is_too_small_or_too_large_is_none():
    assert seen(disc(100, 140, 1.5))["Count"] == 0
    assert seen(disc(100, 146, 22))["Count"] == 0


def test_two_that_run_together_are_one():
    assert seen(disc(100, 140, 7), disc(100, 150, 7))["Count"] == 1


@pytest.mark.parametrize(("share", "count"), [(0.4, 1), (0.6, 0)])
def test_clear_is_what_is_nearer_to_the_background(share, count):
    density = np.where(CELL, STAINED, CLEAR)
    density[disc(100, 140, 7)] = CLEAR + share * (STAINED - CLEAR)
    assert vacuoles(NUCLEUS, CYTOPLASM, ENVIRONMENT, density)["Count"] == count


def test_without_contrast_or_environment_there_are_reasons():
    flat = np.full(CELL.shape, CLEAR)
    assert set(vacuoles(NUCLEUS, CYTOPLASM, ENVIRONMENT, flat).values()) == {
        "the cytoplasm is hardly more stained than the background"
    }
    assert "no environment" in vacuoles(NUCLEUS, CYTOPLASM, ENVIRONMENT & False, flat)["Count"]


def grains(side, number=40, room=16):
    """A square cell of density 1, and on it, apart from each other, dense squares."""
    density = np.ones((160, 160))
    for place in np.random.default_rng(4).permutation(81)[:number]:
        row, column = (4 + room * k for k in divmod(int(place), 9))
        density[row : row + side, column : column + side] += 0.5
    return density


# The diameter of the cell is 181 px, so spots are fine up to 5.4 px, medium up to 10.8 and coarse up to 21.7.
@pytest.mark.parametrize(("side", "name"), [(3, "Fine"), (8, "Medium"), (14, "Coarse")])
def test_grains_are_found_by_their_size_with_their_share_of_the_stain(side, name):
    whole = np.ones((160, 160), dtype=bool)
    density = grains(side)
    share = 40 * side**2 * 0.5 / density.sum()
    values = granularity(whole, whole, density)
    assert values == pytest.approx(
        {other: share if other == name else 0.0 for other in ("Fine", "Medium", "Coarse")}, rel=1e-9, abs=1e-12
    )


def test_a_size_between_two_odd_numbers_is_interpolated():
    whole = np.ones((160, 160), dtype=bool)
    width = 0.03 * 2 * 160 / math.sqrt(math.pi)
    density = grains(5)  # an opening of 5 px leaves them, one of 7 px takes them
    share = 40 * 25 * 0.5 / density.sum()
    values = granularity(whole, whole, density)
    assert values["Fine"] == pytest.approx(share * (width - 5) / 2, rel=1e-9)
    assert values["Medium"] == pytest.approx(share * (7 - width) / 2, rel=1e-9)


def test_openings_are_those_of_scipy():
    density = np.random.default_rng(9).random((70, 90))
    whole = np.ones(density.shape, dtype=bool)
    diameter = 2 * math.sqrt(whole.sum() / math.pi)

    def left(side):
        eroded = ndimage.minimum_filter(density, side, mode="constant", cval=np.inf)
        return ndimage.maximum_filter(eroded, side, mode="constant", cval=-np.inf).sum()

    before = density.sum()
    for name, share in SPOT_WIDTHS.items():
        odd = 2 * int((share * diameter - 1) // 2) + 1
        after = left(odd) + (left(odd + 2) - left(odd)) * (share * diameter - odd) / 2
        assert granularity(whole, whole, density)[name] == pytest.approx((before - after) / density.sum(), rel=1e-9)
        before = after


def test_a_region_of_one_tone_has_no_grains():
    assert granularity(CYTOPLASM, CELL, np.full(CELL.shape, 0.3)) == pytest.approx(
        {"Fine": 0, "Medium": 0, "Coarse": 0}, abs=1e-12
    )


def test_pixels_outside_the_region_do_not_count():
    density = np.random.default_rng(6).random(CELL.shape)
    elsewhere = np.where(NUCLEUS, density, 9.0)
    assert granularity(NUCLEUS, CELL, density) == granularity(NUCLEUS, CELL, elsewhere)


def test_where_spots_are_smaller_than_pixels_there_is_a_reason():
    cell = disc(100, 100, 30)  # 0.03 of its diameter are 1.8 px
    values = granularity(cell, cell, np.random.default_rng(7).random(cell.shape))
    assert values["Fine"] == "spots of that size are less than 2 pixels wide"
    assert values["Medium"] > 0


def test_a_clear_region_has_no_stain_to_share():
    assert set(granularity(CELL, CELL, np.zeros(CELL.shape)).values()) == {"nothing is stained"}


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_place_and_right_angles_do_not_matter(turns):
    density = np.where(CELL, STAINED, CLEAR) + 0.1 * np.random.default_rng(5).random(CELL.shape)
    density[disc(100, 140, 7)] = CLEAR
    zones = NUCLEUS, CYTOPLASM, ENVIRONMENT, density
    here, grain = vacuoles(*zones), granularity(CYTOPLASM, CELL, density)
    assert here["Count"] == 1
    for moved in ([np.rot90(plane, turns) for plane in zones], [plane[10:-8, 9:] for plane in zones]):
        nucleus, cytoplasm, _, plane = moved
        assert vacuoles(*moved) == pytest.approx(here, rel=1e-9)
        assert granularity(cytoplasm, nucleus | cytoplasm, plane) == pytest.approx(grain, rel=1e-9)


def test_every_small_pattern_has_values_or_a_reason():
    rng = np.random.default_rng(8)
    for mask in small_patterns():
        labels = np.where(mask, 2, rng.integers(0, 4, mask.shape))
        density = rng.random(mask.shape) + 0.5 * (labels > 1)
        values = {**vacuoles(labels == 3, mask, labels == 1, density), **granularity(mask, labels > 1, density)}
        assert all(isinstance(value, str) or (math.isfinite(value) and value >= 0) for value in values.values())
