import csv
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import DataSetError, UsageError
from tests.training.tiny import tiny_config
from training.architectures import build
from training.architectures.weights import Normalisation, normalisation
from training.config import TrainingConfig
from training.data import DATA_FILE, SegDataset, split_samples
from training.final_test import CASES
from training.loop import CASES_FOLDER, CHECKPOINT_FILE, CONFIG_FILE, LOG_FILE, SCORES_FILE, SPLIT_FILE, WEIGHTS_FILE, fit, read_weights
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
    assert split == {part: sorted(s.sample_id for s in members) for part, members in split_samples(samples, tiny_config()).items()}
    log = read_log(report.folder)
    assert [row["epoch"] for row in log] == ["1", "2"]
    assert [float(row["val_dice_nucleus"]) for row in log] == [row.val_dice_nucleus for row in rows]


def test_report_names_the_epoch_of_highest_validation_dice(finished):
    report, rows = finished
    best = max(rows, key=lambda row: row.val_dice)
    assert (report.epochs, report.best_epoch, report.best_val_dice, report.stopped_early) == (2, best.epoch, best.val_dice, False)
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
    worst = min(scores["per_image"], key=lambda i: scores["per_image"][i]["nucleus"] + scores["per_image"][i]["cytoplasm"])
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
    with pytest.raises(DataSetError, match=r"every part needs images, but there are: train \d+, validation \d+, test 0; give more"):
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
