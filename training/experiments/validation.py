"""Cross-validation of a config: trained anew for each split and scored on what it never saw, by the real pipeline.

Schemes: leave-one-source-out trains on all data sets but one and scores all images of that one, the stand-in for an
unseen laboratory; grouped k-fold keeps duplicates and copies together and mixes the sources. Held-out images are scored
by both passes and the post-processing, on their own pixels, as they are and under fixed disturbances (`disturbances`).
Nothing is chosen on them.

A run is a folder with a folder for each split: what `training.loop.fit` leaves, the scores of each image, and a
summary, which says that the split is done. It can be killed at any time and continues at the epoch; any number of
processes may share it.
"""

import csv
import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from core.domain.errors import DataSetError, UsageError
from core.domain.types import CellImage
from core.evaluation.datasets import Sample
from core.evaluation.training_runs import CONFIG_FILE
from core.support import files, locks
from training.augmentation import LabelledImage
from training.calibration import calibration_error, fit_temperature, logits_of, trust
from training.config import TrainingConfig
from training.data import SegDataset, load_labelled, masked_samples
from training.evaluate import REGIONS, ImageScore, appearance_of, score_labels, summarise
from training.experiments.disturbances import DECIDING, ImagingCondition, disturbed
from training.experiments.failure_modes import by_mode, describe
from training.loop import CHECKPOINT_FILE, EpochLog, fit
from training.provenance import commit, cpu_name, versions
from training.segmenter import TorchSegmenter, shipped_localiser
from training.selection import deal

logger = logging.getLogger(__name__)

REPORT_FILE: Final = "report.json"
IMAGES_FILE: Final = "images.parquet"
SPLIT_REPORT_FILE: Final = "split-report.json"
TABLE_FILE: Final = "table.csv"
_WORK: Final = ".work"
# Of the disturbances: the same for all runs, so that they are compared on the same pictures.
_SEED: Final = 7
# A row of the table of images is one image under one condition; with calibrated probabilities it is a condition of its
# own.
CALIBRATED: Final = "with calibrated probabilities"
# What `{split}` in a config's paths stands for.
_PLACE: Final = "{split}"


class Scheme(StrEnum):
    """How the images are divided."""

    LEAVE_ONE_SOURCE_OUT = "leave-one-source-out"
    GROUPED = "grouped"


@dataclass(frozen=True)
class ValidationPlan:
    """How to validate: scheme, `k` folds where it is grouped, `subset` images of a source shown disturbed (0: all)."""

    scheme: Scheme = Scheme.LEAVE_ONE_SOURCE_OUT
    k: int = 5
    subset: int = 40

    @property
    def suffix(self) -> str:
        """Suffix of a run's folder after its config's name."""
        scheme = self.scheme if self.scheme is Scheme.LEAVE_ONE_SOURCE_OUT else f"{self.scheme}-k{self.k}"
        return f"{scheme}-n{self.subset or 'all'}"


@dataclass(frozen=True)
class Split:
    """What is trained on (and, of it, what epochs are compared on) and what is held out."""

    name: str
    train: list[Sample]
    validation: list[Sample]
    held_out: list[Sample]


def splits_of(samples: Sequence[Sample], config: TrainingConfig, plan: ValidationPlan) -> list[Split]:
    """The splits of a plan; each image is held out once.

    Raises
    ------
    DataSetError
        If there are fewer sources, or fewer independent images, than the plan needs.
    """
    strata = [f"{_source(sample)}:{sample.cell_type}" for sample in samples]
    groups = [sample.group for sample in samples]
    if plan.scheme is Scheme.GROUPED:
        folds = deal(groups, strata, plan.k, config.seed)
        held = {f"fold-{fold}": folds == fold for fold in range(1, plan.k + 1)}
    else:
        sources = np.array([_source(sample) for sample in samples])
        held = {f"unseen-{source}": sources == source for source in sorted(set(sources.tolist()))}
        if len(held) < 2:
            msg = (
                "to leave one source out there must be two data sets or more, but the config names"
                f" {list(config.data_sets)}"
            )
            raise DataSetError(msg)
    # As in a final training, epochs are compared on a share of what is trained with, never on what is held out.
    parts = max(2, round((config.train + config.validation) / config.validation))
    splits = []
    for name, out in held.items():
        rest = np.flatnonzero(~out)
        part = deal([groups[i] for i in rest], [strata[i] for i in rest], parts, config.seed)
        train, validation = ([samples[int(i)] for i in rest[chosen]] for chosen in (part != 1, part == 1))
        splits.append(Split(name, train, validation, [samples[int(i)] for i in np.flatnonzero(out)]))
    return splits


