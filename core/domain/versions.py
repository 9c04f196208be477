"""Versions of everything a measured number depends on; light: reading them imports no image library."""

import platform
from functools import cache
from importlib import metadata
from typing import Final

from core import __version__
from core.domain.options import FeatureEngine

# Among the versions of a cell: the SHA-256 of the file of the model that outlined it.
MODEL_FILE: Final = "model file"

_MEASURING: Final = ("numpy", "scipy", "scikit-image", "pillow", "onnxruntime-gpu", "onnxruntime")
_REFERENCE: Final = ("pyradiomics-bhklab", "simpleitk")


@cache
def software_versions(engine: FeatureEngine = FeatureEngine.FAST) -> dict[str, str]:
    """Versions of everything a number depends on, by package name.

    pyradiomics is named only where it measured: whether it is installed beside the fast engine changes no number, and
    must not start a run anew.
    """
    versions = {"leukoscope": __version__, "python": platform.python_version()}
    for package in (*_MEASURING, *(_REFERENCE if engine is FeatureEngine.REFERENCE else ())):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # onnxruntime comes as one of two packages
    return versions
