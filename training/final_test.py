"""The test part at the end of a fine-tuning: scores per image, and pictures of the best and worst."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries
from torch.utils.data import DataLoader

from core.domain.compartments import CHANNELS, STYLES, Compartment
from core.evaluation.datasets import Sample
from core.image.imaging import base_name, encode_png
from core.support import files
from training.data import SegDataset
from training.evaluate import ImageScore, score_channels
from training.trainer import Trainer

# Pictures kept of either end.
CASES: Final = 5


@dataclass(frozen=True, eq=False)
class ScoredImage:
    """One test image as the network saw it, uint8 (S, S, 3), drawn and predicted channels, bool (C, S, S), score."""

    score: ImageScore
    rgb: NDArray[np.uint8]
    drawn: NDArray[np.bool_]
    predicted: NDArray[np.bool_]


def score_items(trainer: Trainer, data: SegDataset, samples: Sequence[Sample], batch_size: int) -> list[ScoredImage]:
    """Score every item of a data set without augmentation; `samples` are the items' own. The threshold is 0.5."""
    outcomes: list[ScoredImage] = []
    for images, targets in DataLoader(data, batch_size):
        for image, target, logits in zip(images, targets, trainer.predict(images), strict=True):
            sample = samples[len(outcomes)]
            drawn, predicted = (target > 0.5).numpy(), (logits > 0).numpy()
            confidence = float((2 * torch.sigmoid(logits) - 1).abs().mean())
            score = score_channels(sample.sample_id, sample.cell_type, predicted, drawn, confidence)
            pixels = (image.permute(1, 2, 0).numpy() * data.scale.std + data.scale.mean) * 255
            outcomes.append(ScoredImage(score, np.clip(np.rint(pixels), 0, 255).astype(np.uint8), drawn, predicted))
    return outcomes


def write_cases(outcomes: Sequence[ScoredImage], folder: Path) -> None:
    """Pictures of the best and worst cases by the thesis's mean Dice: image, drawn and predicted outlines."""
    folder.mkdir(exist_ok=True)
    ranked = sorted(outcomes, key=lambda outcome: _mean_dice(outcome.score))
    # Of few images none is both.
    worst = min(CASES, (len(ranked) + 1) // 2)
    ends = {"worst": ranked[:worst], "best": ranked[worst:][::-1][:CASES]}
    for end, chosen in ends.items():
        for place, outcome in enumerate(chosen, start=1):
            stem = base_name(outcome.score.sample_id.replace("/", "-"))
            panels = [outcome.rgb, _outlined(outcome.rgb, outcome.drawn), _outlined(outcome.rgb, outcome.predicted)]
            path = folder / f"{end}-{place}-{stem}-dice-{_mean_dice(outcome.score):.3f}.png"
            files.write_bytes(path, encode_png(np.concatenate(panels, axis=1)))


def _mean_dice(score: ImageScore) -> float:
    """Nucleus and cytoplasm averaged; 0 where neither can be scored, so that such a case is looked at."""
    values = [value for region in ("nucleus", "cytoplasm") if not math.isnan(value := score.dice[region])]
    return sum(values) / len(values) if values else 0.0


def _outlined(rgb: NDArray[np.uint8], channels: NDArray[np.bool_]) -> NDArray[np.uint8]:
    picture = rgb.copy()
    for compartment in (Compartment.CYTOPLASM, Compartment.NUCLEUS):
        edge = find_boundaries(channels[CHANNELS.index(compartment)], mode="inner")
        picture[edge] = list(bytes.fromhex(STYLES[compartment].colour.removeprefix("#")))
    return picture
