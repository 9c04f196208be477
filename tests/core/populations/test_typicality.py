from dataclasses import replace

import numpy as np
import pytest

from core.domain.types import FeatureSet
from core.features.catalogue import CATALOGUE
from core.populations.neighbours import comparable_features
from core.populations.robust import RobustScaling
from core.populations.summaries import (
    SMALL_GROUP,
)
from core.populations.typicality import PopulationCentre, nearest
from tests.core.populations.support import AREA, RATIO, SHARE, TONE, cell, frame, population

COMPARABLE = comparable_features(CATALOGUE)


def spread(centre, n=201):
    """Members spread around a centre: SHARE is linear, everything else constant and thus without a scale."""
    return frame(n, **{**dict.fromkeys(CATALOGUE, 1.0), SHARE: centre + np.linspace(-1, 1, n)})


def test_nearest_by_hand():
    # SHARE is 5 + (-1..1): median 5, MAD 0.5; a cell at 5.5 is 0.5 / (1.4826 * 0.5) away, and half of the members lie
    # farther out
    near, far = population(spread(5.0), population="near"), population(spread(9.0), population="far")
    first, second = nearest(cell(1.0, **{SHARE: 5.5}), [far, near], COMPARABLE)
    assert (first.population, first.n, first.features) == ("near", 201, 1)
    assert first.distance == pytest.approx(1 / 1.4826)
    assert first.typicality == pytest.approx(100 * 102 / 201)  # 0.5, 0.51, ..., 1 on both sides
    assert second.typicality == 0.0
    assert second.distance == pytest.approx(3.5 / (1.4826 * 0.5))


def test_nearest_limits_the_weight_of_one_feature():
    (found,) = nearest(cell(1.0, **{SHARE: 1e9}), [population(spread(5.0))], COMPARABLE)
    assert found.distance == 6.0


def test_nearest_leaves_out_small_groups_and_published_tables():
    small, published = population(frame(SMALL_GROUP - 1)), replace(population(frame()), published=True)
    assert nearest(cell(), [small, published], COMPARABLE) == ()
    (found,) = nearest(cell(), [population(frame()), small, published], COMPARABLE)
    assert (found.features, found.drawn_from) == (len(COMPARABLE), None)
    (same,) = nearest(cell(50.0, **{TONE: 1e6, AREA: 1e6}), [population(frame())], COMPARABLE)
    assert same == found


def test_nearest_asks_only_among_the_features_given():
    (found,) = nearest(cell(50.0, **{RATIO: 1e6}), [population(frame())], [SHARE])
    assert (found.features, found.distance) == (1, pytest.approx(0.5 / (1.4826 * 25)))
    assert nearest(cell(), [population(frame())], ()) == ()


def test_nearest_works_with_absent_values_on_both_sides():
    values = frame(50)
    values.loc[:24, RATIO] = np.nan
    values.loc[0, list(CATALOGUE)] = np.nan  # a member with no value at all has no distance
    features = replace(cell(25.0), values={**dict.fromkeys(CATALOGUE, 25.0), SHARE: None})
    (found,) = nearest(features, [population(values)], COMPARABLE)
    assert found.n == 49
    assert found.features == len(COMPARABLE) - 1
    assert nearest(FeatureSet(dict.fromkeys(CATALOGUE), {}), [population(values)], COMPARABLE) == ()


def test_a_value_without_a_logarithm_lies_below_all_others():
    drawn = 2.0 ** np.arange(21)
    drawn[:3] = 0.0
    reference = population(frame(21, **{RATIO: drawn}))
    (found,) = nearest(FeatureSet({RATIO: 2.0**10}, {}), [reference], [RATIO])
    assert (found.n, found.distance, found.typicality) == (21, 0.0, 100.0)
    (lowest,) = nearest(FeatureSet({RATIO: 0.0}, {}), [reference], [RATIO])
    assert lowest.distance == 6.0
    assert lowest.typicality == pytest.approx(100 * 3 / 21), "as low as the three members without a logarithm"


def test_a_feature_that_few_members_have_does_not_count():
    values = frame(50)
    values.loc[SMALL_GROUP - 1 :, RATIO] = np.nan
    (found,) = nearest(cell(), [population(values)], [SHARE, RATIO])
    assert found.features == 1
    values.loc[SMALL_GROUP - 1, RATIO] = 1.0
    (found,) = nearest(cell(), [population(values)], [SHARE, RATIO])
    assert found.features == 2


def test_of_very_many_members_a_sample_tells():
    values = frame(200)
    (found,) = nearest(cell(50.0), [population(values, sample=values[::2])], [SHARE])
    centre = PopulationCentre.fit(values.loc[::2, [SHARE]].to_numpy(), [SHARE])
    assert (found.n, found.drawn_from) == (100, 200)
    assert found.distance == centre.distances(np.array([[50.0]]))[0]
    assert found.typicality == 100 * np.count_nonzero(centre.of_members >= found.distance) / 100


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
