"""One training run: resumable, logged, returning its report. Nothing here prints."""

import copy
import csv
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from core.compartments import CHANNELS
from core.errors import DataSetError, UsageError
from training.architectures import build
from training.config import TrainingConfig
from training.data import SegDataset, load_labelled, masked_samples, split_samples
from training.losses import OBJECTS, hard_dice, segmentation_loss

logger = logging.getLogger(__name__)

CONFIG_FILE: Final = "config.toml"
LOG_FILE: Final = "log.csv"
SPLIT_FILE: Final = "split.json"
WEIGHTS_FILE: Final = "weights.safetensors"
CHECKPOINT_FILE: Final = "checkpoint.pt"


@dataclass(frozen=True)
class EpochLog:
    """One row of the training log. Dice are means over the validation images at canonical scale, of the averaged weights."""

    epoch: int
    train_loss: float
    val_loss: float
    val_dice_nucleus: float
    val_dice_cytoplasm: float
    learning_rate: float
    seconds: float

    @property
    def val_dice(self) -> float:
        """The thesis's figure: nucleus and cytoplasm averaged."""
        return (self.val_dice_nucleus + self.val_dice_cytoplasm) / 2


@dataclass(frozen=True)
class TrainingReport:
    """What a run came to."""

    folder: Path
    epochs: int
    best_epoch: int
    best_val_dice: float
    stopped_early: bool


class _Average:
    """Exponential moving average of the weights, warmed up so that early epochs are not dominated by the start."""

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: torch.nn.Module) -> None:
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        for mine, theirs in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


def fit(config: TrainingConfig, folder: Path, *, on_epoch: Callable[[EpochLog], None] | None = None) -> TrainingReport:
    """Train into `folder`, or go on where a killed run of the same config stopped.

    Leaves config, split, log and the best weights (safetensors, by validation Dice of the averaged weights).
    Raises UsageError when the folder holds a run of another config, DataSetError when there are too few images to divide.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config_file = folder / CONFIG_FILE
    if config_file.exists() and TrainingConfig.from_toml(config_file) != config:
        msg = f"{folder} holds a run with other settings; choose another folder, or the same settings to go on"
        raise UsageError(msg)
    config_file.write_text(config.to_toml(), encoding="utf-8")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)

    parts = split_samples(masked_samples(config.data_sets), config)
    if not all(parts.values()):
        msg = f"every part needs images, but there are { ({part: len(samples) for part, samples in parts.items()}) }; give more images"
        raise DataSetError(msg)
    split = {part: sorted(sample.sample_id for sample in samples) for part, samples in parts.items()}
    (folder / SPLIT_FILE).write_text(json.dumps(split, indent=1), encoding="utf-8")
    train_set = SegDataset([load_labelled(sample)[0] for sample in parts["train"]], config, augment=True)
    val_set = SegDataset([load_labelled(sample)[0] for sample in parts["validation"]], config, augment=False)
    logger.info("training on %d images, validating on %d", len(train_set), len(val_set))

    network = build(config.architecture, config.encoder).to(memory_format=torch.channels_last)
    steps = max(1, len(train_set) // config.batch_size)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.epochs * steps, pct_start=0.15, cycle_momentum=False
    )
    average = _Average(network, config.ema_decay)
    log: list[EpochLog] = []

    checkpoint = folder / CHECKPOINT_FILE
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        network.load_state_dict(state["network"])
        average.network.load_state_dict(state["average"])
        average.steps = state["average_steps"]
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        log = [EpochLog(**row) for row in state["log"]]
        logger.info("going on after epoch %d", len(log))

    while len(log) < config.epochs and not _stopped_early(log, config):
        started = time.monotonic()
        train_set.epoch = len(log)
        train_loss = _train_epoch(network, train_set, config, optimiser, schedule, average)
        val_loss, dice = _validate(average.network, val_set, config)
        row = EpochLog(
            len(log) + 1,
            train_loss,
            val_loss,
            dice["nucleus"],
            dice["cytoplasm"],
            float(schedule.get_last_lr()[0]),
            time.monotonic() - started,
        )
        log.append(row)
        if _best(log) is row:
            _write_weights(average.network, folder / WEIGHTS_FILE)
        _write_log(log, folder / LOG_FILE)
        _write_checkpoint(
            checkpoint,
            {
                "network": network.state_dict(),
                "average": average.network.state_dict(),
                "average_steps": average.steps,
                "optimiser": optimiser.state_dict(),
                "schedule": schedule.state_dict(),
                "log": [asdict(row) for row in log],
            },
        )
        if on_epoch:
            on_epoch(row)
    best = _best(log)
    return TrainingReport(folder, len(log), best.epoch, best.val_dice, _stopped_early(log, config))


def _best(log: list[EpochLog]) -> EpochLog:
    """The row of highest validation Dice, the first of equals."""
    return max(log, key=lambda row: row.val_dice)


def _stopped_early(log: list[EpochLog], config: TrainingConfig) -> bool:
    return bool(log) and len(log) - _best(log).epoch >= config.patience


def _train_epoch(
    network: torch.nn.Module,
    data: SegDataset,
    config: TrainingConfig,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    average: _Average,
) -> float:
    network.train()
    order = torch.Generator().manual_seed(config.seed * 100_003 + data.epoch)
    loader = DataLoader(
        data, config.batch_size, shuffle=True, drop_last=len(data) > config.batch_size, num_workers=config.workers, generator=order
    )
    total, count = 0.0, 0
    for images, targets in loader:
        optimiser.zero_grad(set_to_none=True)
        loss = segmentation_loss(network(images.to(memory_format=torch.channels_last)), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update(network)
        total, count = total + float(loss.detach()) * len(images), count + len(images)
    return total / count


@torch.no_grad()
def _validate(network: torch.nn.Module, data: SegDataset, config: TrainingConfig) -> tuple[float, dict[str, float]]:
    losses, scores = [], []
    for images, targets in DataLoader(data, config.batch_size):
        logits = network(images.to(memory_format=torch.channels_last))
        losses.append(segmentation_loss(logits, targets) * len(images))
        scores.append(hard_dice(logits, targets))
    mean = torch.cat(scores).mean(dim=0)
    dice = {CHANNELS[channel].label: float(mean[position]) for position, channel in enumerate(OBJECTS)}
    return float(torch.stack(losses).sum() / len(data)), dice


def _write_weights(network: torch.nn.Module, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, temporary)
    temporary.replace(path)


def _write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def _write_log(log: list[EpochLog], path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [f.name for f in fields(EpochLog)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in log)
    temporary.replace(path)
