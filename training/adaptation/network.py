"""A network that goes on from a model's weights with a laboratory's own cells, and what lies between the two."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch.utils.data import DataLoader

from core.domain.errors import ModelError
from core.domain.options import Device
from core.quality.novelty import Knowledge
from core.quality.novelty import load as load_knowledge
from core.segmentation.localiser import Localiser, OnnxLocaliser
from core.segmentation.model_registry import find_model
from training.adaptation.config import AdaptationConfig
from training.architectures import build
from training.architectures.restored import folded_model, restore
from training.architectures.weights import Normalisation
from training.augmentation import LabelledImage
from training.config import TrainingConfig
from training.data import SegDataset
from training.loop import SPLIT_FILE, load_network, temperature_of
from training.segmenter import TorchSegmenter, shipped_localiser
from training.trainer import Trainer

ROUNDS: Final = 6
# What changes the images: as the shipped model learnt.
_RECIPE: Final = Path(__file__).resolve().parents[1] / "configs" / "shipped.toml"


@dataclass(frozen=True, eq=False)
class Beginning:
    """The model that an adaptation begins with: its network in eval mode, and how its images are fed and changed.

    `split` names by part the images that it was trained, chosen and tested on; empty where that is unknown. `localiser`
    finds its cells. `knowledge` is what it knows of cells; None where that was not measured.
    """

    model_id: str
    network: torch.nn.Module
    config: TrainingConfig
    scale: Normalisation
    split: dict[str, list[str]]
    localiser: Localiser | None
    temperature: float = 1.0
    knowledge: Knowledge | None = None

    def segmenter(self, network: torch.nn.Module, temperature: float | None = None) -> TorchSegmenter:
        """A network on its way from this one, as a user meets it; None: calibrated as this one."""
        return TorchSegmenter(
            network,
            self.config,
            self.scale,
            torch.device("cpu"),
            temperature=self.temperature if temperature is None else temperature,
            localiser=self.localiser,
        )


def begin_with(model: str | None, shown: Sequence[LabelledImage]) -> Beginning:
    """The network of a model of the registry (None: the one in use), or of a run's folder.

    `shown` are images of any laboratory: they tell the statistics of an exported network's layers.

    Raises
    ------
    ModelError
        If there is no such model, or its file holds no network that can be trained (it is not fp32).
    """
    if model is not None and (run := Path(model)).is_dir():
        network, config, scale = load_network(run)
        split = _split(run / SPLIT_FILE)
        return Beginning(config.name, network, config, scale, split, shipped_localiser(), temperature_of(run))
    entry = find_model(model)
    card = entry.card
    if card.precision != "fp32":
        msg = f"{entry.model_id} is a model in {card.precision}; only one in fp32 can learn: name another with --model"
        raise ModelError(msg)
    config = replace(
        TrainingConfig.from_toml(_RECIPE),
        name=entry.model_id,
        architecture=card.architecture,
        encoder=card.encoder,
        input_size=card.input_size,
        cell_fill=card.cell_fill,
        white_balance=card.white_balance,
        detail=card.detail,
        start_from="",
        pseudo_sets=(),
        pseudo_probability=0.0,
    )
    scale = Normalisation(card.mean, card.std)
    network = build(config.architecture, config.encoder, pretrained=False)
    images = next(iter(DataLoader(SegDataset(shown, config, augment=False, scale=scale), 32)))[0]
    restore(network, folded_model(entry.path), images, entry.model_id)
    knowledge = load_knowledge(entry.novelty, entry.sha256) if entry.novelty else None
    return Beginning(
        entry.model_id,
        network.eval(),
        config,
        scale,
        _split(entry.split) if entry.split else {},
        OnnxLocaliser(entry.path.with_name(card.localiser["file"]), Device.CPU) if card.localiser else None,
        card.temperature,
        knowledge,
    )


def _split(path: Path) -> dict[str, list[str]]:
    split: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return split


def taught(
    beginning: Beginning,
    cells: Sequence[LabelledImage],
    known: Sequence[LabelledImage],
    config: AdaptationConfig,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    on_round: Callable[[int, float, Trainer], None] | None = None,
) -> torch.nn.Module:
    """The network after it has learnt from `cells`, mixed with images that it `known` already; in eval mode.

    Nothing is chosen: the schedule ends after `config.images` draws, and the averaged weights are kept. `on_round` is
    called with its number, the mean loss and the trainer as each of ROUNDS equal parts of them is done.

    Raises
    ------
    DivergedError
        If the loss is no longer a number.
    """
    share = config.known_share if known else 0.0
    settings = replace(
        beginning.config,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        seed=config.seed + seed,
        pseudo_sets=("known",) if known else (),
        pseudo_probability=share,
        paste_from_epoch=0,
    )
    data = SegDataset(cells, settings, augment=True, scale=beginning.scale, pseudo=known)
    steps = config.images // config.batch_size
    order = np.random.default_rng(settings.seed).permutation(steps * config.batch_size)
    network = copy.deepcopy(beginning.network).requires_grad_(requires_grad=True)
    there = {name for name, _ in network.named_modules()}
    frozen = [name for name in config.frozen if name in there]
    # Of a few cells a batch has no statistics worth knowing, and those of an exported network are only estimated.
    trainer = Trainer(
        network,
        settings,
        total_steps=steps,
        device=device or torch.device("cpu"),
        frozen=frozen,
        fixed_statistics=True,
    )
    done = 0
    for number, part in enumerate(np.array_split(np.arange(steps), min(ROUNDS, steps)), start=1):
        drawn = order[done * config.batch_size : (done + len(part)) * config.batch_size].tolist()
        batches = DataLoader(data, config.batch_size, sampler=drawn, num_workers=config.workers)
        loss = trainer.train_epoch(batches, seed=settings.seed * 100 + number)
        done += len(part)
        if on_round:
            on_round(number, loss, trainer)
    return trainer.averaged.cpu().eval()


@torch.no_grad()
def between(first: torch.nn.Module, second: torch.nn.Module, share: float) -> torch.nn.Module:
    """The network whose weights lie so far on the way from the first to the second (0: the first, 1: the second).

    Weights of networks that began alike can be averaged, and keep most of what either knows (Wortsman et al. 2022,
    CVPR, arXiv:2109.01903).
    """
    mixed = copy.deepcopy(first).eval()
    for own, other in zip(mixed.state_dict().values(), second.state_dict().values(), strict=True):
        if own.is_floating_point():
            own.lerp_(other, share)
        else:
            own.copy_(other)
    return mixed
