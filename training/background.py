"""Long work in the background: a list of commands, one after the other, at the lowest priority. Needs no torch."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from core.errors import UsageError


def lower_priority() -> None:
    """Give this process, and those it starts, what the processor has left over."""
    os.nice(19)
    # Linux shares the processor between sessions first, and looks at niceness within one only.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")


def read_queue(path: Path) -> list[list[str]]:
    """The commands of a file, one `python -m training` command a line without these words; `#` begins a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        msg = f"{path} could not be read as a list of commands ({error})"
        raise UsageError(msg) from error
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_queue(commands: Sequence[Sequence[str]]) -> Iterator[tuple[Sequence[str], int, float]]:
    """Run commands one after the other; gives each with its exit code and minutes. A failure stops none.

    Each of them goes on where it was killed, or has nothing to do, so that a queue that was killed is simply started again.
    """
    for command in commands:
        started = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "training", *command], check=False).returncode
        yield command, code, (time.monotonic() - started) / 60


def detach(arguments: Sequence[str], log: Path) -> int:
    """Start `python -m training` with these arguments in a session of its own, writing to `log`; returns its process id."""
    log.parent.mkdir(parents=True, exist_ok=True)
    streams = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    command = [sys.executable, "-m", "training", *arguments]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=streams, setsid=True)
