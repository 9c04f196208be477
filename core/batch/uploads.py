"""Images that a person uploaded and has not measured yet.

They are checked as a whole, then kept on disk, so that no page holds them in memory.
"""

import re
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Protocol, cast

from core.domain.errors import StoreError, UsageError
from core.domain.settings import Settings
from core.image.archives import ImageArchive
from core.image.listing import IMAGE_SUFFIXES, FileKind, PassedOver, file_kind, told
from core.support import files

MOST_FILES: Final = 20_000  # waiting together; a ZIP counts as one
_MOST_PARTS: Final = 16
_LONGEST_NAME: Final = 240  # bytes of one part; file systems take 255, and a temporary name is longer than the last
_KEPT_FREE: Final = 2**30  # bytes of the disk that uploads leave to everybody else


class Upload(Protocol):
    """An uploaded file: what Streamlit hands over."""

    name: str
    size: int

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place in the file."""
        ...


@dataclass(frozen=True)
class Waiting:
    """What waits to be measured: how many files and bytes.

    `archive` is its name where it is one ZIP file, `folder` that of the one folder in which all images lie.
    """

    files: int
    size: int
    archive: str | None
    folder: str | None = None

    @property
    def title(self) -> str:
        """What a run of it is called: after the ZIP file or the folder, else by the number of images."""
        if self.archive is not None:
            return PurePosixPath(self.archive).stem
        return self.folder or ("1 image" if self.files == 1 else f"{self.files:,} images")


class Uploads:
    """The files in one folder that wait to be measured.

    Parameters
    ----------
    folder
        Made with the first file.
    settings
        The limits on sizes.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder: Final = folder
        self.passed_over = PassedOver()
        self._settings = settings

    def waiting(self) -> Waiting:
        """Count what is there."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        size = 0
        for path in files:
            with suppress(FileNotFoundError):  # cleared meanwhile in another window
                size += path.stat().st_size
        archive = files[0].name if len(files) == 1 and files[0].suffix.lower() == ".zip" else None
        tops = {path.relative_to(self.folder).parts[0] for path in files}
        folder = tops.pop() if len(tops) == 1 and files[0].parent != self.folder else None
        return Waiting(len(files), size, archive, folder)

    def add(self, uploads: Sequence[Upload], kept: int = 0) -> int:
        """Add files, all or none, without hidden ones; returns how many were added.

        Files that are no images by their ending are left out, and then are in `passed_over`. A name that is there
        already gets a number, unless it is the same file once more.

        Parameters
        ----------
        uploads
            Images, by names or relative paths as the browser sent them; or one ZIP file, alone.
        kept
            Bytes that this person's earlier runs hold.

        Raises
        ------
        UsageError
            If a name, a number or a size is not allowed, no file is an image, or the ZIP is none or beyond the limits;
            nothing is written then.
        StoreError
            If the disk refuses; what was written of these files is removed.
        """
        self.passed_over = PassedOver()
        named = []
        for upload in uploads:
            path = _safe_path(upload.name)
            kind = file_kind(upload.name)
            if kind is FileKind.IMAGE or path.suffix.lower() == ".zip":
                named += [(path, upload)] if kind is not FileKind.HIDDEN else []
            elif kind is FileKind.OTHER:
                self.passed_over.add(path.as_posix())
        others = self.passed_over.by_ending
        if others and not named:
            msg = f"expected images ({', '.join(IMAGE_SUFFIXES)}) or a ZIP archive; {told(others)}"
            raise UsageError(msg)
        self._check(named, kept)
        written: list[Path] = []
        try:
            for path, upload in named:
                written.extend(self._write(path, upload))
        except OSError as error:
            for file in written:
                file.unlink(missing_ok=True)
            msg = (
                f"the files cannot be kept: {error.strerror or error}; check the free space and the permissions of"
                f" {self.folder.parent}"
            )
            raise StoreError(msg) from error
        return len(named)

    def clear(self) -> None:
        """Delete all that waits."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self, named: Sequence[tuple[PurePosixPath, Upload]], kept: int) -> None:
        waiting = self.waiting()
        archives = [upload for path, upload in named if path.suffix.lower() == ".zip"]
        if archives and (len(named) > 1 or waiting.files):
            msg = (
                f"a ZIP archive is measured by itself, but {archives[0].name} came with other files; measure or clear"
                " those first"
            )
            raise UsageError(msg)
        if waiting.archive is not None and named:
            msg = f"{waiting.archive} is waiting and is measured by itself; measure or clear it before you add images"
            raise UsageError(msg)
        if waiting.files + len(named) > MOST_FILES:
            msg = (
                f"expected at most {MOST_FILES:,} files, but these would make {waiting.files + len(named):,}; use a ZIP"
                " archive or a folder"
            )
            raise UsageError(msg)
        for path, upload in named:
            if path.suffix.lower() != ".zip" and upload.size > self._settings.max_bytes:
                limit = self._settings.max_bytes / 2**20
                msg = (
                    f"{path}: expected at most {limit:.0f} MB an image, but it has {upload.size / 2**20:.0f} MB; cut it"
                    " into fields"
                )
                raise UsageError(msg)
        self._check_room(sum(upload.size for _, upload in named), waiting.size + kept)
        for upload in archives:
            self._check_archive(upload)

    def _check_archive(self, upload: Upload) -> None:
        others = PassedOver()
        for member in ImageArchive(cast("BinaryIO", upload), upload.name).members():
            if member.passed_over:
                others.add(member.path)
            elif member.problem is None:
                return
        passed = told(others.by_ending)
        msg = (
            f"{upload.name}: expected images ({', '.join(IMAGE_SUFFIXES)}), but the archive holds none that can be used"
            f"{'; ' if passed else ''}{passed}"
        )
        raise UsageError(msg)

    def _check_room(self, new: int, kept: int) -> None:
        most = self._settings.max_upload_bytes
        if new + kept > most:
            msg = (
                f"expected at most {most / 2**20:,.0f} MB of uploads altogether, but with these there would be "
                f"{(new + kept) / 2**20:,.0f} MB; delete earlier runs, or use a folder"
            )
            raise UsageError(msg)
        existing = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        if shutil.disk_usage(existing).free < new + _KEPT_FREE:
            msg = f"the disk has no room for {new / 2**20:,.0f} MB; delete earlier runs, or use a folder"
            raise UsageError(msg)

    def _write(self, name: PurePosixPath, upload: Upload) -> Iterator[Path]:
        folder = self.folder / name.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        upload.seek(0)
        with files.unfinished(folder / name.name) as made:
            with made.open("wb") as file:
                shutil.copyfileobj(upload, file, 2**20)
            path, number = folder / name.name, 1
            while path.exists():
                if _same(path, made):
                    return
                number += 1
                path = folder / f"{name.stem} ({number}){name.suffix}"
            made.rename(path)
        yield path


def _same(path: Path, other: Path) -> bool:
    """Whether two files hold the same; they are images, small enough to be read."""
    return path.stat().st_size == other.stat().st_size and path.read_bytes() == other.read_bytes()


def _safe_path(name: str) -> PurePosixPath:
    """Path of a file in the folder; raises UsageError for a name that is not allowed."""
    parts = re.split(r"[/\\]", name.removeprefix("./"))
    shown = repr(name if len(name) <= 80 else f"{name[:80]}...")
    if any(part in {"", ".", ".."} for part in parts) or re.match("[A-Za-z]:", name):
        msg = f"expected a file's name or its path in a folder, but got {shown}; give the file another name"
        raise UsageError(msg)
    if any(unicodedata.category(letter).startswith("C") for letter in name):
        msg = f"the name {shown} holds characters that cannot be seen; give the file another name"
        raise UsageError(msg)
    if len(parts) > _MOST_PARTS or max(len(part.encode()) for part in parts) > _LONGEST_NAME:
        msg = f"the name {shown} is too long; give the file and its folders shorter names"
        raise UsageError(msg)
    return PurePosixPath(*parts)
