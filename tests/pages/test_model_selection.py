import json
import shutil
import time

import pytest

from core.evaluation import model_selection as results
from core.evaluation.adaptation import ACCOUNT_FILE, save
from core.evaluation.adapting import Adapting, Doing
from core.evaluation.agreement import Grade
from core.evaluation.model_comparison import Measure
from core.features.catalogue import CATALOGUE
from core.segmentation.model_registry import find_model, load_manifest, use_model, write_manifest
from pages._ui.common import model_in_use
from tests.accounts import difference, made_account
from tests.pages.conftest import read, table, texts
from tests.populations import AREA, ELONGATION
from tests.selection_runs import LEVELS, write_run

PAGE = "pages/4_Model_selection.py"
MODEL = "The model in use"
TRAININGS = "Trainings on this computer"
TEACH = "Teach it your laboratory"


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


def test_two_folds_have_no_interval_and_no_test(open_page, selection):
    write_run(selection, skip=[(name, fold) for name in LEVELS for fold in (3, 4, 5)])
    app = open_page(PAGE)
    assert not app.exception
    said = texts(app)
    assert "2 folds say nothing of chance: 3 are needed at least" in said
    assert "no interval of fewer than 3 folds" in said
    assert "Holm" not in said
    assert "A fold is scored on as few as 4 images" in read(app.warning[-1].value)


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


@pytest.fixture
def own_models(monkeypatch, tmp_path):
    """A folder of one's own with the shipped model's twin, `mine`, which has other grades of trust."""
    model, folder = find_model(), tmp_path / "own"
    shutil.copytree(model.path.parent, folder)
    row = load_manifest(folder)["models"][model.model_id]
    del row["reliability"]
    write_manifest({"models": {"mine": row}}, folder)
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(folder))
    return folder


def test_another_model_can_be_looked_at_and_taken_from_now_on(open_view, own_models):
    shipped = find_model().model_id
    app = open_view(MODEL)
    choice = app.selectbox(key="model_shown")
    assert choice.options == ["mine (your own)", f"{shipped} (shipped)"]
    assert choice.value == shipped
    assert "**In use.**" in texts(app)
    assert not [button for button in app.button if button.key == "use-model"]
    app.selectbox(key="model_shown").set_value("mine").run()
    assert not app.exception
    assert "### mine" in texts(app)
    assert f"In place of {shipped}: for everybody who works with this program here" in texts(app)
    assert any("Not yet measured for this model" in info.value for info in app.info)
    assert find_model().model_id == shipped
    app.button(key="use-model").click().run()
    assert not app.exception
    assert find_model().model_id == load_manifest(own_models)["default"] == "mine"
    assert app.selectbox(key="model_shown").value == "mine"
    assert "**In use.**" in texts(app)
    assert not [button for button in app.button if button.key == "use-model"]
    assert "**Model** mine" in texts(open_view(MODEL).switch_page("Home.py").run())


def test_what_the_pages_keep_follows_the_model_in_use(own_models):
    shipped, before = find_model(), model_in_use.segmenter()
    assert model_in_use.segmenter() is before
    assert model_in_use.reliability()
    use_model("mine")
    assert model_in_use.default_model().path.parent == own_models
    assert model_in_use.segmenter() is not before
    assert model_in_use.reliability() == {}
    assert model_in_use.reliability(shipped)
    use_model(shipped.model_id)
    assert model_in_use.segmenter() is before


def test_a_damaged_model_is_not_taken(open_view, own_models):
    (own_models / find_model().path.name).write_bytes(b"something else")
    app = open_view(MODEL)
    app.selectbox(key="model_shown").set_value("mine").run()
    app.button(key="use-model").click().run()
    assert not app.exception
    assert "should have SHA-256" in read(app.error[0].value)
    assert find_model().model_id != "mine"


