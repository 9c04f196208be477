"""What a shard is and says of itself, checked before any of it is believed; one bad file stays one bad file.

A shard is a regular file of Parquet in the folder of its population. Its columns have the kinds of the schema, its
rows name its population, and no cell is there twice. What fails is set aside: it is not read, and why is told wherever
the cohort is shown. Checked are the file's description and three columns, once for each state of the file (size and
time of change); whatever is damaged deeper than that is found when it is read (`read_through`).
"""

import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.store.footers import open_shard
from core.store.schema import FORMER_NAMES, cohort_schema

if TYPE_CHECKING:
    import pandas as pd

_OWN: Final = ("cell_id", "population", "cell_type")  # what every row must say
_MOST_NAMED: Final = 3
_WHAT_TO_DO: Final = "delete the file or import the population again"

_damaged: dict["ShardState", str] = {}  # found by `read_through`


@dataclass(frozen=True)
class ShardState:
    """A file as it is on disk: another size or time of change (ns) is another file."""

    path: Path
    size: int
    changed_ns: int


@dataclass(frozen=True)
class Sorted:
    """Shards of a population: those that are sound, and why others are set aside."""

    sound: tuple[Path, ...]
    set_aside: dict[Path, StoreError]


def check_within(path: Path, root: Path) -> None:
    """Raise StoreError for a link that leads out of a root, or nowhere."""
    if path.is_symlink():
        target = path.resolve()
        if not (target.is_relative_to(root.resolve()) and target.exists()):
            msg = f"{path} is a link that leads out of {root} or nowhere; it was set aside: put there what it links to"
            raise StoreError(msg)


def stamp(path: Path, root: Path) -> ShardState:
    """The state of a regular file within `root`.

    Raises
    ------
    FileNotFoundError
        If it is gone.
    StoreError
        If it is no regular file, whose reading could last for ever, or a link that leads out of the root.
    """
    check_within(path, root)
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        msg = f"{path} is no regular file but a folder, pipe or device; it was set aside: take it out of the folder"
        raise StoreError(msg)
    return ShardState(path, found.st_size, found.st_mtime_ns)


def sort_out(shards: Sequence[Path], population: str, root: Path) -> Sorted:
    """Part the sound shards of a population from those that are not; raises FileNotFoundError if one is gone."""
    stamps, set_aside = [], {}
    for shard in shards:
        try:
            stamps.append(stamp(shard, root))
            reason = _damaged.get(stamps[-1]) or _look(stamps[-1], population).flaw
        except FileNotFoundError:
            raise
        except StoreError as error:
            set_aside[shard] = error
            continue
        except OSError as error:  # not kept: whoever may read it tomorrow need not change the file
            reason = f"cannot be read ({error.strerror or error})"
        if reason:
            stamps.pop()
            set_aside[shard] = _set_aside(shard, reason)
    # Of two that hold the same cells the older one stays.
    stamps.sort(key=lambda one: (one.changed_ns, one.path.name))
    for repeats, of in _repeated(tuple(stamps), population).items():
        reason = f"holds cells that are in {of.path.name} already"
        set_aside[repeats.path] = _set_aside(repeats.path, reason)
    return Sorted(tuple(shard for shard in shards if shard not in set_aside), set_aside)


def read_through(shards: Sequence[Path], another: Callable[[Path], str | None] = lambda _: None) -> list[Path]:
    """Read shards from beginning to end; those that are damaged are returned, and set aside by `sort_out` from now on.

    One that is gone is not damaged. `another` reader says what it finds wrong where nothing else is.
    """
    found = []
    for shard in shards:
        try:
            state = shard.stat()
            flaw = _flaw_within(shard) or another(shard)
        except FileNotFoundError:
            continue
        except OSError as error:
            flaw = str(error)
        if flaw:
            _damaged[ShardState(shard, state.st_size, state.st_mtime_ns)] = f"is damaged and cannot be read ({flaw})"
            found.append(shard)
    return found


def damaged(shard: Path) -> StoreError:
    """Return the error for a shard that cannot be read."""
    return StoreError(f"{shard} is damaged and cannot be read; {_WHAT_TO_DO}")


def _set_aside(shard: Path, reason: str) -> StoreError:
    return StoreError(f"{shard} {reason}; it was set aside: {_WHAT_TO_DO}")


@dataclass(frozen=True, eq=False)
class _Found:
    """What is wrong with a shard, and digests of its cells' identifiers (64 bits each), in order."""

    flaw: str | None
    cells: NDArray[np.uint64]


