"""The engine of one machine: worker processes, each with one session.

A worker may hang, run out of memory or crash without harm to the run.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Final

from core.batch.measure import Measurer
from core.batch.tasks import ImageResult, Stage, Task
from core.domain.errors import CoreError, ModelError
from core.support.bounded import FAILED_STARTS, TICK_S, TRIES, ChildProcess, can_limit_memory, limit_memory

# Seconds between two signs of life.
_ALIVE_S: Final = 1.0

logger = logging.getLogger(__name__)


class LocalEngine:
    """Measures tasks in `jobs` processes.

    Parameters
    ----------
    measurer
        Not opened; every worker opens its own copy.
    jobs
        Number of processes.
    """

    def __init__(self, measurer: Measurer, jobs: int) -> None:
        self._measurer = measurer
        self._jobs = jobs
        self._settings = measurer.settings
        self._again: deque[Task] = deque()
        self._suspects: deque[Task] = deque()
        self._tries: Counter[str] = Counter()
        self._failed_starts = 0

    def results(
        self, tasks: Iterator[Task | ImageResult], may_submit: Callable[[bool], bool]
    ) -> Generator[ImageResult | None, None, None]:
        """Results as they come, in no order; None when nothing came for a while.

        Only a few tasks a worker are prepared ahead, so neither many images nor a slow reader of the results cost
        memory. A task that already is a result is passed on. `may_submit` is told whether the workers are idle, and
        returns whether they may be given more. Closing the iterator ends the workers at once.

        Raises
        ------
        CoreError
            If the workers cannot open the model.
        """
        first: Task | ImageResult | None
        while isinstance(first := next(tasks, None), ImageResult):
            yield first
        if first is None:
            return
        self._again.append(first)
        if not can_limit_memory():
            logger.warning("this system cannot limit the memory that an image may take; --memory-limit does nothing")
        workers = [_Worker(self._measurer) for _ in range(self._jobs)]
        try:
            while True:
                idle = not any(worker.tasks for worker in workers)
                if may_submit(idle):
                    done = yield from self._fill(workers, tasks)
                    if done:
                        return
                came = wait([worker.connection for worker in workers], TICK_S)
                for number, worker in enumerate(workers):
                    if worker.connection in came:
                        yield from self._take(worker)
                    elif worker.overdue(self._settings.time_limit_s):
                        worker.end()
                        yield from self._lost(
                            worker, Stage.TIME, f"nothing came of it for {self._settings.time_limit_s:g} s"
                        )
                    if worker.ended:
                        workers[number] = _Worker(self._measurer)
                if not came:
                    yield None
        finally:
            for worker in workers:
                worker.end()

    def _fill(
        self, workers: list["_Worker"], tasks: Iterator[Task | ImageResult]
    ) -> Generator[ImageResult, None, bool]:
        """Give every worker what it may have ahead, yielding results that need no work; returns whether all is done."""
        exhausted = False
        for worker in workers:
            if self._suspects and not worker.tasks:
                worker.give(self._suspects.popleft(), alone=True)
            while worker.has_room and not exhausted:
                task = self._again.popleft() if self._again else next(tasks, None)
                if task is None:
                    exhausted = True
                elif isinstance(task, ImageResult):
                    yield task
                else:
                    worker.give(task)
        return exhausted and not self._suspects and not any(worker.tasks for worker in workers)

    def _take(self, worker: "_Worker") -> Iterator[ImageResult]:
        """Take what a worker sent, or see that it is no more."""
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            worker.end(of_itself=True)
            yield from self._lost(worker, Stage.CRASH, f"the process that measured it ended {worker.last_words}")
            return
        worker.since = time.monotonic()
        if isinstance(message, CoreError):
            raise message
        if isinstance(message, int):
            worker.batch_size = message
            self._failed_starts = 0
        elif message is not None:
            worker.done(message.image_path)
            yield message

    def _lost(self, worker: "_Worker", stage: Stage, what: str) -> Iterator[ImageResult]:
        """Handle the tasks of a worker that ended: the current one failed, or those read together are tried alone."""
        if worker.batch_size is None:
            self._failed_starts += 1
            if self._failed_starts == FAILED_STARTS:
                msg = (
                    f"the processes that measure end while they open the model ({what}); is there enough memory for"
                    f" --jobs {self._jobs}?"
                )
                raise ModelError(msg)
        at_work = 0 if worker.batch_size is None else min(worker.batch_size, len(worker.tasks))
        for task in islice(worker.tasks, at_work):
            self._tries[task.image_path] += 1
            sure = stage is Stage.TIME and at_work == 1
            if sure or self._tries[task.image_path] >= TRIES:
                del self._tries[task.image_path]
                reason = f"{task.image_path}: {what}; look at the image, or raise the limits and use --retry-failed"
                yield ImageResult(
                    task.image_path, stamp=self._measurer.inputs.stamp(task.image_path), stage=stage, reason=reason
                )
            else:
                self._suspects.append(task)
        self._again.extend(islice(worker.tasks, at_work, None))


@dataclass(eq=False)
class _Worker:
    """A process, the tasks it was given in order, and when it last gave a sign of life."""

    measurer: Measurer
    tasks: deque[Task] = field(default_factory=deque)
    since: float = 0.0
    batch_size: int | None = None  # known when it is ready
    _alone: bool = False

    def __post_init__(self) -> None:
        self._child = ChildProcess(_work, self.measurer)
        self.connection = self._child.connection

    @property
    def has_room(self) -> bool:
        """Whether it may be given more: enough for two rounds and one to be read ahead."""
        return not self._alone and len(self.tasks) < 2 * (self.batch_size or 1) + 1

    def give(self, task: Task, *, alone: bool = False) -> None:
        """Hand over a task; nothing else goes with one that must be alone."""
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append(task)
        self._alone = alone
        with suppress(OSError):  # it has just ended; taking its last message will tell
            self.connection.send(task)

    def done(self, image_path: str) -> None:
        """Remove the first task, for which a result came."""
        task = self.tasks.popleft()
        assert task.image_path == image_path
        self._alone = False

    def overdue(self, limit_s: float) -> bool:
        """Whether it has worked on its images for longer than they may take without a sign of life."""
        if self.batch_size is None or not self.tasks:
            return False
        return time.monotonic() - self.since > limit_s * min(self.batch_size, len(self.tasks))

    def end(self, *, of_itself: bool = False) -> None:
        """Kill the process if it does not end by itself."""
        self._child.end(of_itself=of_itself)

    @property
    def ended(self) -> bool:
        """Whether it is no more."""
        return self._child.ended

    @property
    def last_words(self) -> str:
        """How it ended."""
        return self._child.last_words


def _work(connection: Connection, measurer: Measurer) -> None:
    """A worker's life: open, say so, and measure until the parent is gone."""
    try:
        measurer.open()
    except CoreError as error:
        connection.send(error)
        return
    if not measurer.on_gpu:  # CUDA reserves more address space than there is memory
        limit_memory(measurer.settings.memory_limit_mb)
    connection.send(measurer.batch_size)
    for result in measurer.results(iter(connection.recv, None), _Alive(connection)):
        connection.send(result)


class _Alive:
    """Tells the parent, at most every second, that work on an image goes on: fields can have very many cells."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._told = 0.0

    def __call__(self) -> None:
        if time.monotonic() - self._told > _ALIVE_S:
            self._told = time.monotonic()
            self._connection.send(None)
