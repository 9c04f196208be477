import numpy as np
import pytest

from core.explorer.neighbours import comparable_features, outlyingness, typicality
from core.explorer.selection import Quality, Selection
from core.explorer.typical import Middles
from core.explorer.view import By, values
from core.features.catalogue import CATALOGUE

FEATURES = comparable_features(CATALOGUE)


@pytest.fixture(scope="module")
def middles(shipped):
    return Middles.fit(shipped, FEATURES)


def test_whole_populations_are_as_far_out_as_a_direct_computation_says(shipped, middles):
    found = values(shipped, Selection(), FEATURES, By.POPULATION)
    expected = outlyingness(found.matrix, found.groups, FEATURES)
    distances = middles.distances(found.matrix, found.population)
    assert distances == pytest.approx(expected, nan_ok=True)
    percent = [middles.typicality(d, p) for d, p in zip(distances, found.population, strict=True)]
    assert percent == pytest.approx(typicality(expected, found.groups))


def test_a_cell_is_as_typical_in_any_selection(shipped, middles):
    everything = values(shipped, Selection(), FEATURES)
    few = values(shipped, Selection(cells=tuple(everything.cell_id[::500])), FEATURES)
    of_all = dict(zip(everything.cell_id, middles.distances(everything.matrix, everything.population), strict=True))
    assert middles.distances(few.matrix, few.population) == pytest.approx([of_all[cell] for cell in few.cell_id])


def test_cells_that_were_left_out_are_farther_out(shipped, middles):
    distances = [
        np.nanmedian(middles.distances(found.matrix, found.population))
        for found in (values(shipped, Selection(quality=quality), FEATURES) for quality in (Quality.GOOD, Quality.LEFT_OUT))
    ]
    assert distances[1] > distances[0]


def test_nothing_is_said_of_a_population_without_good_cells_or_of_a_cell_without_values(middles):
    nothing = np.full((1, len(FEATURES)), np.nan)
    assert np.isnan(middles.distances(nothing, np.array(["apl_deepapl"], dtype=object))).all()
    assert np.isnan(middles.distances(np.ones((1, len(FEATURES))), np.array(["other"], dtype=object))).all()
    assert middles.typicality(1.0, "other") is None
    assert middles.typicality(float("nan"), "apl_deepapl") is None
