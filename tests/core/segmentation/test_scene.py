import pytest

from core.domain.objects import FoundObject, ObjectKind
from core.segmentation.scene import around, believed, is_field, likeliest, of_kind, taken_of, window_around

LEUKOCYTE, PLATELET, RED_CELL, SMUDGE = ObjectKind
SHAPE = (300, 400)


def found(row, column, diameter=100, kind=LEUKOCYTE, score=0.9, *, cut=False):
    half = diameter / 2
    return FoundObject(kind, column - half, row - half, column + half, row + half, score, cut)


def red_cells(diameter, count=4):
    return [found(diameter, diameter * (number + 1), diameter, RED_CELL) for number in range(count)]


def test_an_image_is_taken_of_the_leukocyte_in_the_middle():
    middle, aside = found(140, 210), found(60, 60)
    assert taken_of([aside, middle, found(150, 200, 40, PLATELET)], SHAPE) is middle
    assert taken_of([found(150, 200, 70, RED_CELL)], SHAPE) is None


def test_a_whole_cell_counts_more_than_a_cut_sure_or_small_one_beside_it():
    whole = found(150, 260)
    for other in (found(150, 150, cut=True), found(150, 150, score=0.3), found(150, 150, 30)):
        assert taken_of([other, whole], SHAPE) is whole
        assert taken_of([other], SHAPE) is other


def test_leukocytes_that_are_much_less_sure_than_the_others_are_not_believed():
    sure, less, hardly, platelet = (
        found(60, 60),
        found(60, 160, score=0.6),
        found(60, 260, score=0.5),
        found(9, 9, 9, PLATELET, 0.3),
    )
    assert believed([sure, less, hardly, platelet]) == (sure, less, platelet)
    assert believed([hardly, platelet]) == (hardly, platelet), "in a new stain all scores are low"
    assert believed([]) == ()


def test_where_no_leukocyte_is_sure_what_lies_in_the_middle_is_meant():
    unsure, platelet = found(150, 200, score=0.1), found(150, 205, 40, PLATELET, 0.8)
    red_cell = found(150, 200, 70, RED_CELL, 0.9)
    assert likeliest([unsure, platelet, red_cell], SHAPE) is platelet
    assert likeliest([unsure, red_cell], SHAPE) is unsure
    assert likeliest([red_cell], SHAPE) is red_cell
    assert likeliest([], SHAPE) is None


@pytest.mark.parametrize(
    ("objects", "field"),
    [
        ([], False),
        ([found(60, 60)], False),
        ([found(150, 200), *red_cells(20)], False),
        ([found(150, 200), found(60, 60)], False),
        ([found(150, 240), found(60, 60)], True),
        ([found(150, 240), found(60, 60, 40)], False),
        ([found(150, 200), found(60, 60), *red_cells(60)], False),
        ([found(150, 200), found(60, 60), *red_cells(45)], True),
        ([found(150, 200, 90), found(60, 60, 90)], True),
    ],
    ids=[
        "nothing",
        "one leukocyte, wherever",
        "one leukocyte, small beside the image",
        "a neighbour beside one in the middle",
        "two, none in the middle",
        "one and a fragment",
        "as wide as an image of one by its red cells",
        "wider than an image of one by its red cells",
        "wider than an image of one by the leukocytes",
    ],
)
def test_one_cell_or_a_field(objects, field):
    assert is_field(objects, SHAPE) is field


def test_the_window_lies_around_what_is_visible():
    window = window_around(FoundObject(LEUKOCYTE, 100, 50, 200, 130, 0.9), SHAPE, 0.5)
    assert (window.left, window.top, window.side) == (50, -10, 200)
    cut = window_around(FoundObject(LEUKOCYTE, -60, 100, 40, 180, 0.9, cut=True), SHAPE, 0.5)
    assert (cut.left, cut.top, cut.side) == (-60, 60, 160)


def test_what_lies_around_a_cell():
    cell = found(150, 200, 40)
    near, far = found(150, 345, 40, RED_CELL), found(150, 390, 20, RED_CELL)
    assert around([cell, near, far], cell) == (cell, near)
    assert of_kind([cell, near], RED_CELL) == [near]
