import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from core.domain.cell_types import CellType
from core.domain.types import FeatureSet
from core.features.catalogue import CATALOGUE
from core.populations.comparison import (
    INTENSITY_CAUTION,
    SAME_THING,
    SMALL_GROUP,
    Basis,
    Direction,
    beside_published,
    compare_cell,
    count_patients,
    describe,
    differs_most,
    nearest,
    published_summary,
    reference_population,
    summarise,
)

AREA = "nucleus_shape2D_PixelSurface"  # area, logarithmic
LENGTH = "nucleus_shape2D_Perimeter"
PER_LENGTH = "nucleus_shape2D_PerimeterSurfaceRatio"
SHARE = "combined_PixelSurface"  # scale-free, linear
RATIO = "combined_Perimeter"  # scale-free, logarithmic
TONE = "nucleus_firstorder_Mean"
ENERGY = "nucleus_firstorder_Energy"


def frame(n=100, *, um=0.1, patients=None, **columns):
    """Values frame of n cells; every feature is 1 to n unless given."""
    base = np.arange(1.0, n + 1)
    data = {
        "cell_id": [f"c{i}" for i in range(n)],
        "patient_id": patients if patients is not None else [None] * n,
        "um_per_px": um,
    }
    return pd.DataFrame({**data, **dict.fromkeys(CATALOGUE, base), **columns})


def population(values, **changes):
    fields = {"population": "mono", "cell_type": CellType.MONOCYTE, "title": "Monocytes of a test", "source": "test"}
    return reference_population(values, **{**fields, **changes})


def cell(value=50.0, **values):
    return FeatureSet({**dict.fromkeys(CATALOGUE, value), **values}, {})


def one(comparisons, feature):
    (found,) = [c for c in comparisons if c.feature == feature]
    return found


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
    (found,) = nearest(FeatureSet({RATIO: 2.0**10}, {}), [population(frame(21, **{RATIO: drawn}))])
    assert (found.n, found.distance, found.typicality) == (21, 0.0, 100.0)


def test_a_feature_that_is_zero_in_most_members_has_no_logarithmic_centre():
    assert summary_of(frame(30, **{RATIO: [0.0] * 20 + [1.0] * 10}), RATIO).location is None


def test_percentile_counts_ties_half():
    values = frame(100, **{SHARE: [1.0] * 10 + [2.0] * 20 + [3.0] * 70})
    compared = one(compare_cell(cell(**{SHARE: 2.0}), None, population(values)), SHARE)
    assert (compared.below, compared.above, compared.percentile) == (10.0, 70.0, 20.0)


@pytest.mark.parametrize(
    ("value", "percentile", "inside", "direction"),
    [
        (0.0, 0.0, False, Direction.BELOW),
        (3.0, 100 * 2.5 / 101, True, Direction.BELOW),  # the 2nd percentile itself
        (51.0, 50.0, True, None),
        (99.0, 100 * 98.5 / 101, True, Direction.ABOVE),
        (99.5, 100 * 99 / 101, False, Direction.ABOVE),
        (500.0, 100.0, False, Direction.ABOVE),
    ],
)
def test_place_of_a_value(value, percentile, inside, direction):
    compared = one(compare_cell(cell(**{SHARE: value}), None, population(frame(101))), SHARE)
    assert compared.comparable
    assert compared.percentile == pytest.approx(percentile)
    assert (compared.inside, compared.direction) == (inside, direction)
    assert compared.robust_z == pytest.approx((value - 51) / (1.4826 * 25))


def test_a_number_of_numpy_lies_outside_as_any_other():
    compared = one(compare_cell(cell(**{SHARE: np.float64(500.0)}), None, population(frame(101))), SHARE)
    assert compared.outside
    assert differs_most([compared], 1, population(frame(101))) == (compared,)


def test_comparisons_come_in_catalogue_order_one_a_feature():
    assert [c.feature for c in compare_cell(cell(), 0.1, population(frame()))] == list(CATALOGUE)


def test_sizes_are_compared_in_micrometres():
    # the cell's pixels are twice as wide as the population's: 25 px are as long as the population's 50, 12.5 px² as its
    # 50
    compared = compare_cell(
        cell(**{LENGTH: 25.25, AREA: 12.625, PER_LENGTH: 101.0}), 0.2, population(frame(100, um=0.1))
    )
    for feature in (LENGTH, AREA, PER_LENGTH):
        assert one(compared, feature).basis is Basis.MICROMETRES
        assert one(compared, feature).percentile == 50.0
    assert one(compared, AREA).value == pytest.approx(12.625 * 0.04)


