import csv
import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from core.domain.errors import DataSetError, UsageError
from tests.training.tiny import PER_TYPE, tiny_config
from training.data import load_labelled, masked_samples
from training.evaluate import evaluate
from training.experiments.disturbances import ImagingCondition
from training.experiments.validation import (
    CALIBRATED,
    IMAGES_FILE,
    REPORT_FILE,
    SPLIT_REPORT_FILE,
    TABLE_FILE,
    Scheme,
    ValidationPlan,
    criterion,
    for_card,
    report_of,
    splits_of,
    validate,
)
from training.loop import CHECKPOINT_FILE, LOG_FILE, WEIGHTS_FILE
from training.segmenter import TorchSegmenter, shipped_localiser

CPU = torch.device("cpu")
BOTH = ("set1", "set2")
PLAN = ValidationPlan(subset=2)


class KilledError(Exception):
    """What ends a run between two epochs."""


@pytest.fixture
def both(tiny_data):
    return masked_samples(BOTH)


def config_of(**changes):
    return tiny_config(
        **{"data_sets": BOTH, "epochs": 1, "images_per_epoch": 8, "name": "tiny", "architecture": "linknet", **changes}
    )


@pytest.fixture(scope="module")
def finished(tiny_root, tmp_path_factory):
    """Folder of a finished validation of one epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_DATA", str(tiny_root))
        threads = torch.get_num_threads()
        folder = validate(config_of(), tmp_path_factory.mktemp("validation"), PLAN, CPU)
        torch.set_num_threads(threads)
    return folder


# --- the splits ---


@pytest.mark.parametrize("plan", [ValidationPlan(), ValidationPlan(Scheme.GROUPED, k=3)])
def test_every_image_is_held_out_once_and_groups_stay_whole(both, plan):
    splits = splits_of(both, config_of(), plan)
    held = Counter(sample.sample_id for split in splits for sample in split.held_out)
    assert held == Counter(sample.sample_id for sample in both)
    for split in splits:
        parts = [{sample.group for sample in part} for part in (split.train, split.validation, split.held_out)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts)), "a group is in two parts"
        assert sorted(s.sample_id for part in (split.train, split.validation, split.held_out) for s in part) == sorted(
            held
        )
    assert splits == splits_of(both, config_of(), plan)


def test_a_source_left_out_is_out_entirely(both):
    splits = splits_of(both, config_of(), ValidationPlan())
    assert [split.name for split in splits] == ["unseen-set1", "unseen-set2"]
    for split in splits:
        unseen = split.name.removeprefix("unseen-")
        assert {s.sample_id.split("/")[0] for s in split.held_out} == {unseen}
        assert unseen not in {s.sample_id.split("/")[0] for s in split.train + split.validation}
        assert len(split.held_out) == 2 * PER_TYPE[unseen]
        # The shares of the config, 0.6 and 0.2: one of four.
        assert len(split.validation) / (len(split.train) + len(split.validation)) == pytest.approx(1 / 4, abs=0.1)


def test_leaving_out_the_only_source_is_refused(samples):
    with pytest.raises(DataSetError, match=r"there must be two data sets or more, but the config names \['set1'\]"):
        splits_of(samples, config_of(data_sets=("set1",)), ValidationPlan())


# --- a run ---


def test_a_run_leaves_a_report_rows_and_a_line(finished, tiny_data, both):
    assert finished.name == "tiny-leave-one-source-out-n2"
    report = json.loads((finished / REPORT_FILE).read_text())
    rows = pd.read_parquet(finished / IMAGES_FILE)
    assert rows["sample_id"].nunique() == len(both)
    counts = rows["condition"].value_counts()
    assert counts[str(ImagingCondition.CLEAN)] == counts[CALIBRATED] == len(both)
    assert {counts[str(condition)] for condition in ImagingCondition if condition is not ImagingCondition.CLEAN} == {4}
    assert all(rows[f"dice_{region}"].between(0, 1).all() for region in ("nucleus", "cytoplasm", "cell"))
    assert set(report["conditions"]) == {*map(str, ImagingCondition), CALIBRATED}
    assert report["criterion"] == round(criterion(rows), 4)
    clean = rows[rows["condition"] == str(ImagingCondition.CLEAN)]
    for source in BOTH:
        mean = clean.loc[clean["source"] == source, "dice_nucleus"].mean()
        summary = report["conditions"][str(ImagingCondition.CLEAN)][source]["nucleus"]
        assert summary["dice_mean"] == pytest.approx(mean, abs=1e-4)
        assert summary["dice_ci95"][0] <= summary["dice_mean"] <= summary["dice_ci95"][1]
        assert set(report["cell_types"][source]) == {"lymphocyte", "monocyte"}
    assert (report["seed"], report["config"]["name"], report["plan"]["scheme"]) == (7, "tiny", "leave-one-source-out")
    assert report["commit"]
    assert set(report["splits"]) == {"unseen-set1", "unseen-set2"}
    with (finished.parent / TABLE_FILE).open() as handle:
        (line,) = csv.DictReader(handle)
    assert (line["name"], float(line["criterion"])) == ("tiny", report["criterion"])


def test_scores_are_those_of_the_real_pipeline_on_the_original_pixels(finished, tiny_data, both):
    rows = pd.read_parquet(finished / IMAGES_FILE).set_index(["sample_id", "condition"])
    held = [sample for sample in both if sample.sample_id.startswith("set2/")]
    segmenter = TorchSegmenter.from_run(finished / "unseen-set2", CPU, localiser=shipped_localiser())
    for score in evaluate(segmenter, held):
        row = rows.loc[(score.sample_id, str(ImagingCondition.CLEAN))]
        assert [row[f"dice_{region}"] for region in score.dice] == pytest.approx(list(score.dice.values()), abs=0.01)
        assert row["confidence"] == pytest.approx(score.confidence, abs=0.01)


def test_what_can_be_made_again_is_not_kept(finished):
    for split in ("unseen-set1", "unseen-set2"):
        assert (finished / split / WEIGHTS_FILE).exists()
        assert not (finished / split / CHECKPOINT_FILE).exists()
    assert not (finished / ".work").exists()


def test_a_finished_run_is_not_done_again(finished, tiny_data):
    before = {path: path.read_bytes() for path in finished.parent.rglob("*") if path.is_file()}
    assert (
        validate(config_of(), finished.parent, PLAN, CPU, on_epoch=lambda *_: pytest.fail("trained again")) == finished
    )
    assert {path: path.read_bytes() for path in finished.parent.rglob("*") if path.is_file()} == before


def test_a_killed_run_goes_on_at_the_epoch_and_comes_to_the_same(tiny_data, tmp_path):
    config, plan = config_of(epochs=2, images_per_epoch=4), ValidationPlan(subset=1)

    def kill(split, row):
        if (split.name, row.epoch) == ("unseen-set2", 1):
            raise KilledError

    with pytest.raises(KilledError):
        validate(config, tmp_path / "killed", plan, CPU, on_epoch=kill)
    half = tmp_path / "killed" / f"tiny-{plan.suffix}"
    assert (half / "unseen-set1" / SPLIT_REPORT_FILE).exists()
    assert not (half / REPORT_FILE).exists()
    epochs = []
    folder = validate(
        config, tmp_path / "killed", plan, CPU, on_epoch=lambda split, row: epochs.append((split.name, row.epoch))
    )
    assert epochs == [("unseen-set2", 2)]
    whole = validate(config, tmp_path / "whole", plan, CPU)
    one, other = (pd.read_parquet(at / IMAGES_FILE) for at in (folder, whole))
    pd.testing.assert_frame_equal(one, other)
    assert len((folder / "unseen-set2" / LOG_FILE).read_text().splitlines()) == 3


def test_a_folder_of_other_settings_is_refused(finished, tiny_data):
    with pytest.raises(UsageError, match=r"holds a run with other settings \(seed\)"):
        validate(config_of(seed=8), finished.parent, PLAN, CPU)
    with pytest.raises(UsageError, match="name becomes a folder"):
        validate(config_of(name="../x"), finished.parent, PLAN, CPU)


def test_each_split_begins_with_the_network_of_its_own(finished, tiny_data, tmp_path):
    config = config_of(name="again", start_from=str(finished / "{split}"), learning_rate=1e-9)
    rows = pd.read_parquet(validate(config, tmp_path, ValidationPlan(subset=1), CPU) / IMAGES_FILE)
    before = pd.read_parquet(finished / IMAGES_FILE)
    clean, was = (
        t[t["condition"] == str(ImagingCondition.CLEAN)].set_index("sample_id")["dice_nucleus"] for t in (rows, before)
    )
    # Batch statistics go on, weights do not.
    assert np.abs(clean - was.reindex(clean.index)).median() < 0.1
    leaky = config_of(name="leaky", start_from=str(finished / "unseen-set2"))
    with pytest.raises(UsageError, match=r"has seen .* of the images to be tested on"):
        validate(leaky, tmp_path, ValidationPlan(subset=1), CPU)


# --- the figures ---


def rows_of(source, dice, conditions):
    return [
        {
            "source": source,
            "sample_id": f"{source}/a",
            "cell_type": "monocyte",
            "condition": str(c),
            "dice_nucleus": d,
            "dice_cytoplasm": d,
        }
        for c, d in zip(conditions, dice, strict=True)
    ]


def test_criterion_by_hand():
    conditions = list(ImagingCondition)
    # As photographed 0.9, all others 0.5 but thin cytoplasm, which must not count; the other source 0.8 throughout.
    first = [0.9 if c is ImagingCondition.CLEAN else 0.0 if c is ImagingCondition.THIN else 0.5 for c in conditions]
    table = pd.DataFrame(rows_of("set1", first, conditions) + rows_of("set2", [0.8] * len(conditions), conditions))
    table.loc[table["source"] == "set1", "dice_cytoplasm"] -= 0.1
    expected = ((0.85 + 0.45) / 2 + 0.8) / 2
    assert criterion(table) == pytest.approx(expected)


def test_report_of_a_table_counts_poor_cells_and_their_confidence(finished):
    table = pd.read_parquet(finished / IMAGES_FILE)
    report = report_of(table)
    clean = table[table["condition"] == str(ImagingCondition.CLEAN)]
    dice = clean[["dice_nucleus", "dice_cytoplasm"]].mean(axis=1)
    assert report["confidence"][str(ImagingCondition.CLEAN)]["poor"] == int((dice < 0.9).sum())
    assert report["failure_modes"]["touches the image's edge"]["images"] == int(clean["border"].sum())


def test_items_are_scored_against_the_disturbed_mask(finished, tiny_data, both):
    rows = pd.read_parquet(finished / IMAGES_FILE)
    cut = rows[rows["condition"] == str(ImagingCondition.CUT)]
    # What is measured of a cell is measured once, on the picture as it is.
    for _, row in cut.iterrows():
        item = load_labelled(next(s for s in both if s.sample_id == row["sample_id"]))[0]
        assert row["nucleus_share"] == pytest.approx((item.labels == 3).sum() / (item.labels >= 2).sum())


def test_a_card_says_what_each_source_scored_as_photographed(finished, tmp_path):
    ((scheme, facts),) = for_card(finished).items()
    report = json.loads((finished / REPORT_FILE).read_text())
    assert (scheme, facts["config"]) == ("leave-one-source-out", "tiny")
    assert facts["sources"] == report["conditions"]["as photographed"]
    with pytest.raises(UsageError, match=f"holds no {REPORT_FILE} of a finished validation"):
        for_card(tmp_path)
