import numpy as np
import pytest
import torch

from core.domain.compartments import CHANNELS, Compartment
from core.domain.errors import ModelError
from core.evaluation.metrics import overlap
from core.image.imaging import load
from core.image.masks import cell_mask, region_mask
from core.image.window import Window
from tests.training.tiny import tiny_config
from training.architectures.weights import normalisation
from training.data import load_labelled
from training.loop import WEIGHTS_FILE
from training.segmenter import TorchSegmenter

CPU = torch.device("cpu")
SCALE = normalisation(tiny_config().encoder)


class ByColour(torch.nn.Module):
    """A network that needs no training: in the drawn cells, dark is nucleus and blue is cytoplasm."""

    def forward(self, images):
        rgb = images * torch.tensor(SCALE.std)[:, None, None] + torch.tensor(SCALE.mean)[:, None, None]
        red, green, blue = rgb.unbind(dim=1)
        logits = torch.full((len(images), len(CHANNELS), *images.shape[2:]), -9.0)
        logits[:, CHANNELS.index(Compartment.NUCLEUS)] = 100 * (0.42 - green)
        logits[:, CHANNELS.index(Compartment.CYTOPLASM)] = 100 * torch.minimum(blue - red - 0.05, green - 0.42)
        return logits


def test_a_torch_network_without_a_localiser_looks_twice_at_the_original_pixels(synthetic_cell):
    image, true = synthetic_cell
    segmenter = TorchSegmenter(ByColour(), tiny_config(input_size=192), SCALE, CPU)
    found = segmenter.segment(image)
    assert found.labels.shape == image.shape
    assert (found.model_id, found.provider) == (tiny_config().name, "cpu")
    assert overlap(cell_mask(found.labels), cell_mask(true)).dice > 0.8
    assert overlap(region_mask(found.labels, "nucleus"), region_mask(true, "nucleus")).dice > 0.7


def test_the_card_follows_config_and_temperature(synthetic_cell):
    image, _ = synthetic_cell
    config = tiny_config(input_size=96)
    segmenter = TorchSegmenter(ByColour(), config, SCALE, CPU, temperature=2.0)
    assert (segmenter.card.input_size, segmenter.card.cell_fill) == (96, config.cell_fill)
    window = Window.whole(image.shape)
    plain = TorchSegmenter(ByColour(), config, SCALE, CPU)
    assert (
        np.abs(segmenter.probabilities(image.rgb, window) - 0.5).mean()
        < np.abs(plain.probabilities(image.rgb, window) - 0.5).mean()
    )


def test_network_of_a_run_is_the_one_that_was_trained(trained_run, samples):
    segmenter = TorchSegmenter.from_run(trained_run, CPU)
    image, item = load(samples[0].image), load_labelled(samples[0])[0]
    found = segmenter.segment(image)
    assert found.labels.shape == item.labels.shape
    assert segmenter.card.input_size == tiny_config().input_size


def test_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match=f"holds no {WEIGHTS_FILE}"):
        TorchSegmenter.from_run(tmp_path, CPU)
