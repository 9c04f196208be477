"""RO-Crate 1.1: table and outlines in a folder whose `ro-crate-metadata.json` says what made them of what."""

import hashlib
import json
import mimetypes
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from core import __version__
from core.domain.versions import software_versions
from core.exchange import qupath, tables
from core.exchange.cells import Handing

_METADATA: Final = "ro-crate-metadata.json"
_KINDS: Final = {".geojson": "application/geo+json"}
_Entity = dict[str, Any]


def write(handing: Handing, folder: Path) -> None:
    """Write `cells.csv` with its description, `outlines/<image>.geojson`, and the metadata with checksums of all."""
    tables.write_csv(handing, folder)
    said, models = handing.provenance(), dict(handing.models)
    qupath.write(handing, folder / "outlines")
    files = [_file(folder, path) for path in sorted(folder.rglob("*")) if path.is_file()]
    made = datetime.now(UTC).isoformat(timespec="seconds")
    graph = [
        {
            "@id": _METADATA,
            "@type": "CreativeWork",
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            "about": {"@id": "./"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": handing.what.title,
            "description": f"{said['cells']} white blood cells of {said['images']} images, outlined and measured.",
            "datePublished": made,
            "license": "Not stated: it is that of the images, which whoever hands them over knows.",
            "hasPart": _named(files),
            "mentions": {"@id": "#measuring"},
        },
        *files,
        *_made_by(said, models, files, made),
    ]
    text = json.dumps({"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}, indent=1)
    (folder / _METADATA).write_text(text + "\n", encoding="utf-8")


def _made_by(
    said: Mapping[str, str], models: Mapping[tuple[str, str], int], files: Sequence[_Entity], made: str
) -> list[_Entity]:
    """How the files came about: the program and what it stands on, the models, and every setting that is known."""
    program = {
        "@id": "#leukoscope",
        "@type": "SoftwareApplication",
        "name": "Leukoscope",
        "version": __version__,
        "softwareRequirements": [f"{name} {number}" for name, number in software_versions().items()],
    }
    outlined = [
        {
            "@id": f"#model-{number}",
            "@type": "SoftwareApplication",
            "name": name,
            "description": f"outlined {cells} cells",
            **({"identifier": f"sha256:{sha256}"} if sha256 else {}),
        }
        for number, ((name, sha256), cells) in enumerate(sorted(models.items()), start=1)
    ]
    settings = [
        {"@id": f"#setting-{number}", "@type": "PropertyValue", "name": name, "value": value}
        for number, (name, value) in enumerate(said.items(), start=1)
    ]
    action = {
        "@id": "#measuring",
        "@type": "CreateAction",
        "name": "Outlining and measuring",
        "endTime": made,
        "instrument": _named([program, *outlined]),
        "object": _named(settings),
        "result": _named(files),
    }
    return [action, program, *outlined, *settings]


def _file(folder: Path, path: Path) -> _Entity:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = path.relative_to(folder).as_posix()
    return {
        "@id": quote(name),
        "@type": "File",
        "name": name,
        "contentSize": str(path.stat().st_size),
        "encodingFormat": _KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        "sha256": digest,
    }


def _named(entities: Sequence[_Entity]) -> list[dict[str, str]]:
    return [{"@id": entity["@id"]} for entity in entities]
