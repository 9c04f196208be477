import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.domain.cell_types import CellType
from core.domain.errors import DataSetError, UsageError
from core.domain.settings import ROOT
from core.evaluation import model_selection as results
from core.evaluation.datasets import Sample
from core.evaluation.training_runs import TrainingRun
from tests.training.tiny import DUPLICATES, PER_TYPE
from training.__main__ import main
from training.architectures.weights import normalisation
from training.augment import COPIES
from training.config import SelectionConfig
from training.data import DATA_FILE, masked_samples
from training.selection import AS_PUBLISHED, GROUPED, _status, deal, folds_of, load_items, select, units_of

CPU = torch.device("cpu")
COLUMNS = list(results.UNIT_COLUMNS)


def tiny_selection(**changes):
    """Settings under which a fold takes a second."""
    small = {
        "name": "tiny",
        "data_sets": ("set1",),
        "grouped": ("pspnet", "linknet"),
        "as_published": ("pspnet",),
        "k": (2,),
        "input_size": 32,
        "epochs": 2,
        "images_per_epoch": 12,
        "batch_size": 4,
    }
    return SelectionConfig(**{**small, **changes})


def tables(folder):
    """The three tables without what differs from run to run, or when somebody saves a file meanwhile."""
    measured = ["seconds", "cpu_seconds", "peak_memory_mb", "finished", "commit"]
    return {name: results.read(folder, name).drop(columns=measured, errors="ignore") for name in results.SCHEMAS}


