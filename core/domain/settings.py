"""Where things are and how much is allowed, from the environment; defaults for a checkout or an installation."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from core.domain.errors import UsageError

# The checkout, or in an installation the folder that holds the same: core, pages, assets, ...
ROOT: Final = Path(__file__).resolve().parents[2]
# Nobody's own files go into the folder of an installation, which the next one overwrites.
INSTALLED: Final = not (ROOT / "pyproject.toml").is_file()


@dataclass(frozen=True)
class Settings:
    """Folders and limits. Every field can be set by an environment variable LEUKOSCOPE_<FIELD>.

    `models` holds one's own, which are there beside `shipped_models`. `roots` are the folders that may be chosen from
    on a page, with all that is below them; in the variable they are separated as in PATH. `cache` holds what can be
    computed again at any time. `max_upload_bytes` is the most that a person may have uploaded for all kept runs
    together. An image may take `max_seconds` without getting on (`inf`: there is no limit, and no process of its own),
    and `max_memory_mb` beyond what the program needs anyway.
    """

    data: Path
    roots: tuple[Path, ...]
    models: Path
    shipped_models: Path
    reference: Path
    cohort: Path
    selection: Path
    runs: Path
    cache: Path
    max_pixels: int
    max_bytes: int
    max_upload_bytes: int
    max_seconds: float
    max_memory_mb: int


def check_own(folder: Path, instead: str) -> None:
    """Raise UsageError, saying what to do instead, where results would go into an installation."""
    if INSTALLED and folder.resolve().is_relative_to(ROOT):
        msg = f"the results would go into the installation, which the next one overwrites; {instead}"
        raise UsageError(msg)


def load_settings() -> Settings:
    """Settings from the environment; defaults are in the checkout, or in the user's folder of an installation."""
    own, cache = ROOT, ROOT / "runs" / "cache"
    data = ROOT.parent / "shared" / "data"
    if INSTALLED:
        own = platformdirs.user_data_path("leukoscope", appauthor=False)
        data, cache = own / "data", platformdirs.user_cache_path("leukoscope", appauthor=False)

    def path(name: str, default: Path) -> Path:
        return Path(os.environ.get(f"LEUKOSCOPE_{name}", default)).expanduser()

    data = path("DATA", data)
    roots = os.environ.get("LEUKOSCOPE_ROOTS")
    return Settings(
        data=data,
        roots=(
            tuple(Path(folder).expanduser() for folder in roots.split(os.pathsep) if folder)
            if roots is not None
            else (data,)
        ),
        models=path("MODELS", own / "runs" / "models"),
        shipped_models=path("SHIPPED_MODELS", ROOT / "assets" / "models"),
        reference=path("REFERENCE", ROOT / "assets" / "reference"),
        cohort=path("COHORT", own / "cohort"),
        selection=path("SELECTION", ROOT / "assets" / "model_selection"),
        runs=path("RUNS", own / "runs"),
        cache=path("CACHE", cache),
        max_pixels=int(os.environ.get("LEUKOSCOPE_MAX_PIXELS", "25000000")),
        max_bytes=int(os.environ.get("LEUKOSCOPE_MAX_BYTES", str(64 * 2**20))),
        max_upload_bytes=int(os.environ.get("LEUKOSCOPE_MAX_UPLOAD_BYTES", str(4 * 2**30))),
        max_seconds=float(os.environ.get("LEUKOSCOPE_MAX_SECONDS", "120")),
        max_memory_mb=int(os.environ.get("LEUKOSCOPE_MAX_MEMORY_MB", "3072")),
    )
