"""Calibrating sources of a cohort, and what a calibrated comparison may say."""

from dataclasses import replace

import pytest

from core.domain.cell_types import CellType
from core.domain.errors import UsageError
from core.explorer import view
from core.explorer.calibrating import MOST_OF_A_KIND, calibrate, equal_by_construction, laboratory_cells
from core.explorer.selection import Selection
from core.explorer.view import By
from core.features.catalogue import CATALOGUE
from tests.laboratories import BARCELONA, JOHNS_HOPKINS

AREA, GRANULARITY = "cell_shape2D_PixelSurface", "nucleus_granularity_Medium"
APL = Selection(cell_types=(CellType.APL, CellType.PROMYELOCYTE))


@pytest.fixture(scope="module")
def made(shipped):
    return calibrate(shipped, "jh-to-bcn", JOHNS_HOPKINS, BARCELONA)


def test_the_cells_of_a_source_are_read_with_their_kinds_patients_and_scale(shipped):
    cells = laboratory_cells(shipped, JOHNS_HOPKINS, [AREA, GRANULARITY])
    assert (cells.cell_types == CellType.MONOCYTE).sum() == 357
    assert len(set(cells.patients[cells.cell_types == CellType.LYMPHOCYTE])) == 69
    assert cells.scales == (0.095, 0.095)
    assert max((cells.cell_types == kind).sum() for kind in CellType) <= MOST_OF_A_KIND
    with pytest.raises(UsageError, match=f"its sources are {BARCELONA}"):
        laboratory_cells(shipped, "elsewhere")


def test_it_is_made_of_what_was_measured_even_where_a_calibration_is_laid_over(shipped, made):
    again = calibrate(shipped.calibrated([made]), "again", JOHNS_HOPKINS, BARCELONA)
    assert again.shifts == made.shifts


def test_on_the_shipped_cohort_some_features_close_and_granularity_does_not(made):
    assert 30 < len(made.closing) < 150
    assert not made.shifts[GRANULARITY].closes
    assert {anchor.cell_type for anchor in made.anchors} == {CellType.MONOCYTE, CellType.LYMPHOCYTE}
    # Calibrated on one kind it is the opposite of calibrated on the other: not identified.
    mono, lympho = made.shifts[GRANULARITY].left_out
    assert mono.delta < -0.5
    assert lympho.delta > 0.5


def test_apl_beside_promyelocytes_is_compared_where_the_calibration_closes_only(shipped, made):
    plain = view.counts(shipped, APL)
    assert not any(CATALOGUE[name].intensity_dependent for name in plain.offered)
    assert AREA in plain.offered
    seen = view.counts(shipped.calibrated([made]), APL)
    tone = {name for name in seen.offered if CATALOGUE[name].intensity_dependent}
    assert tone == set(made.closing)
    assert "does not close" in seen.refusal(GRANULARITY)
    assert seen.caution(made.closing[0]).startswith("Calibrated. jh-to-bcn:")
    assert "calibrated by jh-to-bcn" in seen.warnings[0]


def test_a_source_that_is_not_calibrated_keeps_the_others_from_being_compared(shipped, made):
    seen = view.counts(shipped.calibrated([made]), Selection())
    assert "is not calibrated" in seen.refusal(made.closing[0])


def test_kinds_that_were_set_equal_are_not_compared(shipped, made):
    cohort = shipped.calibrated([made])
    monocytes = Selection(cell_types=(CellType.MONOCYTE,))
    seen = view.counts(cohort, monocytes)
    assert "equal by construction" in seen.refusal(made.closing[0])
    sides = [["monocyte_deepapl"], ["monocyte_acevedo"]]
    assert "monocytes of both sides" in equal_by_construction(cohort, Selection(), By.POPULATION, sides)
    assert equal_by_construction(shipped, Selection(), By.POPULATION, sides) is None
    other = [["apl_deepapl"], ["promyelocyte_acevedo"]]
    assert equal_by_construction(cohort, Selection(), By.POPULATION, other) is None
    # Both sides have cells of both sources.
    assert equal_by_construction(cohort, Selection(), By.CELL_TYPE, [["monocyte"], ["lymphocyte"]]) is None
    in_one = replace(monocytes, sources=(JOHNS_HOPKINS,))
    assert view.counts(cohort, in_one).refusal(made.closing[0]) is None
