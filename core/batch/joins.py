"""Rows of a person's table, joined to images by the names that the table has for them.

A table may call an image by its path, by its file's name, or by that without ending, in other case, other Unicode form
or with backslashes. A row is used where it fits one image and the image fits one row; nothing is guessed.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from core.domain.errors import UsageError
from core.image.listing import IMAGE_SUFFIXES

_EXAMPLES: Final = 3


@dataclass(frozen=True)
class Row:
    """A row of a table: its number, the image as it stands there, and what is said of it."""

    number: int
    image: str
    said: str


@dataclass(frozen=True)
class Joined:
    """How a table and the images of a run fit.

    `said` maps the path of an image to what its row says. Examples are of paths and names without a partner.
    """

    images: int
    rows: int
    said: Mapping[str, str]
    unmatched_images: int
    unmatched_rows: int
    image_examples: tuple[str, ...]
    row_examples: tuple[str, ...]


class JoinTable:
    """A table by the names that it has for images.

    Raises
    ------
    UsageError
        If two rows say different things of one image.
    """

    def __init__(self, name: str, rows: Iterable[Row]) -> None:
        self._name = name
        self._rows: dict[str, Row] = {}
        self.doubled = 0
        for row in rows:
            before = self._rows.setdefault(as_path(row.image), row)
            if before.said != row.said:
                msg = (
                    f"{name}: rows {before.number} and {row.number} both name {row.image}, but say {before.said!r} and"
                    f" {row.said!r}; keep the one that is right"
                )
                raise UsageError(msg)
            self.doubled += before is not row
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for path in self._rows:
            self._by_name.setdefault(_name_of(path), []).append(path)
            self._by_stem.setdefault(_stem_of(path), []).append(path)

    def exact(self, path: str) -> str | None:
        """What is said of an image by its path, as `as_path` writes it."""
        row = self._rows.get(path)
        return row.said if row else None

    def join(self, paths: Iterable[str]) -> Joined:
        """Find the row of each image; paths are gone through once, and only those are kept that may have one."""
        images, unmatched, examples = 0, 0, list[str]()
        names, stems = Counter[str](), Counter[str]()
        rows: dict[str, str] = {}  # of images to the row's path
        waiting: list[str] = []
        for path in paths:
            images += 1
            here = as_path(path)
            if _stem_of(here) in self._by_stem:
                names[_name_of(here)] += 1
                stems[_stem_of(here)] += 1
            if here in self._rows:
                rows[path] = here
            elif _stem_of(here) in self._by_stem:
                waiting.append(path)
            else:
                unmatched += 1
                examples += [path] if len(examples) < _EXAMPLES else []
        used = set(rows.values())
        found = {path: self._row_of(as_path(path), names, stems, used) for path in waiting}
        taken = Counter(found.values())
        for path, row in found.items():
            if row is not None and taken[row] == 1:
                rows[path] = row
            else:
                unmatched += 1
                examples += [path] if len(examples) < _EXAMPLES else []
        used = set(rows.values())
        left = [row.image for path, row in self._rows.items() if path not in used]
        said = {path: self._rows[row].said for path, row in rows.items()}
        return Joined(images, len(self._rows), said, unmatched, len(left), tuple(examples), tuple(left[:_EXAMPLES]))

    def _row_of(self, path: str, names: Counter[str], stems: Counter[str], used: set[str]) -> str | None:
        """The one row that can mean an image of another name; None where there is none, or more than one."""
        alike = [row for row in self._by_name.get(_name_of(path), ()) if row not in used]
        ends = [row for row in alike if _ends(_folded(path), _folded(row)) or _ends(_folded(row), _folded(path))]
        if len(ends) == 1 and "/" in ends[0]:
            return ends[0]
        if alike:
            return alike[0] if len(alike) == 1 and names[_name_of(path)] == 1 else None
        bare = [row for row in self._by_stem.get(_stem_of(path), ()) if row not in used]
        return bare[0] if len(bare) == 1 and stems[_stem_of(path)] == 1 else None


def why_none(joined: Joined) -> str:
    """The likely cause where no row fits any image, in words with names of both sides."""
    image, row = joined.image_examples[0], joined.row_examples[0]
    return (
        f"images are called {', '.join(joined.image_examples)}; the table has {', '.join(joined.row_examples)}."
        f" {_cause(image, row)}"
    )


def _cause(image: str, row: str) -> str:
    image_stem, row_stem = _stem_of(as_path(image)), _stem_of(as_path(row))
    if image_stem == row_stem:
        return "Several images or rows have these names, so that none fits only one: give the path below the input"
    if row_stem.strip("0123456789") == "" and image_stem.lstrip("0") == row_stem.lstrip("0"):
        return "Leading zeros seem to be lost: have the column read as text, not as numbers"
    if row_stem and (row_stem in image_stem or image_stem in row_stem):
        return "The table gives a part of the name: write the whole name, with its ending"
    return "Write each image's path below the input, or the name of its file, into the column image_path"


def as_path(text: str) -> str:
    """A name as a path below the input: composed characters, slashes, no blanks around it, no `./` before it."""
    path = unicodedata.normalize("NFC", text).strip().replace("\\", "/")
    while path.startswith("./"):
        path = path[2:]
    return path.lstrip("/")


def _folded(path: str) -> str:
    return path.casefold()


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith(f"/{end}")


def _name_of(path: str) -> str:
    return _folded(path.rpartition("/")[2])


def _stem_of(path: str) -> str:
    name = _name_of(path)
    return next((name.removesuffix(suffix) for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), name)
