"""A second model for the tests: the shipped network under another id, so that only its name and its file differ."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import helper

from core.segmentation.model_card import METADATA_KEY
from core.segmentation.model_registry import MANIFEST, ModelEntry, find_model

OTHER_MODEL = "other-model"


def write_other_model(folder: Path, model_id: str = OTHER_MODEL) -> ModelEntry:
    """Fill a models folder with the shipped model and, as its default, the same network under another id."""
    shipped = find_model()
    shutil.copytree(shipped.path.parent, folder, dirs_exist_ok=True)
    card = replace(shipped.card, model_id=model_id)
    network, path = onnx.load(shipped.path), folder / f"{model_id}.other.onnx"
    helper.set_model_props(network, {METADATA_KEY: card.to_json()})
    network.doc_string = "another file, whatever its name"
    onnx.save(network, path)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest["models"][model_id] = {"file": path.name, "sha256": sha256, "card": json.loads(card.to_json())}
    manifest["default"] = model_id
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return find_model(model_id, folder)
