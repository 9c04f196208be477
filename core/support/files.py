"""Files that are there whole or not at all: made under a temporary name in the same folder, then renamed.

Names of unfinished files begin with a dot and end in random digits, so that two processes never share one and none is
mistaken for finished. A process that is killed leaves its own behind; every other end removes it.
"""

import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

NO_FILE: Final = errno.ENXIO  # of what is no regular file
_SHOWN: Final = 50  # characters of the name that the unfinished one repeats; file systems take 255 bytes in all


@contextmanager
def replacing(path: Path, *, durable: bool = False, work: Path | None = None) -> Iterator[Path]:
    """A path to write to; when the block ends, what is there replaces `path`; after an error nothing does.

    Parameters
    ----------
    path
        The file, or a folder where none is yet; its own folder must be there.
    durable
        Flush the file and its name to the disk before the block ends, so that they survive a power cut.
    work
        Folder on the same disk in which it is made; beside `path` if not given.

    Raises
    ------
    OSError
        If the disk refuses; it names `path`, and nothing is left behind.
    """
    with unfinished(path, work=work) as made:
        try:
            yield made
            if durable:
                sync(made)
            made.replace(path)
            if durable:
                sync(path.parent)
        except OSError as error:
            # A full disk names no file at all, everything else one that nobody knows.
            if error.filename is None or str(error.filename) == str(made):
                error.filename = str(path)
                del error.filename2
            raise


@contextmanager
def unfinished(path: Path, *, work: Path | None = None) -> Iterator[Path]:
    """A unique path for what is to become `path`; what is left there in the end is removed."""
    made = (work or path.parent) / f"{_mark(path)}{uuid.uuid4().hex}"
    try:
        yield made
    finally:
        _remove(made)


def clear_unfinished(path: Path) -> None:
    """Remove unfinished files that killed processes left behind; only while nobody writes them."""
    unfinished = re.compile(re.escape(_mark(path)) + "[0-9a-f]{32}")
    for left in path.parent.iterdir():
        if unfinished.fullmatch(left.name):
            _remove(left)


def open_bytes(path: Path) -> BinaryIO:
    """Open a regular file for reading; raises OSError for anything else: who reads a pipe may wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(NO_FILE, "it is no regular file but a folder, pipe or device", str(path))
    return os.fdopen(descriptor, "rb")


def read_bytes(path: Path) -> bytes:
    """Content of a regular file; raises OSError as `open_bytes`."""
    with open_bytes(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """Text of a regular file in UTF-8, read as `read_bytes` does; raises UnicodeDecodeError where it is none."""
    return read_bytes(path).decode("utf-8")


def write_bytes(path: Path, content: bytes | memoryview, *, durable: bool = False) -> None:
    """Write a file as `replacing` does."""
    with replacing(path, durable=durable) as made:
        made.write_bytes(content)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Write a file in UTF-8 as `replacing` does."""
    with replacing(path, durable=durable) as made:
        made.write_text(text, encoding="utf-8")


def remove_folder(folder: Path) -> None:
    """Delete a folder that disappears for readers at once: file by file they would see a part of it."""
    with unfinished(folder) as doomed:
        folder.rename(doomed)
        shutil.rmtree(doomed)


def sync(path: Path) -> None:
    """Flush a file's content, or the names in a folder, to the disk."""
    is_folder = path.is_dir()
    if is_folder and os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mark(path: Path) -> str:
    return f".{path.name[:_SHOWN]}-"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
