"""Corrected outlines with their pictures as a folder that training reads: the only step that copies pictures.

A picture is written anew without what its file says of place, time and camera, under a name made of its checksum. In
`images/` and `masks/` lie outlines that a person drew; in `accepted/` those that somebody looked at and left as the
model drew them, which measure the reader's patience and not the model, so that they are no data to test on.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CellType
from core.domain.compartments import Compartment
from core.domain.errors import CoreError, UsageError
from core.domain.settings import ROOT
from core.domain.types import CellImage
from core.image.imaging import encode_png
from core.store import outline_log
from core.store.outline_log import OutlineStatus, OutlineVerdict
from core.support import files, journal

# A person drew them; others come only on demand.
DRAWN: Final = (OutlineStatus.CORRECTED,)
MAY_BE_EXPORTED: Final = (OutlineStatus.CORRECTED, OutlineStatus.ACCEPTED)
_ACCEPTED: Final = "accepted"
# As `core.evaluation.datasets` reads it.
_GREY: Final = {Compartment.BACKGROUND: 0, Compartment.CYTOPLASM: 128, Compartment.NUCLEUS: 255}
_LABELS: Final = ("image_id", "cell_type", "duplicate_group")
_KEPT: Final = (
    "image_id", "id", "who", "when", "status", "blind", "why", "base_model", "dice_cell", "dice_nucleus",
    "image_sha256", "cell_index",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TrainingCell:
    """A decided cell with its picture (as large as its mask), its type, and the pseudonym of its patient if known."""

    verdict: OutlineVerdict
    image: CellImage
    cell_type: str | None
    patient_id: str | None


@dataclass
class ExportReport:
    """How many cells were written by status, and why others were not, by their names."""

    written: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def status_for_training(verdict: OutlineVerdict) -> OutlineStatus:
    """That of a decision; an outline that a person drew and another accepted is a corrected one."""
    accepted = verdict.status is OutlineStatus.ACCEPTED
    return OutlineStatus.CORRECTED if accepted and verdict.drawn_in is not None else verdict.status


def check_folder(folder: Path) -> None:
    """Raise UsageError unless pictures may be written into that folder: it is new or empty, and not the program's."""
    served = ROOT.resolve()
    if folder.resolve().is_relative_to(served) and not folder.resolve().is_relative_to(served / "runs"):
        msg = (
            f"expected a folder of yours, but {folder} lies in that of the program, which may be served; choose another"
        )
        raise UsageError(msg)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"expected a new or empty folder, but {folder} holds something; choose another"
        raise UsageError(msg)


def export(
    root: Path,
    cells: Iterable[TrainingCell],
    folder: Path,
    *,
    statuses: tuple[OutlineStatus, ...] = DRAWN,
) -> ExportReport:
    """Write the pictures and masks of decided cells.

    Parameters
    ----------
    root
        Where the corrections are.
    cells
        Cells with their pictures, each with the decision that holds, the latest first; those of other statuses are
        passed over, and of the same cell the first counts. Only one picture is held at a time.
    folder
        New or empty folder.
    statuses
        What is written: corrected ones, and accepted ones where they are asked for.

    Raises
    ------
    UsageError
        If the folder may not be written to, or a status may never be trained on.
    StoreError
        If the disk refuses.
    """
    check_folder(folder)
    if never := sorted(set(statuses) - set(MAY_BE_EXPORTED)):
        msg = f"only {' and '.join(MAY_BE_EXPORTED)} outlines can be exported for training, not {', '.join(never)} ones"
        raise UsageError(msg)
    report, names = ExportReport(), set[str]()
    labels: dict[str, list[Mapping[str, object]]] = {part: [] for part in ("", _ACCEPTED)}
    kept: list[Mapping[str, object]] = []
    for cell in cells:
        verdict = cell.verdict
        if (status := status_for_training(verdict)) not in statuses:
            continue
        name = f"{verdict.cell.image_sha256[:12]}_{verdict.cell.cell_index}"
        if name in names:
            report.left_out[verdict.cell.name] = "the same cell was decided on elsewhere, and later"
            continue
        try:
            mask = _mask(root, verdict, cell.image)
        except CoreError as error:
            report.left_out[verdict.cell.name] = str(error)
            continue
        names.add(name)
        part = "" if verdict.drawn_in is not None else _ACCEPTED
        _write(folder / part / "images" / f"{name}.png", encode_png(cell.image.rgb))
        _write(folder / part / "masks" / f"{name}.png", encode_png(mask))
        group = cell.patient_id or verdict.cell.image_sha256
        labels[part].append(dict(zip(_LABELS, (name, cell.cell_type or CellType.OTHER, group), strict=True)))
        kept.append(_told(name, verdict))
        report.written[status] = report.written.get(status, 0) + 1
    for part, rows in labels.items():
        if rows:
            _write(folder / part / "labels.csv", _csv(_LABELS, rows))
    if kept:
        _write(folder / "corrections.csv", _csv(_KEPT, kept))
    return report


def _mask(root: Path, verdict: OutlineVerdict, image: CellImage) -> NDArray[np.uint8]:
    labels = outline_log.kept_mask(root, verdict.mask_sha256)
    if labels.shape != image.shape:
        msg = f"the picture has {image.shape} pixels (height, width), but its outline {labels.shape}"
        raise UsageError(msg)
    grey = np.zeros(max(_GREY) + 1, np.uint8)
    for compartment, level in _GREY.items():
        grey[compartment] = level
    return grey[labels]


def _told(name: str, verdict: OutlineVerdict) -> Mapping[str, object]:
    dice = verdict.dice
    values = (
        name, verdict.id, verdict.who, verdict.when.isoformat(), verdict.status.value, verdict.blind, verdict.reason,
        verdict.base.model_id, dice.get("cell"), dice.get("nucleus"), verdict.cell.image_sha256,
        verdict.cell.cell_index,
    )  # fmt: skip
    return dict(zip(_KEPT, values, strict=True))


def _csv(columns: tuple[str, ...], rows: Iterable[Mapping[str, object]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, content)
    except OSError as error:
        raise journal.unwritten(path, error) from error
