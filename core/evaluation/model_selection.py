"""Results of model selection on disk: one row per trained fold, its Dice per image, its training curve.

They can be read while a run goes on. `<root>/<run_id>/config.toml`, three tables (`folds`, `images`, `epochs`) as
`<table>.parquet`, and `units/<unit>/<table>.parquet` for folds that ended since. A unit is one fold of one architecture
under one protocol; its folder appears in one step when all three of its files are complete, so a unit is there once or
not at all. `compact` moves the units into the three tables. What the architectures cost is in `costs.parquet`, once
`python -m export.cost` has measured it.
"""

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from core.domain.errors import StoreError
from core.domain.settings import load_settings
from core.support import files

_UNIT: Final = {
    "run_id": pa.string(),
    "protocol": pa.string(),
    "k": pa.int32(),
    "fold": pa.int32(),
    "architecture": pa.string(),
}

# Under a run's folder: what is of use only until the run is complete.
WORK_FOLDER: Final = ".work"

CONFIG_FILE: Final = "config.toml"
PUBLISHED_FILE: Final = "published_model_selection.csv"

_COSTS: Final = "costs.parquet"

# What identifies a unit, in every table.
UNIT_COLUMNS: Final = tuple(_UNIT)

SCHEMAS: Final[Mapping[str, pa.Schema]] = MappingProxyType(
    {
        # Dice are means over the images of the validation fold, on the network's grid; null, as is loss, where `status`
        # is not "done".
        "folds": pa.schema(
            {
                **_UNIT,
                "encoder": pa.string(),
                "dice_nucleus": pa.float64(),
                "dice_cytoplasm": pa.float64(),
                "dice_mean": pa.float64(),
                "loss": pa.float64(),
                "epochs": pa.int32(),
                "seconds": pa.float64(),
                "cpu_seconds": pa.float64(),
                "peak_memory_mb": pa.float64(),
                "parameters": pa.int64(),
                "seed": pa.int64(),
                "versions": pa.string(),
                "commit": pa.string(),
                "status": pa.string(),
                "reason": pa.string(),
                "data_sets": pa.string(),
                "input_size": pa.int32(),
                "images_train": pa.int32(),
                "images_validation": pa.int32(),
                "images_drawn": pa.int64(),
                "device": pa.string(),
                "precision": pa.string(),
                "finished": pa.string(),
            }
        ),
        # One row per item of the validation fold; `copy` is 0 for the original, 1 to 15 for its rotations and flips.
        "images": pa.schema(
            {
                **_UNIT,
                "sample_id": pa.string(),
                "copy": pa.int32(),
                "cell_type": pa.string(),
                "dice_nucleus": pa.float64(),
                "dice_cytoplasm": pa.float64(),
            }
        ),
        # The curve: validation on every sixteenth item of the fold, of the averaged weights.
        "epochs": pa.schema(
            {
                **_UNIT,
                "epoch": pa.int32(),
                "train_loss": pa.float64(),
                "val_loss": pa.float64(),
                "val_dice_nucleus": pa.float64(),
                "val_dice_cytoplasm": pa.float64(),
                "learning_rate": pa.float64(),
                "seconds": pa.float64(),
            }
        ),
    }
)

# One row per architecture, encoder and input size: what one image of that size, in pixels, costs on `machine`. `macs`
# are multiply-adds, `onnx_mb` counts 10**6 bytes; milliseconds are of onnxruntime (median and quartiles) and of eager
# PyTorch (median), with so many threads.
COST_SCHEMA: Final = pa.schema(
    {
        "architecture": pa.string(),
        "encoder": pa.string(),
        "input_size": pa.int32(),
        "parameters": pa.int64(),
        "macs": pa.int64(),
        "onnx_mb": pa.float64(),
        "milliseconds": pa.float64(),
        "milliseconds_q1": pa.float64(),
        "milliseconds_q3": pa.float64(),
        "torch_milliseconds": pa.float64(),
        "threads": pa.int32(),
        "machine": pa.string(),
        "versions": pa.string(),
        "measured": pa.string(),
    }
)


def run_folders(root: Path | None = None) -> list[Path]:
    """Folders of runs under `root` (default: the settings' results folder), sorted; empty where there are none."""
    base = root or load_settings().selection
    return sorted(path for path in base.iterdir() if (path / CONFIG_FILE).is_file()) if base.is_dir() else []


def published(folder: Path) -> pd.DataFrame | None:
    """The thesis's comparison of architectures, under the names of our configs, best first; None where it is missing.

    It lies with the reference data in `folder`.
    """
    path = folder / PUBLISHED_FILE
    if not path.is_file():
        return None
    table = pd.read_csv(path)
    # It writes them as its library's classes are called.
    named = table.assign(architecture=table["architecture"].str.lower())
    return named.sort_values("mean_dice_percent", ascending=False)


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of a run; raises StoreError naming a damaged file."""
    path = folder / CONFIG_FILE
    try:
        return tomllib.loads(files.read_text(path))
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read ({error}); put the file back that the selection was started with"
        raise StoreError(msg) from error


def planned(config: Mapping[str, Any]) -> int:
    """How many folds a run of these settings has in all."""
    folds: int = sum(config["k"])
    return folds * (len(config["grouped"]) + len(config["as_published"]))


def signature(folder: Path) -> str:
    """Text that changes with every fold that ends: a key for caches of a run's tables."""
    files = [*folder.glob("*.parquet"), *folder.glob("units/*")]
    return " ".join(f"{path.name}:{path.stat().st_mtime_ns}" for path in sorted(files) if path.exists())