@lru_cache(maxsize=2**16)
def _look(shard: ShardState, population: str) -> _Found:
    """Look at a shard's description and what every row must say; raises OSError where the disk refuses."""
    nothing = np.empty(0, np.uint64)
    try:
        with open_shard(shard.path) as opened:
            flaw = _flaw_of_columns(opened.schema_arrow)
            if flaw:
                return _Found(flaw, nothing)
            table = opened.read(columns=list(_OWN), use_threads=False)
        ids = table["cell_id"].to_pandas()
        flaw = _flaw_of_rows(table, ids, population)
    except UnicodeEncodeError:
        return _Found("has a name or lies in a folder whose name is no text", nothing)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        return _Found(f"is damaged and cannot be read ({_first_line(error)})", nothing)
    except OSError as error:
        if error.errno is not None:
            raise
        return _Found(f"is damaged and cannot be read ({_first_line(error)})", nothing)  # so says pyarrow
    if flaw:
        return _Found(flaw, nothing)
    from pandas.util import hash_array  # not at the top: whoever only writes shards needs no pandas

    return _Found(None, np.sort(hash_array(ids.to_numpy(object), categorize=False)))


def _flaw_of_columns(columns: pa.Schema) -> str | None:
    if missing := [name for name in _OWN if name not in columns.names]:
        return f"has no column {', '.join(missing)}"
    kinds = _kinds()
    wrong = [
        f"{name} ({found} where {kinds[name]} belongs)"
        for name, found in zip(columns.names, columns.types, strict=True)
        if name in kinds and not _fits(found, kinds[name])
    ]
    more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
    return f"has columns of another kind: {', '.join(wrong[:_MOST_NAMED])}{more}" if wrong else None


@lru_cache(maxsize=1)
def _kinds() -> dict[str, pa.DataType]:
    """Kind of each column, by its present and its former name."""
    kinds = {field.name: field.type for field in cohort_schema()}
    return kinds | {former: kinds[name] for name, former in FORMER_NAMES.items()}


def _fits(found: pa.DataType, kind: pa.DataType) -> bool:
    """Whether values of a kind can stand in a column of another: numbers for numbers, text for text."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if found == kind or pa.types.is_null(found):
        return True
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return bool(pa.types.is_floating(found) or pa.types.is_integer(found) or pa.types.is_decimal(found))
    if pa.types.is_list(kind):
        return bool(pa.types.is_list(found) or pa.types.is_large_list(found)) and _fits(
            found.value_type, kind.value_type
        )
    if pa.types.is_timestamp(kind):
        return bool(pa.types.is_timestamp(found))
    return bool(pa.types.is_string(kind) and (pa.types.is_large_string(found) or pa.types.is_string_view(found)))


def _flaw_of_rows(table: pa.Table, ids: "pd.Series[str]", population: str) -> str | None:
    others = [value for value in pc.unique(table["population"]).to_pylist() if value != population]
    if others:
        return f"holds cells of {_some(others)}, but lies in the folder of {population!r}"
    known = set(CellType)
    unknown = [value for value in pc.unique(table["cell_type"]).to_pylist() if value not in known]
    if unknown:
        return f"holds cell types that are none: {_some(unknown)}; known are {', '.join(CellType)}"
    strange = ids[~ids.str.startswith(f"{population}:", na=False).astype(bool)]
    if len(strange):
        return f"holds cells whose cell_id does not begin with '{population}:': {_some(strange.tolist())}"
    twice = ids[ids.duplicated()]
    return f"holds {len(twice)} cells twice, as {_some(twice.tolist())}" if len(twice) else None


def _some(values: Sequence[object]) -> str:
    shown = ", ".join("nothing" if value is None else repr(value) for value in values[:_MOST_NAMED])
    return shown + (" and more" if len(values) > _MOST_NAMED else "")


@lru_cache(maxsize=256)
def _repeated(shards: tuple[ShardState, ...], population: str) -> dict[ShardState, ShardState]:
    """Shards that hold a cell of one before them, each with that one."""
    kept: list[ShardState] = []
    repeats = {}
    for shard in shards:
        cells = _look(shard, population).cells
        of = next((one for one in kept if _share(cells, _look(one, population).cells)), None)
        if of is None:
            kept.append(shard)
        else:
            repeats[shard] = of
    return repeats


def _share(some: NDArray[np.uint64], others: NDArray[np.uint64]) -> bool:
    """Whether two sorted arrays have a value in common."""
    if not (len(some) and len(others)) or some[0] > others[-1] or others[0] > some[-1]:
        return False
    few, many = sorted((some, others), key=len)
    places = np.minimum(np.searchsorted(many, few), len(many) - 1)
    return bool((many[places] == few).any())


def _flaw_within(shard: Path) -> str | None:
    """What is wrong with the values of a shard; raises OSError where the disk refuses."""
    kinds = _kinds()
    try:
        with pq.ParquetFile(shard) as opened:
            for batch in opened.iter_batches(use_threads=False):
                batch.validate(full=True)
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    if name in kinds and column.type != kinds[name] and not pa.types.is_dictionary(column.type):
                        column.cast(kinds[name])
    except pa.ArrowException as error:
        return _first_line(error)
    except OSError as error:
        if error.errno is not None:
            raise
        return _first_line(error)
    return None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
