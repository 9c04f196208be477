"""Pages of the documentation show the app as it is: each has its picture, and none is older than what it shows."""

import re
import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest

from core.domain.settings import ROOT
from tools.pictures import OUT, VIEWS, taken_on

# A small change of a page need not have its pictures taken anew on the same day.
GRACE = timedelta(days=14)
# They speak of files, commands and code; nothing of it is seen on a page.
WITHOUT = {"files.md", "speed.md", "architecture.md", "cluster.md", "contributing.md", "exchange.md", "serving.md"}
PAGES = [
    page
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if page.name not in WITHOUT and page.parent.name != "reference"
]
SHOWN = re.compile(r"!\[[^\]]+\]\(([^)]+\.png)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_picture(page):
    shown = SHOWN.findall(page.read_text(encoding="utf-8"))
    assert shown
    for path in shown:
        assert (page.parent / path).resolve().parent == OUT.resolve()


def test_every_picture_is_shown_and_can_be_taken_anew():
    shown = {Path(path).stem for page in PAGES for path in SHOWN.findall(page.read_text(encoding="utf-8"))}
    assert shown == set(VIEWS) == {path.stem for path in OUT.iterdir()}


def _changed(sources: tuple[str, ...]) -> date:
    """The day of the last commit that changed one of the sources."""
    told = subprocess.run(
        ["git", "log", "-1", "--format=%cs", "--", *sources], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return date.fromisoformat(told.stdout.strip())


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="without its history a checkout knows no days")
@pytest.mark.parametrize("view", VIEWS)
def test_a_picture_is_not_older_than_what_it_shows(view):
    sources = VIEWS[view].sources
    assert all((ROOT / source).exists() for source in sources)
    assert taken_on(OUT / f"{view}.png") + GRACE >= _changed(sources), f"take it anew: python -m tools.pictures {view}"
