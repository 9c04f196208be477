"""Whether a drawn mask fits its image: swapped codes, another place, several cells; and no word where it fits."""

import re

import numpy as np
import pytest
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.types import CellImage, as_label_map
from core.evaluation.datasets import data_set
from core.image.drawn_masks import read_mask
from core.image.imaging import load
from core.image.masks import cell_mask, region_mask, with_environment
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.quality.drawn import assess_drawn, misfits

BACKGROUND, ENVIRONMENT, CYTOPLASM, NUCLEUS = Compartment


@pytest.fixture(scope="module", params=sorted(SYNTHETIC_CELLS))
def pair(request):
    """A drawn cell that lies off the middle of its picture, so that turning moves it."""
    image, labels = draw_cell(5, SYNTHETIC_CELLS[request.param])
    return CellImage(image.rgb[:300, 60:].copy(), image.name, image.sha256), as_label_map(labels[:300, 60:].copy())


def shifted(labels, down, right):
    return as_label_map(ndimage.shift(labels, (down, right), order=0))


def codes(image, labels):
    return [flag.code for flag in assess_drawn(image, as_label_map(np.asarray(labels, np.uint8)))]


def message(image, labels, code):
    (flag,) = (flag for flag in assess_drawn(image, as_label_map(labels)) if flag.code == code)
    assert flag.severe
    return flag.message


def test_a_mask_that_fits_gets_no_flag(pair):
    image, labels = pair
    assert codes(image, labels) == []
    # Somebody's hand is not exact.
    assert codes(image, shifted(labels, 3, -2)) == []
    wide = np.where(
        ndimage.binary_dilation(labels >= CYTOPLASM, iterations=3) & (labels < CYTOPLASM), CYTOPLASM, labels
    )
    assert codes(image, wide) == []


@pytest.mark.data
@pytest.mark.parametrize("name", ["set1", "set2"])
def test_real_masks_fit_their_images(data_dir, name):
    flagged = {}
    for sample in data_set(name).samples(data_dir)[::4]:
        flags = misfits(load(sample.image).rgb, read_mask(sample.mask).labels)
        if flags:
            flagged[sample.sample_id] = flags
    assert flagged == {}


@pytest.mark.data
def test_real_masks_in_another_place_or_of_swapped_codes_are_found(data_dir):
    for sample in data_set("set2").samples(data_dir)[::8]:
        rgb, labels = load(sample.image).rgb, read_mask(sample.mask).labels
        width = int(np.sqrt(np.count_nonzero(labels == NUCLEUS)))
        for other in (shifted(labels, 0, width // 3), shifted(labels, -width // 3, 0)):
            assert [flag.code for flag in misfits(rgb, other) if flag.code == "misplaced_mask"], sample.sample_id
        swapped = np.array([BACKGROUND, ENVIRONMENT, NUCLEUS, CYTOPLASM], np.uint8)[labels]
        assert [flag.code for flag in misfits(rgb, as_label_map(swapped))] == ["swapped_mask"], sample.sample_id


def test_swapped_codes_are_told(pair):
    image, labels = pair
    swapped = np.array([BACKGROUND, ENVIRONMENT, NUCLEUS, CYTOPLASM], np.uint8)[labels]
    assert codes(image, swapped) == ["swapped_mask"]
    assert "the drawn nucleus lies around the cytoplasm" in message(image, swapped, "swapped_mask")


def test_swapped_codes_are_told_by_the_stain_where_the_nucleus_reaches_the_edge(pair):
    image, labels = pair
    cell = cell_mask(labels)
    half = as_label_map(
        np.where(
            cell & ~ndimage.binary_dilation(labels == NUCLEUS, iterations=1), NUCLEUS, np.where(cell, CYTOPLASM, 0)
        ).astype(np.uint8)
    )
    rows, columns = np.nonzero(half == NUCLEUS)
    open_ = half.copy()
    open_[rows.min() : int(rows.mean()) - 20][half[rows.min() : int(rows.mean()) - 20] == NUCLEUS] = 0
    assert "the nuclear stain lies in what is drawn as cytoplasm" in message(image, open_, "swapped_mask")
    assert len(columns)


@pytest.mark.parametrize("faint", [0.3, 0.15])
def test_swapped_codes_are_told_however_faint_the_stain(faint):
    """A crescent of cytoplasm beside the nucleus, as in many cells: it neither lies around it nor fits much better."""
    image, labels = draw_cell(5, SYNTHETIC_CELLS["lymphocyte"])
    labels = np.where(np.arange(labels.shape[1]) < np.nonzero(labels == NUCLEUS)[1].mean(), 0, labels)
    rgb = (255 - faint * (255 - image.rgb.astype(float))).astype(np.uint8)
    assert misfits(rgb, as_label_map(labels.astype(np.uint8))) == []
    swapped = np.array([BACKGROUND, ENVIRONMENT, NUCLEUS, CYTOPLASM], np.uint8)[labels]
    assert [flag.code for flag in misfits(rgb, as_label_map(swapped))] == ["swapped_mask"]


def test_levels_upside_down_are_told(pair):
    """White background and black nucleus, read in ascending order."""
    image, labels = pair
    inverted = np.array([NUCLEUS, NUCLEUS, CYTOPLASM, BACKGROUND], np.uint8)[labels]
    assert codes(image, inverted) == ["swapped_mask"]
    assert "lies all around the picture" in message(image, inverted, "swapped_mask")


def test_a_shifted_mask_is_told_with_how_far(pair):
    image, labels = pair
    for down, right, words in ((0, 40, "by about (.*) px to the left"), (-35, -30, "right and (.*) px down, so")):
        told = message(image, shifted(labels, down, right), "misplaced_mask")
        found = re.search(words, told)
        assert found is not None
        assert int(found[1]) == pytest.approx(max(abs(down), right), abs=2)
        assert "no_nuclear_stain" not in codes(image, shifted(labels, down, right))


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (lambda a: np.rot90(a), "turned by a quarter to the right"),
        (lambda a: np.rot90(a, -1), "turned by a quarter to the left"),
        (lambda a: np.rot90(a, 2), "turned upside down"),
        (lambda a: a[:, ::-1], "mirrored left to right"),
        (lambda a: a[::-1], "mirrored top to bottom"),
        (lambda a: a.T, "with rows and columns swapped"),
    ],
)
def test_a_turned_mirrored_or_transposed_mask_is_told(turn, words):
    image, labels = draw_cell(5, SYNTHETIC_CELLS["monocyte"])
    corner = CellImage(
        np.pad(image.rgb, ((0, 90), (40, 0), (0, 0)), "edge")[:400, :400].copy(), image.name, image.sha256
    )
    placed = np.pad(np.asarray(labels), ((0, 90), (40, 0)))[:400, :400]
    assert codes(corner, placed) == []
    assert words in message(corner, np.ascontiguousarray(turn(placed)), "misplaced_mask")


