"""Cells in the order of a feature's values: what every rank statistic needs, sorted on the spot or kept in a file.

Whichever cells are compared, their order by a feature is a part of the order of all cells. So the order of all cells,
made once for a cohort, answers every ranking without sorting and without reading a value: `OrderIndex`, four bytes a
cell and feature.

File
----
One block a feature: the row numbers (uint32) of the cells that have it, ascending by value, then zeros up to `n`; then,
where some values are equal, a bit a position, set where the value differs from the one before. After the blocks `n`
hashes of `cell_id` (uint64), which tell the cell behind a row number, then JSON with `n` and `features` (name: cells
with a value, and whether some values are equal), then its length (uint64). Little-endian throughout. The file's name
holds the key of what it was made from; another key is another file.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import CoreError, StoreError
from core.domain.settings import ROOT
from core.explorer.selection import value_sql
from core.features.catalogue import CATALOGUE
from core.store import shards
from core.store.database import Cohort

PIECE: Final = 1 << 16  # cells gone through at once: what is worked on stays in the processor's cache, and memory small

_FORMAT: Final = 1
_AT_ONCE: Final = 8_000_000  # values read from the cohort: 64 MB
_ABANDONED: Final = 3600.0  # seconds since an unfinished file was last written to; a build writes every second


@dataclass(frozen=True, eq=False)
class Line:
    """The cells that have a feature, ascending by value, equal ones in any order.

    `labels` (m,) are theirs, `first` (m,) tells where a value differs from the one before (None where all do), `values`
    (m,) are None where only the order is known.
    """

    labels: NDArray[np.integer]
    first: NDArray[np.bool_] | None
    values: NDArray[np.float64] | None


class Orders(Protocol):
    """The order of `n` cells by each of some features."""

    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def features(self) -> Sequence[str]: ...  # noqa: D102

    def line_up(self, feature: str, labels: NDArray[np.integer]) -> Line:
        """Labels (n,) of the cells in the order of one feature; safe to call from several threads."""


def sort_values(values: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.bool_] | None]:
    """Rows (m,) ascending by float values (n,), those with nan left out.

    And where a value differs from the one before, None if all do.
    """
    rows = np.argsort(values)[: len(values) - int(np.isnan(values).sum())]  # nan is sorted last
    ascending = values[rows]
    first = np.ones(len(rows), dtype=np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    return rows, None if first.all() else first


def take(table: NDArray[np.integer], places: NDArray[np.integer]) -> NDArray[np.integer]:
    """`table[places]` piece by piece.

    Numpy would first make 64-bit numbers of all places, which takes longer than what is asked for.
    """
    found = np.empty(len(places), table.dtype)
    for start in range(0, len(places), PIECE):
        found[start : start + PIECE] = table.take(places[start : start + PIECE])
    return found


@dataclass(frozen=True, eq=False)
class Columns:
    """Values in memory, sorted when asked for: `matrix` (n, F), nan where absent, and the names of its columns."""

    matrix: NDArray[np.float64]
    features: tuple[str, ...]

    @property
    def n(self) -> int:
        """Number of cells."""
        return len(self.matrix)

    def line_up(self, feature: str, labels: NDArray[np.integer]) -> Line:
        """Labels (n,) of the cells in the order of one feature."""
        column = self.matrix[:, self.features.index(feature)]
        rows, first = sort_values(column)
        return Line(labels[rows], first, column[rows])


@dataclass(frozen=True, eq=False)
class OrderIndex:
    """The order of all cells of a cohort by every feature, in a file; little of it is in memory at any time.

    `present` counts by feature the cells that have it and tells whether some values are equal; `hashes` (n,) are those
    of `cell_id` in the order of the rows.
    """

    path: Path
    present: Mapping[str, tuple[int, bool]]
    hashes: NDArray[np.uint64]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file; raises StoreError when it is missing or damaged."""
        try:
            size = path.stat().st_size
            length = int(np.fromfile(path, "<u8", 1, offset=size - 8)[0])
            with path.open("rb") as file:
                file.seek(size - 8 - length)
                footer = json.loads(file.read(length))
            present, n = (
                {name: (int(m), bool(tied)) for name, (m, tied) in footer["features"].items()},
                int(footer["n"]),
            )
            blocks = len(present) * _stride(n)
            hashes = np.fromfile(path, "<u8", n, offset=blocks)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            msg = f"the index {path.name} of the cohort's order is missing or damaged ({error!r}); build it again"
            raise StoreError(msg) from error
        if size != blocks + 8 * n + length + 8:
            msg = (
                f"the index {path.name} of the cohort's order has {size} bytes, not as many as it says; build it again"
            )
            raise StoreError(msg)
        return cls(path, present, hashes)

    @property
    def n(self) -> int:
        """Number of cells."""
        return len(self.hashes)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the order of the catalogue."""
        return tuple(self.present)

    def line_up(self, feature: str, labels: NDArray[np.integer]) -> Line:
        """Labels (n,) of the cells in the order of one feature.

        Raises StoreError when the file is gone because the cohort has changed.
        """
        m, tied = self.present[feature]
        start = self.features.index(feature) * _stride(self.n)
        found = np.empty(m, labels.dtype)
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                for place in range(0, m, PIECE):
                    rows = np.frombuffer(file.read(4 * min(PIECE, m - place)), "<u4")
                    found[place : place + len(rows)] = labels.take(rows)
                file.seek(start + 4 * self.n)
                bits = np.frombuffer(file.read(_bytes_of_bits(m) if tied else 0), np.uint8)
        except OSError as error:
            msg = f"the index {self.path.name} of the cohort's order is gone: the cohort has changed; ask again"
            raise StoreError(msg) from error
        return Line(found, np.unpackbits(bits, count=m).view(np.bool_) if tied else None, None)

    def rows_of(self, hashes: NDArray[np.uint64]) -> NDArray[np.intp] | slice:
        """Row numbers of cells by the hash of their `cell_id`; raises StoreError when one is not in the index."""
        if np.array_equal(hashes, self.hashes):
            return slice(None)
        return _find(hashes, self.hashes)


def index_path(cohort: Cohort, folder: Path) -> Path:
    """Where the index of a cohort as it is now belongs.

    What readers have changed in cells (`core.store.edit_log`) moves no value, so the key is of the shards and of what
    is read from them.
    """
    expressions = [value_sql(spec) for spec in CATALOGUE.values()]
    told = json.dumps([_FORMAT, shards.scan(cohort.roots).revision, expressions])
    return folder / f"order-{hashlib.sha256(told.encode()).hexdigest()[:32]}.bin"


def find_index(cohort: Cohort, folder: Path) -> OrderIndex | None:
    """Return the index of a cohort as it is now; None where it was not built yet or its file is damaged."""
    with suppress(StoreError):
        return OrderIndex.open(index_path(cohort, folder))
    return None


def build_index(cohort: Cohort, folder: Path, progress: Callable[[int, int], None] | None = None) -> OrderIndex:
    """Sort all cells of a cohort by every feature of the catalogue, in the basis of comparison, and keep the result.

    Takes about a tenth of a second a feature of a million cells. The file appears when it is complete; those of other
    states of the cohort in the same folder are removed then.

    Parameters
    ----------
    cohort
        All its cells are sorted, good or not.
    folder
        Of caches; made if it is missing.
    progress
        Called with the features done and all features; an exception raised in it ends the build and leaves nothing
        behind.

    Raises
    ------
    StoreError
        If the cohort changes meanwhile, or the disk refuses.
    """
    path = index_path(cohort, folder)
    hashes = _hashes(cohort)

    def columns() -> Iterator[NDArray[np.float64]]:
        names, several = list(CATALOGUE), max(1, _AT_ONCE // max(1, len(hashes)))
        for start in range(0, len(names), several):
            batch = names[start : start + several]
            listed = ", ".join(f'{value_sql(CATALOGUE[name])} AS "{name}"' for name in batch)
            frame = cohort.query(f"SELECT hash(cell_id) AS hash, {listed} FROM cells")
            found = frame["hash"].to_numpy(dtype=np.uint64)
            # Without a join or an order the database keeps the order of the files, but it promises that to nobody who
            # joins.
            places = None if np.array_equal(found, hashes) else _find(hashes, found)
            if len(found) != len(hashes) or index_path(cohort, folder) != path:
                raise StoreError(_CHANGED)
            for done, name in enumerate(batch, start=start):
                column = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
                yield column if places is None else column[places]
                if progress:
                    progress(done + 1, len(names))

    write_index(path, hashes, list(CATALOGUE), columns())
    for other in folder.glob("order-*.bin"):
        if other != path:
            other.unlink(missing_ok=True)
    return OrderIndex.open(path)


def write_index(
    path: Path, hashes: NDArray[np.uint64], features: Sequence[str], columns: Iterator[NDArray[np.float64]]
) -> None:
    """Sort columns (n,), one a feature, into a file that appears when it is complete.

    Raises StoreError when the disk refuses.
    """
    n = len(hashes)
    present: dict[str, tuple[int, bool]] = {}
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        with unfinished.open("wb") as file:
            for feature, column in zip(features, columns, strict=True):
                ascending, first = sort_values(column)
                present[feature] = len(ascending), first is not None
                rows = np.zeros(n, "<u4")
                rows[: len(ascending)] = ascending
                bits = b"" if first is None else np.packbits(first).tobytes()
                file.write(rows.tobytes() + bits.ljust(_stride(n) - 4 * n, b"\0"))
            footer = json.dumps({"n": n, "features": present}).encode()
            file.write(hashes.astype("<u8").tobytes() + footer + len(footer).to_bytes(8, "little"))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        msg = (
            f"the index of the cohort's order cannot be written to {path.parent} ({error}); free space there or set"
            " LEUKOSCOPE_CACHE"
        )
        raise StoreError(msg) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


class IndexBuild:
    """A build that goes on in a process of its own: how far it is, and how it ended.

    In a process, because half a gigabyte of what sorting a million cells takes would stay with the server.
    """

    def __init__(self, cohort: Cohort, folder: Path) -> None:
        self.done, self.total = 0, len(CATALOGUE)
        self.error: CoreError | None = None
        self.index: OrderIndex | None = None
        self._cancelled = False
        self._child: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(
            target=self._run, args=(cohort, folder), name="order of the cohort", daemon=True
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it still goes on; afterwards there is an `index`, an `error`, or neither because it was cancelled."""
        return self._thread.is_alive()

    def cancel(self) -> None:
        """End it; nothing is left behind."""
        self._cancelled = True
        if self._child is not None:
            self._child.terminate()

    def wait(self) -> None:
        """Return when it has ended."""
        self._thread.join()

    def _run(self, cohort: Cohort, folder: Path) -> None:
        command = [sys.executable, "-m", __name__, str(folder.resolve()), *map(str, cohort.roots)]
        said = "the build of the order ended before it was done; start it again"
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as self._child:
            if self._cancelled:
                self._child.terminate()
            for line in self._child.stdout or ():
                if line.strip().isdigit():
                    self.done = int(line)
                else:
                    said = line.strip() or said
        if self._cancelled:
            return
        if self._child.returncode:
            self.error = StoreError(said)
            return
        try:
            self.index = OrderIndex.open(index_path(cohort, folder))
        except StoreError as error:
            self.error = error


