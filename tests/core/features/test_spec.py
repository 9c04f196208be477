import dataclasses

from core.features.catalogue import CATALOGUE
from core.features.spec import Region, Theme, Unit

AREA = CATALOGUE["nucleus_shape2D_PixelSurface"]


def test_units_of_the_same_power_convert_alike():
    for unit in Unit:
        spec = dataclasses.replace(AREA, unit=unit)
        assert spec.in_um(8.0, 0.5) == 8.0 * 0.5**unit.length_power
        assert ("px" in unit.px) == (unit.length_power != 0)
        assert ("µm" in unit.um) == (unit.length_power != 0)


def test_what_is_bound_to_pixels_is_not_free_of_scale():
    ratio = CATALOGUE["combined_PixelSurface"]
    assert ratio.scale_free
    assert not AREA.scale_free
    assert not dataclasses.replace(ratio, pixel_bound=True).scale_free


def test_intensity_matters_wherever_the_pixels_values_are_looked_at():
    assert not AREA.intensity_dependent
    for theme in (Theme.TONE, Theme.COLOUR, Theme.TEXTURE):
        assert dataclasses.replace(AREA, theme=theme).intensity_dependent


def test_every_region_is_measured():
    assert {spec.region for spec in CATALOGUE.values()} == set(Region)
