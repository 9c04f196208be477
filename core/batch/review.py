"""The results of a run as a person looks through them: counts, pages of the table, single cells, failures, downloads.

Whatever the size of the run, no more than what is shown is held in memory.
"""

import copy
import hashlib
import io
import itertools
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePath, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.batch.inputs import open_inputs
from core.batch.results import Index, RunFolder, failures_of
from core.batch.sorted_csv import write_sorted_csv
from core.batch.tasks import Stage
from core.corrections.opening import OpenCell, open_stored
from core.domain.compartments import Compartment
from core.domain.errors import CoreError, StoreError
from core.domain.flags import UNLIKE_TRAINING
from core.domain.objects import RedCells
from core.domain.options import Units
from core.domain.types import BoundingBox, CellImage, DrawnBy, GivenScale, LabelMap
from core.exchange.cells import Handover
from core.image.drawn_masks import read_mask
from core.image.imaging import decode, encode_png
from core.image.masks import encode_grey, filled_outlines, with_environment
from core.segmentation.field_of_view import composed
from core.store import outline_log
from core.store.database import query_shards
from core.store.export import in_units, to_csv, units_beside
from core.store.outline_log import CellKey, OutlineStatus, OutlineVerdict
from core.store.overlay import at_scale, corrected_rows, judged, overlay_of
from core.store.schema import (
    FORMER_NAMES,
    CellRow,
    arrow_schema,
    as_today,
    cell_id,
    decode_rings,
    is_former,
    place_of,
    present_names,
)
from core.support import files, records

# Beside the cells of a run: the scale that a person chose for it afterwards.
SCALE_FILE: Final = "scale.json"
_ROWS_AT_ONCE: Final = 1000
_SIDES: Final = ("left", "top", "width", "height")
_EXAMPLES: Final = 5
_SHARDS_LOOKED_INTO: Final = 4
# Their reasons name another image, so that no two are alike.
_NAMES_OTHERS: Final = (Stage.DUPLICATE, Stage.LABEL)
_PICTURED: Final = (
    "image_sha256", "confidence", "outline_quality", "quality_ok", "quality_flags", "notes", "place_left", "place_top",
    "place_width", "place_height", "image_width", "image_height", "um_per_px", "cell_outline", "nucleus_outline",
    "cell_id", "outline_status", "outline_by",
)  # fmt: skip


class Order(StrEnum):
    """How the cells of a run are ordered."""

    LEAST_CERTAIN = "least certain first"
    BY_IMAGE = "by image"


@dataclass(frozen=True)
class Overview:
    """What was measured.

    `good` cells enter summaries, `remarked` of these have a flag all the same; `labels` counts the cells of each type,
    `unlabelled` those without one; `unlike_training` are of a stain that is new.
    """

    cells: int
    good: int
    labels: dict[str, int]
    unlike_training: int = 0
    remarked: int = 0
    unlabelled: int = 0


@dataclass(frozen=True)
class FailureGroup:
    """Images that failed alike: stage, reason in words (that of the first), how many, and the first ones by name."""

    stage: str
    reason: str
    images: int
    examples: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """A cell of a run with what is needed to draw it, and what is said of it: flags as codes, notes in words.

    `shape` is the (H, W) of what was analysed: the image, or its cut-out at `place`; the outlines of cell (`CYTOPLASM`)
    and nucleus are in its pixels. `certainty` is None where a person drew the outline; `status` what one decided of it.
    """

    image_path: str
    cell_index: int
    image_sha256: str
    certainty: float | None
    quality_ok: bool
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    place: BoundingBox | None
    shape: tuple[int, int]
    um_per_px: float | None
    outlines: dict[Compartment, tuple[NDArray[np.float32], ...]]
    status: OutlineStatus | None = None
    drawn_by: DrawnBy = DrawnBy.MODEL

    @property
    def key(self) -> str:
        """Key of the cell within its run."""
        return f"{self.image_path}#{self.cell_index}"

    @property
    def drawing(self) -> int:
        """Tells one outline of the cell from another."""
        return hash(tuple(ring.tobytes() for rings in self.outlines.values() for ring in rings))

    def drawn(self) -> LabelMap:
        """The mask of what was analysed, without environment, drawn from the outlines."""
        return filled_outlines(self.shape, self.outlines[Compartment.CYTOPLASM], self.outlines[Compartment.NUCLEUS])

    def cut_out(self, image: CellImage) -> CellImage:
        """The part of its image that was analysed."""
        if self.place is None:
            return image
        place = self.place
        return replace(
            image, rgb=image.rgb[place.top : place.top + place.height, place.left : place.left + place.width]
        )


