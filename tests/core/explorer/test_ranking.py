from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from core.domain.errors import UsageError
from core.explorer import ranking
from core.explorer.ranking import (
    FEW_PATIENTS,
    GroupName,
    Separation,
    UnitOfAnalysis,
    group_name,
    patient_codes,
    plain_sentence,
    rank_features,
    sentence,
)
from core.explorer.separation import SAMPLE
from core.features.catalogue import CATALOGUE

FEATURES = tuple(CATALOGUE)
AB, ABC = ("a", "b"), ("a", "b", "c")


def ranked(matrix, groups, names=AB, patients=None, **options):
    columns = dict(zip(FEATURES, np.asarray(matrix, dtype=float).T, strict=False))
    return rank_features(
        columns, np.asarray(groups), names, None if patients is None else np.asarray(patients), **options
    )


def only(values, groups, names=AB, patients=None, **options) -> Separation:
    (found,) = ranked(np.asarray(values, dtype=float)[:, None], groups, names, patients, **options).separations
    return found


def by_feature(found):
    return {separation.feature: separation for separation in found.separations}


# --- effect and test --------------------------------------------------------------------------------------------------


def test_a_case_counted_by_hand():
    # pairs (a, b): 1 < 2 3 5, 2 = 2 < 3 5, 4 > 2 3 < 5, 6 > all; 5 smaller... 5 + 1/2 of 12 larger
    found = only([1, 2, 4, 6, 2, 3, 5], [0, 0, 0, 0, 1, 1, 1])
    assert found.n == (4, 3)
    assert found.auc == pytest.approx(5.5 / 12)
    assert found.effect == pytest.approx(2 * 5.5 / 12 - 1)
    assert found.medians == (3.0, 3.0)
    assert (found.below, found.above) == (0.5, 0.5)


def test_the_middle_cells_of_an_even_group_are_two_and_equal_values_are_neither_below_nor_above():
    found = only([1, 2, 3, 4, 5, 2, 2, 4, 9], [0, 0, 0, 0, 0, 1, 1, 1, 1])
    assert (found.below, found.above) == (0.2, 0.2)  # 1 is below 2, 5 above 4
    assert found.medians == (3.0, 3.0)


def test_the_first_group_being_larger_is_positive():
    assert only([5, 6, 7, 1, 2, 3], [0, 0, 0, 1, 1, 1]).effect == 1
    assert only([5, 6, 7, 1, 2, 3], [1, 1, 1, 0, 0, 0]).effect == -1


def noisy(rng, k, *, decimals, absent=0.1, n=300):
    groups = rng.integers(-1, k, n)
    values = np.round(rng.normal(0.3 * groups, 1), decimals)
    values[rng.random(n) < absent] = np.nan
    return values, groups


def parts(values, groups, k):
    return [values[(groups == group) & ~np.isnan(values)] for group in range(k)]


@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_two_groups_as_scipy(decimals):
    values, groups = noisy(np.random.default_rng(decimals), 2, decimals=decimals)
    a, b = parts(values, groups, 2)
    expected = stats.mannwhitneyu(a, b, method="asymptotic")
    found = only(values, groups)
    assert found.n == (len(a), len(b))
    assert found.auc == pytest.approx(expected.statistic / len(a) / len(b), rel=1e-12)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.medians == pytest.approx((np.median(a), np.median(b)), rel=1e-12)


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("decimals", [0, 1, 12])
def test_more_groups_as_scipy(decimals, k):
    values, groups = noisy(np.random.default_rng(k), k, decimals=decimals)
    of_groups = parts(values, groups, k)
    expected = stats.kruskal(*of_groups)
    found = only(values, groups, tuple("abcde"[:k]))
    assert found.effect == pytest.approx(expected.statistic / (sum(map(len, of_groups)) - 1), rel=1e-9)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.auc, found.below, found.above) == (None, None, None)


