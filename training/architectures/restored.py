"""The weights of an exported model, put back into the network they came from, so that training can go on with them.

An export folds every batch normalisation into the convolution before it. What it did is undone on real images: each
normalisation is given the mean and variance that its input has on them as its own statistics, and the scale and shift
that make its output what the folded convolution gave.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch.utils.hooks import RemovableHandle

from core.domain.errors import ModelError

_FOLDED = "_bias"  # what the exporter calls the bias that a convolution got from the normalisation behind it


@torch.no_grad()
def restore(network: torch.nn.Module, model: Path, images: torch.Tensor) -> None:
    """Give an untrained network the weights of its exported form; in eval mode both then give the same.

    Parameters
    ----------
    network
        As `training.architectures.build` makes it.
    model
        The exported file, in fp32.
    images
        Inputs (N, 3, H, W) by which normalisations get their statistics.

    Raises
    ------
    ModelError
        If the file is of another network.
    """
    stored = {one.name: torch.tensor(numpy_helper.to_array(one)) for one in onnx.load(str(model)).graph.initializer}
    convolutions = {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.Conv2d)}
    if lacking := [
        name
        for name, module in convolutions.items()
        if f"{name}.weight" not in stored or stored[f"{name}.weight"].shape != module.weight.shape
    ]:
        msg = f"{model.name} holds another network: it has no weights for {len(lacking)} layers, first {lacking[0]}"
        raise ModelError(msg)
    for name, module in convolutions.items():
        module.weight.copy_(stored[f"{name}.weight"])
        if module.bias is not None:
            module.bias.copy_(stored[f"{name}.bias"])
    pairs = list(_normalised(network.eval(), images))
    named = {module: name for name, module in convolutions.items()}
    hooks = [_undo_folding(norm, stored[f"{named[convolution]}.weight{_FOLDED}"]) for convolution, norm in pairs]
    network(images)
    for hook in hooks:
        hook.remove()


def _normalised(
    network: torch.nn.Module, images: torch.Tensor
) -> Iterator[tuple[torch.nn.Conv2d, torch.nn.BatchNorm2d]]:
    """Every convolution that a batch normalisation follows, with it, in the order of the computation."""
    calls: list[torch.nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: calls.append(module))
        for module in network.modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.BatchNorm2d)
    ]
    network(images[:1])
    for hook in hooks:
        hook.remove()
    for first, second in itertools.pairwise(calls):
        if isinstance(first, torch.nn.Conv2d) and isinstance(second, torch.nn.BatchNorm2d):
            yield first, second


def _undo_folding(norm: torch.nn.BatchNorm2d, bias: torch.Tensor) -> RemovableHandle:
    """Set a normalisation up when its input comes by: what it gives is that input plus the folded bias."""

    def set_up(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), unbiased=False)
        assert norm.running_mean is not None  # those of this library's networks keep statistics
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean + bias)

    return norm.register_forward_pre_hook(set_up)
