import platform
import subprocess
import sys
from importlib import metadata

import numpy as np
import onnxruntime
import scipy
import skimage

from core import __version__
from core.domain.options import FeatureEngine
from core.domain.settings import ROOT
from core.domain.versions import software_versions


def test_versions_name_what_a_number_depends_on():
    versions = software_versions()
    assert {"leukoscope", "python", "numpy", "scipy", "scikit-image", "pillow"} <= set(versions)
    assert "onnxruntime" in versions or "onnxruntime-gpu" in versions


def test_pyradiomics_is_named_only_where_it_measured():
    fast, reference = software_versions(), software_versions(FeatureEngine.REFERENCE)
    assert set(reference) - set(fast) == {"pyradiomics-bhklab", "simpleitk"}
    assert fast.items() <= reference.items()


def test_versions_are_those_of_the_code_that_runs():
    versions = software_versions()
    assert (versions["leukoscope"], versions["python"]) == (__version__, platform.python_version())
    assert (versions["numpy"], versions["scipy"], versions["scikit-image"]) == (
        np.__version__,
        scipy.__version__,
        skimage.__version__,
    )
    assert onnxruntime.__version__ in {versions.get("onnxruntime"), versions.get("onnxruntime-gpu")}


def test_what_is_not_installed_is_left_out():
    installed = {distribution.name.lower() for distribution in metadata.distributions()}
    assert set(software_versions()) - {"leukoscope", "python"} <= installed
    assert all(software_versions().values())


def test_asking_imports_none_of_the_packages():
    code = (
        "import sys; from core.domain.versions import software_versions; software_versions(); print([name for name in"
        " ('numpy', 'scipy', 'skimage', 'PIL', 'radiomics', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
