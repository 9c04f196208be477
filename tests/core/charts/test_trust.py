from core.charts.trust import NOT_MEASURED, graded, is_poor, likeness_features, likeness_sizes, poor_last, trust, why
from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.populations.neighbours import comparable_features, comparable_sizes
from tests.populations import AREA, ELONGATION, RATIO, grades

MEASURED = grades({AREA: Grade.POOR, ELONGATION: Grade.MODERATE}, among=(AREA, ELONGATION, RATIO))


def test_without_a_measurement_nothing_is_marked_and_everything_takes_part():
    assert set(graded({})) == set(graded({}, (Grade.GOOD,))) == set(CATALOGUE)
    assert not is_poor(AREA, {})
    assert (trust(AREA, {}), why(AREA, {})) == (NOT_MEASURED, "")


def test_grades_decide_who_takes_part():
    assert set(graded(MEASURED)) == {ELONGATION, RATIO}
    assert set(graded(MEASURED, (Grade.GOOD,))) == {RATIO}


def test_only_good_features_that_need_no_scale_and_no_stain_tell_what_a_cell_is_like():
    assert likeness_features(MEASURED) == (RATIO,)
    assert likeness_features({}) == comparable_features(CATALOGUE)
    assert likeness_sizes({}) == comparable_sizes(CATALOGUE)


def test_what_was_not_measured_is_neither_poor_nor_relied_on():
    other = "nucleus_firstorder_Mean"
    assert not is_poor(other, MEASURED)
    assert other not in graded(MEASURED)
    assert why(other, MEASURED) == "Not measured with this model."


def test_the_poor_come_last_and_say_why():
    assert poor_last([AREA, RATIO, ELONGATION], MEASURED) == [RATIO, ELONGATION, AREA]
    assert why(AREA, MEASURED) == "Poor: drawn so for a test."
    assert trust(ELONGATION, MEASURED) == "moderate"