def read(folder: Path, table: str) -> pd.DataFrame:
    """One of the three tables of a run as far as it is there, each unit once; raises StoreError if damaged."""
    # Units before the compacted table: one that vanishes in between is in the table that is read after it.
    paths = sorted(folder.glob(f"units/*/{table}.parquet"))
    parts = [
        part for path in [*paths, folder / f"{table}.parquet"] if (part := _read_file(path, SCHEMAS[table])) is not None
    ]
    if not parts:
        empty: pd.DataFrame = SCHEMAS[table].empty_table().to_pandas()
        return empty
    known: set[tuple[Any, ...]] = set()
    frames = []
    for part in parts:
        frame = part.to_pandas()
        keys = list(frame[list(UNIT_COLUMNS)].itertuples(index=False, name=None))
        frames.append(frame[pd.Series([key not in known for key in keys], dtype=bool)])
        known.update(keys)
    everything = pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
    detail = [column for column in ("sample_id", "copy", "epoch") if column in everything]
    return everything.sort_values([*UNIT_COLUMNS, *detail], ignore_index=True)  # type: ignore[no-any-return]


def _read_file(path: Path, schema: pa.Schema, remedy: str = "run the selection again") -> pa.Table | None:
    try:
        return pq.read_table(path, schema=schema, partitioning=None)
    except FileNotFoundError:
        return None
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{path} is damaged ({error}); delete it, or take it back from the repository, and {remedy}"
        raise StoreError(msg) from error


def finished(folder: Path) -> set[tuple[Any, ...]]:
    """The units of a run that have a row, as tuples of UNIT_COLUMNS."""
    return set(read(folder, "folds")[list(UNIT_COLUMNS)].itertuples(index=False, name=None))


def add_unit(folder: Path, unit: str, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> bool:
    """Add the rows of one unit in all three tables at once; False, and nothing changed, if it is there already.

    `unit` is the name of its folder. Raises OSError if the disk refuses.
    """
    place, work = folder / "units" / unit, folder / WORK_FOLDER
    for needed in (place.parent, work):
        needed.mkdir(parents=True, exist_ok=True)
    try:
        with files.replacing(place, work=work) as unfinished:
            unfinished.mkdir()
            for table, schema in SCHEMAS.items():
                rows = pa.Table.from_pylist(list(tables[table]), schema=schema)
                pq.write_table(rows, unfinished / f"{table}.parquet", compression="zstd")
    except OSError:
        if place.exists():
            return False
        raise
    return True


def compact(folder: Path) -> None:
    """Move all units into the three tables.

    Killed at any moment it leaves every unit readable, once; run by one process at a time.
    """
    units = sorted((folder / "units").glob("*"))
    # Folds last: a unit counts as finished by its row there, and by then its other rows are in place.
    for table in ("images", "epochs", "folds"):
        _replace(folder, table, read(folder, table))
    for unit in units:
        shutil.rmtree(unit)
    with suppress(OSError):  # not empty: somebody has added to the run meanwhile
        (folder / "units").rmdir()


def discard_failed(folder: Path) -> int:
    """Delete the units whose status is not "done", so that they are run again; returns how many. Not during a run."""
    folds = read(folder, "folds")
    failed = folds.loc[folds["status"] != "done", list(UNIT_COLUMNS)]
    if failed.empty:
        return 0
    compact(folder)
    # Folds first: what has no row there is run again, and replaces what is left of it elsewhere.
    for table in ("folds", "images", "epochs"):
        rows = read(folder, table)
        _replace(
            folder,
            table,
            rows[~pd.MultiIndex.from_frame(rows[list(UNIT_COLUMNS)]).isin(pd.MultiIndex.from_frame(failed))],
        )
    return len(failed)


def read_costs(folder: Path) -> pd.DataFrame:
    """What the architectures of a run cost (COST_SCHEMA), empty if not measured; raises StoreError if damaged."""
    costs = _read_file(folder / _COSTS, COST_SCHEMA, "run `python -m export.cost` on the run's folder again")
    frame: pd.DataFrame = (COST_SCHEMA.empty_table() if costs is None else costs).to_pandas()
    return frame


def write_costs(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Replace the costs of a run by these rows of COST_SCHEMA, in one step; returns the file, raises OSError."""
    return _put(folder / _COSTS, pa.Table.from_pylist(list(rows), schema=COST_SCHEMA))


def _replace(folder: Path, table: str, rows: pd.DataFrame) -> None:
    _put(folder / f"{table}.parquet", pa.Table.from_pandas(rows, schema=SCHEMAS[table], preserve_index=False))


def _put(path: Path, table: pa.Table) -> Path:
    with files.replacing(path) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")
    return path