class Review:
    """The cells and failures of one run, as they are at the moment it is made; with `decided_by`, as people decided.

    Parameters
    ----------
    results
        The run's folder of results.
    source
        Its images, as far as they are still there.

    Raises
    ------
    StoreError
        If a file of the run is damaged.
    """

    def __init__(self, results: Path, source: Path) -> None:
        self.results: Final = results
        self._source = source
        folder = RunFolder(str(results))
        run = folder.run()
        names = folder.shards(run.key, set_aside=False) if run is not None else []
        self._shards = [results / "cells" / name for name in names]
        self._columns = set(present_names(pq.read_schema(self._shards[0]).names) if self._shards else ())
        self._superseded: dict[Path, set[str]] = {}
        for number, image_path in Index(folder.records(names)).superseded(folder.records(names)):
            self._superseded.setdefault(self._shards[number], set()).add(image_path)
        self.decided: Mapping[str, OutlineVerdict] = {}
        self._corrected: Mapping[str, CellRow] = {}
        self.laid_scale: Final = _laid_scale(results)
        self._changes = overlay_of({}, {}, self.laid_scale)
        self.scale: Final = self.laid_scale or (run.settings.one_scale if run is not None else None)
        self.seconds: Final = run.seconds if run is not None else 0.0
        self.failures: Final = failures_of(folder.records(names))
        self.copies: Final = sum(stage == Stage.DUPLICATE for stage, _ in self.failures.values())
        self.overview = self._overview()

    def decided_by(self, root: Path) -> "Review":
        """The same run with the decisions about outlines that lie in a root of the user's own; raises StoreError."""
        twin = copy.copy(self)
        twin.decided = self._decided(root)
        drawn = {verdict.drawn_in for verdict in twin.decided.values() if verdict.drawn_in is not None}
        twin._corrected = corrected_rows(root, drawn) if drawn else {}
        twin._changes = overlay_of(twin.decided, twin._corrected, twin.laid_scale)
        twin.overview = twin._overview()
        return twin

    @staticmethod
    def revision(results: Path) -> str:
        """Text that changes whenever the cells or failures of a run do: a key for caches."""
        shards, scale = sorted(path.name for path in results.glob("cells/[!.]*.parquet")), results / SCALE_FILE
        said = scale.stat().st_mtime_ns if scale.is_file() else ""
        return f"{len(shards)} {shards[-1] if shards else ''} {said}".strip()

    def _decided(self, root: Path) -> dict[str, OutlineVerdict]:
        """The decisions that hold of cells of this run, by `cell_id`; of another cut-out none does."""
        standing = {
            cell_id(None, verdict.cell.image_sha256, verdict.cell.cell_index): verdict
            for verdict in outline_log.all_standing(root)
            if verdict.cell.cell_id is None
        }
        if not standing or not self._shards:
            return {}
        places = ", ".join(f"place_{side}" for side in _SIDES)
        there = query_shards(
            self._shards,
            f"SELECT cell_id, {places} FROM cells WHERE cell_id IN (SELECT unnest($ids))",
            {"ids": list(standing)},
            self._superseded_table(),
        )
        found = {row["cell_id"]: place_of(row) for row in there.to_dict("records")}
        return {name: verdict for name, verdict in standing.items() if found.get(name, False) == verdict.cell.place}

    def _overview(self) -> Overview:
        counts = self._query(
            "SELECT cell_type, count(*) AS cells, count(*) FILTER (quality_ok) AS good, count(*) FILTER"
            " (quality_ok AND len(quality_flags) > 0) AS remarked, count(*) FILTER"
            f" (list_contains(quality_flags, '{UNLIKE_TRAINING}')) AS strange FROM cells GROUP BY cell_type"
        )
        if counts.empty:
            return Overview(0, 0, {})
        labelled = counts.dropna(subset=["cell_type"])
        labels = {str(name): int(cells) for name, cells in zip(labelled["cell_type"], labelled["cells"], strict=True)}
        named = ("cells", "good", "strange", "remarked")
        cells, good, strange, remarked = (int(counts[name].sum()) for name in named)
        return Overview(cells, good, labels, strange, remarked, cells - sum(labels.values()))

    def red_cells(self) -> list[RedCells]:
        """What the red cells of each image said; nothing of a run that did not ask."""
        if "red_cells" not in self._columns:
            return []
        rows = self._query(
            "SELECT max(red_cells) AS discs, max(red_cell_px) AS px FROM cells WHERE red_cells IS NOT NULL"
            " GROUP BY image_path"
        )
        return [RedCells(int(discs), None if pd.isna(px) else float(px)) for discs, px in rows.itertuples(index=False)]

    def failure_groups(self) -> list[FailureGroup]:
        """Images that failed alike, the most frequent first."""
        groups: dict[tuple[str, str], list[str]] = {}
        words: dict[tuple[str, str], str] = {}
        for image_path, (stage, reason) in sorted(self.failures.items()):
            name = PurePosixPath(image_path).name
            plain = reason.removeprefix(f"{image_path}: ").removeprefix(f"{name}: ")
            alike = stage, "" if stage in _NAMES_OTHERS else re.sub(r"\d+([.,]\d+)?", "#", plain)
            groups.setdefault(alike, []).append(image_path)
            words.setdefault(alike, plain)
        failures = [
            FailureGroup(alike[0], words[alike], len(paths), tuple(paths[:_EXAMPLES]))
            for alike, paths in groups.items()
        ]
        return sorted(failures, key=lambda group: -group.images)

    def cells(self, columns: Sequence[str], order: Order, offset: int, limit: int) -> pd.DataFrame:
        """Some cells in an order, with `image_path`, `cell_index` and those of the columns that the run has.

        Raises
        ------
        StoreError
            If a file of the run is damaged.
        """
        chosen = self._chosen(columns)
        sure = "coalesce(outline_quality, confidence)" if "outline_quality" in self._columns else "confidence"
        by = f"{sure}, image_path, cell_index" if order is Order.LEAST_CERTAIN else "image_path, cell_index"
        return self._query(
            f"SELECT {chosen} FROM cells ORDER BY {by} LIMIT $limit OFFSET $offset", {"limit": limit, "offset": offset}
        )

    def pictured(self, order: Order, offset: int, limit: int) -> list[MeasuredCell]:
        """Some cells with their outlines, in an order; raises StoreError."""
        return [_measured_cell(row) for row in self.cells(_PICTURED, order, offset, limit).to_dict("records")]

    def listed(self, order: Order) -> list[tuple[str, str]]:
        """The keys of all cells in an order, each with its name for decisions (`CellKey.name`); raises StoreError."""
        places = [f"place_{side}" for side in _SIDES]
        rows = self.cells(["image_sha256", *places], order, 0, self.overview.cells)
        return [
            (
                f"{row['image_path']}#{row['cell_index']}",
                CellKey(row["image_sha256"], int(row["cell_index"]), (0, 0), place_of(row)).name,
            )
            for row in rows.to_dict("records")
        ]

    def cell(self, key: str) -> MeasuredCell | None:
        """The cell of a key; None where it is not there any more."""
        return next(iter(self.cells_of([key])), None)

    def cells_of(self, keys: Sequence[str]) -> list[MeasuredCell]:
        """The cells of some keys in their order, without those that are not there any more."""
        rows = self._query(
            f"SELECT {self._chosen(_PICTURED)} FROM cells"
            " WHERE list_contains($keys, concat(image_path, '#', cell_index))",
            {"keys": list(keys)},
        )
        found = {cell.key: cell for cell in map(_measured_cell, rows.to_dict("records"))}
        return [found[key] for key in keys if key in found]

    def _chosen(self, columns: Sequence[str]) -> str:
        """SQL for the identity of a cell and the columns, without those that an earlier version did not write."""
        names = dict.fromkeys(["image_path", "cell_index", *columns])
        return ", ".join(f'"{name}"' for name in names if name in self._columns)

    def rows(self, cell_type: str | None = None) -> Iterator[list[CellRow]]:
        """All cells with all their columns, a thousand at a time; only those labelled with `cell_type`, if given."""
        for shard in self._shards:
            gone = self._superseded.get(shard, ())
            for batch in pq.ParquetFile(shard).iter_batches(_ROWS_AT_ONCE):
                yield [
                    self._laid(row)
                    for row in as_today(pa.Table.from_batches([batch])).to_pylist()
                    if row["image_path"] not in gone and (cell_type is None or row["cell_type"] == cell_type)
                ]

    def handed_over(self, title: str) -> Handover:
        """All cells, for other programs, with the settings of the run, but not where its images lay."""
        run = RunFolder(str(self.results)).run()
        settings = replace(run.settings, input=PurePath(run.settings.input).name) if run is not None else None
        about = {"source": "a batch", "settings": records.to_json(settings)}
        return Handover(title, about, lambda: itertools.chain.from_iterable(self.rows()))

    def decided_rows(self, cell_type: str | None = None) -> dict[str, CellRow]:
        """Rows of the cells that people decided on, by the decision's id; of one type only, if it is given."""
        found: dict[str, CellRow] = {}
        for rows in self.rows(cell_type) if self.decided else ():
            found |= {self.decided[row["cell_id"]].id: row for row in rows if row["cell_id"] in self.decided}
        drawn = {verdict.id: verdict.drawn_in for verdict in self.decided.values()}
        drawn_anew = {number: self._corrected.get(drawn[number] or "", row) for number, row in found.items()}
        return {number: at_scale(row, self.laid_scale) for number, row in drawn_anew.items()}

    def _laid(self, row: CellRow) -> CellRow:
        """A row with what a person decided of the cell, as `Overlay.sql` gives it."""
        verdict = self.decided.get(row["cell_id"])
        if verdict is not None:
            row = judged(self._corrected.get(verdict.drawn_in or "", row), verdict)
        return at_scale(row, self.laid_scale)

    def opened(self, cell: MeasuredCell) -> OpenCell:
        """A cell as the model drew it, with its picture, to be corrected.

        Raises
        ------
        StoreError
            If its picture is gone or changed.
        """
        image = self.picture(cell)
        if image is None:
            msg = (
                f"{cell.image_path}: the picture is not there any more or was changed, and without it nothing can be"
                " measured; put it back where it was"
            )
            raise StoreError(msg)
        rows = self.rows_of_image(cell.image_path)
        (own,) = (row for row in rows if row["cell_index"] == cell.cell_index)
        return open_stored(own, image, rows)

    def rows_of_image(self, image_path: str) -> list[CellRow]:
        """The cells of an image as the model drew them."""
        wanted = pc.field("image_path") == image_path
        rows = []
        for shard in self._shards:
            if image_path not in self._superseded.get(shard, ()):
                former = "image_path" not in pq.read_schema(shard).names
                condition = pc.field("image_name") == image_path if former else wanted
                rows += as_today(pq.read_table(shard, filters=condition, use_threads=False)).to_pylist()
        return rows

    def csv(self, units: Units = Units.PIXELS) -> bytes:
        """The table as CSV, sorted by image; raises StoreError, also where cells lack the scale that the units need."""
        finished = self.results / "cells.csv"
        if (
            not self.decided
            and self.laid_scale is None
            and finished.is_file()
            and units_beside(finished) is units
            and all(finished.stat().st_mtime_ns >= shard.stat().st_mtime_ns for shard in self._shards)
        ):
            return finished.read_bytes()
        with TemporaryDirectory() as folder:
            target = Path(folder) / "cells.csv"
            shards = {shard: self._today(shard, Path(folder)) for shard in self._shards}
            superseded = self._superseded_table(shards)
            write_sorted_csv(list(shards.values()), target, ("image_path", "cell_index"), superseded, units)
            return target.read_bytes()

    def parquet(self, units: Units = Units.PIXELS) -> bytes:
        """The table as one Parquet file; raises StoreError where cells lack the scale that the units need."""
        buffer = io.BytesIO()
        schema = arrow_schema(units)
        with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
            for rows in self.rows():
                frame = pa.Table.from_pylist(rows, schema=schema).to_pandas()
                writer.write_table(pa.Table.from_pandas(in_units(frame, units), schema=schema, preserve_index=False))
        return buffer.getvalue()

    def masks(self) -> bytes:
        """The masks, of fields also the numbers of their cells, as a ZIP file.

        Of images with a corrected cell the model's are in `model_masks/` and `model_instances/`.
        """
        buffer, drawn = io.BytesIO(), self._corrected_masks()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNG files are packed already
            for folder in ("masks", "instances"):
                for path in sorted((self.results / folder).rglob("*.png")):
                    name = path.relative_to(self.results).as_posix()
                    archive.write(path, f"model_{name}" if name in drawn else name)
            for name, content in drawn.items():
                archive.writestr(name, content)
        return buffer.getvalue()

    def _corrected_masks(self) -> dict[str, bytes]:
        """Masks and numbers of the images that have a corrected cell, by their names."""
        made = {}
        for image_path in sorted({row["image_path"] for row in self._corrected.values()}):
            rows = [self._laid(row) for row in self.rows_of_image(image_path)]
            cells = [_measured_cell(row) for row in sorted(rows, key=lambda row: row["cell_index"])]
            placed = [(cell.place, with_environment(cell.drawn())) for cell in cells if cell.place]
            if placed:
                labels, numbers = composed((int(rows[0]["image_height"]), int(rows[0]["image_width"])), placed)
                made[f"instances/{image_path}.png"] = encode_png(numbers)
            else:
                labels = with_environment(cells[0].drawn())
            made[f"masks/{image_path}.png"] = encode_png(encode_grey(labels))
        return made

    def _today(self, shard: Path, folder: Path) -> Path:
        """The shard, or one of today in a folder, where it is of an earlier schema or people changed its cells."""
        if not self._changes and not is_former(pq.read_schema(shard).names):
            return shard
        table, made = as_today(pq.read_table(shard)), folder / shard.name
        if self._changes:
            table = pa.Table.from_pylist([self._laid(row) for row in table.to_pylist()], schema=arrow_schema())
        pq.write_table(table, made)
        return made

    def failures_csv(self) -> bytes:
        """The failed images with stage and reason as CSV."""
        rows = [(image_path, stage, reason) for image_path, (stage, reason) in sorted(self.failures.items())]
        return to_csv(pd.DataFrame(rows, columns=["image_path", "stage", "reason"]))

    def picture(self, cell: MeasuredCell) -> CellImage | None:
        """The analysed part of the cell's image, if that is still there and unchanged."""
        image = picture(self._source, cell.image_path, cell.image_sha256, cell.um_per_px)
        return None if image is None else cell.cut_out(image)

    def original(self, cell: MeasuredCell) -> bytes | None:
        """The file of the cell's image, if that is still there and unchanged."""
        try:
            data, _ = open_inputs(str(self._source)).read(cell.image_path)
        except CoreError:
            return None
        return data if hashlib.sha256(data).hexdigest() == cell.image_sha256 else None

    def labels(self, cell: MeasuredCell) -> LabelMap:
        """The mask of a cell, as large as what was analysed.

        For a cell of a field, a corrected one, or where the mask's file is gone, it is drawn from the outlines.
        """
        of_model = cell.place is None and cell.drawn_by is DrawnBy.MODEL
        labels = mask(self.results, cell.image_path) if of_model else None
        return labels if labels is not None and labels.shape == cell.shape else with_environment(cell.drawn())

    def _superseded_table(self, called: Mapping[Path, Path] | None = None) -> pa.Table:
        """Images whose rows in a shard no longer hold; `called` maps a shard to the file that stands for it."""
        gone = [
            (str((called or {}).get(shard, shard)), image_path)
            for shard, paths in self._superseded.items()
            for image_path in paths
        ]
        schema = pa.schema([("filename", pa.string()), ("image_path", pa.string())])
        return pa.table([[shard for shard, _ in gone], [image_path for _, image_path in gone]], schema=schema)

    def _query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Ask the relation `cells`; no row where there is no shard yet."""
        if not self._shards:
            return pd.DataFrame()
        return query_shards(self._shards, sql, parameters, self._superseded_table(), self._changes)


# --- a scale that is laid over a run --------------------------------------------------------------------------------


def lay_scale(results: Path, scale: GivenScale | None) -> None:
    """Give the cells of a run that have no scale this one, or take it away; sizes stay as they are kept, in pixels.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    path = results / SCALE_FILE
    try:
        if scale is None:
            path.unlink(missing_ok=True)
        else:
            files.write_text(path, records.to_json(scale, indent=1) + "\n")
    except OSError as error:
        msg = f"the scale cannot be kept with the run ({error.strerror}); check the free space and the permissions"
        raise StoreError(msg) from error


