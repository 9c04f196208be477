import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.draw import polygon2mask
from skimage.measure import approximate_polygon, find_contours

from core.domain.compartments import Compartment
from core.domain.errors import MaskError
from core.domain.types import as_label_map
from core.features.extract import extract
from core.image.masks import (
    cell_mask,
    check_size,
    encode_grey,
    environment_width,
    islands,
    outlines,
    region_mask,
    simplified,
    traced,
    with_environment,
)
from core.image.synthetic import draw_cell

BACKGROUND, ENVIRONMENT, CYTOPLASM, NUCLEUS = Compartment

label_maps = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3))


def distance_from_centre(side):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - (side - 1) / 2, x - (side - 1) / 2)


def disc(side, radius, value=CYTOPLASM):
    return as_label_map(np.where(distance_from_centre(side) <= radius, value, 0).astype(np.uint8))


def filled(rings, shape):
    """Rasterise outlines by the even-odd rule: a pixel is inside where its centre is."""
    mask = np.zeros(shape, bool)
    for ring in rings:
        mask ^= polygon2mask(shape, ring[:, ::-1] - 0.5)
    return mask


def enclosed_area(ring):
    """Shoelace formula."""
    x, y = ring[:-1].T.astype(float)
    return 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


# --- codings ---


def test_encoded_levels():
    assert encode_grey(as_label_map(np.array([[0, 1, 2, 3]], np.uint8))).tolist() == [[0, 85, 170, 255]]


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        ((360, 240), "with rows and columns swapped it would fit"),
        ((120, 180), "enlarge it by 2 without smoothing"),
        ((100, 100), "give the mask of this image"),
        ((237, 350), "give the mask of this image"),
    ],
)
def test_a_mask_of_another_size_is_refused_with_what_would_make_it_fit(drawn, words):
    check_size((240, 360), (240, 360), "mask.png")
    with pytest.raises(MaskError, match=rf"mask\.png: image and mask must agree in size.*{words}"):
        check_size(drawn, (240, 360), "mask.png")


# --- regions ---


def test_regions_by_name():
    labels = as_label_map(np.array([[0, 1, 2, 3]], np.uint8))
    found = {
        region: region_mask(labels, region)[0].tolist() for region in ("environment", "cytoplasm", "nucleus", "cell")
    }
    assert found == {
        "environment": [False, True, False, False],
        "cytoplasm": [False, False, True, False],
        "nucleus": [False, False, False, True],
        "cell": [False, False, True, True],
    }


@pytest.mark.parametrize("radius", [40, 60])
def test_the_ring_is_a_tenth_of_the_diameter_wide(radius):
    labels = with_environment(disc(200, radius))
    ring = region_mask(labels, "environment")
    distance = distance_from_centre(200)[ring]
    assert environment_width(cell_mask(labels)) == pytest.approx(0.2 * radius, rel=0.01)
    assert radius < distance.min() < radius + 1
    assert 1.2 * radius - 1 < distance.max() < 1.2 * radius + 1
    assert ring.sum() == pytest.approx(np.pi * (1.2**2 - 1) * radius**2, rel=0.08)


def test_a_small_cell_still_has_a_ring_of_two_pixels():
    labels = with_environment(disc(40, 4))
    assert environment_width(cell_mask(labels)) == 2
    assert distance_from_centre(40)[region_mask(labels, "environment")].max() == pytest.approx(6, abs=0.6)


def test_the_ring_does_not_enter_other_cells_nor_change_the_cell():
    labels = disc(100, 30)
    other = np.zeros(labels.shape, bool)
    other[:, 81:] = True
    ringed = with_environment(labels, keep_out=other)
    assert not region_mask(ringed, "environment")[other].any()
    assert region_mask(with_environment(labels), "environment")[other].any()
    np.testing.assert_array_equal(cell_mask(ringed), cell_mask(labels))


def test_a_drawn_environment_is_replaced():
    drawn = disc(100, 45, ENVIRONMENT).copy()
    drawn[cell_mask(disc(100, 20))] = CYTOPLASM
    np.testing.assert_array_equal(with_environment(as_label_map(drawn)), with_environment(disc(100, 20)))


def test_without_a_cell_there_is_no_ring():
    assert not with_environment(disc(20, 5, ENVIRONMENT)).any()


# --- outlines ---


