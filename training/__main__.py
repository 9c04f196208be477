"""`python -m training`: copy images for training, compare architectures, train a network, validate and score it, run experiments."""

import argparse
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import torch

from core.cell_types import CellType
from core.charts.overlay import field_png
from core.datasets import COPIES_MANIFEST, Sample
from core.errors import CoreError, UsageError
from core.fields import FieldCell
from core.inference.model_registry import ModelEntry, find_model
from core.inference.providers import Device
from core.inference.segmenter import VIEWS, OnnxSegmenter, TwoPassSegmenter
from core.settings import load_settings
from core.store import model_selection as results
from core.types import CellImage
from training.augment import write_copies
from training.background import detach, lower_priority, read_queue, run_queue
from training.calibration import calibration_error, fit_temperature, logits_of, trust
from training.config import SelectionConfig, TrainingConfig
from training.data import SegDataset, load_labelled, masked_samples
from training.evaluate import annotator_agreement, by_data_set, evaluate, summarise
from training.experiments import cost_of, results_table, write_results
from training.fields import MadeField, score_fields, summarise_fields
from training.loop import SPLIT_FILE, EpochLog, fit
from training.pseudo import unlabelled_samples, write_pseudo
from training.segmenter import TorchSegmenter
from training.selection import Progress, select, units_of
from training.trainer import find_device
from training.validation import REPORT_FILE, Plan, Scheme, Split, validate


