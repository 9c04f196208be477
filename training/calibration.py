"""Calibration of a network's probabilities by a temperature, and whether confidence predicts the error."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch.nn import functional
from torch.utils.data import DataLoader

from training.data import SegDataset
from training.evaluate import ImageScore
from training.losses import OBJECTS

# A cell outlined worse than this is one that a confidence should have warned of.
POOR_DICE: Final = 0.9
_BINS: Final = 15


def logits_of(
    predict: Callable[[torch.Tensor], torch.Tensor], data: SegDataset, batch_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets (N, C, S, S) of all items of a data set without augmentation."""
    pairs = [(predict(images), targets) for images, targets in DataLoader(data, batch_size)]
    return torch.cat([logits for logits, _ in pairs]), torch.cat([targets for _, targets in pairs])


def fit_temperature(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """The divisor of logits that minimises BCE of nucleus and cytoplasm; masks hardly change.

    Guo et al. 2017, ICML, PMLR 70:1321.
    """
    given, wanted = logits[:, OBJECTS].flatten().double(), targets[:, OBJECTS].flatten().double()
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(given / log_temperature.exp(), wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return float(log_temperature.detach().exp())


def calibration_error(logits: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0) -> float:
    """Expected calibration error of nucleus and cytoplasm: mean |probability - frequency| over 15 equal bins."""
    probability = torch.sigmoid(logits[:, OBJECTS] / temperature).flatten().double()
    wanted = targets[:, OBJECTS].flatten().double()
    bins = (probability * _BINS).long().clamp(max=_BINS - 1)
    gaps = torch.zeros(_BINS, dtype=torch.float64).scatter_add_(0, bins, probability - wanted)
    return float(gaps.abs().sum() / len(wanted))


def trust(scores: Sequence[ImageScore]) -> dict[str, float | int | None]:
    """How well confidence predicts Dice, the mean of nucleus and cytoplasm (of what can be scored).

    `spearman` rank correlation; `auroc`, the chance that a poor cell (Dice below 0.9) has less confidence than another
    one; `poor`, their number. None where undefined: all alike, or all poor, or none.
    """
    dice = np.array([np.nanmean([score.dice["nucleus"], score.dice["cytoplasm"]]) for score in scores])
    confidence = np.array([score.confidence for score in scores])
    poor = dice < POOR_DICE
    varied = len(scores) > 2 and np.ptp(dice) > 0 and np.ptp(confidence) > 0
    return {
        "spearman": round(float(stats.spearmanr(confidence, dice).statistic), 4) if varied else None,
        "auroc": round(_auroc(confidence[poor], confidence[~poor]), 4) if 0 < poor.sum() < len(poor) else None,
        "poor": int(poor.sum()),
    }


def _auroc(lower: NDArray[np.float64], higher: NDArray[np.float64]) -> float:
    """The chance that one of `lower` is below one of `higher`, ties counting half."""
    return float(stats.mannwhitneyu(higher, lower).statistic / (len(lower) * len(higher)))
