import numpy as np
import pytest

from core.cases.cells import open_cells, pack, rows_in
from core.cases.decided import decided_analyses, decided_rows, laid_scale
from core.corrections.deciding import Decision, decide
from core.corrections.opening import open_analysed
from core.domain.errors import StoreError
from core.domain.types import GivenScale, LabelMap
from core.image.imaging import decode, encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import analyse, remeasured
from core.store.outline_log import OutlineStatus, rows_of, without_ring

AREA = "cell_shape2D_PixelSurface"


@pytest.fixture(scope="module")
def png() -> bytes:
    return encode_png(draw_cell(3, SYNTHETIC_CELLS["lymphocyte"])[0].rgb)


@pytest.fixture(scope="module")
def opened(png, segmenter):
    packed = pack([analyse(decode(png, "a.png", 0.095), segmenter)])
    return open_cells(packed, png, "a.png"), rows_in(packed)


@pytest.fixture
def corrected(opened, segmenter, tmp_path):
    (cell,) = opened[0].cells
    labels = without_ring(cell.segmentation.labels).copy()
    labels[: np.flatnonzero(labels.any(axis=1))[0] + 15] = 0
    found = remeasured(cell, LabelMap(labels), segmenter)
    decide(tmp_path, open_analysed(cell), Decision(OutlineStatus.CORRECTED, "A. Reader", None, found, why="torn"))
    return found


def test_without_a_decision_cells_are_those_of_the_model(opened, tmp_path):
    image, rows = opened
    assert decided_rows(tmp_path, rows) == rows
    assert decided_analyses(tmp_path, image, rows) == list(image.cells)


def test_a_corrected_cell_has_its_own_numbers_and_the_models_outline_beside_it(opened, corrected, tmp_path):
    image, rows = opened
    (cell,), (row,) = decided_analyses(tmp_path, image, rows), decided_rows(tmp_path, rows)
    assert row[AREA] == corrected.features.values[AREA] == cell.features.values[AREA]
    assert row[AREA] < rows[0][AREA]
    assert (cell.segmentation.labels == corrected.segmentation.labels).all()
    assert cell.base is not None
    assert (cell.base.labels == image.cells[0].segmentation.labels).all()
    assert {flag.code for flag in cell.flags} == {flag.code for flag in corrected.flags}
    assert (cell.review.who, cell.review.why) == ("A. Reader", "torn")


def test_a_rejected_cell_is_flagged(opened, tmp_path):
    image, rows = opened
    (cell,) = image.cells
    decide(tmp_path, open_analysed(cell), Decision(OutlineStatus.REJECTED, "A. Reader", None, why="two cells"))
    (found,) = decided_analyses(tmp_path, image, rows)
    assert not found.quality_ok
    assert (found.segmentation.labels == cell.segmentation.labels).all()


def test_lost_measurements_of_a_correction_are_told(opened, corrected, tmp_path):
    rows_of(tmp_path).write_text("")
    with pytest.raises(StoreError, match="measurements of 1 corrected cells are damaged"):
        decided_rows(tmp_path, opened[1])


def test_a_scale_is_laid_over_a_row_and_sizes_stay(opened):
    (row,) = opened[1]
    there = laid_scale(row, GivenScale(0.1, 0.02, "red cells"))
    assert (there["um_per_px"], there["um_per_px_error"], there["um_per_px_source"]) == (0.1, 0.02, "red cells")
    assert there[AREA] == row[AREA]
    assert laid_scale(row, None)["um_per_px"] is None
