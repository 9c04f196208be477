"""The loss of a localiser: focal at the peaks (Zhou et al. 2019, Objects as Points), and of the boxes around them."""

from typing import Final

import torch

from training.localiser.boxes import KINDS

# Focal exponent; and how much less a point near a peak is held against the network.
_FOCUS: Final = 2.0
_NEAR: Final = 4.0
# The boxes' share: of the log distances, and of one minus intersection over union.
_LENGTHS: Final = 1.0
_OVERLAP: Final = 1.0


def localiser_loss(
    maps: torch.Tensor,
    peaks: torch.Tensor,
    weights: torch.Tensor,
    distances: torch.Tensor,
    measured: torch.Tensor,
) -> torch.Tensor:
    """Of maps (N, K + 4, h, w) and the targets of `training.localiser.targets`, stacked."""
    count = len(KINDS)
    return _of_peaks(maps[:, :count], peaks, weights) + _of_boxes(maps[:, count:], distances, measured)


def _of_peaks(logits: torch.Tensor, peaks: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    score = torch.sigmoid(logits)
    said, unsaid = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    top = peaks > 0.999
    at_peak = -((1 - score) ** _FOCUS) * said
    beside = -((1 - peaks) ** _NEAR) * score**_FOCUS * unsaid
    total = (torch.where(top, at_peak, beside) * weights).sum()
    return total / top.sum().clamp(min=1)


def _of_boxes(logs: torch.Tensor, distances: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    chosen = measured > 0
    if not chosen.any():
        return logs.sum() * 0
    share = measured[chosen]
    said, wanted = (field.permute(0, 2, 3, 1)[chosen] for field in (logs, distances))
    lengths = (said - wanted).abs().mean(dim=1)
    overlap = 1 - _iou(said.clamp(max=7).exp(), wanted.exp())
    return ((_LENGTHS * lengths + _OVERLAP * overlap) * share).sum() / share.sum()


def _iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Of boxes (M, 4) given by the distances of a common point from their edges."""
    shared = torch.minimum(one, other)
    both = (shared[:, 0] + shared[:, 2]) * (shared[:, 1] + shared[:, 3])
    areas = [(box[:, 0] + box[:, 2]) * (box[:, 1] + box[:, 3]) for box in (one, other)]
    return both / (areas[0] + areas[1] - both)
