"""What a run promises: everything measured or named, once, however it was disturbed."""

import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from core.batch import run as batch_run
from core.batch.inputs import BucketInputs
from core.batch.run import plan, run_batch
from core.batch.settings import Progress, State
from core.domain.errors import StoreError, UsageError
from core.domain.settings import ROOT
from core.image.imaging import encode_png
from tests.core.batch.support import Poisoned, PoisonedTogether, Quick, Vanishing, batch, run, write_images


def rows(out):
    with (out / "cells.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def errors(out):
    with (out / "errors.csv").open(newline="", encoding="utf-8") as file:
        return {row["image_path"]: (row["stage"], row["reason"]) for row in csv.DictReader(file)}


def paths(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, 300)
    return folder


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("results") / "out"
    run(images, out)
    return out


def test_every_image_has_its_row_in_order_and_its_mask(images, undisturbed):
    assert [row["image_path"] for row in rows(undisturbed)] == paths(images)
    assert [path.removesuffix(".png") for path in paths(undisturbed / "masks")] == paths(images)
    ended = json.loads((undisturbed / "run.json").read_text())
    assert ended["state"] == "finished"
    assert ended["counts"] == {"images": 300, "measured": 300, "failed": 0, "duplicates": 0, "cells": 300, "flagged": 0}
    progress = Progress.from_json((undisturbed / "progress.json").read_text())
    assert (progress.state, progress.done, progress.total, progress.cells) == (State.FINISHED, 300, 300, 300)
    assert progress.last[0].confidence == 0.9


def test_the_same_command_again_does_nothing_twice(images, undisturbed):
    before = (undisturbed / "cells.csv").read_bytes(), sorted((undisturbed / "cells").iterdir())
    ended = run(images, undisturbed)
    assert (ended.done, ended.skipped) == (300, 300)
    assert ((undisturbed / "cells.csv").read_bytes(), sorted((undisturbed / "cells").iterdir())) == before


# --- killed -----------------------------------------------------------------------------------------------------------


def start(images, out):
    command = [sys.executable, "-m", "tests.core.batch.support", str(images), str(out)]
    return subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def wait_for(state, process):
    """Until the process says that it is in that state; or it ended before."""
    while (line := process.stdout.readline()) and state not in line:
        pass


def with_beginning_of(undisturbed, out):
    """A folder whose run began when the undisturbed one did: the date stands in every row."""
    out.mkdir()
    shutil.copy(undisturbed / "run.json", out)
    return out


def test_killed_twenty_times_the_table_is_the_same(images, undisturbed, tmp_path):
    out = with_beginning_of(undisturbed, tmp_path / "out")
    chance = random.Random(7)
    shards = []
    for number in range(20):
        process = start(images, out)
        if number % 2:
            wait_for("RUNNING", process)
        time.sleep(chance.uniform(0, 0.8))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        shards.append(len(list((out / "cells").glob("*"))) if (out / "cells").exists() else 0)
    assert (
        not (out / "cells.csv").exists() or (out / "cells.csv").read_bytes() == (undisturbed / "cells.csv").read_bytes()
    )
    assert len(set(shards)) > 2  # it was killed at work, and came further
    ended = run(images, out)
    assert ended.state is State.FINISHED
    assert (out / "cells.csv").read_bytes() == (undisturbed / "cells.csv").read_bytes()
    assert sum(pq.read_metadata(shard).num_rows for shard in (out / "cells").iterdir()) == 300
    assert paths(out / "masks") == paths(undisturbed / "masks")
    assert not list((out / ".unfinished").glob("*")) if (out / ".unfinished").exists() else True


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(images, undisturbed, tmp_path):
    out = with_beginning_of(undisturbed, tmp_path / "out")
    process = start(images, out)
    wait_for("RUNNING", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it, too
    process.communicate(timeout=60)
    assert process.returncode == 1
    stopped = Progress.from_json((out / "progress.json").read_text())
    assert stopped.state is State.STOPPED
    assert json.loads((out / "run.json").read_text())["state"] == "stopped"
    assert 0 < stopped.done < 300
    assert run(images, out).skipped == stopped.done
    assert (out / "cells.csv").read_bytes() == (undisturbed / "cells.csv").read_bytes()


def test_workers_end_with_a_parent_that_is_killed(images, tmp_path):
    process = start(images, tmp_path / "out")
    wait_for("RUNNING", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 20
    while True:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            break
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.1)


# --- power cut and full disk ------------------------------------------------------------------------------------------


def test_what_a_power_cut_leaves_behind_is_not_believed(images, undisturbed, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    (out / "cells.csv").unlink()
    shard = next((out / "cells").iterdir())
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])  # under its final name, as a file system without order may leave it
    (out / "cells" / "cells-00000000000000000001-aaaaaaaa.parquet").write_bytes(bytes(4096))
    (out / ".unfinished").mkdir(exist_ok=True)
    (out / ".unfinished" / "half").write_bytes(content[:100])
    ended = run(images, out)
    assert ended.state is State.FINISHED
    assert len(list((out / "damaged").iterdir())) == 2
    assert (out / "cells.csv").read_bytes() == (undisturbed / "cells.csv").read_bytes()
    assert not (out / ".unfinished" / "half").exists()


def test_nothing_stands_in_the_index_before_its_files_are_there(images, tmp_path, monkeypatch):
    """Cut off before any single file or name is brought to the disk: whatever a shard accounts for is complete."""
    real = os.fsync
    left = [0]

    def cut(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(5, "power cut")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", cut)
    small = tmp_path / "images"
    shutil.copytree(images / "000", small, ignore=lambda _, names: sorted(names)[30:])
    for after in (20, 33, 34, 35, 36):
        left[0] = after
        out = tmp_path / f"out{after}"
        with pytest.raises(StoreError):
            run(small, out)
        left[0] = 10**9
        accounted = (
            [image for shard in (out / "cells").glob("*.parquet") for image in _images(shard)]
            if (out / "cells").exists()
            else []
        )
        assert all((out / "masks" / f"{path}.png").exists() for path in accounted)
        run(small, out)
        assert [row["image_path"] for row in rows(out)] == paths(small)


def _images(shard):
    return [record[0] for record in json.loads(pq.read_metadata(shard).metadata[b"leukoscope_batch"])["images"]]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    ).returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_stops_the_run_and_the_same_command_goes_on(images, undisturbed, small_disk, monkeypatch):
    monkeypatch.setattr(batch_run, "FLUSH_IMAGES", 25)
    out = with_beginning_of(undisturbed, small_disk / "out")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3_300_000))
    with pytest.raises(StoreError, match="No space left"):
        run(images, out)
    assert list((out / "cells").glob("*.parquet"))
    ballast.unlink()
    ended = run(images, out)
    assert ended.skipped > 0
    assert (out / "cells.csv").read_bytes() == (undisturbed / "cells.csv").read_bytes()