def test_epsilon_squared_is_the_share_of_the_ranks_variance_between_the_groups():
    values, groups = noisy(np.random.default_rng(4), 3, decimals=1, absent=0)
    ranks = stats.rankdata(values[groups >= 0])
    codes = groups[groups >= 0]
    means = np.array([ranks[codes == group].mean() for group in range(3)])[codes]
    assert only(values, groups, ABC).effect == pytest.approx(means.var() / ranks.var(), rel=1e-9)


@pytest.mark.parametrize("names", [AB, ABC])
def test_a_constant_feature_separates_nothing(names):
    found = only(np.full(12, 3.0), np.arange(12) % len(names), names)
    assert (found.effect, found.p, found.low, found.high) == (0, 1, 0, 0)


@given(arrays.arrays(float, 40, elements=st.floats(-3, 3).map(lambda x: round(x, 1)) | st.just(np.nan)))
@settings(deadline=None, max_examples=60)
def test_a_monotone_scale_and_a_mirror_change_nothing_but_the_side(values):
    groups, patients = np.arange(40) % 2, np.arange(40) % 8 // 2 * 2 + np.arange(40) % 2
    plain, logged, mirrored = (
        only(v, groups, patients=patients, intervals=()) for v in (values, np.exp(values), -values)
    )
    assert (plain.effect, plain.p, plain.by_patient) == (logged.effect, logged.p, logged.by_patient)
    if plain.effect is not None:
        assert mirrored.effect == pytest.approx(-plain.effect, abs=1e-12)
        assert (mirrored.below, mirrored.above) == (plain.above, plain.below)
        assert mirrored.p == pytest.approx(plain.p)
        if plain.by_patient is not None:
            assert mirrored.by_patient == pytest.approx(-plain.by_patient, abs=1e-12)


def test_q_is_benjamini_and_hochbergs():
    rng = np.random.default_rng(5)
    groups = np.arange(60) % 2
    matrix = rng.normal(size=(60, 40)) + groups[:, None] * np.linspace(0, 1, 40)
    matrix[:, 7] = np.nan  # not tested, not counted
    found = ranked(matrix, groups, intervals=()).separations
    tested = [separation for separation in found if separation.p is not None]
    assert len(tested) == 39
    expected = multipletests([separation.p for separation in tested], method="fdr_bh")[1]
    assert [separation.q for separation in tested] == pytest.approx(expected.tolist(), rel=1e-12)
    assert found[-1] == Separation(FEATURES[7], (0, 0), None)


def test_the_largest_effect_comes_first_then_the_smallest_p():
    rng = np.random.default_rng(6)
    groups = np.arange(80) % 2
    matrix = rng.normal(size=(80, 12)) + groups[:, None] * np.linspace(-2, 2, 12)
    matrix[6:, 3] = np.nan  # a perfect separation of six cells ...
    matrix[:6, 3] = groups[:6]
    matrix[:, 5] = groups  # ... comes behind that of eighty
    found = ranked(matrix, groups, intervals=()).separations
    effects = [abs(separation.effect) for separation in found]
    assert effects == sorted(effects, reverse=True)
    assert [separation.feature for separation in found[:2]] == [FEATURES[5], FEATURES[3]]


# --- patients ---------------------------------------------------------------------------------------------------------


def clustered(rng, patients, cells, *, shift=0.0, between=1.0, within=1.0):
    """Values, groups and patients: so many patients in each of two groups, cells of a patient alike."""
    codes = np.repeat(np.arange(2 * patients), cells)
    groups = codes // patients
    values = rng.normal(size=2 * patients)[codes] * between + rng.normal(size=len(codes)) * within + shift * groups
    return values, groups, codes


