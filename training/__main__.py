"""`python -m training`: copy images, compare architectures, train a network, and score it on cells and on fields."""

import argparse
import errno
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from core.cli import programs
from core.domain.errors import CoreError
from core.domain.options import VIEWS
from core.support.text import shown

if TYPE_CHECKING:
    # argparse exports no name for it.
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

# Where commands are that are not in `training.commands`.
_ELSEWHERE: Final = {
    "adapt": "training.adaptation.commands",
    "localise": "training.localiser.commands",
    "finding": "training.localiser.commands",
}
# They come with the program, wherever it is installed.
_CONFIGS: Final = Path(__file__).parent / "configs"
# Commands that go on where they were stopped.
_RESUMABLE: Final = ("adapt", "finetune", "localise", "select")
# The disk's reasons to refuse: nothing in the program can correct them. The first three say that there is no room.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_OURS: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
# What a shell gives a program that was stopped by Ctrl-C.
_INTERRUPTED: Final = 130

_FOLDERS: Final = (
    "A data set is one that the program knows (set1, set2) or a folder of yours with images/ and masks/ in it: files of"
    " equal names, masks in grey levels 0 background, 128 cytoplasm, 255 nucleus (or 0, 85, 170, 255). A folder of such"
    " folders, one per cell type, is read too. labels.csv (image_id,cell_type,duplicate_group) beside images/ may name"
    " the types, and which images show the same cell."
)
_DATA_SETS: Final = "names of data sets, or paths of folders"
_MODEL: Final = "model as `leukoscope models list` names it (default: the one in use), or the folder of a training run"
_DEVICE: Final = "auto, cpu, cuda or cuda:<number> (default: auto, CUDA where there is one)"


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"must be at least 1, but is {number}"
        raise argparse.ArgumentTypeError(msg)
    return number


def parser() -> argparse.ArgumentParser:
    """Return the arguments of every command."""
    made = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = made.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for add in (
        _add_finetune,
        _add_adapt,
        _add_localise,
        _add_augment,
        _add_select,
        _add_evaluate,
        _add_finding,
        _add_laboratories,
        _add_fields,
        _add_outlines,
    ):
        add(commands)
    return made


def _add_finetune(commands: "Commands") -> None:
    text = (
        "Train a network on 60 % of the images, choose its best epoch on 20 %, and test it on the rest, which it never"
        " saw."
        " The folder of the run holds config.toml, split.json, log.csv (a row as each epoch ends: the app's page Models"
        " draws it), messages.log (what was warned of), the best weights, scores.json, and in cases/ pictures of the"
        f" best and worst test images. Ctrl-C stops it; the same command goes on. {_FOLDERS}"
    )
    short = "train a network; goes on where a stopped run was"
    parser = commands.add_parser("finetune", help=short, description=text)
    text = "TOML file of settings; copy training/configs/finetune.toml (default: it)"
    parser.add_argument("--config", type=Path, default=_CONFIGS / "finetune.toml", metavar="FILE", help=text)
    text = "folder of the run; the app shows those in runs/"
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help=text)
    parser.add_argument("--device", default="auto", help=_DEVICE)


def _add_adapt(commands: "Commands") -> None:
    text = (
        "Teach a model the corrected cells of a laboratory, beginning with its own weights and mixed with the images"
        " that it was trained on, where they are at hand. Each cell is also held back once, so that the gain is told"
        f" honestly. Ctrl-C stops it; the same command goes on. {_FOLDERS}"
    )
    short = "teach a model a laboratory's own cells; goes on where it was stopped"
    parser = commands.add_parser("adapt", help=short, description=text)
    text = "folder of corrected cells, as `leukoscope corrections export` writes it, or of other drawn masks"
    parser.add_argument("corrections", type=Path, metavar="CORRECTIONS", help=text)
    text = "folder of the run, by whose name the adapted model is called"
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help=text)
    text = "model in LEUKOSCOPE_MODELS, or folder of a training run, to begin with (default: the model in use)"
    parser.add_argument("--model", metavar="ID", help=text)
    text = "TOML file of settings (default: training/configs/adapt.toml, which explains them)"
    parser.add_argument("--config", type=Path, metavar="FILE", help=text)
    parser.add_argument("--device", default="auto", help=_DEVICE)
    parser.add_argument("--json", action="store_true", help="print one machine-readable object to standard output")


