import math

import numpy as np
import pandas as pd
import pytest

from core.features.catalogue import CATALOGUE
from core.populations.summaries import (
    SMALL_GROUP,
    Basis,
    Statistics,
    basis_of,
    count_patients,
    summarise,
)
from tests.core.populations.support import AREA, ENERGY, LENGTH, PER_LENGTH, RATIO, SHARE, TONE, frame


def summary_of(values, feature, *, in_um=False):
    (found,) = [s for s in summarise(values, "mono", in_um=in_um) if s.feature == feature]
    return found


def test_percentiles_by_hand():
    # 1..101: the q-th percentile of n values lies at rank 1 + (n - 1) q, here at 1 + q * 100
    summary = summary_of(frame(101), SHARE)
    assert (summary.n, summary.p2, summary.p50, summary.p98, summary.mean) == (101, 3.0, 51.0, 99.0, 51.0)
    assert summary.std == pytest.approx(math.sqrt(101 * 102 / 12))  # of 1..n, divided by n - 1: n (n + 1) / 12
    # deviations from 51 are 0, 1, 1, 2, 2, ..., 50, 50: the median is 25
    assert (summary.location, summary.scale) == (51.0, pytest.approx(1.4826 * 25))


def test_percentiles_are_numpys():
    drawn = np.random.default_rng(7).lognormal(size=257)
    summary = summary_of(frame(257, **{AREA: drawn}), AREA)
    assert [summary.p2, summary.p50, summary.p98] == np.percentile(drawn, [2, 50, 98]).tolist()
    assert summary.std == pytest.approx(np.std(drawn, ddof=1))


def test_summaries_come_in_catalogue_order():
    assert [s.feature for s in summarise(frame(), "mono", in_um=True)] == list(CATALOGUE)


def test_absent_values_are_ignored_and_counted():
    values = frame(40)
    values.loc[:9, SHARE] = np.nan
    summary = summary_of(values, SHARE)
    assert (summary.n, summary.n_absent, summary.p50) == (30, 10, 25.5)


def test_features_that_different_cells_have_are_summarised_as_if_each_were_alone():
    rng = np.random.default_rng(7)
    values = frame(60, um=[0.1] * 50 + [None] * 10, patients=[f"p{i % 5}" for i in range(60)])
    values[list(CATALOGUE)] = rng.lognormal(size=(60, len(CATALOGUE)))
    values = values.where(rng.random(values.shape) > 0.1, np.nan).assign(
        patient_id=values["patient_id"], um_per_px=values["um_per_px"]
    )
    together = {s.feature: s for s in summarise(values, "mono", in_um=True)}
    for feature in (AREA, SHARE, RATIO, TONE, ENERGY):
        (alone,) = [
            s
            for s in summarise(values[["patient_id", "um_per_px", feature]], "mono", in_um=True)
            if s.feature == feature
        ]
        assert together[feature] == alone
        column = values[feature] * (values["um_per_px"] ** 2 if feature == AREA else 1.0)
        assert alone.p50 == pytest.approx(column.median())
        assert alone.std == pytest.approx(column.std())
        assert alone.patients == values.loc[column.notna(), "patient_id"].nunique()


def test_patients_are_counted_of_the_cells_that_have_a_value():
    values = frame(40, patients=["a"] * 20 + ["b"] * 10 + ["c"] * 10)
    values.loc[30:, SHARE] = np.nan
    assert summary_of(values, SHARE).patients == 2
    assert summary_of(values, RATIO).patients == 3


@pytest.mark.parametrize(
    ("patients", "expected"), [([], None), (["a", "a", "b"], 2), (["a", None], None), ([None, None], None)]
)
def test_patients_are_unknown_unless_every_cell_says_its_own(patients, expected):
    assert count_patients(pd.Series(patients, dtype=object)) == expected


