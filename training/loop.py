"""One fine-tuning run: one config in, one self-describing folder out; resumable, logged, scored at the end. Nothing here prints."""

import csv
import functools
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from core.datasets import Sample
from core.errors import DataSetError, ModelError, UsageError
from training.architectures import build, check_input
from training.calibration import fit_temperature, logits_of
from training.config import TrainingConfig
from training.data import SegDataset, masked_samples, split_samples
from training.evaluate import by_data_set, summarise
from training.final_test import score_items, write_cases
from training.losses import segmentation_loss
from training.provenance import commit, versions
from training.trainer import OBJECT_NAMES, Trainer, read_checkpoint, write_checkpoint

logger = logging.getLogger(__name__)

CONFIG_FILE: Final = "config.toml"
LOG_FILE: Final = "log.csv"
SPLIT_FILE: Final = "split.json"
WEIGHTS_FILE: Final = "weights.safetensors"
CHECKPOINT_FILE: Final = "checkpoint.pt"
SCORES_FILE: Final = "scores.json"
CASES_FOLDER: Final = "cases"


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
    """What a run came to; `test` is what `training.evaluate.summarise` says of the test part."""

    folder: Path
    epochs: int
    best_epoch: int
    best_val_dice: float
    stopped_early: bool
    test: dict[str, Any]


def load_network(run: Path) -> tuple[torch.nn.Module, TrainingConfig]:
    """The network of a training run with the weights it kept, in eval mode; raises ModelError for an unfinished run."""
    if not (run / WEIGHTS_FILE).is_file():
        msg = f"{run} holds no {WEIGHTS_FILE}; run `python -m training finetune --out {run}` first"
        raise ModelError(msg)
    config = TrainingConfig.from_toml(run / CONFIG_FILE)
    network = build(config.architecture, config.encoder, pretrained=False)
    network.load_state_dict(load_file(run / WEIGHTS_FILE))
    return network.eval(), config


