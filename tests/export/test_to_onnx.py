import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPBlock
from timm.layers import Conv2dSame

from core.domain.compartments import CHANNELS
from core.domain.errors import ModelError
from core.segmentation.model_registry import (
    MANIFEST,
    card_of,
    find_model,
    list_models,
    load_manifest,
    verify_model,
    write_manifest,
)
from core.segmentation.processing import processing
from export.to_onnx import (
    MAX_LOGIT_DIFFERENCE,
    OPSET,
    convert,
    embed_card,
    exportable,
    register,
    training_log,
    verify_parity,
)
from training.architectures import ARCHITECTURES, build, find_architecture
from training.architectures.weights import NO_ENCODER
from training.config import TrainingConfig
from training.loop import CONFIG_FILE, LOG_FILE, SPLIT_FILE, WEIGHTS_FILE, load_network


@pytest.fixture(scope="module")
def session(exported):
    return onnxruntime.InferenceSession(str(exported.model), providers=["CPUExecutionProvider"])


def image_batch(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (5, 3, 64, 64), (2, 3, 32, 160), (1, 3, 224, 96)])
def test_exported_network_gives_torchs_logits_at_any_batch_and_size(exported, session, shape):
    images = image_batch(shape)
    with torch.no_grad():
        expected = exported.network(torch.from_numpy(images)).numpy()
    (logits,) = session.run(None, {"image": images})
    assert logits.shape == (shape[0], len(CHANNELS), *shape[2:])
    assert np.abs(logits - expected).max() < MAX_LOGIT_DIFFERENCE
    assert np.ptp(expected) > 10 * MAX_LOGIT_DIFFERENCE, "the input tells nothing"


def test_each_image_of_a_batch_is_seen_alone(session):
    images = image_batch((3, 3, 64, 64))
    (together,) = session.run(None, {"image": images})
    for index in range(3):
        (alone,) = session.run(None, {"image": images[index : index + 1]})
        assert np.abs(alone[0] - together[index]).max() < MAX_LOGIT_DIFFERENCE


def test_model_is_one_valid_file_of_the_stated_opset(exported):
    model = onnx.load(str(exported.model), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")] == [OPSET]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert sorted(path.name for path in exported.models.iterdir()) == [
        "manifest.json",
        "tiny.log.csv",
        "tiny.onnx",
        "tiny.split.json",
    ]


def test_weights_of_the_run_are_those_exported(exported):
    stem = exported.network.state_dict()["encoder.model.conv_stem.weight"]
    initial = build("unetplusplus", "tu-tf_efficientnet_lite0").state_dict()["encoder.model.conv_stem.weight"]
    assert not torch.equal(stem, initial)


def build_small(architecture, encoder="tu-tf_efficientnet_lite0"):
    """The network with a small encoder, or without one, and the least side it is tried at."""
    torch.manual_seed(0)
    row = find_architecture(architecture)
    network = build(architecture, encoder if row.takes_encoder else NO_ENCODER, pretrained=False)
    return network.eval(), max(64, row.smallest_side)


# The layers of U2-Net are those of its small form, only wider.
LONG = {"u2net"}


@pytest.mark.parametrize(
    "architecture", [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in ARCHITECTURES]
)
def test_every_architecture_is_exported_and_agrees_with_torch(architecture, exported, coarse, tmp_path):
    # Two of them the command line has exported already, with the encoder that models have; the others' decoders are
    # shown on one of few layers.
    made = {load_network(run.run)[1].architecture: run for run in (exported, coarse)}.get(architecture)
    if made:
        network, side, path = made.network, 64, made.model
    else:
        (network, side), path = build_small(architecture, "tu-resnet10t"), tmp_path / "network.onnx"
        convert(network, side, path)
    # Each normalisation has become part of its convolution, which 8-bit networks depend on.
    assert "BatchNormalization" not in {node.op_type for node in onnx.load(str(path)).graph.node}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for shape in ((2, 3, side, side), (1, 3, side + 32, side)):
        images = image_batch(shape)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        (logits,) = session.run(None, {"image": images})
        tolerance = 1e-4 * max(1, np.abs(expected).max())
        assert np.abs(logits - expected).max() <= tolerance
        second, first = np.sort(expected, axis=1)[:, -2:].swapaxes(0, 1)
        clear = first - second > 2 * tolerance
        assert clear.mean() > 0.9, "the input tells nothing"
        assert (logits.argmax(axis=1) == expected.argmax(axis=1))[clear].all()