@pytest.fixture(scope="module")
def finished(tiny_root, tmp_path_factory):
    """A whole run and what it announced."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_DATA", str(tiny_root))
        folder = select(tiny_selection(), tmp_path_factory.mktemp("selection"), CPU, on_unit=seen.append)
    return folder, seen


def test_every_unit_has_one_row_and_its_curve(finished):
    folder, _ = finished
    folds, epochs = results.read(folder, "folds"), results.read(folder, "epochs")
    wanted = {(unit.protocol, unit.k, unit.fold, unit.architecture) for unit in units_of(tiny_selection())}
    assert Counter(folds[COLUMNS[1:]].itertuples(index=False, name=None)) == dict.fromkeys(wanted, 1)
    assert set(folds["status"]) == {"done"}
    assert (folds["epochs"] == 2).all()
    assert (folds["images_drawn"] == 24).all(), "every fold has the same budget"
    assert Counter(epochs[COLUMNS[1:]].itertuples(index=False, name=None)) == dict.fromkeys(wanted, 2)


def test_row_describes_the_fold(finished):
    folder, _ = finished
    folds = results.read(folder, "folds")
    for column in ("encoder", "versions", "commit", "device", "precision", "finished"):
        assert folds[column].str.len().gt(0).all(), column
    assert folds["parameters"].gt(100_000).all()
    assert folds["peak_memory_mb"].gt(50).all()
    assert (folds["images_train"] + folds["images_validation"] == 16 * COPIES).all()
    assert folds["seconds"].gt(0).all()
    assert folds["cpu_seconds"].gt(0).all()


def test_each_copy_is_validated_once_and_a_folds_dice_is_the_mean_of_its_images(finished):
    folder, _ = finished
    folds, images = results.read(folder, "folds"), results.read(folder, "images")
    for _, run in images.groupby(["protocol", "k", "architecture"]):
        assert Counter(run[["sample_id", "copy"]].itertuples(index=False, name=None)).most_common(1)[0][1] == 1
        assert len(run) == 2 * PER_TYPE["set1"] * COPIES
    means = images.groupby(COLUMNS)[["dice_nucleus", "dice_cytoplasm"]].mean().reset_index()
    both = folds.merge(means, on=COLUMNS, suffixes=("", "_images"))
    for name in ("nucleus", "cytoplasm"):
        assert both[f"dice_{name}"].to_numpy() == pytest.approx(both[f"dice_{name}_images"].to_numpy())
    assert folds["dice_mean"].to_numpy() == pytest.approx(
        folds[["dice_nucleus", "dice_cytoplasm"]].mean(axis=1).to_numpy()
    )


def test_grouped_folds_part_originals_and_duplicates_and_published_ones_do_not(finished):
    folder, _ = finished
    images = results.read(folder, "images")
    folds = images.groupby(["protocol", "architecture", "sample_id"])["fold"].agg(set)
    assert {len(seen) for seen in folds[GROUPED]} == {1}
    assert folds[GROUPED, "pspnet", DUPLICATES[0]] == folds[GROUPED, "pspnet", DUPLICATES[1]]
    assert folds[GROUPED, "pspnet"].equals(folds[GROUPED, "linknet"]), "architectures are compared on the same folds"
    assert max(len(seen) for seen in folds[AS_PUBLISHED]) == 2


def test_finished_run_is_compact_and_leaves_nothing_else(finished):
    folder, _ = finished
    assert {path.name for path in folder.iterdir()} == {
        "config.toml",
        DATA_FILE,
        *(f"{table}.parquet" for table in results.SCHEMAS),
    }
    assert SelectionConfig.from_toml(folder / "config.toml") == tiny_selection()


def test_progress_counts_up_to_the_end(finished):
    _, seen = finished
    assert [progress.done for progress in seen] == list(range(1, 7))
    assert {progress.units for progress in seen} == {6}
    assert seen[-1].minutes_left == 0 < seen[0].minutes_left


def test_finished_run_is_not_run_again(finished, tiny_data):
    folder, _ = finished
    before = {path: path.read_bytes() for path in folder.iterdir()}
    seen = []
    select(tiny_selection(), folder.parent, CPU, on_unit=seen.append)
    assert seen == []
    assert {path: path.read_bytes() for path in folder.iterdir()}.keys() == before.keys()


def test_another_list_extends_a_run_and_other_settings_are_refused(finished, tiny_data, tmp_path):
    first = tiny_selection(grouped=("pspnet",), as_published=())
    folder = select(first, tmp_path, CPU)
    wider = tiny_selection()
    seen = []
    select(wider, tmp_path, CPU, on_unit=seen.append)
    assert len(seen) == 4
    for name, table in tables(folder).items():
        assert table.equals(tables(finished[0])[name]), "a fold depends on what else is run"
    with pytest.raises(UsageError, match=r"holds a run with other settings \(epochs, seed\)"):
        select(tiny_selection(epochs=3, seed=8), tmp_path, CPU)


# ---- killed, shared


def start(config, tmp_path, data, *options):
    """The command itself, in a process of its own."""
    (tmp_path / "config.toml").write_text(config.to_toml())
    command = [
        sys.executable,
        "-m",
        "training",
        "select",
        "--config",
        str(tmp_path / "config.toml"),
        "--out",
        str(tmp_path / "out"),
    ]
    command += options
    environment = {**os.environ, "LEUKOSCOPE_DATA": str(data)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def wait_for(condition, process, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


@pytest.mark.timeout(600)
def test_killed_in_the_middle_of_a_fold_it_goes_on_and_comes_to_the_same_result(tiny_data, tmp_path):
    config = tiny_selection(grouped=("pspnet",), as_published=(), epochs=12)
    process = start(config, tmp_path, tiny_data)
    second = tmp_path / "out" / "tiny" / results.WORK_FOLDER / "grouped-k2-fold2-pspnet.pt"
    wait_for(second.exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    folder = tmp_path / "out" / "tiny"
    assert results.read(folder, "folds")["fold"].tolist() == [1]
    learnt = len(torch.load(second, weights_only=True)["epochs"])
    assert 1 <= learnt < 12

    seen = []
    select(config, tmp_path / "out", CPU, on_unit=seen.append)
    assert [progress.row["fold"] for progress in seen] == [2]
    select(config, tmp_path / "whole", CPU)
    for name, table in tables(folder).items():
        assert table.equals(tables(tmp_path / "whole" / "tiny")[name]), name


@pytest.mark.timeout(600)
def test_processes_share_a_run_without_doing_anything_twice(finished, tiny_data, tmp_path):
    config = tiny_selection()
    process = start(config, tmp_path, tiny_data, "--workers", "2")
    wait_for((tmp_path / "out" / "tiny" / "config.toml").exists, process)
    # A third joins in, as from another terminal.
    mine = []
    select(config, tmp_path / "out", CPU, on_unit=mine.append)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert said.count("another process takes part, on cpu") == 1
    units = [line.split(": ")[0].split(" ", 1)[1] for line in said.splitlines() if line.endswith(" left")]
    assert len(units) == len(set(units)) == 6 - len(mine)
    for name, table in tables(tmp_path / "out" / "tiny").items():
        assert table.equals(tables(finished[0])[name]), name


# ---- what goes wrong in one fold


def test_diverged_fold_is_recorded_and_the_run_goes_on(tiny_data, tmp_path, capsys):
    config = tiny_selection(grouped=("pspnet",), as_published=(), learning_rate=1e30)
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert main(["select", "--config", str(tmp_path / "config.toml"), "--out", str(tmp_path)]) == 1
    folds = results.read(tmp_path / "tiny", "folds")
    assert folds["status"].tolist() == ["diverged", "diverged"]
    assert folds["reason"].str.contains("loss is (?:nan|inf)").all()
    assert folds["dice_mean"].isna().all()
    assert "failed: grouped k=2 fold 1 pspnet: diverged: the " in capsys.readouterr().err


def test_full_disk_is_recorded_the_run_goes_on_and_the_fold_can_be_tried_again(tiny_data, tmp_path, capsys, full_disk):
    config = tiny_selection(grouped=("pspnet",), as_published=())
    full_disk("grouped-k2-fold1-pspnet.pt")
    folder = select(config, tmp_path, CPU)
    folds = results.read(folder, "folds")
    assert folds["status"].tolist() == ["disk full", "done"]
    assert "No space left on device" in folds["reason"][0]
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert main(["select", "--config", str(tmp_path / "config.toml"), "--out", str(tmp_path), "--retry"]) == 0
    assert "1 failed folds will be tried again" in capsys.readouterr().err
    assert results.read(folder, "folds")["status"].tolist() == ["done", "done"]
    assert len(results.read(folder, "images")) == 16 * COPIES
    (warning,) = TrainingRun(folder).warnings()
    assert warning == "k = 2: there is no interval and no test of fewer than 3 folds; a k of 5 or more is better"


def test_folds_of_few_images_are_told_before_anything_is_trained(tiny_data, tmp_path, caplog):
    class BegunError(Exception):
        pass

    def stop():
        raise BegunError

    with pytest.raises(BegunError):
        select(tiny_selection(k=(3, 5)), tmp_path, CPU, on_start=stop)
    assert caplog.messages == [
        "k = 5: each fold is scored on 3 independent images only, so chance ranks the networks; take a smaller k, or 10"
        " more images"
    ]


@pytest.mark.parametrize("allocate", [lambda: np.empty(2**58), lambda: torch.empty(2**50)])
def test_real_errors_of_memory_are_known_as_such(allocate):
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate()
    assert _status(caught.value) == "out of memory"


def test_other_errors_are_bugs_and_stay_so():
    with pytest.raises(RuntimeError, match="shape mismatch"):
        _status(RuntimeError("shape mismatch"))


# ---- folds

GROUPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4)), min_size=2, max_size=40)


@given(groups=GROUPS, k=st.integers(2, 10), seed=st.integers(0, 2**31))
def test_groups_stay_whole_and_every_stratum_is_spread_evenly(groups, k, seed):
    names = [f"{number}" for number, (_, size) in enumerate(groups) for _ in range(size)]
    strata = [stratum for stratum, size in groups for _ in range(size)]
    if len(groups) < k:
        with pytest.raises(
            DataSetError, match=f"{k} folds need at least as many independent images, but there are {len(groups)}"
        ):
            deal(names, strata, k, seed)
        return
    folds = deal(names, strata, k, seed)
    of_group = {}
    for name, fold in zip(names, folds, strict=True):
        assert of_group.setdefault(name, fold) == fold, "a group is in two folds"
    assert set(of_group.values()) == set(range(1, k + 1))
    for letter in "abc":
        counts = Counter(of_group[f"{number}"] for number, (stratum, _) in enumerate(groups) if stratum == letter)
        assert max(counts.values(), default=0) - min((counts[fold] for fold in range(1, k + 1)), default=0) <= 1
    counts = Counter(of_group.values())
    assert max(counts.values()) - min(counts.values()) <= 1
    assert np.array_equal(deal(names, strata, k, seed), folds)


@given(sizes=st.lists(st.integers(1, 3), min_size=4, max_size=12), k=st.integers(2, 4), seed=st.integers(0, 99))
def test_no_original_duplicate_or_copy_is_in_two_grouped_folds(sizes, k, seed):
    samples = [
        Sample(f"set1/{group}-{member}", Path("x"), Path("x"), CellType.MONOCYTE, f"set1/{group}", copy=copy)
        for group, size in enumerate(sizes)
        for member in range(size)
        for copy in range(COPIES)
    ]
    folds = {}
    for sample, fold in zip(samples, folds_of(samples, GROUPED, k, seed), strict=True):
        folds.setdefault(sample.group, set()).add(fold)
    assert {len(seen) for seen in folds.values()} == {1}


def test_published_folds_part_the_copies_of_one_original():
    samples = [
        Sample(f"set1/{i}", Path("x"), Path("x"), CellType.MONOCYTE, f"set1/{i}", copy=c)
        for i in range(20)
        for c in range(COPIES)
    ]
    folds = folds_of(samples, AS_PUBLISHED, 10, 7).reshape(20, COPIES)
    assert sorted(Counter(folds.ravel()).values()) == [32] * 10
    # All but certain: some copy of every validation image is trained on.
    assert all(len(set(row)) > 1 for row in folds)


def test_run_that_began_with_other_images_is_not_gone_on_with(finished, tiny_data, tmp_path, monkeypatch):
    shutil.copytree(finished[0], tmp_path / "out" / "tiny")
    shutil.copytree(tiny_data, tmp_path / "data")
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path / "data"))
    mask = tmp_path / "data" / "wbc_zheng" / "set1" / "masks" / "monocyte-0.png"
    mask.write_bytes(mask.with_name("monocyte-2.png").read_bytes())
    with pytest.raises(
        UsageError, match="tiny holds a run that began with other images, masks or labels; put them back"
    ):
        select(tiny_selection(k=(2, 3)), tmp_path / "out", CPU)
    assert SelectionConfig.from_toml(tmp_path / "out" / "tiny" / "config.toml") == tiny_selection()


def test_command_says_who_leads_and_where_to_look(finished, tiny_data, tmp_path, monkeypatch, capsys):
    folder, _ = finished
    (tmp_path / "config.toml").write_text(tiny_selection().to_toml())
    command = ["select", "--config", str(tmp_path / "config.toml"), "--device", "cpu"]
    assert main([*command, "--out", str(folder.parent)]) == 0
    told = capsys.readouterr().out
    folds = results.read(folder, "folds")
    grouped = folds[folds["protocol"] == GROUPED].groupby("architecture")["dice_mean"].mean()
    titles = {"pspnet": "PSPNet", "linknet": "LinkNet"}
    assert f"grouped: {titles[grouped.idxmax()]} leads with a Dice of {grouped.max():.3f}" in told
    for name, mean in grouped.items():
        assert re.search(rf"  {titles[name]} +Dice {mean:.4f}, 2 folds\n", told)
    assert "2 folds say nothing of chance" in told
    assert "as-published: PSPNet reaches a Dice of" in told
    assert f"6 of 6 folds are in {folder}\n" in told
    assert f"next: LEUKOSCOPE_SELECTION={folder.parent} python -m core selection tiny, or " in told
    monkeypatch.setenv("LEUKOSCOPE_SELECTION", str(folder.parent))
    assert main(command) == 0
    assert "\nnext: python -m core selection tiny, or make app and its page Models\n" in capsys.readouterr().out


def test_batches_are_normalised_as_the_encoder_wants(samples):
    items = load_items(samples[:1], tiny_selection(encoder="tu-resnet18"))
    ((images, _),) = items.batches([0], 4)
    mean, std = normalisation("tu-resnet18")
    assert mean != normalisation(tiny_selection().encoder).mean
    assert torch.allclose(
        images[0].permute(1, 2, 0) * torch.tensor(std) + torch.tensor(mean),
        torch.from_numpy(items.rgb[0]) / 255,
        atol=1e-6,
    )


def test_too_many_folds_are_refused_before_anything_is_trained(tiny_data, tmp_path):
    with pytest.raises(DataSetError, match="16 folds need at least as many independent images, but there are 15"):
        select(tiny_selection(k=(2, 16)), tmp_path, CPU)


def test_architecture_that_cannot_take_the_input_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UsageError, match="PAN needs an input_size of at least 128"):
        select(tiny_selection(grouped=("pspnet", "pan")), tmp_path, CPU)
    assert not list(tmp_path.iterdir())


def test_copies_on_disk_are_the_copies_made_in_memory(tiny_data, tmp_path):
    assert main(["augment", "--data-sets", "set1", "--out", str(tmp_path / "copies")]) == 0
    made, read = (
        load_items(masked_samples(names), tiny_selection()) for names in (("set1",), (str(tmp_path / "copies"),))
    )
    assert [(sample.original, sample.copy) for sample in read.samples] == [
        (sample.sample_id, sample.copy) for sample in made.samples
    ]
    assert [sample.group for sample in read.samples] == [sample.group for sample in made.samples]
    assert np.array_equal(read.rgb, made.rgb)
    assert np.array_equal(read.labels, made.labels)
    folds = [folds_of(items.samples, GROUPED, 3, 7).tolist() for items in (made, read)]
    assert folds[0] == folds[1]
