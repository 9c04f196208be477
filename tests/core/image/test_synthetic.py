import numpy as np
import pytest
from skimage.measure import label, regionprops

from core.domain.compartments import Compartment
from core.image.imaging import grey
from core.image.masks import cell_mask, region_mask, with_environment
from core.image.synthetic import SYNTHETIC_CELLS, UM_PER_PX, CellDrawing, draw_cell

DRAWINGS = pytest.mark.parametrize("drawing", SYNTHETIC_CELLS.values(), ids=SYNTHETIC_CELLS)
PLAIN = CellDrawing("plain", 140, 0.8, 0.0, 0.5, 0.7, 0.0, 0.0, 0.5, (150, 150, 200))


@DRAWINGS
def test_says_that_it_is_synthetic_and_has_a_scale(drawing: CellDrawing) -> None:
    image, labels = draw_cell(3, drawing)
    assert image.name == f"synthetic_{drawing.name}.png"
    assert image.um_per_px == UM_PER_PX
    assert image.shape == labels.shape == (360, 360)
    assert image.notes == ()


def test_the_seed_decides_the_pixels() -> None:
    assert draw_cell(1)[0].sha256 == draw_cell(1)[0].sha256
    assert draw_cell(1)[0].sha256 != draw_cell(2)[0].sha256


@pytest.mark.parametrize("seed", range(3))
def test_areas_and_axes_are_those_asked_for(seed: int) -> None:
    _, labels = draw_cell(seed, PLAIN)
    cell, nucleus = cell_mask(labels), region_mask(labels, "nucleus")
    assert cell.sum() == pytest.approx(np.pi * 70**2, rel=0.01)
    assert nucleus.sum() / cell.sum() == pytest.approx(0.5, abs=0.01)
    axes = regionprops(cell.astype(np.uint8))[0]
    assert axes.axis_minor_length / axes.axis_major_length == pytest.approx(0.8, abs=0.01)


@DRAWINGS
@pytest.mark.parametrize("seed", range(3))
def test_nucleus_cytoplasm_and_ring_are_whole_and_inside_the_image(drawing: CellDrawing, seed: int) -> None:
    _, labels = draw_cell(seed, drawing)
    assert set(np.unique(labels)) == set(Compartment)
    for region in ("nucleus", "cell"):
        assert label(region_mask(labels, region)).max() == 1
    assert not cell_mask(labels)[[0, -1], :].any()
    assert not cell_mask(labels)[:, [0, -1]].any()
    np.testing.assert_array_equal(labels, with_environment(labels))


def test_a_notch_dents_the_nucleus_and_hairs_roughen_the_cell() -> None:
    def solidity(name: str, region: str) -> float:
        labels = draw_cell(0, SYNTHETIC_CELLS[name])[1]
        return float(regionprops(region_mask(labels, region).astype(np.uint8))[0].solidity)

    assert solidity("monocyte", "nucleus") < 0.96 < solidity("lymphocyte", "nucleus")
    assert solidity("hairy_cell", "cell") < 0.85 < solidity("monocyte", "cell")


@DRAWINGS
def test_the_stain_orders_the_compartments(drawing: CellDrawing) -> None:
    image, labels = draw_cell(0, drawing)
    luma = grey(image.rgb)
    nucleus, cytoplasm, ring = (
        luma[region_mask(labels, name)].mean() for name in ("nucleus", "cytoplasm", "environment")
    )
    assert nucleus + 50 < cytoplasm < ring - 20
