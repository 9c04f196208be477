"""Unsaved outlines as the server keeps them: of each person and cell the last one, until it is saved or a month old.

The browser keeps its own; this one is there where that browser is not. No picture is kept: a draft is text.
"""

import hashlib
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from core.domain.errors import RecordError
from core.domain.types import LabelMap
from core.image.runs import decode_runs, encode_runs
from core.store.outline_log import FOLDER, CellKey
from core.support import files, journal, records

_DRAFTS: Final = "drafts"
_KEPT_S: Final = 30 * 24 * 3600


@dataclass(frozen=True)
class Draft:
    """An unsaved outline: when it was drawn, its shape (H, W), its runs (`core.image.runs`), and of which image."""

    when: datetime
    shape: tuple[int, int]
    runs: str
    image_sha256: str
    image_name: str = ""

    @property
    def labels(self) -> LabelMap | None:
        """The outline; None where the runs are damaged."""
        return decode_runs(self.runs, self.shape)


def keep_draft(root: Path, person: str, cell: CellKey, labels: LabelMap, image_name: str = "") -> None:
    """Keep the outline as it is now, durably; `person` tells people apart. Raises StoreError."""
    path = _path(root, person, cell)
    shape = labels.shape[0], labels.shape[1]
    draft = Draft(datetime.now(UTC), shape, encode_runs(labels), cell.image_sha256, image_name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, records.to_json(draft), durable=True)
    except OSError as error:
        raise journal.unwritten(path, error) from error


def kept_draft(root: Path, person: str, cell: CellKey) -> Draft | None:
    """The draft of a person for a cell, if there is one."""
    with suppress(OSError, RecordError):
        draft = records.from_json(Draft, files.read_bytes(_path(root, person, cell)))
        return draft if draft.labels is not None and draft.shape == cell.shape else None
    return None


def any_kept(root: Path) -> bool:
    """Whether anybody has a draft."""
    return any((root / FOLDER / _DRAFTS).glob("*.json"))


def drafts_of(root: Path, person: str) -> list[Draft]:
    """All drafts of a person, the newest first."""
    found = _read(root, f"{_hashed(person)}-*.json").values()
    return sorted(found, key=lambda draft: draft.when, reverse=True)


def drop_draft(root: Path, person: str, cell: CellKey) -> None:
    """Forget a draft, and all that are too old."""
    with suppress(OSError):
        _path(root, person, cell).unlink(missing_ok=True)
        for path in (root / FOLDER / _DRAFTS).glob("*.json"):
            if time.time() - path.stat().st_mtime > _KEPT_S:
                path.unlink(missing_ok=True)


def forget_drafts(root: Path, names: Collection[str], image: str | None) -> int:
    """Delete everybody's drafts of some cells (`CellKey.name`), and of the images whose SHA-256 begins so, if given.

    Returns how many there were.
    """
    hashed = {_hashed(name) for name in names}
    found = [
        path
        for path, draft in _read(root, "*.json").items()
        if path.stem.rpartition("-")[2] in hashed or (image is not None and draft.image_sha256.startswith(image))
    ]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _read(root: Path, pattern: str) -> dict[Path, Draft]:
    """The drafts whose file has such a name, by their paths, without damaged ones."""
    found = {}
    for path in (root / FOLDER / _DRAFTS).glob(pattern):
        with suppress(OSError, RecordError):
            found[path] = records.from_json(Draft, files.read_bytes(path))
    return found


def _path(root: Path, person: str, cell: CellKey) -> Path:
    return root / FOLDER / _DRAFTS / f"{_hashed(person)}-{_hashed(cell.name)}.json"


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:20]
