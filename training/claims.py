"""Who works on what, among processes that share a folder: files that only one can make.

The owner of a unit is the newest of its claim files, `<unit>.<generation>.claim`, each made in one step that fails
where the file exists. An owner touches its file while it lives. A claim is stale when its process is gone (same host)
or when it has not been touched for STALE_AFTER_S (any host); whoever then makes the next generation's file first is the
new owner. So two takers of one stale claim cannot both get it, and there is no lock to be left behind by a killed
process.
"""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

BEAT_S: Final = 20.0
STALE_AFTER_S: Final = 300.0


class Claim:
    """Exclusive work on one unit; a context manager that gives it up at the end. Made by `claim`."""

    def __init__(self, folder: Path, unit: str, path: Path) -> None:
        self._folder = folder
        self._unit = unit
        self._path = path
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()
        # The newest last: as long as it stands, none of the older ones counts.
        for path in _claims(self._folder, self._unit):
            path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            with suppress(OSError):  # taken over and tidied away: not to be made again
                os.utime(self._path)


def claim(folder: Path, unit: str) -> Claim | None:
    """Claim a unit; None while somebody else who is alive has it."""
    folder.mkdir(parents=True, exist_ok=True)
    existing = _claims(folder, unit)
    if existing and not _is_stale(existing[-1]):
        return None
    path = folder / f"{unit}.{_generation(existing[-1]) + 1 if existing else 0}.claim"
    try:
        with path.open("x", encoding="utf-8") as handle:
            json.dump({"host": socket.gethostname(), "pid": os.getpid()}, handle)
    except FileExistsError:
        return None
    except OSError:  # a full disk leaves an empty file, which would hold the unit for a while
        path.unlink(missing_ok=True)
        raise
    return Claim(folder, unit, path)


def _claims(folder: Path, unit: str) -> list[Path]:
    """The unit's claim files, oldest first."""
    return sorted((path for path in folder.glob(f"{unit}.*.claim")), key=_generation)


def _generation(path: Path) -> int:
    return int(path.name.removesuffix(".claim").rpartition(".")[2])


def _is_stale(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
        owner = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:  # given up this moment: free at the next look
        return False
    except json.JSONDecodeError:  # made this moment, or by a process killed while it wrote
        return age > STALE_AFTER_S
    return age > STALE_AFTER_S or (owner["host"] == socket.gethostname() and not _is_alive(owner["pid"]))


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C; there a claim goes stale by age alone
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, and alive
        return True
    return True