def test_the_test_is_between_the_medians_of_the_patients_ranks():
    rng = np.random.default_rng(7)
    values, groups, patients = clustered(rng, 8, 15, shift=0.8)
    values = np.round(values, 1)
    dropped = rng.random(len(values)) < 0.3  # odd and even numbers of cells
    values[dropped] = np.nan
    ranks = pd.Series(stats.rankdata(values, nan_policy="omit"))
    medians = ranks.groupby(patients).median()
    expected = stats.mannwhitneyu(medians[:8], medians[8:], method="asymptotic")
    found = only(values, groups, patients=patients)
    assert found.patients == (8, 8)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.by_patient == pytest.approx(2 * expected.statistic / 64 - 1, rel=1e-12)
    assert found.p_cells == pytest.approx(
        stats.mannwhitneyu(*parts(values, groups, 2), method="asymptotic").pvalue, rel=1e-9
    )
    assert found.p_cells < found.p


def test_of_odd_numbers_of_cells_these_are_the_patients_medians():
    values, groups, patients = clustered(np.random.default_rng(8), 6, 9, shift=1)
    medians = pd.Series(values).groupby(patients).median()
    assert only(values, groups, patients=patients).p == pytest.approx(
        stats.mannwhitneyu(medians[:6], medians[6:], method="asymptotic").pvalue, rel=1e-9
    )


def test_three_groups_of_patients_as_kruskal():
    rng = np.random.default_rng(9)
    patients = np.repeat(np.arange(18), 7)
    values = rng.normal(size=18)[patients] + patients // 6
    medians = pd.Series(values).groupby(patients).median().to_numpy()
    found = only(values, patients // 6, ABC, patients)
    assert found.p == pytest.approx(stats.kruskal(medians[:6], medians[6:12], medians[12:]).pvalue, rel=1e-9)


def test_a_patient_of_two_groups_counts_in_both():
    values, groups, patients = clustered(np.random.default_rng(10), 6, 10)
    found = ranked(values[:, None], groups, patients=patients % 6)
    assert found.patients == (6, 6)
    medians = pd.Series(stats.rankdata(values)).groupby(patients).median()
    assert found.separations[0].p == pytest.approx(
        stats.mannwhitneyu(medians[:6], medians[6:], method="asymptotic").pvalue, rel=1e-9
    )


@pytest.mark.parametrize(
    ("patients", "drawn", "tested", "words"),
    [
        (FEW_PATIENTS, UnitOfAnalysis.PATIENTS, UnitOfAnalysis.PATIENTS, "whole patients were drawn"),
        (
            FEW_PATIENTS - 1,
            UnitOfAnalysis.CELLS,
            UnitOfAnalysis.PATIENTS,
            "with 4 patients in a group cells were drawn",
        ),
        (2, UnitOfAnalysis.CELLS, None, "with 2 patients in a group no test"),
        (1, UnitOfAnalysis.CELLS, None, "with 1 patient in a group no test"),
    ],
)
def test_few_patients_are_told(patients, drawn, tested, words):
    values, groups, codes = clustered(np.random.default_rng(11), patients, 12)
    found = ranked(values[:, None], groups, patients=codes)
    assert (found.drawn, found.tested) == (drawn, tested)
    assert words in found.note
    assert (found.separations[0].p is None) == (tested is None)
    assert found.separations[0].q == found.separations[0].p
    assert found.separations[0].low is not None


@pytest.mark.parametrize(
    ("known", "words"), [(0, "no cell names its patient"), (239, "1 of 240 cells name no patient")]
)
def test_without_all_patients_cells_are_tested_and_that_is_said(known, words):
    values, groups, codes = clustered(np.random.default_rng(12), 6, 20)
    codes[known:] = -1
    found = ranked(values[:, None], groups, patients=codes)
    assert (found.drawn, found.tested, found.patients) == (UnitOfAnalysis.CELLS, UnitOfAnalysis.CELLS, None)
    assert words in found.note
    assert found.separations[0].p == found.separations[0].p_cells


def test_an_unknown_patient_outside_the_groups_does_not_matter():
    values, groups, codes = clustered(np.random.default_rng(13), 6, 20)
    outside = [np.append(values, 0.0)[:, None], np.append(groups, -1), AB, np.append(codes, -1)]
    assert ranked(*outside).separations == ranked(values[:, None], groups, AB, codes).separations


def test_a_feature_that_few_patients_have_is_not_tested():
    values, groups, codes = clustered(np.random.default_rng(14), 6, 20)
    values[(codes < 4)] = np.nan
    found = only(values, groups, patients=codes)
    assert found.patients == (2, 6)
    assert found.effect is not None
    assert (found.p, found.q, found.by_patient, found.low) == (None,) * 4


def test_the_same_pseudonym_of_two_sources_is_two_patients():
    codes = patient_codes(["A", "A", "B", "B", "A"], ["p1", "p2", "p1", None, "p1"])
    assert codes.tolist() == [0, 1, 2, -1, 0]


# --- intervals --------------------------------------------------------------------------------------------------------


def test_intervals_of_cells_agree_with_drawing_cells_one_by_one():
    rng = np.random.default_rng(15)
    groups = np.repeat([0, 1], [150, 90])
    values = np.round(rng.normal(0.7 * groups, 1), 1)
    found = only(values, groups)
    drawn = []
    for _ in range(600):
        rows = np.concatenate([rng.integers(0, 150, 150), rng.integers(150, 240, 90)])
        drawn.append(2 * stats.mannwhitneyu(values[rows][:150], values[rows][150:]).statistic / 150 / 90 - 1)
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.035)


