"""`leukoscope adapt`: teach a model a laboratory's own cells, and make a model file of what it learnt."""

import argparse
import signal
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

from core.cli.common import add_json
from core.cli.programs import run
from core.domain.errors import UsageError
from core.domain.settings import check_own, load_settings
from core.evaluation.adaptation import ACCOUNT_FILE, load
from core.segmentation.model_registry import ModelEntry, find_model
from core.support import records

# Exit code of an adaptation whose result should not be used.
_REFUSED = 1


def adapt(parser: argparse.ArgumentParser) -> None:
    """Adapt a model."""
    add = parser.add_argument
    text = "folder of corrected cells, as `leukoscope corrections export` writes it, or of other drawn masks"
    add("corrections", type=Path, metavar="CORRECTIONS", help=text)
    text = "new folder of the run, by whose name the adapted model is called; the app shows those in runs/"
    add("--out", type=Path, required=True, metavar="RUN", help=text)
    add("--model", metavar="ID", help="model to begin with (default: the one in use)")
    add("--config", type=Path, metavar="FILE", help="TOML file of settings; copy training/configs/adapt.toml")
    add("--device", help="where networks learn: auto, cpu, cuda or cuda:<number> (default: auto)")
    add("--force", action="store_true", help="make a model file even of what forgot too much, or gained nothing")
    add_json(parser)
    parser.set_defaults(run=_adapt)


def _adapt(arguments: argparse.Namespace) -> int:
    # A page stops what it started by SIGTERM: it is to end as by Ctrl-C, so that the same command goes on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    base = find_model(arguments.model)
    out: Path = arguments.out
    model_file = load_settings().models / f"{out.name}.onnx"
    check_own(model_file, "set LEUKOSCOPE_MODELS to a folder of yours")
    if not base.card.localiser:
        msg = f"{base.model_id} finds no cells by itself, so that none can be scored; begin with another"
        raise UsageError(msg)
    # For programs there is one object in the end, whatever the two commands print.
    with redirect_stdout(sys.stderr) if arguments.json else nullcontext():
        code = _taught_and_exported(arguments, base, model_file)
    if arguments.json and code in (0, _REFUSED):
        print(records.to_json(load(out / ACCOUNT_FILE)))
    return code


def _taught_and_exported(arguments: argparse.Namespace, base: ModelEntry, model_file: Path) -> int:
    given = {"config": arguments.config, "device": arguments.device}
    options = [word for name, value in given.items() if value for word in (f"--{name}", str(value))]
    cells, out = str(arguments.corrections), str(arguments.out)
    code = run("training", ["adapt", cells, "--out", out, "--model", base.model_id, *options])
    if code and not (code == _REFUSED and arguments.force):
        return code
    localiser = base.path.with_name(base.card.localiser["file"])
    return run("export", [out, "--out", str(model_file), "--localiser", str(localiser)])
