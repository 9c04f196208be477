import hashlib
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import save_file

from core.domain.cell_types import CellType
from core.domain.compartments import CHANNELS
from core.domain.options import Device
from core.evaluation.datasets import Sample
from core.image.imaging import load
from core.segmentation.model_registry import find_model, known_models
from core.segmentation.segmenter import OnnxSegmenter
from export.__main__ import main
from export.model_file import limits
from export.to_onnx import MAX_LOGIT_DIFFERENCE, OPSET
from tests.core.segmentation.scenes import write_blind_localiser
from training.architectures.weights import Normalisation, normalisation
from training.config import TrainingConfig
from training.loop import CONFIG_FILE, LOG_FILE, SPLIT_FILE, WEIGHTS_FILE, read_weights


def test_model_of_the_command_line_opens_with_a_card_that_says_what_it_is(exported):
    entry = find_model("tiny", exported.models)
    segmenter = OnnxSegmenter.from_entry(entry, Device.CPU)
    card = segmenter.card
    assert card == entry.card
    config = TrainingConfig.from_toml(exported.run / CONFIG_FILE)
    assert (card.model_id, card.architecture, card.encoder) == ("tiny", config.architecture, config.encoder)
    assert (card.input_size, card.cell_fill, card.opset, card.precision) == (
        config.input_size,
        config.cell_fill,
        OPSET,
        "fp32",
    )
    assert (card.mean, card.std) == normalisation(config.encoder)
    assert card.classes == tuple(channel.label for channel in CHANNELS)
    assert card.parity["max_logit_difference"] < MAX_LOGIT_DIFFERENCE
    image = load(exported.data / "wbc_zheng" / "set1" / "images" / "monocyte-0.png")
    assert segmenter.segment(image).labels.shape == image.shape


def test_card_counts_the_split_and_scores_the_test_part_alone(exported):
    card = find_model("tiny", exported.models).card
    split = json.loads((exported.run / SPLIT_FILE).read_text())
    counts = {part: len(ids) for part, ids in split.items()}
    assert card.split.startswith(
        f"{counts['train']} train, {counts['validation']} validation, {counts['test']} test images"
    )
    assert card.training_data.startswith(f"{counts['train']} images. set1: Zheng et al. 2018")
    assert card.limits.startswith(f"Trained on {counts['train']} cells (")
    assert (
        " monocytes) of Jiangxi Tecom rapid stain, CellaVision blog; hairy cells, APL cells, promyelocytes, blasts"
        " were not" in card.limits
    )
    assert set(card.scores) == {"test", "set1", "set2"}
    assert card.scores["test"]["images"] == counts["test"]
    for name in ("set1", "set2"):
        assert card.scores[name]["images"] == sum(i.startswith(f"{name}/") for i in split["test"])


def test_card_tells_the_normalisation_kept_with_the_weights(coarse, tiny_data, tmp_path, capsys):
    run = shutil.copytree(coarse.run, tmp_path / "run")
    other = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    save_file(read_weights(run, "none")[0], run / WEIGHTS_FILE, {"normalisation": json.dumps(other)})
    assert main([str(run), "--out", str(tmp_path / "m.onnx")]) == 0
    card = find_model("m", tmp_path).card
    assert (card.mean, card.std) == other
    told = capsys.readouterr().out
    assert re.search(r"test, \d+ images never seen, cell found by the network:\n  nucleus", told)
    assert "\nthe app still opens with no model: its Dice of the cytoplasm is " in told
    assert (
        f"next: LEUKOSCOPE_MODELS={tmp_path} make app, or LEUKOSCOPE_MODELS={tmp_path} python -m core segment IMAGE"
        in told
    )


def test_images_that_are_gone_are_named(exported, tmp_path, monkeypatch, capsys):
    shutil.copytree(exported.data, tmp_path / "data")
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path / "data"))
    for part in ("images", "masks"):
        (tmp_path / "data" / "wbc_zheng" / "set2" / part / "monocyte-0.png").unlink()
    assert main([str(exported.run), "--out", str(tmp_path / "m.onnx")]) == 2
    assert (
        "error: 1 images of the training are no longer there, first set2/monocyte-0; put them back"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "m.onnx").exists()


