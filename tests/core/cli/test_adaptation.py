"""`leukoscope adapt` from a folder of cells to a model that is listed, with a tiny network."""

import csv
import json
import shutil

import pytest

from core.cli.main import main
from core.evaluation.adaptation import load
from core.segmentation.model_registry import find_model, list_models
from export.__main__ import main as export
from tests.core.cli.test_programs import without_torch
from tests.training.tiny import tiny_config, write_tiny_data
from training.loop import fit


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model that is listed beside the shipped one, and ten corrected cells."""
    root = tmp_path_factory.mktemp("adapting")
    write_tiny_data(root / "data")
    shipped = find_model()
    localiser = shipped.path.with_name(shipped.card.localiser["file"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_DATA", str(root / "data"))
        patch.setenv("LEUKOSCOPE_MODELS", str(root / "models"))
        run = fit(tiny_config(epochs=1), root / "runs" / "tiny").folder
        arguments = [str(run), "--out", str(root / "models" / "tiny.onnx"), "--localiser", str(localiser)]
        assert export([*arguments, "--not-default"]) == 0
    cells = root / "hospital"
    shutil.copytree(root / "data" / "wbc_zheng" / "set2", cells)
    with (cells / "corrections.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("image_id", "blind"), ("lymphocyte-0", True), ("lymphocyte-1", False)])
    (root / "adapt.toml").write_text("images = 8\nbatch_size = 4\nworkers = 0\nthreads = 1\n", encoding="utf-8")
    return root


@pytest.fixture(autouse=True)
def _there(place, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(place / "data"))
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(place / "models"))
    monkeypatch.setenv("LEUKOSCOPE_RUNS", str(place / "runs"))


def _adapt(place, *options):
    out = place / "runs" / "mine"
    command = [
        "adapt",
        str(place / "hospital"),
        "--out",
        str(out),
        "--model",
        "tiny",
        "--config",
        str(place / "adapt.toml"),
    ]
    return main([*command, *options]), out


def test_a_model_is_taught_and_listed_with_its_account(place, capsys):
    code, out = _adapt(place)
    account = load(out / "adaptation.json")
    said = capsys.readouterr().out
    assert "Cells drawn without the model's outline:" in said
    assert f"mine: tiny, taught {account.cells} cells" in said
    if account.refused:  # chance decides of so few steps
        assert code == 1
        assert "mine" not in [entry.model_id for entry in list_models()]
        code, _ = _adapt(place, "--force")
    assert code == 0
    made = find_model("mine")
    assert load(made.adaptation) == load(out / "adaptation.json")
    split = json.loads(made.split.read_text())
    assert "hospital/lymphocyte-0" in split["test"]
    assert made.card.temperature > 0
    assert made.card.localiser


def test_programs_are_given_one_object(place, capsys):
    code, out = _adapt(place, "--force", "--json")  # goes on with what is there
    said = capsys.readouterr()
    assert code == 0
    told = json.loads(said.out)
    assert (told["model_id"], told["base_id"]) == ("mine", "tiny")
    assert told["held_back"]["mean"] == vars(load(out / "adaptation.json").held_back["mean"]) | {
        "ci95": list(load(out / "adaptation.json").held_back["mean"].ci95)
    }
    assert "test, " in said.err


def test_too_few_cells_end_in_a_sentence_before_anything_is_written(place, capsys):
    few = place / "few"
    for part in ("images", "masks"):
        (few / part).mkdir(parents=True, exist_ok=True)
        shutil.copy(place / "hospital" / part / "monocyte-0.png", few / part)
    assert main(["adapt", str(few), "--out", str(place / "runs" / "none"), "--model", "tiny"]) == 2
    assert "expected at least 6 corrected cells of 3 patients or images" in capsys.readouterr().err
    assert not (place / "runs" / "none").exists()


def test_an_unknown_model_is_told(place, capsys):
    assert main(["adapt", str(place), "--out", str(place / "runs" / "none"), "--model", "nobody"]) == 1
    assert "unknown model 'nobody'" in capsys.readouterr().err


def test_without_torch_it_says_what_to_install(place):
    done = without_torch("core", "adapt", str(place / "hospital"), "--out", str(place / "runs" / "none"))
    assert done.returncode == 2
    assert "training needs torch, which is not installed" in done.stderr
