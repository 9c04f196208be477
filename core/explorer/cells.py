"""Cells one by one: what is stored of them, their outlines, and their picture where its folder is at hand.

A population keeps no image, only its name relative to a folder and its SHA-256. The folder is not stored either: a
picture is looked for where images of that name may lie, and shown only if the file is the very one that was measured.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from core.corrections.opening import OpenCell, open_stored
from core.domain.compartments import Compartment
from core.domain.errors import CoreError, RecordError, StoreError
from core.domain.flags import EXCLUDED
from core.domain.settings import Settings
from core.domain.types import BoundingBox, CellImage, FeatureSet, LabelMap
from core.evaluation.datasets import DATA_SETS
from core.explorer.selection import Selection, columns_read, where
from core.features.catalogue import CATALOGUE
from core.image.imaging import decode
from core.image.masks import filled_outlines, with_environment
from core.populations.outlining import Outlining
from core.store.database import Cohort
from core.store.outline_log import OutlineStatus
from core.store.overlay import CORRECTED, VERDICTS, flags_after
from core.store.schema import CellRow, decode_rings, place_of
from core.support import files, records

_DIAMETER: Final = "cell_shape2D_MaximumDiameter"
_NEARLY_ALL: Final = 0.99
_ROOM: Final = 1.2

_TEXTS: Final = (
    "population",
    "cell_type",
    "source",
    "patient_id",
    "diagnosis",
    "tissue",
    "model_id",
    "note",
    "excluded_reason",
    "outline_by",
    "outline_status",
    "outline_who",
    "versions",
)
_DRAWN: Final = (
    "cell_id", *_TEXTS, "image_path", "image_sha256", "cell_index", "place_left", "place_top", "place_width",
    "place_height", "image_width", "image_height", "um_per_px", "confidence", "outline_quality", "notes",
    "severe_flags", "quality_flags", "quality_ok", "created", "cell_outline", "nucleus_outline",
)  # fmt: skip

Rings = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class Frame:
    """Side of the square in which all cells are drawn; in micrometres where the scale is known, else in pixels."""

    um: float
    px: float

    def side(self, cell: "StoredCell") -> int:
        """Side in the pixels of a cell's image."""
        return max(1, round(self.px if cell.um_per_px is None else self.um / cell.um_per_px))


