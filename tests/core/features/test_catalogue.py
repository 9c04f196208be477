from itertools import groupby

import pytest
from radiomics.firstorder import RadiomicsFirstOrder
from radiomics.glcm import RadiomicsGLCM
from radiomics.gldm import RadiomicsGLDM
from radiomics.glrlm import RadiomicsGLRLM
from radiomics.glszm import RadiomicsGLSZM
from radiomics.ngtdm import RadiomicsNGTDM
from radiomics.shape2D import RadiomicsShape2D

from core.domain.errors import FeatureError
from core.features.catalogue import CATALOGUE, CELL_REGIONS, TONE_REGIONS, feature_spec
from core.features.definitions.structure import COMBINED, STRUCTURES
from core.features.spec import FeatureClass, Region, Theme, Unit

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


def test_labels_are_unique_and_short_ones_within_their_group():
    assert len({spec.label for spec in SPECS}) == len(SPECS)
    assert len({(spec.group, spec.short) for spec in SPECS}) == len(SPECS)


def test_groups_and_themes_stand_together_in_the_order_of_the_pages():
    for part in ("group", "theme"):
        runs = [key for key, _ in groupby(getattr(spec, part) for spec in SPECS)]
        assert len(runs) == len(set(runs))
    assert list(dict.fromkeys(spec.theme for spec in SPECS)) == list(Theme)
    assert all(
        len({spec.theme for spec in SPECS if spec.group == group}) == 1 for group in {spec.group for spec in SPECS}
    )


PYRADIOMICS = {
    FeatureClass.SHAPE_2D: RadiomicsShape2D,
    FeatureClass.FIRST_ORDER: RadiomicsFirstOrder,
    FeatureClass.GLCM: RadiomicsGLCM,
    FeatureClass.GLRLM: RadiomicsGLRLM,
    FeatureClass.GLSZM: RadiomicsGLSZM,
    FeatureClass.GLDM: RadiomicsGLDM,
    FeatureClass.NGTDM: RadiomicsNGTDM,
}


@pytest.mark.parametrize("region", CELL_REGIONS)
def test_nucleus_cytoplasm_and_cell_have_all_102_of_pyradiomics(region):
    theirs = {
        (feature_class, name)
        for feature_class, them in PYRADIOMICS.items()
        for name, deprecated in them.getFeatureNames().items()
        if not deprecated
    }
    assert len(theirs) == 102
    assert {
        (spec.feature_class, spec.feature)
        for spec in SPECS
        if spec.region is region and spec.feature_class in PYRADIOMICS
    } == theirs


def test_every_channel_is_described_in_every_region():
    first_order = sum(not deprecated for deprecated in RadiomicsFirstOrder.getFeatureNames().values())
    for feature_class in ("firstorder", "od", "haematoxylin", "eosin", "hue", "saturation"):
        assert sum(spec.feature_class == feature_class for spec in SPECS) == first_order * len(TONE_REGIONS)


def test_the_rows_of_structure_are_all_there():
    rows = sum(len(regions) * len(rows) for regions, rows in STRUCTURES.values()) + len(COMBINED)
    assert sum(spec.theme is Theme.STRUCTURE for spec in SPECS) == rows > 10


def test_ratios_are_made_of_catalogued_features():
    ratios = [spec for spec in SPECS if spec.ratio_of]
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
        ("nucleus_firstorder_TotalEnergy", Unit.GREY_SQUARED_AREA, 2.0),
        ("environment_hue_Mean", Unit.DEGREE, 8.0),
    ],
)
def test_conversion_follows_the_unit(name, unit, at_half_a_micrometre):
    assert feature_spec(name).unit is unit
    assert feature_spec(name).in_um(8.0, um_per_px=0.5) == at_half_a_micrometre


def test_only_values_without_a_length_are_free_of_scale():
    bound = {spec.feature for spec in SPECS if not spec.scale_free and spec.theme is not Theme.TEXTURE}
    assert bound >= {
        "MajorAxisLength",
        "MaximumDiameter",
        "MinorAxisLength",
        "Perimeter",
        "PerimeterSurfaceRatio",
        "PixelSurface",
        "Energy",
    }
    assert {spec.feature for spec in SPECS if not spec.scale_free and spec.theme is Theme.TONE} == {
        "Energy",
        "TotalEnergy",
    }
    assert not any(spec.scale_free for spec in SPECS if spec.theme is Theme.TEXTURE)


def test_size_and_shape_do_not_depend_on_intensity_and_all_tones_do():
    assert not any(spec.intensity_dependent for spec in SPECS if spec.theme is Theme.SHAPE)
    assert all(spec.intensity_dependent for spec in SPECS if spec.theme in (Theme.TONE, Theme.COLOUR, Theme.TEXTURE))


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
