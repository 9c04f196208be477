import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.explorer.groups import narrowed, shown_groups, smaller_merged, together
from core.explorer.selection import Quality, Selection
from core.explorer.view import NOT_RECORDED, By, Group, counts, groups
from tests.core.explorer.conftest import LYMPHO, MONO

EVERY = Selection(quality=Quality.ANY)
GROUPS = [Group(name, cells, 1, 0) for name, cells in (("a", 5), ("b", 9), ("c", 7), (NOT_RECORDED, 50))]


def test_the_wanted_groups_are_shown_in_their_order():
    assert shown_groups(GROUPS, ("c", "a", "gone"), 3) == ["a", "c"]
    assert shown_groups(GROUPS, ("a", "b", "c"), 2) == ["a", "b"]


def test_of_very_many_groups_the_largest_are_shown_and_cells_of_nobody_come_last():
    assert shown_groups(GROUPS, (), 4) == ["a", "b", "c", NOT_RECORDED]
    assert shown_groups(GROUPS, (), 2) == ["b", "c"]
    assert shown_groups(GROUPS, ("gone",), 2) == ["b", "c"]


def test_the_smaller_of_many_groups_become_one():
    kept, place = smaller_merged(np.array([3, 9, 1, 7, 1]), 3)
    assert kept.tolist() == [1, 3]
    assert place.tolist() == [2, 0, 2, 1, 2]
    kept, place = smaller_merged(np.array([3, 9, 1]), 3)
    assert kept.tolist() == place.tolist() == [0, 1, 2]


@pytest.mark.parametrize("by", [By.CELL_TYPE, By.SOURCE, By.POPULATION, By.DIAGNOSIS, By.PATIENT])
def test_a_narrowed_selection_holds_the_cells_of_the_groups_and_no_others(small, by):
    named = [group for group in groups(small, EVERY, by) if group.name != NOT_RECORDED]
    chosen = named[:1]
    found = counts(small, narrowed(EVERY, by, [group.name for group in chosen]))
    assert found.cells == sum(group.cells for group in chosen)


def test_what_no_filter_can_say_is_left_as_it_is():
    assert narrowed(EVERY, By.MODEL, ["m"]) == EVERY
    assert narrowed(EVERY, None, ["saved"]) == EVERY
    assert narrowed(EVERY, By.DIAGNOSIS, ["AML", NOT_RECORDED]) == EVERY
    assert narrowed(EVERY, By.CELL_TYPE, ["hcl"]).cell_types == (CellType.HCL,)


def test_several_selections_are_known_together(small):
    parts = [counts(small, Selection(populations=(name,), quality=Quality.ANY)) for name in (MONO, LYMPHO)]
    both = counts(small, Selection(populations=(MONO, LYMPHO), quality=Quality.ANY))
    found = together(parts)
    for name in ("cells", "total", "patients", "unknown_patient", "sources", "populations", "scales", "without_scale"):
        assert getattr(found, name) == getattr(both, name), name
    assert together([parts[0], parts[0]]).cells == 2 * parts[0].cells
