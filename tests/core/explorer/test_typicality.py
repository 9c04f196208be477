import numpy as np
import pytest

from core.explorer.selection import Quality, Selection
from core.explorer.typicality import Middles
from core.explorer.view import By, values
from core.features.catalogue import CATALOGUE
from core.populations.comparison import SMALL_GROUP
from core.populations.neighbours import comparable_features
from core.populations.scaling import RobustScaling

FEATURES = comparable_features(CATALOGUE)


@pytest.fixture(scope="module")
def middles(shipped):
    return Middles.fit(shipped, FEATURES)


def test_a_population_is_judged_by_its_own_middle_and_spread(shipped):
    features = [name for name in FEATURES if not CATALOGUE[name].log_axis]
    middles, found = Middles.fit(shipped, features), values(shipped, Selection(), features)
    members = found.population == "apl_deepapl"
    matrix = found.matrix[members]
    location = np.nanmedian(matrix, axis=0)
    scale = 1.4826 * np.nanmedian(np.abs(matrix - location), axis=0)
    varies = scale > 0
    expected = np.sqrt(
        np.nanmean(np.square(np.clip((matrix - location) / np.where(varies, scale, 1), -6, 6))[:, varies], axis=1)
    )
    distances = middles.distances(found.matrix, found.population)[members]
    assert varies.sum() > 5
    assert distances == pytest.approx(expected)
    percent = middles.typicality(distances, found.population[members])
    assert percent == pytest.approx([100 * np.mean(expected >= distance - 1e-12) for distance in expected])
    assert max(percent) == 100


def test_a_small_group_has_its_own_middle_and_the_spread_of_all(shipped, middles):
    small = middles.by_population["hcl_smear"]
    everyone = values(shipped, Selection(), FEATURES, By.POPULATION)
    assert len(small.distances) < SMALL_GROUP
    assert small.scaling.scale == pytest.approx(RobustScaling.fit(everyone.matrix, FEATURES).scale, nan_ok=True)
    assert small.scaling.location == pytest.approx(
        RobustScaling.fit(everyone.matrix[everyone.population == "hcl_smear"], FEATURES).location, nan_ok=True
    )


def test_a_cell_is_as_typical_in_any_selection(shipped, middles):
    everything = values(shipped, Selection(), FEATURES)
    few = values(shipped, Selection(cells=tuple(everything.cell_id[::500])), FEATURES)
    of_all = dict(zip(everything.cell_id, middles.distances(everything.matrix, everything.population), strict=True))
    assert middles.distances(few.matrix, few.population) == pytest.approx([of_all[cell] for cell in few.cell_id])


def test_cells_that_were_left_out_are_farther_out(shipped, middles):
    distances = [
        np.nanmedian(middles.distances(found.matrix, found.population))
        for found in (
            values(shipped, Selection(quality=quality), FEATURES) for quality in (Quality.GOOD, Quality.LEFT_OUT)
        )
    ]
    assert distances[1] > distances[0]


def test_nothing_is_said_of_a_population_without_good_cells_or_of_a_cell_without_values(middles):
    nothing = np.full((1, len(FEATURES)), np.nan)
    assert np.isnan(middles.distances(nothing, np.array(["apl_deepapl"], dtype=object))).all()
    assert np.isnan(middles.distances(np.ones((1, len(FEATURES))), np.array(["other"], dtype=object))).all()
    populations = np.array(["other", "apl_deepapl", "hcl_smear", "apl_deepapl"], dtype=object)
    told = middles.typicality(np.array([1.0, np.nan, 1.0, 1.0]), populations)
    assert np.isnan(told).tolist() == [True, True, True, False], "five cells make no per cent"
