"""`leukoscope reliability`, `novelty`, `quality`, `nearness` and `selection`."""

import json

import numpy as np
import pandas as pd
import pytest

from core.cli.main import main
from core.evaluation.true_cells import LABORATORIES
from core.features.catalogue import CATALOGUE
from core.quality.outline_signs import OUTLINE_SIGNS
from core.segmentation.model_registry import find_model, keep_beside
from tests.core.cli.support import run
from tests.selection_runs import write_run

# --- reliability ---


@pytest.mark.data
def test_reliability_is_measured_told_and_kept_where_asked(data_dir, tmp_path, capsys):
    out = tmp_path / "few.json"
    code, printed, err = run(capsys, "reliability", "--limit", 2, "--device", "cpu", "--out", out, "--json")
    assert code == 0
    assert printed == out.read_text()
    assert list(json.loads(printed)["features"]) == list(CATALOGUE)
    assert "2/2 images" in err
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.data
def test_reliability_is_kept_with_the_model_and_counted_for_people(
    data_dir, tmp_path, monkeypatch, model_entry, capsys
):
    """On two images only, by a split of its own."""
    models = tmp_path / "models"
    models.mkdir()
    beside = (model_entry.novelty, model_entry.quality, model_entry.path.with_name("manifest.json"))
    for path in (*model_entry.files, *beside):
        (models / path.name).write_bytes(path.read_bytes())
    (models / model_entry.split.name).write_text(json.dumps({"test": ["set1/112", "set1/139"]}))
    keep_beside(models, model_entry.model_id, {"split": model_entry.split.name})
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(models))
    code, out, _ = run(capsys, "reliability")
    assert code == 0
    assert out.splitlines() == ["good: 0 features", "moderate: 0 features", f"poor: {len(CATALOGUE)} features"]
    assert find_model().reliability == models / f"{model_entry.model_id}.reliability.json"


@pytest.mark.parametrize("command", ["reliability", "novelty", "quality"])
def test_few_images_are_not_kept_with_the_model(capsys, command):
    code, _, err = run(capsys, command, "--limit", 2)
    assert code == 2
    assert "with --limit give --out FILE as well" in err


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, capsys):
    code, out, err = run(capsys, "reliability", "--out", tmp_path / "nowhere" / "few.json")
    assert (code, out) == (2, "")
    assert "cannot be kept in" in err
    assert "give --out FILE in another folder" in err
    assert "images" not in err


def test_reliability_without_images_says_which_are_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path))
    code, _, err = run(capsys, "reliability", "--out", tmp_path / "x.json")
    assert code == 1
    assert "expected the folder bccd in LEUKOSCOPE_DATA, but it is not there" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_novelty_is_learnt_told_and_kept_where_asked(data_dir, tmp_path, capsys):
    out = tmp_path / "few.json"
    code, printed, err = run(capsys, "novelty", "--limit", 5, "--jobs", 2, "--device", "cpu", "--out", out)
    assert code == 0
    assert "A cell is flagged as unlike a leukocyte beyond a distance of" in printed
    for words in (
        "What is no leukocyte",
        "photograph",
        "Leukocytes: shares",
        "lymphocyte",
        "Neutrophils and eosinophils",
        "precision",
    ):
        assert words in printed
    assert "images, " in err
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    kept = json.loads(out.read_text())
    assert kept["command"].endswith("--limit 5")
    assert set(kept["measured"]) == {"kinds", "cells", "granulocytes"}
    told = [row for row in kept["measured"]["kinds"] if row["kind"] in ("photograph", "tissue section", "scanned text")]
    assert len(told) == 3
    assert all(row["auc_unseen"] > 0.95 and row["refused"][0] >= 0.8 for row in told)


def test_the_comparison_of_architectures_is_told_in_words_and_as_json(tmp_path, monkeypatch, capsys):
    write_run(tmp_path)
    monkeypatch.setenv("LEUKOSCOPE_SELECTION", str(tmp_path))
    assert main(["selection"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("UNet leads with a Dice of 0.950")
    assert "A fold is scored on as few as 4 images" in said
    assert "UNet: rotated copies in the training images add +2.00 points" in said
    assert main(["selection", "drawn", "--of", "nucleus", "--protocol", "as-published", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measure"] == "dice_nucleus"
    assert [row["architecture"] for row in found["ranking"]] == ["unet"]
    assert found["differences"] == []


def test_a_comparison_that_is_not_there_is_wrong_use(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_SELECTION", str(tmp_path))
    assert main(["selection"]) == 2
    assert "python -m training select" in capsys.readouterr().err
    write_run(tmp_path, skip=[("unet", fold) for fold in (1, 2, 3)] + [("fpn", fold) for fold in (4, 5)])
    assert main(["selection", "other"]) == 2
    assert "there are drawn" in capsys.readouterr().err
    assert main(["selection"]) == 2
    assert "no grouped fold is finished by every architecture" in capsys.readouterr().err


# --- quality ---


def made_outlines(model_id):
    """Outlines of every laboratory with drawn cells, whose Dice hangs on the box."""
    rng = np.random.default_rng(0)
    dice = rng.beta(14, 1.2, 60 * len(LABORATORIES))
    signs = {name: rng.normal(0, 0.3, len(dice)) for name in OUTLINE_SIGNS} | {"box": -np.log10(1.02 - dice)}
    known = {"model_id": model_id, "source": np.repeat(LABORATORIES, 60), "kind": "as it is", "drawn": True}
    return pd.DataFrame({**known, "dice": dice, "box_iou": dice, **signs})


def test_quality_is_fitted_to_tables_of_other_networks_and_told(tmp_path, capsys):
    table, out = tmp_path / "others.parquet", tmp_path / "quality.json"
    made_outlines("left-out").to_parquet(table)
    code, printed, _ = run(capsys, "quality", "--table", table, "--out", out)
    assert code == 0
    for words in (
        "An outline is doubtful below an expected Dice of",
        "By laboratory",
        "Raabin-WBC",
        "Expected and true",
    ):
        assert words in printed
    kept = json.loads(out.read_text())
    assert kept["trained_on"] == []
    assert kept["checked"]["cells"] == 60 * len(LABORATORIES)
    assert "others.parquet" in kept["command"]


def test_a_table_of_something_else_is_refused(tmp_path, capsys):
    table = tmp_path / "cells.parquet"
    pd.DataFrame({"source": ["bccd"]}).to_parquet(table)
    code, _, err = run(capsys, "quality", "--table", table, "--out", tmp_path / "q.json")
    assert code == 2
    assert "write it with `python -m training outlines`" in err


# --- nearness ---


@pytest.mark.data
def test_nearness_is_counted_told_and_written(data_dir, tmp_path, capsys):
    out = tmp_path / "nearness.json"
    code, told, err = run(capsys, "nearness", "--limit", 2, "--device", "cpu", "--out", out)
    assert code == 0
    assert "Held out, without a scale" in told
    assert "its type first" in told
    assert "24/24 images" in err
    rows = json.loads(out.read_text())
    assert {"setting": "held out", "cells": "Monocytes, Barcelona", "n": 2}.items() <= rows[0].items()
    code, printed, _ = run(capsys, "nearness", "--limit", 2, "--device", "cpu", "--json")
    assert (code, printed) == (0, out.read_text())
