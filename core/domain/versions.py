"""Versions of everything a measured number depends on; light, so that asking costs no import of the image libraries."""

import platform
from functools import cache
from importlib import metadata

from core import __version__

_MEASURING_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-image",
    "pillow",
    "pyradiomics-bhklab",
    "onnxruntime-gpu",
    "onnxruntime",
)


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
