"""One's own models and the shipped ones: their cards, their checksums, and which of them is in use."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from core.domain.errors import ModelError
from core.domain.settings import load_settings
from core.segmentation.model_card import METADATA_KEY, ModelCard
from core.support import files, records

MANIFEST: Final = "manifest.json"
# Where the manifest keeps the checksums of the files beside a model, by their names in `_BESIDE`.
SEALED: Final = "sealed"
# Files beside a model that the manifest may name, in the order of `ModelEntry`.
_BESIDE: Final = ("log", "split", "reliability", "novelty", "quality", "adaptation")
# What helps where a file is not as it should be: of one's own models, and of shipped ones.
_REMEDY: Final = ("export the model again, or measure it anew", "restore it from the repository")
# What a person who changes the model should know.
OF_FORMER_MODELS: Final = (
    "Populations that another model measured are told as such; `leukoscope cohort rebuild` measures your own anew."
)


@dataclass(frozen=True)
class ModelEntry:
    """One model of the manifest: `path` of its .onnx file, the SHA-256 it must have, its card, and files beside it.

    `log` of the training, `split` of the images, `reliability` of the features (`core.evaluation.agreement.load` reads
    it), `novelty`, what the model knows (`core.quality.novelty.load`), `quality`, by which its outlines are judged
    (`core.quality.outline_quality.load`), and `adaptation`, what a laboratory gained by it
    (`core.evaluation.adaptation.load`): None where there is none. `sealed` holds the SHA-256 that each of them must
    have, by those names; models made before 0.3.0 have none. `shipped` says that it came with the program,
    `hides_shipped` that a shipped one of the same id is not listed for it.
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
    adaptation: Path | None = None
    _: KW_ONLY
    sealed: Mapping[str, str] = field(default_factory=dict)
    shipped: bool = False
    hides_shipped: bool = False

    @property
    def files(self) -> dict[Path, str]:
        """The model's file, its localiser's, and those sealed beside it, with the SHA-256 that each must have."""
        localiser = self.card.localiser
        found = {self.path.with_name(localiser["file"]): localiser["sha256"]} if localiser else {}
        beside = {path: self.sealed[kind] for kind, path in self._beside.items() if kind in self.sealed}
        return {self.path: self.sha256} | found | beside

    @property
    def unsealed(self) -> tuple[str, ...]:
        """What lies beside the model without a checksum, so that nobody would see that it was exchanged."""
        return tuple(kind for kind in self._beside if kind not in self.sealed)

    @property
    def _beside(self) -> dict[str, Path]:
        return {kind: path for kind in _BESIDE if (path := getattr(self, kind)) is not None}


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest as written by `python -m export`; raises ModelError when there is none or it is damaged."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = records.parsed(files.read_bytes(path))
    except FileNotFoundError:
        msg = (
            f"no model: expected {MANIFEST} in the models folder {path.parent.name}, but it is not there; run `python"
            " -m export` first"
        )
        raise ModelError(msg) from None
    except (OSError, ValueError) as error:  # no JSON, or no text at all
        raise _damaged(path, error) from error
    return manifest


def write_manifest(manifest: dict[str, Any], folder: Path) -> None:
    """Write the manifest of a models folder, whole or not at all."""
    files.write_text(folder / MANIFEST, manifest_text(manifest))


def manifest_text(manifest: dict[str, Any]) -> str:
    """The manifest as it is written."""
    return json.dumps(manifest, indent=1, sort_keys=True) + "\n"


def checksum(content: bytes) -> str:
    """The SHA-256 of a file's content, as the manifest keeps it."""
    return hashlib.sha256(content).hexdigest()


def keep_beside(folder: Path, model_id: str, names: Mapping[str, str]) -> None:
    """Enter files that lie beside a model, by what they are, into the manifest, each with its seal."""
    manifest = load_manifest(folder)
    row = manifest["models"][model_id]
    seals = {kind: checksum(files.read_bytes(folder / name)) for kind, name in names.items()}
    manifest["models"][model_id] = {**row, **names, SEALED: {**row.get(SEALED, {}), **seals}}
    write_manifest(manifest, folder)


def check_seal(path: Path, content: bytes) -> None:
    """Raise ModelError where what was read from a file beside a model is not what the manifest there sealed."""
    if (path.parent / MANIFEST).is_file():
        for entry in _listed(path.parent, shipped=False)[1]:
            if path in entry.files:
                _check(entry, path, content)


def _check(entry: ModelEntry, path: Path, content: bytes) -> None:
    wanted, digest = entry.files[path], checksum(content)
    if digest != wanted:
        msg = (
            f"model {entry.model_id}: {path.name} should have SHA-256 {wanted[:16]}..., but has {digest[:16]}...; "
            f"the file is damaged or was replaced: {_REMEDY[entry.shipped]}"
        )
        raise ModelError(msg)


def _damaged(path: Path, reason: object) -> ModelError:
    return ModelError(
        f"{MANIFEST} in the models folder {path.parent.name} is damaged ({reason}); restore it or run `python -m"
        " export` again"
    )


