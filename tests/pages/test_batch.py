import io
import zipfile

import numpy as np
import pytest

from core.imaging import encode_png
from core.synthetic import draw_cell
from tests.pages.conftest import table, texts

PAGE = "pages/2_Batch.py"


@pytest.fixture(scope="module")
def png() -> bytes:
    return encode_png(draw_cell(3)[0].rgb)


def _run(app, files):
    app.file_uploader(key="batch_upload").set_value(files).run()
    app.button(key="measure_all").click().run()
    return app


def test_nothing_can_be_started_without_images(open_page):
    app = open_page(PAGE)
    assert app.button(key="measure_all").disabled
    assert "Nothing measured yet" in texts(app)


def test_one_bad_image_never_stops_the_rest(open_page, png):
    app = _run(open_page(PAGE), [("a.png", png, "image/png"), ("bad.png", b"text", "image/png"), ("b.png", png, "image/png")])
    assert not app.exception
    assert "2 cells measured" in texts(app)
    assert "1 failed" in texts(app)
    assert list(table(app, "Certainty")["Image"]) == ["a.png", "b.png"]
    failures = table(app, "Why")
    assert list(failures["Image"]) == ["bad.png"]
    assert "plain text" in failures["Why"].iloc[0]
    assert {b.label for b in app.get("download_button")} == {"Features (CSV)", "Features (Parquet)", "Masks (ZIP)"}


def test_a_zip_is_read_and_a_bad_one_says_why(open_page, png):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("folder/in_zip.png", png)
    app = _run(open_page(PAGE), [("cells.zip", buffer.getvalue(), "application/zip")])
    assert list(table(app, "Certainty")["Image"]) == ["in_zip.png"]
    _run(app, [("broken.zip", b"no zip", "application/zip")])
    assert not app.exception
    assert "expected a ZIP" in app.error[0].value


def test_all_failed_is_no_crash(open_page):
    app = _run(open_page(PAGE), [("bad.png", b"text", "image/png")])
    assert not app.exception
    assert "0 cells measured" in texts(app)
    assert len(table(app, "Why")) == 1


def test_only_folders_below_the_data_folder_can_be_chosen(open_page, png, monkeypatch, tmp_path):
    inside, outside = tmp_path / "data" / "cells", tmp_path / "secret"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        (folder / "one.png").write_bytes(png)
    (tmp_path / "data" / "link").symlink_to(outside)
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path / "data"))
    app = open_page(PAGE)
    app.button_group(key="batch_source").set_value("A folder on this computer").run()
    assert app.selectbox(key="batch_folder").options == ["cells"]
    app.button(key="measure_all").click().run()
    assert not app.exception
    assert list(table(app, "Certainty")["Image"]) == ["one.png"]


def test_the_outcome_survives_a_change_of_page(open_page, png):
    app = _run(open_page(PAGE), [("a.png", png, "image/png")])
    app.switch_page("Home.py").run()
    app.switch_page(PAGE).run()
    assert "1 cell measured" in texts(app)


def test_a_field_gives_a_row_for_each_of_its_cells_and_two_masks(open_page, png):
    rows = [np.concatenate([draw_cell(seed)[0].rgb for seed in seeds], axis=1) for seeds in ((0, 1), (2, 3))]
    app = _run(open_page(PAGE), [("one.png", png, "image/png"), ("field.png", encode_png(np.concatenate(rows)), "image/png")])
    assert not app.exception
    assert "5 cells measured" in texts(app)
    shown = table(app, "Certainty")
    assert list(zip(shown["Image"], shown["Cell"], strict=True)) == [("one.png", 1), *(("field.png", number) for number in (1, 2, 3, 4))]
    outcome = app.session_state["leukoscope_batch"]
    found = outcome.table.iloc[1:]
    assert found["cell_index"].tolist() == [0, 1, 2, 3]
    assert list(zip(found["x"] // 360, found["y"] // 360, strict=True)) == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert list(outcome.masks) == ["0001_one.png", "0002_field.png", "0002_field_instances.png"]
    assert {caption.split("  ")[1] for caption, _ in outcome.uncertain} == {"one.png", *(f"field.png, cell {n}" for n in (1, 2, 3, 4))}
