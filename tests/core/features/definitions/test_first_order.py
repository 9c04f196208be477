import pytest
from radiomics.firstorder import RadiomicsFirstOrder

from core.features.channels import Channel
from core.features.definitions.first_order import QUANTITIES, rows


def test_every_channel_has_its_words():
    assert [str(feature_class) for feature_class in QUANTITIES] == [str(channel) for channel in Channel]


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=list(QUANTITIES))
def test_the_rows_are_the_class_of_pyradiomics(quantity):
    current = {name for name, deprecated in RadiomicsFirstOrder.getFeatureNames().items() if not deprecated}
    found = list(rows(quantity))
    assert {row.feature for row in found} == current
    assert len(found) == len(current)
    assert all(row.description.format(region="cell").endswith(".") for row in found)


def test_units_follow_the_power_of_the_value():
    for quantity in QUANTITIES.values():
        by_name = {row.feature: row for row in rows(quantity)}
        value, squared, summed = quantity.units
        assert by_name["Mean"].unit is by_name["Range"].unit is value
        assert by_name["Variance"].unit is by_name["Energy"].unit is squared
        assert by_name["TotalEnergy"].unit is summed
        assert summed.length_power == 2
