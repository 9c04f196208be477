import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.domain.errors import DataSetError, ModelError, UsageError
from tests.training.tiny import tiny_config
from training.architectures import build
from training.architectures.restored import folded_network, mean_of
from training.architectures.weights import Normalisation, normalisation
from training.config import TrainingConfig
from training.data import DATA_FILE, SegDataset, split_samples
from training.final_test import CASES
from training.loop import (
    CASES_FOLDER,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    LOG_FILE,
    SCORES_FILE,
    SPLIT_FILE,
    WEIGHTS_FILE,
    fit,
    load_network,
    read_weights,
)
from training.losses import hard_dice, segmentation_loss
from training.trainer import DivergedError

ENCODER = "tu-tf_efficientnet_lite0"


class KilledError(Exception):
    """What ends a run between two epochs."""


def kill(_row):
    raise KilledError


def read_log(folder):
    """Rows of the log without the time they took."""
    with (folder / LOG_FILE).open(newline="") as handle:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(handle)]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tiny_root, tmp_path_factory):
    """A run of two epochs, its report, and the rows it announced."""
    rows = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_DATA", str(tiny_root))
        report = fit(tiny_config(), tmp_path_factory.mktemp("finished"), on_epoch=rows.append)
    return report, rows


def test_run_leaves_config_split_log_and_weights(finished, samples):
    report, rows = finished
    files = {CONFIG_FILE, SPLIT_FILE, LOG_FILE, WEIGHTS_FILE, CHECKPOINT_FILE, SCORES_FILE, CASES_FOLDER, DATA_FILE}
    assert {path.name for path in report.folder.iterdir()} == files
    assert TrainingConfig.from_toml(report.folder / CONFIG_FILE) == tiny_config()
    split = json.loads((report.folder / SPLIT_FILE).read_text())
    assert split == {
        part: sorted(s.sample_id for s in members) for part, members in split_samples(samples, tiny_config()).items()
    }
    log = read_log(report.folder)
    assert [row["epoch"] for row in log] == ["1", "2"]
    assert [float(row["val_dice_nucleus"]) for row in log] == [row.val_dice_nucleus for row in rows]


def test_report_names_the_epoch_of_highest_validation_dice(finished):
    report, rows = finished
    best = max(rows, key=lambda row: row.val_dice)
    assert (report.epochs, report.best_epoch, report.best_val_dice, report.stopped_early) == (
        2,
        best.epoch,
        best.val_dice,
        False,
    )
    assert best.val_dice == (best.val_dice_nucleus + best.val_dice_cytoplasm) / 2
    assert all(0 < row.train_loss < 2 for row in rows)
    assert all(0 <= row.val_dice <= 1 for row in rows)


def test_test_part_is_scored_with_interval_and_spread_and_its_ends_are_kept(finished):
    report, _ = finished
    scores = json.loads((report.folder / SCORES_FILE).read_text())
    test_ids = json.loads((report.folder / SPLIT_FILE).read_text())["test"]
    assert sorted(scores["per_image"]) == test_ids
    assert scores["test"] == report.test
    for region in ("nucleus", "cytoplasm"):
        values = [dice[region] for dice in scores["per_image"].values()]
        found = report.test[region]
        assert found["dice_mean"] == pytest.approx(np.mean(values), abs=1e-4)
        assert found["dice_std"] == pytest.approx(np.std(values), abs=1e-4)
        assert found["dice_ci95"][0] <= found["dice_mean"] <= found["dice_ci95"][1]
    assert scores["repaired_mask_pixels"] == {"train": 0, "validation": 0, "test": 0}
    assert scores["versions"]["torch"] == torch.__version__.split("+")[0]
    cases = sorted(path.name for path in (report.folder / CASES_FOLDER).iterdir())
    # Of four test images none is among the best and the worst.
    assert len(cases) == len(test_ids) < CASES
    assert len({name.split("-", 2)[2] for name in cases}) == len(test_ids)
    worst = min(
        scores["per_image"], key=lambda i: scores["per_image"][i]["nucleus"] + scores["per_image"][i]["cytoplasm"]
    )
    assert [name for name in cases if name.startswith(f"worst-1-{worst.replace('/', '-')}-dice-")]


