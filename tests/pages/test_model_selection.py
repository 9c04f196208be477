import json
import shutil

import pytest

from core.evaluation import model_selection as results
from core.evaluation.agreement import Grade
from core.evaluation.model_comparison import Measure
from core.features.catalogue import CATALOGUE
from core.segmentation.model_registry import find_model, load_manifest, write_manifest
from tests.pages.conftest import read, table, texts
from tests.populations import AREA, ELONGATION
from tests.selection_runs import LEVELS, write_run

PAGE = "pages/4_Model_selection.py"
MODEL = "The model in use"
TRAININGS = "Trainings on this computer"


@pytest.fixture
def open_view(open_page):
    """Open the page in one of its views."""

    def visit(view):
        return open_page(PAGE).button_group(key="models_view").set_value(view).run()

    return visit


@pytest.fixture
def selection(monkeypatch, tmp_path):
    """Folder of results, empty at first."""
    folder = tmp_path / "model_selection"
    monkeypatch.setenv("LEUKOSCOPE_SELECTION", str(folder))
    return folder


def charts(app):
    return len(app.get("vega_lite_chart"))


def test_the_page_opens_with_the_answer(open_page, selection):
    write_run(selection)
    app = open_page(PAGE)
    assert not app.exception
    said = texts(app)
    assert (
        "UNet leads with a Dice of 0.950, 1.0 points before FPN. It is better than every other by more than chance."
        in said
    )
    assert "Zheng 2018, set 2" in said
    assert "Holm" in said
    assert list(table(app, "Folds")["Network"]) == ["UNet", "FPN", "PSPNet"]
    assert len(table(app, "Chance of a practical tie")) == 3
    assert charts(app) == 4  # ranking, differences, leak, curves; no cost was measured
    assert "`python -m export.cost` exports every network of drawn" in "".join(info.value for info in app.info)
    app.button_group(key="selection_measure").set_value(Measure.CYTOPLASM).run()
    assert "UNet leads with a Dice of 0.940" in texts(app)


def test_the_protocol_switch_shows_the_leak(open_page, selection):
    write_run(selection)
    app = open_page(PAGE)
    assert "**UNet**: +2.00 points on the 20 originals" in texts(app)
    app.button_group(key="selection_protocol_drawn").set_value("as-published").run()
    assert not app.exception
    assert "UNet reaches a Dice of 0.970 over 5 folds" in texts(app)


def test_an_unfinished_run_tells_how_far_it_is_and_what_failed(open_page, selection):
    write_run(selection, skip=[("pspnet", 5), ("fpn", 5)], failed=[("fpn", 4)])
    app = open_page(PAGE)
    assert not app.exception
    assert "18 of 20 folds are done" in read(app.info[0].value)
    assert "FPN, fold 4 of 5: the loss was nan" in read(app.warning[0].value)
    assert set(table(app, "Folds")["Folds"]) == {3}


def test_a_run_without_a_common_fold_is_no_ranking_yet(open_page, selection):
    write_run(selection, skip=[(name, fold) for i, name in enumerate(LEVELS) for fold in range(1, 6) if fold != i + 1])
    app = open_page(PAGE)
    assert not app.exception
    assert "No fold is finished by every network yet" in "".join(info.value for info in app.info)


def test_measured_costs_are_drawn(open_page, selection):
    folder = write_run(selection)
    costs = [
        {
            "architecture": name,
            "encoder": "tu-tf_efficientnet_lite0",
            "input_size": 64,
            "parameters": 1000000,
            "macs": 10**9,
        }
        | {
            "onnx_mb": 4.0,
            "milliseconds": 5.0 + i,
            "milliseconds_q1": 4.0,
            "milliseconds_q3": 9.0,
            "torch_milliseconds": 12.0,
        }
        | {"threads": 1, "machine": "a processor", "versions": "{}", "measured": "2026-11-22"}
        for i, name in enumerate(LEVELS)
    ]
    results.write_costs(folder, costs)
    app = open_page(PAGE)
    assert not app.exception
    assert "nobody is both better and cheaper: UNet." in texts(app)
    assert charts(app) == 5
    app.button_group(key="selection_cost").set_value("macs").run()
    assert not app.exception
    assert len(table(app, "PyTorch eager, milliseconds")) == 3


def test_the_persons_own_runs_are_offered(open_page, selection):
    for name in ("mine", "other"):
        write_run(selection, name)
    app = open_page(PAGE)
    assert app.selectbox(key="selection_run").options == ["mine", "other"]
    app.selectbox(key="selection_run").set_value("other").run()
    assert not app.exception


