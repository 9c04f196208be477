"""Speed and cost of very many images: `python -m core batch` beside the thesis's way, on the same real images.

The images are 60 real ones of four collections, and copies of them that differ in a few bytes behind the picture,
20,000 in all: over half an hour, because only a long run shows whether memory grows. The thesis's way is PyTorch eager
on both cores, one image at a time: read, decode, both passes by our network (the engine's coarse one is its
localiser's), then with masks that it is given `RadiomicsFeatureExtractor().execute` with default settings and `shape2D`
for nucleus, cytoplasm and cell on the grey image (102 features of each); nothing is written. As a second peer the same
extractor measures every feature of ours. Two more are the same after one pass of the thesis's own network, of untrained
weights, which take as long. The engine writes everything.
"""

import json
import logging
import multiprocessing
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from radiomics.featureextractor import RadiomicsFeatureExtractor
from SimpleITK import GetImageFromArray

from core.batch.analysis import Analyst
from core.batch.inputs import open_inputs
from core.batch.results import Index, Record, RunFolder
from core.batch.settings import BatchSettings, Progress
from core.batch.tasks import ImageResult, Loaded, Stamp, Task
from core.domain.options import Device, FeatureEngine
from core.domain.settings import ROOT
from core.domain.types import LabelMap
from core.evaluation.datasets import data_set
from core.features.extract import extract
from core.image.imaging import grey, load
from core.image.masks import region_mask
from core.image.window import Window
from core.segmentation.model_registry import find_model
from core.segmentation.preprocessing import network_input
from core.segmentation.segmenter import OnnxSegmenter
from training.architectures import build

COLLECTIONS = ("set1", "set2", "acevedo", "deepapl")
SOURCES, EARLY, LARGE = 60, 1_000, 20_000
ON_RAY = 400
JOBS = 2
# The network that the thesis chose, which it showed the whole image, here at the side of
# `training/configs/select-thesis.toml`.
OWN_ENCODER, OWN_SIDE = "efficientnet-b6", 320
NAMES = 200_000
STARTS = 5
# Images done that a run reads again before it goes on, and of how many its shards are when it is a long one.
DONE, SHARD = 50_000, 500
ENGINE = (sys.executable, "-m", "core", "batch")