@pytest.mark.parametrize(
    ("cell_um", "population_um", "whose"),
    [(None, 0.1, "this image"), (0.1, None, "Monocytes of a test"), (None, None, "")],
)
def test_without_a_scale_on_both_sides_sizes_are_not_compared(cell_um, population_um, whose):
    compared = compare_cell(cell(), cell_um, population(frame(um=population_um)))
    for c in compared:
        spec = CATALOGUE[c.feature]
        assert c.comparable == spec.scale_free
        if spec.length_power or (cell_um is None and spec.pixel_bound):
            assert c.reason is not None
            assert c.reason.startswith("scale unknown")
            assert whose in c.reason
            assert (c.percentile, c.robust_z, c.inside, c.direction) == (None,) * 4
            assert (c.value, c.basis) == (50.0, Basis.PIXELS)


@pytest.mark.parametrize(("cell_um", "comparable"), [(0.1, True), (0.101, True), (0.11, False), (None, False)])
def test_what_changes_with_the_pixels_needs_the_same_scale(cell_um, comparable):
    compared = one(compare_cell(cell(), cell_um, population(frame(um=0.1))), ENERGY)
    assert compared.comparable == comparable
    if cell_um == 0.11:
        assert "size of the pixels" in (compared.reason or "")


@pytest.mark.parametrize("scales", [[0.1] * 99 + [0.2], [0.1] * 99 + [None]])
def test_one_member_of_another_or_unknown_scale_is_enough(scales):
    assert not one(compare_cell(cell(), 0.1, population(frame(um=scales))), ENERGY).comparable


def test_tones_are_compared_with_a_caution_and_sizes_with_the_origin_of_the_scale():
    compared = compare_cell(cell(), 0.1, population(frame(), scale_note="Scale from red cells."))
    assert one(compared, TONE).caution == INTENSITY_CAUTION
    assert one(compared, AREA).caution == "Scale from red cells."
    assert one(compared, SHARE).caution is None


def test_an_absent_value_is_not_compared_and_says_why():
    features = replace(
        cell(), values={**dict.fromkeys(CATALOGUE, 50.0), SHARE: None}, absent={SHARE: "no cytoplasm visible"}
    )
    compared = one(compare_cell(features, 0.1, population(frame())), SHARE)
    assert (compared.comparable, compared.value) == (False, None)
    assert "no cytoplasm visible" in (compared.reason or "")


@pytest.mark.parametrize("change", [lambda f: f.assign(**{SHARE: np.nan}), lambda f: f.drop(columns=SHARE)])
def test_a_feature_no_member_has_is_not_in_the_population(change):
    older = population(change(frame()))
    assert SHARE not in older.summaries
    compared = one(compare_cell(cell(), 0.1, older), SHARE)
    assert (compared.comparable, compared.reason) == (False, "not in this population")
    (near,) = nearest(cell(), [older])
    assert near.features == nearest(cell(), [population(frame())])[0].features - 1


def test_a_small_group_is_comparable_but_gives_points_only():
    compared = one(compare_cell(cell(), 0.1, population(frame(5))), SHARE)
    assert compared.comparable
    assert (compared.percentile, compared.robust_z, compared.inside, compared.direction) == (None,) * 4
    assert describe(compared) == "N:C area ratio: only 5 cells to compare with, no percentile is given"


def test_a_published_table_places_a_value_without_percentile():
    summary = published_summary("published_monocyte", SHARE, n=566, p2=0.5, p50=0.6, p98=0.75, mean=0.6, std=0.06)
    assert summary.scale == pytest.approx(0.25 / 4.1075)
    empty = frame(0)
    published = replace(population(empty), n=566, summaries={SHARE: summary}, ordered={}, published=True)
    compared = compare_cell(cell(**{SHARE: 0.8}), 0.1, published)
    above = one(compared, SHARE)
    assert (above.comparable, above.percentile, above.inside, above.direction) == (True, None, False, Direction.ABOVE)
    assert (
        describe(above, with_n=True)
        == "Higher N:C area ratio than the 2-98 % range of the published monocytes (n = 566)"
    )
    assert [c.feature for c in compared if c.comparable] == [SHARE]
    inside = one(compare_cell(cell(**{SHARE: 0.6}), 0.1, published), SHARE)
    assert describe(inside) == "N:C area ratio within the 2-98 % range of the published monocytes"


