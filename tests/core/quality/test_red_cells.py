import numpy as np
import pytest
from PIL import Image

from core.evaluation.datasets import data_set
from core.image.imaging import load
from core.image.masks import cell_mask, region_mask
from core.image.synthetic import RED_CELL_RADIUS_PX, SYNTHETIC_CELLS, draw_cell
from core.quality.red_cells import RED_CELL_UM, red_cell_diameter


@pytest.mark.parametrize("drawing", SYNTHETIC_CELLS.values(), ids=SYNTHETIC_CELLS)
def test_drawn_red_cells_are_measured_as_large_as_they_are(drawing):
    found = [
        red_cell_diameter(image.rgb, cell_mask(labels))
        for image, labels in (draw_cell(seed, drawing) for seed in range(6))
    ]
    measured = [diameter for diameter in found if diameter is not None]
    assert len(measured) >= 4
    # They are drawn with 0.86 to 0.98 of the radius.
    assert np.median(measured) == pytest.approx(0.92 * 2 * RED_CELL_RADIUS_PX, rel=0.04)


@pytest.mark.parametrize("factor", [0.5, 2])
def test_the_ruler_grows_with_the_image(factor):
    image, labels = draw_cell(1)
    size = round(factor * image.shape[0])
    rgb = np.asarray(Image.fromarray(image.rgb).resize((size, size)))
    cell = np.asarray(Image.fromarray(cell_mask(labels)).resize((size, size)))
    assert red_cell_diameter(rgb, cell) == pytest.approx(
        factor * red_cell_diameter(image.rgb, cell_mask(labels)), rel=0.05
    )


def test_without_whole_red_cells_there_is_no_ruler():
    image, labels = draw_cell(0)
    cell = cell_mask(labels)
    rows, columns = (np.flatnonzero(cell.any(axis=axis)) for axis in (1, 0))
    tight = np.s_[rows[0] - 3 : rows[-1] + 4, columns[0] - 3 : columns[-1] + 4]
    assert red_cell_diameter(image.rgb[tight], cell[tight]) is None
    assert red_cell_diameter(np.full_like(image.rgb, 240), cell) is None
    assert red_cell_diameter(image.rgb, np.ones_like(cell)) is None


def test_a_nucleus_is_no_red_cell():
    """The leukocyte itself, called background, is not taken for one of its neighbours."""
    image, labels = draw_cell(1, SYNTHETIC_CELLS["lymphocyte"])
    elsewhere = np.zeros(labels.shape, dtype=bool)
    elsewhere[:110, :110] = True
    with_it, without = (red_cell_diameter(image.rgb, mask) for mask in (elsewhere, cell_mask(labels)))
    nucleus = 2 * np.sqrt(region_mask(labels, "nucleus").sum() / np.pi)
    assert with_it == pytest.approx(without, rel=0.1)
    assert abs(with_it - nucleus) > 5


@pytest.mark.data
@pytest.mark.parametrize("name", ["acevedo", "deepapl"])
def test_real_red_cells_agree_with_the_scale_that_was_estimated_from_them_by_hand(data_dir, segmenter, name):
    data = data_set(name)
    samples = [sample for sample in data.samples(data_dir) if sample.cell_type == "lymphocyte"][::40]
    found = []
    for sample in samples[:16]:
        image = load(sample.image)
        found.append(red_cell_diameter(image.rgb, cell_mask(segmenter.segment(image).labels)))
    measured = [diameter * data.um_per_px for diameter in found if diameter is not None]
    assert len(measured) >= 3
    assert np.median(measured) == pytest.approx(RED_CELL_UM, rel=0.12)
