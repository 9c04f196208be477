"""The folder of a run: what is done is there durably, and nothing else counts as done.

```
OUT/run.json                settings, model, versions, counts, time; the key that says which results belong together
OUT/cells/cells-*.parquet   shards: a row per cell, and in the metadata the images they account for
OUT/cells.csv               all rows, when the run is finished; cells.csv-metadata.json: what its columns mean
OUT/masks/<image>.png       grey levels 255 nucleus, 170 cytoplasm, 85 environment, 0 background
OUT/instances/<image>.png   numbers of the cells, of fields
OUT/overlays/, OUT/outlines/<image>.geojson   where they are wanted
OUT/errors.csv              image_path, stage, reason
OUT/passed_over.csv         files that are no images by their ending: how many, the first by name, what to do
OUT/progress.json           `core.batch.settings.Progress`
OUT/earlier/                results of other settings, models or versions
```

A shard is cells plus the record of the images they come from, failed ones too, so that one rename makes both durable.
The files of an image are there before the shard that accounts for it; so an image without a record is simply done
again. Of several records of one image the latest holds: an image that changed is measured again, and two runs that
write into one bucket do no harm.
"""

import csv
import hashlib
import io
import json
import time
import uuid
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.batch.settings import BatchSettings, Progress, State
from core.batch.storage import FileRefusedError, LocalStorage, open_storage
from core.batch.tasks import ImageResult, Stage, Stamp
from core.domain.errors import StoreError, UsageError
from core.domain.flags import flag_sentence
from core.domain.options import Units
from core.image.listing import Passed
from core.store.schema import OUTLINE_COLUMNS, SCHEMA_VERSION, UNITS_KEY, arrow_schema, guarded
from core.store.shards import parquet_bytes
from core.support import locks
from core.support.files import NO_FILE
from core.support.records import from_plain, parsed, to_json

_CELLS: Final = "cells"
_TABLE: Final = "cells.csv"
_DESCRIPTION: Final = "cells.csv-metadata.json"
_RUN: Final = "run.json"
_PROGRESS: Final = "progress.json"
_ERRORS: Final = "errors.csv"
_PASSED_OVER: Final = "passed_over.csv"
# What belongs to one key; run.json last, because as long as it is there moving is not finished.
_OF_A_RUN: Final = (
    _CELLS,
    "masks",
    "instances",
    "overlays",
    "outlines",
    _TABLE,
    _DESCRIPTION,
    _ERRORS,
    _PASSED_OVER,
    _PROGRESS,
    _RUN,
)
_METADATA: Final = b"leukoscope_batch"
_SCHEMA_VERSION: Final = 1


def cells_schema() -> pa.Schema:
    """Columns of the cells: those of a cohort's shard.

    Without the descriptions that a cohort's files carry: a small shard would consist mostly of them.
    """
    return pa.schema([(column.name, column.type) for column in arrow_schema()])


class Record(NamedTuple):
    """What a shard says of an image: its identity, its cells, whether one is flagged, or why it failed.

    `confidence` is the lowest of its cells. In JSON it is an array, without the names that every image would repeat.
    """

    image_path: str
    sha256: str | None
    stamp: Stamp | None
    cells: int
    flagged: bool
    confidence: float | None
    stage: Stage | None
    reason: str | None

    @classmethod
    def of(cls, result: ImageResult) -> "Record":
        """The record of a result."""
        cells, flagged, confidence = len(result.rows), result.flagged, result.confidence
        return cls(
            result.image_path, result.sha256, result.stamp, cells, flagged, confidence, result.stage, result.reason
        )


@dataclass(frozen=True)
class Run:
    """What `run.json` holds: settings, model and versions, and how far the run has come."""

    key: str
    settings: BatchSettings
    model_id: str
    model_sha256: str
    versions: Mapping[str, str]
    created: datetime
    state: State = State.RUNNING
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    starts: int = 0

    def to_json(self) -> str:
        """Return the text of `run.json`."""
        plain = {
            "schema_version": _SCHEMA_VERSION,
            "key": self.key,
            "input": self.settings.input,
            "settings": self.settings,
            "model": {"model_id": self.model_id, "sha256": self.model_sha256},
            "versions": self.versions,
            "created": self.created,
            "state": self.state,
            "counts": self.counts,
            "seconds": round(self.seconds, 3),
            "starts": self.starts,
        }
        return to_json(plain, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str) -> "Run":
        """Read `run.json`; raises StoreError where it is damaged or of a later version."""
        try:
            raw = parsed(text)
            if raw["schema_version"] > _SCHEMA_VERSION:
                msg = f"{origin}: written by a later version of Leukoscope; update it, or choose another --out"
                raise StoreError(msg)
            model = {"model_id": raw["model"]["model_id"], "model_sha256": raw["model"]["sha256"]}
            settings = from_plain(BatchSettings, raw["settings"])  # all of them count
            return replace(from_plain(cls, raw | model, others=True), settings=settings)
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{origin}: not the description of a run ({error!r}); move the folder away, or choose another --out"
            raise StoreError(msg) from error


