import pytest
from radiomics import glcm, gldm, glrlm, glszm, ngtdm

from core.features.definitions.texture import TEXTURES
from core.features.spec import FeatureClass, Unit

PYRADIOMICS = {
    FeatureClass.GLCM: glcm.RadiomicsGLCM,
    FeatureClass.GLRLM: glrlm.RadiomicsGLRLM,
    FeatureClass.GLSZM: glszm.RadiomicsGLSZM,
    FeatureClass.GLDM: gldm.RadiomicsGLDM,
    FeatureClass.NGTDM: ngtdm.RadiomicsNGTDM,
}
ROWS = [row for _, rows in TEXTURES.values() for row in rows]


@pytest.mark.parametrize("feature_class", PYRADIOMICS)
def test_the_rows_are_the_class_of_pyradiomics(feature_class):
    names = [row.feature for row in TEXTURES[feature_class][1]]
    assert names == sorted(
        name for name, deprecated in PYRADIOMICS[feature_class].getFeatureNames().items() if not deprecated
    )


def test_there_are_five_classes_under_titles_of_their_own():
    assert list(TEXTURES) == list(PYRADIOMICS)
    assert len({title for title, _ in TEXTURES.values()}) == len(TEXTURES)
    assert len(ROWS) == 75


def test_every_row_says_what_it_means_in_one_line():
    for row in ROWS:
        text = row.description.format(region="nucleus")
        assert "nucleus" in text
        assert text[0].isupper()
        assert text.endswith(".")
        assert text.count(".") == 1
        assert len(text) <= 130
    for _, rows in TEXTURES.values():
        assert len({row.short for row in rows}) == len({row.description for row in rows}) == len(rows)


def test_only_the_maximal_correlation_is_unknown_to_the_ibsi():
    assert [row.feature for row in ROWS if row.ibsi_id is None] == ["MCC"]
    known = [row.ibsi_id for row in ROWS if row.ibsi_id]
    assert len(set(known)) == len(known)
    assert all(len(code) == 4 and code.isalnum() and code.isupper() for code in known)


def test_all_of_texture_is_bound_to_the_pixel_and_in_levels_or_bits():
    assert all(row.pixel_bound for row in ROWS)
    assert {row.unit for row in ROWS} == {Unit.NONE, Unit.BITS}
    assert all((row.unit is Unit.BITS) == row.feature.endswith("Entropy") for row in ROWS)
