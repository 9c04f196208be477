"""Populations on disk: a folder with `population.json` and Parquet shards, each visible only when it is complete.

`<root>/<population_id>/population.json` and `<root>/<population_id>/cells-<generation>-<number>.parquet`. Only the
shards of the generation that `population.json` names belong to the population. To replace it, a new generation is
written beside the old one and `population.json` exchanged in one step, so a reader sees the old cells or the new ones,
never both and never none. Names that start with a dot are unfinished or being deleted and are never read.
"""

import dataclasses
import hashlib
import io
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.domain.errors import StoreError
from core.domain.settings import load_settings
from core.store import shard_check
from core.store.schema import CellRow, Population, arrow_schema, check_population_id
from core.support import files

_DESCRIPTION: Final = "population.json"
_ATTEMPTS: Final = 5  # a population may be replaced while it is looked at


@dataclass(frozen=True)
class StoredPopulation:
    """A population found on disk: its sound shards in a stable order, and why others were set aside.

    The `fingerprint` differs when one of its files does.
    """

    population: Population
    root: Path
    shards: tuple[Path, ...]
    set_aside: tuple[StoreError, ...] = ()
    fingerprint: bytes = b""


@dataclass(frozen=True)
class Scan:
    """What the roots hold at one moment; `problems` tells per folder or shard why it was set aside."""

    populations: dict[str, StoredPopulation]
    problems: dict[Path, StoreError]
    revision: str


def write_population(
    root: Path,
    population: Population,
    batches: Iterable[Sequence[CellRow]],
    *,
    replace: bool = False,
    shipped: bool = False,
) -> int:
    """Write a whole population; it appears at once when all is written, or not at all.

    Parameters
    ----------
    root
        Folder of populations, made if it is missing.
    population
        Its description.
    batches
        Sequences of rows, one shard each; a cell whose `cell_id` came before is left out.
    replace
        Replace a population of the same id.
    shipped
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
    check_writable(root, shipped=shipped)
    folder = root / population.population_id
    if (folder / _DESCRIPTION).exists() and not replace:
        msg = f"there is a population {population.population_id!r} already; replace or delete it, or choose another id"
        raise StoreError(msg)
    population = dataclasses.replace(population, generation=uuid.uuid4().hex)
    seen: set[str] = set()
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for batch in batches:
                _write_shard(folder, population, _unseen(batch, seen))
            files.write_bytes(folder / _DESCRIPTION, population.to_json().encode(), durable=True)
        except BaseException:
            for shard in _shards_of(folder, population):
                shard.unlink()
            with suppress(OSError):
                folder.rmdir()  # succeeds only where nothing was there before
            raise
        for leftover in set(folder.glob("cells-*")) - set(_shards_of(folder, population)):
            if not leftover.is_dir():
                leftover.unlink()
    return len(seen)


def append_cells(root: Path, population_id: str, rows: Sequence[CellRow], *, shipped: bool = False) -> int:
    """Add one shard to a population, without cells that are there already (same `cell_id`); returns how many.

    Raises
    ------
    StoreError
        If there is no such population, the root is the shipped one and not `shipped`, or the disk refuses.
    """
    check_writable(root, shipped=shipped)
    folder = _existing(root, population_id)
    with _disk_errors(folder):
        population = _read_description(folder, root)
        sound = shard_check.sort_out(_shards_of(folder, population), population_id, root).sound
        seen = {cell_id for shard in sound for cell_id in _read_ids(shard)}
        fresh = _unseen(rows, seen)
        if fresh:
            shard = _write_shard(folder, population, fresh)
            if _read_description(folder, root).generation != population.generation:
                shard.unlink(missing_ok=True)
                msg = f"population {population_id!r} was replaced while cells were added to it; add them again"
                raise StoreError(msg)
    return len(fresh)


def delete_population(root: Path, population_id: str, *, shipped: bool = False) -> None:
    """Delete a population with all its cells; raises StoreError as `append_cells` does."""
    check_writable(root, shipped=shipped)
    folder = _existing(root, population_id)
    with _disk_errors(folder):
        files.remove_folder(folder)


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
            try:
                shard_check.check_within(folder, root)
                population, found, fingerprint = _look(folder, root)
            except FileNotFoundError:  # deleted, or replaced again and again while we looked
                continue
            except StoreError as error:
                problems[folder] = error
                continue
            digest.update(fingerprint)
            if population.population_id != folder.name:
                problems[folder] = StoreError(
                    f"{description}: names the population {population.population_id!r}; give the folder that name"
                )
            elif folder.name in populations:
                problems[folder] = StoreError(
                    f"{folder}: the id is taken by {populations[folder.name].root}; rename one of the two"
                )
            else:
                populations[folder.name] = StoredPopulation(
                    population, root, found.sound, tuple(found.set_aside.values()), fingerprint
                )
                problems |= found.set_aside
    return Scan(populations, problems, digest.hexdigest())


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet file (zstd) that appears under its name only when it is complete and on disk."""
    with files.replacing(path, durable=True) as unfinished:
        pq.write_table(table, unfinished, **_packing(table.schema))


