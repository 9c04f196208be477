import numpy as np
import pytest
from scipy.spatial.distance import cdist

from core.domain.errors import UsageError
from core.features.catalogue import CATALOGUE
from core.features.spec import Region
from core.populations import neighbours
from core.populations.neighbours import comparable_features, comparable_sizes, in_um, nearest, sentence, shares
from tests.core.populations.support import AREA, LENGTH, PER_LENGTH, SHARE, TONE


def cells(n=500, features=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, features))


def test_the_nearest_are_those_of_a_plain_search_in_root_mean_square(monkeypatch):
    monkeypatch.setattr(neighbours, "_VALUES_AT_ONCE", 800)  # in pieces of 100 cells
    z = cells()
    found = nearest(z[3], z, count=7, leave_out=3)
    distances = cdist(z[3:4], z)[0] / np.sqrt(8)
    expected = np.argsort(distances)[1:8]
    assert found.rows.tolist() == expected.tolist()
    assert found.distances == pytest.approx(distances[expected])
    assert (found.features, found.cells) == (8, 499)


def test_only_what_both_have_counts_and_less_than_half_is_not_enough():
    z = np.array([[1.0, 1, 1, 1], [1, 1, np.nan, np.nan], [0, np.nan, np.nan, np.nan], [3, 3, 3, 3]])
    found = nearest(np.array([0.0, 0, 0, 0]), z)
    assert found.rows.tolist() == [0, 1, 3]
    assert found.distances.tolist() == [1, 1, 3]
    query = np.array([0.0, np.nan, np.nan, np.nan])
    assert nearest(query, z).rows.tolist() == [2, 0, 1, 3]


def test_a_cell_without_any_feature_is_refused_and_one_without_company_has_no_neighbours():
    with pytest.raises(UsageError, match="none of the 8 features"):
        nearest(np.full(8, np.nan), cells())
    alone = nearest(np.zeros(2), np.zeros((1, 2)), leave_out=0)
    assert len(alone.rows) == 0
    assert sentence(alone, ["monocytes"], "of shape").startswith("No cell")


def test_shares_name_the_types_of_the_nearest_beside_those_of_all():
    z = np.array([[0.0], [0.1], [0.2], [0.3], [5], [6]])
    labels = np.array(["a cells", "b cells", "b cells", "a cells", "a cells", "a cells"], dtype=object)
    found = nearest(z[0], z, count=3, leave_out=0)
    assert [(s.label, s.nearest, s.all_cells) for s in shares(found, labels)] == [("b cells", 2, 2), ("a cells", 1, 4)]
    assert (
        sentence(found, labels, "of shape")
        == "Of the 3 nearest among 5 cells: 2 b cells (33 % of all), 1 a cells (67 % of all); "
        "0.10 to 0.30 standard deviations away in 1 feature of shape."
    )


def test_the_features_compared_hang_on_neither_magnification_nor_stain():
    found = comparable_features(CATALOGUE)
    assert len(found) > 20
    assert all(CATALOGUE[name].scale_free and not CATALOGUE[name].intensity_dependent for name in found)
    assert all(CATALOGUE[name].region is not Region.ENVIRONMENT for name in found)
    assert comparable_features({found[2], found[0], "nucleus_firstorder_Mean"}) == (found[0], found[2])


def test_sizes_are_lengths_and_areas_that_stain_does_not_change():
    found = comparable_sizes(CATALOGUE)
    assert len(found) > 10
    assert not {*found} & {*comparable_features(CATALOGUE)}
    assert all(CATALOGUE[name].length_power and not CATALOGUE[name].intensity_dependent for name in found)
    assert comparable_sizes({AREA, SHARE, TONE}) == (AREA,)


def test_sizes_are_converted_and_shapes_stay():
    pixels = np.full((2, 4), 100.0)
    features = [AREA, LENGTH, PER_LENGTH, SHARE]
    assert in_um(pixels, features, 0.1) == pytest.approx(np.tile([1.0, 10.0, 1000.0, 100.0], (2, 1)))
    mixed = in_um(pixels, features, np.array([[0.1], [np.nan]]))
    assert mixed[0] == pytest.approx([1.0, 10.0, 1000.0, 100.0])
    assert np.isnan(mixed[1]).tolist() == [True, True, True, False]
    assert np.isnan(in_um(pixels, features, None))[0].tolist() == [True, True, True, False]
