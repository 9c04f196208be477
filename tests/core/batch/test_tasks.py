"""What passes between the parent of a run and its workers."""

import pickle

import pytest

from core.batch.tasks import ImageResult, Loaded, Stage, Stamp, Task

STAMP = Stamp(7, "2026-11-23")


def rows(*cells):
    return [{"quality_ok": quality_ok, "confidence": confidence} for quality_ok, confidence in cells]


@pytest.mark.parametrize(
    ("cells", "flagged", "confidence"),
    [
        ([], False, None),
        ([(True, 0.9)], False, 0.9),
        ([(True, 0.9), (True, 0.6), (True, 0.8)], False, 0.6),
        ([(True, 0.9), (False, 0.95)], True, 0.9),
    ],
)
def test_an_image_is_flagged_by_any_cell_and_as_certain_as_the_least(cells, flagged, confidence):
    result = ImageResult("a.png", rows=rows(*cells))
    assert (result.failed, result.flagged, result.confidence) == (False, flagged, confidence)


def test_a_failure_keeps_what_is_known_of_the_image():
    result = Loaded(Task("a.png", "monocyte", "p1"), b"content", STAMP).failed(
        Stage.DECODE, "a.png: no image", "0" * 64
    )
    assert result.failed
    assert (result.image_path, result.sha256, result.stamp) == ("a.png", "0" * 64, STAMP)
    assert (result.stage, result.reason) == (Stage.DECODE, "a.png: no image")
    assert (list(result.rows), dict(result.files), result.flagged, result.confidence) == ([], {}, False, None)


def test_tasks_and_results_pass_between_processes():
    task = Task("Größe/a.png", "monocyte", "p1")
    result = ImageResult(
        "a.png", "0" * 64, STAMP, rows((False, 0.5)), {"masks/a.png.png": b"\0\1"}, Stage.WRITE, "full"
    )
    assert pickle.loads(pickle.dumps(task)) == task
    there = pickle.loads(pickle.dumps(result))
    assert vars(there) == vars(result)


def test_stages_are_written_as_their_words():
    """They stand in errors.csv and in the metadata of shards, which later versions read."""
    words = ["list", "read", "decode", "outline", "measure", "time", "memory", "crash", "write", "label", "duplicate"]
    assert [f"{stage}" for stage in Stage] == words
    assert [Stage(word) for word in words] == list(Stage)
