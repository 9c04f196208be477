import io
import re
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from streamlit.testing.v1 import AppTest

from core.charts.rows import MOST_ROWS, POOR_HEADING, part
from core.domain.cell_types import CELL_TYPES
from core.domain.types import FeatureSet, QualityFlag
from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.features.spec import Region, Theme
from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, UM_PER_PX, draw_cell
from core.segmentation.model_registry import find_model
from pages._ui.common.widgets import EXAMPLES
from tests.pages.conftest import read, table, texts
from tests.populations import ELONGATION

PAGE = "pages/1_Single_cell.py"

REPORTS = {"One page (PDF, A4)", "One page (PDF, Letter)", "One page (HTML)", "With all tables (HTML)"}


def _upload(app, data: bytes, name: str = "cell.png", mime: str = "image/png"):
    app.file_uploader[0].set_value((name, data, mime)).run()
    return app


def _measured(app):
    app.button(key="calculate").click().run()
    return app


@pytest.fixture(scope="module")
def png() -> bytes:
    return encode_png(draw_cell(3, SYNTHETIC_CELLS["lymphocyte"])[0].rgb)


def test_empty_page_says_what_to_do_and_offers_one_action(open_page):
    app = open_page(PAGE)
    assert "Drop the image" in texts(app)
    assert app.button(key="calculate").disabled


def test_an_uploaded_cell_is_measured_and_compared(open_page, png):
    app = _upload(open_page(PAGE), png)
    assert "Press **Calculate features**" in texts(app)
    assert not app.button(key="calculate").disabled
    _measured(app)
    assert not app.exception
    assert not app.error
    said = texts(app)
    assert "N:C area ratio" in said
    assert re.search("(Nearest|Unlike every population here) in shape(?! and size)", said), "it has no scale"
    assert "give µm per pixel to compare" in said
    # The drawn populations were outlined by their true masks.
    model = find_model().model_id
    assert f"The outlines are not all by one model: {model} (this cell), true-mask (monocyte drawn; " in said
    assert "`leukoscope cohort rebuild`" in said
    assert len(app.get("vega_lite_chart")) == 2
    assert {b.label for b in app.get("download_button")} == {
        *REPORTS,
        "Features (CSV)",
        "Mask (PNG)",
        "Outlines (PNG)",
    }


def test_only_the_open_tab_is_built_and_each_says_who_its_cells_are(open_page, png):
    app = _measured(_upload(open_page(PAGE), png))
    assert not app.dataframe
    app.session_state["population_tabs"] = "Monocyte"
    app.run()
    assert not app.exception
    assert f"{find_model().model_id} (this cell), true-mask (monocyte drawn). A difference" in texts(app)
    options = app.radio(key="source-monocyte").options
    assert len(options) == 3
    assert "n = 23 cells" in options[0]
    assert "7 patients" in options[1]
    assert "published table" in options[2]
    assert len(app.get("vega_lite_chart")) == 2
    found = table(app, "Percentile")
    assert {"This cell", "Percentile", "Mean", "SD", "Meaning"} <= set(found.columns)
    assert "left out for their quality" in texts(app)


def test_what_to_compare_is_asked_by_theme_and_region(open_page, png):
    app = _measured(_upload(open_page(PAGE), png))
    app.number_input(key="single_um_per_px").set_value(0.095)
    app.session_state["population_tabs"] = "Monocyte"
    app.run()
    assert len(table(app, "Percentile")) == len(part(Theme.SHAPE))
    app.button_group(key="part_theme").set_value(Theme.COLOUR).run()
    app.button_group(key="part_region-COLOUR").set_value(Region.ENVIRONMENT).run()
    assert not app.exception
    shown = table(app, "Percentile")
    assert set(shown["Feature"]) == {CATALOGUE[name].label for name in part(Theme.COLOUR, Region.ENVIRONMENT)}
    assert _rows_drawn(app) == MOST_ROWS
    assert not any(group.key == "view-monocyte" for group in app.button_group), "the thesis has no colour"
    app.toggle(key="all-monocyte").set_value(True).run()
    assert MOST_ROWS < _rows_drawn(app) <= len(shown)
    app.session_state["population_tabs"] = "Lymphocyte"
    app.run()
    assert app.button_group(key="part_theme").value == Theme.COLOUR, "the question stays while the population changes"


