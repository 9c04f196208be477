"""Several images on *Single cell*, and cases, without a browser."""

import hashlib
import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from core.batch.jobs import Owner
from core.cases import store
from core.cases.store import Cases
from core.corrections.deciding import Decision, decide
from core.corrections.opening import open_analysed
from core.domain.options import Units
from core.domain.settings import load_settings
from core.domain.types import LabelMap
from core.image.imaging import decode, encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import analyse, remeasured
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter
from core.store.outline_log import OutlineStatus, without_ring
from pages._ui.common.cases import cases_of, recent_cases
from pages._ui.single_cell import taking
from tests.pages.conftest import texts
from tests.pages.test_correcting import component

PAGE = "pages/1_Single_cell.py"
ME, OTHER = "ab" * 16, "cd" * 16


@pytest.fixture(scope="module")
def cells() -> list[bytes]:
    return [encode_png(draw_cell(seed, SYNTHETIC_CELLS["lymphocyte"])[0].rgb) for seed in (3, 4, 5)]


@pytest.fixture(scope="module")
def field() -> bytes:
    return encode_png(np.concatenate([draw_cell(seed)[0].rgb for seed in (0, 1, 2)], axis=1))


@pytest.fixture
def page(open_page, monkeypatch, tmp_path):
    """The page as a browser with a number of its own opens it."""
    monkeypatch.setenv("LEUKOSCOPE_RUNS", str(tmp_path / "runs"))

    def visit(who: str = ME, **address: str):
        app = open_page()
        app.session_state["leukoscope_browser"] = who
        app.query_params.update(address)
        return app.switch_page(PAGE).run()

    return visit


def upload(app, *files: tuple[str, bytes]):
    return app.file_uploader[0].set_value([(name, data, "image/png") for name, data in files]).run()


def tray(app) -> list[dict]:
    found = component(app, "tray")
    return found["items"] if found else []


def words(app) -> list[str]:
    return [item["words"] for item in tray(app)]


def on(app):
    return app.button(key="tray_on").click().run()


def three(app, cells):
    return upload(app, ("a.png", cells[0]), ("bad.png", b"this is no image"), ("c.png", cells[2]))


def shown_name(app) -> str:
    return re.search(r"\*\*([^*]+)\*\*(?::|$)", next(c.value for c in app.caption if "**" in c.value))[1]


def test_one_image_alone_has_no_tray(page, cells):
    app = upload(page(), ("a.png", cells[0]))
    app.button(key="calculate").click().run()
    assert not app.exception
    assert component(app, "tray") is None
    assert not [button for button in app.button if button.key in {"tray_on", "measure_all"}]
    assert len(app.file_uploader[0].value) == 1


def test_several_files_are_measured_one_after_another_and_a_bad_one_stops_none(page, cells):
    app = three(page(), cells)
    assert words(app) == ["waiting"] * 3
    assert app.file_uploader[0].value == [], "the tray has them"
    app.button(key="measure_all").click().run()
    assert not app.exception
    assert words(app) == ["1 cell, good", "failed", "1 cell, good"]
    assert "plain text" in tray(app)[1]["hint"]
    assert "**1 of 3**: 2 measured, 1 failed" in texts(app)
    assert not [button for button in app.button if button.key == "measure_all"]
    assert app.session_state["leukoscope_analysis"].image.name == "a.png"
    on(app)
    assert "plain text" in app.error[0].value.replace("\\", "")
    on(app)
    assert app.session_state["leukoscope_analysis"].image.name == "c.png"
    assert app.button(key="tray_on").disabled
    assert "N:C area ratio" in texts(app)


def test_calculate_measures_the_shown_image_alone_and_a_failure_is_kept_with_its_reason(page, cells):
    app = three(page(), cells)
    app.button(key="calculate").click().run()
    on(app)
    app.button(key="calculate").click().run()
    on(app)
    assert not app.exception
    assert words(app) == ["1 cell, good", "failed", "waiting"]
    app.button(key="tray_back").click().run()
    app.button(key="tray_back").click().run()
    assert app.session_state["leukoscope_analysis"].image.name == "a.png"
    assert len(app.get("vega_lite_chart")) == 2


