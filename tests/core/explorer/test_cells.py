import hashlib
from dataclasses import replace

import numpy as np
import pytest

from core.corrections.opening import rings_of
from core.domain.compartments import Compartment
from core.domain.errors import StoreError
from core.domain.settings import load_settings
from core.domain.types import BoundingBox
from core.explorer.cells import cells, features_of, frame, opened, picture
from core.explorer.selection import Selection
from core.image.imaging import encode_png
from core.image.masks import cell_mask, region_mask
from core.image.synthetic import draw_cell
from core.store import edits
from core.store.database import Cohort
from core.store.edit_log import Field
from core.store.schema import cell_row
from core.store.shards import write_population
from tests.core.store.conftest import make_population
from tests.populations import AREA, analysed

FIRST = "monocyte_drawn:000000" + "0" * 10 + ":0"


@pytest.fixture
def drawn(drawn_root, tmp_path):
    with Cohort.open([drawn_root, tmp_path / "own"]) as cohort:
        yield cohort


@pytest.fixture
def somewhere(tmp_path):
    return replace(load_settings(), data=tmp_path / "data", roots=(tmp_path / "root",))


def _ids(cohort, n):
    return cohort.query("SELECT cell_id FROM cells ORDER BY cell_id LIMIT $n", {"n": n})["cell_id"].tolist()


def _measured(drawn, name="a/7.png"):
    """A cell that says it was measured on this picture, and the picture's bytes."""
    data = encode_png(draw_cell(0)[0].rgb)
    (cell,) = cells(drawn, [FIRST])
    return replace(cell, image_path=name, image_sha256=hashlib.sha256(data).hexdigest(), shape=(360, 360)), data


def test_cells_come_in_the_order_asked_for_and_without_those_that_are_gone(drawn):
    wanted = _ids(drawn, 4)[::-1]
    found = cells(drawn, [wanted[0], "nobody:0:0", *wanted[1:]])
    assert [cell.cell_id for cell in found] == wanted
    assert cells(drawn, []) == ()
    one = cells(drawn, [FIRST])[0]
    assert (one.cell_type, one.um_per_px, one.patient_id, one.note) == ("monocyte", 0.095, None, None)
    assert one.severe_flags == ("border",)
    assert not one.quality_ok


def test_what_readers_changed_is_seen(drawn):
    edits.annotate(drawn, [FIRST], "folded nucleus", who="Ann")
    edits.relabel(drawn, [FIRST], Field.CELL_TYPE, "blast", who="Ann")
    (cell,) = cells(drawn, [FIRST])
    assert (cell.note, cell.cell_type) == ("folded nucleus", "blast")


def test_the_mask_drawn_from_the_outlines_is_that_which_was_measured(shipped):
    for cell in cells(shipped, _ids(shipped, 12)):
        labels = cell.labels()
        assert labels.shape == cell.shape
        measured = features_of(shipped, cell.cell_id).values
        assert np.count_nonzero(region_mask(labels, "nucleus")) == pytest.approx(measured[AREA], rel=0.02)
        assert np.count_nonzero(cell_mask(labels)) == pytest.approx(measured["cell_shape2D_PixelSurface"], rel=0.02)
        rows, columns = np.nonzero(cell_mask(labels))
        assert cell.side == pytest.approx(max(np.ptp(rows), np.ptp(columns)) + 1, abs=2)


def test_a_cell_without_outlines_has_an_empty_mask(drawn):
    bare = replace(cells(drawn, [FIRST])[0], outlines={Compartment.CYTOPLASM: (), Compartment.NUCLEUS: ()})
    assert not bare.has_outline
    assert not bare.labels().any()
    assert bare.side == max(bare.shape)


def test_absent_values_keep_their_reasons_and_a_cell_that_is_gone_says_so(shipped):
    found = shipped.query("SELECT cell_id, absent FROM cells WHERE absent <> '{}' LIMIT 1").iloc[0]
    features = features_of(shipped, found["cell_id"])
    assert features.absent
    assert all(features.values[name] is None for name in features.absent)
    with pytest.raises(StoreError, match="no cell nobody"):
        features_of(shipped, "nobody")