def _rows_drawn(app) -> int:
    text = "".join(chart.proto.spec for chart in app.get("vega_lite_chart"))
    return sum(f'"{name}"' in text for name in CATALOGUE)


def test_poor_features_are_marked_and_decide_nothing(open_page, graded_models, png):
    graded_models({ELONGATION: Grade.POOR})
    app = _measured(_upload(open_page(PAGE), png))
    said = texts(app)
    assert "The 1 poor ones" not in said
    assert "The 1 poor one comes last" in said
    assert "Nucleus elongation (poor)" in said
    assert POOR_HEADING in "".join(chart.proto.spec for chart in app.get("vega_lite_chart"))
    app.session_state["population_tabs"] = "Monocyte"
    app.run()
    assert not app.exception
    shown = table(app, "Percentile")
    assert shown[["Feature", "Trust"]].iloc[-1].tolist() == ["Nucleus elongation", "poor"]


def test_without_a_measured_reliability_nothing_is_marked_and_the_page_says_so(open_page, graded_models, png):
    graded_models(None)
    app = _measured(_upload(open_page(PAGE), png))
    assert not app.exception
    assert "not yet measured for this model" in texts(app)
    assert POOR_HEADING not in "".join(chart.proto.spec for chart in app.get("vega_lite_chart"))


def test_another_source_and_the_published_view_can_be_chosen(open_page, png):
    app = _measured(_upload(open_page(PAGE), png))
    app.session_state["population_tabs"] = "Monocyte"
    app.run()
    app.radio(key="source-monocyte").set_value(2).run()
    assert not app.exception
    assert set(table(app, "Percentile")["n"].dropna()) == {566.0}
    app.radio(key="source-monocyte").set_value(0).run()
    app.button_group(key="view-monocyte").set_value("As published (log axis)").run()
    assert not app.exception
    assert '"log"' in app.get("vega_lite_chart")[0].proto.spec


def test_a_small_group_is_points_with_a_warning(open_page, png):
    app = _measured(_upload(open_page(PAGE), png))
    app.session_state["population_tabs"] = CELL_TYPES["hcl"].name
    app.run()
    assert not app.exception
    assert "Only 5 cells" in read(app.warning[0].value)
    assert table(app, "Percentile")["Percentile"].isna().all()


def test_a_scale_given_later_needs_no_new_outlines(open_page, png):
    app = _measured(_upload(open_page(PAGE), png))
    before = app.session_state["leukoscope_analysis"]
    assert "px²" in texts(app)
    app.number_input(key="single_um_per_px").set_value(0.095).run()
    assert not app.exception
    assert app.session_state["leukoscope_analysis"] is before
    assert "µm²" in texts(app)


def test_the_result_survives_a_change_of_page(open_page, png):
    app = _measured(_upload(open_page(PAGE), png, name="kept.png"))
    app.switch_page("pages/4_Model_selection.py").run()
    app.switch_page(PAGE).run()
    assert not app.exception
    assert "kept.png" in texts(app)
    assert len(app.get("vega_lite_chart")) == 2


def test_several_uploads_one_after_another(open_page, png):
    app = _measured(_upload(open_page(PAGE), png, name="first.png"))
    other = encode_png(draw_cell(4, SYNTHETIC_CELLS["monocyte"])[0].rgb)
    _upload(app, other, name="second.png")
    assert "first.png" not in texts(app), "the old result must not stand beside a new image"
    _measured(app)
    assert app.session_state["leukoscope_analysis"].image.name == "second.png"
    assert "second.png" in texts(app)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_drawn_and_say_so(open_page, name):
    app = open_page(PAGE)
    app.menu_button(key="single_example").click(name).run()
    _measured(app)
    assert not app.exception
    assert not app.error
    assert "drawn by the program, no real cell" in texts(app)
    assert app.number_input(key="single_um_per_px").value == pytest.approx(0.095)


