import io
import json
import logging
import re
import shutil

import pandas as pd
import pytest

from core.domain.settings import ROOT
from core.evaluation.training_runs import TrainingRun
from core.segmentation.model_registry import find_model, load_manifest, write_manifest
from tests.training.localiser.boxed import write_boxed
from tests.training.tiny import tiny_config
from training.__main__ import main
from training.config import TrainingConfig
from training.data import masked_samples
from training.localiser.config import LocaliserConfig
from training.loop import SPLIT_FILE, WEIGHTS_FILE


def test_finetune_trains_reports_and_says_what_is_next(tiny_data, tmp_path, capsys, caplog):
    (tmp_path / "config.toml").write_text(tiny_config(epochs=1).to_toml())
    with caplog.at_level(logging.INFO):
        assert main(["finetune", "--config", str(tmp_path / "config.toml"), "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / WEIGHTS_FILE).is_file()
    printed = capsys.readouterr()
    assert (
        "UNet++ with encoder tu-tf_efficientnet_lite0 on cpu; images: 9 train, 3 validation, 4 test; 2 steps an epoch"
        in caplog.text
    )
    assert "epoch 1/1: loss" in printed.err
    assert "1 epochs in" in printed.out
    assert re.search(
        r"test, 4 images never seen, .*:\n  nucleus +Dice 0\.\d+ \+- .*\n  cytoplasm Dice 0\.\d+", printed.out
    )
    following = re.search(r"next: python -m (\w+) (\S+) --out (\S+)\n", printed.out)
    assert following.groups() == ("export", str(tmp_path / "run"), str(tmp_path / "models" / "run.onnx"))


def test_what_cannot_be_trained_on_leaves_no_run_behind(tiny_data, tmp_path, capsys):
    folder = tmp_path / "mine"
    shutil.copytree(tiny_data / "wbc_zheng" / "set1", folder)
    (folder / "masks" / "monocyte-3.png").write_bytes(b"")
    (tmp_path / "finetune.toml").write_text(tiny_config(data_sets=(str(folder),)).to_toml())
    (tmp_path / "select.toml").write_text(
        f'name = "s"\ndata_sets = ["{folder}"]\ngrouped = ["pspnet"]\nas_published = []\nk = [2]\n'
    )
    for command in ("finetune", "select"):
        assert main([command, "--config", str(tmp_path / f"{command}.toml"), "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert (
            "error: 1 of 16 pairs cannot be used:\n  mine/monocyte-3: the mask monocyte-3.png: expected a mask, but the"
            " file is empty"
        ) in told
        assert not (tmp_path / "out").exists()


class Interrupted(io.StringIO):
    """A terminal at which somebody presses Ctrl-C as the second epoch is told."""

    def write(self, text):
        if text.startswith("epoch 2/"):
            raise KeyboardInterrupt
        return super().write(text)


def test_stopped_from_the_keyboard_it_goes_on_with_the_same_command(tiny_data, tmp_path, monkeypatch, caplog):
    (tmp_path / "config.toml").write_text(tiny_config(epochs=3, architecture="pspnet").to_toml())
    command = ["finetune", "--config", str(tmp_path / "config.toml"), "--out", str(tmp_path / "run")]
    terminal = Interrupted()
    monkeypatch.setattr("sys.stderr", terminal)
    assert main(command) == 130
    assert terminal.getvalue().endswith("stopped; the same command goes on where it was\n")
    with caplog.at_level(logging.INFO):
        assert main(command) == 0
    assert "going on after epoch 2" in caplog.messages
    assert "epoch 3/3" in terminal.getvalue()


@pytest.mark.parametrize("name", [WEIGHTS_FILE, "checkpoint.pt"])
def test_full_disk_is_told_in_words(tiny_data, tmp_path, capsys, full_disk, name):
    (tmp_path / "config.toml").write_text(tiny_config(epochs=1, architecture="pspnet").to_toml())
    full_disk(name)
    assert main(["finetune", "--config", str(tmp_path / "config.toml"), "--out", str(tmp_path / "run")]) == 2
    file = tmp_path / "run" / name
    assert capsys.readouterr().err.endswith(
        f"error: expected room on the disk for {file}, but there is none (No space left on device); make room, and the"
        " same command goes on where it was\n"
    )
    assert not [path for path in file.parent.iterdir() if name in path.name]


@pytest.mark.parametrize(
    ("command", "file", "settings"),
    [("finetune", "finetune.toml", TrainingConfig), ("localise", "localiser.toml", LocaliserConfig)],
)
def test_without_config_the_settings_are_those_of_the_file_to_copy(
    tiny_data, tmp_path, monkeypatch, capsys, full_disk, command, file, settings
):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    write_boxed(data)
    (data / "bccd").mkdir()
    (data / "bccd" / "manifest.csv").write_text("file\n")  # a laboratory without images
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(data))
    full_disk("split.json")  # which is written after the settings, and before the training
    assert main([command, "--out", str(tmp_path / "run")]) == 2
    assert "split.json, but there is none" in capsys.readouterr().err
    copied = settings.from_toml(ROOT / "training" / "configs" / file)
    assert settings.from_toml(tmp_path / "run" / "config.toml") == copied


def test_what_a_run_warns_of_is_kept_in_its_folder(tiny_data, tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text(tiny_config(epochs=2, architecture="pspnet").to_toml())
    command = ["finetune", "--config", str(tmp_path / "config.toml"), "--out", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr", Interrupted())
        assert main(command) == 130
    assert main(command) == 0
    warnings = TrainingRun(tmp_path / "run").warnings()
    assert [warning.split(" holds")[0] for warning in warnings] == ["the validation part", "the test part"]


def test_evaluate_scores_the_shipped_models_test_part(tiny_data, capsys):
    # None of the drawn cells is of its split; all of them can be scored.
    assert main(["evaluate"]) == 2
    told = capsys.readouterr().err
    assert (
        "error: none of the 133 test images of unet-slim-lite0 is in set1, set2; name the data sets it was trained"
        " on, such as bccd" in told
    )
    assert main(["evaluate", "--part", "all", "--data-sets", "set2"]) == 0
    told = capsys.readouterr().out
    assert "unet-slim-lite0, all images of set2, n = 10:\n  nucleus   Dice 0." in told
    assert re.search(r"\n  lymphocyte, n = \d+: nucleus 0\.", told)
    assert main(["evaluate", "--part", "all", "--data-sets", "set2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["set2"] == report["all"]
    assert f"nucleus   Dice {report['all']['nucleus']['dice_mean']:.4f}" in told


def test_two_models_are_compared_on_images_that_neither_learnt_from(tiny_data, trained_run, capsys):
    command = ["evaluate", "--model", str(trained_run), "--against", "unet-slim-lite0"]
    assert main([*command, "--data-sets", "set1", "set2"]) == 0
    told = capsys.readouterr().out
    split = json.loads((trained_run / SPLIT_FILE).read_text())
    untouched = len(split["test"])
    assert f"unet-slim-lite0 and {trained_run} on images of set1 that neither learnt from:\n  nucleus" in told
    assert f"({trained_run}" not in told
    assert f"; {untouched} images, " in told
    assert told.splitlines()[-1].startswith(f"unet-slim-lite0 is better than {trained_run}, by ")
    assert main([*command, "--data-sets", "set1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["better"], report["images"]) == ("unet-slim-lite0", untouched)
    assert report["all"] == report["set1"]
    assert set(report["all"]) == {"nucleus", "cytoplasm", "cell", "mean"}
    low, high = report["all"]["mean"]["ci95"]
    assert low <= report["all"]["mean"]["difference"] <= high < 0


def test_two_models_are_not_compared_on_what_one_learnt_from_unless_all_is_asked_for(
    tiny_data, trained_run, tmp_path, monkeypatch, capsys
):
    shipped, folder = find_model(), tmp_path / "models"
    shutil.copytree(shipped.path.parent, folder)
    row = load_manifest(folder)["models"][shipped.model_id]
    samples = [sample.sample_id for sample in masked_samples(("set2",))]
    (folder / row["split"]).write_text(json.dumps({"train": samples, "validation": [], "test": []}))
    row["sealed"].pop("split")
    unknown = {key: value for key, value in row.items() if key != "split"}
    write_manifest({"models": {"taught": row, "unknown": unknown}}, folder)
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(folder))
    command = ["evaluate", "--data-sets", "set2", "--model", shipped.model_id, "--against"]
    assert main([*command, "taught"]) == 2
    assert "learnt from each of the 10 images, or from one of its group; name other" in capsys.readouterr().err
    assert main([*command, "unknown"]) == 2
    assert "model unknown has no split on record, so nobody knows what it learnt from" in capsys.readouterr().err
    assert main([*command, "taught", "--part", "train"]) == 2
    assert "--part is train; leave it out" in capsys.readouterr().err
    assert main([*command, "unknown", "--part", "all"]) == 0
    told = capsys.readouterr().out
    assert "unknown and unet-slim-lite0 on images of set2 whoever learnt from them:\n" in told
    assert "+0.00 points (95 % interval +0.00 to +0.00; 10 images" in told
    assert told.endswith("unet-slim-lite0 and unknown cannot be told apart on these images\n")


def test_a_run_is_scored_as_a_model_is(tiny_data, trained_run, capsys):
    assert main(["evaluate", "--model", str(trained_run), "--data-sets", "set1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == str(trained_run)
    assert report["set1"]["images"] == len(json.loads((trained_run / SPLIT_FILE).read_text())["test"])


def test_missing_data_set_is_an_error_in_words(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path))
    assert main(["finetune", "--out", str(tmp_path / "run")]) == 2
    assert "error: data set set1: expected the folder wbc_zheng/set1" in capsys.readouterr().err


def test_unreadable_config_is_an_error_in_words(tmp_path, capsys):
    assert main(["finetune", "--config", str(tmp_path / "none.toml"), "--out", str(tmp_path / "run")]) == 2
    assert "error: none.toml could not be read" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["finetune"],
        ["augment", "--out", "x"],
        ["tune", "--out", "x"],
        ["select", "--config", "x", "--workers", "0"],
    ],
)
def test_wrong_use_exits_with_2(arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


def test_outlines_of_a_run_are_written_with_their_truth_and_signs(tiny_data, trained_run, tmp_path, capsys):
    table = tmp_path / "set2.parquet"
    told = ["outlines", "--run", str(trained_run), "--data", "set2", "--out", str(table), "--limit", "2"]
    assert main([*told, "--device", "cpu"]) == 0
    assert "next: python -m core quality --table" in capsys.readouterr().out
    found = pd.read_parquet(table)
    assert set(found["source"]) <= {"set2"}
    assert main([*told[:4], "elsewhere", *told[5:]]) == 2
    assert "no laboratory elsewhere with drawn cells" in capsys.readouterr().err