def test_a_limit_on_file_size_is_a_full_disk_without_root(images, tmp_path):
    """In a process of its own, whose files may hold a few kilobytes only: the kernel refuses the first shard."""

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    out = tmp_path / "out"
    command = [sys.executable, "-m", "tests.core.batch.support", str(images), str(out)]
    ended = subprocess.run(command, cwd=ROOT, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert "StoreError: cannot write" in ended.stderr
    assert not list((out / "cells").glob("*.parquet"))
    assert json.loads((out / "run.json").read_text())["state"] == "failed"
    assert run(images, out).state is State.FINISHED


# --- turns ------------------------------------------------------------------------------------------------------------

IN_TURN = """
import sys
from pathlib import Path
from core.batch.run import run_batch
from core.batch.fair_queue import FairQueue
from tests.core.batch.support import Slower, batch
folder, out, turns, owner, limit = sys.argv[1:]
turns = FairQueue(Path(turns), owner, out, slice_s=0.5)
asked = batch(folder, out, Slower, jobs=1, turns=turns, limit=int(limit))
run_batch(asked, lambda progress: print(progress.state.name, flush=True))
"""


def test_a_small_run_of_another_owner_is_done_while_a_large_one_goes_on(images, undisturbed, tmp_path):
    """Two runs of the real engine, which give each other the turn; nothing is lost by it."""

    def begin(owner, limit):
        out = with_beginning_of(undisturbed, tmp_path / owner)
        command = [sys.executable, "-c", IN_TURN, str(images), str(out), str(tmp_path / "turns"), owner, str(limit)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    with begin("anna", 300) as large:
        wait_for("RUNNING", large)
        with begin("berta", 20) as small:
            small.communicate(timeout=120)
        assert small.returncode == 0
        assert large.poll() is None
        assert Progress.from_json((tmp_path / "anna" / "progress.json").read_text()).done < 300
        large.send_signal(signal.SIGINT)
        large.communicate(timeout=120)
    assert run(images, tmp_path / "anna").skipped > 0
    assert (tmp_path / "anna" / "cells.csv").read_bytes() == (undisturbed / "cells.csv").read_bytes()
    assert rows(tmp_path / "berta") == rows(undisturbed)[:20]


# --- two at once, and other settings ----------------------------------------------------------------------------------


def test_a_second_run_on_the_same_folder_is_refused_in_words(images, tmp_path):
    process = start(images, tmp_path / "out")
    try:
        wait_for("RUNNING", process)
        with pytest.raises(UsageError, match="another run is writing"):
            run(images, tmp_path / "out")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_other_settings_begin_a_new_run_and_keep_the_old(images, tmp_path):
    out = tmp_path / "out"
    run(images / "000", out)
    old = (out / "cells.csv").read_bytes()
    said = []
    run_batch(batch(images / "000", out, um_per_px=0.1), lambda progress: said.append(progress.message))
    assert "a new one begins" in said[0]
    (earlier,) = (out / "earlier").iterdir()
    assert (earlier / "cells.csv").read_bytes() == old
    assert len(rows(out)) == 100
    assert len(list((earlier / "masks").iterdir())) == 100


def test_limits_and_jobs_do_not_begin_a_new_run(images, tmp_path):
    out = tmp_path / "out"
    assert run(images, out, limit=20).done == 20
    ended = run(images, out, limit=50, jobs=1, time_limit_s=30)
    assert (ended.done, ended.skipped) == (50, 20)
    assert not (out / "earlier").exists()


def test_what_changed_is_measured_again_and_what_was_only_copied_is_not(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    write_images(folder, 10)
    run(folder, out)
    first, second = folder / "000" / "000000.png", folder / "000" / "000001.png"
    first.write_bytes(encode_png(np.full((30, 30, 3), 7, np.uint8)))
    os.utime(second, (1, 1))
    ended = run(folder, out)
    assert (ended.done, ended.skipped, ended.cells) == (10, 9, 10)
    changed = next(row for row in rows(out) if row["image_path"] == "000/000000.png")
    assert float(changed["nucleus_shape2D_Elongation"]) == 7
    assert len(rows(out)) == 10


def test_a_run_on_a_bucket_goes_on_by_what_its_listing_says(tmp_path, monkeypatch):
    folder, out = tmp_path / "in", tmp_path / "out"
    write_images(folder, 10)
    bucket = f"local://{folder}"  # fsspec's way to files, so that workers see them, too
    run(bucket, out)
    (folder / "000" / "000003.png").write_bytes(encode_png(np.full((30, 30, 3), 7, np.uint8)))
    asked = []
    stamp = BucketInputs.stamp
    monkeypatch.setattr(BucketInputs, "stamp", lambda self, path: asked.append(path) or stamp(self, path))
    ended = run(bucket, out)
    assert (ended.done, ended.skipped, asked) == (10, 9, [])


# --- poison -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measurer", [Poisoned, PoisonedTogether])
def test_poison_costs_its_own_image_only(measurer, tmp_path):
    folder = tmp_path / "in"
    write_images(folder, 30)
    for name in ("hang", "eat", "crash", "exit"):
        shutil.copy(folder / "000" / "000000.png", folder / "000" / f"00001_{name}.png")
    out = tmp_path / "out"
    # Long enough for the memory to run out first, also where other tests have most of the machine.
    ended = run(folder, out, measurer, time_limit_s=6, memory_limit_mb=200)
    assert ended.state is State.FINISHED
    assert len(rows(out)) == 30
    told = {path.removeprefix("000/00001_").removesuffix(".png"): error for path, error in errors(out).items()}
    assert {name: stage for name, (stage, _) in told.items()} == {
        "hang": "time",
        "eat": "crash",
        "crash": "crash",
        "exit": "crash",
    }
    assert "SIGSEGV" in told["crash"][1]


def test_failures_are_final_unless_they_are_to_be_tried_again(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    write_images(folder, 5)
    (folder / "crash.png").write_bytes(encode_png(np.full((30, 30, 3), 7, np.uint8)))
    assert run(folder, out, Poisoned).failed == 1
    assert run(folder, out, Quick).failed == 1
    ended = run(folder, out, Quick, retry_failed=True)
    assert (ended.failed, ended.done, ended.cells) == (0, 6, 6)
    assert errors(out) == {}


def test_a_file_that_vanishes_after_it_was_listed_is_named(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    write_images(folder, 2)
    shutil.copy(folder / "000" / "000000.png", folder / "vanish.png")
    assert run(folder, out, Vanishing).cells == 2
    ((path, (stage, reason)),) = errors(out).items()
    assert (path, stage) == ("vanish.png", "read")
    assert "No such file" in reason


def test_a_batch_that_would_go_into_its_own_input_is_refused(images):
    with pytest.raises(UsageError, match="must not lie in the input"):
        run(images, images / "out")


def test_a_plan_counts_and_writes_nothing(images, tmp_path):
    out = tmp_path / "out"
    found = plan(batch(images, out, pattern="000/*"))
    assert (found.listed, found.done, found.to_do, found.refused) == (100, 0, 100, {})
    assert not out.exists()
    run(images, out, limit=30)
    found = plan(batch(images, out))
    assert (found.listed, found.done, found.to_do) == (300, 30, 270)


def test_names_that_cannot_be_written_down_fail_alone(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    write_images(folder, 3)
    content = (folder / "000" / "000000.png").read_bytes()
    (folder / f"{'n' * 250}.png").write_bytes(content)  # with .png behind it again it is too long
    write_images(tmp_path / "other", 1, start=7)
    shutil.move(tmp_path / "other" / "000" / "000007.png", folder / "=cmd().png")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(content)
    run(folder, out)
    told = errors(out)
    assert {stage for stage, _ in told.values()} == {"write", "list"}
    assert len(told) == 2
    assert "'=cmd().png" in [row["image_path"] for row in rows(out)]


# --- the same image twice ---------------------------------------------------------------------------------------------


@pytest.fixture
def copies(tmp_path):
    """Four images in folders of two types, and copies of two of them: one beside it, one in the other type's folder."""
    folder = tmp_path / "in"
    write_images(tmp_path, 4)
    for number, place in enumerate(("monocyte/p1", "monocyte/p1", "monocyte/p2", "lymphocyte/p2")):
        (folder / place).mkdir(parents=True, exist_ok=True)
        shutil.move(tmp_path / "000" / f"{number:06d}.png", folder / place / f"{number}.png")
    shutil.copy(folder / "monocyte/p1/0.png", folder / "monocyte/p1/again.png")
    return folder


def test_the_same_image_twice_is_counted_once_and_told(copies, tmp_path):
    out = tmp_path / "out"
    ended = run(copies, out, label_from="folder", patient_from="folder")
    assert (ended.done, ended.failed, ended.duplicates, ended.cells) == (5, 0, 1, 4)
    assert [row["image_path"] for row in rows(out)] == [
        "lymphocyte/p2/3.png", "monocyte/p1/0.png", "monocyte/p1/1.png", "monocyte/p2/2.png"
    ]  # fmt: skip
    told = ("duplicate", "monocyte/p1/again.png: the same image as monocyte/p1/0.png, counted once")
    assert errors(out) == {"monocyte/p1/again.png": told}
    assert "1 image is a copy of another and counted once" in ended.notes[-1]
    assert json.loads((out / "run.json").read_text())["counts"]["duplicates"] == 1
    before = (out / "cells.csv").read_bytes(), sorted((out / "cells").iterdir())
    again = run(copies, out, label_from="folder", patient_from="folder", retry_failed=True)
    assert (again.skipped, again.duplicates, again.notes) == (5, 1, ended.notes)
    assert ((out / "cells.csv").read_bytes(), sorted((out / "cells").iterdir())) == before


def test_a_copy_is_measured_after_all_when_the_other_changed(copies, tmp_path):
    out = tmp_path / "out"
    run(copies, out)
    (copies / "monocyte/p1/0.png").write_bytes(encode_png(np.full((30, 30, 3), 7, np.uint8)))
    ended = run(copies, out)
    assert (ended.duplicates, ended.cells) == (0, 5)
    assert errors(out) == {}
    assert "monocyte/p1/again.png" in [row["image_path"] for row in rows(out)]


@pytest.mark.parametrize(
    ("place", "what"),
    [("lymphocyte/p1/again.png", "of cell type lymphocyte"), ("monocyte/p2/again.png", "of patient p2")],
)
def test_the_same_image_under_two_labels_is_an_error_that_names_both(copies, tmp_path, place, what):
    out = tmp_path / "out"
    (copies / place).parent.mkdir(exist_ok=True)
    shutil.move(copies / "monocyte/p1/again.png", copies / place)
    ended = run(copies, out, label_from="folder", patient_from="folder")
    assert (ended.failed, ended.duplicates, ended.cells) == (2, 0, 3)
    assert set(errors(out)) == {"monocyte/p1/0.png", place}
    for stage, reason in errors(out).values():
        assert stage == "label"
        assert f"{place} {what}" in reason
        assert "monocyte/p1/0.png of" in reason
    assert "monocyte/p1/0.png" not in [row["image_path"] for row in rows(out)]


def test_a_path_twice_in_a_zip_is_named_and_not_guessed(tmp_path):
    write_images(tmp_path, 3)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(tmp_path / "000" / "000000.png", "a.png")
        archive.write(tmp_path / "000" / "000001.png", "b.png")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.write(tmp_path / "000" / "000002.png", "a.png")
    ended = run(tmp_path / "in.zip", tmp_path / "out")
    assert (ended.done, ended.failed, ended.cells) == (2, 1, 1)
    ((path, (stage, reason)),) = errors(tmp_path / "out").items()
    assert (path, stage) == ("a.png", "list")
    assert "several files of this path" in reason


def test_patients_of_a_table_are_joined_and_the_rest_is_told(copies, tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("image_path;patient_id\n0.png;p1\nmonocyte\\p1\\1.png;p1\n3;p2\n77.png;p3\n", encoding="utf-16")
    ended = run(copies, tmp_path / "out", patient_from=f"csv:{table}")
    assert (ended.unmatched_images, ended.unmatched_rows, ended.failed) == (2, 1, 0)
    patients = {row["image_path"].rpartition("/")[2]: row["patient_id"] for row in rows(tmp_path / "out")}
    assert patients == {"0.png": "p1", "1.png": "p1", "2.png": "", "3.png": "p2"}
    found = plan(batch(copies, tmp_path / "other", patient_from=f"csv:{table}"))
    assert found.examples[0] == ("lymphocyte/p2/3.png", "p2", None)
    assert len(found.examples) == 3
    table.write_text("image_path,patient_id\nfoo.png,p1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no row of the table fits an image"):
        run(copies, tmp_path / "new", patient_from=f"csv:{table}")
    assert not (tmp_path / "new").exists()


def test_memory_of_the_parent_does_not_grow_with_the_number_of_images(tmp_path):
    """Peak memory of runs of 500 and 5,000 names that all fail at once: the parent's part, many times over."""
    peaks = []
    for count in (500, 5000):
        folder = tmp_path / str(count)
        for number in range(count):
            path = folder / f"{number // 500}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to("nowhere")
        code = (
            f"import resource, sys; from tests.core.batch.support import run; run({str(folder)!r},"
            f" {str(tmp_path / f'out{count}')!r}); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] - peaks[0] < 25, peaks


# --- files that are no images, and deep ones --------------------------------------------------------------------------


def test_files_that_are_no_images_are_counted_in_progress_and_a_table(tmp_path):
    images = tmp_path / "images"
    write_images(images, 2)
    for name in ("slide.svs", "more/slide.svs", "README"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes(b"x")
    ended = run(images, tmp_path / "out")
    assert (ended.state, ended.done) == (State.FINISHED, 2)
    assert {ending: one.files for ending, one in ended.passed_over.items()} == {".svs": 2, "no ending": 1}
    assert Progress.from_json((tmp_path / "out" / "progress.json").read_text()).passed_over == ended.passed_over
    with (tmp_path / "out" / "passed_over.csv").open(newline="", encoding="utf-8") as file:
        slides, others = csv.DictReader(file)
    assert (slides["ending"], slides["files"], slides["first_names"]) == (".svs", "2", "slide.svs; more/slide.svs")
    assert "QuPath" in slides["what_to_do"]
    assert (others["ending"], others["what_to_do"]) == ("no ending", "")
    assert plan(batch(images, tmp_path / "out")).passed_over == ended.passed_over


def test_a_run_agrees_on_the_depth_before_it_begins_and_another_depth_is_another_run(tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    rgb = np.random.default_rng(1).integers(0, 4096, (40, 40, 3)).astype(np.uint16)
    for name, values in (("a", rgb), ("b", rgb), ("dark", rgb // 5)):
        tifffile.imwrite(images / f"{name}.tif", values, photometric="rgb")
    run(images, out, limit=1)
    first = json.loads((out / "run.json").read_text())
    ((_, bits),) = first["settings"]["depths"]["agreed"]
    assert bits == 12
    run(images, out)
    assert json.loads((out / "run.json").read_text())["key"] == first["key"]
    for name in ("c", "d", "e", "f"):
        tifffile.imwrite(images / f"{name}.tif", rgb * 4, photometric="rgb")
    run(images, out)
    second = json.loads((out / "run.json").read_text())
    assert second["settings"]["depths"]["agreed"][0][1] == 14
    assert second["key"] != first["key"]
