"""Choice and check of the execution provider: onnxruntime falls back to the CPU with no more than a log line."""

import os
from pathlib import Path
from typing import Final

import onnxruntime

from core.domain.errors import ModelError, ProviderError
from core.domain.options import Device

_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"

_FELL_BACK: Final = "onnxruntime fell back to the CPU (CUDA or cuDNN libraries missing)"

# Plain words for pages and command line.
PROVIDER_NAMES: Final = {_CUDA: "CUDA GPU", _CPU: "CPU"}


def open_session(model: Path, device: Device, threads: int = 0) -> onnxruntime.InferenceSession:
    """A session on the wanted device; `threads` 0 lets onnxruntime choose.

    Raises
    ------
    ProviderError
        If CUDA was asked for and does not really run.
    ModelError
        If the file cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4 if device is Device.AUTO else 3
    if not _multiplies_bytes_exactly():
        # An 8-bit network then runs exactly and no faster than in fp32, instead of fast and wrong.
        options.add_session_config_entry("session.x64quantprecision", "1")
    obstacle = why_no_cuda()
    if device is Device.CUDA and obstacle:
        msg = f"device cuda was asked for, but {obstacle}; use --device cpu or auto"
        raise ProviderError(msg)
    wanted = [_CPU] if device is Device.CPU or obstacle else [_CUDA, _CPU]
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=wanted)
    except Exception as error:  # onnxruntime raises its own unexported types
        msg = f"{model.name} could not be loaded by onnxruntime ({error}); run `python -m core models verify`"
        raise ModelError(msg) from error
    if device is Device.CUDA and session.get_providers()[0] != _CUDA:
        msg = f"device cuda was asked for, but {_FELL_BACK}; use --device cpu or auto"
        raise ProviderError(msg)
    return session


def provider_name(session: onnxruntime.InferenceSession) -> str:
    """Return the provider that really runs a session, in plain words."""
    provider: str = session.get_providers()[0]
    return PROVIDER_NAMES.get(provider, provider)


def why_no_cuda(session: onnxruntime.InferenceSession | None = None) -> str | None:
    """Why CUDA does not run a session, or any that could be opened here; None where no obstacle is known."""
    if _CUDA not in onnxruntime.get_available_providers():
        return "the installed onnxruntime has no CUDA support (onnxruntime-gpu has)"
    # Trying without a driver costs seconds and prints alarming lines.
    if os.name != "nt" and not Path("/proc/driver/nvidia/version").exists():
        return "this machine shows no NVIDIA driver"
    return _FELL_BACK if session is not None and session.get_providers()[0] != _CUDA else None


def _multiplies_bytes_exactly() -> bool:
    """Whether the processor is known (Linux only) to have VNNI; without it, sums of 8-bit products saturate."""
    described = Path("/proc/cpuinfo")
    return described.exists() and "_vnni" in described.read_text(encoding="utf-8")
