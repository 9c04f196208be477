"""Feature speed: per region against pyradiomics, Nyxus and scikit-image; of the whole stage with one and two processes.

Memory.

All on the same real images in one run: every tenth drawn cell of sets 1 and 2. A peer gets what it wants to have ready:
SimpleITK images for pyradiomics, whole numbers and a label image for Nyxus.
"""

import logging
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier

import numpy as np
from numpy.typing import NDArray
from nyxus import Nyxus
from radiomics.featureextractor import RadiomicsFeatureExtractor
from SimpleITK import GetImageFromArray
from skimage.measure import regionprops_table

from core.domain.types import LabelMap
from core.evaluation.datasets import data_set
from core.features.channels import BIN_WIDTH, Channel
from core.features.extract import extract
from core.features.first_order import first_order
from core.features.shape import shape_2d
from core.features.texture import discretise, glcm, gldm, glrlm, glszm, ngtdm
from core.image.drawn_masks import read_mask
from core.image.imaging import grey, load
from core.image.masks import region_mask, with_environment

Region = tuple[NDArray[np.float64], NDArray[np.bool_]]
TEXTURES = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
ROUNDS = 6  # how often each process measures every cell, for throughput

# What both we and they measure, in their names.
NYXUS = [
    "ENERGY", "ENTROPY", "INTERQUARTILE_RANGE", "KURTOSIS", "MAX", "MEAN", "MEAN_ABSOLUTE_DEVIATION", "MEDIAN", "MIN",
    "P10", "P90", "RANGE", "ROBUST_MEAN_ABSOLUTE_DEVIATION", "ROOT_MEAN_SQUARED", "SKEWNESS", "UNIFORMITY", "VARIANCE",
    "AREA_PIXELS_COUNT", "PERIMETER", "MAJOR_AXIS_LENGTH", "MINOR_AXIS_LENGTH", "ELONGATION",
]  # fmt: skip
NYXUS_TEXTURES = ["*ALL_GLCM*", "*ALL_GLRLM*", "*ALL_GLSZM*", "*ALL_GLDM*", "*ALL_NGTDM*"]
REGIONPROPS = (
    "area", "perimeter", "feret_diameter_max", "axis_major_length", "axis_minor_length",
    "intensity_max", "intensity_mean", "intensity_min", "intensity_std",
)  # fmt: skip


def cells() -> list[tuple[NDArray[np.uint8], LabelMap]]:
    """Image and label map of every tenth drawn cell."""
    chosen = [s for name in ("set1", "set2") for s in data_set(name).samples()[::10]]
    return [(load(s.image).rgb, with_environment(read_mask(s.mask).labels)) for s in chosen if s.mask]


def shape_and_first_order(plane: NDArray[np.float64], mask: NDArray[np.bool_]) -> None:
    shape_2d(mask)
    first_order(plane, mask, BIN_WIDTH[Channel.GREY])


def all_classes(plane: NDArray[np.float64], mask: NDArray[np.bool_]) -> None:
    shape_and_first_order(plane, mask)
    levels = discretise(plane, mask, BIN_WIDTH[Channel.GREY])
    for texture in (glcm, glrlm, glszm, gldm, ngtdm):
        texture(levels)


def extractor(classes: tuple[str, ...], **settings: object) -> RadiomicsFeatureExtractor:
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    made = RadiomicsFeatureExtractor(binWidth=BIN_WIDTH[Channel.GREY], **settings)
    made.disableAllFeatures()
    for name in classes:
        made.enableFeatureClassByName(name)
    return made