def measured(row: Callable[..., dict[str, object]]) -> list[dict[str, object]]:
    """The rows of the table; `row` is that of `benchmarks`."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        images = write_images(root / "in", LARGE)
        # Half of what is compared goes before the run and half after it, so that a drifting machine hits all.
        thesis = Thesis(images)
        halves = [thesis(images[::2])]
        parts = [parts_alone(images)]
        run = watched(root / "in", root / "out")
        halves.append(thesis(images[1::2]))
        parts.append(parts_alone(images))
        cluster = watched(root / "in", root / "ray", "--engine", "ray", "--limit", str(ON_RAY))
        first = statistics.median(first_result(root / "in", root / f"start{number}") for number in range(STARTS))
        sizes = {name: size(root / name) / LARGE for name in ("in", "out/cells", "out/masks", "out/cells.csv")}
        again = records_read_again(root / "out", root / "done")
        names = listing(root / "names")
    peers = {name: statistics.mean(half[name] for half in halves) for name in halves[0]}
    alone = {name: statistics.mean(half[name] for half in parts) for name in parts[0]}
    image = 1000 * run.seconds / LARGE
    what = f"an image, {JOBS} jobs, all of a run of {LARGE:,}"
    return [
        *(row(what, image, peer, took, took / image) for peer, took in peers.items()),
        *of_parts(row, alone, run, cluster),
        *of_memory(row, run, cluster),
        row("from the command to the first result", first, "target", 3000, 3000 / first),
        row("names listed", names, f"target ({NAMES:,} files)", 1e6 / 60, names / (1e6 / 60), "a second"),
        *of_storage(row, sizes, 1000 * image, 1000 * again),
    ]


Row = Callable[..., dict[str, object]]


def of_parts(row: Row, alone: dict[str, float], run: "Watched", cluster: "Watched") -> list[dict[str, object]]:
    """What each part of the work costs alone, and how near the whole comes to what they allow."""
    total, bottleneck = sum(alone.values()), max(alone, key=lambda name: alone[name])
    # Writing goes on beside the workers and mostly waits for the disk: it limits only where it takes longer than they.
    allowed = min(1000 * JOBS / (total - alone["write"]), 1000 * JOBS / alone["write"])
    words = {name: f"{name} alone{', the bottleneck' if name == bottleneck else ''}" for name in alone}
    under_way = "images a second under way"
    return [
        *(row(words[name], took, "all parts, a process", total, total / took) for name, took in alone.items()),
        row(under_way, run.rate, "what the parts allow", allowed, run.rate / allowed, "images/s"),
        row(f"{under_way}, Ray", cluster.rate, "the local engine", run.rate, cluster.rate / run.rate, "images/s"),
    ]


def of_memory(row: Row, run: "Watched", cluster: "Watched") -> list[dict[str, object]]:
    """Peak memory, and that it does not grow with the number of images."""
    peak = "peak memory of all processes"
    early, ray = run.early / run.peak, run.peak / cluster.peak
    return [
        row(f"{peak}, {LARGE:,} images", run.peak, f"{EARLY:,} images", run.early, early, "MiB"),
        row("memory while the table is written", run.table, "peak before", run.peak, run.peak / run.table, "MiB"),
        row(f"{peak}, Ray", cluster.peak, "the local engine", run.peak, ray, "MiB"),
    ]


def of_storage(row: Row, sizes: dict[str, float], image_us: float, again_us: float) -> list[dict[str, object]]:
    """What results weigh on the disk, and what it costs to go on with a run."""
    known, text = index_memory()
    shard, table, mask, image = (sizes[name] for name in ("out/cells", "out/cells.csv", "out/masks", "in"))
    return [
        row("a cell in Parquet", shard, "in cells.csv", table, table / shard, "KiB"),
        row("the mask of an image", mask, "the image", image, image / mask, "KiB"),
        row(
            "a record of a done image, read again", again_us, "measuring the image", image_us, image_us / again_us, "µs"
        ),
        row("a done image in memory, at most", known, "its record as text", text, text / known, "bytes"),
    ]


def write_images(folder: Path, count: int) -> list[Path]:
    """Real images and copies of them with distinct content; returns the real ones."""
    each = SOURCES // len(COLLECTIONS)
    samples = [data_set(name).samples() for name in COLLECTIONS]
    sources = [found[number * len(found) // each].image for number in range(each) for found in samples]
    paths = [
        folder / f"{number // 100:03d}" / f"{number:05d}{sources[number % SOURCES].suffix}" for number in range(count)
    ]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sources[number % SOURCES].read_bytes() + number.to_bytes(4, "big"))
    return paths[:SOURCES]


class Thesis:
    """PyTorch eager and RadiomicsFeatureExtractor, one image at a time."""

    def __init__(self, images: Sequence[Path]) -> None:
        logging.getLogger("radiomics").setLevel(logging.ERROR)
        self._card = find_model().card
        self._network = build(self._card.architecture, self._card.encoder, pretrained=False).eval()
        self._own = build("unetplusplus", OWN_ENCODER, pretrained=False).eval()
        self._extractor = RadiomicsFeatureExtractor()
        self._extractor.enableFeatureClassByName("shape2D")
        segmenter = OnnxSegmenter.from_entry(find_model(), Device.CPU, threads=JOBS)
        self._labels = {path: segmenter.segment(load(path)).labels for path in images}
        torch.set_num_threads(JOBS)
        self(images[:4])  # the first call of a network plans its work

    def __call__(self, images: Sequence[Path]) -> dict[str, float]:
        """Milliseconds an image by what is done.

        Which network, and the extractor's default features or every feature of ours.
        """
        marks = []
        for path in images:
            times = [time.perf_counter()]
            image = load(path)
            self._outline(image.rgb)
            times.append(time.perf_counter())
            self._default_features(grey(image.rgb), self._labels[path])
            times.append(time.perf_counter())
            extract(image.rgb, self._labels[path], FeatureEngine.REFERENCE)
            times.append(time.perf_counter())
            marks.append(np.diff(times))
        outline, default, every = 1000 * np.mean(marks, axis=0)
        # Not in the same loop: forty million weights would push ours out of the processor's cache.
        started = time.perf_counter()
        for path in images:
            self._pass(self._own, load(path).rgb, OWN_SIDE)
        own = 1000 * (time.perf_counter() - started) / len(images)
        peer = "PyTorch eager + RadiomicsFeatureExtractor"
        return {
            f"{peer}, default": outline + default,
            f"{peer}, all features of ours": outline + every,
            f"{peer}, default, the thesis's network": own + default,
            f"{peer}, all features of ours, the thesis's network": own + every,
        }

    def _outline(self, rgb: np.ndarray) -> None:
        for _ in range(2):  # one to find the cell, one to draw it
            self._pass(self._network, rgb, self._card.input_size)

    def _pass(self, network: torch.nn.Module, rgb: np.ndarray, side: int) -> None:
        with torch.no_grad():
            network(torch.from_numpy(network_input(rgb, Window.whole((rgb.shape[0], rgb.shape[1])), self._card, side)))

    def _default_features(self, plane: np.ndarray, labels: LabelMap) -> None:
        image = GetImageFromArray(plane)
        for name in ("nucleus", "cytoplasm", "cell"):
            mask = region_mask(labels, name)
            if mask.any():
                self._extractor.execute(image, GetImageFromArray(mask.astype(np.uint8)))


# --- the parts alone --------------------------------------------------------------------------------------------------


def parts_alone(images: Sequence[Path]) -> dict[str, float]:
    """Milliseconds an image in each part, one after the other, in `JOBS` processes at once as in a run."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(JOBS)
    with (
        tempfile.TemporaryDirectory() as out,
        ProcessPoolExecutor(JOBS, mp_context=context, initializer=_get_ready, initargs=(together,)) as pool,
    ):
        found = list(pool.map(_measure_parts, [images] * JOBS, [f"{out}/{number}" for number in range(JOBS)]))
    return {name: statistics.mean(times[name] for times in found) for name in found[0]}


