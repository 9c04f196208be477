import shutil

from core.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.inference.model_registry import find_model
from tests.pages.conftest import table, texts
from tests.populations import AREA, ELONGATION

PAGE = "pages/4_Model_selection.py"


def test_the_card_is_told_in_words_with_scores_and_curves(open_page):
    app = open_page(PAGE)
    card = find_model().card
    said = texts(app)
    assert card.intended_use in said
    assert card.limits in said
    assert "The file is the exported one" in said
    assert "**Runs on**" in said
    scores = table(app, "Dice")
    assert set(scores["Part"]) == {"nucleus", "cytoplasm", "cell"}
    assert scores["Dice"].between(0, 1).all()
    assert len(app.get("vega_lite_chart")) == 3
    assert "published, not measured here" in said


def test_every_grade_is_listed_and_can_be_searched(open_page, graded_models):
    graded_models({AREA: Grade.POOR, ELONGATION: Grade.MODERATE})
    app = open_page(PAGE)
    assert not app.exception
    assert f"**{len(CATALOGUE) - 2} good**, **1 moderate** and **1 poor**" in texts(app)
    found = table(app, "ICC")
    assert len(found) == len(CATALOGUE)
    assert found["Feature"].iloc[-1] == "Nucleus area"
    app.text_input(key="reliability_words").set_value("nucleus elongation").run()
    assert set(table(app, "ICC")["Trust"]) >= {"moderate"}
    assert len(table(app, "ICC")) < 20
    app.button_group(key="reliability_grades").set_value([Grade.POOR]).run()
    assert table(app, "ICC").empty


def test_without_a_measurement_the_page_says_so(open_page, graded_models):
    graded_models(None)
    app = open_page(PAGE)
    assert not app.exception
    assert "Not yet measured for this model" in app.info[0].value


def test_a_replaced_model_file_is_noticed(open_page, monkeypatch, tmp_path):
    model = find_model()
    folder = tmp_path / "models"
    shutil.copytree(model.path.parent, folder)
    (folder / model.path.name).write_bytes(b"something else")
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(folder))
    app = open_page(PAGE)
    assert not app.exception
    assert "should have SHA-256" in app.error[0].value


def test_without_a_model_the_published_comparison_is_still_there(open_page, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path))
    app = open_page(PAGE)
    assert not app.exception
    assert "no model" in app.error[0].value
    assert "Published comparison of architectures" in texts(app)