def test_a_published_size_has_pixels_of_unknown_size():
    summary = published_summary(
        "published_monocyte", PER_LENGTH, n=566, p2=0.05, p50=0.06, p98=0.08, mean=0.06, std=0.01
    )
    assert summary.basis is Basis.PIXELS
    published = replace(population(frame(0)), summaries={PER_LENGTH: summary}, ordered={}, published=True)
    assert not one(compare_cell(cell(), 0.1, published), PER_LENGTH).comparable


@pytest.mark.parametrize(
    ("feature", "value", "sentence"),
    [
        (AREA, 97.5, "Larger nucleus area than 97 % of monocytes"),
        (AREA, 3.5, "Smaller nucleus area than 97 % of monocytes"),
        (AREA, 1000.0, "Larger nucleus area than all monocytes"),
        (SHARE, 0.5, "Lower N:C area ratio than all monocytes"),
        (SHARE, 50.5, "N:C area ratio at the median of monocytes"),
        (TONE, 1000.0, "Higher nucleus tone, mean, than all monocytes"),
    ],
)
def test_sentences(feature, value, sentence):
    compared = one(compare_cell(cell(**{feature: value}), 0.1, population(frame(100, um=0.1))), feature)
    assert describe(compared) == sentence
    assert describe(compared, with_n=True) == f"{sentence} (n = 100)"


def test_per_cents_are_rounded_down():
    values = frame(300, um=0.1)
    compared = one(compare_cell(cell(**{SHARE: 299.5}), None, population(values)), SHARE)
    assert describe(compared) == "Higher N:C area ratio than 99 % of monocytes"  # 299 of 300 are 99.67 %


def test_a_population_of_a_type_without_a_name_is_called_by_its_title():
    compared = one(
        compare_cell(
            cell(**{SHARE: 97.5}), None, population(frame(), cell_type=CellType.OTHER, title="MLL23 hairy cells")
        ),
        SHARE,
    )
    assert describe(compared) == "Higher N:C area ratio than 97 % of cells of MLL23 hairy cells"


def test_not_comparable_in_words():
    compared = one(compare_cell(cell(), None, population(frame())), AREA)
    assert describe(compared).startswith("Nucleus area is not compared: scale unknown")


def test_what_differs_most_lies_outside_the_band_and_is_ordered_by_robust_z():
    rng = np.random.default_rng(7)
    reference = population(
        frame(**{feature: rng.permutation(np.arange(1.0, 101.0)) for feature in (SHARE, TONE, RATIO)})
    )
    compared = compare_cell(cell(50.0, **{SHARE: 300.0, TONE: -400.0, RATIO: 60.0}), None, reference)
    assert [c.feature for c in differs_most(compared, 8, reference)] == [TONE, SHARE]
    assert [c.feature for c in differs_most(compared, 1, reference)] == [TONE]
    assert differs_most(compare_cell(cell(), None, reference), 8, reference) == ()


def test_the_environment_is_compared_but_is_nothing_in_which_the_cell_differs():
    around = "environment_firstorder_Mean"
    reference = population(frame())
    compared = compare_cell(cell(50.0, **{around: 900.0}), None, reference)
    assert one(compared, around).outside
    assert differs_most(compared, 8, reference) == ()


def correlated(r, n=400):
    """Two columns whose Pearson correlation is r exactly."""
    first, second = np.random.default_rng(7).normal(size=(2, n))
    first, second = ((v - v.mean()) / v.std() for v in (first, second))
    second -= first * (first @ second) / n
    return first, r * first + math.sqrt(1 - r * r) * second / second.std()


@pytest.mark.parametrize(
    ("r", "first", "second", "both"),
    [
        (SAME_THING + 0.01, 9.0, 8.0, False),
        (SAME_THING - 0.01, 9.0, 8.0, True),
        (SAME_THING + 0.01, 9.0, -8.0, True),  # the members go together, this cell does not: that is news
        (-SAME_THING - 0.01, 9.0, -8.0, False),
    ],
)
def test_what_says_the_same_thing_is_named_once(r, first, second, both):
    tone, share = correlated(r)
    reference = population(frame(400, **{TONE: tone, SHARE: share}))
    compared = compare_cell(FeatureSet({**dict.fromkeys(CATALOGUE), TONE: first, SHARE: second}, {}), None, reference)
    assert [c.feature for c in differs_most(compared, 8, reference)] == ([TONE, SHARE] if both else [TONE])


