"""A cell of a run or of the cohort on its way into a case: its image with all that is known of it there."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from core.cases.cells import open_cells, pack_rows, rows_in, scale_of
from core.cases.decided import decided_rows
from core.cases.export import HeldImage
from core.cases.store import Case, CaseImage, Cases
from core.corrections.deciding import file_along
from core.domain.errors import CoreError
from core.domain.types import GivenScale
from core.store import outline_log
from core.store.overlay import corrected_rows
from core.store.schema import CellRow
from core.support.text import encodable


def gathered(
    root: Path, rows: Sequence[CellRow], data: bytes | None, chosen: int, scale: GivenScale | None = None
) -> HeldImage:
    """An image of a run or of the cohort as a case keeps it.

    Parameters
    ----------
    root
        Where decisions about outlines are: those about cells of the cohort come to hold for the cells of the case.
    rows
        All cells of the image that are known there, at least one, as the model drew them.
    data
        Its file; None where it is not at hand.
    chosen
        `cell_index` of the cell that is to be looked at.
    scale
        The scale with how it is known, where that says more than the rows.

    Raises
    ------
    StoreError
        If what was decided cannot be read, or not be written down.
    """
    packed = pack_rows(sorted(rows, key=lambda row: int(row["cell_index"])))
    rows = rows_in(packed)
    first = rows[0]
    _file_decisions(root, rows)
    flagged = sum(not row["quality_ok"] for row in decided_rows(root, rows))
    numbers = [row["cell_index"] for row in rows]
    name = encodable(PurePosixPath(first["image_path"]).name)
    record = CaseImage(
        name, first["image_sha256"], 0, scale or scale_of(first), "", len(rows), flagged, numbers.index(chosen) + 1
    )
    try:
        open_cells(packed, data, name)
    except CoreError:  # the file opens otherwise than it was measured: what was measured stays
        data = None
    return HeldImage(replace(record, size=len(data or b"")), data, packed)


def add(cases: Cases, case: Case, image: HeldImage) -> bool:
    """Put an image into a case; False where it is there already, which then stays as it is. Raises CoreError."""
    if case.image(image.record.sha256) is not None:
        return False
    cases.put(case.id, image.record, image.data, image.cells, seen_notes="")
    return True


def _file_decisions(root: Path, rows: Sequence[CellRow]) -> None:
    """Let what was decided of cells of the cohort hold for the same cells of the case, unless that was decided on."""
    filed = {row["cell_id"]: row for row in rows if row["population"] is not None}
    records = outline_log.read(root).records if filed else ()
    names = {verdict.cell.name for verdict in records}
    standing = [
        verdict
        for verdict in outline_log.all_standing(root)
        if verdict.cell.cell_id in filed and replace(verdict.cell, cell_id=None).name not in names
    ]
    if standing:
        drawn = corrected_rows(root, {verdict.drawn_in for verdict in standing if verdict.drawn_in is not None})
        held = {
            verdict.id: drawn.get(verdict.drawn_in or "", filed[verdict.cell.cell_id or ""]) for verdict in standing
        }
        file_along(root, standing, held, lambda row: {**row, "cell_id": None})
