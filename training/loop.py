"""One fine-tuning run: one config in, one self-describing folder out; resumable, logged, scored at the end.

Nothing here prints.
"""

import csv
import functools
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import safe_open
from torch.utils.data import DataLoader

from core.domain.errors import DataSetError, ModelError, UsageError
from core.evaluation.datasets import Sample
from core.evaluation.model_comparison import title
from core.evaluation.pairs import empty_part
from core.evaluation.training_runs import CASES_FOLDER, CONFIG_FILE, LOG_FILE, SCORES_FILE
from core.support import files
from training.architectures import build, check_input
from training.architectures.restored import folded_model, folded_network, mean_of, restore
from training.architectures.weights import Normalisation, normalisation
from training.calibration import fit_temperature, logits_of
from training.config import TrainingConfig
from training.data import SegDataset, hold_to_data, masked_samples, read_pairs, split_samples
from training.evaluate import by_data_set, summarise
from training.final_test import score_items, write_cases
from training.losses import segmentation_loss
from training.own import OwnLoss
from training.provenance import commit, versions
from training.trainer import OBJECT_NAMES, Trainer, read_checkpoint, write_checkpoint, write_weights

logger = logging.getLogger(__name__)

SPLIT_FILE: Final = "split.json"
WEIGHTS_FILE: Final = "weights.safetensors"
CHECKPOINT_FILE: Final = "checkpoint.pt"
MODEL_SUFFIX: Final = ".onnx"
# Beside a model of the manifest.
MODEL_SPLIT_SUFFIX: Final = ".split.json"
# What each part that is not learnt from decides; below so many groups one of them moves the mean by a fifth or more.
_DECIDES: Final = {"validation": "which epoch is the best", "test": "what the score is"}
_FEWEST_GROUPS: Final = 5
# So many images tell the statistics of an exported model's layers.
_SHOWN_TO_RESTORE: Final = 32


@dataclass(frozen=True)
class EpochLog:
    """One row of the training log; Dice are means over validation images at canonical scale, of averaged weights."""

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
    """The result of a run; `test` is what `training.evaluate.summarise` says of the test part."""

    folder: Path
    epochs: int
    best_epoch: int
    best_val_dice: float
    stopped_early: bool
    test: dict[str, Any]


def load_network(run: Path) -> tuple[torch.nn.Module, TrainingConfig, Normalisation]:
    """The network of a training run with its best weights, in eval mode, its settings and normalisation.

    Raises
    ------
    ModelError
        If there is none.
    """
    if not (run / WEIGHTS_FILE).is_file():
        msg = (
            f"{run} holds no {WEIGHTS_FILE}: name the folder of a training run; `python -m training finetune --out"
            f" {run}` makes one"
        )
        raise ModelError(msg)
    config = TrainingConfig.from_toml(run / CONFIG_FILE)
    network = build(config.architecture, config.encoder, pretrained=False)
    weights, scale = read_weights(run, config.encoder)
    network.load_state_dict(weights)
    return network.eval(), config, scale


def temperature_of(run: Path) -> float:
    """What a run's logits are divided by: 1 where it has not ended, or is older than this measurement."""
    scores = run / SCORES_FILE
    return float(json.loads(scores.read_text(encoding="utf-8")).get("temperature", 1.0)) if scores.exists() else 1.0


