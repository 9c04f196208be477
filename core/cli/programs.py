"""`leukoscope training ...` and `leukoscope export ...`: the programs beside the engine, where they are installed."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from core.domain.settings import INSTALLED

# What training and export import beyond what the engine needs.
_LIBRARIES: Final = (
    "torch",
    "segmentation_models_pytorch",
    "timm",
    "albumentations",
    "cv2",
    "safetensors",
    "onnx",
    "onnxscript",
)
INSTALL_TRAINING: Final = (
    "pip install 'leukoscope[training]'" if INSTALLED else ".venv/bin/pip install -r training/requirements.txt"
)


def run(program: str, argv: Sequence[str]) -> int:
    """Run a program with its own arguments; returns its exit code."""
    return int(import_module(f"{program}.__main__").main(list(argv)))


def parsed(program: str, parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of a program.

    Without its libraries the help ends in what to install, and everything else is that sentence and exit code 2.
    """
    lacking = next((name for name in _LIBRARIES if not _is_there(name)), None)
    sentence = f"{program} needs {lacking}, which is not installed; run `{INSTALL_TRAINING}`\n"
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as ended:
        if lacking and not ended.code:
            print(f"\n{sentence}", end="")
        raise
    if lacking:
        parser.exit(2, f"error: {sentence}")
    return arguments


def _is_there(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ImportError:  # something on Python's path refuses it
        return False


def training(parser: argparse.ArgumentParser) -> None:
    """Pass all arguments on: the program has its own parser."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER)


export = training
