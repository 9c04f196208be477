"""A network in torch, its cells found and its maps post-processed as an exported one's: scores without an export."""

from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from core.domain.compartments import CHANNELS
from core.domain.errors import ModelError
from core.domain.options import Device
from core.segmentation.localiser import Localiser, OnnxLocaliser
from core.segmentation.model_card import ModelCard
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import TwoPassSegmenter
from training.architectures.weights import Normalisation
from training.config import TrainingConfig
from training.loop import load_network


class TorchSegmenter(TwoPassSegmenter):
    """A network (N, 3, S, S) -> (N, C, S, S) in eval mode, as trained under `config`.

    Without a localiser it looks at the whole image first, and then in the window of what it drew there.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        config: TrainingConfig,
        scale: Normalisation,
        device: torch.device,
        *,
        views: int = 1,
        temperature: float = 1.0,
        localiser: Localiser | None = None,
    ) -> None:
        card = replace(inference_card(config, scale), temperature=temperature)
        super().__init__(card, str(device), views, localiser)
        self._network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._device = device

    @classmethod
    def from_run(
        cls,
        run: Path,
        device: torch.device,
        *,
        views: int = 1,
        temperature: float = 1.0,
        localiser: Localiser | None = None,
    ) -> Self:
        """The network that a training run kept; raises ModelError for an unfinished run."""
        return cls(*load_network(run), device, views=views, temperature=temperature, localiser=localiser)

    @torch.no_grad()
    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """In float32, whatever the network was trained in."""
        moved = torch.from_numpy(images).to(self._device, memory_format=torch.channels_last)
        return np.asarray(self._network(moved).float().cpu().numpy(), dtype=np.float32)


def shipped_localiser() -> Localiser | None:
    """The localiser of the model that the app opens with; None where there is no model yet, or it has none."""
    try:
        entry = find_model()
    except ModelError:
        return None
    localiser = entry.card.localiser
    return OnnxLocaliser(entry.path.with_name(localiser["file"]), Device.CPU) if localiser else None


def inference_card(config: TrainingConfig, scale: Normalisation) -> ModelCard:
    """The fields of a card that inference needs; `python -m export` adds those for people."""
    return ModelCard(
        model_id=config.name,
        architecture=config.architecture,
        encoder=config.encoder,
        input_size=config.input_size,
        mean=scale.mean,
        std=scale.std,
        classes=tuple(channel.label for channel in CHANNELS),
        cell_fill=config.cell_fill,
        white_balance=config.white_balance,
        detail=config.detail,
        training_data="",
        split="",
        scores={},
        intended_use="",
        limits="",
        licence="",
        created="",
        opset=0,
    )