def test_an_example_takes_the_place_of_an_upload(open_page, png):
    app = _measured(_upload(open_page(PAGE), png, name="before.png"))
    app.menu_button(key="single_example").click("monocyte").run()
    assert app.file_uploader[0].value == []
    assert "before.png" not in texts(app)
    _measured(_upload(app, png, name="after.png"))
    assert "after.png" in texts(app)
    assert "drawn by the program" not in texts(app)


@pytest.mark.parametrize(("held_a_file", "stays"), [(False, True), (True, False)])
def test_only_a_field_that_held_a_file_takes_the_image_away_when_it_is_empty(held_a_file, stays):
    """A field that was just made says that it is empty, and says so too late when one clicks at once."""

    def page(held_a_file: bool) -> None:
        import streamlit as st

        from pages._ui.common import widgets
        from pages._ui.common.state import CHOSEN, UPLOADED_IN, Chosen

        CHOSEN.set(Chosen("example.png", b"", example=True))
        if held_a_file:
            UPLOADED_IN.set(widgets._upload_key())
        widgets._take_upload(lambda *_: False)
        st.text(CHOSEN.get() is not None)

    app = AppTest.from_function(page, kwargs={"held_a_file": held_a_file}).run()
    assert app.text[0].value == str(stays)


def test_a_scale_of_one_image_does_not_reach_the_next(open_page, png):
    app = open_page(PAGE)
    app.menu_button(key="single_example").click("monocyte").run()
    app = _upload(app, png)
    assert app.number_input(key="single_um_per_px").value is None
    # One that a person typed is that of the laboratory, and stays.
    app.number_input(key="single_um_per_px").set_value(0.12).run()
    app = _upload(app, png, name="second.png")
    assert app.number_input(key="single_um_per_px").value == pytest.approx(0.12)
    # So does an example's that was changed.
    app.menu_button(key="single_example").click("lymphocyte").run()
    app.number_input(key="single_um_per_px").set_value(0.11).run()
    app = _upload(app, png, name="third.png")
    assert app.number_input(key="single_um_per_px").value == pytest.approx(0.11)


def test_an_image_without_a_cell_is_said_and_not_compared(open_page, png):
    app = _measured(_upload(open_page(PAGE), png))
    analysis = app.session_state["leukoscope_analysis"]
    nothing = dict.fromkeys(analysis.features.values)
    app.session_state["leukoscope_analysis"] = replace(
        analysis,
        segmentation=replace(analysis.segmentation, labels=np.zeros_like(analysis.segmentation.labels)),
        features=FeatureSet(nothing, dict.fromkeys(nothing, "no cell was found")),
        flags=(QualityFlag("no_cell", "No cell was found: nothing can be measured.", severe=True),),
    )
    app.run()
    assert not app.exception
    said = texts(app)
    assert "No cell was found" in said
    assert "Nearest" not in said
    assert not app.get("vega_lite_chart")


def test_examples_are_those_of_the_engine():
    assert set(EXAMPLES) == set(SYNTHETIC_CELLS)


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


BAD = {
    "empty.png": (b"", "empty"),
    "text.png": (b"this is no image at all", "plain text"),
    "cut.jpg": (_encoded(Image.new("RGB", (300, 300), "pink"), "JPEG")[:700], "damaged or cut short"),
    "bomb.png": (_encoded(Image.new("1", (20000, 20000)), "PNG"), "pixels"),
    "dot.png": (_encoded(Image.new("RGB", (1, 1)), "PNG"), "at least"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_their_message_and_the_app_goes_on(open_page, png, name):
    data, words = BAD[name]
    app = _upload(open_page(PAGE), data, name)
    assert not app.exception
    assert words in read(app.error[0].value)
    _measured(_upload(app, png))
    assert not app.error
    assert len(app.get("vega_lite_chart")) == 2


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "white.png",
            lambda _: _encoded(Image.new("RGB", (300, 300), "white"), "PNG"),
            ("No cell was found", "over-exposed"),
        ),
        ("cmyk.jpg", lambda cell: _encoded(cell.convert("CMYK"), "JPEG"), ("converted from CMYK",)),
        ("grey.png", lambda cell: _encoded(cell.convert("L"), "PNG"), ("no colour",)),
        ("../../=cmd().png", lambda cell: _encoded(cell, "PNG"), ("=cmd().png",)),
    ],
)
def test_odd_images_are_taken_with_a_word(open_page, png, name, change, words):
    app = _measured(_upload(open_page(PAGE), change(Image.open(io.BytesIO(png))), name))
    assert not app.exception
    assert not app.error
    said = texts(app)
    assert any(word in said for word in words)
    assert "../" not in said


