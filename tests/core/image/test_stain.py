import numpy as np
import pytest

from core.evaluation.metrics import overlap
from core.image.masks import region_mask
from core.image.stain import (
    MIN_NUCLEAR_DENSITY,
    WINDOW_SIDE,
    absorbance,
    appearance,
    appearance_distance,
    count_other_nuclei,
    find_nuclei,
    nuclear_contrast,
    nuclear_density,
    nuclear_stain,
    typical_area,
)
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell

BACKGROUND, RED_CELL, NUCLEUS = (253, 229, 206), (218, 172, 166), (70, 30, 120)


def plain(colour, side=120):
    return np.full((side, side, 3), colour, np.uint8)


def with_disc(rgb, y, x, radius, colour):
    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    mask = np.hypot(rows - y, columns - x) <= radius
    rgb = rgb.copy()
    rgb[mask] = colour
    return rgb, mask


def test_optical_density_of_white_grey_and_black():
    density = absorbance(np.array([[[255, 127, 0]]], np.uint8))
    assert density.dtype == np.float32
    np.testing.assert_allclose(density, [[[0, np.log(2), np.log(256)]]], rtol=1e-6)


def test_nuclei_stand_out_from_red_cells_and_background():
    rgb, red_cell = with_disc(plain(BACKGROUND), 30, 30, 15, RED_CELL)
    rgb, nucleus = with_disc(rgb, 80, 80, 20, NUCLEUS)
    density = nuclear_density(rgb)
    assert np.median(density) == 0
    assert np.median(density[nucleus]) > 4 * np.median(density[red_cell])


@pytest.mark.parametrize("drawing", SYNTHETIC_CELLS.values(), ids=SYNTHETIC_CELLS)
def test_nuclear_stain_is_the_drawn_nucleus(drawing):
    image, labels = draw_cell(1, drawing)
    assert overlap(nuclear_stain(image.rgb), region_mask(labels, "nucleus")).dice > 0.9


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), BACKGROUND])
def test_a_blank_image_has_no_nuclear_stain(colour):
    assert not nuclear_stain(plain(colour)).any()


def test_red_cells_alone_have_no_nuclear_stain():
    rgb = plain(BACKGROUND)
    for y, x in [(25, 25), (80, 30), (60, 90)]:
        rgb, _ = with_disc(rgb, y, x, 18, RED_CELL)
    assert not nuclear_stain(rgb).any()


def test_a_pale_nucleus_is_found_beside_a_dark_one():
    """Their cytoplasms run together, so both are one dense object."""
    rgb, cells = with_disc(plain(BACKGROUND, 240), 120, 80, 42, (200, 160, 180))
    rgb, second = with_disc(rgb, 120, 160, 42, (200, 160, 180))
    rgb, dark = with_disc(rgb, 120, 80, 26, (30, 10, 70))
    rgb, pale = with_disc(rgb, 120, 160, 26, (140, 90, 170))
    assert nuclear_density(rgb)[cells | second].min() > 0.2
    stained = nuclear_stain(rgb)
    assert stained[dark].mean() > 0.9
    assert stained[pale].mean() > 0.9
    assert len(find_nuclei(rgb)) == 2


def test_dark_red_cells_are_no_nuclei_and_pale_nuclei_are():
    """The red cells of some laboratories are denser than the palest nuclei, but not of the dye's colour."""
    rgb, red_cell = with_disc(plain(BACKGROUND, 200), 60, 60, 30, (150, 95, 115))
    rgb, nucleus = with_disc(rgb, 140, 140, 30, (160, 110, 180))
    density = nuclear_density(rgb)
    assert min(density[red_cell].max(), density[nucleus].max()) > MIN_NUCLEAR_DENSITY
    (found,) = find_nuclei(rgb)
    assert np.allclose(found.centre, 140.5, atol=1)


def test_touching_nuclei_are_cut_at_their_waist_and_platelets_left_out():
    rgb = plain(BACKGROUND, 300)
    for x in (100, 148):
        rgb, _ = with_disc(rgb, 150, x, 26, NUCLEUS)
    for y, x in ((60, 60), (60, 240), (240, 240), (30, 150), (270, 60)):
        rgb, _ = with_disc(rgb, y, x, 8, NUCLEUS)
    found = find_nuclei(rgb)
    assert sorted(round(nucleus.centre[1]) for nucleus in found) == pytest.approx([99, 149], abs=3)
    assert [nucleus.area for nucleus in found] == pytest.approx([2120, 2120], rel=0.05)
    assert all(abs(nucleus.window().side - WINDOW_SIDE * nucleus.extent) < 1e-9 for nucleus in found)


