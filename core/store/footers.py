"""Descriptions of Parquet files, read once: of a shard of 750 columns that takes longer than to read two of them."""

from functools import lru_cache
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

_MOST_KEPT: Final = 16  # of 2 MB each


def open_shard(path: Path, buffer_size: int = 0) -> pq.ParquetFile:
    """A Parquet file opened for reading, its description as it was read when the file had this size and time of change.

    Raises
    ------
    OSError, pyarrow.ArrowException
        If it is gone or damaged.
    """
    stat = path.stat()
    return pq.ParquetFile(path, metadata=_footer(path, stat.st_size, stat.st_mtime_ns), buffer_size=buffer_size)


@lru_cache(maxsize=_MOST_KEPT)
def _footer(path: Path, _size: int, _changed_ns: int) -> pq.FileMetaData:
    return pq.read_metadata(path)
