import numpy as np
import pytest

from core.charts.axes import Axis, axis, drawn, measured, title
from core.features.catalogue import CATALOGUE
from core.populations.summaries import Basis

ENERGY, SKEWNESS, AREA = "nucleus_firstorder_Energy", "nucleus_firstorder_Skewness", "nucleus_shape2D_PixelSurface"


def test_an_axis_holds_all_values_with_room():
    found = axis("area", np.array([2.0, 4.0, np.nan]))
    assert found.low < 2 < 4 < found.high
    assert found.high - found.low < 2.5
    assert np.isfinite([axis("one", np.array([3.0])).low, axis("none", np.array([])).high]).all()


def test_a_logarithmic_axis_begins_above_zero_and_needs_something_there():
    found = axis("area", np.array([-1.0, 0.0, 10.0, 1000.0]), log=True)
    assert found.log
    assert 0 < found.low < 10
    assert not axis("skewness", np.array([-1.0, 0.0]), log=True).log


def test_places_along_an_axis_are_even_in_the_logarithm():
    places = Axis("x", 1.0, 100.0, log=True).along(np.array([1.0, 10.0, 100.0, 0.0]))
    assert places[:3] == pytest.approx([0, 0.5, 1])
    assert np.isnan(places[3])
    assert Axis("x", 1.0, 3.0).along(np.array([0.0, 2.0])) == pytest.approx([-0.5, 0.5])


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("feature", [ENERGY, SKEWNESS, AREA])
def test_a_place_on_a_features_axis_leads_back_to_its_value(feature, log):
    spec = CATALOGUE[feature]
    assert drawn(feature, 5.0, log=False) == spec.shown(5.0)
    assert drawn(feature, 5.0, log=True) == spec.shown(5.0) + spec.display_offset
    assert measured(feature, drawn(feature, 5.0, log=log), log=log) == pytest.approx(5.0)
    assert measured(feature, drawn(feature, np.array([5.0, 6.0]), log=log), log=log) == pytest.approx([5.0, 6.0])


def test_a_title_names_unit_and_what_was_added():
    assert title(AREA, Basis.MICROMETRES).endswith("(µm²)")
    assert "+ 1" in title(SKEWNESS, Basis.NONE, log=True)
    assert "+ 1" not in title(SKEWNESS, Basis.NONE)
