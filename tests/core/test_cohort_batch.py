from datetime import UTC, datetime

import pytest

from core.cohort import add_cells
from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.domain.types import CellAnalysis, FeatureSet, Segmentation
from core.image.synthetic import draw_cell
from core.store import queries
from core.store.database import Cohort
from core.store.schema import Population, cell_row, cohort_schema


def _row(seed: int, patient: str | None = None, um_per_px: float | None = None) -> dict:
    """A row as a batch writes it: of no population yet, its image by the path in the batch's input."""
    image, labels = draw_cell(seed)
    segmentation = Segmentation(labels, 0.9, 0, "model", "CPU", 1)
    analysis = CellAnalysis(image, segmentation, FeatureSet({"cell_shape2D_PixelSurface": 10.0 + seed}, {}), ())
    row = cell_row(analysis, None, outlines={}, patient_id=patient, created=datetime(2026, 11, 23, tzinfo=UTC))
    row["um_per_px"] = um_per_px
    return row | {"image_path": f"folder/{seed}.png"}


def _population(name="mine", **changes) -> Population:
    told = {
        "cell_type": CellType.MONOCYTE, "title": "Mine", "source": "Our laboratory", "tissue": "blood", "citation": "",
        "terms": "", "note": "", "created": "2026-11-23",
    }  # fmt: skip
    return Population(name, **told | changes)


def _cells(root, name="mine"):
    with Cohort.open([root]) as cohort:
        return queries.cells(cohort, name)


def test_cells_are_filed_as_they_were_measured_under_what_was_said_of_them(tmp_path):
    rows = [_row(1, "P1"), _row(2, um_per_px=0.1)]
    added = add_cells(tmp_path, _population(um_per_px=0.2, um_per_px_origin="given"), [rows[:1], rows[1:]])
    assert (added.new, added.known) == (2, 0)
    found = _cells(tmp_path)
    assert list(found.columns) == cohort_schema().names
    assert found["image_path"].tolist() == ["folder/1.png", "folder/2.png"]
    assert found["cell_shape2D_PixelSurface"].tolist() == [11, 12]
    assert found["um_per_px"].tolist() == [0.2, 0.1]
    assert found["patient_id"].fillna("").tolist() == ["P1", ""]
    assert set(found["cell_type"]) == {"monocyte"}
    assert set(found["source"]) == {"Our laboratory"}
    assert set(found["created"].astype(str).str[:10]) == {"2026-11-23"}
    assert found["cell_id"].tolist() == [f"mine:{row['image_sha256'][:16]}:0" for row in rows]


def test_a_patient_named_for_all_goes_before_their_own(tmp_path):
    add_cells(tmp_path, _population(), [[_row(1, "P1"), _row(2)]], patient_id="P9")
    assert _cells(tmp_path)["patient_id"].tolist() == ["P9", "P9"]


def test_a_second_run_joins_the_population_and_no_cell_is_there_twice(tmp_path):
    add_cells(tmp_path, _population(note="first"), [[_row(1), _row(2)]])
    added = add_cells(tmp_path, _population(note="second"), [[_row(2)], [_row(3), _row(3)]])
    assert (added.new, added.known) == (1, 2)
    assert _cells(tmp_path)["image_path"].tolist() == ["folder/1.png", "folder/2.png", "folder/3.png"]
    with Cohort.open([tmp_path]) as cohort:
        assert cohort.population("mine").note == "first"


@pytest.mark.parametrize("change", [{"cell_type": CellType.HCL}, {"source": "Another"}, {"tissue": "marrow"}])
def test_a_population_of_another_kind_is_left_alone(tmp_path, change):
    add_cells(tmp_path, _population(), [[_row(1)]])
    with pytest.raises(StoreError, match="choose another name"):
        add_cells(tmp_path, _population(**change), [[_row(2)]])
    assert len(_cells(tmp_path)) == 1


def test_without_a_cell_nothing_is_made(tmp_path):
    with pytest.raises(StoreError, match="there are none"):
        add_cells(tmp_path, _population(), iter([[], []]))
    assert not (tmp_path / "mine").exists()


def test_the_shipped_populations_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(tmp_path))
    with pytest.raises(StoreError, match="shipped"):
        add_cells(tmp_path, _population(), [[_row(1)]])


def test_cells_of_another_model_join_with_a_word(tmp_path):
    assert add_cells(tmp_path, _population(), [[_row(1), _row(2)]]).model_note is None
    added = add_cells(tmp_path, _population(), [[_row(3) | {"model_id": "newer"}]])
    assert "model (Mine: 2 of 3 cells), newer (Mine: 1 of 3 cells)" in added.model_note
