"""The training of a localiser: epochs of scenes, averaged weights, a checkpoint after each."""

import csv
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

from core.domain.errors import DataSetError, ModelError, UsageError
from core.support import files
from training.localiser.boxes import BoxedImage, read_boxed, split_boxed
from training.localiser.config import LocaliserConfig
from training.localiser.loss import localiser_loss
from training.localiser.network import LocaliserNetwork
from training.localiser.scenes import SceneDataset
from training.trainer import Average, DivergedError, read_checkpoint, write_checkpoint, write_weights

CONFIG_FILE: Final = "config.toml"
WEIGHTS_FILE: Final = "weights.safetensors"
SPLIT_FILE: Final = "split.json"
LOG_FILE: Final = "log.csv"
CHECKPOINT_FILE: Final = "checkpoint.pt"
SCORES_FILE: Final = "scores.json"


@dataclass(frozen=True)
class LocaliserEpoch:
    """A row of the log: the mean loss, and the seconds it took."""

    epoch: int
    loss: float
    learning_rate: float
    seconds: float


def fit_localiser(
    config: LocaliserConfig, folder: Path, *, on_epoch: Callable[[LocaliserEpoch], None] | None = None
) -> tuple[list[BoxedImage], list[BoxedImage]]:
    """Train into `folder`, or go on with a stopped run of the same settings.

    Returns the images to choose thresholds on and those of the sources that were left out. No weights are chosen: the
    averaged ones after the last epoch count.

    Raises
    ------
    UsageError
        If the folder holds a run of other settings.
    DataSetError
        If the sources have no images to learn from.
    DivergedError
        If the loss is no longer a number.
    """
    path = folder / CONFIG_FILE
    if path.exists() and LocaliserConfig.from_toml(path) != config:
        msg = f"{folder} holds a run with other settings; choose another folder, or the same settings to go on"
        raise UsageError(msg)
    train, validation, held = split_boxed(read_boxed(config.sources), config)
    if not train:
        msg = "no image is left to learn from; leave fewer sources out"
        raise DataSetError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(path, config.to_toml())
    parts = {"train": train, "validation": validation, "left_out": held}
    split = {part: sorted(f"{image.source}/{image.image_id}" for image in own) for part, own in parts.items()}
    files.write_text(folder / SPLIT_FILE, json.dumps(split, indent=1))
    _train(config, train, folder, on_epoch)
    return validation, held


def load_localiser(run: Path) -> tuple[LocaliserNetwork, LocaliserConfig]:
    """The network of a run with its averaged weights, in eval mode, and its settings; raises ModelError without one."""
    if not (run / WEIGHTS_FILE).is_file():
        msg = f"{run} holds no {WEIGHTS_FILE}; `python -m training localise --out {run}` makes one"
        raise ModelError(msg)
    config = LocaliserConfig.from_toml(run / CONFIG_FILE)
    network = LocaliserNetwork(config.encoder, config.width, pretrained=False)
    network.load_state_dict(load_file(run / WEIGHTS_FILE))
    return network.eval(), config


def _train(
    config: LocaliserConfig,
    images: Sequence[BoxedImage],
    folder: Path,
    on_epoch: Callable[[LocaliserEpoch], None] | None,
) -> None:
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    data = SceneDataset(images, config, count=config.scenes_per_epoch)
    training = _LocaliserTraining(config)
    log: list[LocaliserEpoch] = []
    if (state := read_checkpoint(folder / CHECKPOINT_FILE)) is not None:
        training.restore(state)
        log = [LocaliserEpoch(**row) for row in state["log"]]
    while len(log) < config.epochs:
        started = time.monotonic()
        data.epoch = len(log)
        loss = training.epoch(DataLoader(data, config.batch_size, num_workers=config.workers, drop_last=True))
        log.append(LocaliserEpoch(len(log) + 1, loss, training.learning_rate, time.monotonic() - started))
        write_weights(folder / WEIGHTS_FILE, training.averaged)
        with files.replacing(folder / LOG_FILE) as unfinished, unfinished.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, [column.name for column in fields(LocaliserEpoch)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in log)
        write_checkpoint(folder / CHECKPOINT_FILE, {**training.state(), "log": [asdict(row) for row in log]})
        if on_epoch:
            on_epoch(log[-1])


class _LocaliserTraining:
    """Network, averaged weights, AdamW with a one-cycle schedule over the whole run."""

    def __init__(self, config: LocaliserConfig) -> None:
        network = LocaliserNetwork(config.encoder, config.width, frozen=config.frozen)
        self._network = network.to(memory_format=torch.channels_last)
        self._average = Average(self._network, config.ema_decay)
        trained = [parameter for parameter in self._network.parameters() if parameter.requires_grad]
        self._optimiser = torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)
        steps = config.epochs * (config.scenes_per_epoch // config.batch_size)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, config.learning_rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
        )

    @property
    def learning_rate(self) -> float:
        return float(self._schedule.get_last_lr()[0])

    @property
    def averaged(self) -> torch.nn.Module:
        return self._average.network

    def epoch(self, batches: DataLoader[tuple[torch.Tensor, ...]]) -> float:
        """One pass; the mean loss."""
        self._network.train()
        losses = []
        for images, *targets in batches:
            self._optimiser.zero_grad(set_to_none=True)
            maps = self._network(images.to(memory_format=torch.channels_last))
            loss = localiser_loss(maps, *targets)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), 5.0)
            self._optimiser.step()
            self._schedule.step()
            self._average.update(self._network)
            losses.append(loss.detach())
        mean = torch.stack(losses).mean()
        if not mean.isfinite():
            msg = f"the training loss is {float(mean)}; a lower learning_rate may help"
            raise DivergedError(msg)
        return float(mean)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""
        return {
            "network": self._network.state_dict(),
            "average": self._average.network.state_dict(),
            "average_steps": self._average.steps,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._network.load_state_dict(state["network"])
        self._average.network.load_state_dict(state["average"])
        self._average.steps = state["average_steps"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