@pytest.mark.parametrize("architecture", [name for name, row in ARCHITECTURES.items() if row.takes_encoder])
def test_exportable_form_equals_the_network(architecture):
    network, side = build_small(architecture)
    form = exportable(network)
    assert sum(isinstance(module, Conv2dSame) for module in network.modules()) > 2
    for shape in ((1, 3, side, side), (2, 3, side, side + 32)):
        images = torch.from_numpy(image_batch(shape))
        with torch.no_grad():
            assert torch.allclose(form(images), network(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(8, 8), (4, 20), (28, 28), (5, 7)])
def test_pooling_by_matrices_equals_torchs_adaptive_one(bins, shape):
    layer = torch.nn.Sequential(PSPBlock(3, 4, bins)).eval()
    images = torch.from_numpy(image_batch((2, 3, *shape)))
    with torch.no_grad():
        assert torch.allclose(exportable(layer)(images), layer(images), atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 1), (3, 1, 2), (2, 2, 1), (1, 2, 1)]
)
def test_static_padding_of_one_layer_equals_timms_dynamic_one(kernel, stride, dilation):
    layer = torch.nn.Sequential(Conv2dSame(3, 4, kernel, stride=stride, dilation=dilation))
    images = torch.from_numpy(image_batch((1, 3, 32, 48)))
    assert torch.equal(exportable(layer)(images), layer(images))


def test_exportable_form_leaves_the_network_as_it_was(exported):
    network = exported.network
    kinds = [type(module) for module in network.modules()]
    exportable(network)
    assert [type(module) for module in network.modules()] == kinds


@pytest.mark.parametrize(("change", "message"), [(1.05, "torch disagree"), (float("nan"), "logits by nan")])
def test_other_weights_than_those_exported_are_noticed(exported, change, message):
    changed = exported.network
    with torch.no_grad():
        next(changed.decoder.parameters()).mul_(change)
    with pytest.raises(ModelError, match=message):
        verify_parity(changed, exported.model, 64)


class OtherWhenExported(torch.nn.Module):
    """One that, like some of the field's, takes another branch while it is exported."""

    def __init__(self, channels, shift):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, channels, 1)
        self.shift = shift

    def forward(self, images):
        logits = self.layer(images)
        return logits + self.shift if torch.compiler.is_exporting() else logits


@pytest.mark.parametrize(
    ("channels", "shift", "message"),
    [
        (len(CHANNELS), 0.1, "onnxruntime and torch disagree: logits by 0.1"),
        (2, 0.0, r"gives \(1, 2, 64, 64\).*expected 3 channels"),
    ],
)
def test_disagreement_is_refused_and_nothing_is_left(tmp_path, channels, shift, message):
    torch.manual_seed(0)
    with pytest.raises(ModelError, match=message):
        convert(OtherWhenExported(channels, shift).eval(), 64, tmp_path / "wrong.onnx")
    assert list(tmp_path.iterdir()) == []


