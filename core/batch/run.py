"""A run from beginning to end, whatever engine does the work.

What is listed and not done is measured, reported, and put into tables.
"""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, Protocol

from core.batch.inputs import Inputs, Listed, open_inputs
from core.batch.labels import Labels, read_labels
from core.batch.local import LocalEngine
from core.batch.measure import Measurer
from core.batch.results import Counts, Index, Record, Run, RunFolder, failures_of, new_run
from core.batch.settings import BatchSettings, Progress, Seen, State, run_key
from core.batch.tasks import ImageResult, Stage, Task
from core.domain.errors import CoreError, UsageError
from core.domain.options import Device, FeatureEngine, Units
from core.domain.types import RED_CELLS, GivenScale
from core.domain.versions import software_versions
from core.image.depth import Depths
from core.image.file_scale import BY_RED_CELLS, Scale
from core.image.imaging import run_depths
from core.image.listing import Passed
from core.segmentation.model_registry import ModelEntry
from core.store.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from core.batch.fair_queue import FairQueue

FLUSH_IMAGES: Final = 500
FLUSH_S: Final = 5.0
# A long run saves less often, because small shards are mostly description: a hundredth of its time so far may be lost,
# a minute at most.
_FLUSH_SHARE: Final = 0.01
_LATEST_FLUSH_S: Final = 60.0
# A flush comes earlier where few images have very many cells or large files.
FLUSH_CELLS: Final = 5_000
FLUSH_BYTES: Final = 64 * 2**20
_TELL_S: Final = 1.0
_RATE_S: Final = 60.0
_LAST: Final = 12
_EXAMPLES: Final = 3
# An image that was left out for a copy of another is measured after all where the other has changed since.
_ROUNDS: Final = 2
# Images of the listing among which those are that are asked for their depth.
_ASKED_OF: Final = 10_000

Tasks = Iterator[Task | ImageResult]


class Engine(Protocol):
    """Measures tasks and saves the results in the folder of the run."""

    def __call__(self, tasks: Tasks, may_submit: Callable[[bool], bool]) -> Generator[Record | None, None, None]:
        """A record of each image when it is measured, None when none came for a while.

        All is durable when the iterator ends or is closed. A task that already is a result only needs saving.
        `may_submit` is told whether nothing is under way, and returns whether more may be submitted.
        """
        ...