def test_scores_are_those_of_the_kept_weights(finished, tiny_data, samples):
    report, _ = finished
    network = build("unetplusplus", "tu-tf_efficientnet_lite0", pretrained=False)
    network.load_state_dict(load_file(report.folder / WEIGHTS_FILE))
    scores = json.loads((report.folder / SCORES_FILE).read_text())["per_image"]
    chosen = [sample for sample in samples if sample.sample_id in scores]
    data = SegDataset.from_samples(chosen, tiny_config(), augment=False)
    with torch.no_grad():
        logits = network.eval()(torch.stack([data[i][0] for i in range(len(data))]))
    dice = hard_dice(logits, torch.stack([data[i][1] for i in range(len(data))]))
    for sample, (cytoplasm, nucleus) in zip(chosen, dice.tolist(), strict=True):
        assert scores[sample.sample_id]["nucleus"] == pytest.approx(nucleus, abs=0.01)
        assert scores[sample.sample_id]["cytoplasm"] == pytest.approx(cytoplasm, abs=0.01)


def test_diverged_training_is_told_in_words(tiny_data, tmp_path):
    with pytest.raises(DivergedError, match=r"loss is (nan|inf); a lower learning_rate may help"):
        fit(tiny_config(learning_rate=1e30), tmp_path)


def test_weights_fit_the_network_and_are_not_those_it_began_with(finished):
    report, _ = finished
    weights = load_file(report.folder / WEIGHTS_FILE)
    network = build("unetplusplus", "tu-tf_efficientnet_lite0")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.load_state_dict(weights)
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert not torch.equal(before["encoder.model.conv_stem.weight"], weights["encoder.model.conv_stem.weight"])


def test_killed_run_goes_on_as_if_nothing_had_happened(finished, tiny_data, tmp_path):
    report, _ = finished
    with pytest.raises(KilledError):
        fit(tiny_config(), tmp_path, on_epoch=kill)
    assert len(read_log(tmp_path)) == 1
    resumed = fit(tiny_config(), tmp_path)
    assert (resumed.epochs, resumed.best_epoch, resumed.best_val_dice) == (2, report.best_epoch, report.best_val_dice)
    assert read_log(tmp_path) == read_log(report.folder)
    expected, found = load_file(report.folder / WEIGHTS_FILE), load_file(tmp_path / WEIGHTS_FILE)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_after_a_full_disk_the_run_goes_on_as_if_nothing_had_happened(finished, tiny_data, tmp_path, full_disk):
    report, _ = finished
    case = min(path.name for path in (report.folder / CASES_FOLDER).iterdir())
    before = [DATA_FILE, CONFIG_FILE, SPLIT_FILE, WEIGHTS_FILE, LOG_FILE, CHECKPOINT_FILE, case, SCORES_FILE]
    for name in before:
        full_disk(name)
        with pytest.raises(OSError, match="No space left") as caught:
            fit(tiny_config(), tmp_path / "run")
        assert caught.value.filename.endswith(name)
        assert not list((tmp_path / "run").rglob(".*")), "something unfinished is left"
        assert not list((tmp_path / "run").rglob(name))
    fit(tiny_config(), tmp_path / "run")
    assert read_log(tmp_path / "run") == read_log(report.folder)
    expected, there = load_file(report.folder / WEIGHTS_FILE), load_file(tmp_path / "run" / WEIGHTS_FILE)
    assert all(torch.equal(expected[key], there[key]) for key in expected)
    scores = [json.loads((folder / SCORES_FILE).read_text()) for folder in (report.folder, tmp_path / "run")]
    assert scores[0] == scores[1]


def test_parts_of_few_images_are_told(tiny_data, tmp_path, samples, caplog):
    fit(tiny_config(epochs=1, architecture="pspnet"), tmp_path / "few")
    told = (
        "the {} part holds 3 independent images (those of one group count once): chance decides {}; 2 more would do,"
        " given by more images or a larger share of them"
    )
    assert told.format("validation", "which epoch is the best") in caplog.messages
    assert told.format("test", "what the score is") in caplog.messages
    caplog.clear()
    parts = {"train": samples[:4], "validation": samples[4:9], "test": samples[9:14]}
    fit(tiny_config(epochs=1, architecture="pspnet"), tmp_path / "enough", parts=parts)
    assert "independent" not in caplog.text


