from dataclasses import replace

import numpy as np
import pytest

from core.cases.adding import add, gathered
from core.cases.cells import open_cells
from core.cases.export import case_analyses, case_table, held_images
from core.cases.store import Cases
from core.corrections.deciding import Decision, decide, history_of
from core.corrections.opening import key_of, open_stored, rings_of
from core.domain.types import GivenScale, LabelMap
from core.image.imaging import decode, encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import analyse, remeasured
from core.store.outline_log import OutlineStatus, without_ring
from core.store.schema import cell_row

AREA = "cell_shape2D_PixelSurface"


@pytest.fixture(scope="module")
def png() -> bytes:
    return encode_png(draw_cell(3, SYNTHETIC_CELLS["lymphocyte"])[0].rgb)


@pytest.fixture(scope="module")
def row(png, segmenter):
    """As the cohort holds it."""
    cell = analyse(decode(png, "folder/a.png", 0.095), segmenter)
    return cell_row(cell, None, outlines=rings_of(cell), patient_id="P7") | {
        "cell_id": "monocyte_drawn:a:0",
        "population": "monocyte_drawn",
        "image_path": "folder/a.png",
        "um_per_px": 0.095,
    }


@pytest.fixture
def cases(tmp_path) -> Cases:
    return Cases(tmp_path / "cases")


def test_a_cell_comes_with_its_picture_scale_and_patient(cases, png, row, tmp_path):
    image = gathered(tmp_path, [row], png, 0)
    assert (image.record.name, image.record.scale.um_per_px, image.record.cells) == ("a.png", 0.095, 1)
    case = cases.create("t")
    assert add(cases, case, image)
    case = cases.open(case.id)
    assert not add(cases, case, replace(image, cells=b"others"))
    table = case_table(tmp_path, held_images(cases, case))
    assert table["patient_id"].tolist() == ["P7"]
    assert table[AREA].tolist() == [row[AREA]]
    assert cases.original(case.id, case.images[0]) == png
    said = gathered(tmp_path, [row], png, 0, GivenScale(0.095, None, "given", "that of Barcelona"))
    assert said.record.scale.origin == "that of Barcelona"


def test_without_its_picture_or_with_one_that_opens_otherwise_what_was_measured_is_kept(cases, png, row, tmp_path):
    for data in (None, encode_png((decode(png, "a.png").rgb // 2).astype(np.uint8))):
        image = gathered(tmp_path, [row], data, 0)
        assert (image.data, image.record.size) == (None, 0)
        opened = open_cells(image.cells, image.data, image.record.name)
        assert opened.cells[0].features.values[AREA] == row[AREA]
        assert not opened.pictured


def test_a_decision_about_the_cell_of_the_cohort_holds_in_the_case_and_once(png, row, segmenter, tmp_path):
    cell = open_stored(row, decode(png, "a.png", 0.095), (), row["cell_id"])
    labels = without_ring(cell.analysis.segmentation.labels).copy()
    labels[: np.flatnonzero(labels.any(axis=1))[0] + 15] = 0
    corrected = remeasured(cell.analysis, LabelMap(labels), segmenter)
    decide(tmp_path, cell, Decision(OutlineStatus.CORRECTED, "A. Reader", None, corrected))
    image = gathered(tmp_path, [row], png, 0)
    gathered(tmp_path, [row], png, 0)
    (found,) = case_analyses(tmp_path, image)
    assert found.features.values[AREA] == corrected.features.values[AREA] != row[AREA]
    assert (found.segmentation.labels == corrected.segmentation.labels).all()
    assert len(history_of(tmp_path, key_of(found).name)) == 1


def test_the_cell_that_was_looked_at_is_the_one_that_is_shown(png, row, tmp_path):
    places = [{"place_left": 0, "place_top": 0, "place_width": 360, "place_height": 360}] * 2
    rows = [row | place | {"cell_index": index} for place, index in zip(places, (4, 2), strict=True)]
    assert gathered(tmp_path, rows, None, 4).record.chosen == 2