@dataclass(frozen=True)
class Plan:
    """What a run would do: images listed, done before, to be done, and unusable ones, each with its reason.

    `examples` are the first images to be done, each with its patient and cell type; the rest is as in
    `core.batch.settings.Progress`.
    """

    listed: int
    done: int
    to_do: int
    refused: dict[str, str]
    examples: tuple[tuple[str, str | None, str | None], ...] = ()
    notes: tuple[str, ...] = ()
    unmatched_images: int = 0
    unmatched_rows: int = 0
    passed_over: dict[str, Passed] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Everything that is asked for.

    `out` is a folder or an fsspec URL. `jobs`, `device` and `batch_size` say how, not what. `turns` is the queue shared
    with other runs of the machine. `measurer` is the class that measures; `engine`, given the folder, the run and a
    measurer, is by default `jobs` processes of this machine.
    """

    out: str
    settings: BatchSettings
    model: ModelEntry
    jobs: int = 1
    device: str = "auto"
    batch_size: int | None = None
    retry_failed: bool = False
    turns: "FairQueue | None" = None
    measurer: type[Measurer] = Measurer
    engine: Callable[[RunFolder, Run, Measurer], Engine] | None = None


def plan(batch: Batch) -> Plan:
    """What `run_batch` would do; writes nothing. Raises CoreError as `run_batch` does."""
    inputs, labels, new = _prepared(batch)
    folder = RunFolder(batch.out)
    there = folder.run()
    shards = folder.shards(new.key, set_aside=False) if there is not None and there.key == new.key else []
    work = _Work(inputs, labels, batch, Index(folder.records(shards)))
    refused, to_do = {}, 0
    examples: list[tuple[str, str | None, str | None]] = []
    for task in work.tasks():
        if isinstance(task, ImageResult):
            refused[task.image_path] = task.reason or ""
        else:
            to_do += 1
            examples += [(task.image_path, task.patient_id, task.cell_type)] if to_do <= _EXAMPLES else []
    done = work.listed - to_do - len(refused)
    unmatched = labels.unmatched_images, labels.unmatched_rows
    passed_over = inputs.passed_over.by_ending
    notes = (*labels.notes, *_told_scale(new.settings))
    return Plan(work.listed, done, to_do, refused, tuple(examples), notes, *unmatched, passed_over)


def run_batch(batch: Batch, tell: Callable[[Progress], None] = lambda _: None) -> Progress:
    """Measure what is listed and not done, and write the tables; returns how it ended.

    `tell` is called about every second, also from another thread. SIGINT and SIGTERM, where this is the main thread,
    stop the run: what is done is kept, and the same call continues it. The folder then holds the same as after an
    undisturbed run.

    Raises
    ------
    UsageError
        If the input is missing or refused as a whole, the labels make no sense, or another run has the folder.
    CoreError
        If the model cannot be opened, or the disk refuses: what was durable stays, and the same call continues it.
    """
    inputs, labels, new = _prepared(batch)
    with RunFolder(batch.out) as folder:
        run, said = folder.begin(new)
        shards = folder.shards(run.key)
        index = Index(folder.records(shards))
        failures = failures_of(folder.records(shards))
        work = _Work(inputs, labels, batch, index)
        started = time.monotonic()
        with (
            _Reporter(folder, inputs, index.counts(), tell, said, labels) as reporter,
            _signals(reporter),
            _counting(inputs, batch.settings.limit, reporter),
        ):
            reporter.notes += _told_scale(run.settings)
            measurer = batch.measurer(inputs, run.settings, batch.model, run.created, batch.device, batch.batch_size)
            make = batch.engine or (
                lambda folder, run, measurer: _Local(folder, run, LocalEngine(measurer, batch.jobs))
            )
            try:
                for _ in range(_ROUNDS):
                    _measure(make(folder, run, measurer), work, reporter, failures, _Turn(batch.turns, reporter))
                    index = Index(folder.records(folder.shards(run.key)))
                    if not reporter.stopping:
                        index = _count_once(folder, run.key, index, labels)
                    if reporter.stopping or not index.orphans:
                        break
                    work = _Work(inputs, labels, batch, index)
                shards, totals = folder.shards(run.key), index.counts()
                if not reporter.stopping:
                    reporter.say(State.RUNNING, "writing the table")
                    folder.write_table(shards, Units(batch.settings.units))
                folder.write_passed_over(inputs.passed_over.by_ending)
                failures = failures_of(folder.records(shards))
                folder.write_errors(failures)
                reporter.notes += _told_copies(failures)
                state = State.STOPPED if reporter.stopping else State.FINISHED
            except BaseException as error:
                state, words = (
                    State.FAILED,
                    str(error) if isinstance(error, CoreError) else f"unexpected {type(error).__name__}: {error}",
                )
                reporter.end(state, words)
                with suppress(CoreError, OSError):  # the disk may be full
                    folder.write_run(replace(run, state=state, seconds=run.seconds + time.monotonic() - started))
                raise
            counts = {"images": totals.images, "measured": totals.images - totals.failed - totals.duplicates}
            counts |= {"failed": totals.failed, "duplicates": totals.duplicates}
            counts |= {"cells": totals.cells, "flagged": totals.flagged}
            folder.write_run(replace(run, state=state, counts=counts, seconds=run.seconds + time.monotonic() - started))
            return reporter.end(state, "stopped; the same command goes on" if reporter.stopping else "", totals)


def _prepared(batch: Batch) -> tuple[Inputs, Labels, Run]:
    settings = batch.settings
    local = settings.input.removeprefix("file://")
    if "://" not in batch.out + local and Path(batch.out).resolve().is_relative_to(Path(local).resolve()):
        msg = f"the results must not lie in the input, but {batch.out} is in {local}; choose another --out"
        raise UsageError(msg)
    labels = read_labels(settings.label_from, settings.patient_from)
    settings = replace(settings, input=settings.input if "://" in local else str(Path(local).resolve()))
    inputs = open_inputs(settings.input, settings.pattern)
    settings = replace(settings, depths=_agreed_depths(inputs, settings))
    settings = replace(settings, um_per_px=_scale(batch, settings))
    engine = FeatureEngine(settings.feature_engine)
    engine.check_installed()
    versions = software_versions(engine)
    # Rows of another schema mean something else and are not put beside those of this one.
    key = run_key(settings, batch.model.sha256, {**versions, "schema": str(SCHEMA_VERSION)}, labels.digest)
    new = new_run(key, settings, batch.model.model_id, batch.model.sha256, versions)
    inputs = open_inputs(settings.input, settings.pattern)
    return inputs, labels.fitted(lambda: (image.path for image in inputs.listed() if image.problem is None)), new


def _agreed_depths(inputs: Inputs, settings: BatchSettings) -> Depths:
    """What the first images of the input, in the order of the listing, say of the depth of all that do not state it."""
    first = islice(inputs.listed(), _ASKED_OF)  # whatever the limit: the run goes on without it later
    names = [listed.path for listed in first if listed.problem is None]
    return run_depths(names, lambda name: inputs.read(name)[0], settings.depths.given)


def _scale(batch: Batch, settings: BatchSettings) -> Scale:
    """The scale of the images; where red cells are to tell it, as they did when the run that is there began.

    Raises
    ------
    UsageError
        If they tell none.
    """
    if settings.um_per_px != BY_RED_CELLS:
        return settings.um_per_px
    there = RunFolder(batch.out).run()
    if there is not None and (there.settings.input, there.settings.pattern) == (settings.input, settings.pattern):
        before = there.settings.um_per_px
        if isinstance(before, GivenScale) and before.source == RED_CELLS:
            return before
    # Here, because a run without this question needs no image libraries in its own process.
    from core.pipeline import scale_of_red_cells

    inputs = open_inputs(settings.input, settings.pattern)
    names = (listed.path for listed in islice(inputs.listed(), settings.limit) if listed.problem is None)
    answer = scale_of_red_cells(names, lambda name: inputs.read(name)[0], batch.model, device=Device(batch.device))
    return answer.taken()


def _told_scale(settings: BatchSettings) -> tuple[str, ...]:
    given = settings.um_per_px
    return (f"the scale is {given.origin}",) if isinstance(given, GivenScale) and given.source == RED_CELLS else ()


def _measure(
    engine: Engine, work: "_Work", reporter: "_Reporter", failures: dict[str, tuple[str, str]], turn: "_Turn"
) -> None:
    """Let the engine work until all is done or the run is to stop; keeps errors.csv up to date."""
    told, changed = time.monotonic(), True
    with turn:
        records = engine(work.tasks(), turn)
        try:
            for record in records:
                if record is not None:
                    reporter.count(record, work.index.counts_of(record.image_path))
                    changed |= record.stage is not None or record.image_path in failures
                    failures.pop(record.image_path, None)
                    if record.stage is not None:
                        failures[record.image_path] = (record.stage, record.reason or "")
                if changed and time.monotonic() - told > FLUSH_S:
                    reporter.folder.write_errors(failures, durable=False)
                    told, changed = time.monotonic(), False
                if reporter.stopping:
                    break
        finally:
            records.close()  # which saves what has come


class _Work:
    """What is listed, and of that what is to be done."""

    def __init__(self, inputs: Inputs, labels: Labels, batch: Batch, index: Index) -> None:
        self.index = index
        self.listed = 0
        self._inputs = inputs
        self._labels = labels
        self._limit = batch.settings.limit
        self._retry = batch.retry_failed

    def tasks(self) -> Tasks:
        """Tasks for images that are not done; failures for those that are no images, or whose label is no type."""
        for image in islice(self._inputs.listed(), self._limit):
            self.listed += 1
            if self._is_done(image):
                continue
            if image.problem is not None:
                yield ImageResult(image.path, stage=Stage.LIST, reason=f"{image.path}: {image.problem}")
                continue
            try:
                yield Task(image.path, self._labels.cell_type(image.path), self._labels.patient(image.path))
            except UsageError as error:
                stamp = self._inputs.stamp(image.path)
                yield ImageResult(image.path, stamp=stamp, stage=Stage.LIST, reason=f"{image.path}: {error}")

    def _is_done(self, image: Listed) -> bool:
        if self._retry and self.index.has_failed(image.path):
            return False
        if not self.index.knows(image.path) or self.index.is_orphan(image.path):
            return False
        # Asking a bucket for each of very many images would take hours, while its listing tells a thousand at a time.
        stamp = None if image.problem else image.stamp or self._inputs.stamp(image.path)
        return self.index.is_done(image.path, stamp, lambda: self._content(image))

    def _content(self, image: Listed) -> bytes | None:
        try:
            return None if image.problem else self._inputs.read(image.path)[0]
        except CoreError:
            return None


# --- the same image twice ---------------------------------------------------------------------------------------------


def _count_once(folder: RunFolder, key: str, index: Index, labels: Labels) -> Index:
    """Leave out copies of images, which are known by their content; returns the index with that."""
    shards = folder.shards(key)
    groups = index.repeated(folder.records(shards))
    results = [result for group in groups for result in _copies(group, labels)]
    if not results:
        return index
    folder.save(results, key)
    return Index(folder.records(folder.shards(key)))


def _copies(group: Sequence[Record], labels: Labels) -> list[ImageResult]:
    """What is left out of images that are the same: all but one, or all where their labels contradict each other."""
    said = {record.image_path: _said(record.image_path, labels) for record in group}
    # The one of which most is known stays, of equal ones the first by name.
    kept, *others = sorted(group, key=lambda record: (said[record.image_path].count(None), record.image_path))
    left_out: Sequence[Record] = others
    stage, reason = Stage.DUPLICATE, f"the same image as {kept.image_path}, counted once"
    for place, what in enumerate(("cell type", "patient")):
        if len({values[place] for values in said.values()} - {None}) > 1:
            filed = ", ".join(f"{path} of {what} {values[place]}" for path, values in sorted(said.items()))
            reason = f"the same image stands under contradictory labels, {filed}; keep the one that is right"
            left_out, stage = group, Stage.LABEL
            break
    return [
        ImageResult(one.image_path, one.sha256, one.stamp, stage=stage, reason=f"{one.image_path}: {reason}")
        for one in left_out
    ]


def _said(image_path: str, labels: Labels) -> tuple[str | None, str | None]:
    try:
        return labels.cell_type(image_path), labels.patient(image_path)
    except UsageError:  # it is gone, and not in the list any more
        return None, None


def _told_copies(failures: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    reasons = [reason for _, (stage, reason) in sorted(failures.items()) if stage == Stage.DUPLICATE]
    if not reasons:
        return ()
    images = "1 image is a copy of another" if len(reasons) == 1 else f"{len(reasons):,} images are copies of others"
    return (f"{images} and counted once, as errors.csv says ({reasons[0]})",)


# --- the engine of this machine ---------------------------------------------------------------------------------------


class _Local:
    """The local engine, saving what comes of it from time to time, in a thread of its own."""

    def __init__(self, folder: RunFolder, run: Run, engine: LocalEngine) -> None:
        self._folder = folder
        self._run = run
        self._engine = engine

    def __call__(self, tasks: Tasks, may_submit: Callable[[bool], bool]) -> Generator[Record | None, None, None]:
        results = self._engine.results(tasks, may_submit)
        with _Saver(self._folder, self._run.key) as saver:
            try:
                for result in results:
                    saver.save(result)
                    yield None if result is None else Record.of(result)
            finally:
                results.close()


class _Saver:
    """Collects results and saves them together while the next are measured; raises StoreError."""

    def __init__(self, folder: RunFolder, key: str) -> None:
        self._folder = folder
        self._key = key
        self._results: list[ImageResult] = []
        self._cells = self._bytes = 0
        self._began = self._since = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saves")
        self._saving: Future[Sequence[Record]] | None = None

    def __enter__(self) -> "_Saver":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None or issubclass(kind, GeneratorExit):
                self._flush()
                self._wait()
        finally:
            self._thread.shutdown()

    def save(self, result: ImageResult | None) -> None:
        """Add a result, or check whether it is time to save."""
        if result is not None:
            self._results.append(result)
            self._cells += len(result.rows)
            self._bytes += sum(map(len, result.files.values()))
        full = len(self._results) >= FLUSH_IMAGES or self._cells >= FLUSH_CELLS or self._bytes >= FLUSH_BYTES
        now = time.monotonic()
        if full or now - self._since > min(max(FLUSH_S, _FLUSH_SHARE * (now - self._began)), _LATEST_FLUSH_S):
            self._flush()

    def _flush(self) -> None:
        self._wait()  # one flush at a time: a slow disk slows the run, and memory stays bounded
        if self._results:
            self._saving = self._thread.submit(self._folder.save, self._results, self._key)
            self._results = []
            self._cells = self._bytes = 0
        self._since = time.monotonic()

    def _wait(self) -> None:
        if self._saving is not None:
            saving, self._saving = self._saving, None
            saving.result()


# --- turns, signals, and progress -------------------------------------------------------------------------------------


class _Turn:
    """Whether more may be submitted: always, or only while this run holds the turn of the fair queue."""

    def __init__(self, turns: "FairQueue | None", reporter: "_Reporter") -> None:
        self._turns = turns
        self._reporter = reporter
        self._over = False

    def __enter__(self) -> "_Turn":
        return self

    def __exit__(self, *_: object) -> None:
        if self._turns is not None:
            self._turns.__exit__()

    def __call__(self, idle: bool) -> bool:
        if self._turns is None:
            return True
        # Once it is over it stays over, or what is under way would be refilled for ever.
        self._over = self._over or self._turns.due()
        if self._over:
            if not idle:
                return False
            self._turns.give()
            self._over = False
        mine = self._turns.take()
        self._reporter.waiting = not mine
        return mine


class _Reporter:
    """Counts, and reports to `progress.json` and to listeners, from a thread of its own."""

    def __init__(
        self,
        folder: RunFolder,
        inputs: Inputs,
        before: Counts,
        tell: Callable[[Progress], None],
        message: str,
        labels: Labels,
    ) -> None:
        self.folder = folder
        self._inputs = inputs
        self.stopping = False
        self.waiting = False
        self.notes = labels.notes
        self._labels = labels
        self._total: int | None = None
        self._listed = 0
        self._counts = before
        self._skipped = before.images
        self._tell = tell
        self._state = State.LISTING
        self._message = message
        self._started = datetime.now(UTC)
        self._new = 0
        self._marks: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._last: deque[Seen] = deque(maxlen=_LAST)
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep_telling, daemon=True, name="tells")

    def __enter__(self) -> "_Reporter":
        self._write(self.progress())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def count(self, record: Record, before: Counts) -> None:
        """Count an image; `before` is its count from an earlier start."""
        with self._lock:
            self._counts += Counts.of(record) - before
            self._skipped -= before.images
            self._new += 1
            if self._state is State.LISTING:
                self._state = State.RUNNING
            if record.stage is None:
                self._last.appendleft(Seen(record.image_path, record.cells, record.confidence))

    def total(self, listed: int, *, final: bool) -> None:
        """Set how many images there are, as far as is known."""
        self._listed = listed
        if final:
            self._total = listed

    def say(self, state: State, message: str) -> None:
        """Change the message."""
        with self._lock:
            self._state, self._message = state, message

    def end(self, state: State, message: str, counts: Counts | None = None) -> Progress:
        """Report how it ended."""
        self._ended.set()
        self._thread.join()
        self.waiting = self.stopping = False
        self.say(state, message)
        self._counts = counts or self._counts
        progress = self.progress()
        self._write(progress)
        return progress

    def progress(self) -> Progress:
        """How far the run is."""
        with self._lock:
            now = time.monotonic()
            self._marks.append((now, self._new))
            while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_S:
                self._marks.popleft()
            since, done = self._marks[0]
            rate = (self._new - done) / (now - since) if self._new > done else None
            total = None if self._total is None else max(self._total, self._counts.images)
            left = (
                (total - self._counts.images) / rate if rate and total is not None and not self._state.ended else None
            )
            state = State.STOPPING if self.stopping else State.WAITING if self.waiting else self._state
            listing = f"{self._listed:,} images found so far" if self._total is None and not self._state.ended else ""
            return Progress(
                state,
                total,
                self._counts.images,
                self._counts.cells,
                self._counts.flagged,
                self._counts.failed,
                self._skipped,
                rate,
                left,
                self._started.isoformat(),
                datetime.now(UTC).isoformat(),
                os.getpid(),
                self._message or listing,
                tuple(self._last),
                self._counts.duplicates,
                self._labels.unmatched_images,
                self._labels.unmatched_rows,
                self.notes,
                self._inputs.passed_over.by_ending,
            )

    def _keep_telling(self) -> None:
        while not self._ended.wait(_TELL_S):
            self._write(self.progress())

    def _write(self, progress: Progress) -> None:
        with suppress(CoreError, OSError):  # progress is no result; a full disk is reported where results are written
            self.folder.write_progress(progress)
        self._tell(progress)


@contextmanager
def _signals(reporter: _Reporter) -> Iterator[None]:
    """Let Ctrl-C and a request to end stop the run; a second Ctrl-C is one that cannot wait."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        if reporter.stopping and number == signal.SIGINT:
            raise KeyboardInterrupt
        reporter.stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _counting(inputs: Inputs, limit: int | None, reporter: _Reporter) -> Iterator[None]:
    """Count the images in a thread of its own, so that the time left is known long before the last is listed."""
    over = threading.Event()

    def count() -> None:
        listed = 0
        with suppress(CoreError, OSError):  # what cannot be listed is reported where images are taken from the list
            for listed in islice(inputs.count(), limit):
                if over.is_set():
                    return
                reporter.total(listed, final=False)
            reporter.total(listed, final=True)

    thread = threading.Thread(target=count, daemon=True, name="counts")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
