"""A fair queue for the runs on one machine: owners take turns, and each owner's runs among themselves.

A run computes only while it holds the turn, the lock of one file, and passes it on after a slice of time if another run
waits: a small run is not stuck behind a large one, and an owner with ten runs gets no more of the machine than one with
a single run. A lock ends with its process, however that ends, so a killed run never keeps the others waiting. Who was
served when is kept in one small file, read and written only under a lock.
"""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from core.support import files, locks

SLICE_S: Final = 20.0
_LOOK_AGAIN_S: Final = 1.0
_REMEMBERED: Final = 10_000  # owners and runs whose last turn is kept in mind


class FairQueue:
    """One run's place among the others; a context manager that gives the turn back and leaves the queue.

    Parameters
    ----------
    folder
        Shared by the runs that take turns; made if it is missing.
    owner, run
        Whose run it is, and which.
    slice_s
        Seconds for which a turn is kept while others wait.
    """

    def __init__(self, folder: Path, owner: str, run: str, *, slice_s: float = SLICE_S) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._owner, self._run, self._slice_s = owner, f"{owner}/{run}", slice_s
        self._folder = folder
        self._ledger = folder / "served.json"
        self._turn = folder / "turn"
        self._place = folder / f"{uuid.uuid4().hex}.waiting"
        self._waiting: locks.FileLock | None = None
        self._held: locks.FileLock | None = None
        self._taken = self._looked = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give()
        self._leave_queue()

    @property
    def held(self) -> bool:
        """Whether this run may compute."""
        return self._held is not None

    def take(self) -> bool:
        """Take the turn if it is free and nobody else is next; else wait in the queue, and call again a little later.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        if self.held:
            return True
        with self._ledger_open() as served:
            if self._waiting is None:
                self._waiting = locks.lock(self._place, keep_file=False)
                self._waiting.write(json.dumps([self._owner, self._run]).encode())
            if self._next(served) != [self._owner, self._run]:
                return False
            self._held = locks.try_lock(self._turn)
            if self._held is None:
                return False
            number = max(served.values(), default=0) + 1
            for name in (self._owner, self._run):
                served.pop(name, None)  # to the end: the ledger forgets from its beginning
                served[name] = number
            self._leave_queue()
        self._taken = self._looked = time.monotonic()
        return True

    def due(self) -> bool:
        """Whether the turn has been held for its slice and another run waits.

        Cheap enough to be asked before every image.
        """
        now = time.monotonic()
        if not self.held or now - self._taken < self._slice_s or now - self._looked < min(_LOOK_AGAIN_S, self._slice_s):
            return False
        self._looked = now
        with self._ledger_open():
            return bool(self._queue())

    def give(self) -> None:
        """Pass the turn to the next run; call it when what was begun is finished."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def _leave_queue(self) -> None:
        if self._waiting is not None:
            self._waiting.release()
            self._waiting = None

    def _next(self, served: dict[str, int]) -> list[str] | None:
        """Owner and run whose turn it is: of the owner served longest ago, the run served longest ago."""
        return min(self._queue(), key=lambda who: (served.get(who[0], 0), served.get(who[1], 0), who), default=None)

    def _queue(self) -> list[list[str]]:
        """Owner and run of every live run that waits; removes the places of dead ones. Only under the ledger's lock."""
        queue = []
        for place in sorted(self._folder.glob("*.waiting")):
            abandoned = locks.try_lock(place, keep_file=False)
            if abandoned is None:
                queue.append(json.loads(place.read_text(encoding="utf-8")))
            else:
                abandoned.release()
        return queue

    @contextmanager
    def _ledger_open(self) -> Iterator[dict[str, int]]:
        """Number of the last turn of each owner and run, oldest first, under a lock; changes are saved."""
        with locks.lock(self._ledger.with_suffix(".lock")):
            try:
                served: dict[str, int] = json.loads(self._ledger.read_text(encoding="utf-8"))
            except (FileNotFoundError, ValueError):  # new or damaged: everybody begins anew
                served = {}
            before = served.copy()
            yield served
            if served != before:
                kept = dict(list(served.items())[-_REMEMBERED:])
                files.write_text(self._ledger, json.dumps(kept))
