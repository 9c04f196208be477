"""Runs that pages start, each a process of its own: `python -m core batch ...`; a page finds it again by its folder.

`<root>/<owner>/<run>/` holds `request.json` (what was asked for), `process.json` (which process works on it), `log.txt`
(what it printed), `input/` where images were uploaded, and `results/`, the run's own folder. The process belongs to no
page: it goes on when the page is closed or the server ends, and its owner finds it by the files. A run that was stopped
or killed is continued by the same command.
"""

import hashlib
import os
import re
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from core.batch.settings import Progress, State
from core.domain.errors import StoreError, UsageError
from core.domain.types import GivenScale
from core.image.file_scale import BY_RED_CELLS, WantedScale
from core.support import detached, files, locks, records

_REQUEST: Final = "request.json"
_STOPPING: Final = "stopping"
_RESULTS: Final = "results"
_PROGRESS: Final = "progress.json"
_INPUT: Final = "input"
_RUN_NAME: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    `source` is the folder or ZIP file to measure; for an upload of `uploaded_bytes` it lies in the run's own folder and
    is given relative to that. `um_per_px` and `cells` are as in `core.batch.settings`; with `by_folder` each cell gets
    the cell type that its folder is named after.
    """

    title: str
    created: datetime
    source: Path
    uploaded_bytes: int | None = None
    um_per_px: WantedScale = None
    cells: str = "auto"
    by_folder: bool = False
    overlays: bool = False

    def options(self) -> list[str]:
        """The settings as arguments of `python -m core batch`."""
        options = ["--cells", self.cells]
        options += scale_options(self.um_per_px)
        if self.by_folder:
            options += ["--label-from", "folder"]
        if self.overlays:
            options.append("--overlay")
        return options

    def to_json(self) -> str:
        """Return the text of `request.json`."""
        return records.to_json(self, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Read `request.json`; raises RecordError when it is damaged."""
        return records.from_json(cls, text)


def scale_options(scale: WantedScale) -> list[str]:
    """A scale as arguments of `python -m core batch`."""
    if scale == BY_RED_CELLS:
        return ["--scale-from", BY_RED_CELLS]
    if isinstance(scale, GivenScale):
        error = [] if scale.error is None else ["--um-per-px-error", repr(scale.error)]
        return ["--um-per-pixel", repr(scale.um_per_px), *error]
    return [] if scale is None else ["--um-per-pixel", str(scale)]


@dataclass(frozen=True)
class Standing:
    """What a run is doing or how it ended, with its last progress and a message in words."""

    state: State
    progress: Progress | None
    message: str = ""


