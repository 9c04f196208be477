"""What a network draws of cells that somebody has drawn: overlap, features and traits, as a user meets it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch.utils.data import DataLoader

from core.evaluation.adaptation import FeatureBias
from core.evaluation.paired import DiceByImage
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.features.extract import extract
from core.image.imaging import load
from core.pipeline import measure
from core.quality.novelty import traits
from core.segmentation.segmenter import Segmenter
from training.adaptation.cells import DrawnCells
from training.adaptation.network import Beginning
from training.augmentation import LabelledImage
from training.data import SegDataset
from training.evaluate import ImageScore, drawn_one, score_channels, score_labels

# Values by name; None (or nan, of a trait) where the cell has none.
Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Drawing:
    """Of one cell: how it agrees with the drawn outline, the key features, and the traits by which it is known."""

    score: ImageScore
    features: Values
    traits: Mapping[str, float]

    @property
    def dice(self) -> dict[str, float]:
        """By region."""
        return self.score.dice


def drawings(segmenter: Segmenter, cells: DrawnCells, on_cell: Callable[[], None] = lambda: None) -> dict[str, Drawing]:
    """Every cell through the whole pipeline: the network finds it itself."""
    found = {}
    for sample in cells.samples:
        truth = cells.items[sample.sample_id].labels
        cell, labels = drawn_one(load(sample.image), truth, segmenter)
        measured, confidence = measure(cell, segmenter), cell.segmentation.confidence or 0.0
        score = score_labels(sample.sample_id, sample.cell_type, labels, truth, confidence)
        features = {name: measured.features.values[name] for name in KEY_FEATURES}
        found[sample.sample_id] = Drawing(score, features, traits(measured.features.values, confidence))
        on_cell()
    return found


def dice_of(found: Mapping[str, Drawing]) -> DiceByImage:
    """The overlaps alone."""
    return {name: drawing.dice for name, drawing in found.items()}


def drawn_features(cells: DrawnCells) -> dict[str, Values]:
    """The key features in the drawn outlines."""
    return {name: _key_features(item) for name, item in cells.items.items()}


def _key_features(item: LabelledImage) -> Values:
    values = extract(item.rgb, item.labels).values
    return {name: values[name] for name in KEY_FEATURES}


@torch.no_grad()
def in_window(
    network: torch.nn.Module, beginning: Beginning, cells: DrawnCells
) -> tuple[dict[str, dict[str, float]], torch.Tensor, torch.Tensor]:
    """Dice by region in the window around each drawn cell, and the logits and targets (N, C, S, S) behind it."""
    data = SegDataset(cells.pairs, beginning.config, augment=False, scale=beginning.scale)
    pairs = [(network(images), targets) for images, targets in DataLoader(data, beginning.config.batch_size)]
    logits, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    scores = [
        score_channels(sample.sample_id, sample.cell_type, (given > 0).numpy(), (wanted > 0.5).numpy(), 0.0)
        for sample, given, wanted in zip(cells.samples, logits, targets, strict=True)
    ]
    return {score.sample_id: score.dice for score in scores}, logits, targets


def biases(
    drawn: Mapping[str, Values], before: Mapping[str, Drawing], after: Mapping[str, Drawing]
) -> tuple[FeatureBias, ...]:
    """The bias of each key feature under two models, of cells that have it in all three outlines.

    Features that are positive by nature and skewed are compared as logarithms, as their grades are.
    """
    found = []
    for name in KEY_FEATURES:
        rows = [(drawn[cell][name], before[cell].features[name], after[cell].features[name]) for cell in drawn]
        values = np.array([row for row in rows if None not in row], dtype=np.float64)
        if CATALOGUE[name].log_axis and (values > 0).all():
            values = np.log(values)
        if len(values) < 3 or (spread := float(values[:, 0].std(ddof=1))) == 0:
            continue
        off = (values[:, 1:] - values[:, :1]) / spread
        found.append(FeatureBias(name, *_mean_with_interval(off[:, 0]), *_mean_with_interval(off[:, 1])))
    return tuple(found)


def _mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and its 95 % interval by Student's t."""
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return round(mean, 4), round(mean - half, 4), round(mean + half, 4)
