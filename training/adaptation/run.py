"""One adaptation: a folder of corrected cells in, the folder of a run out, which `python -m export` can read."""

import csv
import io
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from core.domain.errors import UsageError
from core.evaluation.adaptation import ACCOUNT_FILE, AdaptationAccount, refusal, save
from core.evaluation.datasets import data_set
from core.evaluation.paired import REGIONS, paired
from core.evaluation.training_runs import CONFIG_FILE, LOG_FILE, SCORES_FILE
from core.quality.novelty import Knowledge
from core.support import files
from training.adaptation.cells import DrawnCells, corrected_cells, known_cells
from training.adaptation.config import AdaptationConfig
from training.adaptation.crossfit import ChosenShare, CrossFit, Tell, choose
from training.adaptation.drawing import Drawing, biases, dice_of, drawings, drawn_features
from training.adaptation.network import Beginning, begin_with, between
from training.config import TrainingConfig
from training.data import hold_to_data
from training.evaluate import by_data_set, summarise
from training.loop import SPLIT_FILE, WEIGHTS_FILE, write_log
from training.provenance import commit, versions
from training.trainer import write_weights

SETTINGS_FILE: Final = "adapt.toml"
CELLS_FILE: Final = "cells.csv"
NETWORKS_FOLDER: Final = "networks"
# Held-back cells drawn at least so well tell what leukocytes of this laboratory look like; of them this share is not to
# be refused as something else, and no more than so many times the first model's limit is given for it, or what is no
# leukocyte would pass, too.
_RIGHT: Final = 0.9
_KEPT: Final = 0.98
_MOST_WIDENED: Final = 1.25


@dataclass(frozen=True, eq=False)
class _Material:
    """What an adaptation works on, all of it in memory."""

    name: str
    beginning: Beginning
    cells: DrawnCells
    blind: DrawnCells
    shown_again: DrawnCells
    chosen_on: DrawnCells
    tested_on: DrawnCells
    taken: tuple[str, ...]

    @property
    def known(self) -> int:
        """How many images of the laboratories that the model knows are at hand."""
        return len(self.shown_again) + len(self.chosen_on) + len(self.tested_on)


def adapt(
    corrections: Path,
    out: Path,
    config: AdaptationConfig,
    *,
    model: str | None = None,
    device: torch.device | None = None,
    tell: Tell = lambda *_: None,
) -> AdaptationAccount:
    """Teach a model a laboratory's corrected cells, or go on where a stopped adaptation of the same was.

    The folder `out` becomes one as `training.loop.fit` leaves it, and holds the account besides (`adaptation.json`),
    the settings (`adapt.toml`), and what became of each cell (`cells.csv`).

    Parameters
    ----------
    corrections
        Folder with images/ and masks/, as `leukoscope corrections export` or anybody writes it.
    out
        New folder of the run, or that of a stopped one.
    config
        The settings.
    model
        Id of a model of the registry, or folder of a training run; None: the model in use.
    device
        Where networks learn; None: the CPU.
    tell
        Called with what is being done and the share of all that is done.

    Raises
    ------
    DataSetError
        If pairs cannot be used or are too few; before anything is written.
    UsageError
        If the folder holds another run.
    ModelError
        If the model cannot learn.
    """
    started = time.monotonic()
    torch.set_num_threads(config.threads)
    tell("reading the cells", 0)
    material = _read(corrections, model, config)
    _begin(out, config, material)
    fit = CrossFit(
        material.beginning,
        material.cells,
        material.shown_again,
        material.chosen_on,
        config,
        out / NETWORKS_FOLDER,
        device or torch.device("cpu"),
        lambda doing, share: tell(doing, 0.75 * share),
    )
    choice = choose(fit)
    adapted = between(material.beginning.network, fit.all(), choice.share)
    write_weights(out / WEIGHTS_FILE, adapted, {"normalisation": json.dumps(material.beginning.scale)})
    write_log(fit.log(), out / LOG_FILE)
    account = _judged(fit, choice, adapted, material, out, tell)
    account = replace(account, minutes=round((fit.earlier_s + time.monotonic() - started) / 60, 1))
    save(account, out / ACCOUNT_FILE)
    tell("done", 1)
    return account


