"""What commands share: arguments, progress on standard error, and how a run ends."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from core.domain.cell_types import named_cell_type
from core.domain.errors import CoreError, LimitError, UsageError
from core.domain.options import Device, FeatureEngine, Units
from core.domain.settings import load_settings
from core.domain.types import GivenScale, StainFactors
from core.image.file_scale import BY_RED_CELLS, OF_FILE, Scale
from core.support import bounded

if TYPE_CHECKING:
    # argparse exports no name for it.
    Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

# What a command does, and its exit code.
Handler: TypeAlias = Callable[[argparse.Namespace], int]

OF_FILE_HELP: Final = "what each file states of itself"
JSON_HELP: Final = "print one machine-readable object to standard output"


def positive(text: str) -> int:
    """Return a whole number of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        msg = f"must be 1 or more, but is {value}"
        raise argparse.ArgumentTypeError(msg)
    return value


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`, for programs."""
    parser.add_argument("--json", action="store_true", help=JSON_HELP)


def add_choice(parser: argparse.ArgumentParser, option: str, choices: type[StrEnum], text: str) -> None:
    """Add a choice whose first is the default."""
    words = [str(choice) for choice in choices]
    parser.add_argument(option, choices=words, default=words[0], help=text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the choice of the device."""
    add_choice(parser, "--device", Device, "cuda fails where it cannot run; auto falls back to the CPU")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the choice of the model, and of its device."""
    text = "as `leukoscope models list` names it (default: the model in use)"
    parser.add_argument("--model", metavar="ID", help=text)
    add_device(parser)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """Add the number of processes."""
    text = "processes, one thread each (default 1 process with all threads)"
    parser.add_argument("--jobs", type=positive, default=1, help=text)


def add_scale(parser: argparse.ArgumentParser, *, of_files: bool = True) -> None:
    """Add the scale of the images; where there are files, also that each states its own."""
    text = "scale of the images in micrometres per pixel"
    if of_files:
        parser.add_argument("--um-per-px", type=scale, metavar="UM|file", help=f"{text}, or `file`: {OF_FILE_HELP}")
    else:
        parser.add_argument("--um-per-px", type=float, metavar="UM", help=text)
    _add_scale_error(parser)


def add_scale_from(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add the scale of images in files, given (by the options `names`), stated by each, or told by their red cells."""
    text = f"scale of all images in micrometres per pixel, or `file`: {OF_FILE_HELP}"
    either = parser.add_mutually_exclusive_group()
    either.add_argument(*names, type=scale, metavar="UM|file", dest="um_per_px", help=text)
    text = (
        "red-cells: measure it from red cells (7.5 µm) in up to 200 of the images first; stops before any work where"
        " they tell no scale"
    )
    either.add_argument("--scale-from", choices=[BY_RED_CELLS], dest="um_per_px", help=text)
    _add_scale_error(parser)


def _add_scale_error(parser: argparse.ArgumentParser) -> None:
    text = "share by which the true scale may be larger or smaller than --um-per-px, as 0.1; sizes get a range"
    parser.add_argument("--um-per-px-error", type=float, metavar="SHARE", help=text)


def asked_scale(arguments: argparse.Namespace) -> Scale:
    """The scale that was given, with its error; raises UsageError for an error of no scale."""
    given: Scale = arguments.um_per_px
    if arguments.um_per_px_error is None:
        return given
    if given is None or isinstance(given, str | GivenScale):
        msg = "--um-per-px-error is that of --um-per-px, but no scale in micrometres is given; give both"
        raise UsageError(msg)
    return GivenScale(given, arguments.um_per_px_error)


def scale(text: str) -> Scale:
    """Return micrometres per pixel, or OF_FILE, for argparse."""
    return OF_FILE if text == OF_FILE else float(text)


def cell_type(text: str) -> str:
    """A cell type by any of its names, for argparse; what is none stays as it is, and argparse says so."""
    kind = named_cell_type(text)
    return text if kind is None else kind.value


def add_depth(parser: argparse.ArgumentParser) -> None:
    """Add the depth of images that do not state theirs."""
    text = "bits that images of more than 8 use of their 16, where files do not say (default: what the files agree on)"
    parser.add_argument("--bit-depth", type=int, choices=range(8, 17), metavar="BITS", help=text)


def add_stain(parser: argparse.ArgumentParser) -> None:
    """Add the stain factors to measure with."""
    text = "measure with these stain factors, as `leukoscope cohort stain` kept them (default: as the images come)"
    parser.add_argument("--stain", metavar="NAME", help=text)


def asked_stain(arguments: argparse.Namespace) -> StainFactors | None:
    """The stain factors of that name; raises StoreError where there are none or their file is damaged."""
    if arguments.stain is None:
        return None
    # Here, because help comes at once.
    from core.store import stains

    return stains.find(load_settings().cohort, arguments.stain).factors


def add_units(parser: argparse.ArgumentParser) -> None:
    """Add the unit of a table that is written."""
    add_choice(parser, "--units", Units, "lengths and areas in the table: pixels (default), or micrometres")


def add_feature_engine(parser: argparse.ArgumentParser) -> None:
    """Add the choice of pyradiomics itself."""
    add_choice(parser, "--feature-engine", FeatureEngine, "reference is pyradiomics itself")


def add_out_file(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the file for a result."""
    parser.add_argument("--out", type=Path, metavar="FILE", help=text)


def add_excel(parser: argparse.ArgumentParser) -> None:
    """Add the wish for CSV that Excel opens with its accents whole."""
    parser.add_argument("--excel", action="store_true", help="begin CSV with the mark by which Excel knows UTF-8 (BOM)")


def add_action(
    actions: "Actions", name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """One command of a family, as `leukoscope cohort list`, with `--json`."""
    parser = actions.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    add_json(parser)
    return parser


def count_images(total: int) -> Callable[[int], None]:
    """Return a reporter, on standard error, of the images done, the speed and the time left."""
    started = time.monotonic()

    def show(done: int) -> None:
        rate = done / max(time.monotonic() - started, 1e-9)
        line = f"{done}/{total} images, {rate:.1f} a second, about {(total - done) / rate:.0f} s left"
        print(line, file=sys.stderr, end="\r" if sys.stderr.isatty() and done < total else "\n", flush=True)

    return show


def count_done(of: str) -> Callable[[int, int], None]:
    """Return a reporter on one line of standard error, for a person who waits."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"{done}/{total} {of}", file=sys.stderr, end="\r" if done < total else "\n", flush=True)

    return show


# --- commands that read what strangers made ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str
    error: CoreError | None = None


def in_bounds(handler: Handler, times: int = 1) -> Handler:
    """The handler of a command in a process of its own, which may take what an image may, so many times the time.

    For commands that read one file and print a result: what they print is printed when they end.
    """
    return partial(_in_bounds, handler, times)


def _in_bounds(handler: Handler, times: int, arguments: argparse.Namespace) -> int:
    settings = load_settings()
    limits = bounded.WorkLimits(times * settings.max_seconds, settings.max_memory_mb)
    opening = partial(bounded.limit_memory, limits.megabytes, threads=os.cpu_count() or 1)
    (said,) = bounded.each(partial(_captured, handler), [arguments], opening, _lost, limits)
    print(said.err, end="", file=sys.stderr)
    print(said.out, end="")
    if said.error is not None:
        raise said.error
    return said.code


def _captured(handler: Handler, arguments: argparse.Namespace, _: None, __: bounded.Alive) -> _Said:
    code, wrong = 0, None
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        try:
            code = handler(arguments)
        except CoreError as error:  # after what was said before it
            wrong = error
    return _Said(code, out.getvalue(), err.getvalue(), wrong)


def _lost(_: object, what: str) -> _Said:
    msg = (
        f"expected files that can be read within the limits, but {what}; look at them, or raise"
        " LEUKOSCOPE_MAX_SECONDS or LEUKOSCOPE_MAX_MEMORY_MB"
    )
    raise LimitError(msg)
