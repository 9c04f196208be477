"""The unit of work of every engine: results in the order of the tasks, whatever becomes of an image."""

import itertools
import os
import pickle
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import onnxruntime
import pytest

from core.batch.inputs import FolderInputs
from core.batch.measure import Measurer
from core.batch.settings import BatchSettings
from core.batch.tasks import Stage, Task
from core.domain.errors import ModelError, ProviderError
from core.image.imaging import encode_png
from tests.core.batch.support import Quick, write_images

WHEN = datetime(2026, 11, 23, tzinfo=UTC)
TASKS = [Task(f"000/{number:06d}.png", patient_id=f"p{number}") for number in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    write_images(root, len(TASKS))
    return root


class Counting(Quick):
    """Several at a time; remembers what was read and how many were measured together."""

    batch_size = 3

    def __init__(self, *arguments, **others):
        super().__init__(*arguments, **others)
        self.was_read, self.together = [], []

    def read(self, task):
        self.was_read.append(task.image_path)
        return super().read(task)

    def measure(self, loaded, alive=lambda: None):
        self.together.append(len(loaded))
        return super().measure(loaded, alive)


def measurer(folder, entry, kind=Quick, **settings):
    return kind(FolderInputs(folder), BatchSettings(str(folder)), entry, WHEN, **settings)


def test_results_come_in_the_order_of_the_tasks_each_with_its_patient(folder, model_entry):
    results = list(measurer(folder, model_entry).results(TASKS))
    assert [result.image_path for result in results] == [task.image_path for task in TASKS]
    assert [result.rows[0]["patient_id"] for result in results] == [f"p{number}" for number in range(len(TASKS))]
    assert not any(result.failed for result in results)


def test_an_image_that_cannot_be_read_is_a_failure_in_its_place(folder, model_entry, tmp_path):
    image = (folder / TASKS[0].image_path).read_bytes()
    (tmp_path / "secret.png").write_bytes(image)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.png").write_bytes(image)
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    names = ["gone.png", "good.png", "link.png", "../secret.png", "pipe.png", "good.png"]
    results = list(measurer(tmp_path / "in", model_entry).results(map(Task, names)))
    assert [result.image_path for result in results] == names
    assert [result.stage for result in results] == [Stage.READ, None, Stage.READ, Stage.READ, Stage.READ, None]
    for at, words in ((0, "No such file"), (2, "leaves the folder"), (4, "device or pipe")):
        assert words in results[at].reason
    assert results[0].stamp is None
    assert results[1].stamp == FolderInputs(tmp_path / "in").stamp("good.png")


def test_a_file_that_is_too_large_keeps_its_stamp_so_that_it_is_not_done_again(model_entry, tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_MAX_BYTES", "1000")
    (tmp_path / "big.png").write_bytes(bytes(1001))
    (result,) = measurer(tmp_path, model_entry).results([Task("big.png")])
    assert (result.stage, result.stamp.size) == (Stage.READ, 1001)


def test_only_a_few_images_are_read_ahead(folder, model_entry):
    counting = measurer(folder, model_entry, Counting)
    results = counting.results(itertools.cycle(TASKS))
    for _ in range(4):
        next(results)
        time.sleep(0.1)  # time enough to read all there are
    # At most six are measured by then; beyond them there is one batch and one image in waiting, and one in the reader's
    # hand.
    assert len(counting.was_read) <= 6 + (counting.batch_size + 1) + 1


def test_images_go_together_as_many_as_there_are_but_no_more(folder, model_entry):
    counting = measurer(folder, model_entry, Counting)
    results = counting.results(TASKS)
    found = [next(results)]
    time.sleep(0.2)  # the next ones are read meanwhile
    found += results
    assert len(found) == sum(counting.together) == len(TASKS)
    assert max(counting.together) == counting.batch_size


def test_a_single_image_does_not_wait_for_a_batch(folder, model_entry):
    """The next task comes only when the result of the first was taken, as it does over a pipe."""
    counting = measurer(folder, model_entry, Counting)
    taken = threading.Semaphore()

    def tasks():
        for task in TASKS[:3]:
            assert taken.acquire(timeout=20), "the first one waits for others"
            yield task

    for _ in counting.results(tasks()):
        taken.release()
    assert counting.together == [1, 1, 1]


def test_an_error_of_whoever_hands_out_the_tasks_is_raised_where_results_are_taken(folder, model_entry):
    def tasks():
        yield TASKS[0]
        raise EOFError("the parent is gone")

    results = measurer(folder, model_entry).results(tasks())
    assert next(results).image_path == TASKS[0].image_path
    with pytest.raises(EOFError, match="the parent is gone"):
        next(results)


def test_no_task_is_no_result(folder, model_entry):
    assert list(measurer(folder, model_entry).results([])) == []


# --- with a model -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(folder, model_entry):
    """As a worker has it: handed over closed, then opened."""
    there = pickle.loads(pickle.dumps(measurer(folder, model_entry, Measurer, device="cpu")))
    there.open()
    return there


def test_on_a_processor_images_go_one_by_one_unless_told(opened, folder, model_entry):
    assert not opened.on_gpu
    assert opened.batch_size == 1
    assert measurer(folder, model_entry, Measurer, batch_size=4).batch_size == 4


def test_the_model_measures_and_tells_of_every_cell(opened, tmp_path, synthetic_cell):
    (tmp_path / "cell.png").write_bytes(encode_png(synthetic_cell[0].rgb))
    told = []
    loaded = measurer(tmp_path, None).read(Task("cell.png", "monocyte"))
    (result,) = opened.measure([loaded], lambda: told.append(1))
    assert result.reason is None
    assert [(row["image_path"], row["cell_type"], row["created"]) for row in result.rows] == [
        ("cell.png", "monocyte", WHEN)
    ]
    assert told


def test_a_model_that_is_gone_and_a_device_that_is_not_there_are_told(folder, model_entry, tmp_path):
    with pytest.raises(ModelError, match=r"gone\.onnx"):
        measurer(folder, replace(model_entry, path=tmp_path / "gone.onnx"), Measurer, device="cpu").open()
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(ProviderError):
            measurer(folder, model_entry, Measurer, device="cuda").open()
