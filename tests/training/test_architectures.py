import json

import huggingface_hub
import pytest
import torch
from segmentation_models_pytorch.encoders import encoders

from core.domain.compartments import CHANNELS
from core.domain.errors import UsageError
from core.domain.settings import ROOT
from core.evaluation.model_comparison import TITLES
from core.segmentation.model_registry import find_model
from tests.training.tiny import tiny_config
from training.architectures import ARCHITECTURES, build, check_input, count_parameters, find_architecture
from training.architectures.weights import NO_ENCODER, PACKAGED_WEIGHTS, normalisation
from training.data import SegDataset
from training.losses import segmentation_loss

ENCODER = "tu-tf_efficientnet_lite0"
ON_ENCODERS = [name for name, row in ARCHITECTURES.items() if row.takes_encoder]


def build_small(architecture, *, pretrained=True):
    """The network with the smallest encoder, or without one."""
    return build(
        architecture, ENCODER if find_architecture(architecture).takes_encoder else NO_ENCODER, pretrained=pretrained
    )


def side_of(architecture):
    return max(64, find_architecture(architecture).smallest_side)


def packaged_tensors(encoder):
    """Names and values of the package's state dict, without counters and without the classifier's part."""
    state = torch.load(PACKAGED_WEIGHTS[encoder](), map_location="cpu", weights_only=True)
    classifier = ("_conv_head.", "_bn1.", "_fc.")
    return [
        (key, value)
        for key, value in state.items()
        if not key.endswith("num_batches_tracked") and not key.startswith(classifier)
    ]


def encoder_tensors(network):
    return [
        (key, value) for key, value in network.encoder.state_dict().items() if not key.endswith("num_batches_tracked")
    ]


def assert_packaged(network, encoder, *, whole):
    for (mine, value), (theirs, packaged) in zip(encoder_tensors(network), packaged_tensors(encoder), strict=whole):
        assert torch.equal(value, packaged), (mine, theirs)
        # Weight to weight, running mean to running mean: the order is right, not only the shapes.
        assert mine.rsplit(".", 1)[-1] == theirs.rsplit(".", 1)[-1]


@pytest.mark.parametrize("architecture", ON_ENCODERS)
def test_encoder_holds_the_packaged_imagenet_weights(architecture):
    # PSPNet alone stops after the third stage.
    assert_packaged(build(architecture, ENCODER), ENCODER, whole=architecture != "pspnet")


@pytest.mark.parametrize("encoder", PACKAGED_WEIGHTS)
def test_every_packaged_encoder_is_filled(encoder):
    assert_packaged(build("unet", encoder), encoder, whole=True)