def fit(
    config: TrainingConfig,
    folder: Path,
    *,
    parts: Mapping[str, list[Sample]] | None = None,
    device: torch.device | None = None,
    on_epoch: Callable[[EpochLog], None] | None = None,
) -> TrainingReport:
    """Train into `folder`, or continue a killed run of the same config; then score the test part, once.

    The folder describes itself: `config.toml`, `split.json`, `log.csv` (a row as each epoch ends, so it can be
    watched), the best weights `weights.safetensors` (by validation Dice of the averaged weights), `scores.json` with
    the scores of the test part, Dice per image, versions and commit, and in `cases/` pictures of its best and worst.
    Runs on the CPU unless a `device` is given. `parts` are the samples to train on, validate and test, in place of
    those the config's shares give.

    Raises
    ------
    UsageError
        If the folder holds a run of another config or of other images, if initial weights or pseudo-labels come from
        images that are to be tested on, or if an own loss or augmentation cannot be used; before anything is written.
    DataSetError
        If a pair cannot be used or there are too few to divide; before anything is written.
    DivergedError
        If the loss is no longer a number.
    """
    device = device or torch.device("cpu")
    check_input(config.architecture, config.input_size, config.batch_size)
    if (folder / CONFIG_FILE).exists() and TrainingConfig.from_toml(folder / CONFIG_FILE) != config:
        msg = f"{folder} holds a run with other settings; choose another folder, or the same settings to go on"
        raise UsageError(msg)
    if parts is None:
        parts = split_samples(masked_samples(config.data_sets), config, _known_split(config))
    _check_parts(parts, config)
    _say_if_few(parts)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    loss = OwnLoss(config.loss, device) if config.loss else None
    data, repaired = _read(parts, config, _scale_of(config))
    network = _first_weights(config, data["train"])
    if config.loss or config.augmentation:
        _try_own(loss, data["train"])

    hold_to_data(folder, [sample for members in parts.values() for sample in members])
    files.write_text(folder / CONFIG_FILE, config.to_toml())
    split = {part: sorted(sample.sample_id for sample in members) for part, members in parts.items()}
    files.write_text(folder / SPLIT_FILE, json.dumps(split, indent=1))
    trainer = _trainer(network, config, data, device, loss)
    log = _train(trainer, config, data, folder, on_epoch)
    scores_file = folder / SCORES_FILE
    if not scores_file.exists():
        trainer.averaged.load_state_dict(read_weights(folder, config.encoder)[0])
        _test(trainer, config, parts["test"], data, repaired, folder)
    best = _best(log)
    test = json.loads(scores_file.read_text(encoding="utf-8"))["test"]
    return TrainingReport(folder, len(log), best.epoch, best.val_dice, _stopped_early(log, config), test)


def _check_parts(parts: Mapping[str, list[Sample]], config: TrainingConfig) -> None:
    """Raise DataSetError for a part without images, UsageError where initial weights have seen the test part."""
    if fault := empty_part(parts):
        raise DataSetError(fault)
    origins = [
        *(("pseudo_sets", folder) for folder in config.pseudo_sets),
        ("start_from", config.start_from),
        *(("average_of", run) for run in config.average_of),
    ]
    for whose, where in origins:
        if where:
            _refuse_leak(_split_file(Path(where)), {sample.sample_id for sample in parts["test"]}, whose)


def _say_if_few(parts: Mapping[str, list[Sample]]) -> None:
    """Warn of parts with so few images that they tell nothing."""
    for part, decided in _DECIDES.items():
        if (groups := len({sample.group for sample in parts[part]})) < _FEWEST_GROUPS:
            logger.warning(
                "the %s part holds %d independent image%s (those of one group count once): chance decides %s;"
                " %d more would do, given by more images or a larger share of them",
                part,
                groups,
                "s" * (groups != 1),
                decided,
                _FEWEST_GROUPS - groups,
            )


def _read(
    parts: Mapping[str, list[Sample]], config: TrainingConfig, scale: Normalisation
) -> tuple[dict[str, SegDataset], dict[str, int]]:
    """The data of each part, the training part augmented, and how many pixels of its masks were repaired."""
    samples = [sample for members in parts.values() for sample in members]
    pairs = {item.sample_id: (item, strays) for item, strays in read_pairs(samples)}
    pseudo = [item for item, _ in read_pairs(_pseudo_samples(config))] if config.pseudo_sets else []
    data = {}
    for part, members in parts.items():
        items, trained = [pairs[sample.sample_id][0] for sample in members], part == "train"
        data[part] = SegDataset(items, config, augment=trained, scale=scale, pseudo=pseudo if trained else ())
    repaired = {part: sum(pairs[sample.sample_id][1] for sample in members) for part, members in parts.items()}
    return data, repaired


def _pseudo_samples(config: TrainingConfig) -> list[Sample]:
    """The samples of the pseudo sets, without those of the sources that are left out."""
    return [
        sample
        for sample in masked_samples(config.pseudo_sets)
        if not Path(sample.sample_id).name.startswith(config.pseudo_without)
    ]


def _try_own(loss: OwnLoss | None, data: SegDataset) -> None:
    """Draw two images, which tries an own augmentation, and try an own loss on them; raises OwnCodeError."""
    targets = torch.stack([data[number][1] for number in range(2)])
    if loss is not None:
        loss.check(targets)