def test_same_network_without_the_disagreement_is_exported(tmp_path):
    torch.manual_seed(0)
    parity = convert(OtherWhenExported(len(CHANNELS), 0.0).eval(), 64, tmp_path / "right.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["right.onnx"]
    assert parity["max_logit_difference"] < MAX_LOGIT_DIFFERENCE
    assert parity["mask_agreement"] > 0.9999


def test_embedded_card_is_read_back(exported, card, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.model.read_bytes())
    embed_card(path, card)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert card_of(session.get_modelmeta().custom_metadata_map, path.name) == card


def test_a_file_says_what_it_takes_and_gives(exported, card, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.model.read_bytes())
    embed_card(path, card)
    model = onnx.load(path)
    assert "leukoscope_processing" in model.doc_string
    assert "(value / 255 - mean) / std" in model.graph.input[0].doc_string
    assert "sigmoid(logit / temperature)" in model.graph.output[0].doc_string
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(told["leukoscope_processing"]) == json.loads(json.dumps(processing()))
    weights = [[bytes(t.raw_data) for t in net.graph.initializer] for net in (model, onnx.load(exported.model))]
    assert weights[0] == weights[1]


def test_registered_models_are_listed_and_verified(exported, card, tmp_path):
    for model_id, content, default in (("first", b"one", False), ("second", b"two", True), ("third", b"three", False)):
        out = tmp_path / f"{model_id}.onnx"
        out.write_bytes(content)
        register(out, out, type(card)(**{**vars(card), "model_id": model_id}), exported.run, default=default)
    manifest = load_manifest(tmp_path)
    assert manifest["default"] == "second"
    assert {key: row["sha256"] for key, row in manifest["models"].items()} == {
        "first": hashlib.sha256(b"one").hexdigest(),
        "second": hashlib.sha256(b"two").hexdigest(),
        "third": hashlib.sha256(b"three").hexdigest(),
    }
    assert [entry.model_id for entry in list_models(tmp_path)] == ["second", "first", "third"]
    entry = find_model("first", tmp_path)
    verify_model(entry)
    assert entry.log is not None
    assert pd.read_csv(entry.log).equals(pd.read_csv(exported.run / LOG_FILE))
    assert (tmp_path / manifest["models"]["first"]["split"]).read_bytes() == (exported.run / SPLIT_FILE).read_bytes()
    entry.path.write_bytes(b"another")
    with pytest.raises(ModelError):
        verify_model(entry)


def test_training_log_of_a_run_begins_with_the_runs_it_goes_back_to(exported, tmp_path):
    config = TrainingConfig.from_toml(exported.run / CONFIG_FILE)
    runs = {
        "second": replace(config, start_from=str(exported.run)),
        "mean": replace(config, average_of=("gone", str(tmp_path / "second"))),
    }
    for name, settings in runs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / CONFIG_FILE).write_text(settings.to_toml())
        shutil.copyfile(exported.run / LOG_FILE, tmp_path / name / LOG_FILE)
    alone, all_of_it = training_log(exported.run), training_log(tmp_path / "mean")
    assert list(all_of_it["epoch"]) == list(range(1, 3 * len(alone) + 1))
    assert list(all_of_it["val_loss"]) == 3 * list(alone["val_loss"])


@pytest.mark.parametrize("kind", ["reliability", "novelty"])
def test_a_new_file_of_a_model_drops_what_was_measured_of_the_old_one(exported, card, tmp_path, kind):
    out, measured = tmp_path / "only.onnx", tmp_path / f"only.{kind}.json"
    out.write_bytes(b"old")
    register(out, out, card, exported.run, default=True)
    manifest = load_manifest(tmp_path)
    manifest["models"][card.model_id][kind] = measured.name
    write_manifest(manifest, tmp_path)
    measured.write_text("{}")
    assert getattr(find_model(folder=tmp_path), kind) == measured
    out.write_bytes(b"new")
    register(out, out, card, exported.run, default=True)
    assert getattr(find_model(folder=tmp_path), kind) is None
    assert not measured.exists()


def test_a_model_that_is_not_to_be_used_leaves_the_choice_as_it_was(exported, card, tmp_path):
    out = tmp_path / "only.onnx"
    out.write_bytes(b"x")
    register(out, out, card, exported.run, default=False)
    assert "default" not in load_manifest(tmp_path)


@pytest.mark.parametrize("full", ["own.onnx", "other.localiser.onnx", "other.log.csv", "other.split.json", MANIFEST])
def test_a_full_disk_leaves_a_models_folder_as_it_was(exported, card, tmp_path, full_disk, full):
    folder, draft = tmp_path / "models", tmp_path / "draft.onnx"
    folder.mkdir()
    draft.write_bytes(b"old")
    localiser = draft.with_name("other.localiser.onnx")
    localiser.write_bytes(b"finds")
    card = replace(card, localiser={"file": localiser.name, "sha256": hashlib.sha256(b"finds").hexdigest()})
    register(draft, folder / "own.onnx", card, exported.run, default=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    verify_model(find_model(folder=folder))
    draft.write_bytes(b"new")
    full_disk(full)
    with pytest.raises(OSError, match="No space left") as caught:
        register(draft, folder / "own.onnx", card, exported.run, default=True)
    assert caught.value.filename == str(folder / full)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    register(draft, folder / "own.onnx", card, exported.run, default=True)
    verify_model(find_model(folder=folder))


def test_run_without_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match=rf"holds no {WEIGHTS_FILE}: name the folder of a training run; `python"):
        load_network(tmp_path)