def test_without_pretraining_the_encoder_differs():
    fresh = dict(encoder_tensors(build("unet", ENCODER, pretrained=False)))
    loaded = dict(encoder_tensors(build("unet", ENCODER)))
    convolutions = [key for key, value in loaded.items() if value.ndim == 4]
    assert convolutions
    assert not any(torch.equal(fresh[key], loaded[key]) for key in convolutions)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_have_one_channel_per_compartment_and_the_size_of_the_input(architecture):
    side = side_of(architecture)
    network = build_small(architecture).eval()
    for shape in ((2, 3, side, side), (1, 3, side, side + 32)):
        with torch.no_grad():
            logits = network(torch.zeros(shape))
        assert logits.shape == (shape[0], len(CHANNELS), *shape[2:])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_few_steps_lower_the_loss_on_their_batch(architecture, items):
    torch.manual_seed(0)
    data = SegDataset(items[:2], tiny_config(input_size=side_of(architecture)), augment=True)
    images, targets = (torch.stack(tensors) for tensors in zip(*(data[i] for i in range(2)), strict=True))
    network = build_small(architecture).train()
    for module in network.modules():
        # Dropout would draw another network after each step.
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        loss = segmentation_loss(network(images), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_takes_part(architecture):
    network = build_small(architecture, pretrained=False)
    assert count_parameters(network) == sum(parameter.numel() for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training


def test_layers_no_network_reads_are_not_counted():
    network = build("unet", "efficientnet-b0", pretrained=False)
    unused = sum(
        p.numel() for key, p in network.named_parameters() if key.startswith(("encoder._conv_head", "encoder._bn1"))
    )
    assert unused > 0
    assert count_parameters(network) == sum(p.numel() for p in network.parameters()) - unused


def test_every_architecture_has_a_name_in_the_literature():
    assert set(ARCHITECTURES) == set(TITLES)


def test_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="unknown architecture 'vnet'; known are unetplusplus, unet, manet"):
        build("vnet", ENCODER)


@pytest.mark.parametrize("encoder", ["resnet", "tu-resnet", "", NO_ENCODER])
def test_unknown_encoder_is_refused_with_where_to_find_some(encoder):
    with pytest.raises(UsageError, match=rf"unknown encoder '{encoder}'; take one with packaged weights \({ENCODER}, "):
        build("unet", encoder)


def test_encoder_of_a_network_without_one_is_refused():
    with pytest.raises(UsageError, match="U2-Net has no encoder to choose; name it 'none' instead of"):
        build("u2net", ENCODER)


def test_encoder_an_architecture_cannot_use_is_refused_with_the_reason():
    with pytest.raises(UsageError, match=r"UNet[+][+] cannot be built on the encoder 'mit_b0': .*not support"):
        build("unetplusplus", "mit_b0", pretrained=False)


@pytest.mark.parametrize("encoder", ["efficientnet-b0", "tu-efficientnet_b0"])
def test_hub_weights_without_a_network_are_an_error_in_words(encoder, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UsageError, match=rf"weights of '{encoder}' could not be had from the model hub .* as a package: {ENCODER}, "
    ):
        build("unet", encoder)


def test_packaged_encoders_and_none_have_the_normalisation_of_the_shipped_model():
    card = find_model(folder=ROOT / "assets" / "models").card
    for encoder in (*PACKAGED_WEIGHTS, NO_ENCODER):
        assert normalisation(encoder) == (card.mean, card.std) == ((127 / 255,) * 3, (128 / 255,) * 3)


def test_encoders_of_timm_have_timms_normalisation():
    assert normalisation("tu-resnet18") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert normalisation("tu-tf_efficientnet_lite3") == ((0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The hub's cache as its client keeps it, and no network: what smp files beside an encoder's weights."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    normalisation.cache_clear()

    def file(encoder, **settings):
        where = encoders[encoder]["pretrained_settings"]["imagenet"]
        folder = tmp_path / f"models--{where['repo_id'].replace('/', '--')}" / "snapshots" / where["revision"]
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(settings))

    yield file
    normalisation.cache_clear()


def test_encoders_of_smp_have_the_normalisation_kept_with_their_weights(hub):
    hub("efficientnet-b6", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], input_space="RGB", input_range=[0, 1])
    assert normalisation("efficientnet-b6") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_encoder_of_other_input_is_refused(hub):
    hub("vgg16", mean=[104.0, 117.0, 123.0], std=[1.0, 1.0, 1.0], input_space="BGR", input_range=[0, 255])
    with pytest.raises(UsageError, match="encoder 'vgg16' was trained on BGR from 0 to 255; take one"):
        normalisation("vgg16")


@pytest.mark.parametrize("encoder", ["resnet18", "tu-efficientnet_b6"])
def test_normalisation_that_is_not_to_be_had_is_an_error_in_words(hub, encoder):
    with pytest.raises(UsageError, match=rf"weights of '{encoder}' could not be had"):
        normalisation(encoder)


@pytest.mark.parametrize(
    ("architecture", "side", "batch", "message"),
    [
        ("pan", 96, 8, "PAN needs an input_size of at least 128, but it is 96"),
        ("deeplabv3plus", 64, 1, r"DeepLabV3[+] needs a batch_size of at least 2, but it is 1"),
    ],
)
def test_input_an_architecture_cannot_be_trained_on_is_refused(architecture, side, batch, message):
    with pytest.raises(UsageError, match=message):
        check_input(architecture, side, batch)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_least_input_of_the_registry_can_be_trained_on(architecture):
    row = find_architecture(architecture)
    check_input(architecture, row.smallest_side, max(2, row.smallest_batch))
    outputs = build_small(architecture, pretrained=False).train()(
        torch.randn(2, 3, row.smallest_side, row.smallest_side)
    )
    first = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    assert torch.isfinite(first).all()


@pytest.mark.parametrize(
    "architecture", [name for name, row in ARCHITECTURES.items() if row.smallest_side > 32 or row.smallest_batch > 1]
)
def test_limits_of_the_registry_are_real(architecture):
    row = find_architecture(architecture)
    network = build_small(architecture, pretrained=False).train()
    if row.smallest_batch > 1:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            network(torch.zeros(1, 3, row.smallest_side, row.smallest_side))
    if row.smallest_side > 32:
        with pytest.raises(RuntimeError, match="Output size is too small"):
            network(torch.zeros(2, 3, row.smallest_side - 32, row.smallest_side - 32))