@dataclass(frozen=True, eq=False)
class StoredCell:
    """A cell as the cohort holds it, with the changes of readers, without its features.

    `shape` is the (H, W) of what was analysed: the image, or its cut-out at `place`; `outlines` of cell (`CYTOPLASM`)
    and nucleus are in its pixels. `certainty` is the quality that was judged of the outline, or else the network's own
    confidence. `notes` say what opening the image did; `flags` and `severe_flags` are codes. What is not recorded is
    None, and the shape (0, 0): an imported table may hold only features. `outline_status` and `outline_who` tell what a
    person decided of the outline, and `outline_by` whether a person drew it.
    """

    cell_id: str
    population: str
    cell_type: str
    source: str
    patient_id: str | None
    diagnosis: str | None
    tissue: str | None
    model_id: str | None
    note: str | None
    excluded_reason: str | None
    outline_by: str | None
    outline_status: str | None
    outline_who: str | None
    versions: str | None
    image_path: str
    image_sha256: str | None
    cell_index: int
    place: BoundingBox | None
    shape: tuple[int, int]
    um_per_px: float | None
    certainty: float | None
    notes: tuple[str, ...]
    flags: tuple[str, ...]
    severe_flags: tuple[str, ...]
    quality_ok: bool
    created: datetime
    outlines: Mapping[Compartment, Rings]

    @property
    def outlined(self) -> Outlining:
        """By which model, or by a person."""
        return Outlining.of_rows([(self.model_id, self.versions, self.outline_by, 1)])

    @property
    def has_outline(self) -> bool:
        """Whether there is anything to draw: an imported table has features only."""
        return any(self.outlines.values())

    @property
    def side(self) -> float:
        """Longer side of the box around the cell, in pixels; of what was analysed where there is no outline."""
        rings = [ring for own in self.outlines.values() for ring in own]
        return float(np.ptp(np.concatenate(rings), axis=0).max()) if rings else float(max(self.shape))

    @property
    def drawing(self) -> int:
        """Tells one outline of the cell from another."""
        return hash(tuple(ring.tobytes() for rings in self.outlines.values() for ring in rings))

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width to draw on: `shape`, or, where that is not known, the extent of the outlines."""
        rings = [ring for own in self.outlines.values() for ring in own]
        if all(self.shape) or not rings:
            return self.shape
        width, height = np.ceil(np.concatenate(rings).max(axis=0)).astype(int) + 1
        return int(height), int(width)

    def labels(self) -> LabelMap:
        """The mask, as large as `canvas`, drawn from the outlines, with the ring around the cell."""
        rings = [self.outlines.get(part, ()) for part in (Compartment.CYTOPLASM, Compartment.NUCLEUS)]
        return with_environment(filled_outlines(self.canvas, *rings))


def cells(cohort: Cohort, cell_ids: Sequence[str]) -> tuple[StoredCell, ...]:
    """Return cells in the order asked for; those that are not in the cohort (any more) are left out."""
    if not cell_ids:
        return ()
    columns = ", ".join(f'"{name}"' for name in cohort.check_columns(_DRAWN))
    sql = f"SELECT {columns} FROM cells WHERE list_contains($ids, cell_id)"
    rows = cohort.query(sql, {"ids": list(cell_ids)}, _populations(cohort, cell_ids))
    by_id = {row["cell_id"]: _cell(row) for row in rows.to_dict("records")}
    return tuple(by_id[cell] for cell in cell_ids if cell in by_id)


def decided(cohort: Cohort, drawn: Sequence[StoredCell]) -> tuple[StoredCell, ...]:
    """Cells as the model drew them, with what people decided of them: as `cells` gives them, without reading a file."""
    changes = cohort.changes().relations
    if VERDICTS not in changes:
        return tuple(drawn)
    names = pa.array([cell.cell_id for cell in drawn], pa.string())
    verdicts, corrected = (
        {row["cell_id"]: row for row in table.filter(pc.is_in(table["cell_id"], value_set=names)).to_pylist()}
        for table in (changes[VERDICTS], changes.get(CORRECTED, changes[VERDICTS].slice(0, 0)))
    )
    return tuple(
        _decided(cell, verdicts[cell.cell_id], corrected.get(cell.cell_id)) if cell.cell_id in verdicts else cell
        for cell in drawn
    )


def _decided(cell: StoredCell, verdict: Mapping[str, Any], corrected: CellRow | None) -> StoredCell:
    flags, severe = list(cell.flags), list(cell.severe_flags)
    if corrected is not None:
        excluded = [EXCLUDED] if cell.excluded_reason is not None else []
        flags, severe = [*corrected["quality_flags"], *excluded], [*corrected["severe_flags"], *excluded]
        outlines = {
            Compartment.CYTOPLASM: decode_rings(corrected["cell_outline"]),
            Compartment.NUCLEUS: decode_rings(corrected["nucleus_outline"]),
        }
        cell = replace(cell, outlines=outlines, certainty=None, outline_by=corrected["outline_by"])
    status = OutlineStatus(verdict["outline_status"])
    flags, severe = flags_after(status, flags, severe)
    return replace(
        cell,
        flags=tuple(flags),
        severe_flags=tuple(severe),
        quality_ok=not severe,
        outline_status=status.value,
        outline_who=verdict["outline_who"],
    )


def decided_features(cohort: Cohort, cell_id: str) -> FeatureSet | None:
    """The values of a cell whose outline a person corrected; None of any other."""
    table = cohort.changes().relations.get(CORRECTED)
    rows = [] if table is None else table.filter(pc.equal(table["cell_id"], cell_id)).to_pylist()
    if not rows:
        return None
    values = {name: rows[0][name] for name in CATALOGUE}
    for calibration in cohort.calibrations:
        if calibration.source == rows[0]["source"]:
            values |= {
                name: float(calibration.applied(name, np.array(value)))
                for name in calibration.shifts
                if (value := values[name]) is not None
            }
    return FeatureSet(values, _absent(rows[0]["absent"]))


def opened(cohort: Cohort, cell: StoredCell, image: CellImage) -> OpenCell:
    """A cell as the model drew it, with its picture, to be corrected.

    Raises
    ------
    StoreError
        If it is gone, has no outline, or its picture does not show what was measured.
    """
    rows = image_rows(cohort, cell)
    own = next((row for row in rows if row["cell_id"] == cell.cell_id), None)
    if own is None or not own["cell_outline"]:
        msg = f"the cell {cell.cell_id} has no outline in the cohort (any more), so there is nothing to correct"
        raise StoreError(msg)
    return open_stored(own, image, rows, cell.cell_id)


def image_rows(cohort: Cohort, cell: StoredCell) -> list[CellRow]:
    """The cells of its population that are of the same image, as the model drew them."""
    filed = cohort.as_drawn(edits=False)
    return filed.cell_rows("image_sha256 = $sha", {"sha": cell.image_sha256}, [cell.population])


def frame(cohort: Cohort, selection: Selection) -> Frame:
    """Square that holds nearly all cells of a selection with some room around; the few larger ones are cut off."""
    condition, parameters = where(selection)
    parts = [
        f"quantile_cont(CASE WHEN um_per_px IS {known} NULL THEN {diameter} END, $share)"
        for known, diameter in (("NOT", f'"{_DIAMETER}" * um_per_px'), ("", f'"{_DIAMETER}"'))
    ]
    quantiles = cohort.query(
        f"SELECT {parts[0]} AS um, {parts[1]} AS px FROM cells WHERE {condition}",
        parameters | {"share": _NEARLY_ALL},
        columns={_DIAMETER, "um_per_px", *columns_read(selection)},
    ).iloc[0]
    um, px = (1.0 if pd.isna(side) else _ROOM * float(side) for side in (quantiles["um"], quantiles["px"]))
    return Frame(um, px)


def features_of(cohort: Cohort, cell_id: str) -> FeatureSet:
    """Return the stored values of a cell, in pixels; raises StoreError if there is no such cell."""
    columns = ", ".join(f'"{name}"' for name in (*CATALOGUE, "absent"))
    rows = cohort.query(
        f"SELECT {columns} FROM cells WHERE cell_id = $id", {"id": cell_id}, _populations(cohort, [cell_id])
    )
    if rows.empty:
        msg = f"the cohort has no cell {cell_id}; look at the cohort again, it may have been deleted"
        raise StoreError(msg)
    row = rows.iloc[0]
    values = {name: None if pd.isna(row[name]) else float(row[name]) for name in CATALOGUE}
    return FeatureSet(values, _absent(row["absent"]))


def _absent(text: str | None) -> dict[str, str]:
    """Reasons by feature; none where the text is not as the store writes it."""
    try:
        return {} if text is None else records.from_json(dict[str, str], text)
    except RecordError:
        return {}


def picture(cell: StoredCell, settings: Settings, sources: Sequence[Path] = ()) -> CellImage | None:
    """The analysed part of a cell's image, where its file is at hand and unchanged; None otherwise.

    Looked for in the folders of the known data sets, in those that may be chosen from (`Settings.roots`), and in
    `sources`, folders that batches have measured. Nothing outside these folders is opened.
    """
    for path, data in _originals(cell, settings, sources):
        try:
            image = decode(data, path.name, cell.um_per_px)
        except CoreError:
            continue
        shown = replace(image, name=cell.image_path)
        if cell.place is not None:
            place = cell.place
            shown = replace(
                shown, rgb=image.rgb[place.top : place.top + place.height, place.left : place.left + place.width].copy()
            )
        return shown if shown.shape == cell.shape else None
    return None


def original(cell: StoredCell, settings: Settings, sources: Sequence[Path] = ()) -> bytes | None:
    """The file of a cell's image, looked for as by `picture`; None where it is not at hand or was changed."""
    return next((data for _, data in _originals(cell, settings, sources)), None)


