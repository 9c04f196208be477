import json

import numpy as np
import onnx
import pytest

from core.domain.options import Device
from core.image.imaging import load
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter
from export.__main__ import main
from export.fidelity import KEY_FEATURES, MAX_DRIFT, harm
from export.precision import CALIBRATION_CELLS, agreement, calibration_crops, canonical_crops, run, to_fp16, to_int8
from export.to_onnx import embed_card
from training.architectures.weights import normalisation
from training.config import TrainingConfig
from training.data import SegDataset, load_labelled, masked_samples
from training.loop import CONFIG_FILE

FLOAT, HALF, INT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8


def weights_of(path):
    """Type of each convolution's weight tensor, by the name it had in torch, in the order of the graph."""
    graph = onnx.load(str(path)).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        if node.op_type == "Conv":
            weight = node.input[1]
            if weight not in types:  # dequantised
                weight = made_by[weight].input[0]
            found[weight.removesuffix("_quantized")] = types[weight]
    return found


def input_and_output_types(path):
    graph = onnx.load(str(path)).graph
    return [value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)]


@pytest.fixture
def config(coarse):
    return TrainingConfig.from_toml(coarse.run / CONFIG_FILE)


@pytest.fixture
def samples(tiny_data, config):
    return masked_samples(config.data_sets)


@pytest.fixture
def crops(samples, config):
    return canonical_crops(samples, config, normalisation(config.encoder))


@pytest.mark.parametrize("name", ["exported", "coarse"])
def test_half_precision_has_half_weights_and_fp32_borders(name, crops, tmp_path, request):
    source, out = request.getfixturevalue(name).model, tmp_path / "half.onnx"
    to_fp16(source, out)
    assert set(weights_of(source).values()) == {FLOAT}
    assert set(weights_of(out).values()) == {HALF}
    assert input_and_output_types(out) == [FLOAT, FLOAT]
    assert out.stat().st_size < 0.55 * source.stat().st_size
    parity = agreement(source, out, crops)
    assert 0 < parity["max_logit_difference"] < 0.2
    assert parity["mask_agreement"] > 0.998


def test_weights_too_large_for_half_precision_stay_finite(exported, crops, tmp_path):
    model = onnx.load(str(exported.model))
    tensor = next(t for t in model.graph.initializer if t.name == "encoder.model.conv_stem.weight")
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * np.float32(1e6), tensor.name))
    onnx.save(model, str(tmp_path / "large.onnx"))
    to_fp16(tmp_path / "large.onnx", tmp_path / "half.onnx")
    values = [
        onnx.numpy_helper.to_array(t)
        for t in onnx.load(str(tmp_path / "half.onnx")).graph.initializer
        if t.data_type == HALF
    ]
    assert max(np.abs(value).max() for value in values) == np.finfo(np.float16).max


def test_integers_follow_the_best_recipe(coarse, crops, tmp_path):
    out = tmp_path / "int8.onnx"
    recipe = to_int8(coarse.model, out, crops[::2], crops[1::2])
    weights = weights_of(out)
    # What is kept is what the card says, and where it is kept it is the beginning.
    kept = [name for name, kind in weights.items() if kind == FLOAT]
    assert len(kept) == len(recipe.kept_nodes)
    assert kept[:3] == list(weights)[: len(kept[:3])]
    assert {kind for name, kind in weights.items() if name not in kept} == {INT8}
    assert input_and_output_types(out) == [FLOAT, FLOAT]
    # The difference it was chosen by can be measured again.
    pairs = zip(run(out, crops[1::2]), run(coarse.model, crops[1::2]), strict=True)
    difference = np.mean([np.abs(1 / (1 + np.exp(-a)) - 1 / (1 + np.exp(-b))).mean() for a, b in pairs])
    assert 0 < recipe.difference == pytest.approx(difference, rel=1e-3)
    assert recipe.difference < 0.05
    assert str(recipe) == f"static, {recipe.calibration} calibration, {recipe.kept} of the convolutions in fp32"


def test_logits_that_agree_are_told_from_those_that_do_not(coarse, exported, crops):
    assert agreement(coarse.model, coarse.model, crops) == {"max_logit_difference": 0, "mask_agreement": 1}
    apart = agreement(coarse.model, exported.model, crops)
    one, other = (next(iter(run(path, crops[:1]))) for path in (coarse.model, exported.model))
    assert apart["max_logit_difference"] >= np.abs(one - other).max() > 1
    assert apart["mask_agreement"] < 0.99


