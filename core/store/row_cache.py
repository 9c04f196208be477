"""Features of cells side by side in files of a cache: some cells with every feature are read at once.

A shard keeps its values column by column, packed: to read every feature of a few thousand cells, all of it is unpacked.
Here a cell's values lie together, unpacked (8 bytes each). A file is made when its shard is first asked for; it can be
made again at any time. Where its folder takes no files shards are unpacked each time, which only
costs time.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.domain.errors import StoreError
from core.features.catalogue import CATALOGUE
from core.store.footers import open_shard
from core.store.schema import SCHEMA_VERSION, is_former, present_values
from core.support import files

_BATCH: Final = 8192  # cells unpacked at a time; of every feature 50 MB
_BUFFER: Final = 2**16  # bytes read ahead of each column
logger = logging.getLogger(__name__)

_UNUSED: Final = 30 * 24 * 3600.0  # seconds since a file was last read, after which its shard counts as gone


class RowCache:
    """Files of rows in a folder, one a shard; safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._refused: set[Path] = set()

    def read(self, shards: Sequence[Path], rows: NDArray[np.intp], features: Sequence[str]) -> NDArray[np.float64]:
        """Values as stored (n, F), nan where absent, of rows counted through the shards in their order, ascending.

        Raises
        ------
        OSError, pyarrow.ArrowException
            If a shard is gone or damaged.
        """
        columns = np.array([list(CATALOGUE).index(name) for name in features], dtype=np.intp)
        values = np.empty((len(rows), len(features)))
        start = 0
        for cells in (block for shard in shards for block in self._blocks_of(shard)):
            first, last = np.searchsorted(rows, (start, start + len(cells)))
            for part in range(first, last, _BATCH):
                some = slice(part, min(part + _BATCH, last))
                values[some] = cells[rows[some] - start][:, columns]
            start += len(cells)
        return values

    def _blocks_of(self, shard: Path) -> Iterator[NDArray[np.float64]]:
        """The cells of a shard: all at once from its file, some at a time where it has none."""
        path = self._file(shard)
        if path is None:
            with open_shard(shard, _BUFFER) as opened:
                yield from _blocks(opened)
        elif path.stat().st_size:  # nothing can be mapped of no cells
            yield np.memmap(path, np.float64, "r").reshape(-1, len(CATALOGUE))

    def _file(self, shard: Path) -> Path | None:
        """Where the rows of a shard are, made if they are not; None where the disk takes no file."""
        stat = shard.stat()
        told = json.dumps([str(shard), stat.st_size, stat.st_mtime_ns, list(CATALOGUE), SCHEMA_VERSION])
        path = self._folder / f"rows-{hashlib.sha256(told.encode()).hexdigest()[:32]}.f64"
        with self._lock:
            if shard in self._refused:
                return None
            try:
                if not _is_whole(path):
                    self._make(shard, path)
            except StoreError as error:
                self._refused.add(shard)
                logger.warning("%s", error)
                return None
        with suppress(OSError):
            os.utime(path)
        return path

    def _make(self, shard: Path, path: Path) -> None:
        with files.unfinished(path) as made:
            with open_shard(shard, _BUFFER) as opened:
                with self._refusals(shard):
                    self._folder.mkdir(parents=True, exist_ok=True)
                    self._remove_unused()
                    made.touch()
                for block in _blocks(opened):
                    with self._refusals(shard), made.open("ab") as file:
                        file.write(block.data)
            with self._refusals(shard):
                made.replace(path)

    @contextmanager
    def _refusals(self, shard: Path) -> Iterator[None]:
        """Turn what the disk of the cache refuses into words."""
        try:
            yield
        except OSError as error:
            msg = (
                f"{self._folder} cannot take the rows of {shard.name} ({error}), which are read more slowly without;"
                " free space there or set LEUKOSCOPE_CACHE"
            )
            raise StoreError(msg) from error

    def _remove_unused(self) -> None:
        for file in (*self._folder.glob("rows-*.f64"), *self._folder.glob(".rows-*")):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _UNUSED:
                    file.unlink()


def _is_whole(path: Path) -> bool:
    """Whether a file holds whole cells; after a power cut it may end early."""
    return path.is_file() and path.stat().st_size > 0 and path.stat().st_size % (8 * len(CATALOGUE)) == 0


def _blocks(shard: pq.ParquetFile) -> Iterator[NDArray[np.float64]]:
    """Values of some cells at a time: (cells, features of the catalogue)."""
    there = set(shard.schema_arrow.names)
    former = is_former(there)
    places = {name: index for index, name in enumerate(CATALOGUE) if name in there}
    for batch in shard.iter_batches(_BATCH, columns=list(places)):
        block = np.full((batch.num_rows, len(CATALOGUE)), np.nan)
        for name, index in places.items():
            values = present_values(name, batch[name]) if former else batch[name]
            block[:, index] = values.to_numpy(zero_copy_only=False)
        yield block
