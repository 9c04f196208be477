import math

import numpy as np
import pytest

from core.domain.errors import FeatureError
from core.populations.robust import LIMIT, RobustScaling

LINEAR, OTHER, LOG = "nucleus_contour_Solidity", "combined_PixelSurface", "nucleus_shape2D_PixelSurface"


def test_a_normal_sample_gets_its_own_mean_and_deviation():
    values = np.random.default_rng(1).normal(7, 3, (20_000, 1))
    scaling = RobustScaling.fit(values, [LINEAR])
    assert scaling.location[0] == pytest.approx(7, abs=0.1)
    assert scaling.scale[0] == pytest.approx(3, rel=0.03)
    assert scaling.z(np.array([[7.0 + 3.0]]))[0, 0] == pytest.approx(1, abs=0.05)


def test_a_logarithmic_feature_is_scaled_in_its_logarithm_so_units_cancel():
    values = np.exp(np.random.default_rng(2).normal(3, 0.5, (1001, 1)))
    z = RobustScaling.fit(values, [LOG]).z(values)
    assert z == pytest.approx(RobustScaling.fit(values * 0.095**2, [LOG]).z(values * 0.095**2))
    assert np.median(z) == pytest.approx(0, abs=1e-12)


def test_a_value_without_a_logarithm_lies_below_all_others():
    values = np.array([[0.0], [1.0], [2.0], [4.0], [8.0]])
    scaling = RobustScaling.fit(values, [LOG])
    assert scaling.location[0] == pytest.approx(math.log(2))
    assert scaling.z(values)[0, 0] == -LIMIT


def test_absent_values_are_left_out_and_stay_absent():
    values = np.column_stack([np.array([1.0, 2, 3, np.nan]), np.full(4, np.nan), np.full(4, 5.0)])
    scaling = RobustScaling.fit(values, [LINEAR, OTHER, "cell_contour_Solidity"])
    assert scaling.location[0] == 2
    assert np.isnan(scaling.location[1])
    z = scaling.z(values)
    assert np.isnan(z[3, 0])
    assert np.isnan(z[:, 1:]).all(), "nothing there, and no variation"


def test_where_more_than_half_are_equal_the_quartiles_give_the_scale():
    values = np.array([[0.0]] * 6 + [[1.349]] * 4)
    assert RobustScaling.fit(values, [LINEAR]).scale[0] == pytest.approx(1)


def test_one_wild_value_reaches_the_limit_only():
    values = np.arange(101, dtype=float)[:, None]
    assert RobustScaling.fit(values, [LINEAR]).z(np.array([[1e9], [-1e9]])).ravel().tolist() == [LIMIT, -LIMIT]


def test_a_name_the_catalogue_lacks_is_refused():
    with pytest.raises(FeatureError, match="nucleus_charm"):
        RobustScaling.fit(np.zeros((3, 1)), ["nucleus_charm"])
