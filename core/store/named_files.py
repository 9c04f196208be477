"""Records that a person names, each a JSON file in a folder beside the populations of one's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from core.domain.errors import CoreError, StoreError
from core.store.schema import check_population_id
from core.support import files, journal, records


class HasName(Protocol):
    """A record that says what it is called."""

    @property
    def name(self) -> str:
        """What it is called, unique among those of a person."""
        ...


_Record = TypeVar("_Record", bound=HasName)


class NamedFiles(Generic[_Record]):
    """The records of one kind under any root.

    Parameters
    ----------
    folder
        Its name below the root.
    what
        What one is called in sentences, without an article.
    kind
        The record's class.
    check
        Raises CoreError for a record that makes no sense.
    """

    def __init__(
        self, folder: str, what: str, kind: type[_Record], check: Callable[[_Record], None] = lambda _: None
    ) -> None:
        self._folder, self._what, self._kind, self._check = folder, what, kind, check

    def save(self, root: Path, record: _Record) -> None:
        """Keep one, in the place of one of the same name; raises StoreError if the name or the disk refuses."""
        path = self._path(root, record.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(path, records.to_json(record, indent=1) + "\n", durable=True)
        except OSError as error:
            msg = f"{path} cannot be written ({error}); free space there or set LEUKOSCOPE_COHORT"
            raise StoreError(msg) from error

    def has(self, root: Path, name: str) -> bool:
        """Whether there is one of that name; raises StoreError for what can be no name."""
        return self._path(root, name).is_file()

    def kept(self, root: Path) -> tuple[tuple[_Record, ...], tuple[StoreError, ...]]:
        """Those of a root by name, and those that are damaged, an error each."""
        found, problems = [], []
        for path in sorted((root / self._folder).glob("*.json")):
            try:
                found.append(self._read(path))
            except StoreError as error:
                problems.append(error)
        return tuple(found), tuple(problems)

    def revision(self, root: Path) -> str:
        """Text that changes with every one that is made, changed or removed: a key for caches."""
        paths = sorted((root / self._folder).glob("*.json"))
        return " ".join(path.stem for path in paths) + journal.revision(*paths)

    def find(self, root: Path, name: str) -> _Record:
        """Read one; raises StoreError naming those there are, or what is wrong with its file."""
        if not self.has(root, name):
            there = ", ".join(each.name for each in self.kept(root)[0]) or "none"
            msg = f"there is no {self._what} {name!r}; there are: {there}"
            raise StoreError(msg)
        return self._read(self._path(root, name))

    def delete(self, root: Path, name: str) -> None:
        """Remove one; raises StoreError if there is none."""
        self.find(root, name)
        self._path(root, name).unlink(missing_ok=True)

    def _path(self, root: Path, name: str) -> Path:
        return root / self._folder / f"{check_population_id(name)}.json"

    def _read(self, path: Path) -> _Record:
        try:
            record = records.from_json(self._kind, files.read_text(path))
            self._check(record)
        except (OSError, ValueError, CoreError) as error:
            msg = f"{path}: not a {self._what} ({error}); make it again"
            raise StoreError(msg) from error
        return record
