"""The comparison of architectures by k-fold cross-validation: resumable, shared by any number of processes.

Every original becomes its sixteen copies (`training.augment`), as in the thesis; networks learn from them without
further augmentation. Two protocols differ only in what is dealt into the folds:

- `grouped`: originals, with their copies and duplicates. What is validated on was never seen, in no rotation.
- `as-published`: the copies, as the thesis did. A rotated copy of a validation image may be trained on.

Each item is validated once for each k, by the averaged weights after the last epoch: nothing is chosen on the
validation fold. Dice is measured on the network's grid, in the canonical window around the drawn cell.
"""

import errno
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from core.domain.errors import DataSetError, TrainingError, UsageError
from core.evaluation import model_selection as results
from core.evaluation.datasets import Sample
from core.evaluation.model_comparison import MIN_FOLD_IMAGES, MIN_FOLDS
from core.evaluation.pairs import too_few_for_folds
from core.image.masks import cell_mask
from core.image.window import Window, resample, resample_labels
from core.segmentation.preprocessing import normalise
from core.support import files, locks
from training.architectures import build, check_input, count_parameters, find_architecture
from training.architectures.weights import NO_ENCODER, Normalisation, normalisation
from training.augment import COPIES, copies
from training.config import SelectionConfig
from training.data import hold_to_data, masked_samples, read_pairs, to_channels
from training.provenance import commit, cpu_name, versions
from training.trainer import OBJECT_NAMES, DivergedError, Trainer, is_out_of_memory, read_checkpoint, write_checkpoint

logger = logging.getLogger(__name__)

GROUPED: Final = "grouped"
AS_PUBLISHED: Final = "as-published"

# These say what is to be run, and may grow from start to start of one run; all others decide how a fold comes out, and
# may not.
_LISTS: Final = ("grouped", "as_published", "k", "threads")


@dataclass(frozen=True)
class SelectionUnit:
    """One fold (1 to k) of one architecture under one protocol."""

    protocol: str
    k: int
    fold: int
    architecture: str

    @property
    def name(self) -> str:
        """Name of its folder and files."""
        return f"{self.protocol}-k{self.k}-fold{self.fold}-{self.architecture}"


