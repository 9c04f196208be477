"""`leukoscope training ...` and `leukoscope export ...`: the programs beside the engine, where they are installed."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from core.domain.errors import UsageError


def run(program: str, argv: Sequence[str]) -> int:
    """Run a program with its own arguments; returns its exit code, raises UsageError if its libraries are missing."""
    if find_spec("torch") is None and not {"-h", "--help"} & set(argv):
        msg = f"{program} needs torch, which is not installed; run `pip install 'leukoscope[training]'`"
        raise UsageError(msg)
    return int(import_module(f"{program}.__main__").main(list(argv)))


def training(parser: argparse.ArgumentParser) -> None:
    """Pass all arguments on: the program has its own parser."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER)


export = training
