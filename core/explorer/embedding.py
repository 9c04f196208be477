"""Cells in a plane: principal axes at once, UMAP in a process of its own, whose result is kept in a folder.

Both use robustly scaled features (`core.populations.robust`). A feature absent in more than `MOST_ABSENT` of the cells,
or one that does not vary, is dropped; other absent values are set to the median. UMAP (McInnes, Healy and Melville
2018, arXiv 1802.03426) shows which cells are alike; distances between clouds, and their sizes, mean little. It depends
on its seed, which is shown.

In the folder each map has a key: `<key>.npz` is its result, `<key>.input.npz` what it is computed from, `<key>.log`
what the process printed. `<key>.lock` is locked by the server that waits for the process, `<key>.running` by the
process itself, which may outlive the server. They compute one after the other, so that ten visitors do not cost ten
times the memory.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import StoreError, UsageError
from core.domain.settings import ROOT
from core.features.catalogue import feature_spec
from core.populations.comparison import SAME_THING
from core.populations.neighbours import nearest
from core.populations.robust import RobustScaling
from core.support import files, locks

MOST_ABSENT: Final = 0.05
MOST_CELLS: Final = 20_000  # on a map of more nobody sees single cells; computing it takes minutes
FEWEST_CELLS: Final = 20
NEIGHBOURS: Final = 15  # umap-learn's own defaults, written down because the picture depends on them
MIN_DIST: Final = 0.1
_AXES: Final = 10
_KEPT: Final = 100  # results; a map of 20,000 cells takes 160 kB
_LOG_TAIL: Final = 4096
_LOOK_S: Final = 0.05  # for which a lock may be held by somebody who only looks

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Cells ready to be embedded: `z` (n, F) robustly scaled and complete.

    `dropped` maps features left out to the reason; `filled` counts absent values that were set to the median.
    """

    z: Matrix
    scaling: RobustScaling
    dropped: Mapping[str, str]
    filled: int

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.scaling.features

    @property
    def sentence(self) -> str:
        """Which features were used, in words."""
        dropped = (
            f"; {len(self.dropped)} left out because they are absent in too many cells or do not vary"
            if self.dropped
            else ""
        )
        filled = f"; {self.filled:,} absent values stand at the median" if self.filled else ""
        return (
            f"{len(self.z):,} cells by {len(self.features)} features, each in robust standard deviations from its"
            f" median{dropped}{filled}."
        )

    def place(self, values: Matrix) -> Matrix:
        """Scale other cells, (m, F) with the columns of `features`, in the same way."""
        return np.nan_to_num(self.scaling.z(values), nan=0.0)


@dataclass(frozen=True, eq=False)
class PrincipalAxes:
    """Directions in which the cells vary most.

    `scores` (n, k) are the cells' places in robust standard deviations, `explained` (k,) the shares of the variance,
    `loadings` (F, k) unit vectors, each turned so that its largest entry is positive, and `words` name the features
    that make up each axis.
    """

    scores: Matrix
    explained: Matrix
    loadings: Matrix
    mean: Matrix
    words: tuple[str, ...]

    def place(self, z: Matrix) -> Matrix:
        """Scores (m, k) of other cells (m, F), scaled as these were (`Prepared.place`)."""
        scores: Matrix = (z - self.mean) @ self.loadings
        return scores


@dataclass(frozen=True, eq=False)
class Umap:
    """A map of cells: `xy` (m, 2) are the places of the cells in `rows`, all of them or a sample of the `n`."""

    xy: NDArray[np.float32]
    rows: NDArray[np.int64]
    n: int
    seed: int
    seconds: float

    @property
    def sentence(self) -> str:
        """How it was made."""
        sample = (
            f"a sample of {len(self.rows):,} of {self.n:,} cells" if len(self.rows) < self.n else f"{self.n:,} cells"
        )
        return (
            f"UMAP of {sample} ({NEIGHBOURS} neighbours, least distance {MIN_DIST}, seed {self.seed}): cells that lie"
            " together are alike; distances between clouds mean little."
        )

    def place(self, query: Matrix, z: Matrix) -> tuple[float, float]:
        """Where another cell (F,) would lie, roughly: the weighted mean of its nearest cells, the nearer weighing more.

        `z` (n, F) are all cells that the map was asked for, in their order. Raises UsageError if the cell has no
        features.
        """
        neighbours = nearest(query, z[self.rows], count=NEIGHBOURS)
        weights = 1 / np.maximum(neighbours.distances, 1e-6)
        x, y = (weights @ self.xy[neighbours.rows]) / weights.sum()
        return float(x), float(y)