class Index:
    """Which images are done, in 46 bytes of memory an image.

    Paths and contents are kept as 64-bit digests; an image counts as done only where both the digest of its path and
    that of its size and time of change (or of its content) agree.
    """

    def __init__(self, records: Iterable[tuple[int, Record]] = ()) -> None:
        """Take `records` in the order in which they were written, each with the number of its shard."""
        paths, stamps, contents, hashes = array("Q"), array("Q"), array("Q"), array("Q")
        shards, cells, flagged, failed, copies = array("L"), array("L"), array("B"), array("B"), array("B")
        for shard, record in records:
            paths.append(_digest(record.image_path))
            stamps.append(_digest(record.image_path, record.stamp))
            contents.append(_digest(record.image_path, record.sha256))
            hashes.append(_digest(record.sha256))
            shards.append(shard)
            cells.append(record.cells)
            flagged.append(record.flagged)
            failed.append(record.stage not in {None, Stage.DUPLICATE})
            copies.append(record.stage is Stage.DUPLICATE)
        digests = np.array(paths, np.uint64)
        # Of equal paths the last one written holds.
        self._paths, last = np.unique(digests[::-1], return_index=True)
        kept = len(digests) - 1 - last
        self._stamps, self._contents = np.array(stamps, np.uint64)[kept], np.array(contents, np.uint64)[kept]
        self._cells, self._flagged, self._failed, self._copies = (
            np.array(each, np.int32)[kept] for each in (cells, flagged, failed, copies)
        )
        self._hashes = np.array(hashes, np.uint64)[kept]
        measured = self._hashes[(self._failed | self._copies) == 0]
        self._orphans = (self._copies == 1) & ~np.isin(self._hashes, measured)
        hashes_once, times = np.unique(measured, return_counts=True)
        self._repeated = set(hashes_once[times > 1].tolist())
        again = np.ones(len(digests), bool)
        again[kept] = False
        self._superseded = {(int(shards[at]), int(digests[at])) for at in np.flatnonzero(again)}

    def __len__(self) -> int:
        return len(self._paths)

    def counts(self) -> "Counts":
        """Counts over all images."""
        return Counts(len(self), *(int(each.sum()) for each in self._counted))

    def counts_of(self, image_path: str) -> "Counts":
        """What an image adds to the counts; nothing where there is no record of it."""
        at = self._find(image_path)
        return Counts() if at is None else Counts(1, *(int(each[at]) for each in self._counted))

    @property
    def _counted(self) -> tuple[NDArray[np.int32], ...]:
        return self._cells, self._flagged, self._failed, self._copies

    def knows(self, image_path: str) -> bool:
        """Whether there is a record of the image, as it is or as it was."""
        return self._find(image_path) is not None

    def has_failed(self, image_path: str) -> bool:
        """Whether the image is known to have failed."""
        at = self._find(image_path)
        return at is not None and bool(self._failed[at])

    def is_done(self, image_path: str, stamp: Stamp | None, read: Callable[[], bytes | None]) -> bool:
        """Whether there is a record of this very image.

        Where size or time of change differ, the content is read and decides; an image that cannot be read now is not
        done again.
        """
        at = self._find(image_path)
        if at is None:
            return False
        if self._stamps[at] == _digest(image_path, stamp):
            return True
        data = read()
        return data is None or bool(self._contents[at] == _digest(image_path, hashlib.sha256(data).hexdigest()))

    @property
    def orphans(self) -> int:
        """How many copies of images there are of which none is measured any more, because it changed."""
        return int(self._orphans.sum())

    def is_orphan(self, image_path: str) -> bool:
        """Whether the image was left out as a copy of one that is not measured any more."""
        at = self._find(image_path)
        return at is not None and bool(self._orphans[at])

    def repeated(self, records: Iterable[tuple[int, Record]]) -> list[list[Record]]:
        """Measured images of the same content, by whatever path, in groups of two or more."""
        if not self._repeated:
            return []
        latest: dict[str, Record] = {}
        for _, record in records:
            latest.pop(record.image_path, None)
            if record.stage is None and _digest(record.sha256) in self._repeated:
                latest[record.image_path] = record
        groups: dict[str | None, list[Record]] = {}
        for record in latest.values():
            groups.setdefault(record.sha256, []).append(record)
        return [group for group in groups.values() if len(group) > 1]

    def superseded(self, records: Iterable[tuple[int, Record]]) -> Iterator[tuple[int, str]]:
        """Shard and path of the images whose rows no longer hold."""
        if self._superseded:
            for shard, record in records:
                if (shard, _digest(record.image_path)) in self._superseded:
                    yield shard, record.image_path

    def _find(self, image_path: str) -> int | None:
        digest = np.uint64(_digest(image_path))
        at = int(np.searchsorted(self._paths, digest))
        return at if at < len(self._paths) and self._paths[at] == digest else None


