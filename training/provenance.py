"""What a result was made with: the versions of the libraries that decide it, and the commit."""

import functools
import platform
import subprocess
from importlib.metadata import version

from core.settings import ROOT


def versions() -> dict[str, str]:
    """Python and the libraries that decide how a training comes out."""
    packages = ("torch", "segmentation-models-pytorch", "timm", "albumentations", "opencv-python-headless", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


@functools.cache
def commit() -> str:
    """The commit this process runs from, with `+` where its code differs from it; empty outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "core", "training") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
