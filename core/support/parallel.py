"""Work shared among processes, each of which opens its tools (a session of a network, say) once."""

import functools
import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Final, TypeVar

Item = TypeVar("Item")
Opened = TypeVar("Opened")
Result = TypeVar("Result")

_AHEAD: Final = 4  # items a process that are under way or done and not yet taken


def each(
    work: Callable[[Item, Opened], Result], items: Iterable[Item], opening: Callable[[], Opened], *, jobs: int
) -> Iterator[Result]:
    """Results of `work(item, opened)` in the order of the items.

    Only a few items a process are taken ahead, so memory does not grow with their number. Closing the iterator drops
    what has not begun.

    Parameters
    ----------
    work
        A function of a module; what it raises is raised when its result is asked for.
    items
        Anything that can be pickled.
    opening
        Makes, once in each process, the second argument of `work`: a session of a network, say.
    jobs
        Number of processes; with 1 everything is done in this one.
    """
    if jobs == 1:
        opened = opening()
        yield from (work(item, opened) for item in items)
        return
    # Spawned, not forked: onnxruntime's and BLAS's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin, initargs=(work, opening))
    try:
        remaining = iter(items)
        waiting: deque[Future[Result]] = deque()
        waiting.extend(pool.submit(_do, item) for item in itertools.islice(remaining, _AHEAD * jobs))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(_do, item) for item in itertools.islice(remaining, 1))
    finally:
        pool.shutdown(cancel_futures=True)


# Of this process, if it is one of the pool's.
_work: Callable[[Any, Any], Any]
_opened: Callable[[], Any]


def _begin(work: Callable[[Any, Any], Any], opening: Callable[[], Any]) -> None:
    global _work, _opened
    # Opened with the first item: what is raised in here is lost, and the pool only says that it is broken.
    _work, _opened = work, functools.cache(opening)


def _do(item: Any) -> Any:  # noqa: ANN401  # whatever `work` takes and gives
    return _work(item, _opened())
