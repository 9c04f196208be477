import re
from pathlib import Path

import pytest

from core.domain.errors import ModelError, ProviderError
from core.domain.options import Device
from core.segmentation import providers
from core.segmentation.providers import PROVIDER_NAMES, open_session, provider_name

HAS_DRIVER = Path("/proc/driver/nvidia/version").exists()


def test_the_cpu_is_always_there_and_says_so(model_entry):
    session = open_session(model_entry.path, Device.CPU, threads=1)
    assert provider_name(session) == "CPU"


def test_auto_runs_on_something_that_has_a_name(model_entry):
    assert provider_name(open_session(model_entry.path, Device.AUTO, threads=1)) in PROVIDER_NAMES.values()


def test_cuda_runs_or_fails_in_words_but_never_falls_back(model_entry):
    try:
        outcome = provider_name(open_session(model_entry.path, Device.CUDA))
    except ProviderError as error:
        outcome = str(error)
    refused = re.fullmatch(r"device cuda was asked for, but .*--device cpu.*", outcome)
    assert refused or (HAS_DRIVER and outcome == "CUDA GPU")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" * 50])
def test_a_damaged_file_is_a_model_error(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.onnx could not be loaded by onnxruntime.*models verify"):
        open_session(path, Device.CPU)


def test_a_file_that_ends_too_early_is_a_model_error(tmp_path, model_entry):
    path = tmp_path / "cut.onnx"
    path.write_bytes(model_entry.path.read_bytes()[:1_000_000])
    with pytest.raises(ModelError, match=r"cut\.onnx could not be loaded"):
        open_session(path, Device.CPU)


@pytest.mark.parametrize("exact", [True, False])
def test_eight_bit_products_are_made_exact_where_the_processor_is_not(model_entry, monkeypatch, exact):
    monkeypatch.setattr(providers, "_multiplies_bytes_exactly", lambda: exact)
    options = open_session(model_entry.path, Device.CPU).get_session_options()
    if exact:
        with pytest.raises(RuntimeError, match="x64quantprecision"):
            options.get_session_config_entry("session.x64quantprecision")
    else:
        assert options.get_session_config_entry("session.x64quantprecision") == "1"


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="only Linux tells")
def test_processor_with_vnni_is_known():
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert providers._multiplies_bytes_exactly() == bool(flags & {"avx512_vnni", "avx_vnni"})
