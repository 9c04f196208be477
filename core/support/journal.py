"""Append-only logs: a line of JSON per record, appended under a lock, never rewritten.

A line is whole or it is left out: one that a power cut has torn is told and skipped, and the next record begins on a
line of its own. Where the disk is full the log stays as it was.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final, Generic, TypeVar

from core.domain.errors import CoreError, StoreError
from core.support import files, locks, records

Record = TypeVar("Record")


@dataclass(frozen=True, eq=False)
class LogContent(Generic[Record]):
    """The records of a log in their order, and what could not be read, in words."""

    records: tuple[Record, ...] = ()
    problems: tuple[StoreError, ...] = ()


class Journal(Generic[Record]):
    """The logs of one kind of record, wherever they lie; what was read of a file is not read again.

    Parameters
    ----------
    kind
        What a line is, as `core.support.records` reads it.
    damaged
        What is lost with a line that cannot be read, and what to do: follows "is damaged and was left out; ".
    unread
        What does not count while the file cannot be read: follows "cannot be read (...); ".
    """

    def __init__(self, kind: type[Record], damaged: str, unread: str) -> None:
        self._kind, self.damaged, self.unread = kind, damaged, unread
        self._known: Final[dict[Path, tuple[tuple[int, int], int, int, LogContent[Record]]]] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> LogContent[Record]:
        """Return a log; empty where there is none, and with a problem where it cannot be read."""
        try:
            found = path.stat()
            file, size = (found.st_dev, found.st_ino), found.st_size
            with self._lock:
                before, read, changed, content = self._known.get(path, (file, 0, 0, LogContent[Record]()))
            if (before, read, changed) == (file, size, found.st_mtime_ns):
                return content
            if before != file or read >= size or content.problems:  # another file, or not only longer: from its start
                read, content = 0, LogContent[Record]()
            text = files.read_bytes(path) if not read else _tail(path, read)
        except FileNotFoundError:
            return LogContent()
        except OSError as error:
            msg = f"{path}: cannot be read ({error.strerror or error}); {self.unread}"
            return LogContent((), (StoreError(msg),))
        content = self._with(content, text, path)
        if not text or text.endswith(b"\n"):  # else its last line may not be whole yet
            with self._lock:
                self._known[path] = (file, read + len(text), found.st_mtime_ns, content)
        return content

    def _with(self, content: LogContent[Record], text: bytes, path: Path) -> LogContent[Record]:
        """What was read before, and the records of the text that follows it."""
        found, problems = list(content.records), list(content.problems)
        for number, line in enumerate(text.splitlines(), start=len(found) + 1):  # no line before it was left out
            try:
                found.append(records.from_json(self._kind, line, others=True))
            except CoreError:
                msg = f"{path}: line {number} is damaged and was left out; {self.damaged}"
                problems.append(StoreError(msg))
        return LogContent(tuple(found), tuple(problems))

    @contextmanager
    def appending(self, path: Path) -> Iterator[list[Record]]:
        """Hold a log under its lock; records put in the list are on disk when the block ends. Raises StoreError."""
        added: list[Record] = []
        try:
            with locks.lock(path), path.open("r+b", buffering=0) as file:
                yield added
                text = "".join(f"{records.to_json(record)}\n" for record in added).encode()
                if not text:
                    return
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - 1, 0))
                torn = size > 0 and file.read(1) != b"\n"
                try:
                    _write(file, b"\n" * torn + text)
                except BaseException:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise unwritten(path, error) from error

    @contextmanager
    def rewriting(self, path: Path) -> Iterator[list[Record]]:
        """Hold a log under its lock; what is left in the list of its records replaces it when the block ends."""
        if not path.exists():
            yield []
            return
        try:
            with locks.lock(path):
                kept = list(self.read(path).records)
                yield kept
                text = "".join(f"{records.to_json(record)}\n" for record in kept)
                files.write_text(path, text, durable=True)
        except OSError as error:
            raise unwritten(path, error) from error


def unwritten(path: Path, error: OSError) -> StoreError:
    """What to say where the disk refuses a file."""
    return StoreError(
        f"cannot write {path}: {error.strerror or error}; check the free space and the permissions of the folder"
    )


def revision(*paths: Path) -> str:
    """Text that changes with every record that any of the logs gets; empty where there is none."""
    stats = [path.stat() for path in paths if path.exists()]
    return "".join(f"-{stat.st_size}-{stat.st_mtime_ns}" for stat in stats)


def _tail(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def _write(file: FileIO, text: bytes) -> None:
    """Write all of a text and have it on the disk: of a full one a part of it may be taken first."""
    rest = memoryview(text)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())
