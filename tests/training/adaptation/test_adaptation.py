"""Teaching a network a laboratory's cells: with a tiny network, what is learnt from, held back, chosen and kept."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.domain.errors import DataSetError, UsageError
from core.evaluation.adaptation import load
from core.features.catalogue import KEY_FEATURES
from training.adaptation.cells import CORRECTIONS_FILE, corrected_cells, known_cells
from training.adaptation.config import DEFAULT, AdaptationConfig
from training.adaptation.crossfit import CrossFit, choose
from training.adaptation.drawing import Drawing, biases, in_window
from training.adaptation.network import begin_with, between, taught
from training.adaptation.run import adapt
from training.evaluate import ImageScore
from training.loop import CONFIG_FILE, SPLIT_FILE, load_network

TINY = AdaptationConfig(images=8, batch_size=4, workers=0, threads=1)


@pytest.fixture(scope="module")
def corrections(tiny_root, tmp_path_factory):
    """Ten cells of set 2 as corrections: two of one patient, and one drawn blind."""
    folder = tmp_path_factory.mktemp("corrections") / "hospital"
    shutil.copytree(tiny_root / "wbc_zheng" / "set2", folder)
    stems = sorted(path.stem for path in (folder / "images").iterdir())
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image_id", "cell_type", "duplicate_group"])
        for number, stem in enumerate(stems):
            writer.writerow([stem, stem.split("-")[0], "patient" if number < 2 else stem])
    with (folder / CORRECTIONS_FILE).open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["image_id", "blind"])
        writer.writerows([stem, number == 9] for number, stem in enumerate(stems))
    return folder


@pytest.fixture
def beginning(trained_run, tiny_data):
    return begin_with(str(trained_run), [])


def _fit(beginning, cells, folder, config=TINY, tell=lambda *_: None):
    none = cells.of([])
    return CrossFit(beginning, cells, none, none, config, folder, torch.device("cpu"), tell)


# --- cells ---


def test_cells_drawn_blind_are_not_learnt_from(corrections):
    learnt, blind = corrected_cells(corrections, 3)
    assert (len(learnt), len(blind)) == (9, 1)


def test_a_patient_of_a_blind_cell_is_left_out_whole(corrections, tmp_path):
    folder = tmp_path / "hospital"
    shutil.copytree(corrections, folder)
    rows = (folder / CORRECTIONS_FILE).read_text().splitlines()
    (folder / CORRECTIONS_FILE).write_text("\n".join([rows[0], rows[1].replace("False", "True"), *rows[2:]]))
    learnt, blind = corrected_cells(folder, 3)
    assert (len(learnt), len(blind)) == (7, 2)
    assert "hospital/duplicate-patient" not in learnt.groups.values()


def test_too_few_cells_are_told_with_what_is_needed(corrections, tmp_path):
    with pytest.raises(DataSetError, match=r"at least 10 corrected cells of 5 patients or images.* holds 9 of 8"):
        corrected_cells(corrections, 5)


def test_a_folder_of_other_masks_has_no_blind_cells(tiny_root):
    learnt, blind = corrected_cells(tiny_root / "wbc_zheng" / "set2", 3)
    assert (len(learnt), len(blind)) == (10, 0)


def test_a_known_image_that_was_corrected_is_no_more_known(tiny_data, tiny_root):
    cells, _ = corrected_cells(tiny_root / "wbc_zheng" / "set2", 3)
    ids = [f"set1/lymphocyte-{number}" for number in range(3)]
    found = known_cells({"train": ids[:2], "test": [*ids[2:], "set2/lymphocyte-0", "nowhere/1"]}, cells)
    assert {part: set(known.items) for part, known in found.items()} == {"train": set(ids[:2]), "test": {ids[2]}}


# --- settings ---


def test_the_default_settings_are_those_of_the_file_that_explains_them():
    assert AdaptationConfig.from_toml(DEFAULT) == AdaptationConfig()


@pytest.mark.parametrize(
    "wrong", [{"images": 2}, {"folds": 1}, {"known_share": 1.0}, {"shares": ()}, {"shares": (1.2,)}, {"forgets": 0.0}]
)
def test_settings_that_cannot_work_are_refused_in_words(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        replace(TINY, **wrong)


# --- networks ---


def test_the_way_between_two_networks_begins_and_ends_at_them(beginning):
    other = between(beginning.network, beginning.network, 0)
    with torch.no_grad():
        for weight in other.parameters():
            weight.add_(1)
    first, half, second = (between(beginning.network, other, share) for share in (0, 0.5, 1))
    name, weight = next(iter(beginning.network.named_parameters()))
    assert torch.equal(dict(first.named_parameters())[name], weight)
    assert torch.allclose(dict(half.named_parameters())[name], weight + 0.5)
    assert torch.allclose(dict(second.named_parameters())[name], weight + 1)


def test_a_frozen_encoder_stays_and_the_same_seed_gives_the_same(beginning, corrections):
    cells, _ = corrected_cells(corrections, 3)
    config = replace(TINY, frozen=("encoder", "of another network"))
    one, again = (taught(beginning, cells.pairs, [], config, seed=1) for _ in range(2))
    state = one.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in again.state_dict().items())
    began = beginning.network.state_dict()
    moved = {name.split(".")[0] for name, value in state.items() if not torch.equal(value, began[name])}
    assert "encoder" not in moved
    assert "decoder" in moved
    statistics = [name for name in began if "running" in name]
    assert statistics
    assert all(torch.equal(state[name], began[name]) for name in statistics)


# --- folds, choice ---


def test_groups_stay_in_one_fold_and_every_cell_is_held_back_once(beginning, corrections, tmp_path):
    cells, _ = corrected_cells(corrections, 3)
    fit = _fit(beginning, cells, tmp_path)
    held = [set(fit.held_back(fold).items) for fold in fit.folds]
    assert sorted(name for fold in held for name in fold) == sorted(cells.items)
    for fold in fit.folds:
        assert not set(fit.held_back(fold).groups.values()) & set(fit.others(fold).groups.values())


def test_networks_are_kept_so_that_a_stopped_run_goes_on(beginning, corrections, tmp_path):
    cells, _ = corrected_cells(corrections, 3)
    said = []
    fit = _fit(beginning, cells, tmp_path, tell=lambda *told: said.append(told[0]))
    first = fit.without(1)
    assert any("network 1 of 7 learns from" in doing for doing in said)
    said.clear()
    again = _fit(beginning, cells, tmp_path, tell=lambda *told: said.append(told[0]))
    kept = again.without(1).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in first.state_dict().items())
    assert not said
    assert fit.earlier_s == 0
    assert again.earlier_s > 0


def test_the_choice_is_one_of_the_shares_and_the_curve_begins_with_the_model(beginning, corrections, tmp_path):
    cells, _ = corrected_cells(corrections, 3)
    fit = _fit(beginning, cells, tmp_path)
    choice = choose(fit)
    assert choice.share in TINY.shares
    assert set(choice.by_fold.values()) <= set(TINY.shares)
    dice = in_window(beginning.network, beginning, cells)[0]
    means = [np.nanmean([found["nucleus"], found["cytoplasm"]]) for found in dice.values()]
    assert [point.cells for point in choice.curve] == [0, 3, 6]
    assert choice.curve[0].dice == pytest.approx(np.mean(means), abs=1e-3)
    assert choice.temperature > 0


def test_the_bias_is_of_the_model_less_the_drawing_in_spreads_between_cells():
    name, absent = "nucleus_shape2D_Elongation", dict.fromkeys(KEY_FEATURES, None)
    drawn = {str(i): {name: 0.5 + 0.1 * i} for i in range(4)}
    spread = np.std([0.5, 0.6, 0.7, 0.8], ddof=1)

    def off(by):
        values = {cell: {name: value[name] + by} for cell, value in drawn.items()}
        score = ImageScore("", "", {}, {}, 1.0)
        return {cell: Drawing(score, absent | value, {}) for cell, value in values.items()}

    full = {cell: absent | value for cell, value in drawn.items()}
    (bias,) = biases(full, off(0.1), off(0))
    assert bias.feature == name
    assert bias.before == pytest.approx(0.1 / spread, abs=1e-3)
    assert bias.after == pytest.approx(0, abs=1e-9)


# --- the whole ---


@pytest.fixture(scope="module")
def adapted(corrections, trained_run, tiny_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mine"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_DATA", str(tiny_root))
        return out, adapt(corrections, out, TINY, model=str(trained_run))


def test_an_adaptation_is_a_run_with_an_account(adapted, trained_run):
    out, account = adapted
    assert load(out / "adaptation.json") == account
    assert (account.cells, account.groups, account.blind) == (9, 8, 1)
    assert account.held_back["cell"].images == 9
    assert account.blind_sample["cell"].images == 1
    assert set(account.known) == {"set1"}
    network, config, _ = load_network(out)
    assert config.name == "mine"
    assert not network.training
    split, began = (json.loads((run / SPLIT_FILE).read_text()) for run in (out, trained_run))
    assert set(began["train"]) < set(split["train"])
    assert set(split["train"]).isdisjoint(split["test"])
    assert sum(name.startswith("hospital/") for name in split["train"]) == 9
    with (out / "cells.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 10
    assert sum(row["fold"] == "blind" for row in rows) == 1


def test_the_same_command_goes_on_and_another_one_is_refused(adapted, corrections, trained_run, tiny_data):
    out, account = adapted
    again = adapt(corrections, out, TINY, model=str(trained_run))
    assert again.held_back == account.held_back
    with pytest.raises(UsageError, match="other settings"):
        adapt(corrections, out, replace(TINY, seed=8), model=str(trained_run))
    with pytest.raises(UsageError, match="other settings"):
        adapt(corrections, trained_run, TINY, model=str(trained_run))


def test_it_is_not_called_as_the_model_it_begins_with(corrections, trained_run, tiny_data, tmp_path):
    name = load_network(trained_run)[1].name
    with pytest.raises(UsageError, match="name another"):
        adapt(corrections, tmp_path / name, TINY, model=str(trained_run))
    assert not (tmp_path / name / CONFIG_FILE).exists()