def _read(corrections: Path, model: str | None, config: AdaptationConfig) -> _Material:
    cells, blind = corrected_cells(corrections, config.folds)
    beginning = begin_with(model, cells.pairs)
    everything = DrawnCells((*cells.samples, *blind.samples), cells.items | blind.items)
    at_hand = known_cells(beginning.split, everything)
    none = DrawnCells((), {})
    kept = {sample_id for found in at_hand.values() for sample_id in found.items}
    # What is not at hand may lie elsewhere; what is, and was left out, is among the corrected cells.
    there = {name.split("/")[0] for name in kept}
    tested = beginning.split.get("test", []) + beginning.split.get("validation", [])
    taken = [name for name in tested if name not in kept and name.split("/")[0] in there]
    return _Material(
        data_set(str(corrections)).name,
        beginning,
        cells,
        blind,
        at_hand.get("train", none),
        at_hand.get("validation", none),
        at_hand.get("test", none),
        tuple(taken),
    )


def _begin(out: Path, config: AdaptationConfig, material: _Material) -> None:
    """Record what the run works with; raises UsageError where the folder holds another one."""
    if out.name == material.beginning.model_id:
        msg = (
            f"the adapted model takes the name of its folder, but {out.name} is the model it begins with; name another"
        )
        raise UsageError(msg)
    settings = out / SETTINGS_FILE
    if (settings.exists() and AdaptationConfig.from_toml(settings) != config) or (
        not settings.exists() and (out / CONFIG_FILE).exists()
    ):
        msg = f"{out} holds a run with other settings; choose another folder, or the same settings to go on"
        raise UsageError(msg)
    parts = (material.cells, material.blind, material.shown_again, material.chosen_on, material.tested_on)
    hold_to_data(out, [sample for part in parts for sample in part.samples])
    files.write_text(settings, config.to_toml())
    files.write_text(out / CONFIG_FILE, _training_config(out, config, material).to_toml())
    split = {
        "train": sorted({*material.beginning.split.get("train", []), *material.cells.items, *material.taken}),
        "validation": sorted(set(material.beginning.split.get("validation", [])) - set(material.taken)),
        "test": sorted({*material.tested_on.items, *material.blind.items}),
    }
    files.write_text(out / SPLIT_FILE, json.dumps(split, indent=1))


def _training_config(out: Path, config: AdaptationConfig, material: _Material) -> TrainingConfig:
    """The run in the terms of a training, for export and the page."""
    known = {
        name.split("/")[0]
        for part in (material.shown_again, material.chosen_on, material.tested_on)
        for name in part.items
    }
    folder = material.cells.samples[0].image.parent.parent
    return replace(
        material.beginning.config,
        name=out.name,
        data_sets=(*sorted(known), str(folder)),
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        batch_size=config.batch_size,
        images_per_epoch=config.images,
        seed=config.seed,
        epochs=1,
        start_from="",
        average_of=(),
        pseudo_sets=(),
        pseudo_probability=0.0,
    )


def _judged(
    fit: CrossFit, choice: ChosenShare, adapted: torch.nn.Module, material: _Material, out: Path, tell: Tell
) -> AdaptationAccount:
    """Score both models as a user meets them, and write what came of it."""
    beginning = material.beginning
    total = 2 * (len(material.cells) + len(material.blind) + len(material.tested_on))
    progress = _Counter(total, lambda done: tell(f"scoring: {done} of {total} images", 0.75 + 0.25 * done / total))

    def both(cells: DrawnCells, second: torch.nn.Module) -> tuple[dict[str, Drawing], dict[str, Drawing]]:
        first = drawings(beginning.segmenter(beginning.network), cells, progress.count)
        return first, drawings(beginning.segmenter(second, choice.temperature), cells, progress.count)

    before, after = dict[str, Drawing](), dict[str, Drawing]()
    for fold in fit.folds:
        network = between(beginning.network, fit.without(fold), choice.by_fold[fold])
        first, second = both(fit.held_back(fold), network)
        before |= first
        after |= second
    blind_before, blind_after = both(material.blind, adapted)
    known_before, known_after = both(material.tested_on, adapted)
    groups = material.tested_on.groups
    known = {
        name: paired(_of(known_before, name), _of(known_after, name), groups)
        for name in sorted({sample_id.split("/")[0] for sample_id in known_before})
    }
    held_back = paired(dice_of(before), dice_of(after), material.cells.groups)
    blind = paired(dice_of(blind_before), dice_of(blind_after), material.blind.groups)
    _write_scores(out, blind_after | known_after, after, choice.temperature)
    _write_cells(out, material, fit, before | blind_before, after | blind_after)
    return AdaptationAccount(
        model_id=out.name,
        base_id=beginning.model_id,
        laboratory=material.name,
        created=datetime.now(UTC).date().isoformat(),
        command=f"leukoscope adapt {material.name} --out {out.name} --model {beginning.model_id}",
        minutes=0.0,
        cells=len(material.cells),
        groups=len(set(material.cells.groups.values())),
        blind=len(material.blind),
        known_images=len(material.shown_again),
        share=choice.share,
        held_back=held_back,
        blind_sample=blind,
        known=known,
        curve=choice.curve,
        features=biases(drawn_features(material.cells), before, after),
        **_known_again(beginning.knowledge, before, after),
        refused=refusal(known, held_back, blind, fit.config.forgets),
    )