def test_bins_of_many_values_change_an_interval_hardly(monkeypatch):
    rng = np.random.default_rng(16)
    values, groups, codes = clustered(rng, 10, 200, shift=0.7)
    for patients in (None, codes):
        fine = only(values, groups, patients=patients)
        monkeypatch.setattr(ranking, "_BINS", 10_000)
        exact = only(values, groups, patients=patients)
        monkeypatch.undo()
        assert (fine.low, fine.high) == pytest.approx((exact.low, exact.high), abs=1e-3)


def test_large_groups_are_drawn_in_parts_with_the_same_interval(monkeypatch):
    rng = np.random.default_rng(17)
    groups = np.arange(6000) % 2
    values = rng.normal(0.5 * groups, 1)
    exact = only(values, groups)
    monkeypatch.setattr(ranking, "_GRID", 500)
    parts_drawn = only(values, groups)
    assert parts_drawn.effect == exact.effect
    assert parts_drawn.high - parts_drawn.low == pytest.approx(exact.high - exact.low, rel=0.25)


@pytest.mark.parametrize("names", [AB, ABC])
def test_intervals_hold_the_truth_as_often_as_they_say(names):
    rng = np.random.default_rng(18)
    k, features = len(names), 300
    # The truth from a large draw of the same populations.
    shifts = np.linspace(0, 1, k)
    codes = np.arange(60_000) % k
    truth = only(rng.normal(shifts[codes], 1), codes, names, intervals=()).effect
    groups = np.arange(40 * k) % k
    found = ranked(rng.normal(shifts[groups][:, None], 1, (40 * k, features)), groups, names).separations
    covered = sum(separation.low <= truth <= separation.high for separation in found)
    assert 0.90 * features < covered < 0.985 * features


def test_intervals_of_patients_hold_the_truth_where_those_of_cells_do_not():
    rng = np.random.default_rng(19)
    features, patients, cells = 150, 15, 20
    codes = np.repeat(np.arange(2 * patients), cells)
    matrix = rng.normal(size=(2 * patients, features))[codes] + rng.normal(size=(len(codes), features))
    groups = codes // patients
    by_patients = ranked(matrix, groups, patients=codes).separations
    by_cells = ranked(matrix, groups).separations
    held = [
        sum(found.low <= 0 <= found.high for found in separations) / features for separations in (by_patients, by_cells)
    ]
    assert held[0] > 0.88
    assert held[1] < 0.55
    wider = [
        (a.high - a.low) / (b.high - b.low)
        for a, b in zip(by_features(by_patients), by_features(by_cells), strict=True)
    ]
    assert min(wider) > 1.5


def by_features(separations):
    return sorted(separations, key=lambda found: found.feature)


