import numpy as np
import pandas as pd

from core.domain.settings import load_settings
from core.explorer.distribution import published_table, summary_table, together, without_tails
from core.explorer.selection import Range, Selection
from core.explorer.view import By, summary
from core.features.catalogue import CATALOGUE
from core.store.published import published_references
from tests.core.store.conftest import AREA, RATIO

EVEN = np.array([[0.0, 1.0, 5.0, 9.0, 10.0], [1.0, 2.0, 5.0, 8.0, 9.0]])


def test_values_that_fill_the_axis_are_left_as_they_are():
    assert without_tails(Selection(), RATIO, EVEN) == Selection()
    assert without_tails(Selection(), RATIO, np.empty((0, 5))) == Selection()
    assert without_tails(Selection(), RATIO, np.full((1, 5), np.nan)) == Selection()
    assert without_tails(Selection(), RATIO, np.full((1, 5), 2.0)) == Selection()


def test_outermost_values_that_stretch_the_axis_are_left_out():
    far = EVEN.copy()
    far[0, -1] = 100.0
    assert without_tails(Selection(), RATIO, far).ranges == (Range(RATIO, 1.0, 9.0),)
    # A group without cells says nothing.
    assert without_tails(Selection(), RATIO, np.vstack([far, np.full(5, np.nan)])).ranges == (Range(RATIO, 1.0, 9.0),)


def test_a_persons_own_range_is_kept_within():
    far = EVEN.copy()
    far[0, -1] = 100.0
    other = Range(AREA, 1.0, None)
    for given, ends in (
        (Range(RATIO, 3.0, None), (3.0, 9.0)),
        (Range(RATIO, None, 4.0), (1.0, 4.0)),
        (Range(RATIO, 0.5, 50.0), (1.0, 9.0)),
    ):
        found = without_tails(Selection(ranges=(given, other)), RATIO, far)
        assert found.ranges == (other, Range(RATIO, *ends))


def test_a_table_of_groups_holds_the_shown_numbers_with_unit_and_source(small):
    found = summary(small, Selection(), (AREA, RATIO), By.CELL_TYPE)
    names = {each.group for each in found}
    table = summary_table(found, {name: name.upper() for name in names}, dict.fromkeys(names, ("A", "B")))
    assert len(table) == len(found)
    first = found[0]
    row = table.iloc[0]
    assert (row["Group"], row["n"], row["Source"]) == (first.group.upper(), first.n, "A; B")
    assert row["50 %"] == CATALOGUE[first.feature].shown(first.p50)
    assert row["Patients"] == "not all known"
    assert set(table["Feature"]) == {CATALOGUE[name].label for name in (AREA, RATIO)}
    of_one = summary_table([first], {first.group: "A"}, {first.group: ()})
    assert "Feature" not in of_one


def test_published_tables_stand_below_the_groups_and_empty_columns_go(small):
    references = [each for each in published_references(load_settings().reference) if RATIO in each.summaries]
    published = published_table(references, RATIO)
    assert published["Patients"].unique().tolist() == ["generated images"]
    groups = summary_table(summary(small, Selection(), (RATIO,), None), {"all cells": "All"}, {"all cells": ("A",)})
    both = together(groups, published)
    assert both["Group"].tolist() == ["All", *(each.title for each in references)]
    assert "Unit" not in both
    assert "Without a value" not in both
    assert together(groups, pd.DataFrame())["Group"].tolist() == ["All"]