def _laid_scale(results: Path) -> GivenScale | None:
    try:
        return records.from_json(GivenScale, files.read_text(results / SCALE_FILE))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, CoreError) as error:
        msg = f"{SCALE_FILE} of this run is damaged ({error}); delete it and choose the scale again"
        raise StoreError(msg) from error


def picture(
    source: Path, image_path: str, sha256: str | None = None, um_per_px: float | None = None
) -> CellImage | None:
    """An image of a run, if it is still there and, where the SHA-256 is given, unchanged."""
    try:
        data, _ = open_inputs(str(source)).read(image_path)
        image = decode(data, image_path, um_per_px)
    except CoreError:
        return None
    return image if sha256 is None or image.sha256 == sha256 else None


def newest_cells(results: Path, limit: int) -> list[MeasuredCell]:
    """The cells written last, the newest first; none where there is nothing yet."""
    cells: list[MeasuredCell] = []
    for shard in sorted(results.glob("cells/[!.]*.parquet"), reverse=True)[:_SHARDS_LOOKED_INTO]:
        try:
            wanted = [
                "image_path",
                "cell_index",
                *_PICTURED,
                *FORMER_NAMES.values(),
            ]  # what is not there is passed over
            with pq.ParquetFile(shard) as opened:
                table = as_today(opened.read(columns=wanted))
        except (OSError, pa.ArrowException):  # moved away a moment ago
            continue
        cells += [
            _measured_cell(row)
            for row in table.slice(max(0, len(table) - limit)).to_pandas().iloc[::-1].to_dict("records")
        ]
        if len(cells) >= limit:
            break
    return cells[:limit]