def validate(
    config: TrainingConfig,
    root: Path,
    plan: ValidationPlan,
    device: torch.device,
    *,
    on_epoch: Callable[[Split, EpochLog], None] | None = None,
) -> Path:
    """Work on a run in `root` until every split is done or taken; returns its folder, in the end with a report.

    `{split}` in the config's `start_from`, `average_of` and `pseudo_sets` means the name of the split: what taught a
    network must not have seen what it is tested on either.

    Raises
    ------
    UsageError
        If the folder holds a run of other settings.
    """
    folder = root / f"{config.name}-{plan.suffix}"
    _settle(config, folder)
    if (folder / REPORT_FILE).exists():
        return folder
    splits = splits_of(masked_samples(config.data_sets), config, plan)
    commit()  # now, before somebody edits the files this process has read
    for split in splits:
        if (folder / split.name / SPLIT_REPORT_FILE).exists():
            continue
        lock = locks.try_lock(folder / _WORK / f"{split.name}.lock", keep_file=False)
        if lock is None:
            continue
        with lock:
            # It may have been finished, and given up, between the first look and the lock.
            if not (folder / split.name / SPLIT_REPORT_FILE).exists():
                _do(split, config, folder / split.name, plan, device, on_epoch)
    if all((folder / split.name / SPLIT_REPORT_FILE).exists() for split in splits):
        _close(config, plan, splits, folder)
    return folder


