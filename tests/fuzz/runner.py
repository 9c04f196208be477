"""Mutations through their doors, in processes that may crash, and what became of each."""

import random
import re
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.domain.errors import CoreError
from core.support import bounded
from tests.fuzz.doors import DOORS
from tests.fuzz.mutations import mutated

# What no input may take.
MOST_SECONDS = 10.0
MOST_MEGABYTES = 1500


@dataclass(frozen=True)
class Entered:
    """What became of one mutation: let in, refused in words, or neither (`fault`)."""

    door: str
    number: int
    seconds: float = 0.0
    megabytes: float = 0.0
    refused: str = ""
    fault: str = ""


def bytes_of(door: str, number: int) -> bytes:
    """The mutation of that number; always the same."""
    return mutated(random.Random(f"{door} {number}"), DOORS[door].seeds(), DOORS[door].mutations)


def enter(which: tuple[str, int], _: None, alive: bounded.Alive) -> Entered:
    """Let one mutation in; runs in a process of its own kind."""
    door, number = which
    data = bytes_of(door, number)
    _forget_peak()
    refused = fault = ""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            DOORS[door].enter(data, Path(folder))
        except CoreError as error:
            refused = f"{type(error).__name__}: {str(error).replace(folder, '')}"
        except Exception as error:  # noqa: BLE001  # what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    seconds, megabytes = time.perf_counter() - started, _peak()
    if not fault and seconds > MOST_SECONDS:
        fault = f"took {seconds:.0f} s"
    if not fault and megabytes > MOST_MEGABYTES:
        fault = f"took {megabytes:.0f} MB"
    return Entered(door, number, seconds, megabytes, refused, fault)


def entered(which: list[tuple[str, int]], jobs: int = 1) -> Iterator[Entered]:
    """What became of each, in their order."""
    limits = bounded.WorkLimits(2 * MOST_SECONDS, 2 * MOST_MEGABYTES)
    return bounded.each(enter, which, partial(bounded.limit_memory, limits.megabytes), _lost, limits, jobs=jobs)


def _lost(which: tuple[str, int], what: str) -> Entered:
    return Entered(*which, fault=what)


def _forget_peak() -> None:
    """Let the system measure the peak of this process's memory anew."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5", encoding="ascii")


def _peak() -> float:
    """Peak of this process's memory since, in megabytes; 0 where the system does not tell."""
    path = Path("/proc/self/status")
    found = (
        re.search(r"VmHWM:\s+(\d+) kB", path.read_text(encoding="ascii", errors="replace")) if path.exists() else None
    )
    return int(found[1]) / 1024 if found else 0.0


def alike(message: str) -> str:
    """A message without what differs from file to file, so that messages of one kind are one."""
    return re.sub(r"0x[0-9a-f]+|-?\d[\d,.]*", "#", re.sub(r"'[^']*'|\"[^\"]*\"|b'.*?'", "'...'", message))[:240]
