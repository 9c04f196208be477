"""Locks between processes, each on a file, with contents or without.

A lock ends with its process, however that ends: a killed process never keeps others waiting. It is `flock` on Linux and
macOS, and on Windows a byte far beyond the contents, so that others may still read these. Between machines that share a
disk it holds where the file system passes locks on, as NFS and SMB do.
"""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

_POLL_S: Final = 0.01
_BYTE: Final = 2**30  # of the file is what Windows locks; the contents are shorter


class FileLock:
    """A lock that is held until `release`, the end of a `with`, or that of the process; made by `lock` and `try_lock`.

    A process forked meanwhile holds it, too, until either of the two releases it.
    """

    def __init__(self, path: Path, descriptor: int, *, keep_file: bool) -> None:
        self._path, self._descriptor, self._keep_file = path, descriptor, keep_file
        self._held = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def write(self, content: bytes) -> None:
        """Write into a file that was empty, for others to read."""
        os.write(self._descriptor, content)

    def release(self) -> None:
        """Release the lock; a second time does nothing."""
        if not self._held:
            return
        self._held = False
        if not self._keep_file:
            # Before the lock is free: whoever has it next would lose its file.
            self._remove_file()
        _unlock(self._descriptor)
        os.close(self._descriptor)
        if not self._keep_file and os.name == "nt":  # where no open file can be removed
            self._remove_file()

    def _remove_file(self) -> None:
        with suppress(OSError):
            self._path.unlink()


def lock(path: Path, *, keep_file: bool = True) -> FileLock:
    """Take the lock of a file as soon as it is free.

    Parameters
    ----------
    path
        The file; it and its folder are made if they are missing.
    keep_file
        Whether the file stays when the lock is released.

    Raises
    ------
    OSError
        If the file cannot be made or locked.
    """
    held = _take(path, wait=True, keep_file=keep_file)
    assert held is not None
    return held


def try_lock(path: Path, *, wait_s: float = 0.0, keep_file: bool = True) -> FileLock | None:
    """Take the lock of a file if it is free now or within `wait_s` seconds, else None; otherwise as `lock`."""
    until = time.monotonic() + wait_s
    while (held := _take(path, wait=False, keep_file=keep_file)) is None and time.monotonic() < until:
        time.sleep(_POLL_S)
    return held


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of a file; False where there is no file.

    The check takes the lock for a moment: whoever must not fail because of it tries for longer (`wait_s`).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        free = _lock(descriptor, wait=False, shared=True)
        if free:
            _unlock(descriptor)
        return not free
    finally:
        os.close(descriptor)


def _take(path: Path, *, wait: bool, keep_file: bool) -> FileLock | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        taken = False
        try:
            if not _lock(descriptor, wait=wait):
                return None
            taken = _is_at(descriptor, path)  # and not a file that its last holder has removed meanwhile
            if taken:
                return FileLock(path, descriptor, keep_file=keep_file)
        finally:
            if not taken:
                os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _lock(descriptor: int, *, wait: bool, shared: bool = False) -> bool:
    """Lock an open file; False where another holds it and this one is not to wait."""
    try:
        import fcntl
    except ImportError:
        return _lock_byte(descriptor, wait=wait)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):  # the second on some network file systems
        return False
    return True


def _lock_byte(descriptor: int, *, wait: bool) -> bool:
    import msvcrt

    while True:
        try:
            _at_byte(descriptor, msvcrt.LK_NBLCK)  # type: ignore[attr-defined]  # only Windows has it
        except PermissionError:
            if not wait:
                return False
            time.sleep(_POLL_S)  # msvcrt's own wait gives up after ten seconds
        else:
            return True


def _unlock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        _at_byte(descriptor, msvcrt.LK_UNLCK)  # type: ignore[attr-defined]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _at_byte(descriptor: int, what: int) -> None:
    """Let msvcrt do something to the byte at which Windows locks, and go back to the beginning."""
    import msvcrt

    os.lseek(descriptor, _BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, what, 1)  # type: ignore[attr-defined]
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
