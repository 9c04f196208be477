import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.settings import ROOT
from core.domain.types import BoundingBox, LabelMap
from core.evaluation.datasets import data_set
from core.evaluation.metrics import overlap
from core.image.imaging import load
from core.image.masks import cell_mask, region_mask
from core.image.stain import Nucleus, find_nuclei
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.segmentation.field_of_view import composed, find_cells, nearest_the_middle, shows_one_cell

BACKGROUND, CYTOPLASM, NUCLEUS, RED_CELL = (253, 229, 206), (205, 195, 215), (64, 24, 116), (218, 172, 166)


def disc(shape, y, x, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - y, columns - x) <= radius


class Drawing:
    """A field drawn from discs, and a network that knows it.

    It draws the cell under the middle of its window, as it was told to.
    """

    def __init__(self, shape):
        self.rgb = np.full((*shape, 3), BACKGROUND, np.uint8)
        self.cells, self.nuclei = [], np.zeros(shape, bool)

    def add(self, cell, *nuclei):
        self.cells.append(cell)
        self.rgb[cell] = CYTOPLASM
        for nucleus in nuclei:
            self.rgb[nucleus] = NUCLEUS
            self.nuclei |= nucleus
        return self

    def outline(self, grown=0, joined=False):
        shape = self.nuclei.shape

        def draw(crop, window):
            # The crop is a view of the field: its place in it tells which pixels are asked for.
            offset = crop.__array_interface__["data"][0] - self.rgb.__array_interface__["data"][0]
            top, left = offset // 3 // shape[1], offset // 3 % shape[1]
            middle = round(top + window.top + window.side / 2), round(left + window.left + window.side / 2)
            masks = (
                [sum(self.cells) > 0]
                if joined
                else [ndimage.binary_dilation(cell, iterations=grown) if grown else cell for cell in self.cells]
            )
            own = min(masks, key=lambda mask: ndimage.distance_transform_edt(~mask)[middle])
            labels = np.where(
                own, np.where(self.nuclei, Compartment.NUCLEUS, Compartment.CYTOPLASM), Compartment.BACKGROUND
            )
            return LabelMap(labels.astype(np.uint8)[top : top + crop.shape[0], left : left + crop.shape[1]]), 0.9

        return draw


def whole(cell, shape):
    """A found cell on the field, bool."""
    mask = np.zeros(shape, bool)
    mask[cell.place.top : cell.place.top + cell.place.height, cell.place.left : cell.place.left + cell.place.width] = (
        cell_mask(cell.labels)
    )
    return mask


