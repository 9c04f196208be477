import numpy as np
import pytest

from core.features.catalogue import CATALOGUE
from core.populations.neighbours import comparable_features
from core.populations.robust import RobustScaling
from core.populations.typicality import PopulationCentre
from tests.core.populations.support import SHARE

COMPARABLE = comparable_features(CATALOGUE)


def test_distance_and_per_cent_by_hand():
    # 4 to 6: median 5, MAD 0.5; a cell at 5.5 is 0.5 / (1.4826 * 0.5) away, and half of the members lie farther out.
    centre = PopulationCentre.fit(np.linspace(4, 6, 201)[:, None], [SHARE])
    near, far, outlying = centre.distances(np.array([[5.5], [9.0], [1e9]]))
    assert (near, outlying) == (pytest.approx(1 / 1.4826), 6.0), "no single feature decides"
    assert centre.typicality(np.array([near, far])).tolist() == [pytest.approx(100 * 102 / 201), 0.0]


def test_a_distance_is_the_same_to_the_last_bit_alone_and_among_others_however_they_lie_in_memory():
    drawn = np.random.default_rng(5).lognormal(size=(300, len(COMPARABLE)))
    drawn[::7, ::3] = np.nan
    centre = PopulationCentre.fit(drawn, COMPARABLE)
    together = centre.distances(np.asfortranarray(drawn))
    assert together.tolist() == [centre.distances(one[None])[0] for one in drawn]
    assert together.tolist() == centre.distances(drawn).tolist()
    assert np.sort(together).tolist() == centre.of_members.tolist()


def test_a_small_population_has_its_own_location_and_the_scale_of_all():
    everyone = RobustScaling.fit(np.arange(101.0)[:, None], [SHARE])
    few = np.arange(5.0)[:, None]
    centre = PopulationCentre.fit(few, [SHARE], everyone)
    assert centre.distances(np.array([[2.0 + everyone.scale[0]]])) == pytest.approx([1.0])
    assert np.isnan(centre.typicality(np.array([1.0]))).all()
    assert np.isnan(PopulationCentre.fit(few, [SHARE]).distances(few)).all()
