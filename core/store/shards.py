"""Populations on disk: a folder with `population.json` and Parquet shards, each visible only when it is complete.

`<root>/<population_id>/population.json`, `<root>/<population_id>/cells-*.parquet`. Names that start with a dot are unfinished or
on their way out and are never read.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import StoreError
from core.settings import load_settings
from core.store.schema import CellRow, Population, arrow_schema, check_population_id

_DESCRIPTION: Final = "population.json"
_SHARDS: Final = "cells-*.parquet"


@dataclass(frozen=True)
class StoredPopulation:
    """A population found on disk; `shards` are its complete Parquet files in a stable order."""

    population: Population
    root: Path
    shards: tuple[Path, ...]


@dataclass(frozen=True)
class Scan:
    """What the roots hold at one moment; `problems` tells per folder why it could not be read."""

    populations: dict[str, StoredPopulation]
    problems: dict[Path, StoreError]
    revision: str


def write_population(
    root: Path, population: Population, batches: Iterable[Sequence[CellRow]], *, replace: bool = False, shipped: bool = False
) -> int:
    """Write a whole population; it appears at once when all is written, or not at all.

    Parameters
    ----------
    root : Path
        Folder of populations, made if it is missing.
    population : Population
        Its description.
    batches : iterable of sequences of rows
        One shard per batch; a cell whose `cell_id` came before is left out.
    replace : bool
        Put it in the place of a population of the same id.
    shipped : bool
        Allow writing into the reference folder that is shipped; only the build of the reference cohort says so.

    Returns
    -------
    int
        Number of cells written.

    Raises
    ------
    StoreError
        If the id is taken and not `replace`, the root is the shipped one and not `shipped`, or the disk refuses.
    """
    _check_writable(root, shipped=shipped)
    target = root / population.population_id
    if target.exists() and not replace:
        msg = f"there is a population {population.population_id!r} already; replace or delete it, or choose another id"
        raise StoreError(msg)
    with _disk_errors(target):
        root.mkdir(parents=True, exist_ok=True)
        staging = root / f".{population.population_id}-{uuid.uuid4().hex}"
        staging.mkdir()
        try:
            _write_description(staging, population)
            seen: set[str] = set()
            token = uuid.uuid4().hex  # no shard ever takes the name of another: a reader cannot mix old and new ones
            for number, batch in enumerate(batches):
                _write_shard(staging, f"cells-{token}-{number:04d}.parquet", population.population_id, _unseen(batch, seen))
            _put_in_place(staging, target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return len(seen)


def append_cells(root: Path, population_id: str, rows: Sequence[CellRow], *, shipped: bool = False) -> int:
    """Add one shard to a population; cells that are there already (same `cell_id`) are left out. Returns the number written.

    Raises
    ------
    StoreError
        If there is no such population, the root is the shipped one and not `shipped`, or the disk refuses.
    """
    _check_writable(root, shipped=shipped)
    folder = _existing(root, population_id)
    with _disk_errors(folder):
        seen = {cell_id for shard in sorted(folder.glob(_SHARDS)) for cell_id in _read_ids(shard)}
        fresh = _unseen(rows, seen)
        if fresh:
            _write_shard(folder, f"cells-{uuid.uuid4().hex}.parquet", population_id, fresh)
    return len(fresh)


def delete_population(root: Path, population_id: str, *, shipped: bool = False) -> None:
    """Delete a population with all its cells; raises StoreError as `append_cells` does."""
    _check_writable(root, shipped=shipped)
    folder = _existing(root, population_id)
    with _disk_errors(folder):
        doomed = root / f".{population_id}-{uuid.uuid4().hex}"
        folder.rename(doomed)  # gone for readers at once; removing files one by one would show them a part of it
        shutil.rmtree(doomed)


def scan(roots: Sequence[Path]) -> Scan:
    """List the populations of all roots, root by root and by id; a missing root holds none.

    Where two roots hold the same id the earlier root's is taken and the other is a problem.
    """
    populations: dict[str, StoredPopulation] = {}
    problems: dict[Path, StoreError] = {}
    digest = hashlib.sha256()
    for root in roots:
        for description in sorted(root.glob(f"[!.]*/{_DESCRIPTION}")):
            folder = description.parent
            shards = tuple(sorted(folder.glob(_SHARDS)))
            try:
                digest.update(_fingerprint([description, *shards]))
                population = Population.from_json(description.read_text(encoding="utf-8"), str(description))
            except FileNotFoundError:  # deleted while we looked
                continue
            except StoreError as error:
                problems[folder] = error
                continue
            except (OSError, UnicodeDecodeError) as error:
                problems[folder] = StoreError(f"{description}: cannot be read ({error}); import the population again")
                continue
            if population.population_id != folder.name:
                problems[folder] = StoreError(
                    f"{description}: names the population {population.population_id!r}; give the folder that name"
                )
            elif folder.name in populations:
                problems[folder] = StoreError(f"{folder}: the id is taken by {populations[folder.name].root}; rename one of the two")
            else:
                populations[folder.name] = StoredPopulation(population, root, shards)
    return Scan(populations, problems, digest.hexdigest())


def find_damaged(shards: Sequence[Path]) -> Path | None:
    """Return the first shard that cannot be read from beginning to end; one that is gone is not damaged."""
    for shard in shards:
        try:
            pq.read_table(shard, use_threads=False)
        except FileNotFoundError:
            continue
        except (OSError, pa.ArrowException):
            return shard
    return None


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file (zstd) that appears under its name only when it is complete and on disk."""
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_shard(folder: Path, name: str, population_id: str, rows: Sequence[CellRow]) -> None:
    strangers = {row["population"] for row in rows} - {population_id}
    if strangers:
        msg = f"every row of population {population_id!r} must say so, but some say {sorted(strangers)}"
        raise StoreError(msg)
    write_parquet(folder / name, pa.Table.from_pylist(list(rows), schema=arrow_schema()))