def test_patients_of_both_groups_are_drawn_with_both():
    # Each patient shifts its cells of both groups alike: drawn together the shift cancels, drawn apart it would not.
    rng = np.random.default_rng(20)
    patients = np.repeat(np.arange(20), 20)
    groups = np.arange(400) % 2
    values = 5.0 * patients + rng.normal(0.5 * groups, 0.1)
    together = only(values, groups, patients=patients)
    apart = only(values, groups, patients=patients + 20 * groups)
    assert together.high - together.low < 0.3 * (apart.high - apart.low)


def test_an_interval_is_the_same_whichever_other_features_are_ranked():
    rng = np.random.default_rng(21)
    matrix, groups = rng.normal(size=(90, 5)), np.arange(90) % 2
    everything = by_feature(ranked(matrix, groups, seed=3))
    columns = {FEATURES[2]: matrix[:, 2], FEATURES[3]: matrix[:, 3]}
    found = by_feature(rank_features(columns, groups, AB, seed=3, intervals=FEATURES[3:4]))
    assert set(found) == set(FEATURES[2:4])
    assert found[FEATURES[2]].low is None
    assert (found[FEATURES[3]].low, found[FEATURES[3]].high) == (
        everything[FEATURES[3]].low,
        everything[FEATURES[3]].high,
    )
    assert ranked(matrix, groups, seed=3).separations == ranked(matrix, groups, seed=3).separations
    assert ranked(matrix, groups, seed=4).separations != ranked(matrix, groups, seed=3).separations


# --- chance -----------------------------------------------------------------------------------------------------------


def test_two_random_halves_of_a_population_are_not_told_apart(shipped):
    """Of many splits of the monocytes of Barcelona, at most about one in twenty shows a feature with q below 0.05."""
    features = FEATURES[::3]
    frame = shipped.query(f"SELECT {', '.join(features)} FROM cells WHERE quality_ok", populations=["monocyte_acevedo"])
    columns = dict(zip(features, np.asfortranarray(frame.to_numpy(dtype=float)).T, strict=True))
    rng = np.random.default_rng(22)
    splits, false, chance = 30, 0, []
    for _ in range(splits):
        groups = rng.permutation(np.arange(len(frame)) % 2)
        found = rank_features(columns, groups, AB, intervals=()).separations
        false += any(separation.q is not None and separation.q < 0.05 for separation in found)
        chance += [separation.p for separation in found if separation.p is not None]
    assert false <= 5  # of thirty, six or more come in three of a thousand cases
    assert (
        0.015 < np.mean(np.array(chance) < 0.05) < 0.1
    )  # and p is what it says; features of a split go together, so it varies


def test_random_halves_of_patients_are_not_told_apart_though_their_cells_are():
    rng = np.random.default_rng(23)
    codes = np.repeat(np.arange(20), 40)
    false = np.zeros(2)
    for _ in range(10):
        matrix = rng.normal(size=(20, 60))[codes] + rng.normal(size=(800, 60))
        groups = rng.permutation(np.arange(20) % 2)[codes]
        for place, patients in enumerate((codes, None)):
            false[place] += any(
                separation.q < 0.05 for separation in ranked(matrix, groups, AB, patients, intervals=()).separations
            )
    assert false.tolist()[0] <= 3
    assert false.tolist()[1] == 10


