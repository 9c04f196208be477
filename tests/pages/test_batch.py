"""Page Batch with real runs: each is a process of its own, measured by the shipped model."""

import io
import json
import os
import re
import shutil
import signal
import time
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from core.batch.jobs import Job, Owner, Request
from core.batch.review import Review
from core.batch.settings import State
from core.domain.cell_types import CellType
from core.domain.objects import RedCells
from core.domain.types import GivenScale
from core.exchange.writing import FORMATS
from core.image.imaging import encode_png
from core.image.synthetic import draw_cell
from core.store import queries
from core.store.database import Cohort
from core.store.named_scales import known_scales
from pages._ui.batch.pictures import scale_of
from pages._ui.common.cases import cases_of
from tests.pages.conftest import read, table, texts

PAGE = "pages/2_Batch.py"
BROWSER = "ab" * 16
PATIENCE_S = 240


def _owner(root: Path, browser: str = BROWSER) -> Owner:
    return Owner(root / "batch", f"browser {browser}")


def _png(seed: int) -> bytes:
    return encode_png(draw_cell(seed)[0].rgb)


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _until(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    """A folder of runs with one that is finished.

    Two labelled cells, a field of two, and two files that are no images.
    """
    root = tmp_path_factory.mktemp("runs")
    images = tmp_path_factory.mktemp("images")
    field = np.concatenate([draw_cell(seed)[0].rgb for seed in (4, 5)], axis=1)
    files = {
        "monocyte/a.png": _png(1),
        "monocyte/*b* <i>.png": _png(2),
        "lymphocyte/field.png": encode_png(field),
        "lymphocyte/bad.png": b"text",
        "monocyte/worse.png": b"words",
    }
    for name, content in files.items():
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes(content)
    job = _owner(root).add(
        Request(
            "*Five* <b>images</b>", datetime(2026, 11, 23, tzinfo=UTC), Path(), 10, 0.095, cells="all", by_folder=True
        ),
        images,
    )
    job.start()
    _until(lambda: job.standing().state.ended, "the run did not end")
    assert job.standing().state is State.FINISHED, job.standing()
    return root


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The folder of runs of a test; what still goes on at its end is killed."""
    root = tmp_path / "runs"
    monkeypatch.setenv("LEUKOSCOPE_RUNS", str(root))
    monkeypatch.setenv("LEUKOSCOPE_ROOTS", str(tmp_path / "nowhere"))
    yield root
    for job in _owner(root).jobs():
        if not job.standing().state.ended:
            os.kill(json.loads((job.folder / "process.json").read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def finished(runs, measured) -> Path:
    shutil.copytree(measured, runs)
    return runs


@pytest.fixture
def batch(open_page, runs):
    def visit(browser: str = BROWSER, user: dict | None = None):
        app = open_page()
        app.session_state["leukoscope_browser"] = browser
        if user is not None:
            app.user = user
        return app.switch_page(PAGE).run()

    return visit


def _upload(app, files, directory=False):
    return app.file_uploader(key=f"batch_upload_{directory}_{_taken(app)}").set_value(files).run()


def _taken(app) -> int:
    return app.session_state["leukoscope_uploads_taken"] if "leukoscope_uploads_taken" in app.session_state else 0  # noqa: SIM401  # it has no get


def _view(app, name):
    return app.button_group(key="batch_view").set_value(name).run()


def test_nothing_can_be_started_without_images(batch):
    app = batch()
    assert not app.exception
    assert app.button(key="batch_start").disabled
    assert "No run yet" in texts(app)


def test_before_the_browser_said_who_it_is_nothing_is_shown(open_page, finished):
    app = open_page(PAGE)
    assert not app.exception
    assert not app.button
    assert "images" not in texts(app).replace("Measure many images", "")


def test_uploads_are_kept_on_disk_measured_and_the_run_is_found_again(batch, runs):
    app = _upload(batch(), [("a.png", _png(1), "image/png"), ("bad.png", b"text", "image/png")])
    assert "2 images" in texts(app)
    assert _taken(app) == 1
    assert app.file_uploader(key="batch_upload_False_1").value == []
    _upload(app, [("a.png", _png(2), "image/png")])
    assert "3 images" in texts(app)
    # Another session of the same browser finds what was brought, and starts it.
    app = batch()
    assert "3 images" in texts(app)
    app.selectbox(key="batch_cells").set_value("one")
    app.toggle(key="batch_by_folder").set_value(True)
    app.number_input(key="batch_um_per_px").set_value(0.1)
    app.button(key="batch_start").click().run()
    assert not app.exception
    (job,) = _owner(runs).jobs()
    assert (job.request.cells, job.request.um_per_px, job.request.title[:8]) == (
        "one",
        GivenScale(0.1),
        "3 images",
    )
    assert "3 images ready" not in texts(app)
    assert {button.label for button in app.button} >= {"Stop"} or job.standing().state.ended

    again = batch()
    _until(lambda: job.standing().state.ended, "the run did not end")
    again.run()
    assert not again.exception
    assert "2 cells measured" in texts(again)
    assert "2 of the cells have no type" in texts(again)
    assert "1 image could not be measured" in texts(again)
    assert sorted(path.name for path in (job.folder / "input").iterdir()) == ["a (2).png", "a.png", "bad.png"]


def test_the_cells_are_looked_through_least_certain_first(batch, finished):
    app = batch()
    assert not app.exception
    assert "4 cells measured" in texts(app)
    assert "2 images could not be measured" in texts(app)
    assert "4 good" in texts(app)
    assert "0 left out" in texts(app)
    assert "no type" not in texts(app)
    assert {each.label for each in app.get("download_button")} == {
        *(known.label for known in FORMATS.values()),
        "Table (CSV)",
        "Table (Parquet)",
        "Table (CSV, µm)",
        "Table (Parquet, µm)",
        "Masks (ZIP)",
        "Failures (CSV)",
    }
    _view(app, "All cells")
    shown = table(app, "Certainty")
    assert shown["Certainty"].is_monotonic_increasing
    # The run was given a scale, so sizes are in micrometres: a leukocyte of 6 to 25 across.
    assert shown["Cell area (µm²)"].between(28, 490).all()
    assert {"N:C area ratio", "Nucleus area (µm²)", "Nucleus elongation"} < set(shown)
    assert shown["Quality"].str.startswith("good").all()
    assert sorted(zip(shown["Image"], shown["Cell"], strict=True)) == [
        ("lymphocyte/field.png", 1), ("lymphocyte/field.png", 2), ("monocyte/*b* <i>.png", 1), ("monocyte/a.png", 1)
    ]  # fmt: skip
    app.button_group(key="batch_order").set_value("by image").run()
    assert table(app, "Certainty")["Image"].is_monotonic_increasing


def test_failures_are_grouped_with_their_reason(batch, finished):
    app = _view(batch(), "Failures")
    assert not app.exception
    assert "plain text" in texts(app)
    assert "lymphocyte/bad.png, monocyte/worse.png" in texts(app)


def test_names_from_outside_are_shown_as_they_are(batch, finished):
    app = batch()
    (title,) = [each.value for each in app.markdown if "Five" in each.value]
    assert title.startswith("#### \\*Five\\* \\<b\\>images\\</b\\> :small[")


def test_a_cell_is_chosen_by_its_name_not_by_its_place(batch, finished):
    app = batch()
    job = _owner(finished).jobs()[0].name
    app.session_state["leukoscope_cell_looked_at"] = (job, "lymphocyte/field.png#1")
    app.run()
    assert "lymphocyte/field.png, cell 2" in [each.value for each in app.get("text")]
    app.session_state["leukoscope_cell_looked_at"] = (job, "lymphocyte/gone.png#0")
    app.run()
    assert not app.exception


def test_cells_are_added_to_the_cohort(batch, finished, tmp_path):
    app = _view(batch(), "Add to the cohort")
    app.button(key="cohort_add").click().run()
    said = texts(app)
    assert all(words in said for words in ("needs a name", "A source is needed", "Choose a type"))
    app.text_input(key="cohort_source").set_value("Our lab")
    app.button(key="cohort_add").click().run()
    assert "A source is needed" not in texts(app)
    assert "needs a name" in texts(app)

    app.text_input(key="cohort_title").set_value("Hairy cells, our lab")
    app.text_input(key="cohort_source").set_value("Our lab")
    app.text_input(key="cohort_patient").set_value("P7")
    app.selectbox(key="cohort_type").set_value(CellType.HCL)
    app.button(key="cohort_add").click().run()
    assert not app.exception
    assert not app.error
    assert "4 cells added" in texts(app)
    with Cohort.open([tmp_path / "cohort"]) as cohort:
        cells = queries.cells(cohort, "hairy_cells_our_lab")
    assert set(cells["cell_type"]) == {"hcl"}
    assert set(cells["patient_id"]) == {"P7"}
    assert set(cells["um_per_px"]) == {0.095}
    # Once more: nothing is there twice.
    app.button(key="cohort_add").click().run()
    assert "4 were there already" in texts(app)


def test_labelled_cells_go_into_a_population_of_each_type(batch, finished, tmp_path):
    app = _view(batch(), "Add to the cohort")
    app.text_input(key="cohort_title").set_value("Lab")
    app.text_input(key="cohort_source").set_value("Our lab")
    app.selectbox(key="cohort_type").set_value("as labelled")
    app.button(key="cohort_add").click().run()
    assert not app.exception
    with Cohort.open([tmp_path / "cohort"]) as cohort:
        counts = {info.population.title: info.n for info in queries.populations(cohort)}
    assert counts == {"Lab: monocytes": 2, "Lab: lymphocytes": 2}


def test_a_shipped_population_is_left_alone(batch, finished):
    app = _view(batch(), "Add to the cohort")
    app.text_input(key="cohort_title").set_value("Monocyte drawn")
    app.text_input(key="cohort_source").set_value("Our lab")
    app.selectbox(key="cohort_type").set_value(CellType.MONOCYTE)
    app.button(key="cohort_add").click().run()
    assert "shipped with the program" in read(app.error[0].value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("../../a.png", b"x", "image/png")], "another name"),
        ([("a.png", b"x", "image/png"), ("cells.zip", _zip({"b.png": b"x"}), "application/zip")], "measured by itself"),
        ([("broken.zip", b"no zip", "application/zip")], "expected a ZIP"),
        ([("notes.zip", _zip({"readme.txt": b"x"}), "application/zip")], "holds none"),
    ],
)
def test_uploads_that_cannot_be_taken_say_why_and_nothing_is_kept(batch, runs, files, words):
    app = _upload(batch(), files)
    assert not app.exception
    assert words in texts(app)
    assert app.button(key="batch_start").disabled
    assert not list(runs.rglob("uploads/*"))
    _upload(app, [("good.png", _png(1), "image/png")])
    assert words not in texts(app)
    assert not app.button(key="batch_start").disabled
    app.button(key="batch_clear").click().run()
    assert app.button(key="batch_start").disabled


def test_a_folder_keeps_its_folders(batch, runs):
    app = batch()
    app.button_group(key="batch_way").set_value("A folder of this computer").run()
    _upload(app, [("scan/hcl/a.png", _png(1), "image/png"), ("scan/apl/a.png", _png(2), "image/png")], directory=True)
    assert "2 images" in texts(app)
    uploads = _owner(runs).folder / "uploads"
    assert sorted(path.relative_to(uploads).as_posix() for path in uploads.rglob("*.png")) == [
        "scan/apl/a.png",
        "scan/hcl/a.png",
    ]
    # The run is called after the folder, and its files after that and the day.
    app.button(key="batch_start").click().run()
    (job,) = _owner(runs).jobs()
    assert job.request.title == "scan"


def test_only_folders_below_the_roots_can_be_chosen(batch, monkeypatch, tmp_path, runs):
    root, outside = tmp_path / "root", tmp_path / "secret"
    for folder in (root / "cells" / "inner", outside, root / ".hidden", root / "empty"):
        folder.mkdir(parents=True)
    (root / "cells" / "inner" / "one.png").write_bytes(_png(1))
    (outside / "two.png").write_bytes(_png(2))
    (root / "link").symlink_to(outside)
    (root / "packed.zip").write_bytes(_zip({"three.png": _png(3)}))
    monkeypatch.setenv("LEUKOSCOPE_ROOTS", os.pathsep.join([str(root), str(tmp_path / "missing")]))
    app = batch()
    app.button_group(key="batch_way").set_value("A folder of the server").run()
    first = app.selectbox(key="batch_folder_0_")
    assert first.options == ["all that is here", "cells", "empty", "packed.zip"]
    first.set_value("empty").run()
    assert "No images here" in texts(app)
    assert app.button(key="batch_start").disabled
    app.selectbox(key="batch_folder_0_").set_value("packed.zip").run()
    assert "1 image" in texts(app)
    app.selectbox(key="batch_folder_0_").set_value("cells").run()
    app.selectbox(key="batch_folder_0_cells").set_value("inner").run()
    app.button(key="batch_start").click().run()
    assert not app.exception
    (job,) = _owner(runs).jobs()
    assert job.source == root / "cells" / "inner"
    assert job.request.title == "cells/inner"
    assert str(outside) not in texts(app)


def test_a_zip_is_measured_as_it_is(batch, runs):
    app = _upload(batch(), [("cells.zip", _zip({"hcl/a.png": _png(1), "../evil.png": _png(2)}), "application/zip")])
    app.button(key="batch_start").click().run()
    (job,) = _owner(runs).jobs()
    assert job.source == job.folder / "input" / "cells.zip"
    _until(lambda: job.standing().state.ended, "the run did not end")
    app.run()
    assert "1 cell measured" in texts(app)
    assert "leads out of it" in texts(_view(app, "Failures"))
    assert not list(runs.rglob("evil.png"))


def test_each_sees_only_their_own_runs(batch, finished):
    assert "Five" in texts(batch())
    for app in (batch(browser="cd" * 16), batch(user={"is_logged_in": True, "iss": "https://a", "sub": "anna"})):
        assert not app.exception
        assert "No run yet" in texts(app)
    Owner(finished / "batch", "account https://a anna").add(Request("Anna's", datetime.now(UTC), finished))
    assert "Anna" in texts(batch(user={"is_logged_in": True, "iss": "https://a", "sub": "anna"}))
    assert "No run yet" in texts(batch(user={"is_logged_in": True, "iss": "https://b", "sub": "anna"}))
    assert "Anna" not in texts(batch())


def test_a_run_that_ended_early_can_go_on_or_be_deleted(batch, finished, tmp_path):
    early = _owner(finished).add(Request("Gone", datetime.now(UTC), tmp_path / "gone"))
    app = batch()
    assert "Gone" in texts(app)
    app.button(key="run_resume").click().run()
    _until(lambda: early.standing().state.ended, "the run did not end")
    app.run()
    assert "expected a folder" in texts(app)
    app.button(key="run_delete").click().run()
    assert not app.exception
    assert [job.request.title for job in _owner(finished).jobs()] == ["*Five* <b>images</b>"]
    assert "4 cells measured" in texts(app)


def test_what_is_too_large_for_a_browser_says_where_it_is(batch, finished, monkeypatch):
    monkeypatch.setattr("pages._ui.batch.results._MOST_TO_BROWSER", 3)
    app = batch()
    assert not app.exception
    assert not app.get("download_button")
    (place,) = [re.search("in (.+) of the", read(each.value))[1] for each in app.markdown if "Too large" in each.value]
    assert (finished / place / "cells.csv").is_file()


def test_runs_of_the_same_title_are_told_apart(batch, finished, tmp_path):
    owner = _owner(finished)
    first = owner.jobs()[0]
    second, third = (owner.add(Request(first.request.title, datetime.now(UTC), tmp_path / "gone")) for _ in range(2))
    app = batch()
    assert len(set(app.radio(key="batch_runs").options)) == 3
    for job, words in ((first, "4 cells measured"), (second, "not started"), (third, "not started")):
        app.radio(key="batch_runs").set_value(job.name).run()
        assert words in texts(app)
        assert app.session_state["leukoscope_run_chosen"] == job.name


def test_the_choice_of_a_run_survives_new_ones_and_other_pages(batch, finished, tmp_path):
    app = batch()
    name = _owner(finished).jobs()[0].name
    _owner(finished).add(Request("Newer", datetime.now(UTC), tmp_path))
    app.run()
    assert app.radio(key="batch_runs").value == name
    app.switch_page("Home.py").run()
    app.switch_page(PAGE).run()
    assert app.radio(key="batch_runs").value == name
    assert "4 cells measured" in texts(app)


# --- the scale --------------------------------------------------------------------------------------------------------


@pytest.fixture
def unscaled(runs) -> Job:
    """A run that has ended, without a scale."""
    images = runs.parent / "images"
    images.mkdir()
    for seed in (1, 2):
        (images / f"{seed}.png").write_bytes(_png(seed))
    job = _owner(runs).add(Request("Two", datetime(2026, 12, 1, tzinfo=UTC), images))
    job.start()
    _until(lambda: job.standing().state.ended, "the run did not end")
    return job


def test_after_a_run_the_scale_of_its_red_cells_is_one_click_away(batch, unscaled, monkeypatch, tmp_path):
    monkeypatch.setattr(Review, "red_cells", lambda _: [RedCells(5, 75.0)] * 20)
    app = batch()
    assert not app.exception
    assert not [each for each in app.get("download_button") if "µm" in each.label]
    assert Review(unscaled.results, unscaled.source).scale is None, "nothing is set silently"
    offered = app.button(key="batch_scale_on")
    assert read(offered.label) == (
        "Use 0.1 µm per pixel, from red cells of 20 images, within 1 %, and 7 % if the patients' red cells are not"
        " 7.5 µm"
    )
    offered.click().run()
    assert not app.exception
    assert "Scale: 0.1 µm per pixel, from red cells of 20 images" in texts(app)
    assert [each.label for each in app.get("download_button") if "µm" in each.label]
    _view(app, "Add to the cohort")
    app.text_input(key="cohort_title").set_value("Ours")
    app.text_input(key="cohort_source").set_value("Our lab")
    app.selectbox(key="cohort_type").set_value(CellType.HCL)
    app.button(key="cohort_add").click().run()
    assert not app.error
    with Cohort.open([tmp_path / "cohort"]) as cohort:
        cells, population = queries.cells(cohort, "ours"), cohort.population("ours")
    assert set(cells["um_per_px"]) == {population.um_per_px} == {0.1}
    assert set(cells["um_per_px_error"]) == {population.um_per_px_error} == {0.07}
    assert set(cells["um_per_px_source"]) == {"red cells"}
    assert known_scales(tmp_path / "cohort").named("Our lab").um_per_px == 0.1
    app.button(key="batch_scale_off").click().run()
    assert app.button(key="batch_scale_on")


def test_a_run_says_how_the_scale_is_known_that_was_chosen_by_name(finished):
    (job,) = _owner(finished).jobs()
    review = Review(job.results, job.source)
    assert scale_of(job, review) == GivenScale(0.095, origin="given for the run")
    named = GivenScale(0.095, 0.1, origin="that of our lab: 0.095 of a slide")
    chosen = Job(job.folder, replace(job.request, um_per_px=named))
    assert scale_of(chosen, review) == named


def test_a_run_whose_red_cells_tell_nothing_says_why(batch, unscaled):
    app = batch()
    assert not app.exception
    said = texts(app)
    assert (
        "No scale was given; the red cells tell no scale: at least 10 images with 3 whole red cells are needed" in said
    )
    assert not [button for button in app.button if button.key == "batch_scale_on"]


def test_the_scale_can_be_measured_before_a_run_which_ends_in_words_where_it_cannot(batch, runs):
    app = _upload(batch(), [("a.png", _png(1), "image/png")])
    app.toggle(key="batch_by_red_cells").set_value(True).run()
    assert app.number_input(key="batch_um_per_px").disabled
    app.button(key="batch_start").click().run()
    assert not app.exception
    (job,) = _owner(runs).jobs()
    assert job.request.um_per_px == "red-cells"
    _until(lambda: job.standing().state.ended, "the run did not end")
    assert job.standing().state is State.FAILED
    assert "the red cells tell no scale: at least 10 images" in texts(app.run())


def test_the_cell_that_is_looked_at_is_added_to_a_case(batch, finished):
    app = batch()
    app.session_state["leukoscope_cell_looked_at"] = (_owner(finished).jobs()[0].name, "lymphocyte/field.png#1")
    app.run()
    app.text_input(key="add_to_case_title").set_value("Odd ones")
    app.button(key="add_to_case_do").click().run()
    assert not app.exception
    assert "field.png was added." in texts(app)
    cases = cases_of(_owner(finished))
    (case,) = cases.shelf().cases
    (image,) = case.images
    assert (case.title, image.name, image.cells, image.scale.um_per_px) == ("Odd ones", "field.png", 2, 0.095)
    assert image.chosen == 2
    assert cases.original(case.id, image) is not None
    app.run()
    app.selectbox(key="add_to_case_which").set_value(case.id).run()
    app.button(key="add_to_case_do").click().run()
    assert "field.png is there already, and stays as it is" in texts(app)
