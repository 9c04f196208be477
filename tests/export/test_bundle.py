"""A model for other programs: read back by the rules that Hugging Face and MONAI publish, and used by its card."""

import json
import pathlib
import re
import shutil

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest

from core.image.synthetic import draw_cell
from core.image.window import Window
from core.segmentation.model_registry import checksum, find_model, load_manifest, write_manifest
from core.segmentation.preprocessing import network_input
from core.segmentation.segmenter import OnnxSegmenter
from export.__main__ import main
from tests.card_reader import CardReader

# Restated from the MONAI Bundle Specification: mandatory keys, tensors and what a size may be.
SIZE = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": r"^(\*|[\d*+n ()]+)$"}]}
TENSOR = {
    "type": "object",
    "required": [
        "type",
        "format",
        "num_channels",
        "spatial_shape",
        "dtype",
        "value_range",
        "is_patch_data",
        "channel_def",
    ],
    "properties": {
        "type": {"enum": ["image", "series", "tuples", "probabilities"]},
        "format": {"enum": ["magnitude", "hounsfield", "kspace", "raw", "labels", "classes", "segmentation"]},
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "items": SIZE},
        "dtype": {"enum": ["float16", "float32", "float64", "uint8", "int32"]},
        "value_range": {"anyOf": [{"maxItems": 0}, {"minItems": 2, "maxItems": 2, "items": {"type": "number"}}]},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {
            "type": "object",
            "patternProperties": {r"^\d+$": {"type": "string"}},
            "additionalProperties": False,
        },
    },
}
SEMANTIC = {"type": "string", "pattern": r"^\d+\.\d+\.\d+"}
TEXTS = ("name", "task", "description", "authors", "copyright", "intended_use", "data_source", "data_type")
METADATA = {
    "type": "object",
    "required": [
        "schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "network_data_format",
        "required_packages_version", *TEXTS,
    ],
    "properties": {
        **{name: {"type": "string", "minLength": 1} for name in TEXTS},
        **dict.fromkeys(("version", "monai_version", "pytorch_version", "numpy_version"), SEMANTIC),
        "changelog": {"type": "object", "additionalProperties": {"type": "string"}},
        "required_packages_version": {"type": "object", "additionalProperties": SEMANTIC},
        "optional_packages_version": {"type": "object", "additionalProperties": SEMANTIC},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "additionalProperties": {"type": "object", "additionalProperties": TENSOR},
        },
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def _shipped(shipped_model):
    shipped_model()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "leukoscope"
    assert main(["bundle", "--out", str(out)]) == 0
    return out


def test_the_folder_is_laid_out_as_both_want_it(bundle):
    laid = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert laid == {
        "LICENSE", "README.md", "card.json", "configs/inference.json", "configs/metadata.json", "docs/README.md",
        "docs/data_license.txt", "models/localiser.onnx", "models/model.onnx",
    }  # fmt: skip
    assert (bundle / "models" / "model.onnx").read_bytes() == find_model().path.read_bytes()
    assert "Apache License" in (bundle / "LICENSE").read_text()


def test_the_metadata_keep_monais_rules_and_are_those_of_the_network(bundle):
    told = json.loads((bundle / "configs" / "metadata.json").read_text())
    jsonschema.Draft202012Validator(METADATA).validate(told)
    tensors, graph = told["network_data_format"], onnx.load(bundle / "models" / "model.onnx").graph
    for side, (name, of_graph) in {"inputs": ("image", graph.input[0]), "outputs": ("pred", graph.output[0])}.items():
        assert len(tensors[side][name]["channel_def"]) == tensors[side][name]["num_channels"]
        assert of_graph.type.tensor_type.shape.dim[1].dim_value == tensors[side][name]["num_channels"]
    assert list(tensors["inputs"]) == [graph.input[0].name]


def test_the_readme_begins_with_what_hugging_face_reads(bundle):
    found = re.match(r"---\n(.*?)\n---\n\n# ", (bundle / "README.md").read_text(), re.DOTALL)
    assert found
    fields = {name: json.loads(value) for name, value in (line.split(": ", 1) for line in found[1].split("\n"))}
    assert (fields["license"], fields["pipeline_tag"], fields["library_name"]) == (
        "apache-2.0",
        "image-segmentation",
        "onnx",
    )
    (listed,) = fields["model-index"]
    card = find_model().card
    assert listed["name"] == card.model_id
    values = {one["dataset"]["name"]: one["metrics"][0]["value"] for one in listed["results"]}
    assert values == {name: scores["mean_dice"] for name, scores in card.scores.items()}
    text = (bundle / "README.md").read_text()
    assert f"| test | 133 | {card.scores['test']['nucleus']['dice_mean']:.3f} |" in text


def test_the_card_in_the_folder_is_enough(bundle):
    image, _ = draw_cell()
    reader = CardReader(json.loads((bundle / "card.json").read_text()), bundle)
    labels = OnnxSegmenter.open(device="cpu").segment(image).labels
    assert (reader.mask(np.array(image.rgb)) == labels).mean() > 0.999


def test_the_inference_gives_the_probabilities(bundle, tmp_path):
    """Evaluated as MONAI's ConfigParser does: references by their names, `$` expressions, `_target_` calls."""
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    segmenter, (image, _) = OnnxSegmenter.open(device="cpu"), draw_cell()
    window = Window.whole(image.shape)
    np.save(tmp_path / "windows.npy", network_input(image.rgb, window, segmenter.card))
    config |= {
        "bundle_root": str(bundle),
        "windows": str(tmp_path / "windows.npy"),
        "probabilities": str(tmp_path / "probabilities.npy"),
    }
    names, known = {"json": json, "numpy": np, "onnxruntime": onnxruntime, "pathlib": pathlib}, {}
    assert config.pop("imports") == [f"$import {name}" for name in names]

    def content(name):
        if name not in known:
            known[name] = evaluated(config[name])
        return known[name]

    def evaluated(value):
        if isinstance(value, dict) and "_target_" in value:
            module, call = value["_target_"].rsplit(".", 1)
            return getattr(names[module], call)(**{k: evaluated(v) for k, v in value.items() if k != "_target_"})
        if isinstance(value, list):
            return [evaluated(one) for one in value]
        if isinstance(value, str) and value.startswith("$"):
            needed = {name: content(name) for name in re.findall(r"@(\w+)", value)}
            return eval(re.sub(r"@(\w+)", r"\1", value[1:]), names | needed)
        return value

    content("run")
    expected = segmenter.probabilities(image.rgb, window)
    assert np.load(tmp_path / "probabilities.npy")[0] == pytest.approx(expected, abs=1e-6)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine").write_text("x")
    assert main(["bundle", "--out", str(tmp_path)]) == 2
    assert "expected a new or empty folder for the bundle" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_model_that_was_exchanged_makes_no_bundle(tmp_path, monkeypatch, capsys):
    entry = find_model()
    shutil.copytree(entry.path.parent, tmp_path / "models")
    (tmp_path / "models" / entry.novelty.name).write_text("{}")
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path / "models"))
    assert main(["bundle", "--out", str(tmp_path / "out")]) == 2
    assert "damaged or was replaced" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_of_ones_own_keeps_its_own_licence(tmp_path, monkeypatch):
    entry = find_model()
    shutil.copytree(entry.path.parent, tmp_path / "models")
    manifest, network = load_manifest(tmp_path / "models"), onnx.load(entry.path)
    row = manifest["models"][entry.model_id]
    row["card"]["licence"] = "that of whoever trained it"
    onnx.helper.set_model_props(network, {"leukoscope_model_card": json.dumps(row["card"])})
    onnx.save(network, tmp_path / "models" / "own.onnx")
    row |= {"file": "own.onnx", "sha256": checksum((tmp_path / "models" / "own.onnx").read_bytes())}
    manifest["models"] = {"own": {name: row[name] for name in ("file", "sha256", "card")}}
    manifest["default"] = "own"
    write_manifest(manifest, tmp_path / "models")
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path / "models"))
    assert main(["bundle", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "LICENSE").read_text() == "that of whoever trained it\n"
    assert 'license: "other"' in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "docs" / "data_license.txt").exists()
