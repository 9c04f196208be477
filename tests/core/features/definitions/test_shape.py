from radiomics.shape2D import RadiomicsShape2D

from core.features.definitions.shape import SHAPES
from core.features.spec import Unit


def test_the_rows_are_the_class_of_pyradiomics():
    current = {name for name, deprecated in RadiomicsShape2D.getFeatureNames().items() if not deprecated}
    assert {row.feature for row in SHAPES} == current
    assert len(SHAPES) == len(current)


def test_the_thesis_s_eight_are_set_in_proportion():
    assert [row.feature for row in SHAPES if row.combined is None] == ["MeshSurface"]


def test_lengths_and_areas_are_skewed_and_shares_are_not():
    assert {row.feature for row in SHAPES if not row.log_axis} == {"Elongation", "Sphericity"}
    assert {row.feature for row in SHAPES if row.unit is Unit.NONE} == {"Elongation", "Sphericity"}