def test_finished_run_is_reported_again_and_not_trained_further(finished, tiny_data):
    report, _ = finished
    before = contents(report.folder)
    assert fit(tiny_config(), report.folder, on_epoch=kill) == report
    assert contents(report.folder) == before


def test_other_settings_in_the_same_folder_are_refused(finished, tiny_data):
    report, _ = finished
    before = (report.folder / CONFIG_FILE).read_text()
    with pytest.raises(UsageError, match="holds a run with other settings"):
        fit(tiny_config(seed=8), report.folder)
    assert (report.folder / CONFIG_FILE).read_text() == before


def test_training_stops_when_validation_no_longer_gets_better(tiny_data, tmp_path):
    config = tiny_config(epochs=5, patience=1)
    with pytest.raises(KilledError):
        fit(config, tmp_path, on_epoch=kill)
    weights = (tmp_path / WEIGHTS_FILE).read_bytes()
    # Let the first epoch have been perfect: none can be better.
    state = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)
    state["log"][0].update(val_dice_nucleus=1.0, val_dice_cytoplasm=1.0)
    torch.save(state, tmp_path / CHECKPOINT_FILE)
    report = fit(config, tmp_path)
    assert (report.epochs, report.best_epoch, report.best_val_dice, report.stopped_early) == (2, 1, 1.0, True)
    assert (tmp_path / WEIGHTS_FILE).read_bytes() == weights, "the weights of a worse epoch were kept"


def test_weights_keep_the_normalisation_they_were_trained_with(finished, tmp_path):
    report, _ = finished
    weights, scale = read_weights(report.folder, ENCODER)
    assert scale == normalisation(ENCODER)
    other = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for kept, expected in (({"normalisation": json.dumps(other)}, other), ({}, normalisation(ENCODER))):
        save_file(weights, tmp_path / WEIGHTS_FILE, kept)
        found, scale = read_weights(tmp_path, ENCODER)
        assert scale == expected
        assert all(torch.equal(found[key], weights[key]) for key in weights)


def test_every_epoch_learns_from_draws_of_its_own(tiny_data, tmp_path):
    rows = []
    # The weights stand still: only the images can change the loss.
    fit(tiny_config(learning_rate=1e-12), tmp_path, on_epoch=rows.append)
    assert rows[0].train_loss != pytest.approx(rows[1].train_loss, rel=1e-3)


def test_too_few_images_to_divide_are_refused(tiny_data, tmp_path):
    # 5 cells a type: 2 % of them is none.
    with pytest.raises(
        DataSetError, match=r"every part needs images, but there are: train \d+, validation \d+, test 0; give more"
    ):
        fit(tiny_config(data_sets=("set2",), train=0.78, validation=0.2, test=0.02), tmp_path)


def test_one_step_down_the_gradient_lowers_the_loss(items):
    torch.manual_seed(0)
    data = SegDataset(items[:4], tiny_config(), augment=True)
    images, targets = (torch.stack(tensors) for tensors in zip(*(data[i] for i in range(4)), strict=True))
    network = build("unetplusplus", "tu-tf_efficientnet_lite0").train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    before = segmentation_loss(network(images), targets)
    before.backward()
    optimiser.step()
    with torch.no_grad():
        after = segmentation_loss(network(images), targets)
    assert after < before


# --- what is off by default ---