@dataclass(frozen=True)
class UmapState:
    """State of a map: there (`umap`), computing since `started` (seconds since 1970), failed (`problem`), absent."""

    umap: Umap | None = None
    started: float | None = None
    problem: str | None = None


def prepare(matrix: Matrix, features: Sequence[str]) -> Prepared:
    """Scale cells for an embedding.

    Parameters
    ----------
    matrix
        (n, F); nan where absent.
    features
        Names of the columns.

    Raises
    ------
    UsageError
        If there are fewer than `FEWEST_CELLS` cells, or fewer than two features are left.
    """
    if len(matrix) < FEWEST_CELLS:
        msg = (
            f"at least {FEWEST_CELLS} cells are needed to lay them out in a plane, but {len(matrix)} are chosen; choose"
            " more"
        )
        raise UsageError(msg)
    absent = np.isnan(matrix).mean(axis=0)
    scale = RobustScaling.fit(matrix, features).scale
    dropped = {}
    for name, share, spread in zip(features, absent, scale, strict=True):
        if share > MOST_ABSENT:
            dropped[name] = f"absent in {100 * share:.0f} % of the cells"
        elif np.isnan(spread):
            dropped[name] = "does not vary"
    kept = [name not in dropped for name in features]
    names = [name for name in features if name not in dropped]
    if len(names) < 2:
        msg = (
            f"at least two features that vary are needed to lay cells out in a plane, but {len(names)} are left; choose"
            " others"
        )
        raise UsageError(msg)
    scaling = RobustScaling.fit(matrix[:, kept], names)
    z = scaling.z(matrix[:, kept])
    filled = int(np.count_nonzero(np.isnan(z)))
    return Prepared(np.nan_to_num(z, nan=0.0, copy=False), scaling, dropped, filled)


def principal_axes(prepared: Prepared) -> PrincipalAxes:
    """Principal components of the scaled features, at most ten."""
    z = prepared.z
    mean = z.mean(axis=0)
    # The decomposition of the (F, F) covariance has the same axes as that of all cells, whatever their number.
    covariance = (z.T @ z) / len(z) - np.outer(mean, mean)
    variances, vectors = np.linalg.eigh(covariance)
    count = min(_AXES, len(variances))
    variances, vectors = np.maximum(variances[::-1], 0), vectors[:, ::-1][:, :count]
    largest = np.argmax(np.abs(vectors), axis=0)
    vectors = vectors * np.sign(vectors[largest, np.arange(count)])
    explained = variances[:count] / variances.sum()
    deviation = np.sqrt(np.diag(covariance))
    correlation = np.abs(covariance / np.maximum(np.outer(deviation, deviation), 1e-12))
    words = tuple(
        _words(number, explained[number], vectors[:, number], correlation, prepared.features) for number in range(count)
    )
    return PrincipalAxes((z - mean) @ vectors, explained, vectors, mean, words)


def _words(
    number: int, share: float, loadings: Matrix, correlation: Matrix, features: Sequence[str], most: int = 4
) -> str:
    """Name the features that make up an axis, skipping one that only repeats another named before."""
    named: list[int] = []
    for column in np.argsort(-np.abs(loadings), kind="stable"):
        if len(named) < most and not any(correlation[column, other] >= SAME_THING for other in named):
            named.append(int(column))
    more = "; ".join(feature_spec(features[i]).label for i in named if loadings[i] > 0)
    less = "; ".join(feature_spec(features[i]).label for i in named if loadings[i] < 0)
    return f"Axis {number + 1}, {100 * share:.0f} % of the variance: more {more}" + (f", less {less}." if less else ".")


