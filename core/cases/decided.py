"""The cells of a case as people decided on their outlines: rows for a table, cells for a report.

Decisions lie where all lie (`core.store.outline_log`), beside the model's outlines; a case keeps no copy of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.cases.cells import OpenedImage, cut_out
from core.corrections.opening import stored_analysis
from core.domain.errors import StoreError
from core.domain.types import CellAnalysis, DrawnBy, GivenScale, OutlineReview
from core.image.stain import to_restain
from core.store import outline_log
from core.store.outline_log import CellKey, OutlineVerdict
from core.store.overlay import corrected_rows, judged
from core.store.schema import CellRow, place_of, stain_of


def decided_rows(root: Path, rows: Sequence[CellRow]) -> list[CellRow]:
    """Rows as the model drew them, each with what people decided in a root of the user's own.

    Raises
    ------
    StoreError
        If what was measured in a corrected outline is damaged.
    """
    standing = _standing(root)
    verdicts = [standing.get(_name(row)) for row in rows]
    drawn = {verdict.drawn_in for verdict in verdicts if verdict is not None and verdict.drawn_in is not None}
    corrected = corrected_rows(root, drawn) if drawn else {}
    if lost := drawn - corrected.keys():
        msg = (
            f"{outline_log.rows_of(root)}: the measurements of {len(lost)} corrected cells are damaged; correct them"
            " again"
        )
        raise StoreError(msg)
    found = []
    for row, verdict in zip(rows, verdicts, strict=True):
        held = row if verdict is None or verdict.drawn_in is None else _of_image(corrected[verdict.drawn_in], row)
        found.append(held if verdict is None else judged(held, verdict))
    return found


def decided_analyses(root: Path, opened: OpenedImage, rows: Sequence[CellRow]) -> list[CellAnalysis]:
    """The cells of an image with the outlines that hold; `rows` are those of the image, as the model drew them."""
    return [
        cell if row is own else _with(cell, row, opened)
        for cell, own, row in zip(opened.cells, rows, decided_rows(root, rows), strict=True)
    ]


def laid_scale(row: CellRow, scale: GivenScale | None) -> CellRow:
    """A row with the scale that its image has in the case; sizes stay as they are stored, in pixels."""
    said = (scale.um_per_px, scale.error, scale.source) if scale is not None else (None, None, None)
    return {**row, **dict(zip(("um_per_px", "um_per_px_error", "um_per_px_source"), said, strict=True))}


def _with(cell: CellAnalysis, row: CellRow, opened: OpenedImage) -> CellAnalysis:
    """A cell with what its row says after a decision; the model's outline stays beside a corrected one."""
    image = to_restain(cut_out(opened.image, place_of(row)), stain_of(row))
    found, _ = stored_analysis(row, replace(image, notes=cell.image.notes))
    review = OutlineReview(row["outline_status"], row["outline_who"], row["outline_when"], row["outline_why"])
    known = {flag.code: flag for flag in cell.flags}
    flags = tuple(sorted((known.get(flag.code, flag) for flag in found.flags), key=lambda flag: not flag.severe))
    if row["outline_by"] != DrawnBy.PERSON:
        return replace(cell, flags=flags, review=review)
    drawn = replace(found.segmentation, confidence=None, drawn_by=DrawnBy.PERSON, other_cells=0)
    return replace(found, flags=flags, review=review, segmentation=drawn, base=cell.segmentation)


def _of_image(corrected: CellRow, row: CellRow) -> CellRow:
    """A corrected row under the name and with the scale that the image has here."""
    kept = ("image_path", "um_per_px", "um_per_px_error", "um_per_px_source")
    return {**corrected, **{name: row[name] for name in kept}}


def _standing(root: Path) -> dict[str, OutlineVerdict]:
    return {verdict.cell.name: verdict for verdict in outline_log.all_standing(root)}


def _name(row: CellRow) -> str:
    return CellKey(row["image_sha256"], row["cell_index"], (0, 0), place_of(row)).name