def test_calibration_sees_cells_from_everywhere_as_the_network_does(samples, config):
    crops = calibration_crops(samples, config, normalisation(config.encoder))
    assert len(samples) == len(crops) < CALIBRATION_CELLS
    assert {crop.shape for crop in crops} == {(3, config.input_size, config.input_size)}
    last = SegDataset([load_labelled(samples[-1])[0]], config, augment=False)[0][0].numpy()
    assert np.array_equal(crops[-1], last)
    many = calibration_crops(samples * 10, config, normalisation(config.encoder))
    assert len(many) == CALIBRATION_CELLS
    assert np.array_equal(many[0], crops[0])
    assert np.array_equal(many[-1], last)


def test_half_precision_is_exported_with_what_it_costs(coarse, tiny_data, tmp_path, capsys):
    out = tmp_path / "models" / "half.onnx"
    assert main([str(coarse.run), "--out", str(out), "--precision", "fp16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    entry = find_model("half", out.parent)
    card = OnnxSegmenter.from_entry(entry, Device.CPU).card
    assert card == entry.card
    assert (card.precision, card.model_id) == ("fp16", "half")
    assert set(weights_of(out).values()) == {HALF}
    split = json.loads((out.parent / "half.split.json").read_text())
    assert card.fidelity["images"] == len(split["validation"])
    assert card.fidelity["recipe"] == "weights and arithmetic in half precision"
    assert min(card.fidelity["agreement"].values()) > 0.99
    assert set(card.fidelity["drift"]) <= set(KEY_FEATURES)
    assert 0 < max(drift["rms"] for drift in card.fidelity["drift"].values()) <= MAX_DRIFT
    assert harm(card.fidelity) == []
    assert card.scores["test"]["images"] == len(split["test"])
    assert (
        told["parity"]
        == card.parity
        == pytest.approx(agreement(coarse.model, out, parted(split["validation"], coarse)), abs=1e-6)
    )


def parted(ids, made):
    config = TrainingConfig.from_toml(made.run / CONFIG_FILE)
    samples = {sample.sample_id: sample for sample in masked_samples(config.data_sets)}
    return canonical_crops([samples[i] for i in ids], config, normalisation(config.encoder))


def test_precision_that_harms_is_refused_and_leaves_nothing(coarse, tiny_data, tmp_path, capsys):
    # 64 pixels a side and a network that knows 15 epochs of 15 cells: its outlines do not survive 8 bits.
    assert main([str(coarse.run), "--out", str(tmp_path / "models" / "int8.onnx"), "--precision", "int8"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: int8 harms the measurements: " in captured.err
    assert "key features move too far, most of all " in captured.err
    assert captured.err.endswith("nothing was exported. Use fp32, or --force if you must\n")
    assert list(tmp_path.iterdir()) == []


def test_forced_precision_is_exported_and_its_card_owns_the_harm(coarse, tiny_data, tmp_path, capsys):
    out = tmp_path / "int8.onnx"
    assert main([str(coarse.run), "--out", str(out), "--precision", "int8", "--force", "--not-default", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == out.stat().st_size < 0.6 * coarse.model.stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "int8.log.csv",
        "int8.onnx",
        "int8.split.json",
        "manifest.json",
    ]
    segmenter = OnnxSegmenter.from_entry(find_model("int8", tmp_path), Device.CPU)
    assert segmenter.card.precision == "int8"
    assert segmenter.card.fidelity["recipe"].startswith("static, ")
    assert INT8 in weights_of(out).values()
    assert harm(segmenter.card.fidelity)
    image = load(tiny_data / "wbc_zheng" / "set1" / "images" / "monocyte-0.png")
    assert segmenter.segment(image).labels.shape == image.shape


def test_full_precision_costs_nothing_and_says_so(coarse):
    card = find_model("coarse", coarse.models).card
    assert (card.precision, card.fidelity) == ("fp32", {})


def test_unknown_precision_is_wrong_use(coarse, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([str(coarse.run), "--out", str(tmp_path / "m.onnx"), "--precision", "int4"])
    assert exit_.value.code == 2
    assert "int4" in capsys.readouterr().err


def test_card_of_a_smaller_file_is_read_back(coarse, card, crops, tmp_path):
    out = tmp_path / "half.onnx"
    to_fp16(coarse.model, out)
    embed_card(out, card)
    assert agreement(coarse.model, out, crops)["mask_agreement"] > 0.998