def _settle(config: TrainingConfig, folder: Path) -> None:
    """Leave the config in the run's folder, and check that it is the one that is there."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name):
        msg = f"name becomes a folder and may hold letters, digits, '.', '_' and '-' only, but is {config.name!r}"
        raise UsageError(msg)
    path = folder / CONFIG_FILE
    if path.exists():
        there = TrainingConfig.from_toml(path)
        if wrong := [name for name, value in asdict(there).items() if getattr(config, name) != value]:
            msg = (
                f"{folder} holds a run with other settings ({', '.join(wrong)}); choose another name, or the same"
                " settings to go on"
            )
            raise UsageError(msg)
        return
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(path, config.to_toml())


def _do(
    split: Split,
    config: TrainingConfig,
    folder: Path,
    plan: ValidationPlan,
    device: torch.device,
    on_epoch: Callable[[Split, EpochLog], None] | None,
) -> None:
    """Train and score one split."""
    started = time.monotonic()
    config = replace(
        config,
        start_from=config.start_from.replace(_PLACE, split.name),
        average_of=tuple(run.replace(_PLACE, split.name) for run in config.average_of),
        pseudo_sets=tuple(folder.replace(_PLACE, split.name) for folder in config.pseudo_sets),
    )
    parts = {"train": split.train, "validation": split.validation, "test": split.held_out}
    report = fit(
        config, folder, parts=parts, device=device, on_epoch=(lambda row: on_epoch(split, row)) if on_epoch else None
    )
    trained = time.monotonic()
    localiser = shipped_localiser()
    segmenter = TorchSegmenter.from_run(folder, device, localiser=localiser)
    logits, targets = logits_of(
        _predictor(segmenter), SegDataset.from_samples(split.validation, config, augment=False), config.batch_size
    )
    temperature = fit_temperature(logits, targets)
    tested, drawn = logits_of(
        _predictor(segmenter), SegDataset.from_samples(split.held_out, config, augment=False), config.batch_size
    )
    calibrated = TorchSegmenter.from_run(folder, device, temperature=temperature, localiser=localiser)
    rows = _score(split, plan, segmenter, calibrated)
    rows.to_parquet(folder / IMAGES_FILE, index=False)
    summary = {
        "images_train": len(split.train),
        "images_validation": len(split.validation),
        "images_held_out": len(split.held_out),
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "best_validation_dice": round(report.best_val_dice, 4),
        "temperature": round(temperature, 3),
        "calibration_error": round(calibration_error(tested, drawn), 4),
        "calibration_error_tempered": round(calibration_error(tested, drawn, temperature), 4),
        "minutes_training": round((trained - started) / 60, 1),
        "minutes_scoring": round((time.monotonic() - trained) / 60, 1),
        "commit": commit(),
    }
    files.write_text(folder / SPLIT_REPORT_FILE, json.dumps(summary, indent=1))
    # Four times the size of the weights, and nothing goes on from it.
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def _predictor(segmenter: TorchSegmenter) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda images: torch.from_numpy(segmenter.logits(images.numpy()))


def _score(split: Split, plan: ValidationPlan, segmenter: TorchSegmenter, calibrated: TorchSegmenter) -> pd.DataFrame:
    """A row for each held-out image and condition: scores and traits; all as photographed, a subset otherwise."""
    known = appearance_of(split.train)
    items = {sample.sample_id: load_labelled(sample)[0] for sample in split.held_out}
    chosen = _subset(split.held_out, plan.subset)
    rows: list[dict[str, Any]] = []
    for sample in split.held_out:
        item = items[sample.sample_id]
        identity = {
            "sample_id": sample.sample_id,
            "source": _source(sample),
            "cell_type": str(sample.cell_type),
            "split": split.name,
            **describe(item, known),
        }
        neighbours = [
            items[s.sample_id] for s in split.held_out if s.group != sample.group and _source(s) == _source(sample)
        ]
        for condition in ImagingCondition:
            if condition is ImagingCondition.CLEAN or (
                sample.sample_id in chosen and (neighbours or condition is not ImagingCondition.TOUCHING)
            ):
                shown = disturbed(condition, item, neighbours, _SEED)
                rows.append({**identity, "condition": str(condition), **_scored(shown, sample, segmenter)})
        rows.append({**identity, "condition": CALIBRATED, **_scored(item, sample, calibrated)})
    return pd.DataFrame(rows)


def _scored(shown: LabelledImage, sample: Sample, segmenter: TorchSegmenter) -> dict[str, Any]:
    segmentation = segmenter.segment(CellImage(shown.rgb.copy(), sample.image.name, ""))
    confidence = segmentation.confidence or 0.0
    score = score_labels(sample.sample_id, str(sample.cell_type), segmentation.labels, shown.labels, confidence)
    return {
        **{f"dice_{region}": score.dice[region] for region in REGIONS},
        **{f"iou_{region}": score.iou[region] for region in REGIONS},
        "confidence": confidence,
        "other_cells": segmentation.other_cells,
    }


def _subset(samples: Sequence[Sample], size: int) -> set[str]:
    """Ids of so many images of each source, evenly spaced in the order of cell type and id."""
    chosen: set[str] = set()
    for source in sorted({_source(sample) for sample in samples}):
        ids = [
            s.sample_id for s in sorted(samples, key=lambda s: (str(s.cell_type), s.sample_id)) if _source(s) == source
        ]
        places = np.linspace(0, len(ids) - 1, min(size or len(ids), len(ids))).round().astype(int)
        chosen |= {ids[place] for place in places}
    return chosen


def _source(sample: Sample) -> str:
    return sample.sample_id.split("/")[0]


# --- the report -------------------------------------------------------------------------------------------------------


def criterion(table: pd.DataFrame) -> float:
    """What experiments are compared by, from a table of images; fixed before any was run (`training/EXPERIMENTS.md`).

    The mean of nucleus and cytoplasm Dice, as photographed and, with as much weight, averaged over the deciding
    disturbances; each source counts alike.
    """
    both = table.assign(dice=table[["dice_nucleus", "dice_cytoplasm"]].mean(axis=1))
    means = both.pivot_table("dice", "source", "condition")
    return float(
        (
            means[str(ImagingCondition.CLEAN)] / 2 + means[[str(condition) for condition in DECIDING]].mean(axis=1) / 2
        ).mean()
    )


def report_of(table: pd.DataFrame) -> dict[str, Any]:
    """Everything a table of images says: by condition and source, by cell type, by failure mode, and of confidence."""
    clean = table[table["condition"] == str(ImagingCondition.CLEAN)]
    return {
        "criterion": round(criterion(table), 4),
        "conditions": {
            condition: {source: _summary(rows) for source, rows in part.groupby("source")}
            for condition, part in table.groupby("condition", sort=False)
        },
        "cell_types": {
            source: {cell_type: _summary(rows) for cell_type, rows in part.groupby("cell_type")}
            for source, part in clean.groupby("source")
        },
        "failure_modes": by_mode(clean),
        "confidence": {
            condition: trust(_scores(table[table["condition"] == condition]))
            for condition in (str(ImagingCondition.CLEAN), CALIBRATED)
        },
    }


def for_card(folder: Path) -> dict[str, Any]:
    """A finished run for a model's card: by scheme, what was trained, and the scores of each source as photographed.

    Raises
    ------
    UsageError
        If the run has not finished.
    """
    try:
        report = json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = (
            f"{folder} holds no {REPORT_FILE} of a finished validation ({error}); name the folder `training.experiments"
            " validate` made"
        )
        raise UsageError(msg) from error
    scheme, k = report["plan"]["scheme"], report["plan"]["k"]
    facts = {
        "config": report["name"],
        "commit": report["commit"],
        "sources": report["conditions"][str(ImagingCondition.CLEAN)],
    }
    return {f"{scheme}, k = {k}" if k else scheme: facts}


def _summary(rows: pd.DataFrame) -> dict[str, Any]:
    return summarise(_scores(rows))


def _scores(rows: pd.DataFrame) -> list[ImageScore]:
    return [
        ImageScore(
            row["sample_id"],
            row["cell_type"],
            {region: row[f"dice_{region}"] for region in REGIONS},
            {region: row[f"iou_{region}"] for region in REGIONS},
            row["confidence"],
        )
        for row in rows.to_dict("records")
    ]


def _close(config: TrainingConfig, plan: ValidationPlan, splits: list[Split], folder: Path) -> None:
    """Gather what the splits came to, and add the run's line to the table of runs, once."""
    lock = locks.try_lock(folder / _WORK / "report.lock", keep_file=False)
    if lock is None:
        return
    with lock:
        if (folder / REPORT_FILE).exists():
            return
        table = pd.concat([pd.read_parquet(folder / split.name / IMAGES_FILE) for split in splits], ignore_index=True)
        table.to_parquet(folder / IMAGES_FILE, index=False)
        details = {
            split.name: json.loads((folder / split.name / SPLIT_REPORT_FILE).read_text(encoding="utf-8"))
            for split in splits
        }
        report = {
            "name": config.name,
            "plan": {
                "scheme": str(plan.scheme),
                "k": plan.k if plan.scheme is Scheme.GROUPED else None,
                "subset": plan.subset,
            },
            **report_of(table),
            "splits": details,
            "config": asdict(config),
            "seed": config.seed,
            "measured": "found by the shipped localiser, drawn by torch and post-processed, on the pixels of the image",
            "commit": commit(),
            "versions": versions(),
            "processor": cpu_name(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        _add_line(report, folder.parent / TABLE_FILE)
        files.write_text(folder / REPORT_FILE, json.dumps(report, indent=1))
    with suppress(OSError):  # not empty: somebody looks at this moment
        (folder / _WORK).rmdir()


def _add_line(report: dict[str, Any], path: Path) -> None:
    """One line a run: what, when, from which code, and mean Dice as photographed, each source counting alike."""
    clean = report["conditions"][str(ImagingCondition.CLEAN)].values()

    def of_sources(region: str, measure: str) -> float:
        return round(float(np.mean([source[region][measure] for source in clean])), 4)

    line = {
        "finished": report["finished"],
        "name": report["name"],
        "plan": "-".join(str(value) for value in report["plan"].values() if value is not None),
        "criterion": report["criterion"],
        **{region: of_sources(region, "dice_mean") for region in REGIONS},
        "cells_below_0.8": of_sources("cell", "below_0.8"),
        "seed": report["seed"],
        "commit": report["commit"],
        "minutes": round(
            sum(split["minutes_training"] + split["minutes_scoring"] for split in report["splits"].values()), 1
        ),
    }
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(line))
        if is_new:
            writer.writeheader()
        writer.writerow(line)