# --- of very many -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("of_groups", [1.0, 0.6])
@pytest.mark.parametrize("named", [True, False])
def test_threads_and_cells_in_no_group_change_nothing(monkeypatch, k, of_groups, named):
    rng = np.random.default_rng(24)
    n = 5000
    groups = np.where(rng.random(n) < of_groups, rng.integers(0, k, n), -1)
    matrix = np.round(rng.normal(groups[:, None] * 0.2, 1, (n, 8)) * [1, 2, 10, 100, 1e9, 1e9, 1, 0])
    matrix[rng.random((n, 8)) < [0, 0.5, 0, 0.1, 0, 0.1, 1, 0]] = np.nan
    patients = rng.integers(0, 12, n) if named else None
    names, inside, told = tuple("abcd"[:k]), groups >= 0, []
    alone = ranked(matrix[inside], groups[inside], names, None if patients is None else patients[inside])
    monkeypatch.setattr(ranking, "_MANY", 1)
    among_others = ranked(matrix, groups, names, patients, progress=lambda *done: told.append(done))
    assert told == [(done, 8) for done in range(1, 9)]
    pd.testing.assert_frame_equal(among_others.to_frame(), alone.to_frame(), check_exact=True)
    of_scipy = parts(matrix[:, 3], groups, k)
    expected = stats.mannwhitneyu(*of_scipy, method="asymptotic") if k == 2 else stats.kruskal(*of_scipy)
    assert by_feature(alone)[FEATURES[3]].p_cells == pytest.approx(expected.pvalue, rel=1e-9)


def test_a_sample_of_twenty_thousand_a_side_knows_every_effect_to_a_hundredth():
    rng = np.random.default_rng(25)
    groups = np.repeat([0, 1], 100_000)
    matrix = rng.normal(np.outer(groups, np.linspace(0, 2, 16)))  # effects from 0 to 0.84
    exact = by_feature(ranked(matrix, groups, intervals=()))
    errors = []
    for _ in range(3):
        drawn = np.concatenate([rng.choice(np.flatnonzero(groups == side), SAMPLE, replace=False) for side in (0, 1)])
        found = ranked(matrix[drawn], groups[drawn], intervals=(), sampled=True).separations
        errors += [each.effect - exact[each.feature].effect for each in found]
    assert np.sqrt(np.mean(np.square(errors))) < 0.005
    assert np.max(np.abs(errors)) < 0.015


def test_features_that_all_cells_rank_replace_those_of_a_sample():
    rng = np.random.default_rng(26)
    groups = np.repeat([0, 1], 500)
    matrix = rng.normal(np.outer(groups, [0.0, 0.5, 1.0, 2.0]))
    of_all = ranked(matrix, groups, intervals=())
    drawn = np.arange(0, 1000, 10)
    sample = ranked(matrix[drawn], groups[drawn], intervals=(), sampled=True)
    assert of_all.sampling is None
    assert sample.sampling == "All features are ranked by a sample of 50 / 50 cells."
    first = rank_features({FEATURES[3]: matrix[:, 3], FEATURES[1]: matrix[:, 1]}, groups, AB)
    merged = sample.with_exact(first)
    assert merged.sampling.startswith(
        "2 features are ranked by all 1,000 cells, the other 2 by a sample of 50 / 50 cells"
    )
    assert merged.n == (500, 500)
    for name, found in by_feature(merged).items():
        source = of_all if name in (FEATURES[1], FEATURES[3]) else sample
        assert found.effect == by_feature(source)[name].effect
        assert found.sampled == (source is sample)
    p = [found.p for found in merged.separations]
    assert [found.q for found in merged.separations] == pytest.approx(multipletests(p, method="fdr_bh")[1])
    assert merged.with_exact(of_all).sampling is None


def test_a_ranking_can_be_stopped(monkeypatch):
    class Stopped(Exception):  # noqa: N818
        pass

    done = []

    def progress(number, total):
        done.append((number, total))
        if number == 3:
            raise Stopped

    with pytest.raises(Stopped):
        ranked(np.random.default_rng(25).normal(size=(40, 30)), np.arange(40) % 2, progress=progress)
    assert done == [(1, 30), (2, 30), (3, 30)]


# --- what it says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "names", "words"),
    [
        ([0] * 9, ("a",), "two or more groups"),
        ([0] * 6 + [1] * 2, AB, "'b' has 2"),
        ([0] * 6 + [-1] * 5, AB, "'b' has 0"),
        ([1, 1, 2, 2, 0, 0, 0], ABC, "'b' has 2 and 'c' has 2"),
    ],
)
def test_too_few_cells_or_groups_are_refused_in_words(groups, names, words):
    with pytest.raises(UsageError, match=words):
        ranked(np.ones((len(groups), 1)), groups, names)