def _originals(cell: StoredCell, settings: Settings, sources: Sequence[Path]) -> Iterator[tuple[Path, bytes]]:
    for path in _candidates(cell.image_path, settings, sources):
        try:
            if path.stat().st_size > settings.max_bytes:
                continue
            data = files.read_bytes(path)
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() == cell.image_sha256:
            yield path, data


def _candidates(name: str, settings: Settings, sources: Sequence[Path]) -> Iterator[Path]:
    first, _, rest = name.partition("/")
    folders = [(settings.data / DATA_SETS[first].folder, rest)] if first in DATA_SETS and rest else []
    for folder, relative in [*folders, *((folder, name) for folder in (*settings.roots, *sources))]:
        if folder.is_dir():
            path = (folder / relative).resolve()
            if path.is_relative_to(folder.resolve()) and path.is_file():
                yield path


def _populations(cohort: Cohort, cell_ids: Sequence[str]) -> list[str] | None:
    """Populations named by the identifiers, so that no other file is read; None (all) where one has another form."""
    there = {stored.population.population_id for stored in cohort.populations()}
    named = {cell.partition(":")[0] for cell in cell_ids}
    return sorted(named) if named <= there else None


def _codes(flags: Sequence[str] | None) -> tuple[str, ...]:
    """Flags of a cell; a shard of another program may have none."""
    return () if flags is None else tuple(flags)


def _cell(row: Mapping[Any, Any]) -> StoredCell:
    place = place_of(row)
    texts = {name: None if pd.isna(row[name]) else str(row[name]) for name in _TEXTS}
    return StoredCell(
        **texts,  # type: ignore[arg-type]  # those that may not be None never are
        cell_id=str(row["cell_id"]),
        image_path=str(row["image_path"]),
        image_sha256=None if pd.isna(row["image_sha256"]) else str(row["image_sha256"]),
        cell_index=0 if pd.isna(row["cell_index"]) else int(row["cell_index"]),
        place=place,
        shape=(
            (place.height, place.width)
            if place
            else (0, 0)
            if pd.isna(row["image_height"]) or pd.isna(row["image_width"])
            else (int(row["image_height"]), int(row["image_width"]))
        ),
        um_per_px=None if pd.isna(row["um_per_px"]) else float(row["um_per_px"]),
        certainty=next(
            (float(row[name]) for name in ("outline_quality", "confidence") if not pd.isna(row[name])), None
        ),
        notes=() if row["notes"] is None else tuple(row["notes"]),
        flags=_codes(row["quality_flags"]),
        severe_flags=_codes(row["severe_flags"]),
        quality_ok=bool(row["quality_ok"]),
        created=row["created"].to_pydatetime(),
        outlines={
            Compartment.CYTOPLASM: decode_rings(row["cell_outline"]),
            Compartment.NUCLEUS: decode_rings(row["nucleus_outline"]),
        },
    )
