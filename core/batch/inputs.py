"""Where the images are: a folder, a ZIP file, or a bucket.

Names are streamed in a stable order, contents read one at a time. Nothing outside the input is ever opened: links are
followed only inside it. Every kind can be pickled, so that a worker on another machine reads for itself.
"""

import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final

from core.batch.storage import bucket_in_words, file_system
from core.batch.tasks import Stamp
from core.domain.errors import CoreError, ImageError, UsageError
from core.domain.settings import load_settings
from core.image.archives import ImageArchive
from core.image.listing import FileKind, PassedOver, file_kind


@dataclass(frozen=True)
class Listed:
    """A path of the listing, relative to the input, with the `problem` in words where it cannot be read as an image.

    A `folder` that cannot be listed is reported whatever the pattern, because its contents are unknown. `stamp` is set
    where the listing gives it at no cost. `passed_over` tells that the file is no image by its name.
    """

    path: str
    problem: str | None = None
    folder: bool = False
    stamp: Stamp | None = None
    passed_over: bool = False


class Inputs(ABC):
    """Images by their relative POSIX path.

    `pattern` is a glob on the path (`*` also crosses folders). Hidden files are skipped; others that are no images are
    counted in `passed_over` while `listed` goes on.
    """

    def __init__(self, pattern: str | None = None) -> None:
        self._pattern = pattern
        self.passed_over = PassedOver()

    def _wanted(self) -> Callable[[Listed], bool]:
        if self._pattern is None:
            return lambda _: True
        fits = re.compile(translate(self._pattern)).match
        return lambda listed: listed.folder or fits(listed.path) is not None

    def listed(self) -> Iterator[Listed]:
        """Every image in a stable order; at most one folder's names are held in memory."""
        self.passed_over = PassedOver()
        for listed in filter(self._wanted(), self._listed(in_order=True)):
            if listed.passed_over:
                self.passed_over.add(listed.path)
            else:
                yield listed

    def count(self) -> Iterator[int]:
        """How many images there are: a growing number, the last being the total; keeps no names."""
        wanted = filter(self._wanted(), self._listed(in_order=False))
        for number, _ in enumerate((listed for listed in wanted if not listed.passed_over), start=1):
            yield number

    @abstractmethod
    def _listed(self, *, in_order: bool) -> Iterator[Listed]:
        """Every file that is not hidden."""

    @abstractmethod
    def stamp(self, path: str) -> Stamp | None:
        """What tells whether the image has changed; None where that is not known."""

    @abstractmethod
    def read(self, path: str) -> tuple[bytes, Stamp]:
        """Content of an image.

        Raises
        ------
        ImageError
            If it cannot be read or is larger than `Settings.max_bytes`, in words.
        """