def test_an_image_that_comes_back_is_the_same(page, cells):
    app = upload(page(), ("a.png", cells[0]), ("b.png", cells[1]))
    app.button(key="measure_all").click().run()
    before, said = app.session_state["leukoscope_analysis"], texts(app)
    on(app)
    app.button(key="tray_back").click().run()
    after = app.session_state["leukoscope_analysis"]
    assert after is not before
    assert (after.segmentation.labels == before.segmentation.labels).all()
    assert (after.features, after.flags) == (before.features, before.flags)
    assert texts(app) == said


def test_a_second_file_makes_a_tray_of_the_first_with_what_was_measured(page, cells):
    app = upload(page(), ("a.png", cells[0]))
    app.button(key="calculate").click().run()
    upload(app, ("a.png", cells[0]), ("b.png", cells[1]))
    assert words(app) == ["1 cell, good", "waiting"]
    assert [item["more"] for item in tray(app)] == ["a.png", "b.png"]
    assert "b.png" in texts(app), "the new one is shown"
    upload(app, ("again.png", cells[0]))
    assert len(tray(app)) == 2
    assert "again.png is there already" in texts(app)
    app.menu_button(key="single_example").click("monocyte").run()
    assert len(tray(app)) == 3
    assert app.number_input(key="single_um_per_px").value == pytest.approx(0.095)
    upload(app, ("c.png", cells[2]))
    assert app.number_input(key="single_um_per_px").value is None, "an example's scale is its own"


def test_each_image_has_its_scale_until_one_is_given_to_all(page, cells):
    app = upload(page(), ("a.png", cells[0]), ("b.png", cells[1]))
    app.button(key="measure_all").click().run()
    app.number_input(key="single_um_per_px").set_value(0.095).run()
    assert "µm²" in texts(app)
    on(app)
    assert app.number_input(key="single_um_per_px").value is None
    app.button(key="tray_back").click().run()
    assert app.number_input(key="single_um_per_px").value == 0.095
    app.button(key="tray_scale").click().run()
    on(app)
    assert not app.exception
    assert app.number_input(key="single_um_per_px").value == 0.095
    assert "µm²" in texts(app)
    assert not [button for button in app.button if button.key == "tray_scale"]


def test_a_field_keeps_its_flow_and_the_chosen_cell(page, cells, field):
    app = upload(page(), ("field.png", field), ("a.png", cells[0]))
    app.button(key="measure_all").click().run()
    assert words(app)[0].startswith("3 cells")
    listed = next(frame for frame in app.dataframe if "Certainty" in frame.value.columns)
    app.session_state[listed.key] = {"selection": {"rows": [2], "columns": [], "cells": []}}
    app.run()
    assert "cell 3, a cut-out of" in texts(app)
    on(app)
    assert "in this field" not in texts(app)
    app.button(key="tray_back").click().run()
    assert not app.exception
    assert "3 cells in this field" in texts(app)
    assert "cell 3, a cut-out of" in texts(app)


def test_a_correction_belongs_to_its_image_and_is_there_when_one_comes_back(page, cells, tmp_path):
    app = upload(page(), ("a.png", cells[0]), ("b.png", cells[1]))
    app.button(key="measure_all").click().run()
    cell = open_analysed(analyse(decode(cells[0], "a.png"), OnnxSegmenter.from_entry(find_model())))
    labels = without_ring(cell.analysis.segmentation.labels).copy()
    labels[: np.flatnonzero(labels.any(axis=1))[0] + 15] = 0
    drawn = remeasured(cell.analysis, LabelMap(labels), OnnxSegmenter.from_entry(find_model()))
    verdict = decide(tmp_path / "cohort", cell, Decision(OutlineStatus.CORRECTED, "A. Reader", None, drawn))
    on(app)
    assert "A person corrected the outline" not in texts(app)
    app.button(key="tray_back").click().run()
    assert "A person corrected the outline" in texts(app)
    decide(tmp_path / "cohort", cell, Decision(OutlineStatus.REJECTED, "A. Reader", verdict.id, why="two cells"))
    app.run()
    app.run()
    assert words(app)[0] == "1 cell, left out"


def test_too_many_images_are_told(page, cells, monkeypatch):
    monkeypatch.setattr(store, "MOST_IMAGES", 2)
    app = three(page(), cells)
    assert len(tray(app)) == 2
    assert "at most 2 images" in texts(app)


