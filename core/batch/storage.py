"""Where results go: a folder on a disk, or a bucket. A file is there whole and durably, or not at all."""

import errno
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

from core.domain.errors import StoreError, UsageError
from core.support import files

_UNFINISHED: Final = ".unfinished"
# Such an error is the file's own (its name is too long, or a folder is called as it): others can be written all the
# same.
_OF_THE_FILE: Final = {
    errno.ENAMETOOLONG,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EILSEQ,
    errno.EINVAL,
    errno.ENOTEMPTY,
}


class FileRefusedError(OSError):
    """A single file that cannot be written under its name; others can."""


class Storage(ABC):
    """Files by their relative POSIX path."""

    @abstractmethod
    def write(self, path: str, content: bytes, *, durable: bool = True) -> None:
        """Write a file, whole or not at all; with `durable` it also survives a power cut.

        Raises
        ------
        FileRefusedError
            If only this name cannot be written.
        StoreError
            If nothing can be written.
        """

    @abstractmethod
    def make_durable(self, paths: Iterable[str]) -> None:
        """Flush the names of written files to the disk, too."""

    @abstractmethod
    def read(self, path: str) -> bytes | None:
        """Content of a file; None where there is none."""

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Names of the finished files in a folder, sorted; none where there is no folder."""

    @abstractmethod
    def move(self, path: str, target: str) -> None:
        """Move a file or a folder with all that is in it; nothing happens where there is none."""

    @abstractmethod
    def local_copies(self, folder: str, names: Iterable[str]) -> Any:  # noqa: ANN401  # a context manager of Path
        """A context with the path of a local folder that holds these files."""

    @abstractmethod
    def place(self, path: str, source: Path) -> None:
        """Move a local file made in `work_folder` into place, whole or not at all."""

    @abstractmethod
    def work_folder(self) -> Any:  # noqa: ANN401  # a context manager of Path
        """A context with an empty local folder for large unfinished files; it is deleted afterwards."""


class LocalStorage(Storage):
    """A folder on a disk of this machine, or one that several machines share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made: set[Path] = set()

    def make(self) -> None:
        """Make the folder; raises UsageError where it cannot be."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"the results cannot be kept in {self.root} ({error.strerror}); choose another --out"
            raise UsageError(msg) from error

    def clear_unfinished(self) -> None:
        """Remove what a killed run left behind; only while no other run writes here."""
        with _in_words(self.root):
            shutil.rmtree(self.root / _UNFINISHED, ignore_errors=True)
            self._made.clear()

    def write(self, path: str, content: bytes, *, durable: bool = True) -> None:
        """Write to another name on the same disk, flush, then rename."""
        target, work = self.root / path, self.root / _UNFINISHED
        with _in_words(target):
            for needed in (target.parent, work):
                self._make_folder(needed)
            with files.replacing(target, work=work) as unfinished:
                unfinished.write_bytes(content)
                if durable:
                    files.sync(unfinished)  # not its folder, which takes many: `make_durable`

    def make_durable(self, paths: Iterable[str]) -> None:
        """Flush the folders of these files, up to the root, to the disk."""
        folders = {folder for path in paths for folder in PurePosixPath(path).parents}
        with _in_words(self.root):
            for folder in folders:
                files.sync(self.root / folder)

    def read(self, path: str) -> bytes | None:
        """Read a file."""
        with _in_words(self.root / path):
            return files.read_bytes(self.root / path) if (self.root / path).exists() else None

    def open(self, path: str) -> BinaryIO:
        """Open a file."""
        return files.open_bytes(self.root / path)

    def names(self, folder: str) -> list[str]:
        """List a folder."""
        try:
            return sorted(os.listdir(self.root / folder))  # noqa: PTH208  # a Path for each of very many names is slow
        except FileNotFoundError:
            return []

    def move(self, path: str, target: str) -> None:
        """Rename."""
        with _in_words(self.root / target):
            if (self.root / path).exists():
                self._rename(self.root / path, target)
                self._made.clear()

    @contextmanager
    def local_copies(self, folder: str, names: Iterable[str]) -> Iterator[Path]:  # noqa: ARG002  # all are here anyway
        """The folder itself."""
        yield self.root / folder

    def place(self, path: str, source: Path) -> None:
        """Flush the file to the disk and rename it."""
        with _in_words(self.root / path):
            files.sync(source)
            self._rename(source, path)
        self.make_durable([path])

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A folder beside the results: what is made in it can be renamed into place."""
        self._make_folder(self.root / _UNFINISHED)
        with TemporaryDirectory(dir=self.root / _UNFINISHED, ignore_cleanup_errors=True) as made:
            yield Path(made)

    def _rename(self, source: Path, path: str) -> None:
        target = self.root / path
        self._make_folder(target.parent)
        source.replace(target)

    def _make_folder(self, folder: Path) -> None:
        if folder not in self._made:
            folder.mkdir(parents=True, exist_ok=True)
            self._made.add(folder)