def test_when_the_chosen_model_is_gone_another_can_be_chosen(open_view, own_models):
    write_manifest(load_manifest(own_models) | {"default": "former"}, own_models)
    app = open_view(MODEL)
    assert not app.exception
    assert "In place of one that is not there any more" in texts(app)
    app.button(key="use-model").click().run()
    assert not app.exception
    assert find_model().model_id == "mine"
    assert "**In use.**" in texts(app)


def test_without_a_model_the_comparison_is_still_there(open_page, selection, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_SHIPPED_MODELS", str(tmp_path / "none"))
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
    assert not any(expander.label.startswith("Warnings") for expander in app.expander)
    line = "2026-11-29T10:00:00+00:00 {} *set1*/a: the mask lies beside the cell"
    (folder / "messages.log").write_text("\n".join([line.format("INFO"), *[line.format("WARNING")] * 101]))
    region = {"dice_mean": 0.9, "dice_std": 0.05, "dice_ci95": [0.88, 0.92]}
    (folder / "scores.json").write_text(json.dumps({"test": {"images": 5, "nucleus": region, "cytoplasm": region}}))
    app = open_view(TRAININGS)
    assert not app.exception
    assert "**Finished**" in texts(app)
    assert "5 images never seen: Dice nucleus 0.900 ± 0.050 (0.880 to 0.920)" in texts(app)
    (warnings,) = [expander for expander in app.expander if expander.label == "Warnings (101)"]
    assert read(warnings.markdown[0].value).count("*set1*/a: the mask lies beside the cell") == 100
    assert "1 more in" in warnings.caption[0].value
    region["dice_ci95"] = []
    (folder / "scores.json").write_text(json.dumps({"test": {"images": 1, "nucleus": region, "cytoplasm": region}}))
    assert "1 image never seen: Dice nucleus 0.900 ± 0.050 (no interval)" in texts(open_view(TRAININGS))


# --- teaching ---


@pytest.fixture
def teaching(monkeypatch, tmp_path):
    """Folders of runs and of images to choose from, empty at first."""
    monkeypatch.setenv("LEUKOSCOPE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LEUKOSCOPE_ROOTS", str(tmp_path / "images"))
    return tmp_path


def test_without_corrected_cells_the_page_says_where_they_come_from(open_view, teaching):
    app = open_view(TEACH)
    assert not app.exception
    assert "No corrected cells yet" in texts(app)


def test_an_adaptation_is_started_in_a_process_of_its_own_and_its_end_is_told(open_view, teaching):
    folder = teaching / "runs" / "training" / "run-1"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    app = open_view(TEACH)
    assert app.selectbox(key="teach_folder").options == ["training/run-1 (0 images)"]
    app.text_input(key="teach_name").set_value("../out")
    app.button[0].click().run()
    assert "expected a name of at most 60 letters" in "".join(error.value for error in app.error)
    app.text_input(key="teach_name").set_value("lab-1")
    app.button[0].click().run()
    assert not app.exception
    made = Adapting(teaching / "runs" / "lab-1")
    deadline = time.monotonic() + 120
    while made.standing()[0] is Doing.GOING_ON:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    app = open_view(TEACH)
    assert "It stopped before it was done: error" in "".join(warning.value for warning in app.warning)


def test_what_was_gained_is_shown_with_the_model_and_where_it_was_taught(open_view, teaching, own_models):
    (teaching / "runs" / "mine").mkdir(parents=True)
    (teaching / "runs" / "mine" / "process.json").write_text('{"pid": 1, "born": "an earlier boot 1"}')
    account = made_account(known={"set1": {"mean": difference(0.96, 0.958)}})
    save(account, teaching / "runs" / "mine" / ACCOUNT_FILE)
    app = open_view(TEACH)
    assert not app.exception
    said = texts(app)
    assert "+5.0 points (95 % +5.0 to +5.0)" in said
    assert "16 further corrected cells add about" in said or "hardly help" in said
    assert "No longer biased: Nucleus elongation" in said
    assert list(table(app, "Part")["Part"]) == ["nucleus", "nucleus and cytoplasm averaged"]
