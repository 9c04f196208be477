"""The results of a run as a person looks through them: counts, pages of the table, single cells, failures, downloads.

Whatever the size of the run, no more than what is shown is held in memory.
"""

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from core.batch.inputs import open_inputs
from core.batch.results import Index, RunFolder, failures_of
from core.batch.sorted_csv import write_sorted_csv
from core.batch.tasks import Stage
from core.domain.compartments import Compartment
from core.domain.errors import CoreError
from core.domain.flags import UNLIKE_TRAINING
from core.domain.options import Units
from core.domain.types import BoundingBox, CellImage, LabelMap
from core.image.drawn_masks import read_mask
from core.image.imaging import decode
from core.image.masks import with_environment
from core.store.database import query_shards
from core.store.export import in_units, to_csv, units_beside
from core.store.schema import FORMER_NAMES, CellRow, arrow_schema, as_today, decode_rings, is_former, present_names

_ROWS_AT_ONCE: Final = 1000
_EXAMPLES: Final = 5
_SHARDS_LOOKED_INTO: Final = 4
# Their reasons name another image, so that no two are alike.
_NAMES_OTHERS: Final = (Stage.DUPLICATE, Stage.LABEL)
_PICTURED: Final = (
    "image_sha256", "confidence", "outline_quality", "quality_ok", "quality_flags", "notes", "place_left", "place_top",
    "place_width", "place_height", "image_width", "image_height", "um_per_px", "cell_outline", "nucleus_outline",
)  # fmt: skip


class Order(StrEnum):
    """How the cells of a run are ordered."""

    LEAST_CERTAIN = "least certain first"
    BY_IMAGE = "by image"