class RemoteStorage(Storage):
    """A bucket or another file system that fsspec knows: an object is there whole and durably, or not at all."""

    def __init__(self, url: str) -> None:
        self._system, root = file_system(url)
        self._root = root.rstrip("/")

    def write(self, path: str, content: bytes, *, durable: bool = True) -> None:  # noqa: ARG002  # it always is
        """Put an object."""
        with bucket_in_words(path):
            self._system.makedirs(f"{self._root}/{path}".rpartition("/")[0], exist_ok=True)
            self._system.pipe_file(f"{self._root}/{path}", content)

    def make_durable(self, paths: Iterable[str]) -> None:
        """Do nothing: objects are durable already."""

    def read(self, path: str) -> bytes | None:
        """Fetch an object."""
        with bucket_in_words(path), suppress(FileNotFoundError):
            data: bytes = self._system.cat_file(f"{self._root}/{path}")
            return data
        return None

    def open(self, path: str) -> BinaryIO:
        """Open an object, of which only the parts that are read are fetched."""
        with bucket_in_words(path):
            file: BinaryIO = self._system.open(f"{self._root}/{path}", "rb")
        return file

    def names(self, folder: str) -> list[str]:
        """List a prefix."""
        self._system.invalidate_cache()
        paths: list[str] = []
        with bucket_in_words(folder), suppress(FileNotFoundError):
            paths = self._system.ls(f"{self._root}/{folder}", detail=False)
        return sorted(name.rstrip("/").rpartition("/")[2] for name in paths)

    def move(self, path: str, target: str) -> None:
        """Copy, then delete."""
        with bucket_in_words(path):
            if self._system.exists(f"{self._root}/{path}"):
                self._system.mv(f"{self._root}/{path}", f"{self._root}/{target}", recursive=True)

    @contextmanager
    def local_copies(self, folder: str, names: Iterable[str]) -> Iterator[Path]:
        """Fetch the files into a folder that is gone afterwards."""
        with TemporaryDirectory() as made:
            for name in names:
                with bucket_in_words(name):
                    self._system.get_file(f"{self._root}/{folder}/{name}", str(Path(made) / name))
            yield Path(made)

    def place(self, path: str, source: Path) -> None:
        """Put the file as an object."""
        with bucket_in_words(path):
            self._system.put_file(str(source), f"{self._root}/{path}")

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """A temporary folder of this machine."""
        with TemporaryDirectory() as made:
            yield Path(made)


def open_storage(out: str) -> Storage:
    """The storage of a path or URL; raises UsageError where nothing opens the URL."""
    local = out.removeprefix("file://")
    return RemoteStorage(local) if "://" in local else LocalStorage(Path(local))


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it.

    Raises
    ------
    UsageError
        If fsspec knows none, or lacks a package for it.
    """
    # Not at the top: few runs read from a bucket or write into one.
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        msg = f"{url}: expected an address that fsspec can open, but {error}; install the package it names"
        raise UsageError(msg) from error
    return system, path


@contextmanager
def _in_words(path: object) -> Iterator[None]:
    """Turn what the disk refuses into words."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_FILE:
            raise FileRefusedError(error.errno, f"{error.strerror}: {path}") from error
        msg = (
            f"cannot write {path}: {error.strerror or error}; check the free space and the permissions, then give the"
            " same command again"
        )
        raise StoreError(msg) from error


@contextmanager
def bucket_in_words(path: str) -> Iterator[None]:
    """Turn errors of a bucket into words; a missing object is passed on as it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # every kind of bucket has errors of its own
        told = f"{type(error).__name__}: {error}"
        msg = (
            f"{path}: the bucket refuses ({told}); check address, credentials and rights, then give the same command"
            " again"
        )
        raise StoreError(msg) from error
