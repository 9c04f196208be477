"""Columns of shards kept in memory, so that questions to the cohort do not decode the same files again.

Opening a shard of 750 columns costs more than reading two of them, and a person asks many questions about few columns.
A shard never changes under its name, so nothing here can be stale: the key of a column is its file as it is on disk.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from core.store.footers import open_shard
from core.store.schema import FORMER_NAMES, OUTLINE_COLUMNS, cohort_schema, is_former, present_values

# Long texts and outlines are read of few cells at a time and would push everything else out; those of versions are the
# same in many cells.
UNKEPT: Final = frozenset({*OUTLINE_COLUMNS, "absent"})

_BUDGET: Final = 400 * 2**20  # bytes; 50 features of a million cells
_REQUEST: Final = 256 * 2**20  # the most that one question may bring in

_File = tuple[Path, int, int]  # with size and time of change


class ColumnCache:
    """The columns last asked for, up to a number of bytes; safe to share between threads."""

    def __init__(self, budget: int = _BUDGET, request: int = _REQUEST) -> None:
        self._budget = budget
        self._request = request
        self._lock = threading.Lock()
        self._schema = cohort_schema()
        self._rows: dict[_File, int] = {}
        self._arrays: OrderedDict[tuple[_File, str], pa.Array] = OrderedDict()
        self._bytes = 0

    def table(self, shards: Sequence[Path], names: Sequence[str]) -> pa.Table | None:
        """Some columns of all cells of some shards, in their order; null where a shard lacks one.

        None where they are not to be kept (`UNKEPT`) or too much: read the files then.

        Raises
        ------
        OSError, pyarrow.ArrowException
            If a shard is gone or damaged.
        """
        if not shards or UNKEPT.intersection(names):
            return None
        files = [(shard, stat.st_size, stat.st_mtime_ns) for shard in shards for stat in [shard.stat()]]
        with self._lock:
            for file in files:
                if file not in self._rows:
                    with open_shard(file[0]) as opened:
                        self._rows[file] = opened.metadata.num_rows
            if 8 * len(names) * sum(self._rows[file] for file in files) > self._request:
                return None
            tables = [self._of_file(file, names) for file in files]
            self._forget()
        return pa.concat_tables(tables).unify_dictionaries()

    def _of_file(self, file: _File, names: Sequence[str]) -> pa.Table:
        missing = [name for name in names if (file, name) not in self._arrays]
        if missing:
            self._read(file, missing)
        for name in names:
            self._arrays.move_to_end((file, name))
        return pa.table({name: self._arrays[file, name] for name in names})

    def _read(self, file: _File, names: Sequence[str]) -> None:
        path, rows = file[0], self._rows[file]
        with open_shard(path) as opened:
            stored = set(opened.schema_arrow.names)
            former = is_former(stored)
            called = {name: name if name in stored else FORMER_NAMES.get(name, name) for name in names}
            there = {name: called[name] for name in names if called[name] in stored}
            table = opened.read(columns=list(there.values()))
        for name in names:
            kind = self._schema.field(name).type
            array = table[there[name]].cast(kind).combine_chunks() if name in there else pa.nulls(rows, kind)
            if former:
                array = present_values(name, array)
            # Texts that say the same of many cells are kept once.
            if pa.types.is_string(kind) and name != "cell_id":
                array = array.dictionary_encode()
            self._arrays[file, name] = array
            self._bytes += array.nbytes

    def _forget(self) -> None:
        while self._bytes > self._budget:
            _, array = self._arrays.popitem(last=False)
            self._bytes -= array.nbytes
            if self._bytes <= self._budget:
                pa.default_memory_pool().release_unused()
