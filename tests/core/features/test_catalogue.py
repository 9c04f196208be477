from itertools import groupby

import pytest
from radiomics.firstorder import RadiomicsFirstOrder
from radiomics.shape2D import RadiomicsShape2D

from core.errors import FeatureError
from core.features.catalogue import CATALOGUE, FeatureClass, FeatureGroup, Region, Unit, feature_spec

SPECS = list(CATALOGUE.values())
PER_SPEC = pytest.mark.parametrize("spec", SPECS, ids=list(CATALOGUE))


@PER_SPEC
def test_name_is_made_of_its_parts(spec):
    middle = [] if spec.region is Region.COMBINED else [spec.feature_class]
    assert spec.name == "_".join([spec.region, *middle, spec.feature])
    assert feature_spec(spec.name) is spec


@PER_SPEC
def test_every_text_is_there(spec):
    assert spec.label
    assert spec.short
    assert spec.formula
    assert spec.description.endswith(".")
    assert "{" not in spec.description + spec.label + spec.formula
    assert spec.label[0].isupper()
    assert spec.short[0].isupper()


def test_there_are_as_many_features_as_the_thesis_has_and_those_of_the_cell():
    assert len(CATALOGUE) == 3 * 8 + 8 + 2 * 17


def test_labels_are_unique_and_short_ones_within_their_group():
    assert len({spec.label for spec in SPECS}) == len(SPECS)
    assert len({(spec.group, spec.short) for spec in SPECS}) == len(SPECS)


def test_groups_stand_together_in_the_order_of_the_pages():
    assert [group for group, _ in groupby(spec.group for spec in SPECS)] == list(FeatureGroup)


@pytest.mark.parametrize(
    ("feature_class", "theirs", "left_out"),
    [
        # MeshSurface is the area again, TotalEnergy is Energy times the area of a pixel.
        (FeatureClass.SHAPE_2D, RadiomicsShape2D, {"MeshSurface"}),
        (FeatureClass.FIRST_ORDER, RadiomicsFirstOrder, {"TotalEnergy"}),
    ],
)
def test_the_classes_are_those_of_pyradiomics(feature_class, theirs, left_out):
    current = {name for name, deprecated in theirs.getFeatureNames().items() if not deprecated}
    for region in {spec.region for spec in SPECS if spec.feature_class is feature_class}:
        ours = {spec.feature for spec in SPECS if spec.region is region and spec.feature_class is feature_class}
        assert ours == current - left_out


def test_ratios_are_made_of_catalogued_features():
    ratios = [spec for spec in SPECS if spec.feature_class is FeatureClass.RATIO]
    assert [spec.region for spec in ratios] == [Region.COMBINED] * 8
    for spec in ratios:
        numerator, denominators = spec.ratio_of
        assert numerator in CATALOGUE
        assert set(denominators) <= set(CATALOGUE)
        assert spec.scale_free
    assert CATALOGUE["combined_PixelSurface"].ratio_of == (
        "nucleus_shape2D_PixelSurface",
        ("nucleus_shape2D_PixelSurface", "cytoplasm_shape2D_PixelSurface"),
    )
    assert CATALOGUE["combined_Perimeter"].ratio_of == ("nucleus_shape2D_Perimeter", ("cytoplasm_shape2D_Perimeter",))


@pytest.mark.parametrize(
    ("name", "unit", "at_half_a_micrometre"),
    [
        ("nucleus_shape2D_MajorAxisLength", Unit.LENGTH, 4.0),
        ("cell_shape2D_PixelSurface", Unit.AREA, 2.0),
        ("cytoplasm_shape2D_PerimeterSurfaceRatio", Unit.PER_LENGTH, 16.0),
        ("nucleus_shape2D_Elongation", Unit.NONE, 8.0),
        ("combined_PerimeterSurfaceRatio", Unit.NONE, 8.0),
        ("nucleus_firstorder_Mean", Unit.GREY, 8.0),
    ],
)
def test_conversion_follows_the_unit(name, unit, at_half_a_micrometre):
    assert feature_spec(name).unit is unit
    assert feature_spec(name).in_um(8.0, um_per_px=0.5) == at_half_a_micrometre


def test_only_values_without_a_length_are_free_of_scale():
    bound = {spec.feature for spec in SPECS if not spec.scale_free}
    assert bound == {
        "MajorAxisLength",
        "MaximumDiameter",
        "MinorAxisLength",
        "Perimeter",
        "PerimeterSurfaceRatio",
        "PixelSurface",
        "Energy",
    }


def test_only_tone_depends_on_intensity():
    assert {spec.group for spec in SPECS if spec.intensity_dependent} == {FeatureGroup.NUCLEUS_TONE, FeatureGroup.CYTOPLASM_TONE}


def test_energy_is_shown_in_millions_and_skewness_is_lifted():
    assert feature_spec("nucleus_firstorder_Energy").shown(2_500_000.0) == 2.5
    assert feature_spec("nucleus_firstorder_Mean").shown(120.0) == 120.0
    assert {spec.feature for spec in SPECS if spec.display_offset} == {"Skewness"}
    assert not feature_spec("cytoplasm_firstorder_Skewness").log_axis


def test_an_unknown_name_is_answered_with_the_closest():
    with pytest.raises(FeatureError, match="did you mean nucleus_shape2D_Elongation"):
        feature_spec("nucleus_shape_Elongation")
    with pytest.raises(FeatureError, match="names look like"):
        feature_spec("?")


def test_the_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        CATALOGUE["new"] = SPECS[0]