def parquet_bytes(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """A Parquet file for few rows, without the statistics and second schema of `write_parquet`, which are larger."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(
        buffer, table.schema, write_statistics=False, store_schema=False, **_packing(table.schema)
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(metadata)
    return buffer.getvalue()


def _packing(schema: pa.Schema) -> dict[str, Any]:
    # Feature values hardly repeat, but their exponents do: split into bytes they are a fifth smaller than with a
    # dictionary.
    split = [field.name for field in schema if pa.types.is_floating(field.type)]
    others = [name for name in schema.names if name not in split]
    return {"compression": "zstd", "use_dictionary": others, "use_byte_stream_split": split}


def _write_shard(folder: Path, population: Population, rows: Sequence[CellRow]) -> Path:
    strangers = {row["population"] for row in rows} - {population.population_id}
    if strangers:
        msg = f"every row of population {population.population_id!r} must say so, but some say {sorted(strangers)}"
        raise StoreError(msg)
    path = folder / f"cells-{population.generation}-{uuid.uuid4().hex}.parquet"
    write_parquet(path, pa.Table.from_pylist(list(rows), schema=arrow_schema()))
    return path


def _shards_of(folder: Path, population: Population) -> tuple[Path, ...]:
    """Complete shards of the population's generation, by name."""
    return tuple(sorted(folder.glob(f"cells-{population.generation}-*.parquet")))


def _look(folder: Path, root: Path) -> tuple[Population, shard_check.Sorted, bytes]:
    """Description, shards and fingerprint of one generation of a population.

    Raises
    ------
    FileNotFoundError
        If there is no population, or none any more.
    StoreError
        If its description is damaged.
    """
    for _ in range(_ATTEMPTS):
        population = _read_description(folder, root)
        with suppress(FileNotFoundError):  # replaced since it was described
            found = shard_check.sort_out(_shards_of(folder, population), folder.name, root)
            fingerprint = _fingerprint([folder / _DESCRIPTION, *found.sound], found.set_aside)
            if _read_description(folder, root).generation == population.generation:
                return population, found, fingerprint
    raise FileNotFoundError(folder)


def _read_description(folder: Path, root: Path) -> Population:
    """Read `population.json`; raises StoreError when it is damaged, FileNotFoundError when it is gone."""
    path = folder / _DESCRIPTION
    try:
        text = files.read_text(shard_check.stamp(path, root).path)
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read ({error}); import the population again"
        raise StoreError(msg) from error
    return Population.from_json(text, str(path))


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
        raise shard_check.damaged(shard) from error
    return ids


def literal(path: Path) -> str:
    """The path as DuckDB takes it literally: `*`, `?` and `[` in it would make a pattern that other files may match."""
    return re.sub(r"[*?[]", r"[\g<0>]", str(path))


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


def check_writable(root: Path, *, shipped: bool = False) -> None:
    """Raise StoreError for the folder of the reference populations, unless `shipped`."""
    if is_shipped(root) and not shipped:
        msg = (
            "the reference populations are shipped with the program and stay as they are; use the folder of your own"
            " populations"
        )
        raise StoreError(msg)


def _fingerprint(files: Sequence[Path], set_aside: Iterable[Path]) -> bytes:
    """Path, size and time of change of each file, and what is set aside: differs when any of them does."""
    stats = [(str(file), file.stat()) for file in files]
    told = [(name, s.st_size, s.st_mtime_ns) for name, s in stats]
    return json.dumps([told, sorted(map(str, set_aside))]).encode()


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into words."""
    try:
        yield
    except OSError as error:
        # A full disk names the file, in `files.replacing`.
        msg = (
            f"cannot write {error.filename or path}: {error.strerror or error}; check the free space and the"
            " permissions of the folder"
        )
        raise StoreError(msg) from error
