import pytest

from core.charts.rows import (
    MOST_ROWS,
    POOR_HEADING,
    REGION_WORDS,
    Block,
    blocks,
    halves,
    in_thesis,
    leading,
    part,
    regions,
    themes,
)
from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.features.spec import Region, Theme
from tests.populations import AREA, ELONGATION, RATIO, grades


def _block(heading: str, count: int) -> Block:
    return Block(heading, tuple(f"{heading}{i}" for i in range(count)))


def test_every_feature_has_its_place_once():
    found = [name for theme in themes() for region in regions(theme) or [None] for name in part(theme, region)]
    assert sorted(found) == sorted(CATALOGUE)
    assert set(REGION_WORDS) == set(Region)


def test_a_theme_that_can_be_read_at_once_asks_for_no_region():
    assert regions(Theme.SHAPE) == []
    assert len(part(Theme.SHAPE)) <= MOST_ROWS
    assert regions(Theme.COLOUR) == [Region.NUCLEUS, Region.CYTOPLASM, Region.CELL, Region.ENVIRONMENT]


def test_the_thesis_has_its_eight_shapes_of_two_regions_their_ratios_and_seventeen_tones_of_each():
    assert sum(in_thesis(spec) for spec in CATALOGUE.values()) == 8 * 3 + 17 * 2


def test_the_reliable_and_most_different_lead_in_the_order_given():
    names = ["a", "b", "c", "d"]
    distance = {"a": 1.0, "b": 3.0, "c": 2.0}
    poor = grades({"b": Grade.POOR}, among=names)
    assert leading(names, distance, {}, most=2) == ["b", "c"]
    assert leading(names, distance, poor, most=2) == ["a", "c"]
    assert leading(names, distance, poor, most=3) == ["a", "c", "d"]
    assert leading(names, distance, poor, most=9) == names


def test_poor_features_stand_together_at_the_end():
    poor = grades({AREA: Grade.POOR}, among=CATALOGUE)
    assert blocks([AREA, ELONGATION, RATIO], poor) == [
        Block("Nucleus shape", (ELONGATION,)),
        Block("Combined", (RATIO,)),
        Block(POOR_HEADING, (AREA,)),
    ]
    assert [block.heading for block in blocks(CATALOGUE, {})] == list(
        dict.fromkeys(spec.group for spec in CATALOGUE.values())
    )


@pytest.mark.parametrize("sizes", [[18], [95], [9, 9, 9, 8], [3, 30], [30, 3], [1] * 20, [5, 4, 3, 3, 2, 1], [12]])
def test_columns_hold_every_feature_once_and_are_about_as_high(sizes):
    found = [_block(chr(97 + i), size) for i, size in enumerate(sizes)]
    columns = halves(found)
    assert [name for column in columns for block in column for name in block.features] == [
        name for b in found for name in b.features
    ]
    heights = [sum(1 + len(block.features) for block in column) for column in columns]
    assert len(columns) == 2
    assert abs(heights[0] - heights[1]) <= 8
    assert all(block.features for column in columns for block in column)


def test_few_rows_need_one_column_and_none_need_none():
    assert halves([_block("a", 4), _block("b", 4)]) == [[_block("a", 4), _block("b", 4)]]
    assert halves([]) == []
