from datetime import UTC, datetime
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


def test_home_shows_a_measured_cell_that_is_opened_as_it_is(open_page):
    app = open_page()
    assert "N:C area ratio" in texts(app)
    app.button(key="home_open").click().run()
    app.switch_page("pages/1_Single_cell.py").run()
    assert not app.exception
    assert app.number_input(key="single_um_per_px").value == pytest.approx(0.095)
    said = texts(app)
    assert "synthetic_monocyte.png" in said
    assert "drawn by the program" in said
    assert "Cell elongation" in said


def test_home_is_no_wall_of_what_it_cannot_do(open_page):
    assert "one mononuclear cell per image" not in texts(open_page())


def test_recent_runs_and_cases_lead_back_to_them(open_page, monkeypatch, tmp_path):
    from core.batch.jobs import Owner, Request
    from pages._ui.common.cases import cases_of
    from pages._ui.common.state import BROWSER

    monkeypatch.setenv("LEUKOSCOPE_RUNS", str(tmp_path / "runs"))
    identity = "0" * 32
    app = open_page()
    assert "Go on with" not in texts(app)
    person = Owner(tmp_path / "runs" / "batch", f"browser {identity}")
    monkeypatch.setattr("core.batch.jobs.Job.start", lambda _: None)  # a run that nobody works on is still listed
    job = person.add(Request("smears *of May*", datetime.now(UTC), tmp_path))
    case = cases_of(person).create("Case <7>")
    app.session_state[BROWSER.key] = identity
    app.run()
    said = texts(app)
    assert "Go on with" in said
    (link,) = [one for one in app.get("page_link") if "Case" in one.proto.label]
    assert read(link.proto.label).startswith("Case <7>: a case of 0 images")
    assert case.id in link.proto.query_string
    button = app.button(key=f"home_run_{job.name}")
    assert read(button.label).startswith("smears *of May*: a run of")