def _write_description(folder: Path, population: Population) -> None:
    with (folder / _DESCRIPTION).open("w", encoding="utf-8", newline="\n") as file:
        file.write(population.to_json())
        file.flush()
        os.fsync(file.fileno())


def _put_in_place(staging: Path, target: Path) -> None:
    """Move a finished folder to its name; what was there before goes out of sight first."""
    if not target.exists():
        staging.rename(target)
        return
    doomed = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    target.rename(doomed)
    try:
        staging.rename(target)
    except OSError:
        doomed.rename(target)
        raise
    shutil.rmtree(doomed)


def _unseen(rows: Sequence[CellRow], seen: set[str]) -> list[CellRow]:
    """Return the rows with a new cell_id and remember them in `seen`."""
    fresh = []
    for row in rows:
        if row["cell_id"] not in seen:
            seen.add(row["cell_id"])
            fresh.append(row)
    return fresh


def _read_ids(shard: Path) -> list[str]:
    try:
        ids: list[str] = pq.read_table(shard, columns=["cell_id"])["cell_id"].to_pylist()
    except (pa.ArrowException, KeyError) as error:
        raise damaged(shard) from error
    return ids


def damaged(shard: Path) -> StoreError:
    """Return the error for a shard that cannot be read."""
    return StoreError(f"{shard} is damaged and cannot be read; delete the file or import the population again")


def _existing(root: Path, population_id: str) -> Path:
    folder = root / check_population_id(population_id)
    if not (folder / _DESCRIPTION).is_file():
        there = ", ".join(sorted(p.parent.name for p in root.glob(f"[!.]*/{_DESCRIPTION}"))) or "none"
        msg = f"there is no population {population_id!r}; there are: {there}"
        raise StoreError(msg)
    return folder


def is_shipped(root: Path) -> bool:
    """Whether a root is the folder of the reference populations that come with the program."""
    return root.resolve() == load_settings().reference.resolve()


def _check_writable(root: Path, *, shipped: bool) -> None:
    if is_shipped(root) and not shipped:
        msg = "the reference populations are shipped with the program and stay as they are; use the folder of your own populations"
        raise StoreError(msg)


def _fingerprint(files: Sequence[Path]) -> bytes:
    """Path, size and time of change of each file: differs when any of them does."""
    stats = [(str(file), file.stat()) for file in files]
    return json.dumps([(name, s.st_size, s.st_mtime_ns) for name, s in stats]).encode()


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into words."""
    try:
        yield
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror or error}; check the free space and the permissions of the folder"
        raise StoreError(msg) from error
