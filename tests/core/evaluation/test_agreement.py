import json
import math
from dataclasses import replace

import numpy as np
import pytest

from core.domain.errors import ModelError
from core.evaluation.agreement import (
    MIN_FREEDOM,
    Disturbance,
    DisturbanceEffect,
    Grade,
    ReliabilityReport,
    Subjects,
    assess,
    intraclass_correlation,
    limits_of_agreement,
    load,
    load_report,
    save,
    to_json,
)

# Shrout and Fleiss 1979, table 2: six subjects, four judges.
JUDGES = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=np.float64
)

TWO_SETS = np.array(["set1"] * 40 + ["set2"] * 20)
ONE_TYPE = Subjects(TWO_SETS, np.full(60, "monocyte"), np.ones(60, dtype=bool))


def measured(noise=0.0, *, seed=3):
    """A feature of 60 cells of two data sets, ten times as large in the second.

    And measured again with errors of `noise` SD.
    """
    rng = np.random.default_rng(seed)
    scale = np.where(TWO_SETS == "set1", 1.0, 10.0)
    drawn = scale * (5 + rng.normal(size=60))
    return drawn, drawn + noise * scale * rng.normal(size=60)


def spreads(drawn):
    """The standard deviation between the cells of its data set, for each cell."""
    return np.where(TWO_SETS == "set1", *(drawn[name == TWO_SETS].std(ddof=1) for name in ("set1", "set2")))


def judged(drawn, predicted, disturbed=(), redrawn=None, *, cells=ONE_TYPE, **catalogued):
    return assess("feature", cells, drawn, predicted, dict(disturbed), redrawn or {}, **catalogued)


# --- the statistics ---


def test_icc_is_that_of_shrout_and_fleiss():
    icc = intraclass_correlation(JUDGES)
    assert round(icc.value, 2) == 0.29
    assert (round(icc.low, 3), round(icc.high, 3)) == (
        0.019,
        0.761,
    )  # as McGraw and Wong's F method gives it (R: irr 0.84.1, psych)


def test_icc_of_two_raters_by_hand():
    # Row means 1.5, 2.5, 3.5 and column means 2, 3: every difference is 1, so rows 2 * 2 / 2 = 2, columns 3 * 0.5 / 1 =
    # 1.5, error 0.
    icc = intraclass_correlation(np.array([[1.0, 2], [2, 3], [3, 4]]))
    assert icc.value == pytest.approx(2 / (2 + 2 * 1.5 / 3))
    assert icc.low < icc.value < icc.high


def test_identical_measurements_agree_wholly():
    assert intraclass_correlation(np.column_stack([JUDGES[:, 0]] * 2)) == (1, 1, 1)


@pytest.mark.parametrize("offset", [0.5, 1, 2])
def test_a_constant_offset_lowers_agreement_though_the_order_is_kept(offset):
    values = np.arange(10.0)
    values /= values.std(ddof=1)
    # Lin: with equal spreads, absolute agreement is about 2 / (2 + offset^2).
    assert intraclass_correlation(np.column_stack([values, values + offset])).value == pytest.approx(
        2 / (2 + offset**2), abs=0.01
    )


def test_without_any_variance_there_is_no_icc():
    assert intraclass_correlation(np.ones((10, 2))) is None


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_holds_the_value_even_where_nothing_agrees(seed):
    icc = intraclass_correlation(np.random.default_rng(seed).normal(size=(12, 2)))
    assert icc.low <= icc.value <= icc.high <= 1


def test_a_difference_between_sources_is_no_difference_between_cells():
    drawn, predicted = measured(1.0)
    far = np.where(TWO_SETS == "set1", 0, 1e6)
    plain = intraclass_correlation(np.column_stack([drawn, predicted]) + far[:, None])
    within = intraclass_correlation(np.column_stack([drawn, predicted]) + far[:, None], TWO_SETS)
    assert plain.value > 0.999
    assert within == pytest.approx(intraclass_correlation(np.column_stack([drawn, predicted]), TWO_SETS), rel=1e-4)
    assert within.value < 0.9


def test_limits_of_agreement_by_hand():
    bias, low, high = limits_of_agreement(np.array([-1.0, 0, 1, 4]))
    sd = math.sqrt((4 + 1 + 0 + 9) / 3)
    assert (bias, low, high) == pytest.approx((1, 1 - 1.96 * sd, 1 + 1.96 * sd))


# --- the judgement ---


def test_the_same_outline_is_good():
    drawn, _ = measured()
    found = judged(drawn, drawn)
    assert (found.grade, found.icc, found.n, found.bias, found.difference) == (Grade.GOOD, 1, 60, 0, 0)
    assert found.why == "from the model's outline it agrees well with the drawn one (ICC 1.00, 1.00 to 1.00, 60 cells)"


@pytest.mark.parametrize(("noise", "grade"), [(0.2, Grade.GOOD), (0.75, Grade.MODERATE), (1.5, Grade.POOR)])
def test_the_lower_limit_decides(noise, grade):
    drawn, predicted = measured(noise)
    found = judged(drawn, predicted)
    assert found.grade is grade
    assert (found.icc_low >= 0.75, found.icc_low >= 0.5) == (grade is Grade.GOOD, grade is not Grade.POOR)


