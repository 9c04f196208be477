"""Processes that belong to nobody who waits for them: found again by the folder that they work in.

`process.json` says which process works there, `log.txt` what it printed. It goes on when a page is closed or a server
ends; neither the server's end nor a Ctrl-C in its terminal reaches it.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.domain.errors import RecordError
from core.domain.settings import ROOT
from core.support import files, records

PROCESS_FILE: Final = "process.json"
LOG_FILE: Final = "log.txt"
_LOG_TAIL: Final = 4000


@dataclass(frozen=True)
class DetachedProcess:
    """A process by its number and the moment it began, which no later process of that number shares."""

    pid: int
    born: str | None

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.born is not None and _born(self.pid) == self.born

    def stop(self) -> None:
        """Ask it to end, as Ctrl-C does; nothing where it has."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


def start(command: Sequence[str], folder: Path) -> None:
    """Start a process that works in a folder.

    Parameters
    ----------
    command
        Program and arguments, so that no name is ever read by a shell.
    folder
        Where it is found again.

    Raises
    ------
    OSError
        If it cannot be started, or the folder cannot be written to.
    """
    with (folder / LOG_FILE).open("wb") as log:
        child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    _record(folder, child.pid)
    # Without somebody who waits for it, a child that ended stays in the process table as long as the server runs.
    threading.Thread(target=child.wait, daemon=True, name=f"waits for {folder.name}").start()


def record(folder: Path) -> None:
    """Say in a folder that this process works there, whoever started it."""
    _record(folder, os.getpid())


def _record(folder: Path, process_id: int) -> None:
    files.write_text(folder / PROCESS_FILE, records.to_json(DetachedProcess(process_id, _born(process_id))))


def process_in(folder: Path) -> DetachedProcess | None:
    """The process of the last start in a folder; None before the first."""
    try:
        return records.from_json(DetachedProcess, files.read_bytes(folder / PROCESS_FILE))
    except (OSError, RecordError):
        return None


def last_words(folder: Path) -> str:
    """The last line that the process of a folder printed, which names an error where there was one; may be empty."""
    try:
        with files.open_bytes(folder / LOG_FILE) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _born(process_id: int) -> str | None:
    """When a live process began, as text that no later process of the same number shares; None where there is none."""
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # After the name in brackets, which may hold anything, the first field is the state and the twentieth the ticks
        # since the boot.
        fields = stat.rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    listed = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(process_id)], capture_output=True, text=True, check=False
    ).stdout
    state, _, began = listed.strip().partition(" ")
    return None if not began or state.startswith("Z") else began.strip()