def test_without_a_model_the_page_says_so(open_page, png, monkeypatch, tmp_path):
    app = _upload(open_page(PAGE), png)
    monkeypatch.setenv("LEUKOSCOPE_SHIPPED_MODELS", str(tmp_path))
    _measured(app)
    assert not app.exception
    assert "no model" in read(app.error[0].value)


def test_without_any_population_the_cell_is_still_measured(open_page, png, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(tmp_path))
    app = _measured(_upload(open_page(PAGE), png))
    assert not app.exception
    assert "no population to compare with" in texts(app)
    assert "make cohort" in read(app.info[0].value)


# --- fields ---


@pytest.fixture(scope="module")
def field_png_file() -> bytes:
    """Four drawn cells, two rows of two, and half of a fifth at the right edge."""
    rows = [np.concatenate([draw_cell(seed)[0].rgb for seed in seeds], axis=1) for seeds in ((0, 1, 4), (2, 3, 0))]
    rows[1][:, 720:] = rows[1][0, 0]
    return encode_png(np.concatenate(rows)[:, :-180])


def _cell_list(app):
    return next(frame for frame in app.dataframe if "Certainty" in frame.value.columns)


def _choose_row(app, row: int):
    app.session_state[_cell_list(app).key] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    return app.run()


def test_every_cell_of_a_field_is_listed_and_the_chosen_one_has_the_full_card(open_page, field_png_file):
    app = _measured(_upload(open_page(PAGE), field_png_file, name="field.png"))
    assert not app.exception
    assert not app.error
    assert "5 cells in this field, 1 left out" in texts(app)
    shown = _cell_list(app).value
    assert list(shown["Cell"]) == [1, 2, 3, 4, 5]
    assert list(shown["Quality"]) == ["good", "good", "left out", "good", "good"]
    assert "Cell px²" in shown.columns
    assert "cell 2, a cut-out of" in texts(app), "the cell nearest the middle comes first"
    _choose_row(app, 2)
    said = texts(app)
    assert "cell 3, a cut-out of" in said
    assert "The image edge cuts the cell" in said
    assert "N:C area ratio" in said
    assert len(app.get("vega_lite_chart")) == 2
    assert {b.label for b in app.get("download_button")} >= {
        "All cells (CSV)",
        "All masks (ZIP)",
        "Numbered cells (PNG)",
        *REPORTS,
    }


def test_the_choice_of_a_cell_survives_reruns_a_new_scale_and_a_change_of_page(open_page, field_png_file):
    app = _choose_row(_measured(_upload(open_page(PAGE), field_png_file, name="field.png")), 3)
    app.number_input(key="single_um_per_px").set_value(0.095).run()
    assert "cell 4, a cut-out of" in texts(app)
    area = _cell_list(app).value["Cell µm²"]
    assert area.between(100, 400).iloc[[0, 1, 3, 4]].all()
    app.switch_page("pages/4_Model_selection.py").run()
    app.switch_page(PAGE).run()
    assert not app.exception
    assert "5 cells in this field" in texts(app)
    assert "cell 4, a cut-out of" in texts(app)


def test_another_image_takes_the_place_of_a_field(open_page, field_png_file, png):
    app = _choose_row(_measured(_upload(open_page(PAGE), field_png_file, name="field.png")), 4)
    _measured(_upload(app, png, name="one.png"))
    assert not app.exception
    assert "in this field" not in texts(app)
    _measured(_upload(app, field_png_file, name="again.png"))
    assert "cell 2, a cut-out of" in texts(app), "a choice belongs to its field"


