"""A model as a folder for other programs: a Hugging Face repository and a MONAI bundle in one.

`README.md` begins with the YAML that Hugging Face reads; `configs/metadata.json` and `configs/inference.json` are as
the MONAI Bundle Specification wants them; `card.json` is the complete card, which alone leads from an image to a mask.
"""

import json
import shutil
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from core import __version__
from core.domain.errors import UsageError
from core.domain.options import Device
from core.domain.settings import ROOT
from core.segmentation.model_card import ModelCard
from core.segmentation.model_registry import ModelEntry, find_model
from core.segmentation.processing import INPUT_DOC, OUTPUT_DOC, card_text, complete_card
from core.segmentation.segmenter import OnnxSegmenter
from core.support import files

MODELS: Final = "models"
SCHEMA: Final = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
# The first version of MONAI that reads that schema, and the torch it needs; the bundle itself runs on neither.
_MONAI: Final = {"monai_version": "1.4.0", "pytorch_version": "2.4.0"}
_AUTHORS: Final = "The Leukoscope developers"


def write_bundle(out: Path, model: str | None = None) -> ModelEntry:
    """Write the folder `out`, which must not be there or be empty; returns the model, by default the one in use.

    Raises
    ------
    UsageError
        If there is something in the folder.
    ModelError
        If the model is unknown, damaged, or its files are not those that the manifest seals.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        msg = f"expected a new or empty folder for the bundle, but {out} is not; give --out another name"
        raise UsageError(msg)
    entry = find_model(model)
    card = complete_card(entry, OnnxSegmenter.from_entry(entry, Device.CPU))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        out.rmdir()
    with files.replacing(out) as made:
        for folder in ("configs", "docs", MODELS):
            (made / folder).mkdir(parents=True)
        for name, file in card["files"].items():
            shutil.copyfile(entry.path.with_name(file["file"]), made / MODELS / f"{name}.onnx")
            file["file"] = f"{MODELS}/{name}.onnx"
        own = {
            "card.json": card_text(card),
            "configs/metadata.json": _json(monai_metadata(entry.card)),
            "configs/inference.json": _json(_inference()),
            "README.md": front_matter(entry.card) + _readme(entry),
            "docs/README.md": _readme(entry),
            "LICENSE": _licence(entry),
        }
        if entry.shipped:
            own["docs/data_license.txt"] = files.read_text(ROOT / "assets" / "NOTICE.md")
        for name, text in own.items():
            (made / name).write_text(text, encoding="utf-8")
    return entry


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def monai_metadata(card: ModelCard) -> dict[str, Any]:
    """What `configs/metadata.json` holds, by the MONAI Bundle Specification."""
    shape = ["32*n", "32*n"]
    highest = [(1 - mean) / std for mean, std in zip(card.mean, card.std, strict=True)]
    lowest = [-mean / std for mean, std in zip(card.mean, card.std, strict=True)]
    return {
        "schema": SCHEMA,
        "version": __version__,
        "changelog": {__version__: f"model {card.model_id} of {card.created}"},
        **_MONAI,
        "numpy_version": metadata.version("numpy"),
        "required_packages_version": {"onnxruntime": "1.20.0"},
        "optional_packages_version": {name: metadata.version(name) for name in ("scipy", "pillow")},
        "name": f"Leukoscope {card.model_id}",
        "task": "Outline nucleus and cytoplasm of a white blood cell in a stained blood smear",
        "description": f"{card.architecture} with {card.encoder}. {card.limits}",
        "authors": _AUTHORS,
        "copyright": f"Copyright (c) {_AUTHORS}; {card.licence}",
        "data_source": card.training_data,
        "data_type": "RGB photographs",
        "intended_use": card.intended_use,
        "eval_metrics": {
            name: scores["mean_dice"]
            for name, scores in card.scores.items()
            if isinstance(scores, dict) and "mean_dice" in scores
        },
        "network_data_format": {
            "inputs": {
                "image": {
                    **_tensor("magnitude", shape, [min(lowest), max(highest)]),
                    "modality": "stained blood smear",
                    "num_channels": 3,
                    "channel_def": {"0": "red", "1": "green", "2": "blue"},
                }
            },
            "outputs": {
                "pred": {
                    **_tensor("classes", shape, []),
                    "num_channels": len(card.classes),
                    "channel_def": {str(number): name for number, name in enumerate(card.classes)},
                }
            },
        },
    }


def _tensor(form: str, shape: list[str], value_range: list[float]) -> dict[str, Any]:
    return {
        "type": "image",
        "format": form,
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": value_range,
        "is_patch_data": True,
    }


def _inference() -> dict[str, Any]:
    """From prepared windows to probabilities, by MONAI's ConfigParser; the steps around them are in the card."""
    return {
        "imports": ["$import json", "$import numpy", "$import onnxruntime", "$import pathlib"],
        "bundle_root": ".",
        "windows": "windows.npy",
        "probabilities": "probabilities.npy",
        "card": "$json.loads(pathlib.Path(@bundle_root, 'card.json').read_text(encoding='utf-8'))",
        "session": {
            "_target_": "onnxruntime.InferenceSession",
            "path_or_bytes": f"$@bundle_root + '/{MODELS}/model.onnx'",
            "providers": ["CPUExecutionProvider"],
        },
        "logits": "$@session.run(None, {@session.get_inputs()[0].name: numpy.load(@windows)})[0]",
        "run": [
            "$numpy.save(@probabilities, 1 / (1 + numpy.exp(-@logits / @card['model']['temperature'])))",
        ],
    }


