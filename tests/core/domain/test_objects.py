from core.domain.objects import FoundObject, ObjectKind, RedCells, red_cell_diameter, red_cells_of


def test_the_box_of_an_object():
    one = FoundObject(ObjectKind.PLATELET, 10, 20, 50, 30, 0.5)
    assert (one.width, one.height, one.centre, one.diameter) == (40, 10, (25, 30), 20)
    assert one.moved(-10, 5) == FoundObject(ObjectKind.PLATELET, 0, 25, 40, 35, 0.5)


def test_the_ruler_is_the_median_of_at_least_three_whole_red_cells():
    objects = [FoundObject(ObjectKind.RED_CELL, 0, 0, size, size, 0.9) for size in (60, 70, 95)]
    others = [
        FoundObject(ObjectKind.RED_CELL, 0, 0, 20, 20, 0.9, cut=True),
        FoundObject(ObjectKind.LEUKOCYTE, 0, 0, 150, 150, 0.9),
    ]
    assert red_cell_diameter([*objects, *others]) == 70
    assert red_cell_diameter(objects[:2]) is None
    assert red_cells_of([*objects, *others]) == RedCells(3, 70)
    assert red_cells_of(objects).tell
    assert red_cells_of(objects[:2]) == RedCells(2, 65)
    assert not red_cells_of(objects[:2]).tell
    assert red_cells_of(others) == RedCells(0, None)
