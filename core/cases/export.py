"""All cells of a case for taking away: one table, and the cells of each image for a report."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from core.cases.cells import open_cells, rows_in
from core.cases.decided import decided_analyses, decided_rows, laid_scale
from core.cases.store import Case, CaseImage, Cases
from core.domain.types import CellAnalysis
from core.exchange.cells import Handover
from core.pipeline import at_scale
from core.store.schema import OUTLINE_COLUMNS, CellRow, arrow_schema

# Those of every table of cells, and what a person wrote of the image.
_COLUMNS: Final = (*(name for name in arrow_schema().names if name not in OUTLINE_COLUMNS), "note")


@dataclass(frozen=True, eq=False)
class HeldImage:
    """An image with its file, where that is at hand, and its packed cells, where it was measured."""

    record: CaseImage
    data: bytes | None = None
    cells: bytes | None = None


def held_images(cases: Cases, case: Case) -> Iterable[HeldImage]:
    """The images of a case as they are on disk, one after the other; raises StoreError where one is damaged."""
    for record in case.images:
        yield HeldImage(record, cases.original(case.id, record), cases.cells(case.id, record))


def case_table(root: Path, images: Iterable[HeldImage]) -> pd.DataFrame:
    """One row per cell with the columns of the cohort, in pixels, with the outlines that hold by `root`.

    `image_path` is the image's name, `note` what a person wrote of it; what was not measured has no row.
    """
    return pd.DataFrame(_rows(root, images), columns=list(_COLUMNS))


def case_handed_over(root: Path, cases: Cases, case: Case) -> Handover:
    """The same cells for other programs."""
    about = {"source": "a case", "notes": case.notes}
    return Handover(case.title, about, lambda: _rows(root, held_images(cases, case)))


def _rows(root: Path, images: Iterable[HeldImage]) -> Iterator[CellRow]:
    for image in images:
        for row in decided_rows(root, rows_in(image.cells)) if image.cells is not None else ():
            laid = laid_scale(row, image.record.scale)
            yield {**laid, "image_path": image.record.name, "note": image.record.notes or None}


def case_analyses(root: Path, image: HeldImage) -> list[CellAnalysis]:
    """The cells of an image with the outlines that hold and its scale in the case; none where it was not measured.

    Raises
    ------
    CoreError
        If its files are damaged.
    """
    if image.cells is None:
        return []
    opened = open_cells(image.cells, image.data, image.record.name)
    cells = decided_analyses(root, opened, rows_in(image.cells))
    return [at_scale(cell, image.record.scale) for cell in cells]