@dataclass(frozen=True, eq=False)
class Items:
    """All copies of all originals as the network sees them, sorted by original.

    `rgb` uint8 (N, S, S, 3), `labels` uint8 (N, S, S). `scale` is the normalisation of `rgb` for the encoder.
    """

    samples: tuple[Sample, ...]
    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    scale: Normalisation

    def batches(
        self, order: Sequence[int] | NDArray[np.intp], size: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images (n, 3, S, S) and targets (n, C, S, S), float32, in the given order, `size` at a time."""
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            images = np.stack([normalise(self.rgb[i], *self.scale) for i in chosen])
            yield torch.from_numpy(images), torch.from_numpy(np.stack([to_channels(self.labels[i]) for i in chosen]))


@dataclass(frozen=True)
class SelectionProgress:
    """State when a unit ends: its row of the table `folds`, how many of all are done, and the minutes left."""

    row: dict[str, Any]
    done: int
    units: int
    minutes_left: float


def units_of(config: SelectionConfig) -> list[SelectionUnit]:
    """All units in the order of work: fold by fold, so that a run cut short can already compare its architectures."""
    return [
        SelectionUnit(protocol, k, fold, architecture)
        for protocol, architectures in ((GROUPED, config.grouped), (AS_PUBLISHED, config.as_published))
        for k in config.k
        for fold in range(1, k + 1)
        for architecture in architectures
    ]


def load_items(originals: Sequence[Sample], config: SelectionConfig) -> Items:
    """Read the pairs and make the copies, unless `augment` has written them; raises DataSetError as `read_pairs`."""
    by_id = {sample.sample_id: sample for sample in originals}
    samples, rgb, labels = [], [], []
    for item, _ in read_pairs(originals):
        sample = by_id[item.sample_id]
        on_disk = sample.original is not None
        for number, one in enumerate([item] if on_disk else copies(item)):
            window = Window.around(cell_mask(one.labels), config.cell_fill)
            samples.append(sample if on_disk else replace(sample, copy=number))
            rgb.append(resample(one.rgb, window, config.input_size))
            labels.append(resample_labels(one.labels, window, config.input_size))
    return Items(tuple(samples), np.stack(rgb), np.stack(labels), normalisation(config.encoder))


def deal(groups: Sequence[str], strata: Sequence[str], k: int, seed: int) -> NDArray[np.intp]:
    """The fold, 1 to k, of every item: groups stay whole, and each stratum's groups are spread evenly over the folds.

    The groups of one fold differ from another's by one at most, over all and in each stratum. A group is in its first
    item's stratum. Raises DataSetError for fewer groups than folds.
    """
    stratum: dict[str, str] = {}
    for group, label in zip(groups, strata, strict=True):
        stratum.setdefault(group, label)
    if fault := too_few_for_folds(len(stratum), k):
        raise DataSetError(fault)
    names = sorted(stratum)
    shuffled = [names[i] for i in np.random.default_rng((seed, k)).permutation(len(names))]
    # Dealt like cards, one stratum after the other: the next begins at the fold where the last one ended.
    folds = {group: 1 + position % k for position, group in enumerate(sorted(shuffled, key=stratum.__getitem__))}
    return np.array([folds[group] for group in groups])


def folds_of(items: Sequence[Sample], protocol: str, k: int, seed: int) -> NDArray[np.intp]:
    """The fold, 1 to k, of every copy under a protocol; the same for every architecture."""
    groups = [item.group if protocol == GROUPED else f"{item.sample_id}#{item.copy}" for item in items]
    return deal(groups, [item.cell_type.value for item in items], k, seed)


def select(
    config: SelectionConfig,
    root: Path,
    device: torch.device,
    *,
    on_start: Callable[[], None] | None = None,
    on_epoch: Callable[[SelectionUnit, int], None] | None = None,
    on_unit: Callable[[SelectionProgress], None] | None = None,
) -> Path:
    """Work on a run in `root` until every unit is done or taken; returns its folder.

    Any number of processes may do so at once, and any of them may be killed: the next continues its fold after the last
    epoch. The last to finish compacts the results. `on_start` is called when all is checked and the work begins, the
    others after each epoch (with its number) and each unit.

    Raises
    ------
    UsageError
        If the folder holds a run of other settings or other images; before anything is written.
    DataSetError
        If pairs cannot be used; before anything is written.
    """
    units = units_of(config)
    for unit in units:
        check_input(unit.architecture, config.input_size, config.batch_size)
    folder = root / config.name
    _check_settings(config, folder)
    torch.set_num_threads(config.threads)
    samples = masked_samples(config.data_sets)
    logger.info("%s: reading %d images", config.name, len(samples))
    items = load_items(samples, config)
    for protocol, k in {(unit.protocol, unit.k) for unit in units}:
        folds_of(items.samples, protocol, k, config.seed)  # before the first hour of work, not after it
    _say_if_few(samples, config)
    commit()  # now, before somebody edits the files this process has read
    hold_to_data(folder, samples)
    files.write_text(folder / results.CONFIG_FILE, config.to_toml())
    logger.info("%d copies in memory, %d folds in all, on %s", len(items.samples), len(units), device)
    if on_start:
        on_start()
    while _next_unit(config, folder, units, items, device, on_epoch, on_unit):
        pass
    _close(config, folder, units)
    return folder


def _say_if_few(samples: Sequence[Sample], config: SelectionConfig) -> None:
    """Warn of too few folds, and of folds with so few images that chance ranks the architectures."""
    if sum(config.k) < MIN_FOLDS:
        logger.warning(
            "k = %d: there is no interval and no test of fewer than %d folds; a k of 5 or more is better",
            *config.k,
            MIN_FOLDS,
        )
    groups = len({sample.group for sample in samples})
    if (fewest := groups // max(config.k)) < MIN_FOLD_IMAGES:
        logger.warning(
            "k = %d: each fold is scored on %d independent image%s only, so chance ranks the networks; take a smaller"
            " k, or %d more images",
            max(config.k),
            fewest,
            "s" * (fewest != 1),
            MIN_FOLD_IMAGES * max(config.k) - groups,
        )


def _check_settings(config: SelectionConfig, folder: Path) -> None:
    """Raise UsageError where the folder holds a run that these settings cannot go on with."""
    path = folder / results.CONFIG_FILE
    if path.exists():
        there = SelectionConfig.from_toml(path)
        if wrong := [
            name for name, value in asdict(there).items() if name not in _LISTS and getattr(config, name) != value
        ]:
            msg = (
                f"{folder} holds a run with other settings ({', '.join(wrong)}); choose another name, or the same"
                " settings to go on"
            )
            raise UsageError(msg)


def _lock_file(folder: Path, work: str) -> Path:
    """What is locked by whoever does a piece of the work."""
    return folder / results.WORK_FOLDER / f"{work}.lock"


def _key(config: SelectionConfig, unit: SelectionUnit) -> tuple[Any, ...]:
    return (config.name, *(getattr(unit, column) for column in results.UNIT_COLUMNS[1:]))


def _next_unit(
    config: SelectionConfig,
    folder: Path,
    units: list[SelectionUnit],
    items: Items,
    device: torch.device,
    on_epoch: Callable[[SelectionUnit, int], None] | None,
    on_unit: Callable[[SelectionProgress], None] | None,
) -> bool:
    """Do the first unit that is neither done nor worked on; False when there is none."""
    done = results.finished(folder)
    for unit in units:
        if _key(config, unit) in done:
            continue
        lock = locks.try_lock(_lock_file(folder, unit.name), keep_file=False)
        if lock is None:
            continue
        with lock:
            # It may have been finished, and given up, between the first look and the lock.
            if _key(config, unit) in results.finished(folder):
                continue
            row = _do(unit, config, folder, items, device, on_epoch)
        if on_unit:
            on_unit(_progress(config, folder, units, row))
        return True
    return False


def _progress(
    config: SelectionConfig, folder: Path, units: list[SelectionUnit], row: dict[str, Any]
) -> SelectionProgress:
    """Time left by the architecture's own mean where it has one, divided by the processes that hold a lock."""
    table = results.read(folder, "folds")
    wanted = [_key(config, unit) for unit in units]
    done = set(table[list(results.UNIT_COLUMNS)].itertuples(index=False, name=None)) & set(wanted)
    by_architecture = table.groupby("architecture")["seconds"].mean()
    overall = float(table["seconds"].mean())
    left = sum(float(by_architecture.get(key[-1], overall)) for key in wanted if key not in done)
    others = sum(locks.is_locked(path) for path in (folder / results.WORK_FOLDER).glob("*.lock"))
    return SelectionProgress(row, len(done), len(units), left / 60 / (1 + others))


def _do(
    unit: SelectionUnit,
    config: SelectionConfig,
    folder: Path,
    items: Items,
    device: torch.device,
    on_epoch: Callable[[SelectionUnit, int], None] | None,
) -> dict[str, Any]:
    """Train and score one unit and write its rows; a failure of it alone is written as its status."""
    checkpoint = folder / results.WORK_FOLDER / f"{unit.name}.pt"
    identity = dict(zip(results.UNIT_COLUMNS, _key(config, unit), strict=True))
    status, reason = "done", ""
    outcome: dict[str, Any] = {"folds": {}, "images": [], "epochs": []}
    try:
        _train(unit, config, items, device, checkpoint, outcome, on_epoch)
    except DivergedError as error:
        status, reason = "diverged", str(error)
    except (MemoryError, RuntimeError, OSError) as error:
        status = _status(error)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if status == "out of memory" and device.type == "cuda":
        torch.cuda.empty_cache()
    row = {
        **identity,
        "encoder": _encoder(unit, config),
        **outcome["folds"],
        "epochs": len(outcome["epochs"]),
        "seconds": sum(epoch["seconds"] for epoch in outcome["epochs"]) + outcome["folds"].get("seconds", 0.0),
        "seed": config.seed,
        "versions": json.dumps(versions()),
        "commit": commit(),
        "status": status,
        "reason": reason,
        "data_sets": "+".join(config.data_sets),
        "input_size": config.input_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    # First, so that there is room for the row on a full disk; were this process killed here, the fold would be trained
    # again.
    checkpoint.unlink(missing_ok=True)
    files.clear_unfinished(checkpoint)
    tables = {
        "folds": [row],
        **{name: [{**identity, **line} for line in outcome[name]] for name in ("images", "epochs")},
    }
    try:
        results.add_unit(folder, unit.name, tables)
    except OSError as error:
        msg = (
            f"the results of {unit.name} could not be written ({error}); make room and start again: the other folds are"
            " kept"
        )
        raise TrainingError(msg) from error
    return row


def _status(error: MemoryError | RuntimeError | OSError) -> str:
    """Status of an error that concerns only this fold; any other is raised again."""
    if is_out_of_memory(error):
        return "out of memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk full"
    raise error


def _train(
    unit: SelectionUnit,
    config: SelectionConfig,
    items: Items,
    device: torch.device,
    checkpoint: Path,
    outcome: dict[str, Any],
    on_epoch: Callable[[SelectionUnit, int], None] | None,
) -> None:
    """Train one unit, from its checkpoint if there is one, and score its fold; fills `outcome` as far as it gets."""
    measures_memory = _forget_peak(device)
    fold = folds_of(items.samples, unit.protocol, unit.k, config.seed)
    train, validation = np.flatnonzero(fold != unit.fold), np.flatnonzero(fold == unit.fold)
    drawn = min(config.images_per_epoch or len(train), len(train))
    # Whole batches only, or batch normalisation would meet one of a single image.
    drawn = drawn - drawn % config.batch_size or drawn
    outcome["folds"] |= {
        "images_train": len(train),
        "images_validation": len(validation),
        "images_drawn": drawn * config.epochs,
    }
    seed = int(np.random.default_rng((config.seed, unit.k, unit.fold)).integers(2**31))
    torch.manual_seed(seed)
    trainer = Trainer(
        build(unit.architecture, _encoder(unit, config)),
        config,
        total_steps=config.epochs * -(-drawn // config.batch_size),
        device=device,
    )
    outcome["folds"] |= {"parameters": count_parameters(trainer.network), "precision": trainer.precision}
    epochs: list[dict[str, Any]] = outcome["epochs"]
    cpu_before, cpu_started = 0.0, time.process_time()
    if (state := read_checkpoint(checkpoint)) is not None:
        trainer.restore(state)
        epochs.extend(state["epochs"])
        cpu_before = state["cpu_seconds"]
        logger.info("%s: going on after epoch %d", unit.name, len(epochs))
    while len(epochs) < config.epochs:
        order = np.random.default_rng((seed, len(epochs))).permutation(train)[:drawn]
        epochs.append(_epoch(trainer, items, order, validation, config.batch_size, seed, len(epochs)))
        cpu_seconds = cpu_before + time.process_time() - cpu_started
        write_checkpoint(checkpoint, {**trainer.state(), "epochs": epochs, "cpu_seconds": cpu_seconds})
        if on_epoch:
            on_epoch(unit, len(epochs))
    scored, outcome["images"] = _scored(trainer, items, validation, config.batch_size)
    outcome["folds"] |= scored | {
        "peak_memory_mb": _peak_memory_mb(device) if measures_memory else None,
        "cpu_seconds": cpu_before + time.process_time() - cpu_started,
    }


def _encoder(unit: SelectionUnit, config: SelectionConfig) -> str:
    return config.encoder if find_architecture(unit.architecture).takes_encoder else NO_ENCODER


def _epoch(
    trainer: Trainer,
    items: Items,
    order: NDArray[np.intp],
    validation: NDArray[np.intp],
    batch_size: int,
    seed: int,
    done: int,
) -> dict[str, Any]:
    """One epoch after so many, over the images in `order`: its row of the table `epochs`."""
    started = time.monotonic()
    train_loss = trainer.train_epoch(items.batches(order, batch_size), seed=seed + done)
    # Grouped, that is the originals of the fold: enough for a curve.
    loss, dice = trainer.validate(items.batches(validation[::COPIES], batch_size))
    mean = dict(zip(OBJECT_NAMES, dice.mean(dim=0).tolist(), strict=True))
    return {
        "epoch": done + 1,
        "train_loss": train_loss,
        "val_loss": loss,
        "val_dice_nucleus": mean["nucleus"],
        "val_dice_cytoplasm": mean["cytoplasm"],
        "learning_rate": trainer.learning_rate,
        "seconds": time.monotonic() - started,
    }


def _scored(
    trainer: Trainer, items: Items, validation: NDArray[np.intp], batch_size: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results of the validation fold, for the table `folds`, and its rows of the table `images`."""
    started = time.monotonic()
    loss, dice = trainer.validate(items.batches(validation, batch_size))
    images = []
    for index, scores in zip(validation, dice.tolist(), strict=True):
        sample, score = items.samples[index], dict(zip(OBJECT_NAMES, scores, strict=True))
        images.append(
            {
                "sample_id": sample.original or sample.sample_id,
                "copy": sample.copy,
                "cell_type": sample.cell_type.value,
                "dice_nucleus": score["nucleus"],
                "dice_cytoplasm": score["cytoplasm"],
            }
        )
    mean = dict(zip(OBJECT_NAMES, dice.double().mean(dim=0).tolist(), strict=True))
    fold = {
        "dice_nucleus": mean["nucleus"],
        "dice_cytoplasm": mean["cytoplasm"],
        "dice_mean": (mean["nucleus"] + mean["cytoplasm"]) / 2,
        "loss": loss,
        "seconds": time.monotonic() - started,
    }
    return fold, images


def _forget_peak(device: torch.device) -> bool:
    """Begin to measure the peak of memory anew; False where that cannot be done."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux, or not allowed
        return False
    return True


def _peak_memory_mb(device: torch.device) -> float:
    """Most memory since `_forget_peak`, in 2**20 bytes: allocated on the GPU, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 2**10


def _close(config: SelectionConfig, folder: Path, units: list[SelectionUnit]) -> None:
    """Compact the results and tidy up, once all units are done."""
    if not {_key(config, unit) for unit in units} <= results.finished(folder):
        return
    work = folder / results.WORK_FOLDER
    lock = locks.try_lock(_lock_file(folder, "compact"), keep_file=False)
    if lock is None:
        return
    with lock:
        results.compact(folder)
        for unit in units:
            for left in work.glob(f"{unit.name}.*"):
                left.unlink(missing_ok=True)
            for name in (unit.name, f"{unit.name}.pt"):
                files.clear_unfinished(work / name)
    with suppress(OSError):  # not empty: somebody works on more units of this run
        work.rmdir()