def test_the_grade_is_that_within_the_data_sets_and_each_is_told_in_the_features_unit():
    drawn, predicted = measured(1.5)
    found = judged(drawn, predicted)
    assert intraclass_correlation(np.column_stack([drawn, predicted])).value > 0.75
    assert found.icc < 0.6
    second = TWO_SETS == "set2"
    row = found.sources["set2"]
    assert row[:4] == pytest.approx((20, *intraclass_correlation(np.column_stack([drawn, predicted])[second])))
    assert row.bias == pytest.approx((predicted - drawn)[second].mean())
    assert row.spread == pytest.approx(drawn[second].std(ddof=1))


def test_differences_are_in_standard_deviations_between_cells():
    drawn, _ = measured()
    spread = spreads(drawn)
    predicted = drawn + 0.5 * spread
    found = judged(
        drawn, predicted, {Disturbance.WIDER: predicted - 0.25 * spread}, {"set2": np.array([[1, 1 + 2 * spread[-1]]])}
    )
    assert found.bias == pytest.approx(0.5)
    assert found.disturbances[Disturbance.WIDER] == pytest.approx((-0.25, 0.25))
    assert found.annotators == pytest.approx(2)
    assert found.difference == pytest.approx(0.5)


def test_differences_between_cell_types_are_no_differences_between_cells():
    drawn, predicted = measured(1.0)
    lobed = np.arange(60) % 2 == 0
    far = np.where(lobed, 0, 100.0)
    types = Subjects(TWO_SETS, np.where(lobed, "neutrophil", "lymphocyte"), ~lobed)
    found = judged(drawn + far, predicted + far, cells=types)
    assert judged(drawn + far, predicted + far).icc > 0.99
    assert found.icc == pytest.approx(judged(drawn, predicted, cells=types).icc)
    assert found.icc < 0.7
    first = TWO_SETS == "set1"
    within = np.concatenate(
        [drawn[first & (lobed == is_lobed)] - drawn[first & (lobed == is_lobed)].mean() for is_lobed in (True, False)]
    )
    assert found.sources["set1"].spread == pytest.approx(math.sqrt((within**2).sum() / 38))


def test_the_mononuclear_cells_are_also_judged_alone():
    drawn, predicted = measured(1.0)
    lobed = np.arange(60) % 2 == 0
    exact = np.where(lobed, predicted, drawn)
    types = Subjects(TWO_SETS, np.where(lobed, "neutrophil", "lymphocyte"), ~lobed)
    assert judged(drawn, exact, cells=types).mononuclear.value == 1
    assert judged(drawn, exact, cells=types).icc < 0.9
    assert judged(drawn, exact, cells=Subjects(TWO_SETS, types.types, np.zeros(60, dtype=bool))).mononuclear is None


def test_the_mononuclear_cells_can_refute_a_grade():
    drawn, predicted = measured(2.0)
    lobed = np.arange(60) % 3 > 0
    types = Subjects(TWO_SETS, np.where(lobed, "neutrophil", "lymphocyte"), ~lobed)
    # Lobed nuclei differ ten times as much among themselves, and are outlined without error.
    found = judged(np.where(lobed, 10 * drawn, drawn), np.where(lobed, 10 * drawn, predicted), cells=types)
    assert found.icc_low > 0.9
    assert found.mononuclear.high < 0.75
    assert found.grade is not Grade.GOOD
    assert ", but among mononuclear cells alone it does not (ICC " in found.why


@pytest.mark.parametrize(("size", "grade"), [(0.6, Grade.GOOD), (0.8, Grade.MODERATE), (1.1, Grade.POOR)])
def test_what_an_accident_of_the_image_changes_lowers_the_grade(size, grade):
    drawn, _ = measured()
    spread = spreads(drawn)
    found = judged(drawn, drawn, {Disturbance.WIDER: drawn, Disturbance.JPEG_50: drawn + size * spread})
    assert found.grade is grade
    assert found.largest is Disturbance.JPEG_50
    assert found.why.endswith(
        f", but JPEG quality 50 changes it by {size:.2f} standard deviations between cells of a type"
    ) == (grade is not Grade.GOOD)


def test_light_and_stain_ask_for_calibration_and_leave_the_grade():
    drawn, _ = measured()
    found = judged(drawn, drawn, {Disturbance.DIMMER: 3 * drawn, Disturbance.DEEPER: drawn})
    assert found.grade is Grade.GOOD
    assert (found.largest, found.calibrate) == (None, Disturbance.DIMMER)
    assert found.disturbances[Disturbance.DEEPER] == (0, 0)
    assert judged(drawn, drawn, {Disturbance.DIMMER: drawn}).calibrate is None


