"""What people decided of outlines: accepted, corrected, rejected, unsure, taken back; a line per decision.

`<root>/corrections/outlines.jsonl` of a user's root is an append-only log (`core.support.journal`). A line names two
masks, the model's and the one that holds, kept by their content in `<root>/corrections/masks/`, and no picture. Of a
corrected outline all that was measured is in `<root>/corrections/rows.jsonl`: one log instead of a file per cell, which
a thousand corrections would make slow to open. Mask and row are on the disk before the line that names them.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np

from core.domain.compartments import Compartment
from core.domain.errors import CoreError, StoreError
from core.domain.flags import CUTS_OFF, DOUBTFUL_OUTLINE, OUTLINE_REJECTED, OUTLINE_UNSURE, TAKES_IN_NEIGHBOUR
from core.domain.types import BoundingBox, LabelMap
from core.image.drawn_masks import read_mask
from core.image.imaging import encode_png
from core.image.mask_coding import MaskCoding
from core.image.masks import cell_mask, encode_grey
from core.support import files, journal
from core.support.journal import Journal, LogContent

FOLDER: Final = "corrections"
_LOG, _ROWS, _MASKS, _FORGOTTEN = "outlines.jsonl", "rows.jsonl", "masks", "forgotten.jsonl"
_CODING: Final = MaskCoding("a kept mask", {(0,): "background", (170,): "cytoplasm", (255,): "nucleus"}, {})
# Flags that ask a person to look at the outline: whoever accepts it has looked.
ANSWERED: Final = (DOUBTFUL_OUTLINE, TAKES_IN_NEIGHBOUR, CUTS_OFF)


class OutlineStatus(StrEnum):
    """What a person decided of an outline."""

    ACCEPTED = "accepted"  # looked at, and left as it is
    CORRECTED = "corrected"  # drawn anew, wholly or in part
    REJECTED = "rejected"  # no usable cell or outline
    UNSURE = "unsure"  # a second reader should look
    TAKEN_BACK = "taken_back"  # the model's outline counts again, and no decision


# The flag that a decision raises.
RAISED: Final = {OutlineStatus.REJECTED: OUTLINE_REJECTED, OutlineStatus.UNSURE: OUTLINE_UNSURE}


@dataclass(frozen=True)
class CellKey:
    """Which cell an outline is of: that of an image, and, where it is one of the cohort's, its id there.

    `shape` is the (H, W) of what was outlined: the image, or its cut-out at `place`.
    """

    image_sha256: str
    cell_index: int
    shape: tuple[int, int]
    place: BoundingBox | None = None
    cell_id: str | None = None

    @property
    def name(self) -> str:
        """Text that tells the cell from every other."""
        if self.cell_id is not None:
            return self.cell_id
        place = self.place
        at = f":{place.left},{place.top},{place.width},{place.height}" if place else ""
        return f"{self.image_sha256}:{self.cell_index}{at}"


@dataclass(frozen=True)
class ModelOutline:
    """The model's outline that a person looked at; `model_sha256` is None where only the model's name is known."""

    model_id: str
    mask_sha256: str
    confidence: float | None = None
    model_sha256: str | None = None


@dataclass(frozen=True, eq=False)
class OutlineVerdict:
    """A person's decision about an outline.

    `on` is the verdict that it builds on, None for the model's outline; `mask_sha256` names the outline that holds
    afterwards, and `drawn_in` the verdict in which a person drew it, None for the model's. `dice` compares it with the
    model's, by region. `tools` counts strokes. `blind` tells that the person drew without having seen the model's
    outline.
    """

    id: str
    when: datetime
    who: str
    cell: CellKey
    base: ModelOutline
    on: str | None
    status: OutlineStatus
    mask_sha256: str
    drawn_in: str | None = None
    why: str = ""
    reasons: tuple[str, ...] = ()
    dice: Mapping[str, float] = field(default_factory=dict)
    tools: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    blind: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    v: int = 1

    def __post_init__(self) -> None:
        """Refuse what no reader could have entered."""
        if self.when.tzinfo is None:
            msg = f"the time of a decision must have a time zone, but is {self.when.isoformat()}"
            raise StoreError(msg)

    @property
    def reason(self) -> str:
        """All reasons given, in words."""
        return "; ".join(text for text in (*self.reasons, self.why) if text)


_VERDICTS: Final = Journal(
    OutlineVerdict,
    damaged="correct that cell again",
    unread="no correction counts until it can: check the permissions of the file",
)
_CELLS: Final = Journal(dict[str, Any], damaged=_VERDICTS.damaged, unread=_VERDICTS.unread)


def new_id() -> str:
    """An identifier that sorts by time."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(6)}"


def read(root: Path) -> LogContent[OutlineVerdict]:
    """All verdicts of a root in their order; empty where there are none, with problems in words."""
    return _VERDICTS.read(root / FOLDER / _LOG)


def revision(roots: Sequence[Path]) -> str:
    """Text that changes with every verdict; empty where there is none."""
    return journal.revision(*(root / FOLDER / _LOG for root in roots))