def _finetune(arguments: argparse.Namespace) -> int:
    config = TrainingConfig.from_toml(arguments.config) if arguments.config else TrainingConfig()
    started = time.monotonic()
    epochs = config.epochs

    def show(row: EpochLog) -> None:
        left = row.seconds * (epochs - row.epoch) / 60
        print(
            f"epoch {row.epoch}/{epochs}: loss {row.train_loss:.4f}, validation nucleus {row.val_dice_nucleus:.4f} "
            f"cytoplasm {row.val_dice_cytoplasm:.4f}, {row.seconds:.0f} s, about {left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    report = fit(config, arguments.out, device=find_device(arguments.device), on_epoch=show)
    for region in ("nucleus", "cytoplasm"):
        found = report.test[region]
        low, high = found["dice_ci95"]
        print(
            f"test, {report.test['images']} images never seen: {region} Dice {found['dice_mean']:.4f} +- {found['dice_std']:.4f} "
            f"(95 % interval of the mean {low:.4f} to {high:.4f})"
        )
    print(
        f"{report.epochs} epochs in {(time.monotonic() - started) / 60:.1f} min; best validation Dice {report.best_val_dice:.4f} "
        f"in epoch {report.best_epoch}{' (stopped early)' if report.stopped_early else ''}; next: python -m export {report.folder}"
    )
    return 0


def _augment(arguments: argparse.Namespace) -> int:
    samples = masked_samples(tuple(arguments.data_sets))

    def show(number: int) -> None:
        print(f"\r{number}/{len(samples)} images", end="", file=sys.stderr, flush=True)

    written = write_copies(samples, arguments.out, on_image=show)
    print(file=sys.stderr)
    print(f"{written} copies of {len(samples)} images in {arguments.out}; their originals are in {arguments.out / COPIES_MANIFEST}")
    return 0


def _select(arguments: argparse.Namespace) -> int:
    config = SelectionConfig.from_toml(arguments.config)
    root = arguments.out or load_settings().selection
    if arguments.retry:
        dropped = results.discard_failed(root / config.name)
        print(f"{dropped} failed folds will be tried again", file=sys.stderr)
    if arguments.workers > 1:
        command = ["select", "--config", str(arguments.config), "--out", str(root)]
        return _share(command, arguments.workers, arguments.device)

    def show(progress: Progress) -> None:
        row = progress.row
        name = f"{row['protocol']} k={row['k']} fold {row['fold']} {row['architecture']}"
        scores = f"nucleus {row['dice_nucleus']:.4f} cytoplasm {row['dice_cytoplasm']:.4f}" if row["status"] == "done" else row["status"]
        print(
            f"{progress.done}/{progress.units} {name}: {scores}, {row['seconds']:.0f} s, about {progress.minutes_left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    folder = select(config, root, find_device(arguments.device), on_unit=show)
    table = results.read(folder, "folds")
    failed = table[table["status"] != "done"]
    for row in failed.to_dict("records"):
        print(f"failed: {row['protocol']} k={row['k']} fold {row['fold']} {row['architecture']}: {row['reason']}", file=sys.stderr)
    print(f"{len(table)} of {len(units_of(config))} folds are in {folder}")
    return 1 if len(failed) else 0


def _share(command: list[str], workers: int, device_name: str) -> int:
    """Let several processes work on one run; on CUDA they take turns at the devices there are."""
    device = find_device(device_name)
    cards = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 0
    started = [
        subprocess.Popen([sys.executable, "-m", "training", *command, "--device", f"cuda:{number % cards}" if cards else str(device)])
        for number in range(workers)
    ]
    try:
        return max(abs(worker.wait()) for worker in started)
    finally:
        for worker in started:
            worker.terminate()


def _validate(arguments: argparse.Namespace) -> int:
    plan = Plan(Scheme(arguments.scheme), arguments.k, arguments.subset)
    root = arguments.out or load_settings().runs / "validation"
    configs = [TrainingConfig.from_toml(path) for path in arguments.config]
    if arguments.workers > 1:
        paths = [str(path) for path in arguments.config]
        options = ["--scheme", plan.scheme, "--k", str(plan.k), "--subset", str(plan.subset), "--out", str(root)]
        return _share(["validate", "--config", *paths, *options], arguments.workers, arguments.device)
    for config in configs:

        def show(split: Split, row: EpochLog, config: TrainingConfig = config) -> None:
            print(
                f"{config.name} {split.name} epoch {row.epoch}/{config.epochs}: loss {row.train_loss:.4f}, validation nucleus "
                f"{row.val_dice_nucleus:.4f} cytoplasm {row.val_dice_cytoplasm:.4f}, {row.seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )

        folder = validate(config, root, plan, find_device(arguments.device), on_epoch=show)
        report = folder / REPORT_FILE
        if report.exists():
            print(f"{config.name}: criterion {json.loads(report.read_text(encoding='utf-8'))['criterion']:.4f}, in {report}")
        else:
            print(f"{config.name}: other processes work on what is left in {folder}")
    return 0


def _pseudo(arguments: argparse.Namespace) -> int:
    samples = unlabelled_samples(arguments.data_set, [CellType(name) for name in arguments.types], arguments.limit, arguments.seed)
    folder = Path(arguments.model)
    teacher: TwoPassSegmenter
    if folder.is_dir():
        teacher, split = TorchSegmenter.from_run(folder, find_device(arguments.device), views=8), folder / SPLIT_FILE
    else:
        entry = find_model(arguments.model)
        if entry.split is None:
            msg = f"model {entry.model_id} has no split on record, so nobody could tell what its pseudo-labels know; take a run's folder"
            raise UsageError(msg)
        teacher, split = OnnxSegmenter.from_entry(entry, Device.CPU, threads=2, views=8), entry.split

    def show(number: int) -> None:
        print(f"\r{number}/{len(samples)} images", end="", file=sys.stderr, flush=True)

    kept, seen = write_pseudo(teacher, split, samples, arguments.out, least_agreement=arguments.agreement, on_image=show)
    print(file=sys.stderr)
    print(f"{kept} of {seen} images of {arguments.data_set} are outlined consistently; they are the data set {arguments.out}")
    return 0


def _cost(arguments: argparse.Namespace) -> int:
    for path in arguments.config:
        config = TrainingConfig.from_toml(path)
        print(json.dumps({"config": config.name, **cost_of(config, arguments.batches, find_device(arguments.device))}), flush=True)
    return 0


def _queue(arguments: argparse.Namespace) -> int:
    commands = read_queue(arguments.file)
    if arguments.background:
        log = load_settings().runs / "queue.log"
        print(f"process {detach(['queue', str(arguments.file.resolve())], log)} works on {len(commands)} commands; it writes to {log}")
        return 0
    lower_priority()
    failed = 0
    for command, code, minutes in run_queue(commands):
        failed += code != 0
        print(f"{'done' if code == 0 else f'FAILED ({code})'} after {minutes:.1f} min: {' '.join(command)}", flush=True)
    return 1 if failed else 0


def _experiments(arguments: argparse.Namespace) -> int:
    text = results_table(arguments.out or load_settings().runs / "validation", arguments.baseline)
    if arguments.write:
        write_results(text)
    print(text)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    entry = find_model(arguments.model)
    samples = masked_samples(tuple(arguments.data_sets))
    chosen = _of_part(samples, entry, arguments.part)
    segmenter = OnnxSegmenter.from_entry(entry, Device.CPU, views=arguments.views)
    scores = evaluate(segmenter, chosen)
    report = {
        "model": entry.model_id,
        "part": arguments.part,
        "views": arguments.views,
        "all": summarise(scores),
        **by_data_set(scores),
        "confidence": trust(scores),
        **_calibration(segmenter, entry, samples, chosen),
        "annotators": annotator_agreement(samples),
    }
    print(json.dumps(report, indent=1))
    return 0


def _of_part(samples: list[Sample], entry: ModelEntry, part: str) -> list[Sample]:
    """The samples of one part of the split that a model was trained with."""
    if part == "all":
        return samples
    if entry.split is None:
        msg = f"model {entry.model_id} has no split on record; use --part all"
        raise UsageError(msg)
    ids = set(json.loads(entry.split.read_text(encoding="utf-8"))[part])
    return [sample for sample in samples if sample.sample_id in ids]


def _fields(arguments: argparse.Namespace) -> int:
    entry = find_model(arguments.model)
    outline = OnnxSegmenter.from_entry(entry, Device.CPU, views=arguments.views).outline
    report: dict[str, object] = {"model": entry.model_id, "part": arguments.part, "views": arguments.views, "seed": arguments.seed}
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    for name in arguments.data_sets:
        items = [load_labelled(sample)[0] for sample in _of_part(masked_samples((name,)), entry, arguments.part)]

        def show(number: int, made: MadeField, found: list[FieldCell], name: str = name) -> None:
            print(
                f"{name}: field {number + 1}/{arguments.fields}: {len(found)} of {len(made.standings)} cells", file=sys.stderr, flush=True
            )
            if arguments.pictures:
                file = arguments.pictures / f"{Path(name).name}_{number:02d}.png"
                file.write_bytes(field_png(CellImage(made.rgb, file.name, ""), [(cell.place, cell.labels) for cell in found]))

        scores = score_fields(
            outline,
            items,
            arguments.fields,
            cells=arguments.cells,
            side=arguments.side,
            touching=arguments.touching,
            seed=arguments.seed,
            on_field=show,
        )
        report[name] = summarise_fields(scores)
    print(json.dumps(report, indent=1))
    return 0


def _calibration(segmenter: OnnxSegmenter, entry: ModelEntry, samples: list[Sample], chosen: list[Sample]) -> dict[str, object]:
    """The temperature that the model's own validation part asks for, and what it would change on the chosen images; {} without a split."""
    if entry.split is None:
        return {}
    ids = set(json.loads(entry.split.read_text(encoding="utf-8"))["validation"])
    validation = [sample for sample in samples if sample.sample_id in ids]
    if not validation:
        return {}
    config = TrainingConfig(input_size=entry.card.input_size, cell_fill=entry.card.cell_fill)

    def of(part: list[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
        data = SegDataset.from_samples(part, config, augment=False)
        return logits_of(lambda images: torch.from_numpy(segmenter.logits(images.numpy())), data, config.batch_size)

    temperature = fit_temperature(*of(validation))
    tested = of(chosen)
    return {
        "calibration": {
            "temperature": round(temperature, 3),
            "error": round(calibration_error(*tested), 4),
            "error_tempered": round(calibration_error(*tested, temperature), 4),
        }
    }


def _add_experiments(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The commands of `training/EXPERIMENTS.md`."""
    honest = commands.add_parser(
        "validate", help="train configs once a split and score what was held out; goes on where a killed run stopped"
    )
    honest.add_argument("--config", type=Path, nargs="+", required=True, help="TOML files of settings, one run each, in this order")
    honest.add_argument("--scheme", choices=list(Scheme), default=Scheme.LEAVE_ONE_SOURCE_OUT)
    honest.add_argument("--k", type=int, default=5, help="number of folds, for the grouped scheme")
    honest.add_argument("--subset", type=int, default=40, help="images of a source that are shown disturbed as well (0: all)")
    honest.add_argument("--out", type=Path, help="folder of runs (default: validation in the folder of runs)")
    honest.add_argument(
        "--workers", type=int, default=1, help="processes that share the splits; give each its share of threads in the config"
    )
    honest.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    honest.set_defaults(run=_validate)
    pseudo = commands.add_parser(
        "pseudo", help="outline images that nobody drew, and keep what the model is consistent about as a data set"
    )
    pseudo.add_argument("--model", required=True, help="model of the manifest, or the folder of a training run")
    pseudo.add_argument("--out", type=Path, required=True, help="folder of the data set to make, outside the repository or under runs/")
    pseudo.add_argument("--data-set", default="acevedo", help="data set to outline; refused where its terms forbid training")
    pseudo.add_argument("--types", nargs="+", choices=list(CellType), default=["lymphocyte", "monocyte", "promyelocyte"], metavar="TYPE")
    pseudo.add_argument("--limit", type=int, default=300, help="at most so many images, evenly over the types (0: all)")
    pseudo.add_argument("--agreement", type=float, default=0.92, help="least Dice of nucleus and of cytoplasm between turned views")
    pseudo.add_argument("--seed", type=int, default=7)
    pseudo.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    pseudo.set_defaults(run=_pseudo)
    cost = commands.add_parser("cost", help="measure what an epoch of a config, its validation and its passes take on this machine")
    cost.add_argument("--config", type=Path, nargs="+", required=True)
    cost.add_argument("--batches", type=int, default=4)
    cost.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    cost.set_defaults(run=_cost)
    queue = commands.add_parser("queue", help="run a list of these commands one after the other, at the lowest priority")
    queue.add_argument("file", type=Path, help="a command a line, without `python -m training`, as training/configs/experiments/queue.txt")
    queue.add_argument("--background", action="store_true", help="go on by itself, and write to queue.log in the folder of runs")
    queue.set_defaults(run=_queue)
    table = commands.add_parser("experiments", help="what all finished validations gave, the best first")
    table.add_argument("--out", type=Path, help="folder of runs (default: validation in the folder of runs)")
    table.add_argument("--baseline", default="base", help="name of the config that the others are compared with")
    table.add_argument("--write", action="store_true", help="put the table into training/EXPERIMENTS.md")
    table.set_defaults(run=_experiments)


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    finetune = commands.add_parser("finetune", help="train a network; goes on where a killed run stopped")
    finetune.add_argument("--config", type=Path, help="TOML file of settings (default: those of the shipped model)")
    finetune.add_argument("--out", type=Path, required=True, help="folder of the run")
    finetune.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    finetune.set_defaults(run=_finetune)
    augment = commands.add_parser("augment", help="write sixteen copies of every image: rotations by 45 degrees, and the flip's")
    augment.add_argument("--data-sets", nargs="+", default=["set2"], help="names of data sets, or folders with images/ and masks/")
    augment.add_argument("--out", type=Path, required=True, help="new folder; it can be named as a data set afterwards")
    augment.set_defaults(run=_augment)
    choose = commands.add_parser("select", help="compare architectures by k-fold cross-validation; goes on where a killed run stopped")
    choose.add_argument("--config", type=Path, required=True, help="TOML file of settings, as in training/configs")
    choose.add_argument("--out", type=Path, help="folder of results (default: LEUKOSCOPE_SELECTION, or the one of the committed runs)")
    choose.add_argument("--workers", type=int, default=1, help="processes that share the run; more can be started at any time, anywhere")
    choose.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<number>")
    choose.add_argument("--retry", action="store_true", help="first forget the folds that failed")
    choose.set_defaults(run=_select)
    scored = argparse.ArgumentParser(add_help=False)
    scored.add_argument("--model", help="model of the manifest (default: its default)")
    scored.add_argument("--part", choices=["train", "validation", "test", "all"], default="test", help="part of the model's recorded split")
    scored.add_argument("--data-sets", nargs="+", default=["set1", "set2"])
    scored.add_argument("--views", type=int, choices=VIEWS, default=1, help="average so many rotations and mirror images in the fine pass")
    text = "score a model of the manifest on drawn masks, beside the annotators' own agreement"
    commands.add_parser("evaluate", help=text, parents=[scored]).set_defaults(run=_evaluate)
    text = "score how a model finds and outlines the cells of fields, made of drawn cells with platelets and red cells of the same images"
    fields = commands.add_parser("fields", help=text, parents=[scored])
    fields.add_argument("--fields", type=int, default=8, help="fields per data set")
    fields.add_argument("--cells", type=int, default=18, help="cells per field, as far as there is room")
    fields.add_argument("--side", type=int, help="side of a field in pixels (default: five times that of the images)")
    fields.add_argument("--touching", type=float, default=0.5, help="share of the cells that touch another one")
    fields.add_argument("--seed", type=int, default=7)
    fields.add_argument("--pictures", type=Path, help="folder for the fields with what was found; they are made of the data sets' images")
    fields.set_defaults(run=_fields)
    _add_experiments(commands)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return int(arguments.run(arguments))
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
