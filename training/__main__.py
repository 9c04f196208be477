"""`python -m training`: copy images for training, compare architectures, train a network, and score it."""

import argparse
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import torch

from core.datasets import COPIES_MANIFEST
from core.errors import CoreError, UsageError
from core.inference.model_registry import find_model
from core.inference.providers import Device
from core.inference.segmenter import OnnxSegmenter
from core.settings import load_settings
from core.store import model_selection as results
from training.augment import write_copies
from training.config import SelectionConfig, TrainingConfig
from training.data import masked_samples
from training.evaluate import annotator_agreement, by_data_set, evaluate, summarise
from training.loop import EpochLog, fit
from training.selection import Progress, select, units_of
from training.trainer import find_device


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
        return _share(arguments, root)

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


def _share(arguments: argparse.Namespace, root: Path) -> int:
    """Let several processes work on one run; on CUDA they take turns at the devices there are."""
    device = find_device(arguments.device)
    cards = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 0
    command = [sys.executable, "-m", "training", "select", "--config", str(arguments.config), "--out", str(root)]
    workers = [
        subprocess.Popen([*command, "--device", f"cuda:{number % cards}" if cards else str(device)]) for number in range(arguments.workers)
    ]
    try:
        return max(abs(worker.wait()) for worker in workers)
    finally:
        for worker in workers:
            worker.terminate()


def _evaluate(arguments: argparse.Namespace) -> int:
    entry = find_model(arguments.model)
    samples = masked_samples(tuple(arguments.data_sets))
    chosen = samples
    if arguments.part != "all":
        if entry.split is None:
            msg = f"model {entry.model_id} has no split on record; use --part all"
            raise UsageError(msg)
        ids = set(json.loads(entry.split.read_text(encoding="utf-8"))[arguments.part])
        chosen = [sample for sample in samples if sample.sample_id in ids]
    scores = evaluate(OnnxSegmenter.from_entry(entry, Device.CPU), chosen)
    report = {
        "model": entry.model_id,
        "part": arguments.part,
        "all": summarise(scores),
        **by_data_set(scores),
        "annotators": annotator_agreement(samples),
    }
    print(json.dumps(report, indent=1))
    return 0


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
    score = commands.add_parser("evaluate", help="score a model of the manifest on drawn masks, beside the annotators' own agreement")
    score.add_argument("--model", help="model of the manifest (default: its default)")
    score.add_argument("--part", choices=["train", "validation", "test", "all"], default="test", help="part of the model's recorded split")
    score.add_argument("--data-sets", nargs="+", default=["set1", "set2"])
    score.set_defaults(run=_evaluate)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return int(arguments.run(arguments))
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
