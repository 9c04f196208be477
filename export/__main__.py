"""`python -m export RUN --out FILE.onnx`: export, verify, score on the untouched test part, embed the card.

An fp32 file is verified against torch. A smaller precision is made from such a file and measured against it on the
validation part: where it harms the outlines or the features, it is refused. The run of a localiser becomes
a file of its own, which the manifest does not list. `python -m export bundle` writes a model for other programs.

The model is used from now on if it is no worse than the one in use on test images that neither learnt from: no region's
mean Dice may be more than 0.5 points lower, on all of them and in each data set.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

from core.cli import programs
from core.domain.errors import CoreError
from core.domain.options import Precision
from core.support.text import shown


def parser() -> argparse.ArgumentParser:
    """Return the arguments of the command."""
    made = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    add = made.add_argument
    add("checkpoint", type=Path, metavar="RUN", help="folder of a training run, or a file in it")
    text = (
        "the model file, such as runs/models/NAME.onnx: the app looks in runs/models, or in LEUKOSCOPE_MODELS. The"
        " folder's manifest.json gets an entry"
    )
    add("--out", type=Path, required=True, metavar="FILE.onnx", help=text)
    text = "bits of weights and arithmetic (default: fp32)"
    add("--precision", type=Precision, choices=list(Precision), default=Precision.FP32, help=text)
    text = "runs of `training.experiments validate`, for the card"
    add("--validation", type=Path, nargs="*", default=[], metavar="DIR", help=text)
    text = "run of `training localise`, or file of a localiser, that is to find the cells for it"
    add("--localiser", type=Path, metavar="RUN", help=text)
    add("--force", action="store_true", help="export a precision even though it harms the measurements")
    choice = made.add_mutually_exclusive_group()
    text = "use it from now on even if it is worse than the model in use, or cannot be compared with it"
    choice.add_argument("--default", action="store_true", default=None, help=text)
    text = "do not use it yet, even if it is no worse"
    choice.add_argument("--not-default", dest="default", action="store_false", default=None, help=text)
    add("--json", action="store_true", help="print one machine-readable object to standard output")
    return made


def bundle_parser() -> argparse.ArgumentParser:
    """Return the arguments of `python -m export bundle`."""
    text = (
        "Write a model as a folder for other programs: a Hugging Face repository (README with YAML) and a MONAI bundle"
        " (configs), with the complete card. Needs no torch."
    )
    made = argparse.ArgumentParser(prog="python -m export bundle", description=text)
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    text = "as `leukoscope models list` names it (default: the model in use)"
    made.add_argument("--model", metavar="ID", help=text)
    return made


def _bundle(argv: list[str]) -> int:
    arguments = bundle_parser().parse_args(argv)
    from export.bundle import write_bundle

    entry = write_bundle(arguments.out, arguments.model)
    print(f"{arguments.out}: {entry.model_id} as a Hugging Face repository and a MONAI bundle")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    return _in_words(lambda: _bundle(argv[1:]) if argv[:1] == ["bundle"] else _export(argv))


def _export(argv: list[str]) -> int:
    arguments = programs.parsed("export", parser(), argv)
    if arguments.out.suffix != ".onnx":
        parser().error(f"--out must end in .onnx, but is {arguments.out.name}")
    # Not before: whoever asks for help does not wait for torch.
    from export.localiser import export_run, is_localiser
    from export.model_file import export

    return export_run(arguments) if is_localiser(arguments.checkpoint) else export(arguments)


def _in_words(run: Callable[[], int]) -> int:
    try:
        return run()
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # the disk is full, or closed to us
        where = shown(str(error.filename or gettempdir()))
        told = f"{where}: {error.strerror}; nothing was exported. Make room there, or choose another place by --out"
        print(f"error: {told} (for what is made on the way: by TMPDIR)", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
