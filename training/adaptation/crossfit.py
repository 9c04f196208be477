"""Networks that are each taught without a part of the corrected cells, so that what they draw there is honest."""

import copy
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import safe_open
from torch.utils.data import DataLoader

from core.evaluation.adaptation import LearningPoint
from core.evaluation.paired import MEAN, REGIONS, DiceByImage, paired
from training.adaptation.cells import DrawnCells
from training.adaptation.config import AdaptationConfig
from training.adaptation.drawing import in_window
from training.adaptation.network import ROUNDS, Beginning, between, taught
from training.calibration import fit_temperature
from training.data import SegDataset
from training.loop import EpochLog
from training.selection import deal
from training.trainer import OBJECT_NAMES, Trainer, write_weights

_ALL: Final = "all"
# Called with what is being done, in words, and the share of all that is done.
Tell = Callable[[str, float], None]


@dataclass(eq=False)
class CrossFit:
    """The networks of an adaptation, kept in a folder as each is done, so that a stopped one goes on.

    `known` are images that the model learnt from, to be shown again; `chosen_on` those that it was chosen on.
    `earlier_s` are the seconds that networks took to learn in earlier starts of the same run.
    """

    beginning: Beginning
    cells: DrawnCells
    known: DrawnCells
    chosen_on: DrawnCells
    config: AdaptationConfig
    folder: Path
    device: torch.device
    tell: Tell
    fold_of: dict[str, int] = field(init=False)
    earlier_s: float = field(init=False, default=0.0)
    _rows: dict[str, list[EpochLog]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Deal the cells into folds: groups stay whole, cell types are spread."""
        samples = self.cells.samples
        folds = deal(
            [sample.group for sample in samples],
            [sample.cell_type.value for sample in samples],
            self.config.folds,
            self.config.seed,
        )
        self.fold_of = {sample.sample_id: int(fold) for sample, fold in zip(samples, folds, strict=True)}

    @property
    def folds(self) -> range:
        """The numbers of the folds."""
        return range(1, self.config.folds + 1)

    @property
    def networks(self) -> int:
        """How many networks are taught in all."""
        return 2 * self.config.folds + 1

    def held_back(self, fold: int) -> DrawnCells:
        """The cells of a fold."""
        return self.cells.of([name for name, its in self.fold_of.items() if its == fold])

    def others(self, fold: int) -> DrawnCells:
        """The cells of all folds but one."""
        return self.cells.of([name for name, its in self.fold_of.items() if its != fold])

    def without(self, fold: int) -> torch.nn.Module:
        """The network that was taught with all folds but one."""
        return self._network(f"without-{fold}", self.others(fold), fold)

    def only(self, fold: int) -> torch.nn.Module:
        """The network that was taught with one fold alone: what few cells give."""
        return self._network(f"only-{fold}", self.held_back(fold), self.config.folds + fold)

    def all(self) -> torch.nn.Module:
        """The network that was taught with all cells."""
        return self._network(_ALL, self.cells, 0)

    def log(self) -> list[EpochLog]:
        """How the network of all cells learnt, a row for each round."""
        self.all()
        return self._rows[_ALL]

    def _network(self, name: str, cells: DrawnCells, seed: int) -> torch.nn.Module:
        path = self.folder / f"{name}.safetensors"
        rows: list[EpochLog] = []
        if not path.is_file():
            started = time.monotonic()

            def show(number: int, loss: float, trainer: Trainer) -> None:
                done = len(self._rows)
                doing = f"network {done + 1} of {self.networks} learns from {len(cells)} cells"
                self.tell(doing, (done + number / ROUNDS) / self.networks)
                seconds = time.monotonic() - started - sum(row.seconds for row in rows)
                rows.append(EpochLog(number, loss, *self._validated(trainer), trainer.learning_rate, seconds))

            network = taught(
                self.beginning, cells.pairs, self.known.pairs, self.config, seed=seed, device=self.device, on_round=show
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            write_weights(path, network, {"log": json.dumps([asdict(row) for row in rows])})
            self._rows[name] = rows
        return self._kept(name, path)

    def _kept(self, name: str, path: Path) -> torch.nn.Module:
        network = copy.deepcopy(self.beginning.network)
        with safe_open(path, "pt") as file:
            network.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118 (the file itself cannot be iterated)
            rows = [EpochLog(**row) for row in json.loads(file.metadata()["log"])]
        if name not in self._rows:
            self._rows[name] = rows
            self.earlier_s += sum(row.seconds for row in rows)
        return network.eval()

    def _validated(self, trainer: Trainer) -> tuple[float, float, float]:
        """Loss, and Dice of nucleus and cytoplasm, on the images that the model was chosen on; nan without any."""
        if not len(self.chosen_on):
            return math.nan, math.nan, math.nan
        data = SegDataset(self.chosen_on.pairs, self.beginning.config, augment=False, scale=self.beginning.scale)
        loss, dice = trainer.validate(DataLoader(data, self.config.batch_size))
        mean = dict(zip(OBJECT_NAMES, dice.mean(dim=0).tolist(), strict=True))
        return loss, mean["nucleus"], mean["cytoplasm"]


@dataclass(frozen=True, eq=False)
class ChosenShare:
    """How far to go to the adapted weights, and what the networks of the folds drew there.

    `by_fold` is the share that the other folds chose for each, by which its cells are judged; `curve` and `temperature`
    are of held-back cells.
    """

    share: float
    by_fold: Mapping[int, float]
    curve: tuple[LearningPoint, ...]
    temperature: float


def choose(fit: CrossFit) -> ChosenShare:
    """Choose the share that gains most on held-back cells and lets no known laboratory lose more than is allowed.

    Where none does, the least is taken.
    """
    base = fit.beginning.network
    started, _, _ = in_window(base, fit.beginning, fit.cells)
    held: dict[float, dict[str, dict[str, float]]] = {share: {} for share in fit.config.shares}
    few: dict[str, list[float]] = {}
    lost: dict[float, list[float]] = {share: [] for share in fit.config.shares}
    logits, targets = dict[float, list[torch.Tensor]](), list[torch.Tensor]()
    knew = in_window(base, fit.beginning, fit.chosen_on)[0] if len(fit.chosen_on) else {}
    for fold in fit.folds:
        adapted = fit.without(fold)
        for share in fit.config.shares:
            network = between(base, adapted, share)
            dice, given, wanted = in_window(network, fit.beginning, fit.held_back(fold))
            held[share] |= dice
            logits.setdefault(share, []).append(given)
            if share == fit.config.shares[0]:
                targets.append(wanted)
            lost[share].append(_most_lost(knew, network, fit))
    share = _best(fit.config, held, {share: max(found) for share, found in lost.items()}, started)
    by_fold = {fold: _best_without(fold, fit, held, lost, started) for fold in fit.folds}
    for fold in fit.folds:
        dice, _, _ = in_window(between(base, fit.only(fold), share), fit.beginning, fit.others(fold))
        for name, found in dice.items():
            few.setdefault(name, []).append((found["nucleus"] + found["cytoplasm"]) / 2)
    curve = (
        _point(0, started, fit),
        _point(
            round(len(fit.cells) / fit.config.folds),
            {name: _alike(float(np.mean(found))) for name, found in few.items()},
            fit,
        ),
        _point(round(len(fit.cells) * (1 - 1 / fit.config.folds)), held[share], fit),
    )
    return ChosenShare(share, by_fold, curve, fit_temperature(torch.cat(logits[share]), torch.cat(targets)))


def _most_lost(knew: DiceByImage, network: torch.nn.Module, fit: CrossFit) -> float:
    """What the known laboratory that loses most loses in Dice (0: none does)."""
    if not knew:
        return 0.0
    now, _, _ = in_window(network, fit.beginning, fit.chosen_on)
    names = {name.split("/")[0] for name in knew}
    lost = [
        -difference.difference
        for source in names
        for difference in paired(_of(knew, source), _of(now, source), fit.chosen_on.groups).values()
    ]
    return max(0.0, *lost)


def _of(dice: DiceByImage, source: str) -> DiceByImage:
    return {name: found for name, found in dice.items() if name.startswith(f"{source}/")}


def _best(
    config: AdaptationConfig, held: Mapping[float, DiceByImage], lost: Mapping[float, float], started: DiceByImage
) -> float:
    allowed = [share for share in config.shares if lost[share] <= config.forgets]
    if not allowed:
        return min(config.shares)
    return max(allowed, key=lambda share: paired(started, held[share], dict.fromkeys(started, ""))[MEAN].difference)


def _best_without(
    fold: int,
    fit: CrossFit,
    held: Mapping[float, DiceByImage],
    lost: Mapping[float, Sequence[float]],
    started: DiceByImage,
) -> float:
    """The share that the other folds would choose."""
    others = set(fit.others(fold).groups)
    rest = {share: {name: dice[name] for name in others} for share, dice in held.items()}
    most = {
        share: max(found for its, found in zip(fit.folds, each, strict=True) if its != fold)
        for share, each in lost.items()
    }
    return _best(fit.config, rest, most, {name: started[name] for name in others})


def _alike(value: float) -> dict[str, float]:
    return dict.fromkeys(REGIONS, float(value))


def _point(cells: int, dice: DiceByImage, fit: CrossFit) -> LearningPoint:
    # Against nothing at all the difference is the mean itself, with its interval over groups.
    found = paired(dict.fromkeys(dice, _alike(0.0)), dice, fit.cells.groups)[MEAN]
    low, high = found.ci95 or (found.difference, found.difference)
    return LearningPoint(cells, found.difference, low, high)
