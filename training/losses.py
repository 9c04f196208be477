"""The thesis's loss and Dice on logits."""

from collections.abc import Sequence
from typing import Final

import torch
from torch.nn import functional

from core.domain.compartments import CHANNELS, Compartment

# Dice, as loss and as metric, sees the drawn objects only; the environment is a ring, seen by BCE alone.
OBJECTS = [index for index, channel in enumerate(CHANNELS) if channel is not Compartment.ENVIRONMENT]
# Two drawings of one cell differ by about 1 % of its diameter: 2 px of the network's grid on either side of an outline.
BOUNDARY_PX: Final = 2


def soft_dice(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean soft Dice of nucleus and cytoplasm over a batch (N, C, H, W); an object absent from both counts as 1."""
    probabilities = torch.sigmoid(logits[:, OBJECTS])
    wanted = targets[:, OBJECTS]
    common = (probabilities * wanted).sum(dim=(2, 3))
    total = probabilities.sum(dim=(2, 3)) + wanted.sum(dim=(2, 3))
    return ((2 * common + 1) / (total + 1)).mean()


def segmentation_loss(
    logits: torch.Tensor | Sequence[torch.Tensor], targets: torch.Tensor, *, boundary: float = 0.0
) -> torch.Tensor:
    """The thesis's loss: 0.5 BCE-with-logits over all channels + 0.5 (1 - Dice of nucleus and cytoplasm).

    `boundary_loss` is added by weight. Of several outputs it is the sum with equal weights: deep supervision as in
    U2-Net, whose training loss is therefore that of seven outputs and not comparable with another network's.
    """
    if not isinstance(logits, torch.Tensor):
        return torch.stack([segmentation_loss(output, targets, boundary=boundary) for output in logits]).sum()
    loss = 0.5 * functional.binary_cross_entropy_with_logits(logits, targets) + 0.5 * (1 - soft_dice(logits, targets))
    if boundary:
        loss = loss + boundary * boundary_loss(logits, targets)
    return loss


def boundary_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """BCE-with-logits of nucleus and cytoplasm at the pixels within BOUNDARY_PX of each drawn outline.

    The idea of the U-Net's weight map (Ronneberger et al. 2015, MICCAI 9351:234, eq. 2), with a band in place of a
    fall-off: two poolings instead of a distance transform of every sample.
    """
    wanted, width = targets[:, OBJECTS], 2 * BOUNDARY_PX + 1
    dilated = functional.max_pool2d(wanted, width, stride=1, padding=BOUNDARY_PX)
    eroded = -functional.max_pool2d(-wanted, width, stride=1, padding=BOUNDARY_PX)
    band = dilated - eroded
    errors = functional.binary_cross_entropy_with_logits(logits[:, OBJECTS], wanted, reduction="none")
    return (errors * band).sum() / band.sum().clamp(min=1)


def hard_dice(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Dice per image and object, (N, 2) in the order of OBJECTS, of logits thresholded at probability 0.5.

    1 where both are empty.
    """
    predicted = logits[:, OBJECTS] > 0
    wanted = targets[:, OBJECTS] > 0.5
    common = (predicted & wanted).sum(dim=(2, 3)).float()
    total = (predicted.sum(dim=(2, 3)) + wanted.sum(dim=(2, 3))).float()
    return torch.where(total > 0, 2 * common / total, torch.ones_like(total))