def test_a_feature_too_few_cells_have_is_last_and_says_so():
    matrix = np.column_stack([[1.0, 2, 3, np.nan, np.nan, 4], [1.0, 2, 3, 3, 4, 5]])
    found = ranked(matrix, [0, 0, 0, 1, 1, 1]).separations[-1]
    assert (found.feature, found.n, found.effect, found.p, found.low) == (FEATURES[0], (3, 1), None, None, None)
    label = CATALOGUE[FEATURES[0]].label
    assert (
        sentence(found, [group_name("monocyte"), group_name("hcl")])
        == f"{label}: too few cells have it to compare (n 3 / 1)"
    )


PERIMETER = "nucleus_shape2D_Perimeter"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            Separation(PERIMETER, (1000, 1000), None, effect=-0.938, below=0.9699, above=0.03),
            "96 % of monocytes lie below the median hairy cell (delta 0.94, n 1000 / 1000)",
        ),
        (
            Separation(PERIMETER, (20, 30), (4, 5), effect=1.0, below=0.0, above=1.0),
            "all monocytes lie above the median hairy cell (delta 1.00, n 20 / 30 of 4 / 5 patients)",
        ),
    ],
)
def test_the_sentence_of_two_groups(found, words):
    assert sentence(found, [group_name("monocyte"), group_name("hcl")]) == f"{CATALOGUE[PERIMETER].label}: {words}"


def test_a_feature_with_words_is_said_as_a_haematologist_would():
    names = [group_name("monocyte"), group_name("our own")]
    area = Separation("nucleus_shape2D_PixelSurface", (9, 8), None, effect=0.9, below=0.0, above=0.97)
    told = "(nucleus area, delta 0.90, n 9 / 8)"
    assert plain_sentence(area, names) == (
        f"Monocytes have the larger nucleus: 97 % of them lie above the median cell of our own {told}"
    )
    turned = replace(area, effect=-0.9, below=1.0)
    assert plain_sentence(turned, names[::-1]) == (
        f"Cells of our own have the smaller nucleus: all lie below the median monocyte {told}"
    )
    ratio = replace(area, feature="combined_PixelSurface")
    assert "have the higher N:C ratio" in plain_sentence(ratio, names)
    assert "(N:C area ratio, delta" in plain_sentence(ratio, names)
    # Without words, too few cells or more groups it is the plain sentence.
    without = ({"feature": "nucleus_glcm_Idmn"}, {"effect": None}, {"below": None, "above": None})
    for other in (replace(area, **changes) for changes in without):
        assert plain_sentence(other, names) == sentence(other, names)


def test_the_sentence_of_three_groups():
    found = Separation(PERIMETER, (10, 20, 30), None, effect=0.627)
    names = [group_name("monocyte"), group_name("lymphocyte"), group_name("my gate")]
    words = (
        "62 % of the differences in rank lie between monocytes, lymphocytes and cells of my gate (epsilon squared 0.63,"
        " n 10 / 20 / 30)"
    )
    assert sentence(found, names) == f"{CATALOGUE[PERIMETER].label}: {words}"


def test_groups_are_named_after_their_type_or_as_they_are():
    assert group_name("apl") == GroupName("APL cells", "APL cell")
    assert group_name("Barcelona") == GroupName("cells of Barcelona", "cell of Barcelona")


def test_the_table_has_a_column_a_group():
    values, groups, codes = clustered(np.random.default_rng(26), 6, 20)
    found = ranked(np.column_stack([values, -values]), groups, ("x", "y"), codes, sampled=True)
    assert found.sample == (120, 120)
    table = found.to_frame()
    assert table["feature"].tolist() == [separation.feature for separation in found.separations]
    assert table[["n x", "n y", "patients x", "patients y"]].to_numpy().tolist() == [[120, 120, 6, 6]] * 2
    assert table["sampled"].all()
    assert table["median x"].tolist() == [separation.medians[0] for separation in found.separations]
