"""README and docs/ say what was measured, and nothing in them is older than code, model, cohort or bench."""

import re

import pytest

import leukoscope
from core.domain.settings import ROOT
from tools.docs import MAKERS, documents, tables_of, written

PAGES = [
    page
    for page in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
    if page.name != "CHANGELOG.md"  # which tells of what is gone, too
]


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


def _is_there(name: str) -> bool:
    """Whether a dotted name is a module of ours, or something that one of its modules defines."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        folder, rest = ROOT.joinpath(*parts[:depth]), parts[depth:]
        module = next((path for path in (folder.with_suffix(".py"), folder / "__init__.py") if path.is_file()), None)
        if module is not None:
            text = module.read_text(encoding="utf-8")
            return all(re.search(rf"^\s*(def|class) {part}\b|^{part}\b", text, re.MULTILINE) for part in rest)
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_page_names_of_the_code_is_there(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:core|pages|training|export|benchmarks|tools)(?:\.\w+)+)[`(]", text)
    folders = re.findall(r"`((?:core|pages|training|export|benchmarks|tools|docs|assets)/[\w./-]+)`", text)
    gone = [name for name in named if not _is_there(name)] + [name for name in folders if not (ROOT / name).exists()]
    assert not gone


def test_changelog_and_citation_are_of_this_version():
    changelog, citation = ((ROOT / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "CITATION.cff"))
    version, day = re.search(r"^## \[(.+)\] - (.+)$", changelog, re.MULTILINE).groups()
    assert version == leukoscope.__version__
    assert f"version: {version}\ndate-released: {day}\n" in citation