def _add_localise(commands: "Commands") -> None:
    text = (
        "Train the network that finds leukocytes, platelets, red cells and smudge cells, on images with drawn boxes"
        " (txl_pbc) and drawn masks (set1, set2, bccd). Ctrl-C stops it; the same command goes on."
    )
    short = "train a localiser; goes on where a stopped run was"
    parser = commands.add_parser("localise", help=short, description=text)
    text = "TOML file of settings; copy training/configs/localiser.toml (default: it)"
    parser.add_argument("--config", type=Path, default=_CONFIGS / "localiser.toml", metavar="FILE", help=text)
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    text = "sources of which nothing is seen, and which the run is scored on in the end"
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="NAME", help=text)
    parser.add_argument("--epochs", type=_positive, metavar="N", help="epochs (default: as the settings say)")


def _add_finding(commands: "Commands") -> None:
    text = (
        "Score a localiser: recall and precision of leukocytes, red cells and platelets, the error of sizes and of the"
        " ruler, by source, and at smaller magnifications (mosaics of shrunk images). Of a run, its validation images,"
        " on which it chooses its thresholds anew, and those of the sources it left out."
    )
    parser = commands.add_parser("finding", help="score a localiser on drawn boxes", description=text)
    add = parser.add_argument
    add("--localiser", type=Path, required=True, metavar="FILE_OR_RUN", help="an exported file, or a run's folder")
    add("--sources", nargs="+", default=[], metavar="NAME", help="sources of boxes (default: all)")
    text = "how many times images are shrunk, of a file (default: 1 2 4 8)"
    add("--shrunk", type=_positive, nargs="+", default=[1, 2, 4, 8], metavar="N", help=text)
    text = "of a file: score only a part of that run's split, which the file was not trained on"
    add("--split", type=Path, metavar="RUN", help=text)
    parts = ["train", "validation", "left_out"]
    add("--part", choices=parts, default="validation", help="that part (default: validation)")
    add("--json", action="store_true", help="print one machine-readable object to standard output")


def _add_augment(commands: "Commands") -> None:
    text = (
        "Write 16 copies of every image and mask: rotations by 45 degrees, and the flip's. `select` makes the same"
        f" copies in memory by itself; this is for looking at them and for other programs. {_FOLDERS}"
    )
    parser = commands.add_parser("augment", help="write 16 turned copies of every image", description=text)
    parser.add_argument("--data-sets", nargs="+", required=True, metavar="NAME", help=_DATA_SETS)
    text = "new folder; it can be named as a data set afterwards"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=text)


def _add_select(commands: "Commands") -> None:
    text = (
        "Compare architectures by k-fold cross-validation. Results are kept fold by fold; Ctrl-C stops it, and the same"
        " command goes on. The same command in another terminal, or on another machine that shares the folder, works on"
        f" the same run. {_FOLDERS}"
    )
    parser = commands.add_parser("select", help="compare architectures by cross-validation", description=text)
    text = "TOML file of settings; copy training/configs/select.toml and change it"
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=text)
    text = "folder of results (default: LEUKOSCOPE_SELECTION, or assets/model_selection)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=text)
    text = "processes that share the run, a GPU each where there are (default: 1)"
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help=text)
    parser.add_argument("--device", default="auto", help=_DEVICE)
    parser.add_argument("--retry", action="store_true", help="first forget the folds that failed")


def _add_scored(parser: argparse.ArgumentParser) -> None:
    """Which model is scored, and on what."""
    parser.add_argument("--model", metavar="ID", help=_MODEL)
    parts = ["train", "validation", "test", "all"]
    parser.add_argument("--part", choices=parts, default="test", help="part of its split (default: test)")
    text = f"{_DATA_SETS} (default: set1 set2)"
    parser.add_argument("--data-sets", nargs="+", default=["set1", "set2"], metavar="NAME", help=text)
    text = "the fine pass is the mean of so many rotations and mirror images (default: 1)"
    parser.add_argument("--views", type=int, choices=VIEWS, default=1, help=text)


def _add_evaluate(commands: "Commands") -> None:
    text = (
        "Score a model on drawn masks as a user meets it: the network finds the cell itself. With --against, score"
        " another one on the same images, which neither learnt from or was chosen on, and say which is better:"
        " differences are taken image by image, their intervals over groups of images."
    )
    short = "score a model on drawn masks, beside the annotators' own agreement"
    parser = commands.add_parser("evaluate", help=short, description=text)
    _add_scored(parser)
    parser.add_argument("--against", metavar="ID", help="the other model: an id, or the folder of a training run")
    parser.add_argument("--json", action="store_true", help="print one machine-readable object to standard output")