def test_rescaling_counts_only_where_magnifications_are_compared():
    drawn, _ = measured()
    moved = {Disturbance.SMALLER: 2 * drawn, Disturbance.WIDER: drawn}
    assert judged(drawn, drawn, moved).largest is Disturbance.SMALLER
    assert judged(drawn, drawn, moved).grade is Grade.POOR
    bound = judged(drawn, drawn, moved, pixel_bound=True)
    assert (bound.grade, bound.largest) == (Grade.GOOD, Disturbance.WIDER)
    assert bound.disturbances[Disturbance.SMALLER].size > 1


def test_positive_skewed_features_are_compared_as_logarithms():
    drawn, predicted = measured(0.2)
    on_log = judged(np.exp(drawn / 10), np.exp(predicted / 10), log_axis=True)
    plain = judged(drawn / 10, predicted / 10)
    assert on_log.log
    assert on_log.icc == pytest.approx(plain.icc)
    assert not judged(drawn - drawn.min(), predicted, log_axis=True).log  # a zero has no logarithm


def test_absent_values_are_counted_and_left_out():
    drawn, predicted = measured(0.2)
    missing = predicted.copy()
    missing[:3] = math.nan
    gone = np.where(np.arange(60) < 5, math.nan, drawn)
    found = judged(gone, missing)
    assert (found.n, found.unpaired) == (55, 2)
    assert found.why.endswith(", 55 cells); 2 more have it from one outline only")


def test_a_data_set_whose_cells_do_not_differ_does_not_count():
    drawn, predicted = measured(0.2)
    drawn[TWO_SETS == "set2"] = 3 + 1e-12 * np.arange(20)
    found = judged(drawn, predicted)
    assert (found.n, list(found.sources)) == (40, ["set1"])


def test_what_cannot_be_judged_says_why():
    drawn, _ = measured()
    same = judged(np.ones(60), drawn)
    assert (same.grade, same.icc, same.why) == (
        Grade.POOR,
        None,
        "it cannot be judged: the test cells of a type do not differ in it",
    )
    rare = np.where(np.arange(60) < MIN_FREEDOM, drawn, math.nan)
    found = judged(rare, rare, {Disturbance.WIDER: rare}, {"set1": np.array([[1.0, 2.0]])})
    assert found.why == "it cannot be judged: only 5 of 60 test cells have it from both outlines"
    assert (found.difference, found.largest, found.calibrate, found.annotators) == (None, None, None, None)


# --- the file ---


@pytest.fixture
def report():
    drawn, predicted = measured(0.3)
    disturbed = {Disturbance.WIDER: predicted + 1, Disturbance.BLUER: predicted}
    rows = {
        "a": replace(judged(drawn, predicted, disturbed, {"set1": np.array([[4.0, 5.0]])}), feature="a"),
        "b": replace(judged(np.ones(60), drawn), feature="b"),
    }
    return ReliabilityReport(
        "a-model",
        "0" * 64,
        "2026-11-23",
        "python -m core reliability",
        {"set1": 40, "set2": 20},
        (("x", "y"),),
        {},
        rows,
    )


def test_a_file_reads_back_to_the_digits_it_keeps(report, tmp_path):
    path = tmp_path / "m.reliability.json"
    save(report, path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    back = load_report(path)
    assert replace(back, features={}) == replace(report, features={})
    a, b = report.features["a"], load(path)["a"]
    assert (b.feature, b.n, b.unpaired, b.log, b.grade, b.why) == (a.feature, a.n, a.unpaired, a.log, a.grade, a.why)
    for name in (
        "icc",
        "icc_low",
        "icc_high",
        "bias",
        "limit_low",
        "limit_high",
        "mononuclear",
        "annotators",
        "difference",
    ):
        assert getattr(b, name) == pytest.approx(getattr(a, name), abs=1e-3), name
    assert (b.largest, b.calibrate) == (a.largest, a.calibrate) == (Disturbance.WIDER, None)
    assert b.sources["set2"] == pytest.approx(a.sources["set2"], rel=2e-3)
    assert isinstance(b.sources["set2"].n, int)
    assert set(b.disturbances) == {Disturbance.WIDER, Disturbance.BLUER}
    assert b.disturbances[Disturbance.WIDER] == pytest.approx(a.disturbances[Disturbance.WIDER], abs=1e-2)
    assert isinstance(b.disturbances[Disturbance.WIDER], DisturbanceEffect)
    assert back.features["b"] == report.features["b"]


def test_a_feature_is_one_line_and_the_header_tells_the_rule(report):
    text = to_json(report)
    assert [line[:5] for line in text.splitlines() if '"grade":' in line] == ['  "a"', '  "b"']
    header = json.loads(text)
    assert "0.75" in header["grades"]["good"]
    assert Disturbance.DIMMER in header["grades"]["not counted"]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"features": {}}'])
def test_a_damaged_file(tmp_path, text):
    (tmp_path / "m.reliability.json").write_text(text)
    with pytest.raises(
        ModelError,
        match=r"m\.reliability\.json in the models folder is missing or damaged .*python -m core reliability",
    ):
        load(tmp_path / "m.reliability.json")


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match="missing or damaged"):
        load(tmp_path / "m.reliability.json")