def test_sizes_convert_by_their_power_of_length():
    values = frame(30, um=0.5)
    for feature, factor in [(AREA, 0.25), (LENGTH, 0.5), (PER_LENGTH, 2.0)]:
        pixels, microns = summary_of(values, feature), summary_of(values, feature, in_um=True)
        assert (pixels.basis, microns.basis) == (Basis.PIXELS, Basis.MICROMETRES)
        assert microns.p50 == pytest.approx(pixels.p50 * factor)
    assert summary_of(values, SHARE, in_um=True) == summary_of(values, SHARE)
    assert summary_of(values, SHARE).basis is Basis.NONE


def test_micrometres_need_a_scale_cell_by_cell():
    values = frame(60, um=[0.1] * 40 + [None] * 20)
    assert (summary_of(values, AREA, in_um=True).n, summary_of(values, AREA, in_um=True).n_absent) == (40, 20)
    assert summary_of(values, AREA).n == 60


@pytest.mark.parametrize("n", [0, 1, 2, SMALL_GROUP - 1])
def test_a_small_group_has_no_percentiles(n):
    summary = summary_of(frame(n), SHARE)
    assert summary.small
    assert (summary.p2, summary.p50, summary.p98, summary.location, summary.scale) == (None,) * 5
    assert summary.mean == (pytest.approx((n + 1) / 2) if n else None)
    assert (summary.std is None) == (n < 2)


def test_the_smallest_group_with_percentiles():
    assert summary_of(frame(SMALL_GROUP), SHARE).p50 == (SMALL_GROUP + 1) / 2


def test_a_constant_feature_has_no_robust_z_and_a_mostly_constant_one_takes_the_quartiles():
    constant = summary_of(frame(40, **{SHARE: 3.0}), SHARE)
    assert (constant.scale, constant.robust_z(4.0)) == (None, None)
    # 24 times 0, then 8 times 1 and 8 times 2: the MAD is 0, the quartiles are 0 and 1
    mostly = summary_of(frame(40, **{SHARE: [0.0] * 24 + [1.0] * 8 + [2.0] * 8}), SHARE)
    assert mostly.scale == pytest.approx(1 / 1.349)


def test_robust_z_of_sizes_is_taken_of_the_logarithm():
    # powers of two: log2 is 0..20, median 10, deviations 0, 1, 1, ..., 10, 10 with median 5
    summary = summary_of(frame(21, **{RATIO: 2.0 ** np.arange(21)}), RATIO)
    assert summary.log
    assert summary.robust_z(2.0**15) == pytest.approx(5 / (1.4826 * 5))
    assert summary.robust_z(0.0) is None


def test_members_that_are_not_positive_lie_below_all_others():
    # the same 0..20 in log2 after one zero at each place below the median: order statistics do not move
    drawn = 2.0 ** np.arange(21)
    drawn[:3] = [0.0, 0.0, 0.0]
    summary = summary_of(frame(21, **{RATIO: drawn}), RATIO)
    assert summary.location == pytest.approx(10 * math.log(2))
    assert summary.scale == pytest.approx(1.4826 * 5 * math.log(2))


def test_a_feature_that_is_zero_in_most_members_has_no_logarithmic_centre():
    assert summary_of(frame(30, **{RATIO: [0.0] * 20 + [1.0] * 10}), RATIO).location is None


def test_statistics_of_some_values_are_those_of_a_population_with_these_values():
    drawn = np.random.default_rng(8).lognormal(size=257)
    summary = summary_of(frame(257, **{SHARE: drawn}), SHARE)
    statistics = Statistics.of(drawn)
    assert statistics == Statistics(**{name: getattr(summary, name) for name in Statistics.__dataclass_fields__})
    assert [statistics.p25, statistics.p75] == np.percentile(drawn, [25, 75]).tolist()
    assert Statistics.of(np.array([])) == Statistics(0)
    assert Statistics.of(np.array([3.0])) == Statistics(1, mean=3.0)


def test_basis_is_micrometres_only_for_lengths_that_are_converted():
    of = {name: (basis_of(CATALOGUE[name]), basis_of(CATALOGUE[name], in_um=False)) for name in (AREA, SHARE, ENERGY)}
    assert of == {
        AREA: (Basis.MICROMETRES, Basis.PIXELS),
        SHARE: (Basis.NONE, Basis.NONE),
        ENERGY: (Basis.PIXELS, Basis.PIXELS),
    }