def test_a_published_table_has_no_members_to_tell_what_says_the_same_thing():
    printed = {f: published_summary("p", f, n=566, p2=0.4, p50=0.5, p98=0.7, mean=0.5, std=0.1) for f in (SHARE, RATIO)}
    published = replace(population(frame(0)), summaries=printed, ordered={}, published=True)
    compared = compare_cell(cell(5.0), None, published)
    assert len(differs_most(compared, 8, published)) == 2


def spread(centre, n=201):
    """Members spread around a centre: SHARE is linear, everything else constant and thus without a scale."""
    return frame(n, **{**dict.fromkeys(CATALOGUE, 1.0), SHARE: centre + np.linspace(-1, 1, n)})


def test_nearest_by_hand():
    # SHARE is 5 + (-1..1): median 5, MAD 0.5; a cell at 5.5 is 0.5 / (1.4826 * 0.5) away, and half of the members lie
    # farther out
    near, far = population(spread(5.0), population="near"), population(spread(9.0), population="far")
    first, second = nearest(cell(1.0, **{SHARE: 5.5}), [far, near])
    assert (first.population, first.n, first.features) == ("near", 201, 1)
    assert first.distance == pytest.approx(1 / 1.4826)
    assert first.typicality == pytest.approx(100 * 102 / 201)  # 0.5, 0.51, ..., 1 on both sides
    assert second.typicality == 0.0
    assert second.distance == pytest.approx(3.5 / (1.4826 * 0.5))


def test_nearest_limits_the_weight_of_one_feature():
    (found,) = nearest(cell(1.0, **{SHARE: 1e9}), [population(spread(5.0))])
    assert found.distance == 6.0


def test_nearest_leaves_out_small_groups_published_tables_sizes_and_tones():
    small, published = population(frame(SMALL_GROUP - 1)), replace(population(frame()), published=True)
    assert nearest(cell(), [small, published]) == ()
    (found,) = nearest(cell(), [population(frame())])
    assert found.features == sum(spec.scale_free and not spec.intensity_dependent for spec in CATALOGUE.values())
    (same,) = nearest(cell(50.0, **{TONE: 1e6, AREA: 1e6}), [population(frame())])
    assert same == found


def test_nearest_asks_only_among_the_features_given():
    (found,) = nearest(cell(50.0, **{RATIO: 1e6}), [population(frame())], among={SHARE, AREA, TONE})
    assert (found.features, found.distance) == (1, pytest.approx(0.5 / (1.4826 * 25)))
    assert nearest(cell(), [population(frame())], among=()) == ()


def test_nearest_works_with_absent_values_on_both_sides():
    values = frame(50)
    values.loc[:24, RATIO] = np.nan
    values.loc[0, list(CATALOGUE)] = np.nan  # a member with no value at all has no distance
    features = replace(cell(25.0), values={**dict.fromkeys(CATALOGUE, 25.0), SHARE: None})
    (found,) = nearest(features, [population(values)])
    assert found.n == 49
    assert found.features == sum(spec.scale_free and not spec.intensity_dependent for spec in CATALOGUE.values()) - 1
    assert nearest(FeatureSet(dict.fromkeys(CATALOGUE), {}), [population(values)]) == ()


def test_measured_percentiles_stand_beside_published_ones_where_there_is_no_unit():
    numbers = {"n": 566, "p2": 0.4, "p50": 0.5, "p98": 0.7, "mean": 0.5, "std": 0.1}
    printed = {feature: published_summary("published", feature, **numbers) for feature in (SHARE, PER_LENGTH)}
    published = replace(population(frame(30)), summaries=printed, published=True)
    other_type = population(frame(30), population="lympho", cell_type=CellType.LYMPHOCYTE)
    table = beside_published([population(frame(101)), population(frame(5), population="few"), other_type], [published])
    (row,) = table.to_dict("records")
    assert (row["population"], row["feature"], row["n"]) == ("mono", SHARE, 101)
    assert (row["measured_p2"], row["published_p2"], row["measured_p98"], row["published_p98"]) == (3.0, 0.4, 99.0, 0.7)
