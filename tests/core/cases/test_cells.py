from dataclasses import replace

import numpy as np
import pytest

from core.cases.cells import NO_PICTURE, open_cells, pack, pack_rows, rows_in
from core.corrections.opening import rings_of
from core.domain.errors import StoreError
from core.domain.options import CellChoice
from core.domain.types import CellImage, GivenScale, StainFactors
from core.image.imaging import decode, encode_png
from core.image.stain import to_restain
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import OutlinedCell, analyse, analyse_cells, measure
from core.store.schema import cell_row


@pytest.fixture(scope="module")
def png() -> bytes:
    return encode_png(draw_cell(3, SYNTHETIC_CELLS["lymphocyte"])[0].rgb)


@pytest.fixture(scope="module")
def measured(png, segmenter):
    return analyse_cells(decode(png, "a.png", GivenScale(0.095, 0.02, "red cells")), segmenter)[0]


@pytest.fixture(scope="module")
def field(segmenter):
    one, other = (draw_cell(seed, SYNTHETIC_CELLS["lymphocyte"])[0].rgb for seed in (3, 5))
    side = min(one.shape[0], other.shape[0])
    data = encode_png(np.hstack([one[:side], other[:side]]))
    return data, analyse_cells(decode(data, "f.png"), segmenter, CellChoice.ALL)


def same(one, other) -> None:
    assert (one.segmentation.labels == other.segmentation.labels).all()
    assert (one.image.rgb == other.image.rgb).all()
    for name in ("features", "flags", "cell_index", "place", "versions", "outline_quality"):
        assert getattr(one, name) == getattr(other, name), name
    kept = {name: value for name, value in vars(one.segmentation).items() if name != "labels"}
    assert kept == {name: value for name, value in vars(other.segmentation).items() if name != "labels"}
    picture = {name: value for name, value in vars(one.image).items() if name != "rgb"}
    assert picture == {name: value for name, value in vars(other.image).items() if name != "rgb"}


def test_a_cell_opens_as_it_was_measured_to_the_last_word(measured, png):
    scale = GivenScale(0.095, 0.02, "red cells", "from red cells of 3 images")
    opened = open_cells(pack([measured], scale), png, "a.png")
    same(opened.cells[0], measured)
    assert opened.pictured
    assert opened.image.scale == measured.image.scale


def test_the_cells_of_a_field_open_as_they_were_measured(field):
    data, cells = field
    assert len(cells) == 2
    opened = open_cells(pack(cells), data, "f.png")
    assert opened.image.shape == decode(data, "f.png").shape
    for one, other in zip(opened.cells, cells, strict=True):
        same(one, other)


def test_stain_factors_are_opened_with_the_cell(png, segmenter):
    stained = to_restain(decode(png, "a.png"), StainFactors("ours", 0.8, 0.9, 1.1))
    first = analyse(stained, segmenter)
    measured = measure(OutlinedCell(stained, first.segmentation), segmenter)
    same(open_cells(pack([measured]), png, "a.png").cells[0], measured)


def test_rows_of_a_run_open_with_what_they_hold(measured, png):
    packed = pack_rows([cell_row(measured, None, outlines=rings_of(measured))])
    (cell,) = open_cells(packed, png, "a.png").cells
    assert cell.features == measured.features
    assert [flag.code for flag in cell.flags] == [flag.code for flag in measured.flags]
    assert cell.image.scale == measured.image.scale
    assert rows_in(packed)[0]["image_sha256"] == measured.image.sha256


def test_without_its_picture_a_cell_is_outlines_and_numbers_and_says_so(measured, field):
    opened = open_cells(pack([measured]), None, "a.png")
    (cell,) = opened.cells
    assert not opened.pictured
    assert (cell.image.rgb == cell.image.rgb[0, 0]).all()
    assert (cell.segmentation.labels == measured.segmentation.labels).all()
    assert cell.features == measured.features
    assert cell.image.notes[-1] == NO_PICTURE
    _, cells = field
    assert [one.image.shape for one in open_cells(pack(cells), None, "f.png").cells] == [c.image.shape for c in cells]


def test_another_picture_is_refused(measured, png):
    darker = encode_png((decode(png, "a.png").rgb // 2).astype(np.uint8))
    with pytest.raises(StoreError, match="grey levels differ"):
        open_cells(pack([measured]), darker, "a.png")


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"no parquet at all"])
def test_a_damaged_file_is_told(damage, png):
    with pytest.raises(StoreError, match="damaged"):
        open_cells(damage, png, "a.png")


def test_an_impossible_size_opens_no_paper(measured):
    image = CellImage(measured.image.rgb, "a.png", measured.image.sha256, field_shape=(10**6, 10**6))
    packed = pack([replace(measured, image=image)])
    with pytest.raises(StoreError, match="not known or too large"):
        open_cells(packed, None, "a.png")
