"""Where things are and how much is allowed: read once from the environment, defaults for a fresh clone."""

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """Folders and limits. Every field can be set by an environment variable LEUKOSCOPE_<FIELD>.

    `roots` are the folders that may be chosen from on a page, with all that is below them; in the variable they are
    separated as in PATH. `cache` holds what can be computed again at any time. `max_upload_bytes` is the most that a
    person may have uploaded for all runs that are kept together.
    """

    data: Path
    roots: tuple[Path, ...]
    models: Path
    reference: Path
    cohort: Path
    selection: Path
    runs: Path
    cache: Path
    max_pixels: int
    max_bytes: int
    max_upload_bytes: int


def load_settings() -> Settings:
    """Settings from the environment; unset variables take the defaults of a fresh clone."""

    def path(name: str, default: Path) -> Path:
        return Path(os.environ.get(f"LEUKOSCOPE_{name}", default)).expanduser()

    data = path("DATA", ROOT.parent / "shared" / "data")
    roots = os.environ.get("LEUKOSCOPE_ROOTS")
    return Settings(
        data=data,
        roots=(
            tuple(Path(folder).expanduser() for folder in roots.split(os.pathsep) if folder)
            if roots is not None
            else (data,)
        ),
        models=path("MODELS", ROOT / "assets" / "models"),
        reference=path("REFERENCE", ROOT / "assets" / "reference"),
        cohort=path("COHORT", ROOT / "cohort"),
        selection=path("SELECTION", ROOT / "assets" / "model_selection"),
        runs=path("RUNS", ROOT / "runs"),
        cache=path("CACHE", ROOT / "runs" / "cache"),
        max_pixels=int(os.environ.get("LEUKOSCOPE_MAX_PIXELS", "25000000")),
        max_bytes=int(os.environ.get("LEUKOSCOPE_MAX_BYTES", str(64 * 2**20))),
        max_upload_bytes=int(os.environ.get("LEUKOSCOPE_MAX_UPLOAD_BYTES", str(4 * 2**30))),
    )
