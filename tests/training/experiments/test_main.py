from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from tests.training.tiny import tiny_config
from training.experiments.__main__ import main
from training.loop import SPLIT_FILE


def test_validate_trains_once_a_split_and_says_what_decides(tiny_data, tmp_path, capsys):
    config = tiny_config(name="tiny", data_sets=("set1", "set2"), epochs=1, images_per_epoch=4)
    (tmp_path / "tiny.toml").write_text(config.to_toml())
    command = [
        "validate",
        "--config",
        str(tmp_path / "tiny.toml"),
        "--subset",
        "1",
        "--out",
        str(tmp_path / "runs"),
        "--device",
        "cpu",
    ]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "tiny: criterion 0." in printed.out
    assert "tiny unseen-set2 epoch 1/1: loss" in printed.err
    assert main(["table", "--out", str(tmp_path / "runs"), "--baseline", "tiny"]) == 0
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
