"""The models in the models folder: their cards, their checksums, the default one."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.domain.errors import ModelError
from core.domain.settings import load_settings
from core.segmentation.model_card import METADATA_KEY, ModelCard
from core.support import files, records

MANIFEST: Final = "manifest.json"
# Files beside a model that the manifest may name, in the order of `ModelEntry`.
_BESIDE: Final = ("log", "split", "reliability", "novelty", "quality")


@dataclass(frozen=True)
class ModelEntry:
    """One model of the manifest: `path` of its .onnx file, the SHA-256 it must have, its card, and files beside it.

    `log` of the training, `split` of the images, `reliability` of the features (`core.evaluation.agreement.load` reads
    it), `novelty`, what the model knows (`core.quality.novelty.load`), and `quality`, by which its outlines are judged
    (`core.quality.outline_quality.load`): None where there is none.
    """

    model_id: str
    path: Path
    sha256: str
    card: ModelCard
    log: Path | None
    split: Path | None
    reliability: Path | None
    novelty: Path | None = None
    quality: Path | None = None

    @property
    def files(self) -> dict[Path, str]:
        """The model's file and its localiser's, where it has one, with the SHA-256 that each must have."""
        localiser = self.card.localiser
        return {self.path: self.sha256} | (
            {self.path.with_name(localiser["file"]): localiser["sha256"]} if localiser else {}
        )


def load_manifest(folder: Path | None = None) -> dict[str, Any]:
    """The manifest as written by `python -m export`; raises ModelError when there is none or it is damaged."""
    path = (folder or load_settings().models) / MANIFEST
    try:
        manifest: dict[str, Any] = records.parsed(files.read_bytes(path))
    except FileNotFoundError:
        msg = (
            f"no model: expected {MANIFEST} in the models folder {path.parent.name}, but it is not there; run `python"
            " -m export` first"
        )
        raise ModelError(msg) from None
    except (OSError, ValueError) as error:  # no JSON, or no text at all
        raise _damaged(error) from error
    return manifest


def write_manifest(manifest: dict[str, Any], folder: Path) -> None:
    """Write the manifest of a models folder, whole or not at all."""
    files.write_text(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def _damaged(reason: object) -> ModelError:
    return ModelError(
        f"{MANIFEST} in the models folder is damaged ({reason}); restore it or run `python -m export` again"
    )


def list_models(folder: Path | None = None) -> list[ModelEntry]:
    """All models, the default first. The cards are the manifest's copies, so that listing opens no model."""
    folder = folder or load_settings().models
    manifest = load_manifest(folder)
    try:
        default = manifest["default"]
        entries = [
            ModelEntry(
                model_id,
                folder / row["file"],
                row["sha256"],
                ModelCard.from_plain(row["card"], row["file"]),
                *(folder / row[key] if row.get(key) else None for key in _BESIDE),
            )
            for model_id, row in manifest["models"].items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"not laid out as expected: {error!r}"
        raise _damaged(reason) from error
    if default not in [entry.model_id for entry in entries]:
        reason = f"its default {default!r} is none of its models"
        raise _damaged(reason)
    return sorted(entries, key=lambda entry: entry.model_id != default)


def find_model(name: str | None = None, folder: Path | None = None) -> ModelEntry:
    """The model of that id, or the default; raises ModelError listing the known ones."""
    entries = list_models(folder)
    for entry in entries:
        if name is None or entry.model_id == name:
            return entry
    msg = f"unknown model {name!r}; known are {', '.join(entry.model_id for entry in entries)}"
    raise ModelError(msg)


def verify_model(entry: ModelEntry) -> None:
    """Check that each of its files is there, has the manifest's checksum, and is a single file; raises ModelError."""
    for path, sha256 in entry.files.items():
        if not path.is_file():
            msg = (
                f"model {entry.model_id}: {path.name} is missing from the models folder; restore it from the repository"
            )
            raise ModelError(msg)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != sha256:
            msg = (
                f"model {entry.model_id}: {path.name} should have SHA-256 {sha256[:16]}..., but has {digest[:16]}...; "
                "the file is damaged or was replaced: restore it from the repository"
            )
            raise ModelError(msg)


def card_of(custom_metadata: dict[str, str], origin: str) -> ModelCard:
    """The card inside a model file's own metadata; raises ModelError when there is none."""
    if METADATA_KEY not in custom_metadata:
        msg = f"{origin} carries no model card; export it with `python -m export`"
        raise ModelError(msg)
    return ModelCard.from_json(custom_metadata[METADATA_KEY], origin)
