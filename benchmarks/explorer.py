"""Speed of the cohort explorer on a million synthetic cells and two cores, beside pandas and Polars.

All read the same Parquet files. Everybody has a process of their own that stays: what a library keeps between
questions, it keeps; the first time of each question does not count. Peers read the columns they need of the same shards
each time, filter, and compute the same numbers. A ranking of every feature by a peer is measured on `RANKED` features
and multiplied. `python -m benchmarks.explorer WHO FOLDER` measures one alone, on a cohort that `python -m
benchmarks.million FOLDER/cohort` has made. All of it takes 13 GB of disk.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.million import write_million
from core.domain.cell_types import CellType
from core.domain.settings import ROOT
from core.explorer import view
from core.explorer.selection import Gate, Range, Selection
from core.explorer.separation import SAMPLE, gather, rank_exactly, separate
from core.features.catalogue import CATALOGUE
from core.store.database import Cohort

CORES = 2
REPETITIONS, OF_PEERS = 20, 5
AREA, RATIO, ROUND = "nucleus_shape2D_PixelSurface", "combined_PixelSurface", "nucleus_shape2D_Sphericity"
TWENTY = [name for name, spec in CATALOGUE.items() if spec.scale_free][:400:20]
RANKED = 20
IDENTITY = ["cell_type", "source", "population", "patient_id", "model_id", "quality_ok", "um_per_px"]
TYPES = ("monocyte", "lymphocyte")
LOW, HIGH = 40.0, 110.0
LASSO = [
    (float(75 + 20 * np.cos(t) * (1 + 0.2 * np.sin(5 * t))), float(0.7 + 0.15 * np.sin(t)))
    for t in np.linspace(0, 2 * np.pi, 40, endpoint=False)
]
BINS = (160, 120)

COUNTS, HISTOGRAM, SUMMARY, SCATTER, GATED, SAMPLED, EXACT = (
    "filter and counts",
    "histogram of a feature by cell type",
    "exact summary of 20 features by cell type",
    "scatter of all cells in bins by cell type",
    "lasso of 40 vertices to a table of 100 rows",
    f"ranking of every feature, {SAMPLE:,} cells a side",
    f"ranking of {RANKED} features by all cells",
)
EVERY = "ranking of every feature by all cells"  # by peers only
TARGETS = {COUNTS: 300, HISTOGRAM: 300, SUMMARY: 600, SCATTER: 300, GATED: 300, SAMPLED: 5000, EXACT: 5000}
MEMORY_MIB = 1536

Questions = Mapping[str, Callable[[], object]]


def measured(row: Callable[..., dict[str, object]]) -> list[dict[str, object]]:
    """The rows of the table; `row` is that of `benchmarks`."""
    with tempfile.TemporaryDirectory() as made:
        cells = write_million(Path(made) / "cohort")
        found = {who: _in_a_process(who, Path(made)) for who in WHO}
    ours = found.pop("explorer")
    rows = []
    for what, target in TARGETS.items():
        p50, p95 = statistics.median(ours["ms"][what]), float(np.quantile(ours["ms"][what], 0.95))
        rows.append(row(f"{what}, {cells:,} cells, p95", p95, "target", target, target / p95))
        for who, theirs in found.items():
            same = what in theirs["ms"]
            peer = statistics.median(theirs["ms"][what if same else EVERY])
            rows.append(
                row(f"{what}, {cells:,} cells, p50", p50, who if same else f"{who}, all cells", peer, peer / p50)
            )
    once, later = ours["rows"], statistics.median(ours["ms"][SAMPLED])
    what = "first ranking, with the rows of every shard, once for a cohort"
    rows.append(row(what, once, "a later ranking", later, later / once))
    rows.append(row("memory, peak", ours["mib"], "target", MEMORY_MIB, MEMORY_MIB / ours["mib"], "MiB"))
    rows += [
        row("memory, peak", ours["mib"], who, theirs["mib"], theirs["mib"] / ours["mib"], "MiB")
        for who, theirs in found.items()
    ]
    return rows


def explorer(folder: Path) -> tuple[Questions, dict[str, float]]:
    cohort = Cohort.open([folder / "cohort"], folder / "cache")
    kinds, sides = tuple(CellType(name) for name in TYPES), [[name] for name in TYPES]
    good, features = Selection(), list(CATALOGUE)
    narrow = Selection(cell_types=kinds, ranges=(Range(AREA, LOW, HIGH),))
    lasso = Selection(gates=(Gate("lasso", AREA, RATIO, tuple(LASSO)),))
    pair = Selection(cell_types=kinds)

    def sampled() -> Any:
        return separate(gather(cohort, pair, view.By.CELL_TYPE, sides, features, SAMPLE), TYPES, features)

    started = time.perf_counter()
    sampled()
    rows = 1000 * (time.perf_counter() - started)
    return {
        COUNTS: lambda: view.counts(cohort, narrow),
        HISTOGRAM: lambda: view.histogram(cohort, good, ROUND, view.By.CELL_TYPE),
        SUMMARY: lambda: view.summary(cohort, good, TWENTY, view.By.CELL_TYPE),
        SCATTER: lambda: view.scatter(cohort, good, RATIO, ROUND, view.By.CELL_TYPE, bins=BINS),
        GATED: lambda: view.table(cohort, lasso, ["cell_id", AREA, RATIO, "cell_type", "patient_id"], order=AREA),
        SAMPLED: sampled,
        EXACT: lambda: rank_exactly(cohort, pair, view.By.CELL_TYPE, sides, TYPES, TWENTY[:RANKED]),
    }, {"rows": rows}


def pandas(folder: Path) -> tuple[Questions, dict[str, float]]:
    import pandas as pd

    files = sorted((folder / "cohort").glob("*/*.parquet"))

    def read(*columns: str) -> Any:
        frame = pd.concat(
            [pd.read_parquet(file, columns=[*columns, "quality_ok"]) for file in files], ignore_index=True
        )
        return frame[frame["quality_ok"]]

    def counts() -> object:
        frame = read(*IDENTITY[:-2], "um_per_px", AREA)
        area = frame[AREA] * frame["um_per_px"] ** 2
        frame = frame[frame["cell_type"].isin(TYPES) & area.between(LOW, HIGH)]
        patients = frame[["source", "patient_id"]].dropna().drop_duplicates()
        return len(patients), [frame[name].value_counts() for name in ("cell_type", "source", "population", "model_id")]

    def histogram() -> object:
        frame = read("cell_type", ROUND)
        edges = np.histogram_bin_edges(frame[ROUND].dropna(), 60)
        return [np.histogram(values.dropna(), edges)[0] for _, values in frame.groupby("cell_type")[ROUND]]

    def summary() -> object:
        by_type = read("cell_type", *TWENTY).groupby("cell_type")[TWENTY]
        return by_type.quantile([0.02, 0.25, 0.5, 0.75, 0.98]), by_type.mean(), by_type.std(), by_type.count()

    def scatter() -> object:
        frame = read("cell_type", RATIO, ROUND).dropna()
        ends = [(frame[name].min(), frame[name].max()) for name in (RATIO, ROUND)]
        return [np.histogram2d(mine[RATIO], mine[ROUND], BINS, ends)[0] for _, mine in frame.groupby("cell_type")]

    def gated() -> object:
        frame = read("cell_id", "cell_type", "patient_id", "um_per_px", AREA, RATIO)
        frame[AREA] *= frame["um_per_px"] ** 2
        return frame[_within(frame[AREA].to_numpy(), frame[RATIO].to_numpy())].nsmallest(100, AREA)

    def exact() -> object:
        # The rank sum of one side is all that a Mann-Whitney test and Cliff's delta need.
        frame = read("cell_type", *TWENTY[:RANKED])
        frame = frame[frame["cell_type"].isin(TYPES)]
        return frame[TWENTY[:RANKED]].rank()[frame["cell_type"] == TYPES[0]].sum()

    return (
        _with_ranking({COUNTS: counts, HISTOGRAM: histogram, SUMMARY: summary, SCATTER: scatter, GATED: gated}, exact),
        {},
    )


def polars(folder: Path) -> tuple[Questions, dict[str, float]]:
    import polars as pl

    files = sorted((folder / "cohort").glob("*/*.parquet"))

    def good() -> Any:
        return pl.scan_parquet(files).filter(pl.col("quality_ok"))

    def counts() -> object:
        area = pl.col(AREA) * pl.col("um_per_px") ** 2
        frame = good().filter(pl.col("cell_type").is_in(TYPES) & area.is_between(LOW, HIGH)).select(IDENTITY).collect()
        patients = frame.select("source", "patient_id").drop_nulls().unique()
        return len(patients), [frame[name].value_counts() for name in ("cell_type", "source", "population", "model_id")]

    def histogram() -> object:
        frame = good().select("cell_type", ROUND).drop_nulls().collect()
        edges = np.linspace(frame[ROUND].min(), frame[ROUND].max(), 61)
        return [mine[ROUND].hist(edges) for mine in frame.partition_by("cell_type")]

    def summary() -> object:
        told = []
        for name in TWENTY:
            column = pl.col(name)
            told += [column.quantile(q, "linear").alias(f"{name}_{q}") for q in (0.02, 0.25, 0.5, 0.75, 0.98)]
            told += [
                column.mean().alias(f"{name}_mean"),
                column.std().alias(f"{name}_std"),
                column.count().alias(f"{name}_n"),
            ]
        return good().group_by("cell_type").agg(told).collect()

    def scatter() -> object:
        frame = good().select("cell_type", RATIO, ROUND).drop_nulls().collect()
        for name, bins in ((RATIO, BINS[0]), (ROUND, BINS[1])):
            low, high = frame[name].min(), frame[name].max()
            frame = frame.with_columns(((pl.col(name) - low) * (bins / (high - low))).cast(pl.Int32).clip(0, bins - 1))
        return frame.group_by("cell_type", RATIO, ROUND).len()

    def gated() -> object:
        area = pl.col(AREA) * pl.col("um_per_px") ** 2
        frame = good().select("cell_id", "cell_type", "patient_id", area, RATIO).collect()
        return frame.filter(_within(frame[AREA].to_numpy(), frame[RATIO].to_numpy())).bottom_k(100, by=AREA)

    def exact() -> object:
        two = good().filter(pl.col("cell_type").is_in(TYPES)).select("cell_type", *TWENTY[:RANKED])
        return two.with_columns(pl.col(*TWENTY[:RANKED]).rank()).filter(pl.col("cell_type") == TYPES[0]).sum().collect()

    return (
        _with_ranking({COUNTS: counts, HISTOGRAM: histogram, SUMMARY: summary, SCATTER: scatter, GATED: gated}, exact),
        {},
    )


WHO = {who.__name__: who for who in (explorer, pandas, polars)}


def _with_ranking(questions: Questions, exact: Callable[[], object]) -> Questions:
    return {**questions, EXACT: exact}


def _within(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Even-odd rule over whole columns, of the cells within the lasso's box."""
    xs, ys = np.array(LASSO).T
    near = np.flatnonzero((x >= xs.min()) & (x <= xs.max()) & (y >= ys.min()) & (y <= ys.max()))
    inside = np.zeros(len(x), np.bool_)
    for x1, y1, x2, y2 in zip(xs, ys, np.roll(xs, -1), np.roll(ys, -1), strict=True):
        if y1 != y2:
            inside[near] ^= ((y1 <= y[near]) != (y2 <= y[near])) & (
                x[near] < x1 + (y[near] - y1) * (x2 - x1) / (y2 - y1)
            )
    return inside


def _in_a_process(who: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.explorer", who, str(folder)]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


def _alone(who: str, folder: Path) -> dict[str, Any]:
    """Milliseconds by question, in turn so that a drifting machine hits all, and the peak memory of this process."""
    questions, more = WHO[who](folder)
    repetitions = REPETITIONS if who == "explorer" else OF_PEERS
    times: dict[str, list[float]] = {what: [] for what in questions}
    for _ in range(repetitions + 1):
        for what, ask in questions.items():
            started = time.perf_counter()
            ask()
            times[what].append(1000 * (time.perf_counter() - started))
    memory = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    mib = int(memory[1]) / 1024 if memory else float("nan")
    return {
        "ms": {what: each[1:] for what, each in times.items()}
        | {EVERY: [took * len(CATALOGUE) / RANKED for took in times[EXACT][1:]]},
        "mib": mib,
        **more,
    }


if __name__ == "__main__":
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:CORES]))
    os.environ["POLARS_MAX_THREADS"] = str(CORES)
    print(json.dumps(_alone(sys.argv[1], Path(sys.argv[2]))))
