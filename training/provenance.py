"""What a result was made with: the versions of the libraries that decide it, the commit, and the processor."""

import functools
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from core.domain.settings import ROOT


def versions() -> dict[str, str]:
    """Python and the libraries that decide how a training comes out."""
    packages = ("torch", "segmentation-models-pytorch", "timm", "albumentations", "opencv-python-headless", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


@functools.cache
def commit() -> str:
    """The commit this process runs from, with `+` where its code differs from it; empty outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "core", "training") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def cpu_name() -> str:
    """The processor's name as it gives it itself on Linux; the kind of processor elsewhere."""
    names = (
        re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
        if sys.platform == "linux"
        else []
    )
    return str(names[0]) if names else platform.machine()