def test_limits_of_a_model_are_those_of_its_cells():
    def sample(cell_type):
        return Sample("mine/a", Path("a"), Path("a"), cell_type, "mine/a")

    unnamed, cells = (
        [sample(CellType.OTHER)],
        [sample(CellType.HCL), sample(CellType.MONOCYTE), sample(CellType.MONOCYTE)],
    )
    assert limits(unnamed, ["set1"]).startswith(
        "Trained on 1 cells of no named type of Jiangxi Tecom rapid stain. Other stains"
    )
    told = limits([*unnamed, *cells], ["set1", "set2"])
    assert told.startswith(
        "Trained on 4 cells (2 monocytes, 1 hairy cells, 1 of no named type) of Jiangxi Tecom rapid stain, CellaVision"
        " blog; "
    )
    assert "; lymphocytes, APL cells, promyelocytes, blasts were not among them. " in told


def test_manifest_holds_checksum_log_and_split(exported):
    row = json.loads((exported.models / "manifest.json").read_text())["models"]["tiny"]
    assert row["sha256"] == hashlib.sha256(exported.model.read_bytes()).hexdigest()
    assert pd.read_csv(exported.models / row["log"]).equals(pd.read_csv(exported.run / LOG_FILE))
    assert (exported.models / row["split"]).read_bytes() == (exported.run / SPLIT_FILE).read_bytes()


@pytest.mark.parametrize("name", ["none", f"none/{WEIGHTS_FILE}"])
def test_missing_run_is_an_error_in_words_and_makes_nothing(tmp_path, capsys, name):
    assert main([str(tmp_path / name), "--out", str(tmp_path / "models" / "m.onnx")]) == 2
    assert (
        f"error: {tmp_path / name} holds no {WEIGHTS_FILE}: name the folder of a training run; `python"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


def test_missing_images_are_an_error_in_words_and_make_nothing(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path / "none"))
    # A file of the run stands for the run.
    assert main([str(exported.run / WEIGHTS_FILE), "--out", str(tmp_path / "m.onnx")]) == 2
    assert "error: data set set1: expected the folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_output_of_another_suffix_is_wrong_use(exported, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([str(exported.run), "--out", str(tmp_path / "m.pt")])
    assert exit_.value.code == 2
    assert "--out must end in .onnx, but is m.pt" in capsys.readouterr().err


def test_a_localiser_is_put_beside_the_model_and_finds_its_cells(exported, tiny_data, tmp_path):
    out, source = tmp_path / "models" / "fine.onnx", write_blind_localiser(tmp_path / "own.onnx")
    assert main([str(exported.run), "--out", str(out), "--localiser", str(source)]) == 0
    entry = find_model("fine", out.parent)
    beside = out.with_name("fine.localiser.onnx")
    assert beside.read_bytes() == source.read_bytes()
    assert entry.card.localiser == {"file": beside.name, "sha256": hashlib.sha256(beside.read_bytes()).hexdigest()}
    assert [model.model_id for model in known_models(out.parent).entries] == ["fine"]
    assert OnnxSegmenter.from_entry(entry, Device.CPU).localiser.card.localiser_id == "by colour"


def test_what_is_no_localiser_is_refused(exported, tiny_data, tmp_path, capsys):
    command = [str(exported.run), "--out", str(tmp_path / "models" / "fine.onnx"), "--localiser"]
    assert main([*command, str(exported.model)]) == 2
    assert "tiny.onnx carries no localiser card" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "none.onnx")]) == 2
    assert "none.onnx could not be loaded" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("full", ["m.onnx", "manifest.json"])
def test_a_full_disk_is_told_in_words_and_leaves_nothing(coarse, tiny_data, tmp_path, full_disk, capsys, full):
    out = tmp_path / "models" / "m.onnx"
    full_disk(full)
    assert main([str(coarse.run), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert f"error: {out.with_name(full)}: No space left on device; nothing was exported. Make room there" in told
    assert list(out.parent.iterdir()) == []


def test_a_full_disk_on_the_way_is_told_in_words_and_leaves_nothing(coarse, tiny_data, tmp_path, monkeypatch, capsys):
    """Files may grow to 100 kB, the model has megabytes."""
    resource = pytest.importorskip("resource")
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        assert main([str(coarse.run), "--out", str(tmp_path / "models" / "m.onnx")]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert re.search(r"error: .*: File too large; nothing was exported\. Make room", capsys.readouterr().err)
    assert list(made.iterdir()) == []
    assert not (tmp_path / "models").exists()


def test_only_one_of_the_wishes_can_be_given(exported, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([str(exported.run), "--out", str(tmp_path / "m.onnx"), "--default", "--not-default"])
    assert exit_.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err