def front_matter(card: ModelCard) -> str:
    """The YAML before the README, by which Hugging Face lists a model; its values are JSON, which is YAML."""
    free = card.licence.startswith("Apache-2.0")
    results = [
        {
            "task": {"type": "image-segmentation"},
            "dataset": {"name": name, "type": name},
            "metrics": [{"type": "dice", "name": "mean Dice", "value": scores["mean_dice"]}],
        }
        for name, scores in card.scores.items()
        if isinstance(scores, dict) and "mean_dice" in scores
    ]
    fields: dict[str, Any] = {
        "license": "apache-2.0" if free else "other",
        **({} if free else {"license_name": card.licence}),
        "library_name": "onnx",
        "pipeline_tag": "image-segmentation",
        "tags": ["onnx", "monai", "medical", "haematology", "white-blood-cells", "segmentation"],
        "model-index": [{"name": card.model_id, "results": results}],
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---", "", ""])


def _readme(entry: ModelEntry) -> str:
    card = entry.card
    rows = "\n".join(
        f"| {name} | {scores['images']} | "
        + " | ".join(f"{scores[region]['dice_mean']:.3f}" for region in ("nucleus", "cytoplasm", "cell"))
        + " |"
        for name, scores in card.scores.items()
        if isinstance(scores, dict) and {"nucleus", "cytoplasm", "cell", "images"} <= set(scores)
    )
    licence = card.licence.replace("assets/NOTICE.md", "docs/data_license.txt")
    found = "`models/localiser.onnx` finds the cell, " if card.localiser else ""
    return f"""# {card.model_id}

{card.intended_use}

**Limits.** {card.limits}

## What is here

- `card.json`: all that is needed to get from an image to its mask, step by step with every number.
  {found}`models/model.onnx` outlines it.
- `models/model.onnx`, SHA-256 `{entry.sha256}`. Input: {INPUT_DOC} Output: {OUTPUT_DOC}
- `configs/metadata.json`, `configs/inference.json`: a MONAI bundle of the network alone, from prepared windows
  (`windows.npy`, float32 N, 3, S, S) to `probabilities.npy`. There is no `model.pt`: the network is ONNX.

## How good it is

Dice on test images that the model never saw.

| images of | n | nucleus | cytoplasm | cell |
| --- | --- | --- | --- | --- |
{rows}

## How it was made

{card.architecture} with {card.encoder}, {card.created}. {card.training_data}

Split: {card.split}

Licence: {licence}. Written by Leukoscope {__version__}, {date.today().isoformat()}.
"""


def _licence(entry: ModelEntry) -> str:
    """The text of Apache-2.0 where that is the model's licence, or what its card says."""
    if not entry.card.licence.startswith("Apache-2.0"):
        return entry.card.licence + "\n"
    beside = ROOT / "LICENSE"
    if beside.is_file():
        return files.read_text(beside)
    return metadata.distribution("leukoscope").read_text("licenses/LICENSE") or entry.card.licence
