"""Networks with their batch normalisations folded into the convolutions before them, as an export leaves them.

In this form networks that began alike can be averaged, and the weights of an exported model put back into the network
they came from, so that training goes on with them. What was folded is undone on real images: each normalisation is
given the mean and variance that its input has on them as its own statistics, and the scale and shift that make its
output what the folded convolution gave. The convolution before it, whose scale means nothing then, is given that of
untrained weights: an optimiser's steps are as large for every channel, and what a fold had made small they would
destroy.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch.nn.utils import fusion
from torch.utils.hooks import RemovableHandle

from core.domain.errors import ModelError

# Weight and bias of every convolution, by its name in the network.
Folded = Mapping[str, tuple[torch.Tensor, torch.Tensor]]

_Convolution = torch.nn.Conv2d | torch.nn.ConvTranspose2d
_ENCODER = "encoder."
_SUFFIX = "_bias"  # what the exporter calls the bias that a convolution got from the normalisation behind it


def folded_model(model: Path) -> Folded:
    """Of an exported file in fp32."""
    stored = {one.name: torch.tensor(numpy_helper.to_array(one)) for one in onnx.load(str(model)).graph.initializer}
    names = [name.removesuffix(".weight") for name in stored if name.endswith(".weight")]
    biases = {name: (f"{name}.weight{_SUFFIX}", f"{name}.bias") for name in names}
    return {
        name: (stored[f"{name}.weight"], next(stored[bias] for bias in biases[name] if bias in stored))
        for name in names
        if any(bias in stored for bias in biases[name])
    }


@torch.no_grad()
def folded_network(network: torch.nn.Module, images: torch.Tensor) -> Folded:
    """Of a trained network; `images` (N, 3, H, W) show in which order it computes."""
    convolutions = _convolutions(network)
    named = {module: name for name, module in convolutions.items()}
    folded = {name: (module.weight, module.bias) for name, module in convolutions.items() if module.bias is not None}
    for convolution, norm in _normalised(network.eval(), images):
        assert norm.running_mean is not None  # those of these networks keep statistics
        assert norm.running_var is not None
        folded[named[convolution]] = fusion.fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
            transpose=isinstance(convolution, torch.nn.ConvTranspose2d),
        )
    return folded


def mean_of(networks: Sequence[Folded]) -> Folded:
    """The mean of networks that began alike."""
    return {
        name: (
            torch.stack([network[name][0] for network in networks]).mean(dim=0),
            torch.stack([network[name][1] for network in networks]).mean(dim=0),
        )
        for name in networks[0]
    }


@torch.no_grad()
def restore(network: torch.nn.Module, folded: Folded, images: torch.Tensor, origin: str) -> None:
    """Give an untrained network what was folded; in eval mode it then computes the same.

    Of a network with the same encoder and another decoder it is given the encoder's.

    Parameters
    ----------
    network
        As `training.architectures.build` makes it.
    folded
        The weights.
    images
        Inputs (N, 3, H, W) by which normalisations get their statistics.
    origin
        Names the weights in an error.

    Raises
    ------
    ModelError
        If they are of another encoder.
    """
    convolutions = _convolutions(network)
    lacking = [
        name
        for name, module in convolutions.items()
        if name not in folded or folded[name][0].shape != module.weight.shape
    ]
    if of_encoder := [name for name in lacking if name.startswith(_ENCODER)]:
        msg = f"{origin} holds another encoder: it has no weights for {len(of_encoder)} layers, first {of_encoder[0]}"
        raise ModelError(msg)
    if lacking:
        convolutions = {name: module for name, module in convolutions.items() if name.startswith(_ENCODER)}
    named = {module: name for name, module in convolutions.items()}
    pairs = [pair for pair in _normalised(network.eval(), images) if pair[0] in named]
    untrained = {convolution: _norms(convolution, convolution.weight) for convolution, _ in pairs}
    for name, module in convolutions.items():
        module.weight.copy_(folded[name][0])
        if module.bias is not None:
            module.bias.copy_(folded[name][1])
    hooks = []
    for convolution, norm in pairs:
        larger = untrained[convolution] / _norms(convolution, convolution.weight)
        convolution.weight.mul_(larger.view(*_by_channel(convolution)))
        if convolution.bias is not None:
            convolution.bias.zero_()  # the normalisation behind it is given it
        hooks.append(_undo_folding(norm, larger, folded[named[convolution]][1]))
    network(images)
    for hook in hooks:
        hook.remove()


def _convolutions(network: torch.nn.Module) -> dict[str, _Convolution]:
    return {name: module for name, module in network.named_modules() if isinstance(module, _Convolution)}


def _normalised(network: torch.nn.Module, images: torch.Tensor) -> Iterator[tuple[_Convolution, torch.nn.BatchNorm2d]]:
    """Every convolution that a batch normalisation follows, with it, in the order of the computation."""
    calls: list[torch.nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: calls.append(module))
        for module in network.modules()
        if isinstance(module, _Convolution | torch.nn.BatchNorm2d)
    ]
    network(images[:1])
    for hook in hooks:
        hook.remove()
    for first, second in itertools.pairwise(calls):
        if isinstance(first, _Convolution) and isinstance(second, torch.nn.BatchNorm2d):
            yield first, second


def _by_channel(convolution: _Convolution) -> tuple[int, ...]:
    """The shape by which a value for each output channel meets the weights."""
    channels = 1 if isinstance(convolution, torch.nn.ConvTranspose2d) else 0
    return tuple(-1 if axis == channels else 1 for axis in range(4))


def _norms(convolution: _Convolution, weight: torch.Tensor) -> torch.Tensor:
    """The length of each output channel's weights; 1 where they are all zero."""
    others = [axis for axis, size in enumerate(_by_channel(convolution)) if size == 1]
    norms = weight.pow(2).sum(dim=others).sqrt()
    return torch.where(norms > 0, norms, torch.ones_like(norms))


def _undo_folding(norm: torch.nn.BatchNorm2d, larger: torch.Tensor, bias: torch.Tensor) -> RemovableHandle:
    """Set a normalisation up when its input comes by: what it gives is the unscaled input plus the folded bias.

    `larger` is how many times larger each channel of its input was made.
    """

    def set_up(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), unbiased=False)
        assert norm.running_mean is not None  # those of these networks keep statistics
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt() / larger)
        norm.bias.copy_(mean / larger + bias)

    return norm.register_forward_pre_hook(set_up)