def measured(
    paired: Callable[..., tuple[float, float, float]], row: Callable[..., dict[str, object]]
) -> list[dict[str, object]]:
    """The rows of the table; `paired` and `row` are those of `benchmarks`."""
    images = cells()
    regions: list[Region] = [
        (grey(rgb), region_mask(labels, name)) for rgb, labels in images for name in ("nucleus", "cytoplasm", "cell")
    ]
    ready = [(GetImageFromArray(plane), GetImageFromArray(mask.astype(np.uint8))) for plane, mask in regions]
    # Nucleus and cytoplasm as labels 1 and 2 of one image, the cell alone in another: labels cannot overlap.
    labelled = [
        (grey(rgb).astype(np.uint32), lab.astype(np.uint32))
        for rgb, labels in images
        for lab in (np.clip(labels, 1, 3) - 1, region_mask(labels, "cell"))
    ]

    def ours(measure: Callable[[NDArray[np.float64], NDArray[np.bool_]], None]) -> Callable[[], object]:
        return lambda: [measure(plane, mask) for plane, mask in regions]

    def execute(classes: tuple[str, ...], **settings: object) -> Callable[[], object]:
        made = extractor(classes, **settings)
        return lambda: [made.execute(image, mask) for image, mask in ready]

    def nyxus(features: list[str]) -> Callable[[], object]:
        made = Nyxus(features)
        return lambda: [made.featurize(image, label) for image, label in labelled]

    def regionprops() -> object:
        return [regionprops_table(mask.astype(np.uint8), plane, properties=REGIONPROPS) for plane, mask in regions]

    few, everything = ("shape2D", "firstorder"), ("shape2D", "firstorder", *TEXTURES)
    shape = ("a region's shape and first order (27 features)", shape_and_first_order)
    all_of_it = ("a region's shape, first order and texture (102)", all_classes)
    comparisons = (
        (*shape, "RadiomicsFeatureExtractor.execute", execute(few)),
        (*shape, "the same with additionalInfo=False", execute(few, additionalInfo=False)),
        (*shape, f"Nyxus, {len(NYXUS)} of them", nyxus(NYXUS)),
        (*shape, "regionprops_table, 9 of them", regionprops),
        (*all_of_it, "RadiomicsFeatureExtractor.execute", execute(everything)),
        (*all_of_it, "the same with additionalInfo=False", execute(everything, additionalInfo=False)),
        (*all_of_it, "Nyxus, its texture classes too", nyxus(NYXUS + NYXUS_TEXTURES)),
    )
    rows = []
    for what, measure, peer, theirs in comparisons:
        mine, their_time, ratio = paired(ours(measure), theirs)
        rows.append(row(what, mine / len(regions), peer, their_time / len(regions), ratio))
    one, two = throughput(1), throughput(2)
    what = "cells measured a second (every feature), 2 processes"
    rows.append(row(what, two, "1 process", one, two / one, "cells/s"))
    fast, reference = memory("fast"), memory("reference")
    what = "peak memory of `python -m core features`"
    rows.append(row(what, fast, "with the reference engine", reference, reference / fast, "MiB"))
    return rows


def throughput(processes: int) -> float:
    """Cells a second of the whole feature stage, every process with its own images and nothing else to do."""
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(processes)
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_get_ready, initargs=(together,)) as pool:
        list(pool.map(_measure_all, [1] * processes))
        started = time.perf_counter()
        counts = list(pool.map(_measure_all, [ROUNDS] * processes))
        return sum(counts) / (time.perf_counter() - started)


_read: list[tuple[NDArray[np.uint8], LabelMap]] = []


def _get_ready(together: Barrier) -> None:
    """Import, read and warm up, and wait until the others have: one that comes late would take none of the work."""
    _read.extend(cells())
    _measure_all(1)
    together.wait(timeout=120)


def _measure_all(rounds: int) -> int:
    for _ in range(rounds):
        for rgb, labels in _read:
            extract(rgb, labels)
    return rounds * len(_read)


def memory(engine: str) -> float:
    """Peak memory in MiB of `python -m core features` on one cell, interpreter and libraries included; Linux only.

    Asked of the process itself: what the system reports of a child includes what its parent held when it was started.
    """
    sample = data_set("set2").samples()[0]
    code = """
import contextlib, io, re, sys
from pathlib import Path
from core.__main__ import main
with contextlib.redirect_stdout(io.StringIO()):
    assert main(sys.argv[1:]) == 0
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
    command = ["features", "--image", str(sample.image), "--mask", str(sample.mask), "--feature-engine", engine]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    return int(done.stdout) / 2**10
