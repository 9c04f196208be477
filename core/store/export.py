"""Cells as files to download: CSV that a spreadsheet opens safely, and Parquet."""

import io
from pathlib import Path

import pandas as pd
import pyarrow as pa

from core.store.schema import OUTLINE_COLUMNS, cohort_schema, guarded
from core.store.shards import write_parquet
from core.support.text import encodable


def to_csv(frame: pd.DataFrame, *, excel: bool = False) -> bytes:
    """Return cells as CSV (RFC 4180, UTF-8, with a header), without outlines; lists become words separated by blanks.

    Text that a spreadsheet would take for a formula gets a leading apostrophe, column names too; numbers never do. For
    Excel a mark at the beginning says that it is UTF-8, which Excel does not see otherwise.
    """
    flat = frame.drop(columns=[name for name in OUTLINE_COLUMNS if name in frame])
    for name in flat.columns:
        if not (pd.api.types.is_numeric_dtype(flat[name]) or pd.api.types.is_datetime64_any_dtype(flat[name])):
            flat[name] = flat[name].map(_as_text)
    # With the line end of RFC 4180 a carriage return inside a text is quoted, and cannot begin a row of its own.
    text = flat.rename(columns=guarded).to_csv(index=False, lineterminator="\r\n")
    return text.encode("utf-8-sig" if excel else "utf-8")


def to_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write cells as Parquet with each known column's type, description and unit; it appears only when complete."""
    schema = cohort_schema()
    texts = frame.select_dtypes(["object", "string"]).columns
    frame = frame.assign(
        **{
            name: frame[name].map(lambda value: encodable(value) if isinstance(value, str) else value)
            for name in texts
            if name not in OUTLINE_COLUMNS
        }
    )
    others = pa.Table.from_pandas(
        frame[[name for name in frame.columns if name not in schema.names]], preserve_index=False
    ).schema
    wanted = pa.schema(
        [(schema if name in schema.names else others).field(name) for name in frame.columns], metadata=schema.metadata
    )
    write_parquet(path, pa.Table.from_pandas(frame, schema=wanted, preserve_index=False))


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Return any table as Parquet, its columns as they are."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _as_text(value: object) -> object:
    """Text with a guard; lists joined; numbers (a column may mix them) and nulls unchanged."""
    if isinstance(value, str):
        return guarded(encodable(value))
    if isinstance(value, bool | int | float) or value is None:
        return value
    return guarded(encodable(" ".join(map(str, value)))) if hasattr(value, "__iter__") else value
