"""`python -m training`: train a segmentation network and score it."""

import argparse
import logging
import sys
import time
from pathlib import Path

from core.errors import CoreError
from training.config import TrainingConfig
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


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    finetune = commands.add_parser("finetune", help="train a network; goes on where a killed run stopped")
    finetune.add_argument("--config", type=Path, help="TOML file of settings (default: those of the shipped model)")
    finetune.add_argument("--out", type=Path, required=True, help="folder of the run")
    finetune.set_defaults(run=_finetune)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        return int(arguments.run(arguments))
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