@dataclass(frozen=True)
class Job:
    """A run and its folder."""

    folder: Path
    request: Request

    @property
    def name(self) -> str:
        """Name of the folder: when the run was asked for, and a random end."""
        return self.folder.name

    @property
    def source(self) -> Path:
        """The folder or ZIP file that is measured."""
        return self.folder / self.request.source if self.request.uploaded_bytes is not None else self.request.source

    @property
    def results(self) -> Path:
        """Where the results are."""
        return self.folder / _RESULTS

    def standing(self) -> Standing:
        """What it is doing or how it ended, as far as its files and its process show."""
        process, progress = detached.process_in(self.folder), self._progress()
        if process is None:
            return Standing(State.STOPPED, None, "It was not started yet.")
        asked = (self.folder / _STOPPING).exists()
        own = progress is not None and progress.pid == process.pid  # and not that of an earlier start
        state = progress.state if progress is not None and own else State.LISTING
        if process.alive:
            return Standing(State.STOPPING if asked else State.LISTING if state.ended else state, progress)
        if state.ended:
            return Standing(state, progress, progress.message if progress is not None and state is State.FAILED else "")
        if asked:
            return Standing(State.STOPPED, progress)
        if own:
            return Standing(
                State.STOPPED,
                progress,
                "It was interrupted, perhaps by a restart of the computer; what was done is kept.",
            )
        return Standing(
            State.FAILED, progress, detached.last_words(self.folder) or "It ended before it began; start it again."
        )

    def command(self) -> list[str]:
        """The command as a list of arguments, so that no name is ever read by a shell."""
        owner = self.folder.parent
        turns = ["--turns", str(owner.parent / ".turns"), "--owner", owner.name]
        jobs = ["--jobs", str(os.cpu_count() or 1)]
        return [
            sys.executable, "-m", "core", "batch", str(self.source), "--out", str(self.results),
            *self.request.options(), *jobs, *turns,
        ]  # fmt: skip

    def start(self) -> None:
        """Start the process, or start it again after it ended: it continues. Does nothing while it is running.

        Raises
        ------
        StoreError
            If it cannot be started.
        """
        with self._alone():
            process = detached.process_in(self.folder)
            if process is not None and process.alive:
                return
            (self.folder / _STOPPING).unlink(missing_ok=True)
            try:
                detached.start(self.command(), self.folder)
            except OSError as error:
                msg = (
                    f"the run cannot be started: {error.strerror or error}; check the free space and the permissions of"
                    f" {self.folder}"
                )
                raise StoreError(msg) from error

    def stop(self) -> None:
        """Ask the run to stop; what is being measured is finished and kept. Does nothing where it has ended."""
        process = detached.process_in(self.folder)
        if process is not None and process.alive:
            (self.folder / _STOPPING).touch()
            process.stop()

    def delete(self) -> None:
        """Delete the run with its results and what was uploaded for it; raises UsageError while it goes on."""
        with self._alone():
            process = detached.process_in(self.folder)
            if process is not None and process.alive:
                msg = f"{self.request.title}: the run is still going on; stop it before you delete it"
                raise UsageError(msg)
            files.remove_folder(self.folder)

    def _progress(self) -> Progress | None:
        try:
            return Progress.from_json(files.read_text(self.results / _PROGRESS))
        except (OSError, ValueError):  # nothing said yet
            return None

    def _alone(self) -> locks.FileLock:
        """Let nobody else start or delete the run meanwhile: two pages may be open."""
        # Beside the folder, which can then be removed on Windows, too.
        return locks.lock(self.folder.with_name(f".{self.name}.lock"), keep_file=False)


class Owner:
    """The runs of one person, told from others by nothing but an identity.

    Parameters
    ----------
    root
        Folder of all owners, made if it is missing.
    identity
        What only this person has: a name from the log-in, or a random number kept by the browser. Files and processes
        carry only its hash, so that a path or a list of processes does not reveal it.
    """

    def __init__(self, root: Path, identity: str) -> None:
        self.folder: Final = root.resolve() / hashlib.sha256(identity.encode()).hexdigest()[:32]

    def jobs(self) -> list[Job]:
        """Every run, the latest first."""
        jobs = []
        for folder in sorted(self.folder.glob("*"), reverse=True):
            if _RUN_NAME.fullmatch(folder.name):
                with suppress(OSError, ValueError):  # deleted meanwhile, or never begun
                    jobs.append(Job(folder, Request.from_json(files.read_text(folder / _REQUEST))))
        return jobs

    def uploaded_bytes(self) -> int:
        """Bytes of all uploads that runs still hold."""
        return sum(job.request.uploaded_bytes or 0 for job in self.jobs())

    def add(self, request: Request, uploads: Path | None = None) -> Job:
        """Make a run, which is not started yet.

        `uploads` is a folder on the same disk that becomes the run's own; the request's source is relative to it.

        Raises
        ------
        StoreError
            If the disk refuses.
        """
        folder = self.folder / f"{request.created:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}"
        if uploads is not None:
            request = replace(request, source=Path(_INPUT) / request.source)
        try:
            folder.mkdir(parents=True, mode=0o700)
            if uploads is not None:
                uploads.rename(folder / _INPUT)
            files.write_text(folder / _REQUEST, request.to_json())
        except OSError as error:
            msg = (
                f"the run cannot be prepared: {error.strerror or error}; check the free space and the permissions of"
                f" {error.filename or self.folder}"
            )
            raise StoreError(msg) from error
        return Job(folder, request)
