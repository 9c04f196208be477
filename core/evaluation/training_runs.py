"""Fine-tuning runs on disk, finished or going on: what `python -m training finetune` leaves in a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from core.domain.errors import StoreError
from core.domain.settings import load_settings
from core.support import files, records

CONFIG_FILE: Final = "config.toml"
LOG_FILE: Final = "log.csv"
SCORES_FILE: Final = "scores.json"
CASES_FOLDER: Final = "cases"
MESSAGES_FILE: Final = "messages.log"
# The levels of messages that somebody ought to read.
_WARNINGS: Final = ("WARNING", "ERROR", "CRITICAL")
_PATIENCE_EPOCHS: Final = 3
_SHORTEST_EPOCH_S: Final = 10.0


@dataclass(frozen=True)
class TrainingRun:
    """A folder of one run; its log has a row for each epoch that has ended."""

    folder: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def modified(self) -> float:
        """When the last epoch ended, in seconds since 1970; 0 where the log is gone."""
        log = self.folder / LOG_FILE
        return log.stat().st_mtime if log.is_file() else 0.0

    def config(self) -> str:
        """The settings, as TOML; raises StoreError naming a damaged file."""
        path = self.folder / CONFIG_FILE
        try:
            return files.read_text(path)
        except (OSError, ValueError) as error:
            msg = f"{path} cannot be read ({error}); put the file back that the training was started with"
            raise StoreError(msg) from error

    def warnings(self) -> list[str]:
        """What was warned of while it was worked on; raises StoreError naming a damaged file."""
        path = self.folder / MESSAGES_FILE
        if not path.is_file():
            return []
        try:
            lines = [line.split(" ", 2) for line in files.read_text(path).splitlines()]
        except (OSError, ValueError) as error:
            msg = f"{path} cannot be read ({error}); delete it: nothing else depends on it"
            raise StoreError(msg) from error
        return [line[2] for line in lines if len(line) > 2 and line[1] in _WARNINGS]

    def log(self) -> pd.DataFrame:
        """The log, one row an epoch; raises StoreError naming a damaged file."""
        return read_log(self.folder / LOG_FILE)

    def scores(self) -> dict[str, Any] | None:
        """Scores of the test part, or None while the training goes on; raises StoreError naming a damaged file."""
        path = self.folder / SCORES_FILE
        if not path.is_file():
            return None
        try:
            scores: dict[str, Any] = records.parsed(files.read_bytes(path))
        except (OSError, ValueError) as error:
            msg = f"{path} cannot be read ({error}); delete it, and the same finetune command scores the run again"
            raise StoreError(msg) from error
        return scores

    def going_on(self, now: float) -> bool:
        """Whether it probably still runs at a time in seconds since 1970; raises StoreError.

        It does not if its last epoch ended longer ago than three of its epochs take.
        """
        if self.scores() is not None:
            return False
        epoch_s = max(float(self.log()["seconds"].mean()), _SHORTEST_EPOCH_S)
        return now - self.modified < _PATIENCE_EPOCHS * epoch_s

    def cases(self, end: str) -> list[Path]:
        """Pictures of the "best" or "worst" test images, most extreme first: image, drawn and predicted outlines."""
        return sorted((self.folder / CASES_FOLDER).glob(f"{end}-*.png"))


def training_runs(root: Path | None = None) -> list[TrainingRun]:
    """Runs in folders under `root` (default: the settings' folder of runs), the latest first; may be empty."""
    base = root or load_settings().runs
    runs = [TrainingRun(path.parent) for path in base.glob(f"*/{LOG_FILE}") if (path.parent / CONFIG_FILE).is_file()]
    return sorted(runs, key=lambda run: -run.modified)


def read_log(path: Path) -> pd.DataFrame:
    """A training log, one row an epoch; raises StoreError naming a damaged file."""
    try:
        with files.open_bytes(path) as file:
            return pd.read_csv(file)
    except (OSError, ValueError) as error:  # pandas' errors are ValueErrors
        msg = f"{path} cannot be read ({error}); it is written anew when the training goes on"
        raise StoreError(msg) from error


def best_epoch(log: pd.DataFrame) -> pd.Series:
    """The row of a training log with the best Dice on the validation images, nucleus and cytoplasm counted alike."""
    mean = log[["val_dice_nucleus", "val_dice_cytoplasm"]].mean(axis=1)
    return log.iloc[int(mean.to_numpy().argmax())]
