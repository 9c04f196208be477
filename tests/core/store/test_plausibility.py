"""No cell that was ever measured breaks a rule; what is impossible does."""

import pytest

from core.domain.errors import DataSetError
from core.domain.settings import load_settings
from core.features.catalogue import CATALOGUE
from core.store import queries
from core.store.database import Cohort
from core.store.plausibility import RULES, Breach, Judge, Judgement
from tests.core.store.conftest import AREA, RATIO, plausible

CELL = "cell_shape2D_PixelSurface"
EVERY = plausible(10_000.0)


def breach(**changed):
    row = EVERY | changed
    return Judge(list(row)).breach(row, row)


def test_the_shipped_cells_break_no_rule():
    judge = Judge(list(CATALOGUE))
    with Cohort.open([load_settings().reference]) as cohort:
        for info in queries.populations(cohort):
            for row in queries.cells(cohort, info.population.population_id)[:100].to_dict("records"):
                assert judge.breach(row, row) is None


def test_a_plausible_cell_breaks_none():
    assert breach() is None


@pytest.mark.parametrize(
    ("changed", "column", "rule"),
    [
        ({AREA: -10_000.0}, AREA, "negative"),
        ({AREA: -1.0}, AREA, "negative"),
        ({AREA: -999.0}, AREA, "missing"),
        ({"cell_firstorder_Skewness": -9999.0}, "cell_firstorder_Skewness", "missing"),
        ({"cell_firstorder_Energy": 1e30}, "cell_firstorder_Energy", "missing"),
        ({RATIO: 46.0}, RATIO, "share"),
        ({RATIO: 0.8}, RATIO, "ratio"),
        ({"nucleus_shape2D_Elongation": 1.6}, "nucleus_shape2D_Elongation", "share"),
        ({AREA: 30_000.0}, AREA, "whole"),
        ({CELL: 60_000.0, RATIO: 0.1667}, CELL, "parts"),
        ({"nucleus_saturation_Mean": 120.0}, "nucleus_saturation_Mean", "range"),
        ({"nucleus_hue_Mean": 20.0}, "nucleus_hue_Mean", "range"),
        ({"nucleus_firstorder_Mean": 4000.0}, "nucleus_firstorder_Mean", "range"),
        ({"nucleus_firstorder_Entropy": -2.0}, "nucleus_firstorder_Entropy", "negative"),
        ({"nucleus_firstorder_Median": 90.0, "nucleus_firstorder_Maximum": 80.0}, "nucleus_firstorder_Median", "order"),
        ({"nucleus_shape2D_MaximumDiameter": 12.0}, "nucleus_shape2D_MaximumDiameter", "diameter"),
        ({"nucleus_shape2D_Perimeter": 40.0}, "nucleus_shape2D_Perimeter", "perimeter"),
        ({"nucleus_shape2D_MinorAxisLength": 200.0}, "nucleus_shape2D_MinorAxisLength", "order"),
        ({"combined_Perimeter": 80.0}, "combined_Perimeter", "ratio"),
    ],
)
def test_what_cannot_be_is_found_and_named(changed, column, rule):
    assert breach(**changed) == Breach(column, rule)
    assert RULES[rule].words


@pytest.mark.parametrize(
    "changed",
    [
        {"cell_firstorder_Skewness": -2.0},
        {"cell_eosin_Mean": -0.1, "cell_eosin_Minimum": -0.3},
        {"cell_glcm_Correlation": -0.5},
    ],
)
def test_what_may_be_negative_may(changed):
    assert breach(**changed) is None


def judged(rows, bad):
    judgement = Judgement()
    for row in range(rows):
        judgement.rows += 1
        if row < bad:
            judgement.reject(row + 2, Breach(AREA, "negative"), -5.0)
    return judgement


@pytest.mark.parametrize(("rows", "bad"), [(100, 10), (10, 2), (5, 0)])
def test_a_few_impossible_rows_are_left_out(rows, bad):
    judgement = judged(rows, bad)
    judgement.check("table.csv")
    assert judgement.left_out == len(judgement.rejected) == bad


@pytest.mark.parametrize(("rows", "bad"), [(100, 11), (10, 3), (1, 1)])
def test_many_for_one_reason_refuse_the_table_and_name_it(rows, bad):
    with pytest.raises(
        DataSetError, match=f"{bad} of {rows} rows .* row 2, column {AREA}: -5 cannot be negative; .*z-score"
    ):
        judged(rows, bad).check("table.csv")