def _trainer(
    network: torch.nn.Module,
    config: TrainingConfig,
    data: Mapping[str, SegDataset],
    device: torch.device,
    own_loss: OwnLoss | None,
) -> Trainer:
    steps = max(1, (config.images_per_epoch or len(data["train"])) // config.batch_size)
    logger.info(
        "%s with encoder %s on %s; images: %s; %d steps an epoch",
        title(config.architecture),
        config.encoder,
        device,
        ", ".join(f"{len(samples)} {part}" for part, samples in data.items()),
        steps,
    )
    loss = own_loss or functools.partial(segmentation_loss, boundary=config.boundary_weight)
    return Trainer(network, config, total_steps=config.epochs * steps, device=device, loss=loss)


def _train(
    trainer: Trainer,
    config: TrainingConfig,
    data: Mapping[str, SegDataset],
    folder: Path,
    on_epoch: Callable[[EpochLog], None] | None,
) -> list[EpochLog]:
    """Epoch after epoch, from the checkpoint of the folder if there is one; weights, log and checkpoint follow each."""
    log: list[EpochLog] = []
    checkpoint = folder / CHECKPOINT_FILE
    for large in (checkpoint, folder / WEIGHTS_FILE):
        files.clear_unfinished(large)
    if (state := read_checkpoint(checkpoint)) is not None:
        trainer.restore(state)
        log = [EpochLog(**row) for row in state["log"]]
        logger.info("going on after epoch %d", len(log))
    while len(log) < (1 if config.average_of else config.epochs) and not _stopped_early(log, config):
        row = _epoch(trainer, config, data, len(log))
        log.append(row)
        if _best(log) is row:
            notes = {"normalisation": json.dumps(data["train"].scale)}
            write_weights(folder / WEIGHTS_FILE, trainer.averaged, notes)
        write_log(log, folder / LOG_FILE)
        write_checkpoint(checkpoint, {**trainer.state(), "log": [asdict(row) for row in log]})
        if on_epoch:
            on_epoch(row)
    return log


def _epoch(trainer: Trainer, config: TrainingConfig, data: Mapping[str, SegDataset], done: int) -> EpochLog:
    """One epoch after so many; for a mean of networks, which is not trained, only the validation."""
    started = time.monotonic()
    data["train"].epoch = done
    if config.average_of:
        train_loss = math.nan
    else:
        batches = _shuffled(data["train"], config)
        train_loss = trainer.train_epoch(batches, seed=config.seed * 100_003 + done)
    val_loss, dice = trainer.validate(DataLoader(data["validation"], config.batch_size))
    mean = dict(zip(OBJECT_NAMES, dice.mean(dim=0).tolist(), strict=True))
    seconds = time.monotonic() - started
    rate = trainer.learning_rate
    return EpochLog(done + 1, train_loss, val_loss, mean["nucleus"], mean["cytoplasm"], rate, seconds)


def _origins(config: TrainingConfig) -> tuple[str, ...]:
    """The runs and exported models whose weights a training begins with, or is the mean of."""
    return config.average_of or ((config.start_from,) if config.start_from else ())


def _scale_of(config: TrainingConfig) -> Normalisation:
    """How the input is scaled: as the networks were fed that a training begins with.

    Raises
    ------
    UsageError
        If they were fed differently: only networks that began alike have a mean.
    """
    runs = [origin for origin in _origins(config) if not origin.endswith(MODEL_SUFFIX)]
    scales = {load_network(Path(run))[2] for run in runs} or {normalisation(config.encoder)}
    if len(scales) > 1:
        msg = (
            f"average_of: the networks of {', '.join(runs)} are fed differently scaled images; only runs that began"
            " alike have a mean"
        )
        raise UsageError(msg)
    return scales.pop()


def _first_weights(config: TrainingConfig, data: SegDataset) -> torch.nn.Module:
    """Initial weights: a pretrained encoder, those of `start_from`, or the mean of `average_of`.

    Images of `data` restore what an export folded, and what was folded to be averaged.
    """
    origins = _origins(config)
    if not origins:
        return build(config.architecture, config.encoder)
    if len(origins) == 1 and not origins[0].endswith(MODEL_SUFFIX):
        return _network_of(origins[0], config)
    shown = next(iter(DataLoader(data, _SHOWN_TO_RESTORE)))[0]
    folded = [
        folded_model(Path(origin))
        if origin.endswith(MODEL_SUFFIX)
        else folded_network(_network_of(origin, config), shown)
        for origin in origins
    ]
    network = build(config.architecture, config.encoder, pretrained=False)
    restore(network, mean_of(folded), shown, " and ".join(origins))
    return network


def _network_of(run: str, config: TrainingConfig) -> torch.nn.Module:
    """The network of a run's folder; raises UsageError for another one than the config's."""
    network, began, _ = load_network(Path(run))
    if (began.architecture, began.encoder) != (config.architecture, config.encoder):
        msg = f"{run} holds {began.architecture} on {began.encoder}; this run has another network"
        raise UsageError(msg)
    return network


def _test(
    trainer: Trainer,
    config: TrainingConfig,
    samples: list[Sample],
    data: Mapping[str, SegDataset],
    repaired: Mapping[str, int],
    folder: Path,
) -> None:
    """Score the test part with the best weights; write pictures, and last `scores.json`, the mark of a done run."""
    outcomes = score_items(trainer, data["test"], samples, config.batch_size)
    temperature = fit_temperature(*logits_of(trainer.predict, data["validation"], config.batch_size))
    scores, groups = [outcome.score for outcome in outcomes], {sample.sample_id: sample.group for sample in samples}
    write_cases(outcomes, folder / CASES_FOLDER)
    report = {
        "test": summarise(scores, groups=groups),
        "by_data_set": by_data_set(scores, groups=groups),
        "measured": (
            f"on the network's grid of {config.input_size} px, in the canonical window around the drawn cell, best"
            " weights"
        ),
        "per_image": {score.sample_id: score.dice for score in scores},
        "repaired_mask_pixels": repaired,
        "temperature": temperature,
        "precision": trainer.precision,
        "versions": versions(),
        "commit": commit(),
    }
    files.write_text(folder / SCORES_FILE, json.dumps(report, indent=1))


def _best(log: list[EpochLog]) -> EpochLog:
    """The row of highest validation Dice, the first of equals."""
    return max(log, key=lambda row: row.val_dice)


def _stopped_early(log: list[EpochLog], config: TrainingConfig) -> bool:
    return bool(log) and len(log) - _best(log).epoch >= config.patience


def _split_file(origin: Path) -> Path:
    """Where a run's folder, a folder of pseudo-labels or an exported model tells what its network was trained on."""
    return origin.with_suffix(MODEL_SPLIT_SUFFIX) if origin.suffix == MODEL_SUFFIX else origin / SPLIT_FILE


def _known_split(config: TrainingConfig) -> dict[str, list[str]]:
    """The split of the networks that training begins with, or a mean is of; empty where there is none on record."""
    files_of_origins = (_split_file(Path(origin)) for origin in _origins(config))
    return next((json.loads(path.read_text(encoding="utf-8")) for path in files_of_origins if path.is_file()), {})


def _refuse_leak(split_file: Path, tested: set[str], whose: str) -> None:
    """Raise UsageError where a network behind a split saw a tested image, or where that is unknown."""
    folder = split_file.parent
    try:
        split = json.loads(split_file.read_text(encoding="utf-8"))
        seen = {*split["train"], *split["validation"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{whose}: {folder} does not tell in {split_file.name} which images its network was trained on ({error})"
        raise UsageError(msg) from error
    if leaked := sorted(tested & seen):
        msg = (
            f"{whose}: the network of {folder} has seen {len(leaked)} of the images to be tested on, first {leaked[0]};"
            " take another"
        )
        raise UsageError(msg)


def _shuffled(data: SegDataset, config: TrainingConfig) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of the data set's epoch, in an order that only seed and epoch decide."""
    if config.images_per_epoch:
        rng = np.random.default_rng((config.seed, data.epoch))
        rounds = -(-config.images_per_epoch // len(data))
        # Round after round of all images; the second time an image comes it is another draw.
        drawn = np.concatenate([rng.permutation(len(data)) + len(data) * i for i in range(rounds)])[
            : config.images_per_epoch
        ]
        return DataLoader(data, config.batch_size, sampler=drawn.tolist(), drop_last=True, num_workers=config.workers)
    order = torch.Generator().manual_seed(config.seed * 100_003 + data.epoch)
    last_too = len(data) <= config.batch_size
    return DataLoader(
        data, config.batch_size, shuffle=True, drop_last=not last_too, num_workers=config.workers, generator=order
    )


def read_weights(run: Path, encoder: str) -> tuple[dict[str, torch.Tensor], Normalisation]:
    """The best weights of a run and their normalisation; the encoder's own in files from before it was kept."""
    with safe_open(run / WEIGHTS_FILE, "pt") as file:
        kept = (file.metadata() or {}).get("normalisation")
        weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (the file itself cannot be iterated)
    return weights, Normalisation(*(tuple(three) for three in json.loads(kept))) if kept else normalisation(encoder)


def write_log(log: list[EpochLog], path: Path) -> None:
    """Write the rows of a log as CSV, whole or not at all."""
    with files.replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [f.name for f in fields(EpochLog)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in log)
