import hashlib
import io

import numpy as np
import pandas as pd
import pytest

from core.cases.cells import pack
from core.cases.export import case_analyses, case_handed_over, case_table, held_images
from core.cases.store import CaseImage, Cases
from core.corrections.deciding import Decision, decide
from core.corrections.opening import open_analysed
from core.domain.options import CellChoice, Units
from core.domain.types import DrawnBy, GivenScale, LabelMap
from core.exchange.cells import Handing
from core.image.imaging import decode, encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import analyse_cells, remeasured
from core.store.export import cells_parquet, in_units, to_csv
from core.store.outline_log import OutlineStatus, without_ring

AREA = "cell_shape2D_PixelSurface"


@pytest.fixture(scope="module")
def kept(tmp_path_factory, segmenter):
    """A case of a corrected cell with a scale that was given later, a field, one that failed, one without picture."""
    root = tmp_path_factory.mktemp("root")
    cases = Cases(root / "cases")
    case = cases.create("Patient 7", "hairy?")
    pictures = [draw_cell(seed, SYNTHETIC_CELLS["lymphocyte"])[0].rgb for seed in (3, 5, 6)]
    single, gone = encode_png(pictures[0]), encode_png(pictures[2])
    field = encode_png(np.hstack([pictures[0], pictures[1]]))
    for name, data, choice, scale, there in (
        ("=a.png", single, CellChoice.AUTO, 0.1, True),
        ("field.png", field, CellChoice.ALL, 0.2, True),
        ("gone.png", gone, CellChoice.AUTO, 0.1, False),
    ):
        cells = analyse_cells(decode(data, name), segmenter, choice)
        record = CaseImage(name, hashlib.sha256(data).hexdigest(), 0, GivenScale(scale), "odd", len(cells))
        cases.put(case.id, record, data if there else None, pack(cells), seen_notes="")
        if name == "=a.png":
            labels = without_ring(cells[0].segmentation.labels).copy()
            labels[: np.flatnonzero(labels.any(axis=1))[0] + 15] = 0
            corrected = remeasured(cells[0], LabelMap(labels), segmenter)
            decide(root, open_analysed(cells[0]), Decision(OutlineStatus.CORRECTED, "A. Reader", None, corrected))
    bad = CaseImage("bad.png", hashlib.sha256(b"bad").hexdigest(), problem="no image")
    return root, cases, cases.put(case.id, bad, b"bad"), corrected


def test_the_table_has_every_cell_as_it_holds_with_the_scale_of_its_image(kept):
    root, cases, case, corrected = kept
    table = case_table(root, held_images(cases, case))
    assert list(table["image_path"]) == ["=a.png", "field.png", "field.png", "gone.png"]
    assert list(table["um_per_px"]) == [0.1, 0.2, 0.2, 0.1]
    assert list(table["note"]) == ["odd"] * 4
    assert table[AREA][0] == corrected.features.values[AREA]
    assert list(table["outline_by"].fillna("model")) == ["person", "model", "model", "model"]
    in_um = in_units(table, Units.MICROMETRES)
    assert in_um[AREA].tolist() == pytest.approx((table[AREA] * table["um_per_px"] ** 2).tolist())
    read = pd.read_csv(io.BytesIO(to_csv(in_um)))
    assert read["image_path"][0] == "'=a.png"
    assert pd.read_parquet(io.BytesIO(cells_parquet(table, Units.MICROMETRES)))[AREA].tolist() == in_um[AREA].tolist()


def test_the_cells_of_a_report_are_those_of_the_table(kept):
    root, cases, case, _ = kept
    images = list(held_images(cases, case))
    cells = [cell for image in images for cell in case_analyses(root, image)]
    table = case_table(root, images)
    assert [cell.features.values[AREA] for cell in cells] == table[AREA].tolist()
    assert [cell.quality_ok for cell in cells] == table["quality_ok"].tolist()
    assert [cell.image.um_per_px for cell in cells] == table["um_per_px"].tolist()
    assert [cell.base is not None for cell in cells] == [True, False, False, False]
    assert case_analyses(root, images[3]) == []


def test_an_empty_case_is_an_empty_table(kept, tmp_path):
    root, cases, _, _ = kept
    table = case_table(root, held_images(cases, cases.create("empty")))
    assert table.empty
    assert AREA in table.columns


def test_what_is_handed_over_are_the_cells_as_they_hold(kept):
    root, cases, case, corrected = kept
    handing = Handing(case_handed_over(root, cases, case))
    images = list(handing.drawn_images())
    assert [image.name for image in images] == ["=a.png", "field.png", "gone.png"]
    assert images[0].cells[0].row[AREA] == corrected.features.values[AREA]
    assert images[0].cells[0].drawn_by is DrawnBy.PERSON
    mask = images[0].cells[0].mask(images[0].size)
    assert (mask.labels > 0).sum() == without_ring(corrected.segmentation.labels).astype(bool).sum()
    assert handing.provenance()["title"] == "Patient 7"
