import copy
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from core.domain.compartments import CHANNELS, Compartment
from core.domain.errors import ModelError, UsageError
from core.domain.options import Device
from core.domain.types import CellImage, as_label_map
from core.evaluation.datasets import data_set
from core.evaluation.metrics import overlap
from core.image.drawn_masks import read_mask
from core.image.imaging import load
from core.image.masks import cell_mask, region_mask
from core.image.stain import nuclear_stain
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.image.window import Window, resample_labels
from core.quality.assessment import assess
from core.segmentation.model_card import METADATA_KEY
from core.segmentation.segmenter import OnnxSegmenter, TwoPassSegmenter

BACKGROUND, RED_CELL = (253, 229, 206), (218, 172, 166)


def dice(found, true, region):
    return overlap(region_mask(found, region), region_mask(true, region)).dice


def image_of(rgb):
    return CellImage(rgb, "drawn.png", "0" * 64)


def red_cells_only(side=240):
    rgb = np.full((side, side, 3), BACKGROUND, np.uint8)
    y, x = np.mgrid[:side, :side]
    for row, column in [(60, 60), (70, 170), (170, 110)]:
        rgb[np.hypot(y - row, x - column) < 38] = RED_CELL
        rgb[np.hypot(y - row, x - column) < 14] = (236, 204, 190)
    return rgb


# --- what it finds ---


@pytest.mark.parametrize("drawing", SYNTHETIC_CELLS.values(), ids=SYNTHETIC_CELLS)
@pytest.mark.parametrize("seed", [0, 11])
def test_drawn_cells_are_found(segmenter, drawing, seed):
    image, true = draw_cell(seed, drawing)
    found = segmenter.segment(image)
    assert dice(found.labels, true, "nucleus") > 0.95
    assert dice(found.labels, true, "cytoplasm") > 0.85
    assert dice(found.labels, true, "environment") > 0.7
    assert found.confidence > 0.9
    assert found.other_cells == 0


def test_what_a_segmentation_says_of_itself(segmenter, synthetic_cell):
    image = synthetic_cell[0]
    found = segmenter.segment(image)
    assert (found.labels.shape, found.labels.dtype) == (image.shape, np.uint8)
    assert (found.model_id, found.provider) == (segmenter.card.model_id, "CPU")
    assert found.elapsed_ms > 0


def test_a_turned_cell_is_the_same_cell(segmenter, synthetic_cell):
    image, _ = synthetic_cell
    straight = segmenter.segment(image).labels
    turned = segmenter.segment(replace(image, rgb=np.rot90(image.rgb).copy())).labels
    for region in ("nucleus", "cell"):
        assert dice(np.rot90(turned, -1), straight, region) > 0.96


@pytest.mark.parametrize("scale", [0.4, 2])
def test_magnification_matters_little(segmenter, synthetic_cell, scale):
    image, true = synthetic_cell
    size = (round(scale * image.shape[1]), round(scale * image.shape[0]))
    scaled = image_of(np.asarray(Image.fromarray(image.rgb).resize(size, Image.Resampling.BICUBIC)).copy())
    expected = np.asarray(Image.fromarray(true).resize(size, Image.Resampling.NEAREST))
    assert dice(segmenter.segment(scaled).labels, expected, "nucleus") > 0.9
    assert dice(segmenter.segment(scaled).labels, expected, "cell") > 0.9


def test_a_picture_that_is_not_square(segmenter, synthetic_cell):
    image, true = synthetic_cell
    rows = np.s_[60:300]
    assert dice(segmenter.segment(image_of(image.rgb[rows].copy())).labels, true[rows], "cell") > 0.93


@pytest.mark.parametrize(
    "part", [np.s_[80:, 80:], np.s_[:280, :280], np.s_[80:, :]], ids=["top left", "bottom right", "top"]
)
def test_a_cell_away_from_the_middle_is_seen_through_a_window_beyond_the_image(segmenter, synthetic_cell, part):
    image, true = synthetic_cell
    found = segmenter.segment(image_of(image.rgb[part].copy())).labels
    assert dice(found, true[part], "nucleus") > 0.93
    assert dice(found, true[part], "cell") > 0.93


