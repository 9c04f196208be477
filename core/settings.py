"""Where things are and how much is allowed: read once from the environment, defaults for a fresh clone."""

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Folders and limits. Every field can be set by an environment variable LEUKOSCOPE_<FIELD>."""

    data: Path
    models: Path
    reference: Path
    cohort: Path
    selection: Path
    runs: Path
    max_pixels: int
    max_bytes: int


def load_settings() -> Settings:
    """Settings from the environment; unset variables take the defaults of a fresh clone."""

    def path(name: str, default: Path) -> Path:
        return Path(os.environ.get(f"LEUKOSCOPE_{name}", default)).expanduser()

    return Settings(
        data=path("DATA", ROOT.parent / "shared" / "data"),
        models=path("MODELS", ROOT / "assets" / "models"),
        reference=path("REFERENCE", ROOT / "assets" / "reference"),
        cohort=path("COHORT", ROOT / "cohort"),
        selection=path("SELECTION", ROOT / "assets" / "model_selection"),
        runs=path("RUNS", ROOT / "runs"),
        max_pixels=int(os.environ.get("LEUKOSCOPE_MAX_PIXELS", "25000000")),
        max_bytes=int(os.environ.get("LEUKOSCOPE_MAX_BYTES", str(64 * 2**20))),
    )
