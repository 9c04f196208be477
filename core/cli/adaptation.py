"""`leukoscope adapt`: teach a model a laboratory's own cells, and make a model file of what it learnt."""

import argparse
import signal
from pathlib import Path

from core.cli.common import add_json
from core.cli.programs import run
from core.domain.errors import UsageError
from core.domain.settings import check_own, load_settings
from core.segmentation.model_registry import find_model

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
    passed_on = [
        word
        for name in ("config", "device")
        if (value := getattr(arguments, name))
        for word in (f"--{name}", str(value))
    ]
    passed_on += ["--json"] if arguments.json else []
    code = run(
        "training", ["adapt", str(arguments.corrections), "--out", str(out), "--model", base.model_id, *passed_on]
    )
    if code and not (code == _REFUSED and arguments.force):
        return code
    localiser = base.path.with_name(base.card.localiser["file"])
    return run("export", [str(out), "--out", str(model_file), "--localiser", str(localiser)])