def umap_key(revision: str, selection: str, features: Sequence[str], seed: int) -> str:
    """Name of a map in the folder: another cohort, selection, choice of features or seed is another map."""
    text = json.dumps([revision, selection, list(features), seed, NEIGHBOURS, MIN_DIST, MOST_CELLS])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class UmapCache:
    """The folder in which maps are computed and kept; any number of servers may share it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def look(self, key: str) -> UmapState:
        """State of a map; takes no time."""
        if (umap := _read(self._path(key, ".npz"))) is not None:
            return UmapState(umap=umap)
        lock = self._path(key, ".lock")
        if not lock.exists():
            return UmapState()
        if any(locks.is_locked(held) for held in (lock, self._path(key, ".running"))):
            return UmapState(started=lock.stat().st_mtime)
        if (umap := _read(self._path(key, ".npz"))) is not None:  # it may have ended since the first look
            return UmapState(umap=umap)
        return UmapState(problem=self._last_words(key))

    def start(self, key: str, prepared: Prepared, seed: int = 0) -> None:
        """Start computing a map in a process of its own, unless it is there or being computed; does not wait for it.

        Raises
        ------
        StoreError
            If the folder cannot be written to, or the process cannot be started.
        """
        try:
            lock = locks.try_lock(self._path(key, ".lock"), wait_s=_LOOK_S)
            if lock is None:
                return
            with ExitStack() as here:
                here.enter_context(lock)
                if locks.is_locked(self._path(key, ".running")) or _read(self._path(key, ".npz")) is not None:
                    return
                os.utime(self._path(key, ".lock"))
                child = self._launch(key, prepared, seed)
                # Without somebody who waits for it, a child that ended stays in the process table as long as the server
                # runs.
                threading.Thread(target=_wait, args=(child, lock), daemon=True, name=f"waits for map {key}").start()
                here.pop_all()  # now it is the thread that gives the lock back
        except OSError as error:
            msg = (
                f"the map cannot be computed: {error.strerror or error}; check the free space and the permissions of"
                f" {error.filename or self._folder}"
            )
            raise StoreError(msg) from error

    def _launch(self, key: str, prepared: Prepared, seed: int) -> subprocess.Popen[bytes]:
        n = len(prepared.z)
        rows = (
            np.arange(n)
            if n <= MOST_CELLS
            else np.sort(np.random.default_rng(seed).choice(n, MOST_CELLS, replace=False))
        )
        _write(
            self._path(key, ".input.npz"),
            z=prepared.z[rows].astype(np.float32),
            rows=rows,
            n=np.array(n),
            seed=np.array(seed),
        )
        # One thread: with a seed, UMAP uses no more, and numba would start as many as there are cores.
        environment = {**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self._path(key, ".log").open("wb") as log:
            # A session of its own: neither the server's end nor a Ctrl-C in its terminal reaches it.
            return subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._path(key, ""))],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _last_words(self, key: str) -> str:
        """The last line the process said, which names the error where there was one."""
        with suppress(FileNotFoundError):
            lines = self._path(key, ".log").read_bytes()[-_LOG_TAIL:].decode("utf-8", "replace").splitlines()
            for line in reversed(lines):
                if line.strip():
                    return line.strip()
        return "The computation of the map ended before it was done; start it again."

    def _path(self, key: str, suffix: str) -> Path:
        return self._folder / f"{key}{suffix}"


def _wait(child: subprocess.Popen[bytes], lock: locks.FileLock) -> None:
    with lock:
        child.wait()


def _write(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write whole or not at all."""
    with files.replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read(path: Path) -> Umap | None:
    """Return a map; None if there is none or a power cut left a part of it."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            return Umap(stored["xy"], stored["rows"], int(stored["n"]), int(stored["seed"]), float(stored["seconds"]))
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):
        return None


def _compute(stem: Path) -> None:
    """Compute the map of `<stem>.input.npz`; the child's whole work."""
    running = locks.try_lock(stem.with_name(f"{stem.name}.running"), wait_s=_LOOK_S)
    if running is None:  # the server that started it is gone, and another has started it again
        return
    if hasattr(os, "nice"):  # not on Windows
        os.nice(10)  # pages come first
    source = stem.with_name(f"{stem.name}.input.npz")
    with running, locks.lock(stem.with_name("turn")):
        with np.load(source) as stored:
            z, rows, n, seed = stored["z"], stored["rows"], stored["n"], stored["seed"]
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # tensorflow is not there for a kind of map that is not made, a seed allows one thread only
            import umap  # takes seconds and compiles: only here
            from sklearn.neighbors import NearestNeighbors

            # Neighbours found exactly: the search that umap-learn would use compiles for four times as long as all the
            # rest takes.
            distances, indices = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(z).kneighbors(z)
            known = indices.astype(np.int32), distances.astype(np.float32)
            model = umap.UMAP(
                n_neighbors=NEIGHBOURS, min_dist=MIN_DIST, random_state=int(seed), n_jobs=1, precomputed_knn=known
            )
            xy = np.asarray(model.fit_transform(z), dtype=np.float32)
        _write(
            stem.with_name(f"{stem.name}.npz"),
            xy=xy,
            rows=rows,
            n=n,
            seed=seed,
            seconds=np.array(time.perf_counter() - began),
        )
    source.unlink()
    _remove_old(stem.parent, _KEPT)


def _remove_old(folder: Path, kept: int) -> None:
    """Keep the newest maps only."""
    results = (path for path in folder.glob("*.npz") if not path.name.endswith(".input.npz"))
    for old in sorted(results, key=lambda path: path.stat().st_mtime, reverse=True)[kept:]:
        for suffix in (".npz", ".lock", ".running", ".log"):
            old.with_name(old.stem + suffix).unlink(missing_ok=True)


if __name__ == "__main__":
    _compute(Path(sys.argv[1]))
