"""The thesis's loss and Dice on logits."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from core.compartments import CHANNELS, Compartment

# Dice, as loss and as metric, sees the drawn objects only; the environment is a ring, seen by BCE alone.
OBJECTS = [index for index, channel in enumerate(CHANNELS) if channel is not Compartment.ENVIRONMENT]


def soft_dice(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean soft Dice of nucleus and cytoplasm over a batch (N, C, H, W); an object absent from both counts as 1."""
    probabilities = torch.sigmoid(logits[:, OBJECTS])
    wanted = targets[:, OBJECTS]
    common = (probabilities * wanted).sum(dim=(2, 3))
    total = probabilities.sum(dim=(2, 3)) + wanted.sum(dim=(2, 3))
    return ((2 * common + 1) / (total + 1)).mean()


def segmentation_loss(logits: torch.Tensor | Sequence[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
    """0.5 BCE-with-logits over all channels + 0.5 (1 - Dice of nucleus and cytoplasm).

    Of several outputs it is the sum with equal weights: deep supervision as in U2-Net, whose training loss is therefore that
    of seven outputs and not comparable with another network's.
    """
    if not isinstance(logits, torch.Tensor):
        return torch.stack([segmentation_loss(output, targets) for output in logits]).sum()
    return 0.5 * functional.binary_cross_entropy_with_logits(logits, targets) + 0.5 * (1 - soft_dice(logits, targets))


def hard_dice(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Dice per image and object, (N, 2) in the order of OBJECTS, of logits thresholded at probability 0.5; 1 where both are empty."""
    predicted = logits[:, OBJECTS] > 0
    wanted = targets[:, OBJECTS] > 0.5
    common = (predicted & wanted).sum(dim=(2, 3)).float()
    total = (predicted.sum(dim=(2, 3)) + wanted.sum(dim=(2, 3))).float()
    return torch.where(total > 0, 2 * common / total, torch.ones_like(total))
