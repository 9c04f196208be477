"""README and docs/ say what was measured, and nothing in them is older than the code, the model, the cohort or the bench."""

import re

import pytest

import leukoscope
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


def test_every_public_name_has_its_place_in_the_reference_of_python():
    text = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: leukoscope\.(\w+)$", text, re.MULTILINE)
    assert sorted(shown) == sorted(name for name in leukoscope.__all__ if name != "__version__")
