"""The use case in a few lines: image -> label map -> features -> flags, with the versions that made them."""

import platform
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import metadata

from core import __version__
from core.features.extract import Engine, extract
from core.fields import find_cells
from core.imaging import grey
from core.inference.segmenter import Segmenter
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
    features = extract(grey(image.rgb), segmentation.labels, engine)
    tell("Checking quality", 0.9)
    flags = assess(image, segmentation, segmenter.card)
    tell("Done", 1.0)
    return CellAnalysis(image, segmentation, features, flags, versions=dict(software_versions()))


def analyse_field(field: CellImage, segmenter: Segmenter) -> list[CellAnalysis]:
    """Every leukocyte of a field with several, cut out and analysed at its own scale, numbered from left to right, top to bottom."""
    return [
        replace(analyse(cut, segmenter), cell_index=index, place=place) for index, (cut, place) in enumerate(find_cells(field))
    ]
