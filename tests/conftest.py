"""What many tests share: the real images, a browser, a drawn cell."""

import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.domain.settings import load_settings
from core.domain.types import CellImage, LabelMap
from core.image.synthetic import draw_cell
from core.support import files, locks
from tests.populations import write_drawn

# Commands work in the tests' own process, which spares each a process and a model; tests of the limits set them.
os.environ.setdefault("LEUKOSCOPE_MAX_SECONDS", "inf")
# Whoever has models of their own, and has chosen one, still tests the shipped one. Nothing can be written there.
os.environ.setdefault("LEUKOSCOPE_MODELS", os.devnull)


def _missing(what: str, required_by: str) -> None:
    if os.environ.get(required_by) == "1":
        pytest.fail(f"{what} ({required_by}=1)")
    pytest.skip(what)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    folder = load_settings().data
    if not folder.is_dir():
        _missing(
            "the real images are not there; set LEUKOSCOPE_DATA, sources are in assets/NOTICE.md",
            "LEUKOSCOPE_REQUIRE_DATA",
        )
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    paths = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    path = next(filter(None, paths), None)
    if path is None:
        _missing("Chromium is not installed (Debian: apt-get install chromium)", "LEUKOSCOPE_REQUIRE_BROWSER")
    return str(path)


@pytest.fixture(scope="session")
def node() -> str:
    path = shutil.which("node")
    if path is None:
        _missing("Node.js 20 or later is not installed (Debian: apt-get install nodejs)", "LEUKOSCOPE_REQUIRE_BROWSER")
    return str(path)


@pytest.fixture(scope="session")
def synthetic_cell() -> tuple[CellImage, LabelMap]:
    return draw_cell()


@pytest.fixture(scope="session")
def drawn_root(tmp_path_factory) -> Path:
    """A reference folder with populations of drawn cells and the published tables."""
    root = tmp_path_factory.mktemp("reference")
    write_drawn(root)
    for name in ("published_populations.csv", "published_model_selection.csv"):
        shutil.copy(load_settings().reference / name, root)
    return root


@pytest.fixture
def full_disk(monkeypatch):
    """To be called with a file's name: when next a file of that name is written whole, the disk is full."""
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    names, unfinished = set(), files.unfinished

    @contextmanager
    def on_a_full_disk(path, **how):
        with unfinished(path, **how) as made:
            if path.name in names:
                names.remove(path.name)
                made.symlink_to("/dev/full")
            yield made

    monkeypatch.setattr(files, "unfinished", on_a_full_disk)
    return names.add


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, request) -> Callable[[str, Callable[[Path], None]], Path]:
    """What is dear to make, in a folder that all processes of a parallel run share; whoever comes first makes it."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if hasattr(request.config, "workerinput") else own

    def folder_of(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with locks.lock(shared / f"{name}.lock"):
            if not done.exists():
                folder.mkdir(exist_ok=True)  # whoever came first may have failed
                make(folder)
                done.touch()
        return folder

    return folder_of
