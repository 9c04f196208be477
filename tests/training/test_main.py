import pytest

from tests.training.tiny import tiny_config
from training.__main__ import main
from training.loop import WEIGHTS_FILE


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
