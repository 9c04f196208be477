import math
from dataclasses import replace

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.types import FeatureSet
from core.features.catalogue import CATALOGUE
from core.populations.comparison import (
    INTENSITY_CAUTION,
    SAME_THING,
    Direction,
    beside_published,
    compare_cell,
    describe,
    differs_most,
)
from core.populations.summaries import (
    Basis,
    published_summary,
)
from tests.core.populations.support import AREA, ENERGY, LENGTH, PER_LENGTH, RATIO, SHARE, TONE, cell, frame, population


def one(comparisons, feature):
    (found,) = [c for c in comparisons if c.feature == feature]
    return found


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


def test_measured_percentiles_stand_beside_published_ones_where_there_is_no_unit():
    numbers = {"n": 566, "p2": 0.4, "p50": 0.5, "p98": 0.7, "mean": 0.5, "std": 0.1}
    printed = {feature: published_summary("published", feature, **numbers) for feature in (SHARE, PER_LENGTH)}
    published = replace(population(frame(30)), summaries=printed, published=True)
    other_type = population(frame(30), population="lympho", cell_type=CellType.LYMPHOCYTE)
    table = beside_published([population(frame(101)), population(frame(5), population="few"), other_type], [published])
    (row,) = table.to_dict("records")
    assert (row["population"], row["feature"], row["n"]) == ("mono", SHARE, 101)
    assert (row["measured_p2"], row["published_p2"], row["measured_p98"], row["published_p98"]) == (3.0, 0.4, 99.0, 0.7)
