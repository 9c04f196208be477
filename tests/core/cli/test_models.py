"""`leukoscope models`."""

import json

from tests.core.cli.support import run


def test_models_are_listed_and_verified(capsys):
    code, out, _ = run(capsys, "models", "list", "--json")
    listed = json.loads(out)
    assert code == 0
    assert listed["default"] in [row["model_id"] for row in listed["models"]]
    told = run(capsys, "models", "list")[1]
    assert "opened by default" in told
    runs = listed["runs"]
    assert (runs["ok"], runs["provider"] == "CUDA GPU") == (True, runs["why_no_cuda"] is None)
    assert f"runs on the {runs['provider']}" in told
    assert (runs["why_no_cuda"] or "") in told
    code, out, err = run(capsys, "models", "verify", "--device", "cpu", "--json")
    assert code == 0
    assert all(row["ok"] and row["provider"] == "CPU" for row in json.loads(out))
    assert "checksum right, runs on CPU" in err


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