@dataclass(frozen=True)
class KnownModels:
    """One's own models and the shipped ones, and the id of the one that was chosen, which may be none of them.

    A model of one's own hides a shipped one of the same id.
    """

    entries: tuple[ModelEntry, ...]
    chosen: str | None

    @property
    def in_use(self) -> ModelEntry | None:
        """The chosen model; None where it is not there."""
        return next((entry for entry in self.entries if entry.model_id == self.chosen), None)

    def named(self, name: str) -> ModelEntry:
        """The model of that id; raises ModelError listing the known ones."""
        for entry in self.entries:
            if entry.model_id == name:
                return entry
        msg = f"unknown model {name!r}; known are {', '.join(entry.model_id for entry in self.entries) or 'none'}"
        raise ModelError(msg)


def known_models(folder: Path | None = None) -> KnownModels:
    """The models of one's own folder (default: that of the settings) and the shipped ones; raises ModelError.

    The manifest of one's own folder says which is in use, else that of the shipped ones. The cards are the manifests'
    copies, so that listing opens no model.
    """
    settings = load_settings()
    shipped = settings.shipped_models
    found: dict[str, ModelEntry] = {}
    chosen = None
    for place in (folder or settings.models, shipped):
        if (place / MANIFEST).exists():
            default, entries = _listed(place, shipped=place.resolve() == shipped.resolve())
            chosen = chosen or default
            for entry in entries:
                own = found.setdefault(entry.model_id, entry)
                if entry.shipped and not own.shipped:
                    found[entry.model_id] = replace(own, hides_shipped=True)
    return KnownModels(tuple(found.values()), chosen)


def _listed(folder: Path, *, shipped: bool) -> tuple[str | None, list[ModelEntry]]:
    """What the manifest of a folder says: the default, if it names one, and its models."""
    manifest = load_manifest(folder)
    try:
        entries = [
            ModelEntry(
                model_id,
                folder / row["file"],
                row["sha256"],
                ModelCard.from_plain(row["card"], row["file"]),
                *(folder / row[key] if row.get(key) else None for key in _BESIDE),
                sealed=dict(row.get(SEALED, {})),
                shipped=shipped,
            )
            for model_id, row in manifest["models"].items()
        ]
        return manifest.get("default"), entries
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"not laid out as expected: {error!r}"
        raise _damaged(folder / MANIFEST, reason) from error


def list_models(folder: Path | None = None) -> list[ModelEntry]:
    """All models as `known_models` finds them, the one in use first; raises ModelError where that is not there."""
    known = known_models(folder)
    if not known.entries:
        load_manifest(load_settings().shipped_models)  # says what is missing
    if (in_use := known.in_use) is None:
        missing = f"the model in use, {known.chosen!r}, is not there any more" if known.chosen else "no model is chosen"
        msg = (
            f"{missing}; known are {', '.join(entry.model_id for entry in known.entries) or 'none'}: choose one on the"
            " page Models, or with `leukoscope models use ID`"
        )
        raise ModelError(msg)
    return sorted(known.entries, key=lambda entry: entry is not in_use)


def find_model(name: str | None = None, folder: Path | None = None) -> ModelEntry:
    """The model of that id, or the one in use; raises ModelError listing the known ones."""
    return list_models(folder)[0] if name is None else known_models(folder).named(name)


def use_model(name: str) -> ModelEntry | None:
    """Take a model for everything from now on; returns the one before, None where that was not there.

    Raises
    ------
    ModelError
        If there is no such model, its files are not those of its manifest, or the choice cannot be kept.
    """
    known, own = known_models(), load_settings().models
    verify_model(known.named(name))
    try:
        own.mkdir(parents=True, exist_ok=True)
        manifest = load_manifest(own) if (own / MANIFEST).exists() else {"models": {}}
        write_manifest(manifest | {"default": name}, own)
    except OSError as error:
        msg = f"the choice could not be kept in {own} ({error.strerror}); make room there, or set LEUKOSCOPE_MODELS"
        raise ModelError(msg) from error
    return known.in_use


def verify_model(entry: ModelEntry) -> None:
    """Check that each of its files is there, has the manifest's checksum, and is a single file; raises ModelError."""
    for path in entry.files:
        try:
            content = files.read_bytes(path)
        except OSError as error:
            msg = (
                f"model {entry.model_id}: {path.name} is missing from the models folder ({error.strerror});"
                f" {_REMEDY[entry.shipped]}"
            )
            raise ModelError(msg) from error
        _check(entry, path, content)


def card_of(custom_metadata: dict[str, str], origin: str) -> ModelCard:
    """The card inside a model file's own metadata; raises ModelError when there is none."""
    if METADATA_KEY not in custom_metadata:
        msg = f"{origin} carries no model card; export it with `python -m export`"
        raise ModelError(msg)
    return ModelCard.from_json(custom_metadata[METADATA_KEY], origin)
