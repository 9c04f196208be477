import json
import os

import pytest

from core.imaging import encode_png
from core.synthetic import SYNTHETIC_CELLS, draw_cell
from tests.training.tiny import tiny_config
from training.__main__ import main
from training.loop import SPLIT_FILE, WEIGHTS_FILE


def test_finetune_trains_reports_and_says_what_is_next(tiny_data, tmp_path, capsys):
    (tmp_path / "config.toml").write_text(tiny_config(epochs=1).to_toml())
    assert main(["finetune", "--config", str(tmp_path / "config.toml"), "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / WEIGHTS_FILE).is_file()
    printed = capsys.readouterr()
    assert "1 epochs in" in printed.out
    assert f"python -m export {tmp_path / 'run'}" in printed.out
    assert "epoch 1/1: loss" in printed.err


def test_missing_data_set_is_an_error_in_words(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path))
    assert main(["finetune", "--out", str(tmp_path / "run")]) == 2
    assert "error: data set set1: expected the folder wbc_zheng/set1" in capsys.readouterr().err


def test_unreadable_config_is_an_error_in_words(tmp_path, capsys):
    assert main(["finetune", "--config", str(tmp_path / "none.toml"), "--out", str(tmp_path / "run")]) == 2
    assert "error: none.toml could not be read" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("arguments", [[], ["finetune"], ["tune", "--out", "x"]])
def test_wrong_use_exits_with_2(arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


def test_validate_trains_once_a_split_and_says_what_decides(tiny_data, tmp_path, capsys):
    config = tiny_config(name="tiny", data_sets=("set1", "set2"), epochs=1, images_per_epoch=4)
    (tmp_path / "tiny.toml").write_text(config.to_toml())
    command = ["validate", "--config", str(tmp_path / "tiny.toml"), "--subset", "1", "--out", str(tmp_path / "runs"), "--device", "cpu"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "tiny: criterion 0." in printed.out
    assert "tiny unseen-set2 epoch 1/1: loss" in printed.err
    assert main(["experiments", "--out", str(tmp_path / "runs"), "--baseline", "tiny"]) == 0
    assert "| tiny-leave-one-source-out-n1 |" in capsys.readouterr().out


def test_pseudo_labels_come_of_a_run_and_say_how_many_were_kept(trained_run, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data" / "acevedo"
    folder.mkdir(parents=True)
    (folder / "MO_1.png").write_bytes(encode_png(draw_cell(0, SYNTHETIC_CELLS["monocyte"])[0].rgb))
    (folder / "manifest.csv").write_text("path,cell_type\nMO_1.png,monocyte\n")
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path / "data"))
    assert main(["pseudo", "--model", str(trained_run), "--out", str(tmp_path / "pseudo"), "--device", "cpu"]) == 0
    assert "of 1 images of acevedo are outlined consistently" in capsys.readouterr().out
    assert (tmp_path / "pseudo" / SPLIT_FILE).read_text() == (trained_run / SPLIT_FILE).read_text()


def test_cost_prints_a_line_a_config(tiny_data, tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(tiny_config(name="tiny", data_sets=("set1", "set2")).to_toml())
    assert main(["cost", "--config", str(tmp_path / "tiny.toml"), "--batches", "1", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["config"] == "tiny"


def test_queue_in_the_background_says_where_it_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_RUNS", str(tmp_path))
    (tmp_path / "queue.txt").write_text("# nothing\n")
    assert main(["queue", str(tmp_path / "queue.txt"), "--background"]) == 0
    printed = capsys.readouterr().out
    assert f"works on 0 commands; it writes to {tmp_path / 'queue.log'}" in printed
    os.waitpid(int(printed.split()[1]), 0)
    assert (tmp_path / "queue.log").read_text() == ""