def fit(
    config: TrainingConfig,
    folder: Path,
    *,
    parts: Mapping[str, list[Sample]] | None = None,
    device: torch.device | None = None,
    on_epoch: Callable[[EpochLog], None] | None = None,
) -> TrainingReport:
    """Train into `folder`, or go on where a killed run of the same config stopped; then score the test part, once, and keep its cases.

    The folder describes itself: `config.toml`, `split.json`, `log.csv` (a row as each epoch ends, so it can be watched), the best
    weights `weights.safetensors` (by validation Dice of the averaged weights), `scores.json` with the scores of the test part, Dice
    per image, versions and commit, and in `cases/` pictures of its best and worst. Runs on the CPU unless a `device` is given.
    `parts` are the samples to train on, validate and test, in place of those the config's shares give.

    Raises UsageError when the folder holds a run of another config, or where weights to begin with or pseudo-labels come of images
    that are to be tested on, DataSetError when there are too few images to divide, and
    DivergedError when the loss is no longer a number.
    """
    check_input(config.architecture, config.input_size, config.batch_size)
    folder.mkdir(parents=True, exist_ok=True)
    config_file = folder / CONFIG_FILE
    if config_file.exists() and TrainingConfig.from_toml(config_file) != config:
        msg = f"{folder} holds a run with other settings; choose another folder, or the same settings to go on"
        raise UsageError(msg)
    config_file.write_text(config.to_toml(), encoding="utf-8")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)

    if parts is None:
        parts = split_samples(masked_samples(config.data_sets), config)
    if not all(parts.values()):
        msg = f"every part needs images, but there are { ({part: len(samples) for part, samples in parts.items()}) }; give more images"
        raise DataSetError(msg)
    split = {part: sorted(sample.sample_id for sample in samples) for part, samples in parts.items()}
    (folder / SPLIT_FILE).write_text(json.dumps(split, indent=1), encoding="utf-8")
    pseudo = masked_samples((config.pseudo_set,)) if config.pseudo_set else []
    for whose, where in (("pseudo_set", config.pseudo_set), ("start_from", config.start_from)):
        if where:
            _refuse_leak(Path(where), split["test"], whose)
    data = {
        part: SegDataset.from_samples(samples, config, augment=part == "train", pseudo=pseudo if part == "train" else ())
        for part, samples in parts.items()
    }
    logger.info("images: %s; stray mask pixels repaired: %d", {k: len(v) for k, v in data.items()}, sum(d.repaired for d in data.values()))

    steps = max(1, (config.images_per_epoch or len(data["train"])) // config.batch_size)
    network = build(config.architecture, config.encoder, pretrained=not config.start_from)
    if config.start_from:
        first, began = load_network(Path(config.start_from))
        if (began.architecture, began.encoder) != (config.architecture, config.encoder):
            msg = f"start_from: {config.start_from} holds {began.architecture} on {began.encoder}; this run has another network"
            raise UsageError(msg)
        network.load_state_dict(first.state_dict())
    loss = functools.partial(segmentation_loss, boundary=config.boundary_weight, tversky=config.tversky_weight)
    total, device = config.epochs * steps, device or torch.device("cpu")
    trainer = Trainer(network, config, total_steps=total, device=device, cycles=config.cycles, loss=loss)
    log: list[EpochLog] = []
    last: dict[str, torch.Tensor] = {}
    checkpoint = folder / CHECKPOINT_FILE
    if (state := read_checkpoint(checkpoint)) is not None:
        trainer.restore(state)
        log = [EpochLog(**row) for row in state["log"]]
        last = state.get("last", last)
        logger.info("going on after epoch %d", len(log))

    while len(log) < config.epochs and not _stopped_early(log, config):
        started = time.monotonic()
        data["train"].epoch = len(log)
        train_loss = trainer.train_epoch(_shuffled(data["train"], config), seed=config.seed * 100_003 + len(log))
        val_loss, dice = trainer.validate(DataLoader(data["validation"], config.batch_size))
        mean = dict(zip(OBJECT_NAMES, dice.mean(dim=0).tolist(), strict=True))
        seconds = time.monotonic() - started
        row = EpochLog(len(log) + 1, train_loss, val_loss, mean["nucleus"], mean["cytoplasm"], trainer.learning_rate, seconds)
        log.append(row)
        if (place := _averaging(config, len(log))) > 0:
            last = _mean_weights(last, trainer.averaged.state_dict(), place)
            _write_weights(last, folder / WEIGHTS_FILE)
        elif not config.average_last and _best(log) is row:
            _write_weights(trainer.averaged.state_dict(), folder / WEIGHTS_FILE)
        _write_log(log, folder / LOG_FILE)
        write_checkpoint(checkpoint, {**trainer.state(), "log": [asdict(row) for row in log], "last": last})
        if on_epoch:
            on_epoch(row)

    scores_file = folder / SCORES_FILE
    if not scores_file.exists():
        trainer.averaged.load_state_dict(load_file(folder / WEIGHTS_FILE))
        _test(trainer, config, parts["test"], data, folder)
    best = _best(log)
    test = json.loads(scores_file.read_text(encoding="utf-8"))["test"]
    return TrainingReport(folder, len(log), best.epoch, best.val_dice, _stopped_early(log, config), test)


def _test(trainer: Trainer, config: TrainingConfig, samples: list[Sample], data: dict[str, SegDataset], folder: Path) -> None:
    """Score the test part with the best weights, and leave pictures and `scores.json`, in this order: the file says that all is done."""
    temperature = fit_temperature(*logits_of(trainer.predict, data["validation"], config.batch_size)) if config.calibrate else 1.0
    outcomes = score_items(trainer, data["test"], samples, config.batch_size)
    scores = [outcome.score for outcome in outcomes]
    write_cases(outcomes, folder / CASES_FOLDER)
    report = {
        "test": summarise(scores),
        "by_data_set": by_data_set(scores),
        "measured": f"on the network's grid of {config.input_size} px, in the canonical window around the drawn cell, best weights",
        "per_image": {score.sample_id: score.dice for score in scores},
        "repaired_mask_pixels": {part: part_data.repaired for part, part_data in data.items()},
        "temperature": temperature,
        "precision": trainer.precision,
        "versions": versions(),
        "commit": commit(),
    }
    unfinished = folder / f".{SCORES_FILE}"
    unfinished.write_text(json.dumps(report, indent=1), encoding="utf-8")
    unfinished.replace(folder / SCORES_FILE)


def _best(log: list[EpochLog]) -> EpochLog:
    """The row of highest validation Dice, the first of equals."""
    return max(log, key=lambda row: row.val_dice)


def _stopped_early(log: list[EpochLog], config: TrainingConfig) -> bool:
    return bool(log) and not config.average_last and len(log) - _best(log).epoch >= config.patience


def _averaging(config: TrainingConfig, epoch: int) -> int:
    """Which of the weights to average, counted from 1, are those after this epoch; 0 or less where they do not enter."""
    length = config.epochs // config.cycles if config.cycles > 1 else 1
    return config.average_last - (config.epochs - epoch) // length if epoch % length == 0 else 0


def _mean_weights(mean: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], count: int) -> dict[str, torch.Tensor]:
    """The mean of `count` states, of which `mean` is that of all but the last: stochastic weight averaging (Izmailov et al. 2018, UAI)."""
    new = {key: value.detach().cpu().clone() for key, value in weights.items()}
    if count == 1:
        return new
    return {key: mean[key].lerp(value, 1 / count) if value.is_floating_point() else value for key, value in new.items()}


def _refuse_leak(folder: Path, tested: list[str], whose: str) -> None:
    """Raise UsageError where a network that saw one of the tested images had a hand in what is in a folder, or where nobody can tell."""
    try:
        seen = json.loads((folder / SPLIT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{whose}: {folder} does not tell in {SPLIT_FILE} which images its network was trained on ({error})"
        raise UsageError(msg) from error
    if leaked := sorted(set(tested) & {*seen["train"], *seen["validation"]}):
        msg = f"{whose}: the network of {folder} has seen {len(leaked)} of the images to be tested on, first {leaked[0]}; take another"
        raise UsageError(msg)


def _shuffled(data: SegDataset, config: TrainingConfig) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of the data set's epoch, in an order that only seed and epoch decide."""
    if config.images_per_epoch:
        rng = np.random.default_rng((config.seed, data.epoch))
        rounds = -(-config.images_per_epoch // len(data))
        # Round after round of all images; the second time an image comes it is another draw.
        drawn = np.concatenate([rng.permutation(len(data)) + len(data) * i for i in range(rounds)])[: config.images_per_epoch]
        return DataLoader(data, config.batch_size, sampler=drawn.tolist(), drop_last=True, num_workers=config.workers)
    order = torch.Generator().manual_seed(config.seed * 100_003 + data.epoch)
    last_too = len(data) <= config.batch_size
    return DataLoader(data, config.batch_size, shuffle=True, drop_last=not last_too, num_workers=config.workers, generator=order)


def _write_weights(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    save_file({key: value.contiguous() for key, value in weights.items()}, temporary)
    temporary.replace(path)


def _write_log(log: list[EpochLog], path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [f.name for f in fields(EpochLog)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in log)
    temporary.replace(path)