_ready: list[tuple[Analyst, Barrier]] = []


def _get_ready(together: Barrier) -> None:
    _ready.append((Analyst(BatchSettings("in"), find_model(), datetime.now(UTC), "cpu"), together))


def _measure_parts(images: Sequence[Path], out: str) -> dict[str, float]:
    analyst, together = _ready[0]
    _analyse(analyst, images[:2])
    together.wait(timeout=120)
    times, results = _analyse(analyst, images)
    started = time.perf_counter()
    RunFolder(out).save(results, "key")
    return {**times, "write": 1000 * (time.perf_counter() - started) / len(images)}


def _analyse(analyst: Analyst, images: Sequence[Path]) -> tuple[dict[str, float], list[ImageResult]]:
    """What `Analyst.analyse` does, part by part."""
    marks, results = [], []
    for path in images:
        times = [time.perf_counter()]
        one = Loaded(Task(path.name), path.read_bytes(), Stamp(0, ""))
        image = analyst._decode(one)
        times.append(time.perf_counter())
        (cells,) = analyst._outline([(one, image)])
        times.append(time.perf_counter())
        results.append(analyst._result(one, image, cells))
        times.append(time.perf_counter())
        marks.append(np.diff(times))
    return dict(zip(("read and decode", "outline", "measure"), 1000 * np.mean(marks, axis=0), strict=True)), results


# --- whole runs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Watched:
    """A run from command to exit.

    Its seconds; images a second between its `SOURCES`th and its last; and MiB of all its processes at most: until the
    `EARLY`th image, until the last, and while the table is written, when the workers have ended.
    """

    seconds: float
    rate: float
    early: float
    peak: float
    table: float