def test_every_cell_can_be_asked_for_where_the_image_shows_one_and_its_neighbour(open_page):
    """A neighbour is left aside of a centred cell, until the person wants it too."""
    two = np.concatenate([draw_cell(seed)[0].rgb[:, 60:300] for seed in (0, 1)], axis=1)
    app = _measured(
        _upload(open_page(PAGE), encode_png(np.pad(two, ((0, 0), (170, 0), (0, 0)), mode="edge")), name="two.png")
    )
    assert "in this field" not in texts(app)
    app.button(key="every_cell").click().run()
    assert not app.exception
    assert "2 cells in this field" in texts(app)


def test_the_scale_that_the_file_states_is_offered_and_taken(open_page):
    buffer = io.BytesIO()
    rgb = draw_cell(3, SYNTHETIC_CELLS["lymphocyte"])[0].rgb
    metadata = {"PhysicalSizeX": 0.095, "PhysicalSizeY": 0.095}
    tifffile.imwrite(buffer, np.asarray(rgb), ome=True, photometric="rgb", metadata=metadata)
    app = _upload(open_page(PAGE), buffer.getvalue(), "cell.ome.tif", "image/tiff")
    assert app.button(key="use_file_scale").label == "Use 0.095 µm per pixel, as the file says (OME metadata)"
    _measured(app)
    assert "the file says 0.095 µm per pixel" in texts(app)
    assert "give µm per pixel to compare" in texts(app)
    app.button(key="use_file_scale").click().run()
    assert app.number_input[0].value == 0.095
    said = texts(app)
    assert "give µm per pixel to compare" not in said
    assert "the file says 0.095 µm per pixel" not in said
    assert not [button for button in app.button if button.key == "use_file_scale"]
    app.number_input[0].set_value(1.0).run()
    said = texts(app)
    assert "1 µm per pixel given, 0.095 in the file" in said
    assert "With 1 µm per pixel what was outlined is" in said


def test_red_cells_hint_at_a_scale_which_comes_with_its_range(open_page, png):
    app = _measured(_upload(open_page(PAGE), png))
    assert "to compare" in texts(app)
    hint = app.button(key="use_red_cells")
    said = re.fullmatch(
        r"Use about (0\.\d+) µm per pixel, from \d red cells of this image \(one image may be 15 % off\)", hint.label
    )
    hint.click().run()
    assert not app.exception
    assert app.number_input(key="single_um_per_px").value == float(said[1]) == pytest.approx(UM_PER_PX, rel=0.15)
    assert re.search(r"µm² \([\d.]+ to [\d.]+\)", texts(app))
    assert not [button for button in app.button if button.key == "use_red_cells"]
    # Whoever types a scale knows it.
    app.number_input(key="single_um_per_px").set_value(0.11).run()
    assert not re.search(r"µm² \(", texts(app))


def test_a_scale_is_kept_under_a_name_and_taken_by_it(open_page, png):
    app = _measured(_upload(open_page(PAGE), png))
    app.button(key="use_red_cells").click().run()
    assert "red cells of one image" in texts(app)
    hinted = app.number_input(key="single_um_per_px").value
    app.text_input(key="single_um_per_px_name").set_value("*Our* lab").run()
    app.button(key="single_um_per_px_keep").click().run()
    assert not app.exception
    app.number_input(key="single_um_per_px").set_value(0.2).run()
    named = app.selectbox(key="single_um_per_px_of")
    assert named.options[0] == f"*Our* lab: {hinted} µm per pixel, within 15 %"
    assert any("MLL23" in option for option in named.options)
    named.set_value("*Our* lab").run()
    assert app.number_input(key="single_um_per_px").value == hinted
    assert re.search(r"µm² \(", texts(app)), "its error came along"


def test_scales_that_cannot_be_read_are_told_and_nothing_else_fails(open_page, tmp_path):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "scales.json").write_text("{")
    app = open_page(PAGE)
    assert not app.exception
    assert "the scales of laboratories cannot be read" in texts(app)