def _add_laboratories(commands: "Commands") -> None:
    text = (
        "Score a model in each laboratory as a user meets it, with default settings: what it finds, how it outlines it,"
        " and whether its flags know what went wrong. Data sets with drawn masks are scored by Dice, those with drawn"
        " boxes (labels/ beside images/, in YOLO's format) by the boxes of the outlines. Images that a model of the"
        " split learnt from are left out (--all: they count, too)."
    )
    parser = commands.add_parser(
        "laboratories", help="score finding, outlines and flags by laboratory", description=text
    )
    parser.add_argument("--model", metavar="ID", help=_MODEL)
    parser.add_argument("--data-sets", nargs="+", required=True, metavar="NAME", help=_DATA_SETS)
    text = "with a run's folder: the run of a localiser that finds the cells (default: that of the app's model)"
    parser.add_argument("--localiser", type=Path, metavar="RUN", help=text)
    parser.add_argument("--all", action="store_true", help="score also what the model learnt from")
    parser.add_argument("--json", action="store_true", help="print one machine-readable object to standard output")


def _add_fields(commands: "Commands") -> None:
    text = (
        "Score how a model finds and outlines the cells of fields, composed of drawn cells, platelets and red cells of"
        " the images."
    )
    parser = commands.add_parser("fields", help="score a model on fields with several cells", description=text)
    _add_scored(parser)
    add = parser.add_argument
    add("--fields", type=_positive, default=8, metavar="N", help="fields per data set (default: 8)")
    text = "cells per field, as far as there is room (default: 18)"
    add("--cells", type=_positive, default=18, metavar="N", help=text)
    add("--side", type=_positive, metavar="PX", help="side of a field (default: five times that of the images)")
    text = "share of the cells that touch another one (default: 0.5)"
    add("--touching", type=float, default=0.5, metavar="SHARE", help=text)
    add("--seed", type=int, default=7, metavar="N", help="another number composes other fields")
    text = "folder for pictures of the fields with what was found; they are made of the images"
    add("--pictures", type=Path, metavar="DIR", help=text)


def _add_outlines(commands: "Commands") -> None:
    text = (
        "Outline the drawn cells of laboratories with a network that was trained without them, as it draws and spoilt"
        " on purpose, and keep the signs by which `python -m core quality --table FILE` learns to tell good ones from"
        " bad."
    )
    parser = commands.add_parser(
        "outlines", help="outlines of laboratories left out, with their truth", description=text
    )
    add = parser.add_argument
    add("--run", type=Path, required=True, metavar="DIR", help="folder of a training run")
    add(
        "--data", nargs="+", required=True, metavar="NAME", help="laboratories: bccd, set1, set2, Raabin-WBC, BCDD, PBC"
    )
    add("--out", type=Path, required=True, metavar="FILE", help="the table (Parquet)")
    text = "a localiser trained without them, too (default: that of the default model)"
    add("--localiser", type=Path, metavar="FILE", help=text)
    add("--limit", type=_positive, metavar="N", help="only so many images of each laboratory")
    add("--device", default="auto", metavar="NAME", help=_DEVICE)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    arguments = programs.parsed("training", parser(), argv)
    # Not before: whoever asks for help does not wait for torch.
    from training import terminal

    terminal.log_to_terminal()
    try:
        module = _ELSEWHERE.get(arguments.command, "training.commands")
        return int(getattr(import_module(module), arguments.command)(arguments))
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, MemoryError, RuntimeError) as error:
        if not (words := _in_words(error, arguments.command)):
            raise
        print(f"error: {words}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumable = arguments.command in _RESUMABLE
        terminal.say("stopped; the same command goes on where it was" if resumable else "stopped; nothing was kept")
        return _INTERRUPTED


def _in_words(error: OSError | MemoryError | RuntimeError, command: str) -> str:
    """What the machine refuses, and what to do; empty for an error of the program."""
    from training.trainer import is_out_of_memory

    if is_out_of_memory(error):
        return f"out of memory ({error}); take a smaller batch_size, input_size or encoder"
    if not isinstance(error, OSError):
        return ""
    if error.errno in _FULL:
        then = "the same command goes on where it was" if command in _RESUMABLE else "start again"
        return (
            f"expected room on the disk for {shown(str(error.filename or 'a file'))}, but there is none"
            f" ({error.strerror}); make room, and {then}"
        )
    return str(error) if error.errno in _NOT_OURS else ""


if __name__ == "__main__":
    sys.exit(main())
