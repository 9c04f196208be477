"""The locks of Windows, as far as Linux can stand in for them."""

import os
import struct
from types import SimpleNamespace


def as_windows_does(fcntl):
    """`msvcrt` with `locking` by Linux's locks of open files, which as on Windows are of bytes and of an open file."""

    def locking(descriptor, mode, count):
        start = os.lseek(descriptor, 0, os.SEEK_CUR)
        writable = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        kind = fcntl.F_UNLCK if mode == 0 else fcntl.F_WRLCK if writable else fcntl.F_RDLCK
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack("hhqqi", kind, os.SEEK_SET, start, count, 0))
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error

    return SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=locking)