def _build(folder: Path, roots: Sequence[Path]) -> None:
    """All that the process does: says how many features are done, line by line, or in the last what is wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that what is unfinished is cleared away
    try:
        with Cohort.open(roots) as cohort:
            build_index(cohort, folder, lambda done, _: print(done, flush=True))  # noqa: T201  (read by whoever waits)
    except CoreError as error:
        sys.exit(str(error))


_CHANGED: Final = "the cohort changed while its order was read; build the index again"


def _hashes(cohort: Cohort) -> NDArray[np.uint64]:
    return cohort.query("SELECT hash(cell_id) AS hash FROM cells")["hash"].to_numpy(dtype=np.uint64)


def _find(wanted: NDArray[np.uint64], among: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Places of hashes among others; raises StoreError when one is not there."""
    ascending = np.argsort(among)
    places = np.searchsorted(among, wanted, sorter=ascending)
    found: NDArray[np.intp] = ascending[np.minimum(places, len(among) - 1)] if len(among) else places
    if not np.array_equal(among[found], wanted):
        raise StoreError(_CHANGED)
    return found


def _bytes_of_bits(n: int) -> int:
    return (n + 7) // 8


def _stride(n: int) -> int:
    """Bytes of a block, so that the next begins at a multiple of 8."""
    return (4 * n + _bytes_of_bits(n) + 7) // 8 * 8


def _remove_abandoned(folder: Path) -> None:
    for leftover in folder.glob(".order-*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED:
                leftover.unlink()


if __name__ == "__main__":
    _build(Path(sys.argv[1]), [Path(root) for root in sys.argv[2:]])
