import pytest
import torch

from core.compartments import CHANNELS
from core.errors import UsageError
from training.architectures import ARCHITECTURES, PACKAGED_WEIGHTS, build

ENCODER = "tu-tf_efficientnet_lite0"


def packaged_tensors():
    """Names and values of the package's state dict, without counters and without the classifier's part."""
    state = torch.load(PACKAGED_WEIGHTS[ENCODER](), map_location="cpu", weights_only=True)
    classifier = ("_conv_head.", "_bn1.", "_fc.")
    return [(key, value) for key, value in state.items() if not key.endswith("num_batches_tracked") and not key.startswith(classifier)]


def encoder_tensors(network):
    return [(key, value) for key, value in network.encoder.state_dict().items() if not key.endswith("num_batches_tracked")]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_encoder_holds_the_packaged_imagenet_weights(architecture):
    pairs = list(zip(encoder_tensors(build(architecture, ENCODER)), packaged_tensors(), strict=True))
    for (mine, value), (theirs, packaged) in pairs:
        assert torch.equal(value, packaged), (mine, theirs)
        # Weight to weight, running mean to running mean: the order is right, not only the shapes.
        assert mine.rsplit(".", 1)[-1] == theirs.rsplit(".", 1)[-1]


def test_without_pretraining_the_encoder_differs():
    fresh = dict(encoder_tensors(build("unet", ENCODER, pretrained=False)))
    loaded = dict(encoder_tensors(build("unet", ENCODER)))
    convolutions = [key for key, value in loaded.items() if value.ndim == 4]
    assert convolutions
    assert not any(torch.equal(fresh[key], loaded[key]) for key in convolutions)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 3, 32, 96)])
def test_logits_have_one_channel_per_compartment_and_the_size_of_the_input(architecture, shape):
    with torch.no_grad():
        logits = build(architecture, ENCODER).eval()(torch.zeros(shape))
    assert logits.shape == (shape[0], len(CHANNELS), *shape[2:])


def test_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="unknown architecture 'vnet'; known are unetplusplus, unet"):
        build("vnet", ENCODER)


def test_encoder_without_packaged_weights_is_refused_with_those_that_have_some():
    with pytest.raises(UsageError, match=f"no packaged weights for the encoder 'resnet18'; there are some for {ENCODER}"):
        build("unet", "resnet18")