def watched(folder: Path, out: Path, *arguments: str) -> Watched:
    """Run the engine and look on."""
    started = time.monotonic()
    process = subprocess.Popen(
        [*ENGINE, str(folder), "--out", str(out), "--jobs", str(JOBS), *arguments], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    seen: list[tuple[float, int, float]] = []
    table = 0.0
    while process.poll() is None:
        used = memory(process.pid)
        with suppress(OSError, ValueError, KeyError, TypeError):  # not there yet
            progress = Progress.from_json((out / "progress.json").read_text(encoding="utf-8"))
            if progress.message == "writing the table":
                table = max(table, used)
            else:
                seen.append((datetime.fromisoformat(progress.updated).timestamp(), progress.done, used))
        time.sleep(1)  # to ask the memory of all processes takes 11 ms of a core, and of their time
    assert process.returncode == 0, f"the run ended with {process.returncode}"
    seconds = time.monotonic() - started
    came: dict[int, float] = {}
    for when, done, _ in seen:
        if done >= SOURCES:
            came.setdefault(done, when)
    rate = (max(came) - min(came)) / (came[max(came)] - came[min(came)])
    return Watched(
        seconds, rate, max(used for _, done, used in seen if done <= EARLY), max(used for _, _, used in seen), table
    )


def memory(pid: int) -> float:
    """MiB that a process and all below it hold, what they share counted once; Linux only."""
    total = 0
    for each in family(pid):
        with suppress(OSError):  # it has just ended
            found = re.search(
                r"^Pss:\s+(\d+)", Path(f"/proc/{each}/smaps_rollup").read_text(encoding="ascii"), re.MULTILINE
            )
            total += int(found[1]) if found else 0
    return total / 2**10


def family(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    with suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text(encoding="ascii").split():
                yield from family(int(child))


def first_result(folder: Path, out: Path) -> float:
    """Milliseconds from the command to the first durable result of an empty run."""
    started = time.monotonic()
    process = subprocess.Popen(
        [*ENGINE, str(folder), "--out", str(out), "--limit", "1"], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    while not list((out / "cells").glob("*.parquet")):
        assert process.poll() in {None, 0}
        time.sleep(0.01)
    took = 1000 * (time.monotonic() - started)
    assert process.wait() == 0
    return took


# --- what grows with the number of images -----------------------------------------------------------------------------


def listing(folder: Path) -> float:
    """Names a second, in order, of a folder with sub-folders of a thousand."""
    for number in range(NAMES // 1000):
        sub = folder / f"{number:04d}"
        sub.mkdir(parents=True)
        for name in range(1000):
            (sub / f"cell_{name:04d}.png").touch()
    started = time.perf_counter()
    count = sum(1 for _ in open_inputs(str(folder)).listed())
    took = time.perf_counter() - started
    assert count == NAMES
    return count / took


def size(path: Path) -> float:
    """KiB of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 2**10


def records_read_again(out: Path, done: Path) -> float:
    """Milliseconds an image of what a run that goes on does first: it reads the records of the images that are done."""
    rows = pq.read_table(out / "cells").slice(0, SHARD).to_pylist()
    folder = RunFolder(str(done))
    folder.save(
        [ImageResult(row["image_path"], row["image_sha256"], Stamp(n, str(n)), [row]) for n, row in enumerate(rows)],
        "key",
    )
    (shard,) = (done / "cells").iterdir()
    for number in range(1, DONE // SHARD):
        shutil.copy(shard, shard.with_stem(f"{shard.stem}-{number}"))
    started = time.perf_counter()
    Index(folder.records(folder.shards("key")))
    return 1000 * (time.perf_counter() - started) / DONE


def index_memory() -> tuple[float, float]:
    """Bytes an image that a run needs at most to know what is done, and of the record as text."""
    records = [
        (0, Record(f"slide_{n // 1000:05d}/cell_{n:09d}.png", f"{n:064x}", Stamp(n, str(n)), 1, False, 0.9, None, None))
        for n in range(DONE)
    ]
    tracemalloc.start()
    Index(records)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / DONE, len(json.dumps(records[-1][1]))