def test_the_outline_of_a_rectangle_encloses_its_pixels_from_corner_to_corner():
    labels = np.zeros((20, 30), np.uint8)
    labels[3:9, 5:15] = NUCLEUS
    (ring,) = outlines(as_label_map(labels), "nucleus")
    assert ring.dtype == np.float32
    np.testing.assert_array_equal(ring[0], ring[-1])
    # Columns 5 to 14 reach from 5 to 15 when the origin is a pixel's corner; each corner is cut by an eighth of a
    # pixel.
    np.testing.assert_array_equal([ring.min(axis=0), ring.max(axis=0)], [[5, 3], [15, 9]])
    assert enclosed_area(ring) == pytest.approx(6 * 10 - 4 / 8)


def test_a_region_at_the_border_is_closed_at_the_image_edge():
    (ring,) = outlines(as_label_map(np.full((6, 8), NUCLEUS, np.uint8)), "nucleus")
    np.testing.assert_array_equal([ring.min(axis=0), ring.max(axis=0)], [[0, 0], [8, 6]])
    np.testing.assert_array_equal(ring[0], ring[-1])


def test_a_hole_is_an_outline_of_its_own():
    labels = disc(60, 25).copy()
    labels[distance_from_centre(60) <= 12] = NUCLEUS
    rings = outlines(as_label_map(labels), "cytoplasm")
    assert len(rings) == 2
    outer, inner = sorted((enclosed_area(ring) for ring in rings), reverse=True)
    assert outer == pytest.approx(np.pi * 25**2, rel=0.02)
    assert inner == pytest.approx(np.pi * 12**2, rel=0.03)


@given(label_maps, st.sampled_from(["nucleus", "cytoplasm", "cell", "environment"]))
def test_even_odd_filling_gives_back_the_very_pixels(labels, region):
    mask = region_mask(as_label_map(labels), region)
    np.testing.assert_array_equal(filled(outlines(as_label_map(labels), region), mask.shape), mask)


def test_simplified_outlines_stay_true(synthetic_cell):
    labels = synthetic_cell[1]
    rings = outlines(labels, "cell")
    mask = region_mask(labels, "cell")
    np.testing.assert_array_equal(filled(rings, mask.shape), mask)
    crossings = np.count_nonzero(np.diff(mask, axis=0)) + np.count_nonzero(np.diff(mask, axis=1))
    assert sum(len(ring) for ring in rings) < 0.8 * crossings


@given(label_maps)
def test_a_region_is_traced_as_by_scikit_image(labels):
    mask = np.pad(np.asarray(labels) > 1, 1)
    expected = find_contours(mask.astype(float), 0.5)
    for ring, same in zip(traced(mask), expected, strict=True):
        np.testing.assert_array_equal(ring, same)


@pytest.mark.parametrize("points", [2, 3, 50, 400])
@pytest.mark.parametrize("closed", [False, True])
def test_a_line_is_simplified_as_by_scikit_image(points, closed):
    line = np.cumsum(np.random.default_rng(points).normal(size=(points, 2)), axis=0)
    if closed:
        line[-1] = line[0]
    for tolerance in (0.25, 2, 10):
        np.testing.assert_array_equal(simplified(line, tolerance), approximate_polygon(line, tolerance))


def test_an_absent_region_has_no_outline():
    assert outlines(disc(20, 5), "nucleus") == []


def test_parts_off_the_cell_are_counted_and_corners_do_not_hold_together():
    labels = np.zeros((20, 20), np.uint8)
    assert islands(as_label_map(labels)) == 0
    labels[5:15, 5:15] = 2
    labels[8:12, 8:12] = 3
    labels[10, 10] = 0  # a hole
    assert islands(as_label_map(labels)) == 0
    labels[4, 4] = labels[0, 19] = 2  # one touches in a corner only
    assert islands(as_label_map(labels)) == 2


def test_r11_a_single_stray_pixel_spoils_features_and_is_counted():
    image, drawn = draw_cell()
    labels = np.where(drawn >= 2, drawn, np.uint8(0))
    stray = labels.copy()
    stray[0, 0] = 2
    before, after = (extract(image.rgb, with_environment(as_label_map(one))).values for one in (labels, stray))
    moved = [name for name, value in before.items() if value and abs((after[name] or 0) / value - 1) > 0.05]
    assert [round(one["cell_shape2D_MaximumDiameter"]) for one in (before, after)] == [179, 338]
    assert len([name for name in moved if after[name] is not None]) == 32
    assert (islands(as_label_map(labels)), islands(as_label_map(stray))) == (0, 1)
