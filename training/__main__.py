"""`python -m training`: train a segmentation network and score it."""

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from core.errors import CoreError, UsageError
from core.inference.model_registry import find_model
from core.inference.providers import Device
from core.inference.segmenter import OnnxSegmenter
from training.config import TrainingConfig
from training.data import masked_samples
from training.evaluate import annotator_agreement, by_data_set, evaluate, summarise
from training.loop import EpochLog, fit


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

    report = fit(config, arguments.out, on_epoch=show)
    print(
        f"{report.epochs} epochs in {(time.monotonic() - started) / 60:.1f} min; best validation Dice {report.best_val_dice:.4f} "
        f"in epoch {report.best_epoch}{' (stopped early)' if report.stopped_early else ''}; next: python -m export {report.folder}"
    )
    return 0


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
    finetune.set_defaults(run=_finetune)
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