def test_other_cells_are_counted_and_kept_apart(segmenter):
    near, true = draw_cell(0, SYNTHETIC_CELLS["lymphocyte"])
    far, _ = draw_cell(1, SYNTHETIC_CELLS["lymphocyte"])
    # The second cell is put to the right: neither is in the middle, but the first is nearer to it by a third.
    both = image_of(np.concatenate([near.rgb[:, 20:], far.rgb[:, 60:290]], axis=1))
    found = segmenter.segment(both)
    assert found.other_cells == 1
    expected = np.zeros(both.shape, np.uint8)
    expected[:, :340] = true[:, 20:]
    assert dice(found.labels, expected, "cell") > 0.9


@pytest.mark.data
def test_real_cells_that_were_never_trained_on(segmenter, model_entry, data_dir):
    """Every sixth image of the part that the model's own split left for testing."""
    test = json.loads(model_entry.split.read_text())["test"]
    samples = {sample.sample_id: sample for name in ("set1", "set2") for sample in data_set(name).samples(data_dir)}
    chosen = [samples[sample_id] for sample_id in sorted(test)[::6]]
    assert {sample.sample_id.split("/")[0] for sample in chosen} == {"set1", "set2"}
    scores = []
    for sample in chosen:
        true = read_mask(sample.mask).labels
        found = segmenter.segment(load(sample.image)).labels
        scores.append([dice(found, true, "nucleus"), dice(found, true, "cytoplasm")])
    assert np.mean(scores) > 0.9
    assert np.min(np.array(scores)[:, 0]) > 0.75