@pytest.mark.parametrize("factor", [3, 7])
def test_nuclei_of_large_images_are_found_on_a_coarser_grid_where_they_are(factor):
    small, nucleus = with_disc(plain(BACKGROUND, 700), 200, 500, 30, NUCLEUS)
    large = small.repeat(factor, axis=0).repeat(factor, axis=1)[:-1]
    (found,) = find_nuclei(large)
    assert found.step == -(-700 * factor // 2048)
    assert np.allclose(found.centre, factor * np.array([200.5, 500.5]), atol=2 * factor)
    assert found.area == pytest.approx(factor**2 * nucleus.sum(), rel=0.05)


def test_the_typical_area_is_that_of_the_large_ones_however_many_small_ones_there_are():
    assert typical_area([]) == 0
    assert typical_area([100, 90, 80] + [8] * 60) == 80
    assert typical_area([100]) == 100


def test_other_nuclei_are_counted_and_red_cells_are_not():
    rgb, nucleus = with_disc(plain(BACKGROUND, 200), 100, 100, 20, NUCLEUS)
    cell = with_disc(rgb, 100, 100, 30, NUCLEUS)[1]
    assert count_other_nuclei(rgb, cell, nucleus) == 0
    rgb, _ = with_disc(rgb, 30, 30, 18, RED_CELL)
    rgb, _ = with_disc(rgb, 170, 170, 6, NUCLEUS)  # a platelet's size: less than a quarter of the nucleus
    assert count_other_nuclei(rgb, cell, nucleus) == 0
    for expected, (y, x) in enumerate([(30, 160), (165, 30)], start=1):
        rgb, _ = with_disc(rgb, y, x, 16, NUCLEUS)
        assert count_other_nuclei(rgb, cell, nucleus) == expected


def test_without_a_nucleus_there_is_no_measure_for_others():
    nothing = np.zeros((120, 120), bool)
    assert count_other_nuclei(plain(BACKGROUND), nothing, nothing) == 0


def test_contrast_is_that_of_the_dye_and_needs_both_sides():
    rgb, cell = with_disc(plain(BACKGROUND), 60, 60, 30, (150, 140, 200))
    rgb, nucleus = with_disc(rgb, 60, 60, 20, NUCLEUS)
    density = absorbance(np.array([[NUCLEUS, BACKGROUND]], np.uint8))[0] @ [1, 1, -1]
    assert nuclear_contrast(rgb, nucleus, cell) == pytest.approx(density[0] - density[1], rel=0.02)
    assert nuclear_contrast(rgb, np.zeros_like(nucleus), cell) is None
    assert nuclear_contrast(rgb, nucleus, np.ones_like(cell)) is None


def test_appearance_is_relative_to_the_background():
    """A darker lamp scales all channels: the dye has not changed."""
    image, labels = draw_cell(2)
    nucleus, cytoplasm = region_mask(labels, "nucleus"), region_mask(labels, "cytoplasm")
    bright = appearance(image.rgb, nucleus, cytoplasm)
    dim = appearance((0.8 * image.rgb).astype(np.uint8), nucleus, cytoplasm)
    assert bright.shape == (6,)
    np.testing.assert_allclose(dim, bright, atol=0.03)
    assert (bright[:3] > bright[3:]).all()  # the nucleus takes more dye than the cytoplasm


@pytest.mark.parametrize("missing", ["nucleus", "cytoplasm", "background"])
def test_without_one_of_its_parts_there_is_no_appearance(missing):
    image, labels = draw_cell(2)
    nucleus, cytoplasm = region_mask(labels, "nucleus"), region_mask(labels, "cytoplasm")
    nothing = np.zeros(labels.shape, bool)
    parts = {
        "nucleus": (nothing, cytoplasm),
        "cytoplasm": (nucleus, nothing),
        "background": (nucleus, ~nucleus),
    }
    assert appearance(image.rgb, *parts[missing]) is None


def test_distance_counts_standard_deviations():
    mean, covariance = np.array([1.0, 2.0]), np.array([[4.0, 0.0], [0.0, 0.25]])
    assert appearance_distance(mean, mean, covariance) == 0
    assert appearance_distance(np.array([5.0, 2.0]), mean, covariance) == pytest.approx(2)
    assert appearance_distance(np.array([5.0, 3.0]), mean, covariance) == pytest.approx(np.sqrt(2**2 + 2**2))


def test_a_strip_of_any_length_is_looked_through():
    """Its reduced copy still has a row."""
    strip = np.full((16, 100_000, 3), 240, np.uint8)
    strip[4:12, 50_000:50_012] = (64, 24, 116)
    assert isinstance(find_nuclei(strip), list)
