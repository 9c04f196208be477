from dataclasses import replace

import numpy as np
import pytest
import torch

from core.domain.errors import ModelError
from core.domain.options import Device
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter
from tests.training.tiny import tiny_config
from training.architectures import build
from training.architectures.restored import folded_model, folded_network, mean_of, restore
from training.data import split_samples

SIDE = 64
ENCODER = "tu-tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def images():
    return torch.tensor(np.random.default_rng(3).normal(size=(4, 3, SIDE, SIDE)), dtype=torch.float32)


def test_a_restored_network_gives_what_its_exported_form_gives(images):
    entry = find_model()
    network = build(entry.card.architecture, entry.card.encoder, pretrained=False)
    restore(network, folded_model(entry.path), images, entry.model_id)
    exported = OnnxSegmenter.from_entry(entry, Device.CPU, threads=1).logits(images.numpy())
    with torch.no_grad():
        assert network.eval()(images).numpy() == pytest.approx(exported, abs=1e-3)
        # Also while it trains, when normalisations take the statistics of the batch: those it was restored with.
        assert network.train()(images).numpy() == pytest.approx(exported, abs=1e-2)


def test_a_network_with_another_decoder_is_given_the_encoder(images):
    folded = folded_model(find_model().path)
    networks = [build(name, ENCODER, pretrained=False) for name in ("unet-slim", "unetplusplus")]
    for network in networks:
        restore(network, folded, images, "mine")
    with torch.no_grad():
        for mine, whole in zip(*(network.eval().encoder(images) for network in networks), strict=True):
            assert mine.numpy() == pytest.approx(whole.numpy(), abs=1e-3)


def test_another_encoder_is_refused(images):
    lite2 = build("unet-slim", "tu-tf_efficientnet_lite2", pretrained=False)
    with pytest.raises(ModelError, match=r"mine holds another encoder: it has no weights for \d+ layers, first "):
        restore(lite2, folded_model(find_model().path), images, "mine")


def test_what_a_models_split_names_stays_in_its_part(samples):
    """Whatever else is divided anew, weights are not tested on what they have learnt from."""
    config = tiny_config()
    first = split_samples(samples, config)
    known = {part: [sample.sample_id for sample in members[::2]] for part, members in first.items()}
    again = split_samples(samples, replace(config, seed=config.seed + 1), known)
    for part, ids in known.items():
        assert {*ids} <= {sample.sample_id for sample in again[part]}
    assert sum(map(len, again.values())) == len(samples)


def test_the_mean_of_a_network_and_itself_is_that_network(images):
    torch.manual_seed(3)
    first = build("linknet", ENCODER, pretrained=False)
    folded = folded_network(first, images)
    again = build("linknet", ENCODER, pretrained=False)
    restore(again, mean_of([folded, folded]), images, "mean")
    with torch.no_grad():
        assert again.eval()(images).numpy() == pytest.approx(first.eval()(images).numpy(), abs=1e-3)
