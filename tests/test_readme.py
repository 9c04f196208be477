"""The README says what was measured, and nothing in it is older than the model, the cohort or the bench."""

import pytest

from tests.readme import README, TABLES, written


def test_its_tables_are_those_of_the_shipped_files():
    text = README.read_text(encoding="utf-8")
    assert written(text) == text, "run `python -m tests.readme`"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_its_place(name):
    text = README.read_text(encoding="utf-8")
    assert text.index(f"<!-- {name} -->") < text.index(f"<!-- end {name} -->")