def test_an_epoch_can_hold_any_number_of_images(tiny_data, tmp_path, samples):
    drawn = []

    class Recording(SegDataset):
        def __getitem__(self, index):
            drawn.append((self.epoch, index))
            return super().__getitem__(index)

    config = tiny_config(images_per_epoch=24, batch_size=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.loop.SegDataset", Recording)
        fit(config, tmp_path)
    train = len(split_samples(samples, config)["train"])
    trained = drawn[:24]
    assert {number for number, _ in trained} == {0}
    # Every image comes in the first round, and a second time under another index.
    assert {index for _, index in trained[:train]} == set(range(train))
    assert {index % train for _, index in trained} == set(range(train))
    assert len({index for _, index in trained}) == 24


def test_a_run_can_begin_with_the_weights_of_another(finished, tiny_data, tmp_path, samples):
    report, _ = finished
    split = json.loads((report.folder / SPLIT_FILE).read_text())
    parts = {
        "train": [s for s in samples if s.sample_id in split["train"]],
        "validation": [s for s in samples if s.sample_id in split["validation"]],
        "test": [s for s in samples if s.sample_id in split["test"]],
    }
    config = tiny_config(epochs=1, learning_rate=1e-9, start_from=str(report.folder))
    fit(config, tmp_path, parts=parts)
    before, after = load_file(report.folder / WEIGHTS_FILE), load_file(tmp_path / WEIGHTS_FILE)
    learnt = [key for key in before if key.endswith("weight")]
    assert all(torch.allclose(before[key], after[key], atol=1e-5) for key in learnt)


def test_a_run_can_be_the_mean_of_two(finished, tiny_data, tmp_path, samples):
    report, _ = finished
    split = json.loads((report.folder / SPLIT_FILE).read_text())
    parts = {part: [s for s in samples if s.sample_id in split[part]] for part in split}
    fit(tiny_config(epochs=1, start_from=str(report.folder)), tmp_path / "on", parts=parts)
    mean = fit(tiny_config(average_of=(str(report.folder), str(tmp_path / "on"))), tmp_path / "mean", parts=parts)
    shown = torch.rand(2, 3, 64, 64)
    first, second, both = (
        folded_network(load_network(folder)[0], shown) for folder in (report.folder, tmp_path / "on", tmp_path / "mean")
    )
    for name, wanted in mean_of([first, second]).items():
        assert all(torch.allclose(*pair, atol=1e-4) for pair in zip(both[name], wanted, strict=True))
    assert any(not torch.allclose(first[name][0], second[name][0], atol=1e-4) for name in both)
    assert mean.epochs == 1
    assert json.loads((tmp_path / "mean" / SCORES_FILE).read_text())["test"]["images"] == len(parts["test"])


def test_beginning_with_a_network_that_saw_the_test_images_is_refused(finished, tiny_data, tmp_path, samples):
    report, _ = finished
    split = json.loads((report.folder / SPLIT_FILE).read_text())
    parts = {part: [s for s in samples if s.sample_id in split[part]] for part in split}
    leaky = {"train": parts["test"], "validation": parts["validation"], "test": parts["train"]}
    with pytest.raises(
        UsageError, match=rf"start_from: .* has seen {len(parts['train'])} of the images to be tested on"
    ):
        fit(tiny_config(start_from=str(report.folder)), tmp_path / "leaky", parts=leaky)
    with pytest.raises(UsageError, match=r"start_from: .* does not tell in split.json"):
        fit(tiny_config(start_from=str(tmp_path)), tmp_path / "unknown", parts=parts)


def test_parts_given_are_trained_validated_and_tested_on(tiny_data, tmp_path, samples):
    parts = {"train": samples[:8], "validation": samples[8:10], "test": samples[10:13]}
    fit(tiny_config(epochs=1), tmp_path, parts=parts)
    assert sorted(json.loads((tmp_path / SCORES_FILE).read_text())["per_image"]) == sorted(
        s.sample_id for s in samples[10:13]
    )
    assert json.loads((tmp_path / SPLIT_FILE).read_text())["validation"] == sorted(s.sample_id for s in samples[8:10])


def test_the_temperature_of_the_probabilities_is_on_record(finished):
    assert json.loads((finished[0].folder / SCORES_FILE).read_text())["temperature"] not in (0.0, 1.0)


def test_network_of_a_run_is_loaded_for_use_and_one_without_weights_refused(finished, tmp_path):
    network, config, scale = load_network(finished[0].folder)
    assert (config, scale) == (tiny_config(), normalisation(config.encoder))
    assert not network.training
    with pytest.raises(ModelError, match=f"holds no {WEIGHTS_FILE}"):
        load_network(tmp_path)