@pytest.mark.data
@pytest.mark.parametrize("name", ["acevedo", "deepapl", "hairy_cell_marrow"])
def test_cells_of_other_laboratories_are_found_where_the_nuclear_stain_is(segmenter, data_dir, name):
    samples = [
        sample
        for sample in data_set(name).samples(data_dir)
        if sample.cell_type in ("monocyte", "lymphocyte", "apl", "hcl")
    ]
    agreement = []
    for sample in samples[:: len(samples) // 6][:6]:
        image = load(sample.image)
        found = segmenter.segment(image)
        nucleus = region_mask(found.labels, "nucleus")
        agreement.append(nuclear_stain(image.rgb)[nucleus].mean() if nucleus.any() else 0)
    assert np.median(agreement) > 0.7


# --- what is no cell ---


@pytest.mark.parametrize(
    "rgb",
    [
        np.full((200, 200, 3), 255, np.uint8),
        np.zeros((200, 200, 3), np.uint8),
        np.full((120, 300, 3), BACKGROUND, np.uint8),
        red_cells_only(),
        np.full((16, 16, 3), 255, np.uint8),
    ],
    ids=["white", "black", "background", "red cells", "smallest"],
)
def test_without_a_cell_it_finds_none_or_says_not_to_trust_it(segmenter, rgb):
    image = image_of(rgb)
    found = segmenter.segment(image)
    assert found.labels.shape == image.shape
    flags = assess(image, found, segmenter.card)
    assert any(flag.severe for flag in flags)
    if not cell_mask(found.labels).any():
        assert (found.confidence, [flag.code for flag in flags]) == (0, ["no_cell"])


# --- probabilities ---


def test_probabilities_lie_on_the_networks_grid_over_the_window(segmenter, synthetic_cell):
    image, true = synthetic_cell
    size = segmenter.card.input_size
    for window in (Window.whole(image.shape), Window(40.5, 50.25, 260)):
        maps = segmenter.probabilities(image.rgb, window)
        assert maps.shape == (len(CHANNELS), size, size)
        assert 0 <= maps.min() <= maps.max() <= 1
        labels = as_label_map(resample_labels(true, window, size))
        assert maps[CHANNELS.index(Compartment.NUCLEUS)][region_mask(labels, "nucleus")].mean() > 0.9
        assert maps[CHANNELS.index(Compartment.NUCLEUS)][~cell_mask(labels)].mean() < 0.05


def test_a_coarse_pass_of_its_own_size_finds_the_same_cell(segmenter, synthetic_cell):
    image, true = synthetic_cell
    small = copy.copy(segmenter)
    small.localiser, small.card = None, replace(segmenter.card, coarse_size=192)
    assert small.probabilities(image.rgb, Window.whole(image.shape), size=192).shape[1:] == (192, 192)
    found = small.segment(image)
    assert dice(found.labels, segmenter.segment(image).labels, "cell") > 0.99
    assert dice(found.labels, true, "nucleus") > 0.95


def test_views_are_turned_back_before_they_are_averaged(segmenter, synthetic_cell):
    image, _ = synthetic_cell
    window = Window(30, 50, 300)
    one, eight = (segmenter.probabilities(image.rgb, window, views=views) for views in (1, 8))
    # Turned the wrong way, nucleus and background would be averaged.
    assert np.abs(one - eight).mean() < 0.01
    assert ((one > 0.5) == (eight > 0.5)).mean() > 0.99
    assert not np.array_equal(one, eight)


def test_the_mean_of_all_views_turns_with_the_image(segmenter, synthetic_cell):
    image, _ = synthetic_cell
    window = Window.whole(image.shape)
    straight = segmenter.probabilities(image.rgb, window, size=96, views=8)
    turned = segmenter.probabilities(np.rot90(image.rgb)[:, ::-1].copy(), window, size=96, views=8)
    np.testing.assert_allclose(turned, np.rot90(straight, axes=(1, 2))[..., ::-1], atol=0.02)


def test_other_numbers_of_views_are_refused(model_entry):
    with pytest.raises(UsageError, match="views must be one of 1, 4, 8, but is 3"):
        OnnxSegmenter.from_entry(model_entry, Device.CPU, views=3)


def test_temperature_moves_probabilities_towards_one_half_and_no_further(segmenter, synthetic_cell):
    image, _ = synthetic_cell
    warm = copy.copy(segmenter)
    warm.card = replace(segmenter.card, temperature=2.0)
    window = Window.whole(image.shape)
    cool, tempered = segmenter.probabilities(image.rgb, window), warm.probabilities(image.rgb, window)
    assert ((cool >= 0.5) == (tempered >= 0.5)).all()
    assert (np.abs(tempered - 0.5) <= np.abs(cool - 0.5)).all()
    assert warm.segment(image).confidence < segmenter.segment(image).confidence


# --- a small network for the coarse pass ---


class Misleading(TwoPassSegmenter):
    """What another localiser would say, turned round: `see` of its logits (N, C, S, S)."""

    def __init__(self, localiser, see):
        super().__init__(localiser.card, localiser.provider)
        self._localiser, self._see = localiser, see

    def logits(self, images):
        return self._see(self._localiser.logits(images))


def with_localiser(segmenter, localiser):
    other = copy.copy(segmenter)
    other.localiser = localiser
    return other


@pytest.mark.parametrize("drawing", SYNTHETIC_CELLS.values(), ids=SYNTHETIC_CELLS)
def test_the_localiser_spares_the_large_network_a_pass_and_changes_next_to_nothing(segmenter, monkeypatch, drawing):
    image, _ = draw_cell(3, drawing)
    alone = with_localiser(segmenter, None).segment(image)
    asked = []
    logits = type(segmenter).logits
    monkeypatch.setattr(type(segmenter), "logits", lambda self, images: asked.append(self) or logits(self, images))
    found = segmenter.segment(image)
    assert asked == [segmenter.localiser, segmenter]
    for region in ("nucleus", "cell"):
        assert dice(found.labels, alone.labels, region) > 0.99
    assert found.confidence == pytest.approx(alone.confidence, abs=0.01)


@pytest.mark.parametrize(
    "see",
    [
        lambda logits: np.full_like(logits, -9),
        lambda logits: np.full_like(logits, 9),
        lambda logits: np.roll(logits, logits.shape[-1] // 4, axis=-1),
        lambda logits: logits.repeat(2, axis=-1).repeat(2, axis=-2)[..., 80:240, 80:240],
        lambda logits: np.pad(logits[..., ::3, ::3], [(0, 0), (0, 0), (53, 53), (53, 53)], constant_values=-9),
    ],
    ids=["nothing", "everything", "beside it", "too large", "too small"],
)
def test_a_localiser_that_misleads_costs_time_and_nothing_else(segmenter, synthetic_cell, see):
    image = synthetic_cell[0]
    expected = with_localiser(segmenter, None).segment(image)
    found = with_localiser(segmenter, Misleading(segmenter.localiser, see)).segment(image)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.confidence == expected.confidence


# --- the same answer again ---


def test_threads_do_not_change_the_result(segmenter, model_entry, synthetic_cell):
    image = synthetic_cell[0]
    other = OnnxSegmenter.from_entry(model_entry, Device.CPU, threads=3)
    window = Window.whole(image.shape)
    np.testing.assert_allclose(
        other.probabilities(image.rgb, window), segmenter.probabilities(image.rgb, window), atol=1e-4
    )
    assert np.count_nonzero(other.segment(image).labels != segmenter.segment(image).labels) <= 5


def test_one_session_serves_two_threads_at_once(segmenter):
    images = [draw_cell(seed, drawing)[0] for seed, drawing in enumerate(SYNTHETIC_CELLS.values())] * 2
    alone = [segmenter.segment(image) for image in images]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(segmenter.segment, images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        assert one.confidence == other.confidence


# --- contracts ---


def tiny_network(path, card, channels):
    """A convolution with as many output channels as asked, and the card in its metadata if there is one."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [channels, 3, 1, 1], np.zeros(channels * 3, np.float32))
    inputs = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    outputs = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", channels, "h", "w"])
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w"], ["logits"])], "tiny", [inputs], [outputs], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if card is not None:
        helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("channels", [2, 4])
def test_card_and_network_must_agree(tmp_path, model_entry, channels):
    path = tiny_network(tmp_path / "other.onnx", replace(model_entry.card, localiser={}), channels)
    with pytest.raises(
        ModelError, match=rf"other\.onnx: its card names 3 classes, but the network has {channels} output channels"
    ):
        OnnxSegmenter(path, Device.CPU)


def test_the_compartments_are_what_post_processing_expects(tmp_path, model_entry):
    card = replace(model_entry.card, classes=("cytoplasm", "nucleus", "environment"))
    with pytest.raises(
        ModelError, match=r"other\.onnx: .*environment, cytoplasm, nucleus.*cytoplasm, nucleus, environment"
    ):
        OnnxSegmenter(tiny_network(tmp_path / "other.onnx", card, 3), Device.CPU)


def test_a_network_without_a_card_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"bare\.onnx carries no model card"):
        OnnxSegmenter(tiny_network(tmp_path / "bare.onnx", None, 3), Device.CPU)


def test_a_network_that_cannot_decide_is_not_trusted(tmp_path, model_entry, synthetic_cell):
    """Zero logits are probabilities of one half everywhere: all of the image is one cell."""
    segmenter = OnnxSegmenter(
        tiny_network(tmp_path / "zero.onnx", replace(model_entry.card, localiser={}), 3), Device.CPU
    )
    found = segmenter.segment(synthetic_cell[0])
    assert cell_mask(found.labels).all()
    assert any(flag.severe for flag in assess(synthetic_cell[0], found, segmenter.card))


def test_a_damaged_file_of_the_registry_is_never_opened(tmp_path, model_entry):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="damaged or was replaced"):
        OnnxSegmenter.from_entry(replace(model_entry, path=path), Device.CPU)


def test_images_outlined_together_are_outlined_as_alone(segmenter):
    """Also where one of them needs a second look, or has no cell at all."""
    drawn = [
        draw_cell(seed, SYNTHETIC_CELLS[kind])[0] for seed, kind in enumerate(("monocyte", "lymphocyte", "hairy_cell"))
    ]
    blank = CellImage(np.full((90, 130, 3), 235, np.uint8), "blank", "0" * 64)
    images = [drawn[0], blank, *drawn[1:]]
    together = segmenter.segment_many(images)
    for image, found in zip(images, together, strict=True):
        alone = segmenter.segment(image)
        assert np.mean(found.labels != alone.labels) < 1e-3
        assert found.confidence == pytest.approx(alone.confidence, abs=1e-4)
        assert found.other_cells == alone.other_cells
    assert segmenter.segment_many([]) == []


def test_what_is_asked_together_goes_through_the_network_together(segmenter, monkeypatch):
    asked = []
    logits = type(segmenter).logits
    monkeypatch.setattr(
        type(segmenter), "logits", lambda self, images: asked.append(len(images)) or logits(self, images)
    )
    segmenter.segment_many([draw_cell(seed, SYNTHETIC_CELLS["monocyte"])[0] for seed in range(3)])
    assert asked == [3, 3]
