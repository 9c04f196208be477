from pathlib import Path

import pytest

from core.segmentation.model_registry import find_model
from tests.pages.conftest import read, texts

PAGES = sorted(path.name for path in (Path(__file__).parents[2] / "pages").glob("*.py") if path.name != "__init__.py")


def test_home_says_what_is_loaded(open_page):
    app = open_page()
    assert not app.exception
    said = texts(app)
    assert find_model().model_id in said
    assert "44 monocytes" in said
    assert "5 hairy cells" in said
    assert "not a medical device" in said


def test_home_without_a_cohort_says_how_to_get_one(open_page, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(tmp_path))
    app = open_page()
    assert not app.exception
    assert "make cohort" in texts(app)


def test_home_without_a_model_says_so_and_goes_on(open_page, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_SHIPPED_MODELS", str(tmp_path))
    app = open_page()
    assert not app.exception
    assert "no model" in read(app.error[0].value)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_and_says_it_is_no_diagnosis(open_page, page):
    app = open_page(f"pages/{page}")
    assert not app.exception
    assert not app.error
    assert "Research use, not for diagnosis" in texts(app)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_a_test(page):
    stem = page.split("_", 1)[1].removesuffix(".py").lower()
    assert (Path(__file__).parent / f"test_{stem}.py").is_file()
