"""Drawn cells, and a cohort of each test's own."""

import pytest

from core.cli.main import main
from core.image.synthetic import SYNTHETIC_CELLS
from tests.core.cli.support import save_cell
from tests.laboratories import BARCELONA, JOHNS_HOPKINS


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


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A cohort folder of one's own with a calibration `jh-to-bcn` of the shipped cohort's sources."""
    folder = tmp_path_factory.mktemp("own") / "cohort"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_COHORT", str(folder))
        assert main(["cohort", "calibrate", JOHNS_HOPKINS, "--to", BARCELONA, "--name", "jh-to-bcn"]) == 0
    return folder