def test_an_image_is_taken_out(page, cells):
    app = upload(page(), ("a.png", cells[0]), ("b.png", cells[1]))
    app.button(key="tray_drop").click().run()
    assert [item["more"] for item in tray(app)] == ["b.png"]
    assert "b.png" in texts(app)
    app.button(key="tray_drop").click().run()
    assert not app.exception
    assert "No image yet" in texts(app)


# --- cases ---


def keep(app, title: str = "Patient 7", notes: str = "hairy?"):
    app.text_input(key="case_new_title").set_value(title)
    app.text_area(key="case_new_notes").set_value(notes)
    return app.button(key="case_keep").click().run()


def shelf(tmp_path) -> Cases:
    (folder,) = (tmp_path / "runs" / "cases").iterdir()
    return Cases(folder)


def test_a_kept_case_is_found_again_by_its_owner_alone_with_all_that_it_held(page, cells, tmp_path):
    app = three(page(), cells)
    app.number_input(key="single_um_per_px").set_value(0.095).run()
    app.button(key="measure_all").click().run()
    keep(app)
    assert not app.exception
    said = texts(app)
    (case,) = shelf(tmp_path).shelf().cases
    assert app.query_params["case"] == case.id
    again = page()
    assert "Patient 7" in "".join(button.label for button in again.button)
    again.button(key=f"open_{case.id}").click().run()
    assert not again.exception
    assert words(again) == words(app) == ["1 cell, good", "failed", "1 cell, good"]
    assert again.number_input(key="single_um_per_px").value == 0.095
    assert texts(again) == said
    other = page(OTHER, case=case.id)
    assert "there is no such case here" in texts(other)
    assert not tray(other)
    assert "Patient 7" not in "".join(button.label for button in other.button)


def test_a_single_image_is_kept_without_a_tray_before(page, cells, tmp_path):
    app = upload(page(), ("a.png", cells[0]))
    app.button(key="calculate").click().run()
    keep(app)
    assert not app.exception
    assert words(app) == ["1 cell, good"]
    (case,) = shelf(tmp_path).shelf().cases
    assert shelf(tmp_path).original(case.id, case.images[0]) == cells[0]
    assert page(case=case.id).session_state["leukoscope_analysis"].image.name == "a.png"


def test_later_changes_are_saved_on_their_own(page, cells, tmp_path):
    app = keep(upload(page(), ("a.png", cells[0]), ("b.png", cells[1])))
    app.button(key="measure_all").click().run()
    app.number_input(key="single_um_per_px").set_value(0.1).run()
    next(area for area in app.text_area if area.label.startswith("Notes on a")).set_value("odd").run()
    next(field for field in app.text_input if field.label == "Title").set_value("Patient *8*").run()
    upload(app, ("c.png", cells[2]))
    assert not app.exception
    (case,) = shelf(tmp_path).shelf().cases
    assert case.title == "Patient *8*"
    assert [(one.name, one.cells, one.notes) for one in case.images] == [
        ("a.png", 1, "odd"),
        ("b.png", 1, ""),
        ("c.png", 0, ""),
    ]
    assert case.images[0].scale.um_per_px == 0.1
    app.button(key="tray_drop").click().run()
    assert [one.name for one in shelf(tmp_path).open(case.id).images] == ["a.png", "b.png"]


def test_words_of_another_window_are_not_overwritten_unnoticed(page, cells, tmp_path):
    app = keep(upload(page(), ("a.png", cells[0]), ("b.png", cells[1])))
    cases = shelf(tmp_path)
    (case,) = cases.shelf().cases
    cases.rename(case, case.title, "by the other window")
    notes = next(area for area in app.text_area if area.label == "Notes")
    notes.set_value("mine").run()
    assert "changed in another window" in texts(app)
    assert cases.open(case.id).notes == "by the other window"


def test_a_damaged_image_of_a_case_is_told_and_the_others_open(page, cells, tmp_path):
    app = keep(upload(page(), ("a.png", cells[0]), ("b.png", cells[1])))
    app.button(key="measure_all").click().run()
    cases = shelf(tmp_path)
    (case,) = cases.shelf().cases
    (cases.folder / case.id / "cells" / case.images[0].cells_file).write_bytes(b"torn")
    again = page(case=case.id)
    assert not again.exception
    assert "file of measured cells is damaged" in texts(again)
    on(again)
    assert again.session_state["leukoscope_analysis"].image.name == "b.png"


