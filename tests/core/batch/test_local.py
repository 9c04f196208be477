"""The engine of one machine.

What its processes are given, what becomes of those that end, and what an image may cost.
"""

import itertools
import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.batch.inputs import FolderInputs
from core.batch.local import LocalEngine
from core.batch.settings import BatchSettings
from core.batch.tasks import ImageResult, Stage, Task
from core.domain.errors import ModelError
from tests.core.batch.support import Quick, Slower, write_images

WHEN = datetime(2026, 11, 23, tzinfo=UTC)
TASKS = [Task(f"000/{number:06d}.png") for number in range(12)]


class KilledOnce(Quick):
    """The system kills the process at one image, but only the first time."""

    def _one(self, one):
        marker = Path(self.settings.label_from)
        if one.task.image_path == TASKS[2].image_path and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._one(one)


class KilledAlways(Quick):
    """The system kills the process at one image every time."""

    def _one(self, one):
        if one.task.image_path == TASKS[2].image_path:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._one(one)


class Long(Quick):
    """Takes longer than an image may; of one image signs of life come meanwhile."""

    def measure(self, loaded, alive=lambda: None):
        until = time.monotonic() + 1.6 * self.settings.time_limit_s
        while time.monotonic() < until:
            time.sleep(0.05)
            if loaded[0].task == TASKS[0]:
                alive()
        return super().measure(loaded, alive)


class Unopened(Quick):
    """There is no model."""

    def open(self):
        raise ModelError("no model: expected one in the models folder")


class EndsWhileOpening(Quick):
    """Too little memory even for the model."""

    def open(self):
        os._exit(9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    write_images(root, len(TASKS))
    return root


@pytest.fixture
def engine(folder, model_entry):
    def made(measurer=Quick, jobs=1, **settings):
        return LocalEngine(
            measurer(FolderInputs(folder), BatchSettings(str(folder), **settings), model_entry, WHEN), jobs
        )

    before = multiprocessing.active_children()
    yield made
    assert set(multiprocessing.active_children()) <= set(before)


def always(_):
    return True


def told(results):
    """Stage of every image, None where there is none; each comes once."""
    found = [(result.image_path, result.stage) for result in results if result is not None]
    assert len(found) == len(dict(found))
    return dict(found)


def test_every_task_has_one_result_and_what_is_one_already_is_passed_on(engine):
    """Also at the beginning and at the end, where no worker is at work."""
    refused = [ImageResult(f"{name}.png", stage=Stage.LIST, reason="a folder") for name in "abc"]
    tasks = [refused[0], *TASKS[:5], refused[1], *TASKS[5:], refused[2]]
    found = told(engine(jobs=2).results(iter(tasks), always))
    assert found == {
        **dict.fromkeys(("a.png", "b.png", "c.png"), Stage.LIST),
        **dict.fromkeys((task.image_path for task in TASKS), None),
    }


def test_where_there_is_nothing_to_measure_no_process_is_started(engine):
    refused = [ImageResult(f"{name}.png", stage=Stage.LIST, reason="a folder") for name in "abc"]
    results = engine(Unopened).results(iter(refused), always)
    assert list(results) == refused
    assert list(engine(Unopened).results(iter(()), always)) == []


def test_only_a_few_tasks_are_taken_ahead_and_closing_ends_the_workers_at_once(engine):
    taken = []
    endless = (taken.append(task) or task for task in itertools.cycle(TASKS))
    before = set(multiprocessing.active_children())  # those of other tests
    results = engine(Slower, jobs=2).results(endless, always)
    came = 0
    while came < 5:
        came += next(results) is not None
    # A worker has one under way, one read ahead and one in waiting.
    assert len(taken) - came <= 2 * 3
    assert len(set(multiprocessing.active_children()) - before) == 2
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 5
    assert set(multiprocessing.active_children()) <= before


def test_workers_get_nothing_while_they_may_not_and_idleness_is_told(engine):
    asked, allowed = [], []

    def may_submit(idle):
        asked.append(idle)
        return bool(allowed)

    results = engine().results(iter(TASKS[:2]), may_submit)
    assert [next(results) for _ in range(5)] == [None] * 5
    assert set(asked) == {True}
    allowed.append(True)
    assert told(results) == {task.image_path: None for task in TASKS[:2]}
    assert False in asked, "while there is something under way they are not idle"


def test_an_image_at_which_a_process_was_killed_once_is_tried_again(engine, tmp_path):
    """The system may have been to blame; nothing of what waited behind it is lost."""
    found = told(engine(KilledOnce, label_from=str(tmp_path / "marker")).results(iter(TASKS), always))
    assert found == {task.image_path: None for task in TASKS}


def test_an_image_that_always_takes_its_process_with_it_is_named_with_its_stamp(engine, folder):
    found = [result for result in engine(KilledAlways).results(iter(TASKS), always) if result is not None]
    (failure,) = (result for result in found if result.failed)
    assert len(found) == len(TASKS)
    assert (failure.image_path, failure.stage) == (TASKS[2].image_path, Stage.CRASH)
    assert failure.stamp == FolderInputs(folder).stamp(failure.image_path)
    assert (
        "ended by signal SIGKILL (for want of memory?); look at the image, or raise the limits and use --retry-failed"
        in failure.reason
    )


def test_time_runs_from_the_last_sign_of_life(engine):
    """A field of very many cells may take longer than an image may, as long as something comes of it."""
    found = [result for result in engine(Long, time_limit_s=2.5).results(iter(TASKS[:2]), always) if result is not None]
    assert told(found) == {TASKS[0].image_path: None, TASKS[1].image_path: Stage.TIME}
    assert "nothing came of it for 2.5 s" in found[1].reason


def test_a_model_that_cannot_be_opened_ends_the_run_with_its_words(engine):
    with pytest.raises(ModelError, match="expected one in the models folder"):
        told(engine(Unopened).results(iter(TASKS), always))


def test_processes_that_end_while_they_open_the_model_are_not_started_for_ever(engine):
    with pytest.raises(
        ModelError, match=r"end while they open the model \(.*ended with code 9\); is there enough memory for --jobs 1"
    ):
        told(engine(EndsWhileOpening).results(iter(TASKS), always))
