"""Stain factors as files."""

import pytest

from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.domain.types import StainFactors
from core.populations.staining import LaboratoryStain
from core.store import stains

MADE = LaboratoryStain(
    StainFactors("ours-to-bcn", 0.85, 0.91, 1.04),
    "ours",
    "Barcelona",
    CellType.LYMPHOCYTE,
    (100, 40),
    ((0.9, 1.2, 0.4), (1.1, 1.3, 0.39)),
    "2026-12-01T12:00:00+00:00",
    {"numpy": "2"},
)


def test_factors_are_kept_whole_found_and_forgotten(tmp_path):
    stains.save(tmp_path, MADE)
    assert stains.find(tmp_path, "ours-to-bcn") == MADE
    assert stains.kept(tmp_path) == ((MADE,), ())
    with pytest.raises(StoreError, match="no record of stain factors 'other'; there are: ours-to-bcn"):
        stains.find(tmp_path, "other")
    stains.delete(tmp_path, "ours-to-bcn")
    assert stains.kept(tmp_path) == ((), ())


@pytest.mark.parametrize("change", [("0.85", "85.0"), ("0.85", '"dark"'), ("}", "")])
def test_a_damaged_file_is_set_aside_in_words(tmp_path, change):
    stains.save(tmp_path, MADE)
    path = tmp_path / "stains" / "ours-to-bcn.json"
    path.write_text(path.read_text().replace(*change))
    found, problems = stains.kept(tmp_path)
    assert found == ()
    assert "ours-to-bcn.json: not a record of stain factors" in str(problems[0])
    with pytest.raises(StoreError, match="make it again"):
        stains.find(tmp_path, "ours-to-bcn")
