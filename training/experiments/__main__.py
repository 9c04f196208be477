"""`python -m training.experiments`: validate configs, make pseudo-labels, and compare the results."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from core.domain.cell_types import CellType
from core.domain.errors import CoreError, UsageError
from core.domain.options import Device
from core.domain.settings import load_settings
from core.evaluation.datasets import data_set
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter, TwoPassSegmenter
from training.adaptation.config import DEFAULT, AdaptationConfig
from training.config import TrainingConfig
from training.experiments.adaptation import Laboratory, measure
from training.experiments.adaptation import table as adaptation_table
from training.experiments.boxed import write_boxed
from training.experiments.pseudo import unlabelled_samples, write_pseudo
from training.experiments.results import results_table, write_results
from training.experiments.validation import REPORT_FILE, Scheme, Split, ValidationPlan, validate
from training.loop import SPLIT_FILE, EpochLog
from training.segmenter import TorchSegmenter, shipped_localiser
from training.terminal import log_to_terminal, say
from training.trainer import find_device


def _validate(arguments: argparse.Namespace) -> int:
    plan = ValidationPlan(Scheme(arguments.scheme), arguments.k, arguments.subset)
    root = arguments.out or load_settings().runs / "validation"
    configs = [TrainingConfig.from_toml(path) for path in arguments.config]
    if arguments.workers > 1:
        return _share(arguments.workers, arguments.command_line)
    for config in configs:

        def show(split: Split, row: EpochLog, config: TrainingConfig = config) -> None:
            say(
                f"{config.name} {split.name} epoch {row.epoch}/{config.epochs}: loss {row.train_loss:.4f}, validation"
                f" nucleus {row.val_dice_nucleus:.4f} cytoplasm {row.val_dice_cytoplasm:.4f}, {row.seconds:.0f} s"
            )

        folder = validate(config, root, plan, find_device(arguments.device), on_epoch=show)
        report = folder / REPORT_FILE
        if report.exists():
            print(
                f"{config.name}: criterion {json.loads(report.read_text(encoding='utf-8'))['criterion']:.4f}, in"
                f" {report}"
            )
        else:
            print(f"{config.name}: other processes work on what is left in {folder}")
    return 0


def _share(workers: int, command_line: list[str]) -> int:
    """Let several processes run the same command: each takes the splits that no other one works on."""
    command = [sys.executable, "-m", "training.experiments", *command_line, "--workers", "1"]
    started = [subprocess.Popen(command) for _ in range(workers)]
    try:
        return max(abs(worker.wait()) for worker in started)
    finally:
        for worker in started:
            worker.terminate()


def _teacher(arguments: argparse.Namespace) -> tuple[TwoPassSegmenter, Path]:
    """The network that outlines, and the file that tells what it was trained on."""
    folder = Path(arguments.model)
    if folder.is_dir():
        teacher = TorchSegmenter.from_run(folder, find_device(arguments.device), views=8, localiser=shipped_localiser())
        return teacher, folder / SPLIT_FILE
    entry = find_model(arguments.model)
    if entry.split is None:
        msg = (
            f"model {entry.model_id} has no split on record, so nobody could tell what its pseudo-labels know; take"
            " a run's folder"
        )
        raise UsageError(msg)
    return OnnxSegmenter.from_entry(entry, Device.CPU, views=8), entry.split


def _boxed(arguments: argparse.Namespace) -> int:
    samples = [
        sample
        for sample in data_set(arguments.data_set).samples()
        if sample.group.split("/")[1] not in arguments.without
    ]
    teacher, split = _teacher(arguments)

    def show(number: int) -> None:
        say(f"{number}/{len(samples)} images", for_now=number < len(samples))

    kept, seen = write_boxed(teacher, split, samples, arguments.out, on_image=show)
    print(f"{kept} of {seen} drawn boxes fit what the network outlined in them; they are the data set {arguments.out}")
    return 0


def _pseudo(arguments: argparse.Namespace) -> int:
    samples = unlabelled_samples(
        arguments.data_set, [CellType(name) for name in arguments.types], arguments.limit, arguments.seed
    )
    teacher, split = _teacher(arguments)

    def show(number: int) -> None:
        say(f"{number}/{len(samples)} images", for_now=number < len(samples))

    kept, seen = write_pseudo(
        teacher, split, samples, arguments.out, least_agreement=arguments.agreement, on_image=show
    )
    print(
        f"{kept} of {seen} images of {arguments.data_set} are outlined consistently; they are the data set"
        f" {arguments.out}"
    )
    return 0


def _adaptation(arguments: argparse.Namespace) -> int:
    if arguments.laboratory:
        laboratory = Laboratory.read(arguments.laboratory, arguments.without, arguments.trained_with)
        config = AdaptationConfig.from_toml(arguments.config or DEFAULT)
        draws = range(1, arguments.draws + 1)
        for done in measure(laboratory, arguments.cells, draws, config, arguments.out, undrawn=arguments.undrawn):
            say(f"{done['laboratory']}, {done['variant']}")
    print(adaptation_table(arguments.out))
    return 0


def _table(arguments: argparse.Namespace) -> int:
    text = results_table(arguments.out or load_settings().runs / "validation", arguments.baseline)
    if arguments.write:
        write_results(text)
    print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.experiments", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    honest = commands.add_parser("validate", help="train configs once a split and score what was held out; resumable")
    honest.add_argument(
        "--config", type=Path, nargs="+", required=True, help="TOML files of settings, one run each, in this order"
    )
    honest.add_argument("--scheme", choices=list(Scheme), default=Scheme.LEAVE_ONE_SOURCE_OUT)
    honest.add_argument("--k", type=int, default=5, help="number of folds, for the grouped scheme")
    honest.add_argument(
        "--subset", type=int, default=40, help="images of a source that are shown disturbed as well (0: all)"
    )
    honest.add_argument("--out", type=Path, help="folder of runs (default: validation in the folder of runs)")
    honest.add_argument(
        "--workers", type=int, default=1, help="processes that share the splits; a config gives each its threads"
    )
    honest.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    honest.set_defaults(run=_validate)
    pseudo = commands.add_parser("pseudo", help="outline what nobody drew, and keep what the model is consistent about")
    pseudo.add_argument("--model", required=True, help="model of the manifest, or the folder of a training run")
    pseudo.add_argument(
        "--out", type=Path, required=True, help="folder of the data set to make, outside the repository or under runs/"
    )
    pseudo.add_argument(
        "--data-set", default="acevedo", help="data set to outline; refused where its terms forbid training"
    )
    pseudo.add_argument(
        "--types", nargs="+", choices=list(CellType), default=["lymphocyte", "monocyte", "promyelocyte"], metavar="TYPE"
    )
    pseudo.add_argument("--limit", type=int, default=300, help="at most so many images, evenly over the types (0: all)")
    pseudo.add_argument(
        "--agreement", type=float, default=0.92, help="least Dice of nucleus and of cytoplasm between turned views"
    )
    pseudo.add_argument("--seed", type=int, default=7)
    pseudo.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    pseudo.set_defaults(run=_pseudo)
    boxed = commands.add_parser("boxed", help="outline the leukocytes in drawn boxes, and keep what fits its box")
    boxed.add_argument("--model", required=True, help="model of the manifest, or the folder of a training run")
    boxed.add_argument(
        "--out", type=Path, required=True, help="folder of the data set to make, outside the repository or under runs/"
    )
    boxed.add_argument("--data-set", default="txl_pbc", help="data set with drawn boxes (labels/ beside images/)")
    text = "sources of it to leave out (default: BCCD, of which there are drawn masks)"
    boxed.add_argument("--without", nargs="*", default=["BCCD"], metavar="SOURCE", help=text)
    boxed.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    boxed.set_defaults(run=_boxed)
    adapted = commands.add_parser("adaptation", help="how many cells make a model a laboratory's own; resumable")
    adapted.add_argument("--out", type=Path, required=True, help="folder of what was measured; alone: the table of it")
    adapted.add_argument("--laboratory", help="data set that was left out")
    adapted.add_argument("--without", type=Path, metavar="RUN", help="run that never saw it")
    adapted.add_argument("--trained-with", type=Path, metavar="RUN", help="run of the same recipe that did")
    adapted.add_argument("--cells", type=int, nargs="+", default=[5, 10, 25, 50], help="how many cells are taught")
    adapted.add_argument("--draws", type=int, default=3, help="how often they are drawn anew")
    adapted.add_argument("--undrawn", action="store_true", help="also what can be done without any drawing")
    adapted.add_argument("--config", type=Path, help="TOML file of settings (default: training/configs/adapt.toml)")
    adapted.set_defaults(run=_adaptation)
    table = commands.add_parser("table", help="what all finished validations gave, the best first")
    table.add_argument("--out", type=Path, help="folder of runs (default: validation in the folder of runs)")
    table.add_argument("--baseline", default="base", help="name of the config that the others are compared with")
    table.add_argument("--write", action="store_true", help="put the table into training/EXPERIMENTS.md")
    table.set_defaults(run=_table)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    command_line = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_args(command_line)
    arguments.command_line = command_line
    log_to_terminal()
    try:
        return int(arguments.run(arguments))
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
