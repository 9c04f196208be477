"""Work on what comes from strangers, in processes that may hang, run out of memory or crash without harm to who asked.

A worker is told one item after the other and gives a sign of life whenever it gets on; what stays silent for too long,
takes too much memory or ends its process is lost, and said to be, and the next item finds a fresh worker.
"""

import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from core.domain.errors import CoreError, LimitError

Item = TypeVar("Item")
Opened = TypeVar("Opened")
Result = TypeVar("Result")

# Called with whatever tells that the work gets on; who asked for it may be told, too.
Alive = Callable[..., None]
Work = Callable[[Item, Opened, Alive], Result]

# An item that ends its process is tried once more in a fresh one: the first time may have been the system's doing.
TRIES: Final = 2
# Processes that end before they are ready, one after the other, until nothing more is tried.
FAILED_STARTS: Final = 3
# Seconds after which the parent looks round although nothing came.
TICK_S: Final = 0.1
_GIVEN_AHEAD: Final = 2  # items a process that are under way or wait for it
# Address space that memory allocators reserve, for each thread, without using it; and for a few threads at least.
_ALLOCATOR_MB: Final = 64
_LEAST_THREADS: Final = 4
_MEMORY_USED: Final = Path("/proc/self/statm")


@dataclass(frozen=True)
class WorkLimits:
    """Seconds without a sign of life, and megabytes beyond what is needed anyway, that an item may take."""

    seconds: float
    megabytes: int


class ChildProcess:
    """A spawned process at the end of a pipe, which ends with its parent.

    Parameters
    ----------
    life
        What it does: a function of a module, called with its end of the pipe and the arguments.
    """

    def __init__(self, life: Callable[..., None], *arguments: object) -> None:
        # Spawned, not forked: onnxruntime's and BLAS's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_begin, args=(life, theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()
        self.ended = False

    def end(self, *, of_itself: bool = False) -> None:
        """Kill the process if it does not end by itself; one that the system does not end is left behind."""
        if not self.ended:
            if of_itself:
                self._process.join(timeout=1)
            self._process.kill()
            self._process.join(timeout=5)
            self.connection.close()
            self.ended = True

    @property
    def last_words(self) -> str:
        """How it ended."""
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"with code {code}"
        name = signal.Signals(-code).name
        return f"by signal {name}{' (for want of memory?)' if name == 'SIGKILL' else ''}"