@dataclass(frozen=True)
class Overview:
    """Cells measured, how many were labelled with each cell type, the good ones, and those of a stain that is new."""

    cells: int
    good: int
    labels: dict[str, int]
    unlike_training: int = 0


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
    and nucleus are in its pixels.
    """

    image_path: str
    cell_index: int
    image_sha256: str
    certainty: float
    quality_ok: bool
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    place: BoundingBox | None
    shape: tuple[int, int]
    um_per_px: float | None
    outlines: dict[Compartment, tuple[NDArray[np.float32], ...]]

    @property
    def key(self) -> str:
        """Key of the cell within its run."""
        return f"{self.image_path}#{self.cell_index}"

    def cut_out(self, image: CellImage) -> CellImage:
        """The part of its image that was analysed."""
        if self.place is None:
            return image
        place = self.place
        return replace(
            image, rgb=image.rgb[place.top : place.top + place.height, place.left : place.left + place.width]
        )


class Review:
    """The cells and failures of one run, as they are at the moment it is made.

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
        self.seconds: Final = run.seconds if run is not None else 0.0
        self.failures: Final = failures_of(folder.records(names))
        self.copies: Final = sum(stage == Stage.DUPLICATE for stage, _ in self.failures.values())
        self.overview: Final = self._overview()

    @staticmethod
    def revision(results: Path) -> str:
        """Text that changes whenever the cells or failures of a run do: a key for caches."""
        shards = sorted(path.name for path in results.glob("cells/[!.]*.parquet"))
        return f"{len(shards)} {shards[-1] if shards else ''}"

    def _overview(self) -> Overview:
        counts = self._query(
            "SELECT cell_type, count(*) AS cells, count(*) FILTER (quality_ok) AS good, count(*) FILTER"
            f" (list_contains(quality_flags, '{UNLIKE_TRAINING}')) AS strange FROM cells GROUP BY cell_type"
        )
        if counts.empty:
            return Overview(0, 0, {})
        labelled = counts.dropna(subset=["cell_type"])
        labels = {str(name): int(cells) for name, cells in zip(labelled["cell_type"], labelled["cells"], strict=True)}
        cells, good, strange = (int(counts[name].sum()) for name in ("cells", "good", "strange"))
        return Overview(cells, good, labels, strange)

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

    def cell(self, key: str) -> MeasuredCell | None:
        """The cell of a key; None where it is not there any more."""
        image_path, _, index = key.rpartition("#")
        rows = self._query(
            f"SELECT {self._chosen(_PICTURED)} FROM cells WHERE image_path = $path AND cell_index = $index",
            {"path": image_path, "index": int(index)},
        )
        return None if rows.empty else _measured_cell(rows.to_dict("records")[0])

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
                    row
                    for row in as_today(pa.Table.from_batches([batch])).to_pylist()
                    if row["image_path"] not in gone and (cell_type is None or row["cell_type"] == cell_type)
                ]

    def csv(self, units: Units = Units.PIXELS) -> bytes:
        """The table as CSV, sorted by image; raises StoreError, also where cells lack the scale that the units need."""
        finished = self.results / "cells.csv"
        if (
            finished.is_file()
            and units_beside(finished) is units
            and all(finished.stat().st_mtime_ns >= shard.stat().st_mtime_ns for shard in self._shards)
        ):
            return finished.read_bytes()
        with TemporaryDirectory() as folder:
            target = Path(folder) / "cells.csv"
            shards = {shard: _today(shard, Path(folder)) for shard in self._shards}
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
        """The masks, of fields also the numbers of their cells, as a ZIP file."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNG files are packed already
            for folder in ("masks", "instances"):
                for path in sorted((self.results / folder).rglob("*.png")):
                    archive.write(path, path.relative_to(self.results).as_posix())
        return buffer.getvalue()

    def failures_csv(self) -> bytes:
        """The failed images with stage and reason as CSV."""
        rows = [(image_path, stage, reason) for image_path, (stage, reason) in sorted(self.failures.items())]
        return to_csv(pd.DataFrame(rows, columns=["image_path", "stage", "reason"]))

    def picture(self, cell: MeasuredCell) -> CellImage | None:
        """The analysed part of the cell's image, if that is still there and unchanged."""
        image = picture(self._source, cell.image_path, cell.image_sha256, cell.um_per_px)
        return None if image is None else cell.cut_out(image)

    def labels(self, cell: MeasuredCell) -> LabelMap:
        """The mask of a cell, as large as what was analysed.

        For a cell of a field, or where the mask's file is gone, it is drawn from the outlines.
        """
        labels = mask(self.results, cell.image_path) if cell.place is None else None
        return labels if labels is not None and labels.shape == cell.shape else _drawn(cell)

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
        return query_shards(self._shards, sql, parameters, self._superseded_table()) if self._shards else pd.DataFrame()


def _today(shard: Path, folder: Path) -> Path:
    """The shard, or, where it is of an earlier schema, one of today with its rows in a folder."""
    if not is_former(pq.read_schema(shard).names):
        return shard
    made = folder / shard.name
    pq.write_table(as_today(pq.read_table(shard)), made)
    return made


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
    place = None
    if not pd.isna(row["place_left"]):
        place = BoundingBox(*(int(row[f"place_{name}"]) for name in ("left", "top", "width", "height")))
    return MeasuredCell(
        image_path=str(row["image_path"]),
        cell_index=int(row["cell_index"]),
        image_sha256=str(row["image_sha256"]),
        certainty=float(row["confidence"] if pd.isna(judged := row.get("outline_quality")) else judged),
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
    )


def _drawn(cell: MeasuredCell) -> LabelMap:
    labels = np.zeros(cell.shape, np.uint8)
    for compartment, rings in cell.outlines.items():
        inside = np.zeros(cell.shape, np.bool_)
        for ring in rings:  # even-odd: a ring within another is a hole
            inside ^= polygon2mask(cell.shape, ring[:, ::-1] - 0.5)  # from the pixel's corner to its centre
        labels[inside] = compartment
    return with_environment(LabelMap(labels))