@pytest.fixture(scope="module")
def field_of_four():
    """Four drawn cells side by side, two rows of two, and their masks in the field."""
    drawn = [draw_cell(seed, SYNTHETIC_CELLS["hairy_cell"]) for seed in range(4)]
    rows = [np.concatenate([drawn[i][0].rgb, drawn[i + 1][0].rgb], axis=1) for i in (0, 2)]
    cells = []
    for i, (image, labels) in enumerate(drawn):
        height, width = image.shape
        mask = np.zeros((2 * height, 2 * width), bool)
        mask[(i // 2) * height :, (i % 2) * width :][:height, :width] = region_mask(labels, "cell")
        cells.append(mask)
    return np.concatenate(rows), cells


# --- with the real network ---


def test_every_cell_is_found_once_in_reading_order_and_outlined(field_of_four, segmenter):
    rgb, true = field_of_four
    found = find_cells(rgb, segmenter.outline)
    assert len(found) == 4
    for cell, mask in zip(found, true, strict=True):
        assert overlap(whole(cell, rgb.shape[:2]), mask).dice > 0.93
        assert cell.confidence > 0.9
        assert not cell_mask(cell.labels)[[0, -1]].any(), "the cut-out has room around the cell"
        assert not cell_mask(cell.labels)[:, [0, -1]].any()


def test_platelets_and_red_cells_are_no_cells(field_of_four, segmenter):
    rgb = field_of_four[0].copy()
    rgb[disc(rgb.shape, 360, 360, 18)] = (100, 60, 140)
    rgb[disc(rgb.shape, 30, 360, 38)] = RED_CELL
    assert len(find_cells(rgb, segmenter.outline)) == 4


@pytest.mark.parametrize("colour", [(255, 255, 255), BACKGROUND, (0, 0, 0)])
def test_a_blank_field_has_no_cells(colour, segmenter):
    assert find_cells(np.full((300, 400, 3), colour, np.uint8), segmenter.outline) == []


def test_progress_counts_the_nuclei(field_of_four, segmenter):
    told = []
    find_cells(field_of_four[0], segmenter.outline, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, told[0][1] + 1))


@pytest.mark.data
def test_the_smear_has_five_hairy_cells_at_any_enlargement(data_dir, segmenter):
    (sample,) = data_set("hairy_cell_smear").samples(data_dir)
    field = load(sample.image)
    found = find_cells(field.rgb, segmenter.outline)
    assert len(found) == 5
    large = np.asarray(Image.fromarray(field.rgb).resize((field.shape[1] * 3, field.shape[0] * 3)))
    again = find_cells(large, segmenter.outline)
    assert len(again) == 5
    for cell, big in zip(found, again, strict=True):
        enlarged = whole(cell, field.shape).repeat(3, axis=0).repeat(3, axis=1)
        assert overlap(whole(big, large.shape[:2]), enlarged).dice > 0.93


# --- what is one cell ---


def test_lobes_in_one_cytoplasm_are_one_cell():
    shape = (400, 400)
    lobes = [disc(shape, 190 + dy, 200 + dx, 13) for dy, dx in ((-20, 0), (14, -20), (14, 22))]
    drawing = Drawing(shape).add(disc(shape, 195, 200, 50), *lobes)
    assert len(find_nuclei(drawing.rgb)) == 3
    (cell,) = find_cells(drawing.rgb, drawing.outline())
    np.testing.assert_array_equal(whole(cell, shape), drawing.cells[0])


def test_cells_that_the_network_runs_together_are_parted_at_their_neck():
    shape = (400, 500)
    drawing = Drawing(shape)
    for x in (170, 262):
        drawing.add(disc(shape, 200, x, 48), disc(shape, 200, x, 28))
    found = find_cells(drawing.rgb, drawing.outline(joined=True))
    assert len(found) == 2
    for cell, mask in zip(found, drawing.cells, strict=True):
        assert overlap(whole(cell, shape), mask).dice > 0.97


@pytest.mark.parametrize("upright", [True, False])
def test_halves_of_one_round_nucleus_are_one_cell_however_they_lie(upright):
    """A straight seam along the rows is as long as one across.

    A nucleus that its stain parts in the middle is not cut through.
    """
    shape = (300, 300)
    rows, columns = np.ogrid[:300, :300]
    cell, nucleus = (((rows - 150) / 60) ** 2 + ((columns - 150) / 52) ** 2 <= size for size in (1, 0.6))
    halves = [nucleus & (rows < 150), nucleus & (rows >= 150)]
    if not upright:
        cell, halves = cell.T, [half.T for half in halves]
    drawing = Drawing(shape).add(cell, *halves)
    nuclei = []
    for half in halves:
        at = ndimage.find_objects(half.astype(int))[0]
        nuclei.append(Nucleus(half[at], at[0].start, at[1].start, 1))
    (found,) = find_cells(drawing.rgb, drawing.outline(), nuclei)
    np.testing.assert_array_equal(whole(found, shape), cell)


def test_a_cell_with_two_nuclei_is_one_even_where_the_edge_of_the_field_cuts_it():
    shape = (300, 300)
    for y in (150, 285):
        drawing = Drawing(shape).add(disc(shape, y, 150, 50), disc(shape, y - 5, 128, 15), disc(shape, y - 5, 172, 15))
        assert len(find_nuclei(drawing.rgb)) == 2
        assert len(find_cells(drawing.rgb, drawing.outline())) == 1


def test_no_pixel_belongs_to_two_cells():
    shape = (400, 500)
    drawing = Drawing(shape)
    for x in (170, 270):
        drawing.add(disc(shape, 200, x, 48), disc(shape, 200, x, 30))
    found = find_cells(drawing.rgb, drawing.outline(grown=12))
    masks = [whole(cell, shape) for cell in found]
    assert len(masks) == 2
    assert not (masks[0] & masks[1]).any()
    # The border runs half way between the nuclei.
    assert abs(int(np.flatnonzero(masks[0].any(axis=0))[-1]) - 220) <= 2
    rings = [cell.labels == Compartment.ENVIRONMENT for cell in found]
    for ring, cell, other in zip(rings, found, reversed(masks), strict=True):
        on_field = np.zeros(shape, bool)
        place = cell.place
        on_field[place.top : place.top + place.height, place.left : place.left + place.width] = ring
        assert ring.any()
        assert not (on_field & other).any(), "the ring of one cell stays out of the other"


def test_a_cell_cut_by_the_edge_is_returned_with_what_is_seen_of_it():
    shape = (300, 400)
    drawing = (
        Drawing(shape)
        .add(disc(shape, 150, 10, 50), disc(shape, 150, 14, 30))
        .add(disc(shape, 150, 250, 50), disc(shape, 150, 250, 30))
    )
    found = find_cells(drawing.rgb, drawing.outline())
    assert [cell.place.left == 0 for cell in found] == [True, False]
    assert cell_mask(found[0].labels)[:, 0].any()


def test_of_two_drawings_of_one_cell_the_more_certain_remains():
    """Asked at the first lobe the network draws half of the cell, asked at the second all of it."""
    shape = (300, 300)
    drawing = Drawing(shape).add(disc(shape, 150, 150, 60), disc(shape, 150, 118, 22), disc(shape, 150, 184, 18))
    everything = drawing.outline()

    def outline(crop, window):
        labels, confidence = everything(crop, window)
        left_half = window.left + window.side / 2 < crop.shape[1] / 2 + 1 and window.side > 110
        if not left_half:
            return labels, confidence
        half = labels.copy()
        half[:, int(window.left + window.side / 2) + 30 :] = 0
        return LabelMap(half), 0.6

    (cell,) = find_cells(drawing.rgb, outline)
    assert cell.confidence == 0.9
    np.testing.assert_array_equal(whole(cell, shape), drawing.cells[0])


def test_of_too_many_nuclei_those_in_the_middle_are_seen_to_whatever_their_size(monkeypatch):
    monkeypatch.setattr("core.segmentation.field_of_view.MOST_NUCLEI", 3)
    shape = (300, 1000)
    drawing = Drawing(shape)
    for x, radius in ((100, 40), (300, 24), (500, 20), (700, 28), (900, 40)):
        drawing.add(disc(shape, 150, x, radius + 14), disc(shape, 150, x, radius))
    told = []
    found = find_cells(drawing.rgb, drawing.outline(), progress=lambda *counts: told.append(counts))
    assert [cell.place.left + cell.place.width // 2 for cell in found] == pytest.approx([300, 500, 700], abs=2)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_all_cells_in_one_mask_and_by_number(field_of_four, segmenter):
    rgb, true = field_of_four
    found = find_cells(rgb, segmenter.outline)
    labels, numbers = composed(rgb.shape[:2], [(cell.place, cell.labels) for cell in found])
    assert (labels.dtype, numbers.dtype) == (np.uint8, np.uint16)
    np.testing.assert_array_equal(numbers > 0, cell_mask(labels))
    for number, (cell, mask) in enumerate(zip(found, true, strict=True), start=1):
        np.testing.assert_array_equal(numbers == number, whole(cell, rgb.shape[:2]))
        assert overlap(numbers == number, mask).dice > 0.93


# --- one cell or a field ---


def one(rgb):
    return shows_one_cell(find_nuclei(rgb), rgb.shape[:2])


@pytest.mark.parametrize("drawing", SYNTHETIC_CELLS.values(), ids=SYNTHETIC_CELLS)
def test_a_drawn_cell_is_one(drawing):
    assert one(draw_cell(2, drawing)[0].rgb)


def test_neighbours_make_no_field_of_a_centred_cell(field_of_four):
    rgb = draw_cell(0)[0].rgb.copy()
    for y, x in ((0, 180), (340, 40), (60, 350)):
        rgb[disc(rgb.shape, y, x, 40)] = NUCLEUS
    assert len(find_nuclei(rgb)) >= 4
    assert one(rgb)


def test_a_lone_cell_off_the_middle_is_looked_for_where_it_lies(segmenter):
    image, labels = draw_cell(0)
    height, width = image.shape
    rgb = np.pad(image.rgb, ((0, 0), (0, width), (0, 0)), mode="edge")
    assert not one(rgb)
    (found,) = find_cells(rgb, segmenter.outline)
    drawn = np.pad(cell_mask(labels), ((0, 0), (0, width)))
    assert overlap(whole(found, (height, 2 * width)), drawn).dice > 0.9


def test_a_field_is_none(field_of_four):
    rgb = field_of_four[0]
    assert not one(rgb)
    assert not one(np.pad(rgb, ((300, 300), (300, 300), (0, 0)), mode="edge")), (
        "not even with its cells around the middle"
    )


def test_a_small_cell_in_a_large_image_makes_a_field_and_no_nucleus_makes_none():
    rgb = np.full((900, 900, 3), BACKGROUND, np.uint8)
    assert one(rgb)
    rgb[disc(rgb.shape, 450, 450, 30)] = NUCLEUS
    assert not one(rgb)
    rgb[disc(rgb.shape, 450, 450, 80)] = NUCLEUS
    assert one(rgb)


def test_lobes_do_not_count_as_neighbours():
    rgb = np.full((360, 360, 3), BACKGROUND, np.uint8)
    for angle in np.linspace(0, 5, 6):
        rgb[disc(rgb.shape, 180 + 42 * np.sin(angle), 180 + 42 * np.cos(angle), 16)] = NUCLEUS
    assert len(find_nuclei(rgb)) >= 4
    assert one(rgb)


@pytest.mark.data
@pytest.mark.parametrize("name", ["set1", "set2", "acevedo", "deepapl"])
def test_images_of_one_cell_are_taken_as_such(data_dir, name):
    samples = data_set(name).samples(data_dir)
    samples = [s for s in samples if s.cell_type not in ("platelet", "erythroblast")]
    chosen = samples[:: max(1, len(samples) // 120)][:120]
    fields = [sample.sample_id for sample in chosen if not one(load(sample.image).rgb)]
    assert len(fields) <= 0.01 * len(chosen), fields


# --- cost ---

_MEASURE = """
import resource
import numpy as np
from core.segmentation.model_registry import find_model
from core.domain.options import CellChoice, Device
from core.segmentation.segmenter import OnnxSegmenter
from core.pipeline import analyse_cells
from core.image.synthetic import draw_cell
from core.domain.types import CellImage

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

segmenter = OnnxSegmenter.from_entry(find_model(), Device.CPU, threads=1)
cell = draw_cell(1)[0]
analyse_cells(cell, segmenter)
rgb = np.full((4000, 4000, 3), (253, 229, 206), np.uint8)
for y in range(100, 3600, 1100):
    for x in range(100, 3600, 1100):
        rgb[y : y + 360, x : x + 360] = cell.rgb
field = CellImage(rgb, "field.png", "0" * 64)
before = peak()
found = analyse_cells(field, segmenter, CellChoice.AUTO)
print(len(found), peak() - before)
"""


def test_a_field_of_sixteen_megapixels_costs_less_memory_than_three_copies_of_it():
    """46 MB of pixels; measured 75 MB on top."""
    done = subprocess.run([sys.executable, "-c", _MEASURE], cwd=ROOT, capture_output=True, text=True, check=True)
    count, megabytes = map(float, done.stdout.split())
    assert count == 16
    assert megabytes < 140


def test_the_cell_nearest_the_middle_of_a_field():
    places = [BoundingBox(0, 0, 10, 10), BoundingBox(40, 20, 20, 20), BoundingBox(80, 0, 20, 20)]
    assert nearest_the_middle(places, (60, 100)) == 1
    assert nearest_the_middle(places, (20, 180)) == 2
