"""The use case in a few lines: image -> label map -> features -> flags, with the versions that made them."""

import itertools
import multiprocessing
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path

from core import __version__
from core.errors import CoreError
from core.features.extract import Engine, extract
from core.fields import find_cells
from core.imaging import load
from core.inference.model_registry import ModelEntry
from core.inference.providers import Device
from core.inference.segmenter import OnnxSegmenter, Segmenter
from core.quality import assess
from core.types import CellAnalysis, CellImage

Progress = Callable[[str, float], None]

_MEASURING_PACKAGES = ("numpy", "scipy", "scikit-image", "pillow", "pyradiomics-bhklab", "onnxruntime-gpu", "onnxruntime")


@cache
def software_versions() -> dict[str, str]:
    """Versions of everything a number depends on, by package name."""
    versions = {"leukoscope": __version__, "python": platform.python_version()}
    for package in _MEASURING_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # onnxruntime comes as one of two packages
    return versions


def analyse(image: CellImage, segmenter: Segmenter, *, engine: Engine = Engine.FAST, progress: Progress | None = None) -> CellAnalysis:
    """Outline, measure and check the cell nearest the image's centre; `progress` receives words and a share from 0 to 1."""
    tell = progress or (lambda _words, _share: None)
    tell("Outlining nucleus and cytoplasm", 0.1)
    segmentation = segmenter.segment(image)
    tell("Measuring", 0.7)
    features = extract(image.rgb, segmentation.labels, engine)
    tell("Checking quality", 0.9)
    flags = assess(image, segmentation, segmenter.card)
    tell("Done", 1.0)
    return CellAnalysis(image, segmentation, features, flags, versions=dict(software_versions()))


def analyse_field(field: CellImage, segmenter: Segmenter) -> list[CellAnalysis]:
    """Every leukocyte of a field with several, cut out and analysed at its own scale, numbered from left to right, top to bottom."""
    return [replace(analyse(cut, segmenter), cell_index=index, place=place) for index, (cut, place) in enumerate(find_cells(field))]


@dataclass(frozen=True)
class Job:
    """One image file to analyse; a field is searched for all its cells."""

    path: Path
    um_per_px: float | None = None
    is_field: bool = False
    engine: Engine = Engine.FAST


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a job: its cells, or the reason in words why there are none."""

    path: Path
    analyses: tuple[CellAnalysis, ...] = ()
    reason: str | None = None


def run_job(job: Job, segmenter: Segmenter) -> Outcome:
    """Analyse one file; an image that cannot be used becomes an outcome with its reason, never an exception."""
    try:
        image = load(job.path, job.um_per_px)
        cells = analyse_field(image, segmenter) if job.is_field else [analyse(image, segmenter, engine=job.engine)]
    except CoreError as error:
        return Outcome(job.path, reason=str(error))
    return Outcome(job.path, tuple(cells), None if cells else f"{job.path.name}: no stained nucleus was found in the field")


def analyse_many(jobs_to_do: Iterable[Job], model: ModelEntry, *, jobs: int = 1, device: Device = Device.AUTO) -> Iterator[Outcome]:
    """Outcomes in the order of the jobs, computed by `jobs` processes with one session and one thread each.

    Only a few jobs a process are under way at a time, so memory does not grow with their number.
    """
    if jobs == 1:
        segmenter = OnnxSegmenter.from_entry(model, device)
        yield from (run_job(job, segmenter) for job in jobs_to_do)
        return
    # Spawned, not forked: onnxruntime's and BLAS's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_open_worker, initargs=(model, device)) as pool:
        waiting: deque[Future[Outcome]] = deque()
        remaining = iter(jobs_to_do)
        waiting.extend(pool.submit(_work, job) for job in itertools.islice(remaining, 4 * jobs))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(_work, job) for job in itertools.islice(remaining, 1))


_worker_segmenter: OnnxSegmenter | None = None


def _open_worker(model: ModelEntry, device: Device) -> None:
    global _worker_segmenter  # one session a process is the point
    _worker_segmenter = OnnxSegmenter.from_entry(model, device, threads=1)


def _work(job: Job) -> Outcome:
    assert _worker_segmenter is not None
    return run_job(job, _worker_segmenter)
