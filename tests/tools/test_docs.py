"""README and docs/ say what was measured, and nothing in them is older than code, model, cohort or bench."""

import pytest

from core.domain.settings import ROOT
from tools.docs import MAKERS, documents, tables_of, written


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_tables_are_those_of_the_shipped_files(document):
    assert written(document) == document.read_text(encoding="utf-8"), "run `python -m tools.docs`"


def test_every_table_is_shown_once():
    shown = [name for document in documents() for name in tables_of(document)]
    assert sorted(shown) == sorted(MAKERS)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 6 * 1024
