"""What lies where: a test beside every module, and nothing of the machine that made a file inside it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.domain.settings import ROOT

# A checkout or home folder, not part of a longer path or an address.
MACHINE_PATH = re.compile(rb"(?<![\w.])/(?:home|Users|root|work)/[\w.-]+")


def shipped_files() -> Iterator[Path]:
    """Every file of the checkout but what .gitignore names and the tests, which feed paths to what must reject them."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = {line.strip("/") for line in lines} | {".git", "tests"}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in ignored]
        yield from (Path(folder, name) for name in files)


def test_no_shipped_file_names_a_place_on_the_machine_that_made_it() -> None:
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in shipped_files()
        if (match := MACHINE_PATH.search(path.read_bytes()))
    }
    assert not found


def modules(package: str) -> list[Path]:
    return sorted(
        path.relative_to(ROOT / package) for path in (ROOT / package).rglob("*.py") if path.stem != "__init__"
    )


@pytest.mark.parametrize("module", modules("core"), ids=str)
def test_every_core_module_has_its_test_file(module: Path) -> None:
    expected = Path("tests/core") / module.parent / f"test_{module.stem.strip('_')}.py"
    assert (ROOT / expected).is_file(), f"core/{module} has no {expected}"