class _Counter:
    """Tells how many are done."""

    def __init__(self, total: int, tell: Callable[[int], None]) -> None:
        self._done, self._total, self._tell = 0, total, tell

    def count(self) -> None:
        self._done += 1
        self._tell(self._done)


def _of(found: Mapping[str, Drawing], source: str) -> dict[str, dict[str, float]]:
    return {name: drawing.dice for name, drawing in found.items() if name.startswith(f"{source}/")}


def _known_again(
    knowledge: Knowledge | None, before: Mapping[str, Drawing], after: Mapping[str, Drawing]
) -> dict[str, Any]:
    """How many cells both models take for something else, and the limit at which hardly any is."""
    if knowledge is None:
        return {"unlike": None, "novelty_limit": None}
    detector = knowledge.detector

    def distances(found: Mapping[str, Drawing]) -> np.ndarray:
        right = [drawing for drawing in found.values() if drawing.dice["cell"] >= _RIGHT]
        return np.array([distance for drawing in right if (distance := detector.distance(drawing.traits)) is not None])

    first, second = distances(before), distances(after)
    if not len(first) or not len(second):
        return {"unlike": None, "novelty_limit": detector.limit}
    wanted = float(np.quantile(second, _KEPT))
    limit = min(max(detector.limit, wanted), _MOST_WIDENED * detector.limit)
    unlike = (float((first > detector.limit).mean()), float((second > limit).mean()))
    return {"unlike": unlike, "novelty_limit": round(limit, 4)}


def _write_scores(
    out: Path, tested: Mapping[str, Drawing], held_back: Mapping[str, Drawing], temperature: float
) -> None:
    """`scores.json`, the mark of a run that is done."""
    # Where nothing is left to test on, what the networks of the folds drew stands for it.
    scores = [drawing.score for drawing in (tested or held_back).values()]
    report = {
        "test": summarise(scores),
        "by_data_set": by_data_set(scores),
        "measured": (
            "as a user meets it, the cell found by the network"
            if tested
            else "corrected cells, each by a network that had not learnt from it"
        ),
        "per_image": {score.sample_id: score.dice for score in scores},
        "temperature": temperature,
        "precision": "float32",
        "versions": versions(),
        "commit": commit(),
    }
    files.write_text(out / SCORES_FILE, json.dumps(report, indent=1))


def _write_cells(
    out: Path, material: _Material, fit: CrossFit, before: Mapping[str, Drawing], after: Mapping[str, Drawing]
) -> None:
    """A row for each cell: its fold, and the Dice of both models."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["image_id", "group", "fold", *(f"{when}_{region}" for region in REGIONS for when in ("before", "after"))]
    )
    for sample in (*material.cells.samples, *material.blind.samples):
        name = sample.sample_id
        dice = [round(found[name].dice[region], 4) for region in REGIONS for found in (before, after)]
        writer.writerow([name, sample.group, fit.fold_of.get(name, "blind"), *dice])
    files.write_text(out / CELLS_FILE, text.getvalue())
