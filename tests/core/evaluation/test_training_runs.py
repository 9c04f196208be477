import json
import os

import pandas as pd
import pytest

from core.domain.errors import StoreError
from core.evaluation.training_runs import best_epoch, training_runs


@pytest.fixture
def root(tmp_path):
    for age, name in enumerate(("new", "old")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.toml").write_text("epochs = 2\n")
        (folder / "log.csv").write_text("epoch,seconds\n1,2.5\n")
        os.utime(folder / "log.csv", (1000 - age, 1000 - age))
    (tmp_path / "something else").mkdir()
    return tmp_path


def test_runs_come_latest_first_and_other_folders_are_left_out(root):
    runs = training_runs(root)
    assert [run.name for run in runs] == ["new", "old"]
    assert runs[0].modified == 1000
    assert runs[0].config() == "epochs = 2\n"
    assert runs[0].log().to_dict("records") == [{"epoch": 1, "seconds": 2.5}]
    assert training_runs(root / "nowhere") == []


def test_scores_and_cases_are_there_when_the_test_is(root):
    run = training_runs(root)[0]
    assert run.scores() is None
    assert run.cases("worst") == []
    (run.folder / "scores.json").write_text(json.dumps({"test": {"images": 3}}))
    (run.folder / "cases").mkdir()
    for name in ("worst-2-b.png", "worst-1-a.png", "best-1-c.png"):
        (run.folder / "cases" / name).write_bytes(b"")
    assert run.scores() == {"test": {"images": 3}}
    assert [path.name for path in run.cases("worst")] == ["worst-1-a.png", "worst-2-b.png"]


def test_warnings_are_those_of_the_messages(root):
    run = training_runs(root)[0]
    assert run.warnings() == []
    lines = ["2026-11-29T10:00:00+00:00 INFO 2 steps", "2026-11-29T10:00:01+00:00 WARNING set1/a: moved", "cut"]
    (run.folder / "messages.log").write_text("\n".join(lines))
    assert run.warnings() == ["set1/a: moved"]


def test_damaged_files_are_told_in_words(root):
    run = training_runs(root)[0]
    (run.folder / "messages.log").write_bytes(b"\xff")
    with pytest.raises(StoreError, match=r"messages\.log cannot be read"):
        run.warnings()
    (run.folder / "scores.json").write_text("{")
    (run.folder / "log.csv").write_text("")
    with pytest.raises(StoreError, match=r"scores\.json cannot be read"):
        run.scores()
    with pytest.raises(StoreError, match=r"log\.csv cannot be read"):
        run.log()


def test_a_run_goes_on_until_it_is_scored_or_has_been_silent_for_three_epochs(root):
    run = training_runs(root)[0]
    (run.folder / "log.csv").write_text("epoch,seconds\n1,100\n2,200\n")
    os.utime(run.folder / "log.csv", (1000, 1000))
    assert run.going_on(1000 + 449)
    assert not run.going_on(1000 + 451)
    (run.folder / "log.csv").write_text("epoch,seconds\n1,0.1\n")
    os.utime(run.folder / "log.csv", (1000, 1000))
    assert run.going_on(1029), "short epochs are no reason to give up at once"
    (run.folder / "scores.json").write_text(json.dumps({"test": {}}))
    assert not run.going_on(1001)


def test_the_best_epoch_has_the_best_mean_of_both_parts():
    log = pd.DataFrame({"epoch": [1, 2, 3], "val_dice_nucleus": [0.9, 0.8, 0.7], "val_dice_cytoplasm": [0.5, 0.8, 0.8]})
    assert best_epoch(log)["epoch"] == 2


def test_what_is_no_file_or_nested_too_deeply_is_told(root):
    run = training_runs(root)[0]
    (run.folder / "scores.json").write_text("[" * 100_000)
    with pytest.raises(StoreError, match=r"scores\.json cannot be read"):
        run.scores()
    (run.folder / "log.csv").unlink()
    os.mkfifo(run.folder / "log.csv")
    with pytest.raises(StoreError, match=r"log\.csv cannot be read"):
        run.log()
    (run.folder / "config.toml").write_bytes(b"\xff")
    with pytest.raises(StoreError, match=r"config\.toml cannot be read"):
        run.config()