class FolderInputs(Inputs):
    """The images in a folder and its sub-folders.

    Links are followed to files inside the folder; links that leave it, and links to folders (which could form a loop),
    are reported as problems.
    """

    def __init__(self, root: Path, pattern: str | None = None) -> None:
        super().__init__(pattern)
        self._root = root.resolve()

    def _listed(self, *, in_order: bool) -> Iterator[Listed]:
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            files: list[str] = []
            folders: list[str] = []
            problems: list[Listed] = []
            try:
                with os.scandir(self._root / folder) as entries:
                    for entry in entries:
                        if file_kind(entry.name) is not FileKind.HIDDEN:
                            self._sort_in(folder, entry, files, folders, problems)
            except OSError as error:
                yield Listed(
                    _printable(folder) or ".",
                    f"expected a folder that can be listed, but {error.strerror}; check its permissions",
                )
            if in_order:
                files.sort()
                folders.sort(reverse=True)
            yield from problems
            del problems
            for name in files:
                is_image = file_kind(name) is FileKind.IMAGE
                yield Listed(name if is_image else _printable(name), passed_over=not is_image)
            waiting += folders

    def _sort_in(
        self, folder: str, entry: os.DirEntry[str], files: list[str], folders: list[str], problems: list[Listed]
    ) -> None:
        path = f"{folder}/{entry.name}" if folder else entry.name
        looks_like_image = file_kind(entry.name) is FileKind.IMAGE
        problem = None
        if entry.is_dir(follow_symlinks=False):
            folders.append(path)
            problem = (
                "expected an image file, but it is a folder (whose images are measured); rename it"
                if looks_like_image
                else None
            )
        elif entry.is_symlink():
            problem = self._problem_of_link(path, looks_like_image=looks_like_image)
        elif looks_like_image and not entry.is_file(follow_symlinks=False):
            problem = "expected an image file, but it is a device or a pipe; remove it"
        if problem is None and looks_like_image and _printable(path) != path:
            problem = "expected a file name in UTF-8, but it is not; rename the file"
        if problem is not None:
            problems.append(Listed(_printable(path), problem))
        elif not entry.is_dir(follow_symlinks=False):
            files.append(path)

    def _problem_of_link(self, path: str, *, looks_like_image: bool) -> str | None:
        try:
            target = (self._root / path).resolve(strict=True)
        except (OSError, RuntimeError):  # it points to nothing, or to itself
            return (
                "expected an image file, but it is a link that leads nowhere; copy the image itself"
                if looks_like_image
                else None
            )
        if target.is_dir():
            return "a link to a folder is not followed; give that folder as input, or copy it"
        if not looks_like_image:
            return None
        if not target.is_relative_to(self._root):
            return "a link that leaves the folder is not followed; copy the image itself"
        return None if target.is_file() else "expected an image file, but it is a link to a device or a pipe; remove it"

    def stamp(self, path: str) -> Stamp | None:
        """Size and time of change."""
        try:
            return _stamp((self._root / path).stat())
        except OSError:
            return None

    def read(self, path: str) -> tuple[bytes, Stamp]:
        """Read one file, never one outside the folder."""
        name = path.rsplit("/", 1)[-1]
        try:
            real = (self._root / path).resolve(strict=True)
            if not real.is_relative_to(self._root):  # it was exchanged for a link since it was listed
                msg = f"{name}: a link that leaves the folder is not followed; copy the image itself"
                raise ImageError(msg)
            # Not blocking: opening a pipe would wait until somebody writes.
            with os.fdopen(
                os.open(real, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb"
            ) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    msg = f"{name}: expected an image file, but it is a folder, device or pipe; remove it"
                    raise ImageError(msg)
                return _within_limit(file, status.st_size, name), _stamp(status)
        except OSError as error:
            msg = (
                f"{name}: expected a readable image file, but {error.strerror or error}; check the path and the"
                " permissions"
            )
            raise ImageError(msg) from error


class ArchiveInputs(Inputs):
    """The images in a ZIP file, here or in a bucket, read in place."""

    def __init__(self, url: str, pattern: str | None = None) -> None:
        super().__init__(pattern)
        self._url = url
        self._archive  # noqa: B018  # opened now, so that an archive refused as a whole is refused before the run

    def __getstate__(self) -> dict[str, Any]:
        return {"_url": self._url, "_pattern": self._pattern}

    @cached_property
    def _archive(self) -> ImageArchive:
        file: str | IO[bytes] = self._url
        if "://" in self._url:
            system, path = file_system(self._url)
            file = system.open(path, "rb")
        return ImageArchive(file, self._url.rsplit("/", 1)[-1])

    def _listed(self, *, in_order: bool) -> Iterator[Listed]:  # noqa: ARG002  # the archive's own order is one
        for member in self._archive.members():
            path = _printable(member.path)
            yield Listed(
                path,
                (
                    member.problem
                    if path == member.path or member.passed_over
                    else "expected a file name in UTF-8, but it is not; rename the file"
                ),
                passed_over=member.passed_over,
            )

    def stamp(self, path: str) -> Stamp | None:
        """Size and checksum, as the archive's directory says."""
        try:
            member = self._archive.member(path)
        except KeyError:
            return None
        return Stamp(member.size, member.checksum)

    def read(self, path: str) -> tuple[bytes, Stamp]:
        """Unpack one image."""
        try:
            member = self._archive.member(path)
            return self._archive.read(path, load_settings()), Stamp(member.size, member.checksum)
        except (CoreError, KeyError, OSError) as error:
            msg = (
                f"{path.rsplit('/', 1)[-1]}: expected a readable member of the archive, but {error}; pack the images"
                " again"
            )
            raise ImageError(msg) from error


class BucketInputs(Inputs):
    """The images below a URL that fsspec knows: s3://, gs://, memory:// and others."""

    def __init__(self, url: str, pattern: str | None = None) -> None:
        super().__init__(pattern)
        self._url = url
        system, root = file_system(url)
        with bucket_in_words(url):
            there = system.isdir(root)
        if not there:
            msg = f"expected a folder of images, but {url} is none; check the address and the credentials"
            raise UsageError(msg)

    def __getstate__(self) -> dict[str, Any]:
        return {"_url": self._url, "_pattern": self._pattern}

    @cached_property
    def _system(self) -> tuple[Any, str]:
        system, root = file_system(self._url)
        return system, root.rstrip("/")

    def _listed(self, *, in_order: bool) -> Iterator[Listed]:  # noqa: ARG002  # a bucket lists in order anyway
        system, root = self._system
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            entries = sorted(system.ls(folder, detail=True), key=lambda entry: str(entry["name"]))
            system.invalidate_cache(folder)
            for entry in entries:
                path = entry["name"].rstrip("/").removeprefix(root).lstrip("/")
                kind = file_kind(path.rsplit("/", 1)[-1])
                if kind is FileKind.HIDDEN or entry["type"] == "directory":
                    continue
                yield Listed(path, stamp=_remote_stamp(entry), passed_over=kind is FileKind.OTHER)
            waiting += reversed(
                [
                    entry["name"]
                    for entry in entries
                    if entry["type"] == "directory" and entry["name"].rstrip("/") != folder
                ]
            )

    def stamp(self, path: str) -> Stamp | None:
        """Size and entity tag, checksum or time of change, whichever the bucket tells."""
        system, root = self._system
        try:
            return _remote_stamp(system.info(f"{root}/{path}"))
        except OSError:
            return None

    def read(self, path: str) -> tuple[bytes, Stamp]:
        """Fetch one object."""
        system, root = self._system
        name = path.rsplit("/", 1)[-1]
        try:
            stamp = _remote_stamp(system.info(f"{root}/{path}"))
            with system.open(f"{root}/{path}", "rb") as file:
                return _within_limit(file, stamp.size, name), stamp
        except OSError as error:
            msg = (
                f"{name}: expected a readable image, but {error.strerror or error}; check the address and the"
                " permissions"
            )
            raise ImageError(msg) from error


def open_inputs(source: str, pattern: str | None = None) -> Inputs:
    """The images of a folder, a ZIP file or a URL.

    Raises
    ------
    UsageError
        If there is nothing there, it is a file of another kind, or an archive that is refused as a whole.
    """
    local = source.removeprefix("file://")
    if "://" in local:
        return ArchiveInputs(local, pattern) if local.lower().endswith(".zip") else BucketInputs(local, pattern)
    path = Path(local)
    if path.is_dir():
        return FolderInputs(path, pattern)
    if path.is_file() and path.suffix.lower() == ".zip":
        return ArchiveInputs(str(path.resolve()), pattern)
    came = "a file of another kind" if path.exists() else "nothing"
    msg = f"expected a folder, a ZIP file or a URL, but there is {came} at {source}; check the path"
    raise UsageError(msg)


# Bytes read at a time, so that a file that grows while it is read is noticed at the limit.
_CHUNK: Final = 2**20


def _within_limit(file: IO[bytes], size: int, name: str) -> bytes:
    limit = load_settings().max_bytes
    content = bytearray()
    if size <= limit:
        while chunk := file.read(_CHUNK):
            content += chunk
            if len(content) > limit:
                break
    if max(size, len(content)) > limit:
        msg = (
            f"{name}: expected at most {limit / 2**20:.0f} MB, but the file has {max(size, len(content)) / 2**20:.0f}"
            " MB; cut out the cell, or raise LEUKOSCOPE_MAX_BYTES"
        )
        raise ImageError(msg)
    return bytes(content)


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_size, str(status.st_mtime_ns))


def _remote_stamp(info: dict[str, Any]) -> Stamp:
    """Buckets tell an entity tag, a checksum or a time of change, each under its own name."""
    told = next(
        (str(info[key]) for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created") if info.get(key)), ""
    )
    return Stamp(int(info.get("size") or 0), told)


def _printable(path: str) -> str:
    """The path as it can be written down; bytes that are no UTF-8 are shown as escapes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
