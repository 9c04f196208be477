"""The measured cells of one image as a file, and back to what a page shows.

A row of every table holds nearly all of a cell; what it has no column for lies in the file's metadata, so that a cell
that is opened again says the same in the same words.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.corrections.opening import open_stored, rings_of, stored_analysis
from core.domain.errors import RecordError, StoreError
from core.domain.objects import FoundObject, RedCells
from core.domain.settings import load_settings
from core.domain.types import BoundingBox, CellAnalysis, CellImage, GivenScale, QualityFlag
from core.image.imaging import decode
from core.image.stain import to_restain
from core.store.schema import CellRow, arrow_schema, as_today, cell_row, place_of, stain_of
from core.store.shards import parquet_bytes
from core.support import records

_SAID: Final = "leukoscope_said"
# What rows of a run or of the cohort say beyond the measurement.
_FILED: Final = ("cell_type", "source", "tissue", "patient_id", "diagnosis")
_PAPER: Final = 244  # grey level behind outlines without a picture
NO_PICTURE: Final = "the picture itself is not at hand, only what was measured in it"


@dataclass(frozen=True)
class SaidOfCell:
    """What a row does not hold of a cell: its flags in their words, what the localiser found, the time it took."""

    flags: tuple[QualityFlag, ...]
    found: FoundObject | None
    objects: tuple[FoundObject, ...]
    elapsed_ms: float


@dataclass(frozen=True)
class SaidOfImage:
    """What rows do not hold of their image: the scale with its origin, what opening did, its red cells."""

    scale: GivenScale | None
    notes: tuple[str, ...]
    red_cells: RedCells | None
    cells: tuple[SaidOfCell, ...]


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image with its cells in reading order; where it is not `pictured` there is paper in the picture's place."""

    image: CellImage
    cells: tuple[CellAnalysis, ...]
    pictured: bool = True


def pack(analyses: Sequence[CellAnalysis], scale: GivenScale | None = None, before: bytes | None = None) -> bytes:
    """The cells of one image, as the model drew them, as a Parquet file.

    Parameters
    ----------
    analyses
        At least one; their image's scale is stored.
    scale
        The same scale with how it is known, where that is said.
    before
        The same cells as they were packed before: type and patient, where these were known, stay.
    """
    image = analyses[0].image
    filed: dict[object, CellRow] = {
        (row["cell_index"], place_of(row)): row for row in (rows_in(before) if before else ())
    }
    said = SaidOfImage(
        scale if scale is not None and scale.um_per_px == image.um_per_px else image.scale,
        image.notes,
        image.red_cells,
        tuple(
            SaidOfCell(one.flags, one.segmentation.found, one.segmentation.objects, one.segmentation.elapsed_ms)
            for one in analyses
        ),
    )
    rows = []
    for one in analyses:
        known: CellRow = filed.get((one.cell_index, one.place), {})
        row = cell_row(one, None, outlines=rings_of(one))
        rows.append(row | {name: known[name] for name in _FILED if name in known})
    return pack_rows(rows, said)


def pack_rows(rows: Sequence[CellRow], said: SaidOfImage | None = None) -> bytes:
    """The same of cells that a run or the cohort holds, with all columns of `core.store.schema.arrow_schema`."""
    table = pa.Table.from_pylist(list(rows), schema=arrow_schema())
    metadata = table.schema.metadata | {_SAID: records.to_json(said)}
    return parquet_bytes(table, {_text(key): _text(value) for key, value in metadata.items()})


def rows_in(packed: bytes) -> list[CellRow]:
    """The rows of packed cells; raises StoreError where the file is damaged."""
    rows: list[CellRow] = as_today(_table(packed)).to_pylist()
    return rows


