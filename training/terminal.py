"""Messages of the command line on standard error, and a further process that works on a selection beside it."""

import logging
import signal
import sys
from pathlib import Path

from core.domain.errors import CoreError
from training.config import SelectionConfig
from training.selection import SelectionProgress, SelectionUnit, select
from training.trainer import find_device


def say(text: str, *, for_now: bool = False) -> None:
    """Write a line; one `for_now` only on a terminal, to be replaced by the next."""
    if sys.stderr.isatty():
        print(f"{text:<79}", end="\r" if for_now else "\n", file=sys.stderr, flush=True)  # noqa: T201 (this is where printing is done)
    elif not for_now:
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def log_to_terminal() -> None:
    """Show the log of training, without what the hub's client and the exporter say of every step."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "huggingface_hub", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.WARNING)


def in_time(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def shown(path: Path) -> Path:
    """The path as it can be typed here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def named(unit: SelectionUnit) -> str:
    """A fold of an architecture, in words."""
    return f"{unit.protocol} k={unit.k} fold {unit.fold} {unit.architecture}"


def show_unit(progress: SelectionProgress) -> None:
    """Print the end of a fold."""
    row = progress.row
    unit = SelectionUnit(row["protocol"], row["k"], row["fold"], row["architecture"])
    scores = (
        f"nucleus {row['dice_nucleus']:.4f} cytoplasm {row['dice_cytoplasm']:.4f}"
        if row["status"] == "done"
        else row["status"]
    )
    left = in_time(60 * progress.minutes_left)
    say(f"{progress.done}/{progress.units} {named(unit)}: {scores}, {row['seconds']:.0f} s, about {left} left")


def work(config: SelectionConfig, root: Path, device: str) -> None:
    """Work on a run in a process of its own; the one that started it stops it, and prints the results of both."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        select(
            config,
            root,
            find_device(device),
            on_start=lambda: say(f"another process takes part, on {device}"),
            on_unit=show_unit,
        )
    except CoreError as error:
        say(f"a worker gave up: {error}")
        sys.exit(1)
