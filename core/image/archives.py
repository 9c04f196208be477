"""Archives from strangers: a ZIP's images read within limits, and files packed for download."""

import errno
import io
import lzma
import re
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, Final

from core.domain.errors import UsageError
from core.domain.settings import Settings
from core.image.imaging import base_name
from core.image.listing import FileKind, file_kind

# Photographs hardly shrink; a member that unpacks to a hundred times its size is no photograph.
MAX_RATIO: Final = 100
# A member costs half a kilobyte of memory.
MAX_MEMBERS: Final = 1_000_000
_CHUNK: Final = 2**20
_ENCRYPTED: Final = 0x1
# What a damaged archive raises, by what is damaged.
_DAMAGED: Final = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    ValueError, RuntimeError, NotImplementedError, EOFError, LookupError, OverflowError,
)  # fmt: skip
_ARCHIVE_SUFFIXES: Final = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")


@dataclass(frozen=True)
class Member:
    """A file of an archive: its relative path, size in bytes, checksum; or the `problem` why it is not read.

    `passed_over` tells that it is no image by its name.
    """

    path: str
    size: int
    checksum: str
    problem: str | None = None
    passed_over: bool = False


class ImageArchive:
    """A ZIP file whose images are read in place, one at a time; nothing is ever written to disk.

    Parameters
    ----------
    file
        A path, or an open binary file that can seek.
    name
        What it is called in errors.

    Raises
    ------
    UsageError
        If it is no ZIP, holds more than MAX_MEMBERS files, or unpacks to more than MAX_RATIO times its size: then it is
        refused as a whole.
    """

    def __init__(self, file: str | IO[bytes], name: str) -> None:
        try:
            self._archive = zipfile.ZipFile(file)
        except (*_DAMAGED, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # it was to be read before its beginning
                raise
            msg = f"{name}: expected a ZIP archive, but it is not one or is damaged ({error}); pack the images again"
            raise UsageError(msg) from error
        self._name = name
        infos = self._archive.infolist()
        self._times = Counter(info.filename for info in infos)
        if len(infos) > MAX_MEMBERS:
            msg = (
                f"{name}: expected at most {MAX_MEMBERS:,} files, but it holds {len(infos):,}; unpack it into a folder"
            )
            raise UsageError(msg)
        packed, unpacked = (sum(getattr(info, size) for info in infos) for size in ("compress_size", "file_size"))
        if unpacked > MAX_RATIO * packed + _CHUNK:
            msg = (
                f"{name}: expected photographs, which hardly shrink, but its {packed / 2**20:.1f} MB unpack to"
                f" {unpacked / 2**20:,.0f} MB; it is not opened"
            )
            raise UsageError(msg)

    def members(self) -> Iterator[Member]:
        """Every path of a file once, in order, without hidden ones; inner archives are problems."""
        for info in map(self._archive.getinfo, sorted(self._times)):
            kind = file_kind(info.filename)
            if kind is FileKind.IMAGE or _is_archive(info.filename):
                yield self._described(info)
            elif kind is FileKind.OTHER and not info.is_dir():
                yield Member(info.filename, info.file_size, f"{info.CRC:08x}", passed_over=True)

    def member(self, path: str) -> Member:
        """The archive's entry for a path; raises KeyError without one."""
        return self._described(self._archive.getinfo(path))

    def _described(self, info: zipfile.ZipInfo) -> Member:
        return Member(info.filename, info.file_size, f"{info.CRC:08x}", self._problem(info))

    def read(self, path: str, settings: Settings) -> bytes:
        """Content of a member within the limits.

        Raises
        ------
        UsageError
            If it is damaged or beyond the limits.
        KeyError
            If there is none.
        """
        member = self._archive.getinfo(path)
        limit = min(settings.max_bytes, MAX_RATIO * max(member.compress_size, 1) + _CHUNK)
        content = bytearray()
        try:
            with self._archive.open(member) as file:
                while chunk := file.read(_CHUNK):
                    content += chunk
                    if len(content) > limit:
                        shown = f"{self._name}: {base_name(member.filename)}"
                        msg = f"{shown} unpacks to more than {limit / 2**20:.0f} MB; pack photographs only"
                        raise UsageError(msg)
        except (*_DAMAGED, OSError, MemoryError) as error:  # damaged, encrypted, or of an unknown method
            msg = (
                f"{self._name}: {base_name(member.filename)} cannot be unpacked ({error}); pack the images again,"
                " without a password"
            )
            raise UsageError(msg) from error
        return bytes(content)

    def _problem(self, info: zipfile.ZipInfo) -> str | None:
        path = info.filename
        if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or ".." in re.split(r"[/\\]", path):
            return "expected a path inside the archive, but it leads out of it; pack the folder again"
        if _is_archive(path):
            return "expected images, but this is an archive inside the archive; unpack it and pack its images"
        if "\\" in path:
            return (
                "expected folders to be separated by '/', as the ZIP format says, but they are by '\\'; pack the folder"
                " again"
            )
        if self._times[path] > 1:
            return "expected every path once, but the archive holds several files of this path; pack the folder again"
        if info.flag_bits & _ENCRYPTED:
            return "expected a readable file, but it is encrypted; pack the images again, without a password"
        if stat.S_ISLNK(info.external_attr >> 16):
            return "expected an image, but it is a link to another file; pack the image itself"
        if info.file_size > MAX_RATIO * info.compress_size + _CHUNK:
            return (
                f"expected a photograph, but it unpacks to more than {MAX_RATIO} times its size; pack photographs only"
            )
        return None


def _is_archive(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in _ARCHIVE_SUFFIXES


def pack(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a ZIP; the names are used as given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNG files are packed already
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