def open_cells(packed: bytes, data: bytes | None, name: str) -> OpenedImage:
    """Open packed cells with the bytes of their image, or on paper where those are not there.

    Raises
    ------
    StoreError
        If the file is damaged, or the picture does not show what was measured.
    ImageError
        If the bytes are no usable image.
    """
    table = _table(packed)
    rows: list[CellRow] = as_today(table).to_pylist()
    said = _said(table)
    scale = said.scale if said is not None else scale_of(rows[0])
    image = _paper(rows[0], name) if data is None else decode(data, name)
    # As it was measured; decoding says what it does anew.
    image = replace(
        image,
        um_per_px=scale.um_per_px if scale else None,
        um_per_px_error=scale.error if scale else None,
        um_per_px_source=scale.source if scale else None,
        red_cells=said.red_cells if said is not None else _red_cells(rows[0]),
    )
    cells = tuple(_opened(row, rows, image, said, number, data is not None) for number, row in enumerate(rows))
    return OpenedImage(image, cells, data is not None)


def scale_of(row: CellRow) -> GivenScale | None:
    """The scale that a row has; None without one."""
    if row["um_per_px"] is None:
        return None
    return GivenScale(row["um_per_px"], row["um_per_px_error"], row["um_per_px_source"] or "given")


def cut_out(image: CellImage, place: BoundingBox | None) -> CellImage:
    """The part of a field that was analysed; the image itself where that is no field."""
    if place is None:
        return image
    rgb = image.rgb[place.top : place.top + place.height, place.left : place.left + place.width].copy()
    return replace(image, rgb=rgb, field_shape=image.shape)


def _opened(
    row: CellRow, rows: Sequence[CellRow], image: CellImage, said: SaidOfImage | None, number: int, pictured: bool
) -> CellAnalysis:
    picture = cut_out(image, place_of(row))
    if pictured and number == 0:  # one is enough to tell a picture that opens otherwise than when it was measured
        analysis = open_stored(row, picture, rows).analysis
    else:
        analysis, _ = stored_analysis(row, to_restain(picture, stain_of(row)), rows)
    notes = [note for note in (said.notes if said is not None else row["notes"] or ()) if note != NO_PICTURE]
    shown = replace(analysis.image, notes=(*notes, *(() if pictured else (NO_PICTURE,))))
    if said is None:
        return replace(analysis, image=shown)
    own = said.cells[number]
    drawn = replace(analysis.segmentation, found=own.found, objects=own.objects, elapsed_ms=own.elapsed_ms)
    return replace(analysis, image=shown, segmentation=drawn, flags=own.flags)


def _paper(row: CellRow, name: str) -> CellImage:
    height, width = row["image_height"] or 0, row["image_width"] or 0
    if not 0 < height * width <= load_settings().max_pixels:
        msg = f"{name}: the size of its picture is not known or too large ({width} x {height}), so nothing can be shown"
        raise StoreError(msg)
    return CellImage(np.full((height, width, 3), _PAPER, np.uint8), name, row["image_sha256"] or "")


def _red_cells(row: CellRow) -> RedCells | None:
    return None if row["red_cells"] is None else RedCells(row["red_cells"], row["red_cell_px"])


def _table(packed: bytes) -> pa.Table:
    try:
        table = pq.read_table(io.BytesIO(packed), use_threads=False)
    except (OSError, pa.ArrowException) as error:
        msg = f"the file of measured cells is damaged ({error}); measure the image again"
        raise StoreError(msg) from error
    if not len(table):
        msg = "the file of measured cells holds none; measure the image again"
        raise StoreError(msg)
    return table


def _said(table: pa.Table) -> SaidOfImage | None:
    try:
        said = records.from_json(SaidOfImage | None, table.schema.metadata[_SAID.encode()])  # type: ignore[arg-type]
    except (RecordError, KeyError) as error:
        msg = f"the file of measured cells is damaged ({error}); measure the image again"
        raise StoreError(msg) from error
    if said is not None and len(said.cells) != len(table):
        msg = f"the file of measured cells says {len(said.cells)} cells and holds {len(table)}; measure the image again"
        raise StoreError(msg)
    return said


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
