"""The command line over the same engine as the pages.

Exit codes: 0 all went well, 1 some inputs failed, 2 wrong use.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Final, NamedTuple

from core import __version__
from core.domain.errors import CoreError, UsageError
from core.support.text import shown

PYTHON_M: Final = "python -m core"


class Command(NamedTuple):
    """Where a command is, and what it does in a line.

    Its module in `core.cli` has a function of the command's name, which gives a parser its arguments and what to run.
    """

    module: str
    text: str


# Whoever asks for help sees all of them, but only the module of the one that is called is imported.
COMMANDS: Final[Mapping[str, Command]] = {
    "app": Command("app", "Open the pages in a browser."),
    "serve": Command("serving", "Answer images with JSON over HTTP, for other programs."),
    "segment": Command("images", "One mask per image: 255 nucleus, 170 cytoplasm, 85 surroundings, 0 background."),
    "analyse": Command(
        "images",
        "Segment, measure and place in the populations: features.parquet, features.csv, places.parquet, masks,"
        " errors.csv.",
    ),
    "batch": Command("batch", "The same for very many images, resumable."),
    "features": Command("images", "Measure a drawn mask; no model needed. Sizes in pixels, or µm with a scale."),
    "catalogue": Command(
        "catalogue", "Every feature as a row of CSV: name, meaning, formula, unit, what it depends on."
    ),
    "cohort": Command("cohort", "Reference populations and your own."),
    "exchange": Command(
        "exchange",
        "Cells for other programs: QuPath, COCO, YOLO, label images, CellProfiler Analyst, AnnData, CSV, Excel,"
        " RO-Crate.",
    ),
    "corrections": Command(
        "corrections", "What people decided of outlines: list it, export it for training, forget it."
    ),
    "check": Command("pairs", "Look at images and drawn masks before a training: what it would do with each, and why."),
    "adapt": Command(
        "adaptation",
        "Teach a model a laboratory's corrected cells, and say what that gained; needs the extra `training`.",
    ),
    "reliability": Command(
        "evaluation",
        "Measure on the model's test images how far each feature can be trusted, and keep it with the model.",
    ),
    "novelty": Command(
        "evaluation",
        "Learn what leukocytes look like to a model, measure how well that tells them from everything else, and keep it"
        " with the model.",
    ),
    "quality": Command(
        "evaluation",
        "Learn to tell how well a cell is outlined, from drawn cells of many laboratories, and keep it with the model.",
    ),
    "nearness": Command(
        "evaluation",
        "Check how often a cell is nearest to its own type, and what is said of types that the populations lack.",
    ),
    "selection": Command(
        "evaluation", "Which architecture is better, and how sure that is: a run of `python -m training select`."
    ),
    "models": Command("models", "The models that are there."),
    "training": Command("programs", "Train, compare and score networks; needs the extra `training`."),
    "export": Command("programs", "Make a model file of a training; needs the extra `training`."),
    "completion": Command("completion", "Print a script that lets a shell complete commands and options."),
}
# Programs of their own, which read their arguments themselves.
PROGRAMS: Final = ("training", "export")


def main(argv: Sequence[str] | None = None, prog: str = PYTHON_M) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    chosen = next((word for word in argv if not word.startswith("-")), "")
    if argv and argv[0] in PROGRAMS:
        return _in_words(lambda: import_module("core.cli.programs").run(argv[0], argv[1:]))
    top = parser([chosen], prog)
    arguments, rest = top.parse_known_args(argv)
    if rest and not hasattr(arguments, "passed_on"):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.passed_on = rest
    return _in_words(lambda: int(arguments.run(arguments)))


def parser(chosen: Sequence[str] = tuple(COMMANDS), prog: str = PYTHON_M) -> argparse.ArgumentParser:
    """Return the arguments of every command; commands that are not called have none of their own."""
    made = argparse.ArgumentParser(prog=prog, description=__doc__)
    made.add_argument("--version", action="version", version=f"leukoscope {__version__}")
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.text, description=command.text)
        if name in chosen:
            getattr(import_module(f"core.cli.{command.module}"), name)(added)
    return made


def program(prog: str) -> int:
    """Run `main` as a program; a pipe closed by its reader (`| head`) is no error."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name of a file may hold what no encoding has
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main(prog=prog)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    return code


def _in_words(run: Callable[[], int]) -> int:
    try:
        return run()
    except CoreError as error:
        print("error: " + "\n".join(map(shown, str(error).split("\n"))), file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        raise
    except OSError as error:  # --out is a file, its folder is missing or closed to us, the disk is full
        print(
            f"error: {shown(str(error.filename))}: {error.strerror}; choose another place for the results",
            file=sys.stderr,
        )
        return 2
