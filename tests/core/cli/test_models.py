"""`leukoscope models`."""

import json
import shutil

from core.segmentation.model_registry import find_model, load_manifest, write_manifest
from tests.core.cli.support import run


def test_models_are_listed_and_verified(capsys):
    code, out, _ = run(capsys, "models", "list", "--json")
    listed = json.loads(out)
    assert code == 0
    assert listed["default"] in [row["model_id"] for row in listed["models"]]
    told = run(capsys, "models", "list")[1]
    assert ", shipped, in use\n" in told
    runs = listed["runs"]
    assert (runs["ok"], runs["provider"] == "CUDA GPU") == (True, runs["why_no_cuda"] is None)
    assert f"runs on the {runs['provider']}" in told
    assert (runs["why_no_cuda"] or "") in told
    code, out, err = run(capsys, "models", "verify", "--device", "cpu", "--json")
    assert code == 0
    assert all(row["ok"] and row["provider"] == "CPU" for row in json.loads(out))
    assert "checksums right, runs on CPU" in err


def test_a_model_made_before_there_were_seals_is_usable_and_said_not_to_be_sealed(
    tmp_path, monkeypatch, model_entry, capsys
):
    shutil.copytree(model_entry.path.parent, tmp_path, dirs_exist_ok=True)
    manifest = load_manifest(tmp_path)
    del manifest["models"][model_entry.model_id]["sealed"]
    write_manifest(manifest, tmp_path)
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path))
    code, out, err = run(capsys, "models", "verify", "--device", "cpu", "--json")
    assert code == 0
    beside = ["log", "split", "reliability", "novelty", "quality"]
    assert json.loads(out)[0]["not_sealed"] == beside
    assert f"checksum of the model right, but not sealed: {', '.join(beside)} (made by an earlier version), runs" in err


def test_a_damaged_model_is_told_and_the_exit_code_says_so(tmp_path, monkeypatch, model_entry, capsys):
    folder = model_entry.path.parent
    (tmp_path / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    content = bytearray(model_entry.path.read_bytes())
    content[1000] ^= 255
    (tmp_path / model_entry.path.name).write_bytes(content)
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path))
    code, out, _ = run(capsys, "models", "verify", "--json")
    assert code == 1
    assert not json.loads(out)[0]["ok"]
    assert "damaged or was replaced" in json.loads(out)[0]["reason"]


def test_a_model_of_ones_own_is_used_and_the_shipped_one_again(tmp_path, monkeypatch, model_entry, capsys):
    folder, shipped = tmp_path / "models", model_entry.model_id
    shutil.copytree(model_entry.path.parent, folder)
    rows = load_manifest(folder)["models"]
    write_manifest({"models": {"mine": rows[shipped], **rows}}, folder)
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(folder))
    code, out, _ = run(capsys, "models", "use", "mine")
    assert code == 0
    assert out.startswith(f"mine is in use from now on, instead of {shipped}\n")
    assert "another model measured are told as such; `leukoscope cohort rebuild`" in out
    assert find_model().model_id == "mine"
    told = run(capsys, "models", "list")[1].splitlines()
    assert told[0].endswith(", your own, in use")
    assert told[1].endswith(", your own, hides the shipped one of that name")
    listed = json.loads(run(capsys, "models", "list", "--json")[1])
    assert listed["default"] == "mine"
    assert [(row["shipped"], row["hides_shipped"]) for row in listed["models"]] == [(False, False), (False, True)]
    assert "mine is in use, as before" in run(capsys, "models", "use", "mine")[1]
    code, out, _ = run(capsys, "models", "use", shipped, "--json")
    assert (code, json.loads(out)) == (0, {"in_use": shipped, "before": "mine"})
    code, _, err = run(capsys, "models", "use", "theirs")
    assert code == 1
    assert f"unknown model 'theirs'; known are mine, {shipped}" in err


def test_the_complete_card_is_printed(model_entry, capsys):
    code, out, _ = run(capsys, "models", "card")
    assert (code, out) == (0, model_entry.path.with_name(f"{model_entry.model_id}.card.json").read_text())
    code, out, _ = run(capsys, "models", "card", model_entry.model_id, "--json")
    assert (code, out.count("\n"), json.loads(out)["model"]["model_id"]) == (0, 1, model_entry.model_id)
