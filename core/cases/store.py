"""Cases on disk: a folder each, in a folder of the person's own, which no other person of the server is shown.

`<root>/<owner>/<case>/` holds `case.json` (title, notes, and of each image its name, scale, notes and counts),
`images/` (the files as they came, by SHA-256) and `cells/` (what was measured, a Parquet file an image). `case.json` is
exchanged last and in one step, so a reader sees an image with its cells or not at all; what it does not name is
removed.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from core.domain.errors import ConflictError, CoreError, StoreError, UsageError
from core.domain.settings import load_settings
from core.domain.types import GivenScale
from core.support import files, journal, locks, records
from core.support.text import encodable

MOST_IMAGES: Final = 200  # of one case
MOST_BYTES: Final = 2**29  # of the images of one case: they are read again whenever one is shown
LONGEST_TITLE: Final = 120
LONGEST_NOTE: Final = 20_000
_DESCRIPTION: Final = "case.json"
_VERSION: Final = 1
_NAME: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CaseImage:
    """An image of a case.

    Parameters
    ----------
    name, sha256, size
        Of its file; `size` is 0 where the picture itself is not at hand, only what was measured in it.
    scale
        The one in use, with its error and how it is known.
    notes
        What a person wrote of it.
    cells, flagged
        How many cells were measured, and how many of them are flagged, as people decided; 0 before.
    chosen
        The number of the cell that is looked at, from 1.
    problem
        Why it could not be measured; empty where it was, or nobody tried.
    example
        Whether the program drew it.
    cells_file
        Name of the file of its cells in the case's folder; empty without any.
    """

    name: str
    sha256: str
    size: int = 0
    scale: GivenScale | None = None
    notes: str = ""
    cells: int = 0
    flagged: int = 0
    chosen: int = 1
    problem: str = ""
    example: bool = False
    cells_file: str = ""

    def __post_init__(self) -> None:
        """Check what paths are made of; raises StoreError."""
        if not _SHA256.fullmatch(self.sha256) or (self.cells_file and Path(self.cells_file).name != self.cells_file):
            msg = f"{self.name}: expected a checksum and a file's name, but got {self.sha256!r} and {self.cells_file!r}"
            raise StoreError(msg)


@dataclass(frozen=True)
class Case:
    """A case as it is on disk: its id (when it was made, and a random end), its words and its images in their order."""

    id: str
    title: str
    created: datetime
    changed: datetime
    notes: str = ""
    images: tuple[CaseImage, ...] = ()
    version: int = _VERSION

    @property
    def cells(self) -> int:
        """How many cells were measured."""
        return sum(image.cells for image in self.images)

    @property
    def size(self) -> int:
        """Bytes of its images."""
        return sum(image.size for image in self.images)

    def image(self, sha256: str) -> CaseImage | None:
        """The image with this checksum; None where it is not among them."""
        return next((image for image in self.images if image.sha256 == sha256), None)


@dataclass(frozen=True, eq=False)
class Shelf:
    """The cases of a person, that changed last first, and what could not be read, a sentence each."""

    cases: tuple[Case, ...] = ()
    problems: tuple[str, ...] = ()


class Cases:
    """The cases of one person.

    Parameters
    ----------
    folder
        The person's own, made with the first case.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder

    def shelf(self) -> Shelf:
        """Every case; a damaged one sets aside only itself."""
        found, problems = [], []
        for folder in self.folder.glob("*"):
            if _NAME.fullmatch(folder.name):
                try:
                    found.append(self.open(folder.name))
                except StoreError as error:
                    if folder.is_dir():  # else it was deleted meanwhile
                        problems.append(str(error))
        return Shelf(tuple(sorted(found, key=lambda case: case.changed, reverse=True)), tuple(problems))

    def open(self, name: str) -> Case:
        """A case by its id; raises StoreError where there is none (of this person), or it is damaged."""
        path = self._path(name) / _DESCRIPTION
        try:
            case = records.from_json(Case, files.read_text(path), others=True)
        except FileNotFoundError as error:
            msg = "there is no such case here: it was deleted, or is another person's or another browser's"
            raise StoreError(msg) from error
        except (OSError, ValueError, CoreError) as error:
            msg = f"the case {name} is damaged and was set aside ({error}); delete it, or put its {_DESCRIPTION} back"
            raise StoreError(msg) from error
        if case.version > _VERSION or case.id != name:
            msg = f"the case {name} was written by a later version or renamed by hand; update Leukoscope"
            raise StoreError(msg)
        return case

    def create(self, title: str, notes: str = "") -> Case:
        """Make a case without images; raises UsageError for words that cannot be kept, StoreError for a full disk."""
        now = datetime.now(UTC)
        title, notes = _words(title, notes)
        case = Case(f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:8]}", title, now, now, notes)
        folder = self._path(case.id)
        try:
            folder.mkdir(parents=True, mode=0o700)
            for part in ("images", "cells"):
                (folder / part).mkdir()
            self._write(case)
        except OSError as error:
            raise journal.unwritten(folder, error) from error
        return case

    def rename(self, seen: Case, title: str, notes: str) -> Case:
        """Give a case other words; `seen` is what they were changed from.

        Raises
        ------
        ConflictError
            If another window has changed them meanwhile.
        UsageError, StoreError
            As `create`.
        """
        title, notes = _words(title, notes)

        def change(case: Case) -> Case:
            if (case.title, case.notes) not in {(seen.title, seen.notes), (title, notes)}:
                msg = (
                    "title and notes were changed in another window meanwhile, and yours are not kept yet; copy them,"
                    " open the case again, and put them in"
                )
                raise ConflictError(msg)
            return replace(case, title=title, notes=notes)

        return self._change(seen.id, change)

    def put(
        self,
        name: str,
        image: CaseImage,
        data: bytes | None = None,
        cells: bytes | None = None,
        *,
        seen_notes: str | None = None,
    ) -> Case:
        """Add an image to a case, or put what is known of it now in the place of what was.

        Parameters
        ----------
        name
            The case's id.
        image
            What is known of it.
        data
            Bytes of its file; where not given, those that are there stay.
        cells
            Its packed cells (`core.cases.cells.pack`); where not given, those that are there stay.
        seen_notes
            What its notes were changed from; where not given, the notes that are there stay.

        Raises
        ------
        ConflictError
            If another window has changed its notes meanwhile.
        UsageError
            If it is too much for a case, or for a person.
        StoreError
            If the case is gone, or the disk refuses.
        """
        if len(image.notes) > LONGEST_NOTE:
            msg = f"notes may have {LONGEST_NOTE:,} characters, but these have {len(image.notes):,}; shorten them"
            raise UsageError(msg)
        folder = self._path(name)

        def change(case: Case) -> Case:
            before = case.image(image.sha256)
            kept = replace(
                image,
                name=encodable(image.name),
                problem=encodable(image.problem),
                size=len(data) if data is not None else before.size if before else 0,
                notes=_merged_notes(image, before, seen_notes),
                cells_file=before.cells_file if before else "",
            )
            if before is None:
                self._check_room(case, kept)
            if data is not None and (before is None or not before.size):
                files.write_bytes(folder / "images" / image.sha256, data, durable=True)
            if cells is not None:
                digest = hashlib.sha256(cells).hexdigest()
                kept = replace(kept, cells_file=f"{image.sha256[:16]}-{digest[:16]}.parquet")
                files.write_bytes(folder / "cells" / kept.cells_file, cells, durable=True)
            others = [kept if one.sha256 == kept.sha256 else one for one in case.images]
            return replace(case, images=tuple(others if before else [*others, kept]))

        return self._change(name, change)

    def drop(self, name: str, sha256: str) -> Case:
        """Take an image out of a case, with what was measured in it; raises StoreError."""
        return self._change(
            name, lambda case: replace(case, images=tuple(one for one in case.images if one.sha256 != sha256))
        )

    def delete(self, name: str) -> None:
        """Delete a case with its images, also a damaged one; raises StoreError."""
        folder = self._path(name)
        try:
            with self._alone(name):
                if folder.is_dir():
                    files.remove_folder(folder)
        except OSError as error:
            msg = f"the case cannot be deleted: {error.strerror or error}; check the permissions of {folder.parent}"
            raise StoreError(msg) from error

    def original(self, name: str, image: CaseImage) -> bytes | None:
        """The file of an image as it came; None where it was never there. Raises StoreError where it is damaged."""
        if not image.size:
            return None
        data = self._read(self._path(name) / "images" / image.sha256, image)
        if hashlib.sha256(data).hexdigest() != image.sha256:
            msg = f"{image.name}: its file in the case is damaged; take it out and add the image again"
            raise StoreError(msg)
        return data

    def cells(self, name: str, image: CaseImage) -> bytes | None:
        """The packed cells of an image; None where none was measured. Raises StoreError."""
        return self._read(self._path(name) / "cells" / image.cells_file, image) if image.cells_file else None

    def _read(self, path: Path, image: CaseImage) -> bytes:
        try:
            return files.read_bytes(path)
        except OSError as error:
            msg = f"{image.name}: its file in the case cannot be read ({error.strerror or error}); add the image again"
            raise StoreError(msg) from error

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            msg = f"expected the id of a case, but got {name[:80]!r}"
            raise StoreError(msg)
        return self.folder / name

    def _change(self, name: str, change: Callable[[Case], Case]) -> Case:
        """Change a case under its lock, starting from what is on disk now."""
        folder = self._path(name)
        try:
            with self._alone(name):
                before = self.open(name)
                after = change(before)
                if after != before:
                    after = replace(after, changed=datetime.now(UTC))
                    self._write(after)
                self._tidy(after)
        except OSError as error:
            raise journal.unwritten(folder, error) from error
        return after

    def _write(self, case: Case) -> None:
        files.write_text(self._path(case.id) / _DESCRIPTION, records.to_json(case, indent=1) + "\n", durable=True)

    def _tidy(self, case: Case) -> None:
        """Remove files that the case does not name: replaced ones, and those of a write that was cut short."""
        named = {one.sha256 for one in case.images if one.size} | {one.cells_file for one in case.images}
        for part in ("images", "cells"):
            for path in (self._path(case.id) / part).iterdir():
                if path.name not in named:
                    with suppress(OSError):
                        path.unlink()

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Let no other window change or delete the case meanwhile."""
        if not self._path(name).is_dir():  # a lock would make the folder of a person without cases
            yield
            return
        # Beside the folder, which can then be removed on Windows, too.
        with locks.lock(self.folder / f".{name}.lock", keep_file=False):
            yield

    def _check_room(self, case: Case, new: CaseImage) -> None:
        """Raise UsageError where one image more is too much for the case, or for the person."""
        check_room(case.images, new)
        most = load_settings().max_upload_bytes
        if new.size + sum(one.size for one in self.shelf().cases) > most:
            msg = (
                f"{new.name}: a person's cases may hold {most / 2**20:,.0f} MB of images altogether, and with this one"
                " they would hold more; delete earlier cases"
            )
            raise UsageError(msg)


def check_room(images: Sequence[CaseImage], new: CaseImage) -> None:
    """Raise UsageError where one image more is too much for a case."""
    if len(images) >= MOST_IMAGES:
        msg = f"{new.name}: a case holds at most {MOST_IMAGES} images; begin another one, or measure them as a batch"
        raise UsageError(msg)
    if new.size + sum(one.size for one in images) > MOST_BYTES:
        msg = (
            f"{new.name}: the images of a case may have {MOST_BYTES / 2**20:,.0f} MB together, and with this one they"
            " would have more; begin another case, or cut the images"
        )
        raise UsageError(msg)


def _merged_notes(image: CaseImage, before: CaseImage | None, seen: str | None) -> str:
    """The notes to keep: those given where they were changed, else those that are there."""
    notes = encodable(image.notes)
    if before is None or before.notes == notes:
        return notes
    if seen is None:
        return before.notes
    if before.notes != seen:
        msg = (
            f"the notes of {image.name} were changed in another window meanwhile, and yours are not kept yet; copy"
            " them, open the case again, and put them in"
        )
        raise ConflictError(msg)
    return notes


def _words(title: str, notes: str) -> tuple[str, str]:
    """Title and notes as they are kept; raises UsageError."""
    title, notes = encodable(title.strip()), encodable(notes)
    if not title or len(title) > LONGEST_TITLE:
        msg = f"expected a title of 1 to {LONGEST_TITLE} characters, but it has {len(title)}"
        raise UsageError(msg)
    if len(notes) > LONGEST_NOTE:
        msg = f"notes may have {LONGEST_NOTE:,} characters, but these have {len(notes):,}; shorten them"
        raise UsageError(msg)
    return title, notes