def test_a_damaged_run_is_told_in_words(open_page, selection):
    folder = write_run(selection)
    next(folder.glob("units/*/folds.parquet")).write_bytes(b"no table")
    app = open_page(PAGE)
    assert not app.exception
    assert "is damaged" in read(app.error[0].value)


def test_without_a_run_the_page_says_how_to_make_one_and_shows_the_published(open_page, selection):
    app = open_page(PAGE)
    assert not app.exception
    assert "python -m training select" in texts(app)
    assert len(table(app, "Mean Dice (%)")) == 9
    assert not selection.exists()


def test_the_card_is_told_in_words_with_scores_and_curves(open_view):
    app = open_view(MODEL)
    card = find_model().card
    said = texts(app)
    assert card.intended_use in said
    assert card.limits in said
    assert "The file is the exported one" in said
    assert "**Runs on**" in said
    scores = table(app, "Dice")
    assert set(scores["Part"]) == {"nucleus", "cytoplasm", "cell"}
    assert scores["Dice"].between(0, 1).all()
    # What networks trained alike scored on a laboratory they had never seen stands beside the model's own.
    left_out = scores[(scores["Scored"] == "laboratory left out") & (scores["Part"] == "cytoplasm")]
    validated = {scheme: result["sources"] for scheme, result in card.validation.items()}
    assert list(left_out["Dice"]) == [
        of["cytoplasm"]["dice_mean"] for of in validated.get("leave-one-source-out", {}).values()
    ]
    assert (scores["Scored"] == "cross-validated").sum() == 3 * len(validated.get("grouped", {}))
    assert ("with the laboratory left out" in said) == bool(validated)
    assert charts(app) == 2


def test_every_grade_is_listed_and_can_be_searched(open_view, graded_models):
    graded_models({AREA: Grade.POOR, ELONGATION: Grade.MODERATE})
    app = open_view(MODEL)
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


def test_without_a_measurement_the_page_says_so(open_view, graded_models):
    graded_models(None)
    app = open_view(MODEL)
    assert not app.exception
    assert "Not yet measured for this model" in read(app.info[0].value)


def test_what_the_model_refuses_is_listed_and_without_knowledge_the_page_says_so(open_view, monkeypatch, tmp_path):
    app = open_view(MODEL)
    assert not app.exception
    assert {"photograph", "platelet", "erythroblast", "tissue section"} <= set(table(app, "Refused")["Shown"])
    assert "leukocytes **" in texts(app)
    model = find_model()
    folder = tmp_path / "models"
    shutil.copytree(model.path.parent, folder)
    manifest = load_manifest(folder)
    del manifest["models"][model.model_id]["novelty"]
    write_manifest(manifest, folder)
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(folder))
    app = open_view(MODEL)
    assert not app.exception
    assert any("Not yet learnt for this model" in info.value for info in app.info)


def test_a_replaced_model_file_is_noticed(open_view, monkeypatch, tmp_path):
    model = find_model()
    folder = tmp_path / "models"
    shutil.copytree(model.path.parent, folder)
    (folder / model.path.name).write_bytes(b"something else")
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(folder))
    app = open_view(MODEL)
    assert not app.exception
    assert "should have SHA-256" in read(app.error[0].value)


def test_without_a_model_the_comparison_is_still_there(open_page, selection, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path / "none"))
    write_run(selection)
    app = open_page(PAGE)
    assert not app.exception
    assert "UNet leads" in texts(app)
    app.button_group(key="models_view").set_value(MODEL).run()
    assert not app.exception
    assert "no model" in read(app.error[0].value)


def test_a_training_is_followed_and_its_end_is_shown(open_view, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_RUNS", str(tmp_path / "runs"))
    app = open_view(TRAININGS)
    assert "No training yet" in texts(app)
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('architecture = "unet"\n')
    rows = [f"{epoch},0.5,0.4,{0.8 + epoch / 100},{0.7 + epoch / 100},0.001,30" for epoch in (1, 2, 3)]
    columns = "epoch,train_loss,val_loss,val_dice_nucleus,val_dice_cytoplasm,learning_rate,seconds"
    (folder / "log.csv").write_text("\n".join([columns, *rows]))
    app = open_view(TRAININGS)
    assert not app.exception
    assert "**Going on**: 3 epochs" in texts(app)
    assert charts(app) == 2
    region = {"dice_mean": 0.9, "dice_std": 0.05, "dice_ci95": [0.88, 0.92]}
    (folder / "scores.json").write_text(json.dumps({"test": {"images": 5, "nucleus": region, "cytoplasm": region}}))
    app = open_view(TRAININGS)
    assert not app.exception
    assert "**Finished**" in texts(app)
    assert "5 images never seen: Dice nucleus 0.900" in texts(app)