def _begin(life: Callable[..., None], *arguments: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True, name="ends with the parent").start()
    life(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def can_limit_memory() -> bool:
    """Whether the system says how much memory a process has and limits it, as Linux does."""
    return _MEMORY_USED.exists() and find_spec("resource") is not None


def limit_memory(megabytes: int, *, threads: int = 1) -> None:
    """Allow this process, which has so many threads, so much memory beyond what it has now, where that can be done."""
    if not can_limit_memory() or multiprocessing.parent_process() is None:  # a program does not limit itself
        return
    import resource  # not on Windows

    base = int(_MEMORY_USED.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = base + (megabytes + _ALLOCATOR_MB * max(_LEAST_THREADS, threads)) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def is_want_of_memory(error: Exception) -> bool:
    """Whether an error says that there was no memory, as onnxruntime and others do in words of their own."""
    return isinstance(error, MemoryError) or (not isinstance(error, CoreError) and "alloc" in str(error).lower())


# --- what passes through the pipe -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ready:
    """The worker has opened what it needs."""


@dataclass(frozen=True)
class _Told:
    """A sign of life, with what it was given."""

    words: tuple[Any, ...]


@dataclass(frozen=True)
class _Done:
    value: Any


@dataclass(frozen=True)
class _Raised:
    error: Exception


@dataclass(frozen=True)
class _TookTooMuch:
    """There was no memory for it."""


def _serve(connection: Connection, work: Work[Any, Any, Any], opening: Callable[[], Any]) -> None:
    """A worker's life: open, say so, and work until the parent is gone."""
    try:
        opened = opening()
    except Exception as error:  # noqa: BLE001  # raised again where it is asked for
        connection.send(_Raised(_picklable(error)))
        return
    connection.send(_Ready())

    def tell(*words: object) -> None:
        connection.send(_Told(words))

    for item in _items(connection):
        answer: _Done | _Raised | _TookTooMuch
        try:
            answer = _Done(work(item, opened, tell))
            connection.send(answer)
            continue
        except Exception as error:  # noqa: BLE001  # raised again where the result is taken
            answer = _TookTooMuch() if is_want_of_memory(error) else _Raised(_picklable(error))
        connection.send(answer)


def _items(connection: Connection) -> Iterator[Any]:
    """What comes, until the other end is closed."""
    while True:
        try:
            yield connection.recv()
        except EOFError:
            return


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # an exception may hold anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


# --- many items, in order ---------------------------------------------------------------------------------------------


class _Loss(NamedTuple):
    """How an item was lost, in words, and whether a second try would be lost for sure."""

    what: str
    sure: bool


@dataclass(eq=False)
class _Slot(Generic[Item]):
    """An item in its place among the others, and what became of it."""

    item: Item
    tries: int = 0
    answer: _Done | _Raised | None = None


@dataclass(eq=False)
class _BoundedWorker(Generic[Item]):
    """A process and the items it was given; the first is the one it is at."""

    child: ChildProcess
    limits: WorkLimits
    slots: deque[_Slot[Item]] = field(default_factory=deque)
    ready: bool = False
    since: float = field(default_factory=time.monotonic)

    def give(self, slot: _Slot[Item]) -> None:
        """Hand over an item."""
        if not self.slots:
            self.since = time.monotonic()
        self.slots.append(slot)
        with suppress(OSError):  # it has just ended; taking its last message will tell
            self.child.connection.send(slot.item)

    def take(self, tell: Alive) -> _Loss | None:
        """Take what it sent; returns how the item that it was at was lost, if it was.

        Raises
        ------
        Exception
            What opening raised.
        """
        try:
            message = self.child.connection.recv()
        except (EOFError, OSError):
            self.child.end(of_itself=True)
            return _Loss(f"the process that measured it ended {self.child.last_words}", sure=False)
        self.since = time.monotonic()
        if isinstance(message, _Told):
            tell(*message.words)
        elif isinstance(message, _Ready):
            self.ready = True
        elif isinstance(message, _Raised) and not self.ready:
            raise message.error
        elif isinstance(message, _TookTooMuch):
            self.child.end()  # what it holds yet would be missing for the next
            return _Loss(f"it takes more than {self.limits.megabytes:,} MB of memory", sure=True)
        else:
            self.slots.popleft().answer = message
        return None

    @property
    def overdue(self) -> bool:
        """Whether it was silent for longer than it may be."""
        return self.ready and bool(self.slots) and time.monotonic() - self.since > self.limits.seconds


class _Crew(Generic[Item]):
    """The workers, and what happens when one ends."""

    def __init__(self, work: Work[Item, Any, Any], opening: Callable[[], Any], limits: WorkLimits, jobs: int) -> None:
        self._started = work, opening
        self._limits = limits
        self._failed_starts = 0
        self.todo: deque[_Slot[Item]] = deque()
        self.workers = [self._new() for _ in range(jobs)]

    def _new(self) -> _BoundedWorker[Item]:
        return _BoundedWorker(ChildProcess(_serve, *self._started), self._limits)

    def step(self, lost: Callable[[Item, str], Any], tell: Alive) -> None:
        """Give every worker what it may have, and take what comes within a tick."""
        for room in range(_GIVEN_AHEAD):
            for worker in self.workers:
                if self.todo and len(worker.slots) == room:
                    worker.give(self.todo.popleft())
        came = wait([worker.child.connection for worker in self.workers], TICK_S)
        for number, worker in enumerate(self.workers):
            if worker.child.connection in came:
                loss = worker.take(tell)
                if loss is not None:
                    self._lose(worker, loss, lost)
            elif worker.overdue:
                worker.child.end()
                self._lose(worker, _Loss(f"nothing came of it for {self._limits.seconds:g} s", sure=True), lost)
            if worker.child.ended:
                self.workers[number] = self._new()

    def _lose(self, worker: _BoundedWorker[Item], loss: _Loss, lost: Callable[[Item, str], Any]) -> None:
        """See to the items of a worker that ended: the one it was at is lost or tried once more."""
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts == FAILED_STARTS:
                msg = f"the processes that measure end while they begin ({loss.what}); is there enough memory?"
                raise LimitError(msg)
            at_work = None
        else:
            self._failed_starts = 0
            at_work = worker.slots.popleft() if worker.slots else None
        self.todo.extendleft(reversed(worker.slots))
        if at_work is not None:
            at_work.tries += 1
            if loss.sure or at_work.tries >= TRIES:
                at_work.answer = _Done(lost(at_work.item, loss.what))
            else:
                self.todo.appendleft(at_work)

    def end(self) -> None:
        """End all at once."""
        for worker in self.workers:
            worker.child.end()


def each(
    work: Work[Item, Opened, Result],
    items: Iterable[Item],
    opening: Callable[[], Opened],
    lost: Callable[[Item, str], Result],
    limits: WorkLimits,
    *,
    jobs: int = 1,
) -> Iterator[Result]:
    """Results of `work(item, opened, alive)` in the order of the items, as `core.support.parallel.each`.

    Parameters
    ----------
    work
        A function of a module, which calls `alive` whenever it gets on; what it raises is raised when its result is
        asked for, but want of memory.
    items
        Anything that can be pickled; only a few are taken ahead.
    opening
        Makes the second argument of `work` in each process, and limits its memory (`limit_memory`) once it is made.
    lost
        Makes the result of an item that took too much, from the item and what happened in words.
    limits
        What an item may take; the memory is `opening`'s to limit, and told here for the words.
    jobs
        Number of processes. One without a limit of time is this process itself.
    """
    if jobs == 1 and math.isinf(limits.seconds):
        yield from _at_once(work, items, opening)
        return
    remaining = iter(items)
    waiting = deque(_Slot(item) for item in islice(remaining, 1))
    if not waiting:
        return
    crew = _Crew(work, opening, limits, jobs)
    crew.todo.extend(waiting)
    try:
        while waiting:
            crew.step(lost, lambda *_: None)
            while waiting and (answer := waiting[0].answer) is not None:
                waiting.popleft()
                if isinstance(answer, _Raised):
                    raise answer.error
                yield answer.value
            taken = [_Slot(item) for item in islice(remaining, _GIVEN_AHEAD * jobs - len(waiting))]
            waiting.extend(taken)
            crew.todo.extend(taken)
    finally:
        crew.end()


def _at_once(
    work: Work[Item, Opened, Result], items: Iterable[Item], opening: Callable[[], Opened]
) -> Iterator[Result]:
    opened = None
    for item in items:
        opened = opening() if opened is None else opened
        yield work(item, opened, lambda *_: None)


class Desk(Generic[Item, Result]):
    """A few workers that stay, for requests that come at any time from several threads.

    Parameters
    ----------
    work, opening, limits
        As `each` has them.
    most
        Workers at a time; who comes when all are busy waits.
    """

    def __init__(
        self, work: Callable[[Item, Any, Alive], Result], opening: Callable[[], Any], limits: WorkLimits, *, most: int
    ) -> None:
        self._made = work, opening, limits, 1
        self._places = threading.BoundedSemaphore(most)
        self._idle: deque[_Crew[Item]] = deque()

    def warm(self) -> None:
        """Let a worker begin to open what it needs, if none is there."""
        if not self._idle:
            self._idle.append(self._crew())

    def _crew(self) -> _Crew[Item]:
        # Streamlit shows the script of a page as `__main__`, which a spawned process would run again.
        if getattr(sys.modules["__main__"], "__spec__", None) is None:
            sys.modules["__main__"].__spec__ = ModuleSpec("__main__", None)
        return _Crew(*self._made)

    def ask(self, item: Item, tell: Alive = lambda *_: None) -> Result:
        """The result of one item; `tell` is called with what the work tells meanwhile.

        Raises
        ------
        LimitError
            If it took too long or too much memory, or ended its process.
        Exception
            What the work raised.
        """
        with self._places:
            try:
                crew = self._idle.popleft()
            except IndexError:
                crew = self._crew()
            slot = _Slot(item)
            try:
                crew.todo.append(slot)
                while slot.answer is None:
                    crew.step(_raise_lost, tell)
            except BaseException:  # who asked may have gone: what is under way is of no use to anybody
                crew.end()
                raise
            self._idle.append(crew)
        if isinstance(slot.answer, _Raised):
            raise slot.answer.error
        result: Result = slot.answer.value
        return result

    def close(self) -> None:
        """End the workers that are idle."""
        while self._idle:
            self._idle.popleft().end()


def _raise_lost(_: object, what: str) -> Any:  # noqa: ANN401 (never returns)
    raise LimitError(what)