def by_cell(verdicts: Sequence[OutlineVerdict]) -> dict[str, list[OutlineVerdict]]:
    """The verdicts of each cell by its name, the first one first."""
    found: dict[str, list[OutlineVerdict]] = {}
    for verdict in verdicts:
        found.setdefault(verdict.cell.name, []).append(verdict)
    return found


def standing(history: Sequence[OutlineVerdict]) -> OutlineVerdict | None:
    """The verdict that holds, of those of a cell; None where there is none, or it was taken back."""
    return history[-1] if history and history[-1].status is not OutlineStatus.TAKEN_BACK else None


def all_standing(root: Path) -> list[OutlineVerdict]:
    """The decisions that hold, one a cell."""
    found = (standing(history) for history in by_cell(read(root).records).values())
    return [verdict for verdict in found if verdict is not None]


@contextmanager
def deciding(root: Path) -> Iterator["Decisions"]:
    """Hold the log of a root: what was decided so far, and what is added when the block ends. Raises StoreError."""
    with _VERDICTS.appending(root / FOLDER / _LOG) as added:
        decisions = Decisions(read(root).records)
        yield decisions
        if decisions.rows:
            with _CELLS.appending(rows_of(root)) as rows:
                rows.extend(decisions.rows)
        added.extend(decisions.added)


class Decisions:
    """The verdicts of a root while its log is held; those in `added` are kept, with the `rows` of corrected cells."""

    def __init__(self, so_far: Sequence[OutlineVerdict]) -> None:
        self.so_far: Final = so_far
        self.added: Final[list[OutlineVerdict]] = []
        self.rows: Final[list[dict[str, Any]]] = []

    def add(self, verdict: OutlineVerdict, row: Mapping[str, Any] | None = None) -> None:
        """Keep a verdict, and the row (`core.store.schema.CellRow`) of a corrected cell."""
        self.added.append(verdict)
        if row is not None:
            self.rows.append({"id": verdict.id, "row": dict(row)})


def rows_of(root: Path) -> Path:
    """Where the rows of corrected cells are."""
    return root / FOLDER / _ROWS


def forget(root: Path, meant: Callable[[OutlineVerdict], bool]) -> list[OutlineVerdict]:
    """Delete some verdicts with their rows and masks, and note how many: the one exception to appending.

    Returns those that were deleted. A verdict that was built on one of them stands on its own from then on. Raises
    StoreError.
    """
    log = root / FOLDER / _LOG
    if not log.exists():
        return []
    with _VERDICTS.rewriting(log) as verdicts, _CELLS.rewriting(rows_of(root)) as rows:
        forgotten = [verdict for verdict in verdicts if meant(verdict)]
        gone = {verdict.id for verdict in forgotten}
        verdicts[:] = [
            replace(verdict, on=None if verdict.on in gone else verdict.on)
            for verdict in verdicts
            if verdict.id not in gone
        ]
        drawn = {verdict.drawn_in for verdict in verdicts}  # what others have accepted since then holds on
        rows[:] = [row for row in rows if row["id"] not in gone or row["id"] in drawn]
        named = {mask for verdict in verdicts for mask in (verdict.mask_sha256, verdict.base.mask_sha256)}
        for path in (root / FOLDER / _MASKS).glob("*.png"):
            if path.stem not in named:
                path.unlink(missing_ok=True)
        if forgotten:
            with _CELLS.appending(root / FOLDER / _FORGOTTEN) as counts:
                counts.append({"when": datetime.now(UTC), "decisions": len(forgotten)})
    return forgotten


# --- masks ------------------------------------------------------------------------------------------------------------


def without_ring(labels: LabelMap) -> LabelMap:
    """A label map without its environment, which is drawn anew from the cell wherever it is needed."""
    return LabelMap(np.where(cell_mask(labels), labels, np.uint8(Compartment.BACKGROUND)))


def mask_sha256(labels: LabelMap) -> str:
    """The SHA-256 of an outline, whatever file holds it and whatever ring lies around it."""
    head = f"leukoscope-labels-1 {labels.shape[0]} {labels.shape[1]}\n".encode()
    return hashlib.sha256(head + without_ring(labels).tobytes()).hexdigest()


def keep_mask(root: Path, labels: LabelMap) -> str:
    """Keep a mask by its content, as a PNG of grey levels 0, 170 and 255; returns its SHA-256. Raises StoreError."""
    name = mask_sha256(labels)
    path = root / FOLDER / _MASKS / f"{name}.png"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_bytes(path, encode_png(encode_grey(without_ring(labels))), durable=True)
    except OSError as error:
        raise journal.unwritten(path, error) from error
    return name


def kept_mask(root: Path, name: str) -> LabelMap:
    """A kept mask, without environment.

    Raises
    ------
    StoreError
        If it is gone, or not the one that was kept.
    """
    path = root / FOLDER / _MASKS / f"{name}.png"
    try:
        labels = without_ring(read_mask(path, coding=_CODING).labels)
    except (CoreError, OSError) as error:
        msg = f"the outline {name[:12]} of the corrections cannot be read ({error}); restore {path} from a backup"
        raise StoreError(msg) from error
    if mask_sha256(labels) != name:
        msg = f"{path} is not the outline that was kept under that name; restore it from a backup"
        raise StoreError(msg)
    return labels