def mask(results: Path, image_path: str) -> LabelMap | None:
    """The mask of an image with all its cells; None where there is none."""
    try:
        return read_mask(results / "masks" / f"{image_path}.png").labels
    except CoreError:
        return None


def _measured_cell(row: Mapping[Any, Any]) -> MeasuredCell:
    place = place_of(row)
    judged, confidence = row.get("outline_quality"), row["confidence"]
    sure = confidence if judged is None or pd.isna(judged) else judged
    status = row.get("outline_status")
    return MeasuredCell(
        image_path=str(row["image_path"]),
        cell_index=int(row["cell_index"]),
        image_sha256=str(row["image_sha256"]),
        certainty=None if sure is None or pd.isna(sure) else float(sure),
        quality_ok=bool(row["quality_ok"]),
        flags=tuple(row["quality_flags"]),
        notes=tuple(() if (notes := row.get("notes")) is None else notes),
        place=place,
        shape=(place.height, place.width) if place else (int(row["image_height"]), int(row["image_width"])),
        um_per_px=None if pd.isna(row["um_per_px"]) else float(row["um_per_px"]),
        outlines={
            Compartment.CYTOPLASM: decode_rings(row["cell_outline"]),
            Compartment.NUCLEUS: decode_rings(row["nucleus_outline"]),
        },
        status=OutlineStatus(status) if isinstance(status, str) else None,
        drawn_by=DrawnBy.PERSON if row.get("outline_by") == DrawnBy.PERSON else DrawnBy.MODEL,
    )
