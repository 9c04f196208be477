"""Drawn cells, and a cohort of each test's own."""

import pytest

from core.image.synthetic import SYNTHETIC_CELLS
from tests.core.cli.support import save_cell


@pytest.fixture(autouse=True)
def own_cohort(tmp_path, monkeypatch):
    """Nothing a test imports stays."""
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(tmp_path / "cohort"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    for seed, drawing in enumerate(SYNTHETIC_CELLS):
        save_cell(folder / f"{drawing}.png", seed, drawing)
    return folder