def test_a_darker_cell_beside_it_does_not_make_a_mask_wrong():
    pale, labels = draw_cell(1, SYNTHETIC_CELLS["monocyte"])
    other = draw_cell(2, SYNTHETIC_CELLS["lymphocyte"])[0]
    faint = (255 - 0.55 * (255 - pale.rgb.astype(float))).astype(np.uint8)
    rgb = np.concatenate([faint, other.rgb], axis=1)
    drawn = np.concatenate([labels, np.zeros_like(labels)], axis=1)
    found = [flag.code for flag in misfits(rgb, as_label_map(drawn))]
    assert found == []


def test_a_small_cell_of_a_large_picture_is_judged_at_its_own_scale(pair):
    image, labels = pair
    rgb = np.pad(image.rgb, ((900, 1500), (700, 1800), (0, 0)), "constant", constant_values=240)
    large = np.pad(np.asarray(labels), ((900, 1500), (700, 1800)))
    assert misfits(rgb, as_label_map(large)) == []
    (flag,) = misfits(rgb, shifted(large, 0, 200))
    assert flag.code == "misplaced_mask"
    assert "px to the left" in flag.message


def test_a_nucleus_drawn_as_large_as_its_cell_is_told():
    image, labels = draw_cell(5, SYNTHETIC_CELLS["monocyte"])
    whole = as_label_map(np.where(cell_mask(labels), NUCLEUS, BACKGROUND).astype(np.uint8))
    assert "--nucleus-mask" in message(image, with_environment(whole), "wide_nucleus")
    nucleus = as_label_map(np.where(region_mask(labels, "nucleus"), NUCLEUS, BACKGROUND).astype(np.uint8))
    assert codes(image, with_environment(nucleus)) == ["no_cytoplasm"]


def test_several_cells_and_pieces_are_told_and_lobes_are_not():
    one, two = draw_cell(1), draw_cell(2)
    image = CellImage(np.concatenate([one[0].rgb, two[0].rgb], axis=1), "two.png", "0")
    both = np.concatenate([one[1], two[1]], axis=1)
    assert "2 cells: they were measured as one" in message(image, both, "several_drawn")
    left, right = (each[1][:, np.flatnonzero((each[1] >= CYTOPLASM).any(axis=0))] for each in (one, two))
    touching = np.concatenate([left[:, :-3], right], axis=1)
    image = CellImage(np.full((*touching.shape, 3), 200, np.uint8), "touching.png", "0")
    assert "2 cells that touch: they were measured as one" in message(image, touching, "several_drawn")
    pieces = np.asarray(one[1]).copy()
    pieces[10:50, 10:50] = CYTOPLASM
    assert "a cell and 1 piece apart from it" in message(one[0], pieces, "several_drawn")
    lobes = np.where(np.asarray(one[1]) == NUCLEUS, NUCLEUS, BACKGROUND).astype(np.uint8)
    rows = np.flatnonzero(lobes.any(axis=1))
    lobes[int(rows.mean()) - 2 : int(rows.mean()) + 2] = BACKGROUND
    assert "several_drawn" not in codes(one[0], lobes)


def test_a_mask_gets_the_checks_of_the_model_and_of_the_opening_too(pair):
    image, labels = pair
    empty = CellImage(np.full_like(image.rgb, 240), image.name, image.sha256)
    assert codes(empty, labels)[0] == "no_nuclear_stain"
    assert "no_nucleus" in codes(image, np.minimum(labels, CYTOPLASM))
    cut = CellImage(image.rgb[:, :120].copy(), image.name, image.sha256)
    assert "border" in codes(cut, labels[:, :120])
    assert codes(image, np.zeros(labels.shape, np.uint8)) == ["no_cell"]
    flags = assess_drawn(image, labels, specks="2 away from the cell (10 px)")
    assert [(flag.code, flag.severe) for flag in flags] == [("specks", False)]
    assert "2 away from the cell (10 px), too small for a cell or a lobe, were left out." in flags[0].message


def test_an_outline_that_is_not_filled_is_told(pair):
    image, labels = pair
    cell = cell_mask(labels)
    line = np.where(cell & ~ndimage.binary_erosion(cell, iterations=3), NUCLEUS, BACKGROUND).astype(np.uint8)
    assert "Fill the regions" in message(image, line, "hollow_mask")
    without_nucleus = np.where(labels == NUCLEUS, BACKGROUND, labels).astype(np.uint8)
    assert {"hollow_mask", "no_nucleus"} <= set(codes(image, without_nucleus))