@dataclass(frozen=True)
class Counts:
    """Images with a record, their cells, how many images have a flagged cell, failed, and are copies of others."""

    images: int = 0
    cells: int = 0
    flagged: int = 0
    failed: int = 0
    duplicates: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.images + other.images,
            self.cells + other.cells,
            self.flagged + other.flagged,
            self.failed + other.failed,
            self.duplicates + other.duplicates,
        )

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(
            self.images - other.images,
            self.cells - other.cells,
            self.flagged - other.flagged,
            self.failed - other.failed,
            self.duplicates - other.duplicates,
        )

    @classmethod
    def of(cls, record: Record) -> "Counts":
        """What an image adds."""
        is_copy = record.stage is Stage.DUPLICATE
        failed = record.stage is not None and not is_copy
        return cls(1, record.cells, int(record.flagged), int(failed), int(is_copy))


class RunFolder:
    """The results of one run, on a disk or in a bucket.

    On a disk only one run at a time may have it open (`with RunFolder(...)`): UsageError says so. Several processes on
    several machines may call `save` at the same time on a bucket.

    Parameters
    ----------
    out
        A folder, made if it is missing, or an fsspec URL.
    """

    def __init__(self, out: str) -> None:
        self.out: Final = out
        self.storage: Final = open_storage(out)
        self._lock: locks.FileLock | None = None
        self._written = 0

    def __enter__(self) -> "RunFolder":
        if isinstance(self.storage, LocalStorage):
            self.storage.make()
            self._lock = locks.try_lock(self.storage.root / ".lock")
            if self._lock is None:
                msg = (
                    f"another run is writing into {self.storage.root}; wait until it is finished, stop it, or choose"
                    " another --out"
                )
                raise UsageError(msg)
            self.storage.clear_unfinished()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # --- the run ---

    def run(self) -> Run | None:
        """What `run.json` says; None where there is none."""
        text = self.storage.read(_RUN)
        return Run.from_json(text.decode("utf-8", "replace"), f"{self.out}/{_RUN}") if text is not None else None

    def begin(self, run: Run) -> tuple[Run, str]:
        """Continue the run that is there, if it has the same key, or begin this one.

        An old run's results are moved to `earlier/`.

        Returns
        -------
        tuple
            The run with the time of its beginning, and what was done in words.
        """
        there = self.run()
        said = ""
        if there is not None and there.key != run.key:
            place = f"earlier/{there.created:%Y%m%d-%H%M%S}-{there.key[:8]}"
            for name in _OF_A_RUN:
                self.storage.move(name, f"{place}/{name}")
            said = (
                "input, settings, model or versions are not those of the run that is here, so a new one begins; the"
                f" old is in {place}"
            )
        elif there is not None:
            run = replace(there, settings=run.settings)
            said = f"going on with the run of {there.created:%Y-%m-%d %H:%M} UTC"
        run = replace(run, state=State.RUNNING, starts=run.starts + 1)
        self.write_run(run)
        return run, said

    def write_run(self, run: Run) -> None:
        """Write `run.json`."""
        self.storage.write(_RUN, run.to_json().encode())
        self.storage.make_durable([_RUN])

    def write_progress(self, progress: Progress) -> None:
        """Write `progress.json`, for whoever watches; not flushed to the disk."""
        self.storage.write(_PROGRESS, progress.to_json().encode(), durable=False)

    # --- shards ---

    def save(self, results: Sequence[ImageResult], key: str, name: str | None = None) -> list[Record]:
        """Write the files of some images, then the shard that accounts for them; durable when this returns.

        A file that cannot be written under its name makes its image a failure. `name` is that of the shard, unique if
        not given; writing the same images again under the same name overwrites it.

        Raises
        ------
        StoreError
            If the disk refuses.
        """
        kept = [self._with_files(result) for result in results]
        self.storage.make_durable(path for result in kept for path in result.files)
        self._written = max(time.time_ns(), self._written + 1)
        records = [Record.of(result) for result in kept]
        metadata = {"run": key, "written": self._written, "images": records}
        rows = [{UNITS_KEY: Units.PIXELS.value, **row} for result in kept for row in result.rows]
        table = pa.Table.from_pylist(rows, schema=cells_schema())
        said = {
            _METADATA.decode(): json.dumps(metadata, ensure_ascii=False),
            UNITS_KEY: Units.PIXELS.value,
            "leukoscope_schema_version": str(SCHEMA_VERSION),
        }
        path = f"{_CELLS}/{name or f'cells-{self._written:020d}-{uuid.uuid4().hex[:8]}.parquet'}"
        self.storage.write(path, parquet_bytes(table, said))
        self.storage.make_durable([path])
        return records

    def _with_files(self, result: ImageResult) -> ImageResult:
        for path, content in result.files.items():
            try:
                self.storage.write(path, content)
            except FileRefusedError as error:
                reason = (
                    f"{result.image_path}: its results cannot be written under its name ({error.strerror}); rename the"
                    " image"
                )
                return ImageResult(result.image_path, result.sha256, result.stamp, stage=Stage.WRITE, reason=reason)
        return result

    def shards(self, key: str, *, set_aside: bool = True) -> list[str]:
        """Names of the readable shards of a run, the earliest first.

        Damaged ones are moved to `damaged/`, and their images are done again.
        """
        readable = []
        for name in self.storage.names(_CELLS):
            if name.endswith(".parquet"):
                metadata = self._metadata(name)
                if metadata is None and set_aside:
                    self.storage.move(f"{_CELLS}/{name}", f"damaged/{name}")
                elif metadata is not None and metadata["run"] == key:
                    readable.append((metadata["written"], name))
        self._written = max([self._written, *(written for written, _ in readable)])
        return [name for _, name in sorted(readable)]

    def records(self, shards: Sequence[str]) -> Iterator[tuple[int, Record]]:
        """Every record in the order of writing, with the number of its shard."""
        for number, name in enumerate(shards):
            metadata = self._metadata(name)
            for record in from_plain(list[Record], metadata["images"], others=True) if metadata else ():
                yield number, record

    def _metadata(self, shard: str) -> dict[str, Any] | None:
        """What a shard says of itself; None where it is damaged."""
        try:
            with self.storage.open(f"{_CELLS}/{shard}") as file:
                metadata: dict[str, Any] = parsed(pq.read_metadata(file).metadata[_METADATA])
            whole = isinstance(metadata["run"], str) and isinstance(metadata["written"], int) and "images" in metadata
        except (pa.ArrowException, KeyError, TypeError, ValueError):
            return None
        except OSError as error:
            if error.errno in (None, NO_FILE):  # the first is how pyarrow says that a file is damaged
                return None
            msg = (
                f"{self.out}: {shard} cannot be read ({error.strerror}); check the permissions, then give the same"
                " command again"
            )
            raise StoreError(msg) from error
        return metadata if whole else None

    # --- tables ---

    def write_errors(self, failures: Mapping[str, tuple[str, str]], *, durable: bool = True) -> None:
        """Write `errors.csv` (path, stage, reason), sorted by path."""
        buffer = io.StringIO()
        table = csv.writer(buffer)
        table.writerow(["image_path", "stage", "reason"])
        for path in sorted(failures):
            stage, reason = failures[path]
            table.writerow([guarded(path), stage, guarded(reason)])
        self.storage.write(_ERRORS, buffer.getvalue().encode(), durable=durable)

    def write_passed_over(self, passed: Mapping[str, Passed]) -> None:
        """Write `passed_over.csv` (ending, files, first_names, what_to_do), sorted by ending."""
        buffer = io.StringIO()
        table = csv.writer(buffer)
        table.writerow(["ending", "files", "first_names", "what_to_do"])
        for ending, one in sorted(passed.items()):
            table.writerow([ending, one.files, guarded("; ".join(one.first)), one.way])
        self.storage.write(_PASSED_OVER, buffer.getvalue().encode())

    def write_table(self, shards: Sequence[str], units: Units = Units.PIXELS) -> None:
        """Write `cells.csv` and what it means, sorted by image and cell: the same cells give the same file.

        Raises
        ------
        StoreError
            If a file is damaged, the disk refuses, or cells lack the scale that the units need.
        """
        # Not at the top: a table is the last thing that a run writes.
        from core.batch.sorted_csv import write_sorted_csv
        from core.store.export import described

        with self.storage.work_folder() as work, self.storage.local_copies(_CELLS, shards) as folder:
            target = work / _TABLE
            files = [folder / name for name in shards]
            columns = [name for name in cells_schema().names if name not in OUTLINE_COLUMNS]
            if not files:
                target.write_text(",".join(columns) + "\n", encoding="utf-8")
            else:
                index = Index(self.records(shards))
                superseded = [(str(files[number]), path) for number, path in index.superseded(self.records(shards))]
                table = pa.table(
                    [[file for file, _ in superseded], [path for _, path in superseded]],
                    schema=pa.schema([("filename", pa.string()), ("image_path", pa.string())]),
                )
                write_sorted_csv(files, target, ("image_path", "cell_index"), table, units)
            self.storage.place(_TABLE, target)
        self.storage.write(_DESCRIPTION, described(_TABLE, columns, units))

    def flagged(self, code: str) -> tuple[int, int]:
        """How many cells have a flag, and how many there are."""
        run = self.run()
        images: dict[str, list[bool]] = {}
        for name in self.shards(run.key, set_aside=False) if run is not None else ():
            with self.storage.open(f"{_CELLS}/{name}") as file:
                rows = _rows(file, ["image_path", "quality_flags"])
            fresh: dict[str, list[bool]] = {}
            for row in rows:
                fresh.setdefault(row["image_path"], []).append(code in (row["quality_flags"] or ()))
            images |= fresh  # of an image that was measured again, the later shard holds
        return sum(map(sum, images.values())), sum(map(len, images.values()))

    def remarks(self) -> list[dict[str, Any]]:
        """Each image of which there is something to say, by name: its cells, what opening it did, and their flags."""
        run = self.run()
        images: dict[str, dict[str, Any]] = {}
        for name in self.shards(run.key, set_aside=False) if run is not None else ():
            with self.storage.open(f"{_CELLS}/{name}") as file:
                rows = _rows(file, ["image_path", "notes", "quality_flags"])
            fresh: dict[str, dict[str, Any]] = {}
            for row in rows:
                path = row["image_path"]
                image = fresh.setdefault(path, {"image_path": path, "cells": 0, "notes": [], "flags": {}})
                image["cells"] += 1
                image["notes"] = list(dict.fromkeys([*image["notes"], *(row["notes"] or ())]))
                image["flags"] |= {code: flag_sentence(code) for code in row["quality_flags"] or ()}
            images |= fresh  # of an image that was measured again, the later shard holds
        return [images[path] for path in sorted(images) if images[path]["notes"] or images[path]["flags"]]


def failures_of(records: Iterable[tuple[int, Record]]) -> dict[str, tuple[str, str]]:
    """Stage and reason of every image whose latest record is a failure, or says that it is a copy of another."""
    failures: dict[str, tuple[str, str]] = {}
    for _, record in records:
        if record.stage is None:
            failures.pop(record.image_path, None)
        else:
            failures[record.image_path] = (record.stage, record.reason or "")
    return failures


def new_run(key: str, settings: BatchSettings, model_id: str, model_sha256: str, versions: Mapping[str, str]) -> Run:
    """A run that begins now."""
    return Run(key, settings, model_id, model_sha256, versions, datetime.now(UTC))


def _rows(shard: BinaryIO, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Some columns of a shard, a row a cell.

    By this thread alone: pyarrow's own may still run when a short command has ended, and then abort it.
    """
    rows: list[dict[str, Any]] = pq.ParquetFile(shard).read(columns=list(columns), use_threads=False).to_pylist()
    return rows


def _digest(*parts: object) -> int:
    return int.from_bytes(
        hashlib.blake2b("\0".join(map(str, parts)).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    )
