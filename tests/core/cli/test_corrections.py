"""`leukoscope corrections`, run in this process."""

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from core.corrections.deciding import Decision, decide
from core.corrections.drafts import keep_draft
from core.corrections.opening import open_analysed
from core.domain.types import LabelMap
from core.evaluation.datasets import data_set
from core.image.imaging import load
from core.pipeline import analyse, remeasured
from core.store import outline_log
from core.store.outline_log import OutlineStatus, without_ring
from tests.core.cli.support import run, save_cell


@pytest.fixture
def decided(tmp_path, monkeypatch, segmenter) -> list[Path]:
    """Three images; the cells of two are corrected, by different people, and one is accepted."""
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(tmp_path / "cohort"))
    monkeypatch.setenv("LEUKOSCOPE_ROOTS", str(tmp_path / "images"))
    (tmp_path / "images").mkdir()
    paths = [save_cell(tmp_path / "images" / f"{name}.png", seed) for seed, name in enumerate("abc")]
    for path, who, blind in zip(paths, ("Ann", "Ben", "Ann"), (False, True, False), strict=True):
        cell = open_analysed(analyse(load(path), segmenter))
        status, corrected = OutlineStatus.ACCEPTED, None
        if path.stem != "c":
            labels = without_ring(cell.analysis.segmentation.labels).copy()
            labels[: labels.shape[0] // 2 - 25] = 0
            status, corrected = OutlineStatus.CORRECTED, remeasured(cell.analysis, LabelMap(labels), segmenter)
        decide(tmp_path / "cohort", cell, Decision(status, who, None, corrected, why="pale", blind=blind))
        keep_draft(tmp_path / "cohort", "browser", cell.key, cell.analysis.segmentation.labels)
    return paths


def test_list_tells_who_decided_what_and_how_far_blind_drawings_are_from_the_model(decided, capsys):
    code, out, _ = run(capsys, "corrections", "list")
    assert code == 0
    assert out.count("  Ann  ") == 2
    assert "drawn blind" in out
    assert out.splitlines()[-1] == "3 decisions: 2 corrected, 1 accepted"
    code, out, _ = run(capsys, "corrections", "list", "--standing", "--json")
    told = json.loads(out)
    assert told["summary"]["by_status"] == {"corrected": 2, "accepted": 1}
    assert {name: part["n"] for name, part in told["summary"]["to_the_model"].items()} == {"seen": 1, "blind": 1}
    assert 0.5 < told["summary"]["to_the_model"]["blind"]["median_dice_cell"] < 1


def test_list_of_nothing_is_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(tmp_path))
    assert run(capsys, "corrections", "list")[:2] == (0, "0 decisions\n")


def test_r31_export_makes_a_folder_to_train_on_after_a_confirmation_that_names_folder_and_number(
    decided, tmp_path, capsys, monkeypatch
):
    target = tmp_path / "train"
    monkeypatch.setattr(sys, "stdin", io.StringIO("no\n"))
    code, _, err = run(capsys, "corrections", "export", "--out", target)
    assert (code, target.exists()) == (1, False)
    assert f"This copies 2 pictures to {target}" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\n"))
    code, out, _ = run(capsys, "corrections", "export", "--out", target)
    assert code == 0
    assert "2 corrected" in out
    assert len(list(data_set(str(target)).samples())) == 2
    with (target / "corrections.csv").open() as file:
        assert {row["who"]: row["blind"] for row in csv.DictReader(file)} == {"Ann": "False", "Ben": "True"}


def test_a_picture_that_is_nowhere_is_named_and_the_others_are_written(decided, tmp_path, capsys):
    decided[0].unlink()
    code, out, _ = run(capsys, "corrections", "export", "--out", tmp_path / "train", "--yes", "--json")
    told = json.loads(out)
    assert (code, told["written"], len(told["left_out"])) == (1, {"corrected": 1}, 1)
    assert "name its folder with --images" in next(iter(told["left_out"].values()))


def test_export_of_nothing_is_wrong_use(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(tmp_path / "cohort"))
    code, _, err = run(capsys, "corrections", "export", "--out", tmp_path / "train", "--yes")
    assert code == 2
    assert "correct some cells first" in err


def test_forget_deletes_a_person_or_an_image_with_all_that_is_kept(decided, tmp_path, capsys):
    root = tmp_path / "cohort"
    assert run(capsys, "corrections", "forget", "--who", "Ann")[:2] == (0, "2 decisions and 2 drafts were deleted\n")
    for path in root.rglob("*"):
        assert not path.is_file() or b"Ann" not in path.read_bytes()
    sha = outline_log.read(root).records[0].cell.image_sha256
    code, out, _ = run(capsys, "corrections", "forget", "--image", sha[:16], "--json")
    assert (code, json.loads(out)) == (0, {"forgotten": 1, "drafts": 1})
    assert list((root / "corrections" / "masks").iterdir()) == []
    assert run(capsys, "corrections", "forget", "--image", sha[:5])[0] == 2