def test_a_cell_without_its_picture_is_shown_and_not_corrected_or_measured(page, cells, tmp_path):
    app = keep(upload(page(), ("a.png", cells[0]), ("b.png", cells[1])))
    app.button(key="measure_all").click().run()
    cases = shelf(tmp_path)
    (case,) = cases.shelf().cases
    packed = cases.cells(case.id, case.images[0])
    cases.drop(case.id, case.images[0].sha256)
    cases.put(case.id, replace(case.images[0], size=0, cells_file=""), None, packed)
    again = on(page(case=case.id))
    assert not again.exception
    assert "the picture itself is not at hand" in texts(again)
    assert "N:C area ratio" in texts(again)
    assert again.button(key="calculate").disabled
    assert not [toggle for toggle in again.toggle if toggle.key == "correct_outline"]


def test_a_case_is_closed_and_deleted(page, cells, tmp_path):
    app = keep(upload(page(), ("a.png", cells[0]), ("b.png", cells[1])))
    app.button(key="case_close").click().run()
    assert "No image yet" in texts(app)
    assert "case" not in app.query_params
    (case,) = shelf(tmp_path).shelf().cases
    app.button(key=f"open_{case.id}").click().run()
    assert not [button for button in app.button if button.key == "case_delete"], "it is asked first"
    app.toggle(key=f"case_delete_ask_{case.id}").set_value(True).run()
    app.button(key="case_delete").click().run()
    assert not app.exception
    assert "No image yet" in texts(app)
    assert shelf(tmp_path).shelf().cases == ()
    assert "there is no such case here" in texts(page(case=case.id))


# --- side by side, and for taking away ---


def test_two_cells_stand_side_by_side_on_one_scale_with_their_differences(page, cells):
    app = upload(page(), ("a.png", cells[0]), ("b.png", cells[1]))
    app.button(key="measure_all").click().run()
    assert component(app, "two_viewer") is None
    app.selectbox(key="tray_beside").set_value(f"{hashlib.sha256(cells[1]).hexdigest()}#0").run()
    assert not app.exception
    assert len(component(app, "two_viewer")["pictures"]) == 2
    said = texts(app)
    assert "neither scale is known" in said
    assert re.search(r"\d % (larger|smaller) in pixels", said)
    app.number_input(key="single_um_per_px").set_value(0.095).run()
    assert "cannot be compared: one scale is unknown" in texts(app)
    app.button(key="tray_scale").click().run()
    assert "a micrometre is as long in both pictures" in texts(app)
    on(app)
    assert component(app, "two_viewer") is None, "no cell stands beside itself"
    app.button(key="tray_back").click().run()
    assert component(app, "two_viewer") is not None


def test_a_case_is_taken_away_as_a_table_and_a_report(page, cells, tmp_path):
    app = keep(three(page(), cells))
    assert not [b for b in app.get("download_button") if b.label == "Report (HTML)"], "nothing is measured"
    app.button(key="measure_all").click().run()
    assert not app.exception
    offered = {b.label for b in app.get("download_button")}
    assert {"Report (HTML)", "Table (CSV)", "Table (CSV for Excel)", "Table (Parquet)"} <= offered
    assert "Sizes in pixels: not every image has a scale." in texts(app)
    table = pd.read_csv(io.BytesIO(_content(app, "Table (CSV)")))
    assert table["image_path"].tolist() == ["a.png", "c.png"]
    report = _content(app, "Report (HTML)").decode()
    assert report.count("nucleus solid") == 2
    assert "could not be measured: bad.png: expected" in report


def _content(app, label: str) -> bytes:
    """What a button for a file gives that is made when it is asked for."""
    cases = cases_of(person())
    made = taking.makers(cases, cases.shelf().cases[0], Units.PIXELS)
    return next(make for name, _, _, make in made if name == label)()


def person() -> Owner:
    return Owner(load_settings().runs / "batch", f"browser {ME}")


def test_recent_cases_are_those_that_changed_last(page, cells, tmp_path):
    assert recent_cases(person(), 3) == []
    cases = cases_of(person())
    made = [cases.create(title) for title in ("one", "two", "three")]
    cases.rename(made[0], "one, again", "")
    assert [case.title for case in recent_cases(person(), 2)] == ["one, again", "three"]
