"""README and CLUSTER.md say what was measured, and nothing in them is older than the model, the cohort or the bench."""

import pytest

from tools.readme import DOCUMENTS, written


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_shipped_files(document):
    assert written(document) == document.read_text(encoding="utf-8"), "run `python -m tools.readme`"


@pytest.mark.parametrize(("document", "name"), [(path, name) for path, tables in DOCUMENTS.items() for name in tables])
def test_every_table_has_its_place(document, name):
    text = document.read_text(encoding="utf-8")
    assert text.index(f"<!-- {name} -->") < text.index(f"<!-- end {name} -->")