def test_a_picture_is_shown_only_if_it_is_the_one_that_was_measured(drawn, somewhere, tmp_path):
    cell, data = _measured(drawn)
    assert picture(cell, somewhere) is None
    for folder in (tmp_path / "root", tmp_path / "batch"):
        path = folder / "a" / "7.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        shown = picture(cell, somewhere, [tmp_path / "batch"])
        assert shown is not None
        assert (shown.rgb == draw_cell(0)[0].rgb).all()
        assert (shown.name, shown.um_per_px) == ("a/7.png", 0.095)
        path.write_bytes(encode_png(draw_cell(1)[0].rgb))
        assert picture(cell, somewhere, [tmp_path / "batch"]) is None


def test_a_picture_of_a_known_data_set_lies_in_its_folder(drawn, somewhere, tmp_path):
    cell, data = _measured(drawn, "acevedo/monocyte/1.png")
    path = tmp_path / "data" / "acevedo" / "monocyte" / "1.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    assert picture(cell, somewhere) is not None


def test_no_name_leads_out_of_a_folder(drawn, somewhere, tmp_path):
    cell, data = _measured(drawn, "../secret.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.png").write_bytes(data)
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "secret.png")
    assert picture(cell, somewhere) is None
    assert picture(replace(cell, image_path="link.png"), somewhere) is None
    assert picture(replace(cell, image_path=str(tmp_path / "secret.png")), somewhere) is None


def test_of_a_field_the_cut_out_is_shown_that_was_analysed(drawn, somewhere, tmp_path):
    cell, data = _measured(drawn, "7.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "7.png").write_bytes(data)
    shown = picture(replace(cell, place=BoundingBox(20, 30, 100, 80), shape=(80, 100)), somewhere)
    assert (shown.rgb == draw_cell(0)[0].rgb[30:110, 20:120]).all()
    assert picture(replace(cell, place=BoundingBox(300, 30, 100, 80), shape=(80, 100)), somewhere) is None


@pytest.mark.data
def test_pictures_of_the_shipped_cells_are_found_and_are_those_that_were_measured(shipped, data_dir):
    sql = "SELECT min(cell_id) AS cell_id FROM cells GROUP BY population ORDER BY population"
    settings = replace(load_settings(), data=data_dir)
    found = {
        cell.population: picture(cell, settings) for cell in cells(shipped, shipped.query(sql)["cell_id"].tolist())
    }
    assert {name for name, image in found.items() if image is None} == set()


def test_the_frame_holds_nearly_all_cells_at_one_scale(shipped):
    selection = Selection()
    square = frame(shipped, selection)
    assert 15 < square.um < 60
    everything = cells(shipped, _ids(shipped, 400))
    fitting = [cell.side < square.side(cell) for cell in everything]
    assert np.mean(fitting) > 0.95
    scaled = next(cell for cell in everything if cell.um_per_px is not None)
    assert square.side(scaled) * scaled.um_per_px == pytest.approx(square.um, rel=0.01)
    assert square.side(replace(scaled, um_per_px=scaled.um_per_px * 2)) == pytest.approx(square.side(scaled) / 2, abs=1)
    unknown = frame(shipped, Selection(populations=("hcl_marrow",)))
    assert unknown.side(replace(scaled, um_per_px=None)) == round(unknown.px) > 50


def test_a_cell_of_the_cohort_opens_for_correction_with_its_picture_only(tmp_path):
    cell = analysed("lymphocyte", 5)
    population = make_population()
    row = cell_row(cell, population, outlines=rings_of(cell))
    write_population(tmp_path / "own", population, [[row]])
    with Cohort.open([tmp_path / "reference", tmp_path / "own"]) as cohort:
        edits.annotate(cohort, [row["cell_id"]], "folded", who="B")
        (stored,) = cells(cohort, [row["cell_id"]])
        found = opened(cohort, stored, cell.image)
        assert found.key.cell_id == row["cell_id"]
        assert found.row["note"] is None, "an edit lies over the row and is not baked into it"
        assert (found.analysis.segmentation.labels == cell.segmentation.labels).all()
        darker = replace(cell.image, rgb=(cell.image.rgb // 2).astype(np.uint8))
        with pytest.raises(StoreError, match="its grey levels differ"):
            opened(cohort, stored, darker)
        with pytest.raises(StoreError, match="nothing to correct"):
            opened(cohort, replace(stored, cell_id="mono:gone:0"), cell.image)
