"""Runs as processes of their own.

Started, found again, stopped, killed, gone on with; the engine and the model are the real ones.
"""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.batch.jobs import Job, Owner, Request, scale_options
from core.batch.settings import State
from core.domain.errors import StoreError, UsageError
from core.domain.types import GivenScale
from core.image.imaging import encode_png
from core.image.synthetic import draw_cell

ROOT = Path(__file__).parents[3]
PATIENCE_S = 240  # a loaded machine is slow, not wrong
WHEN = datetime(2026, 11, 23, 5, 30, tzinfo=UTC)


@pytest.fixture
def owner(tmp_path):
    made = Owner(tmp_path / "runs", "browser 0123")
    yield made
    for job in made.jobs():
        process = job.folder / "process.json"
        if process.exists() and job.standing().state not in {State.STOPPED, State.FINISHED, State.FAILED}:
            os.kill(json.loads(process.read_text())["pid"], signal.SIGKILL)


@pytest.fixture(scope="module")
def cells(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cells")
    for seed in range(24):
        (folder / f"{seed:02d}.png").write_bytes(encode_png(draw_cell(seed)[0].rgb))
    return folder


def _wait(job: Job, *states: State, images: int = 0):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        standing = job.standing()
        if standing.state in states and (standing.progress.done if standing.progress else 0) >= images:
            return standing
        assert time.monotonic() < deadline, (standing, (job.folder / "log.txt").read_text())
        assert standing.state in states or not standing.state.ended, (standing, (job.folder / "log.txt").read_text())
        time.sleep(0.05)


def _ended(job: Job):
    return _wait(job, State.STOPPED, State.FINISHED, State.FAILED)


def test_a_run_survives_who_started_it_and_only_its_owner_finds_it(owner, tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    (uploads / "-rf $(touch x);.png").write_bytes(encode_png(draw_cell(1)[0].rgb))
    (uploads / "bad.png").write_bytes(b"text")
    job = owner.add(Request("Two *images*", WHEN, Path(), uploaded_bytes=4, um_per_px=0.1, cells="one"), uploads)
    assert not uploads.exists()
    assert job.standing().state is State.STOPPED

    # The server is a process that starts it and ends at once.
    start = (
        "import sys; from pathlib import Path; from core.batch.jobs import Owner; Owner(Path(sys.argv[1]),"
        " sys.argv[2]).jobs()[0].start()"
    )
    subprocess.run([sys.executable, "-c", start, str(tmp_path / "runs"), "browser 0123"], cwd=ROOT, check=True)
    found = Owner(tmp_path / "runs", "browser 0123").jobs()
    assert found == [job]
    assert Owner(tmp_path / "runs", "browser 4567").jobs() == []
    assert found[0].standing().state is not State.STOPPED
    with pytest.raises(UsageError, match="stop it before"):
        found[0].delete()

    standing = _ended(found[0])
    assert standing.state is State.FINISHED, standing
    assert (standing.progress.done, standing.progress.cells, standing.progress.failed) == (2, 1, 1)
    assert (job.results / "masks" / "-rf $(touch x);.png.png").is_file()
    assert json.loads((job.results / "run.json").read_text())["settings"]["um_per_px"] == 0.1
    # Neither a path nor an argument tells what the owner is known by.
    assert not [
        path for path in (tmp_path / "runs").rglob("*") if "0123" in str(path.relative_to(tmp_path / "runs").parts[0])
    ]
    assert not any("browser" in word for word in job.command())

    assert owner.uploaded_bytes() == 4
    found[0].delete()
    assert owner.jobs() == []
    assert not job.folder.exists()


def test_a_run_that_is_stopped_or_killed_goes_on_where_it_was(owner, cells):
    job = owner.add(Request("Cells", WHEN, cells))
    job.start()
    _wait(job, State.RUNNING, images=1)
    job.start()  # a second window: nothing happens
    job.stop()
    standing = _ended(job)
    assert standing.state is State.STOPPED
    stopped_at = standing.progress.done
    assert 1 <= stopped_at < 24

    job.start()
    _wait(job, State.RUNNING, images=stopped_at + 1)
    os.kill(json.loads((job.folder / "process.json").read_text())["pid"], signal.SIGKILL)
    standing = _ended(job)
    assert standing.state is State.STOPPED
    assert "interrupted" in standing.message

    job.start()
    standing = _ended(job)
    assert standing.state is State.FINISHED, standing
    assert (standing.progress.done, standing.progress.total, standing.progress.cells) == (24, 24, 24)


def test_another_process_of_the_same_number_is_not_taken_for_the_run(owner, cells):
    job = owner.add(Request("Cells", WHEN, cells))
    (job.folder / "process.json").write_text(json.dumps({"pid": os.getpid(), "born": "an earlier boot 1"}))
    assert job.standing().state is State.FAILED
    job.stop()  # must not reach this process
    time.sleep(0.2)
    job.delete()
    assert owner.jobs() == []


def test_a_run_that_cannot_begin_says_why(owner, tmp_path):
    job = owner.add(Request("Gone", WHEN, tmp_path / "gone"))
    job.start()
    standing = _ended(job)
    assert standing.state is State.FAILED
    assert "expected a folder" in standing.message


def test_stopped_before_it_began_is_stopped(owner, cells):
    job = owner.add(Request("Cells", WHEN, cells))
    job.start()
    job.stop()
    assert job.standing().state in {State.STOPPING, State.STOPPED}
    assert _ended(job).state is State.STOPPED


def test_runs_are_listed_latest_first_and_damaged_ones_passed_over(owner, cells):
    names = [owner.add(Request(str(hour), WHEN.replace(hour=hour), cells)).name for hour in (5, 7, 6)]
    (owner.folder / names[2] / "request.json").write_text("{")
    (owner.folder / "uploads").mkdir()
    assert [job.request.title for job in owner.jobs()] == ["7", "5"]


def test_a_request_is_read_as_it_was_written(cells):
    request = Request("Título \U0001f9ea", WHEN, cells, 12, 0.095, "all", by_folder=True, overlays=True)
    assert Request.from_json(request.to_json()) == request
    assert request.options() == ["--cells", "all", "--um-per-pixel", "0.095", "--label-from", "folder", "--overlay"]


def test_a_folder_that_cannot_be_written_says_so(tmp_path, cells):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StoreError, match="cannot be prepared"):
        Owner(tmp_path / "runs", "x").add(Request("Cells", WHEN, cells))


@pytest.mark.parametrize(
    ("scale", "options"),
    [
        (None, []),
        (0.1, ["--um-per-pixel", "0.1"]),
        (GivenScale(0.1), ["--um-per-pixel", "0.1"]),
        (GivenScale(0.095, 0.1), ["--um-per-pixel", "0.095", "--um-per-px-error", "0.1"]),
        ("red-cells", ["--scale-from", "red-cells"]),
    ],
)
def test_the_scale_of_a_request_reaches_the_command_with_its_error(scale, options):
    assert scale_options(scale) == options
    request = Request("A", WHEN, Path("images"), um_per_px=scale)
    assert Request.from_json(request.to_json()) == request
