import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.objects import FoundObject, ObjectKind
from core.domain.settings import ROOT
from core.domain.types import BoundingBox, LabelMap
from core.evaluation.datasets import data_set
from core.evaluation.metrics import overlap
from core.image.imaging import load
from core.image.masks import cell_mask
from core.segmentation.field_of_view import composed, find_cells, nearest_the_middle
from core.segmentation.segmenter import DrawnCell
from tests.core.segmentation.scenes import MODEL_CARD, box_of, disc

SHAPE = (400, 500)


class Field:
    """A field whose cells are known: a localiser that tells their boxes, and a network that draws them.

    It draws the cell nearest the middle of its window, `grown` by so many pixels.
    """

    card = MODEL_CARD

    def __init__(self, *cells, shape=SHAPE, grown=0):
        """Each cell is its row, column and radius, and the nucleus has half the radius."""
        self.rgb = np.zeros((*shape, 3), np.uint8)
        self.cells = [disc(shape, *cell) for cell in cells]
        self._nuclei = np.any([disc(shape, row, column, radius / 2) for row, column, radius in cells], axis=0)
        self._grown = grown
        self.objects = [FoundObject(ObjectKind.LEUKOCYTE, *box_of(cell), 0.9) for cell in self.cells]

    def find(self, images):
        return [tuple(self.objects) for _ in images]

    def outline(self, _, windows):
        return [self._draw(round(w.top + w.side / 2), round(w.left + w.side / 2)) for w in windows]

    def _draw(self, row, column):
        own = min(self.cells, key=lambda cell: ndimage.distance_transform_edt(~cell)[row, column])
        own = ndimage.binary_dilation(own, iterations=self._grown) if self._grown else own
        labels = np.where(own, np.where(self._nuclei, Compartment.NUCLEUS, Compartment.CYTOPLASM), 0)
        return DrawnCell(LabelMap(labels.astype(np.uint8)), 0, 0, 0.8)


def whole(cell, shape=SHAPE):
    """A found cell on the field, bool."""
    return composed(shape, [(cell.place, cell.labels)])[1] > 0


def test_every_leukocyte_is_found_once_in_reading_order():
    field = Field((300, 100, 40), (110, 90, 50), (100, 300, 45), (290, 350, 48))
    field.objects.append(FoundObject(ObjectKind.PLATELET, 10, 10, 30, 30, 0.9))
    told = []
    found = find_cells(field.rgb, field, progress=lambda *counts: told.append(counts))
    for cell, expected in zip(found, [1, 2, 0, 3], strict=True):
        np.testing.assert_array_equal(whole(cell), field.cells[expected])
        assert cell.found is field.objects[expected]
        assert cell.confidence == 0.8
        assert not cell_mask(cell.labels)[[0, -1]].any(), "the cut-out has room around the cell"
        assert (cell.labels == Compartment.ENVIRONMENT).any()
    assert told == [(2, 4), (4, 4)]


def test_without_a_leukocyte_or_a_drawing_there_is_no_cell():
    field = Field((200, 200, 40))
    assert find_cells(field.rgb, field, []) == []
    assert find_cells(field.rgb, field, [FoundObject(ObjectKind.SMUDGE, *box_of(field.cells[0]), 0.9)]) == []
    field._draw = lambda *_: DrawnCell(LabelMap(np.zeros(SHAPE, np.uint8)), 0, 0, 0.0)
    assert find_cells(field.rgb, field) == []


def test_no_pixel_belongs_to_two_cells():
    field = Field((200, 170, 48), (200, 270, 48), grown=12)
    found = find_cells(field.rgb, field)
    masks = [whole(cell) for cell in found]
    assert len(masks) == 2
    assert not (masks[0] & masks[1]).any()
    assert abs(int(np.flatnonzero(masks[0].any(axis=0))[-1]) - 220) <= 2, "the border runs half way between the nuclei"
    for cell, other in zip(found, reversed(masks), strict=True):
        place = cell.place
        ring = np.zeros(SHAPE, bool)
        ring[place.top : place.top + place.height, place.left : place.left + place.width] = (
            cell.labels == Compartment.ENVIRONMENT
        )
        assert ring.any()
        assert not (ring & other).any(), "the ring of one cell stays out of the other"


def test_of_two_drawings_of_one_cell_that_of_the_surer_object_remains():
    field = Field((200, 200, 60))
    unsure = FoundObject(ObjectKind.LEUKOCYTE, 150, 180, 200, 230, 0.4)
    (cell,) = find_cells(field.rgb, field, [unsure, *field.objects])
    assert cell.found is field.objects[0]


def test_a_cell_cut_by_the_edge_is_returned_with_what_is_seen_of_it():
    field = Field((200, 10, 50), (200, 300, 50))
    found = find_cells(field.rgb, field)
    assert [cell.place.left == 0 for cell in found] == [True, False]
    assert cell_mask(found[0].labels)[:, 0].any()


def test_of_too_many_cells_those_in_the_middle_are_drawn(monkeypatch):
    monkeypatch.setattr("core.segmentation.field_of_view.MOST_CELLS", 3)
    shape = (300, 1000)
    field = Field(*((150, x, 40) for x in (100, 300, 500, 700, 900)), shape=shape)
    found = find_cells(field.rgb, field)
    assert [cell.place.left + cell.place.width // 2 for cell in found] == pytest.approx([300, 500, 700], abs=2)


def test_all_cells_in_one_mask_and_by_number():
    field = Field((110, 90, 50), (100, 300, 45))
    found = find_cells(field.rgb, field)
    labels, numbers = composed(SHAPE, [(cell.place, cell.labels) for cell in found])
    assert (labels.dtype, numbers.dtype) == (np.uint8, np.uint16)
    np.testing.assert_array_equal(numbers > 0, cell_mask(labels))
    for number, cell in enumerate(field.cells, start=1):
        np.testing.assert_array_equal(numbers == number, cell)


def test_the_cell_nearest_the_middle_of_a_field():
    places = [BoundingBox(0, 0, 10, 10), BoundingBox(40, 20, 20, 20), BoundingBox(80, 0, 20, 20)]
    assert nearest_the_middle(places, (60, 100)) == 1
    assert nearest_the_middle(places, (20, 180)) == 2


@pytest.mark.data
def test_the_smear_has_five_hairy_cells_at_any_enlargement(data_dir, segmenter):
    (sample,) = data_set("hairy_cell_smear").samples(data_dir)
    field = load(sample.image)
    found = find_cells(field.rgb, segmenter)
    assert len(found) == 5
    large = np.asarray(Image.fromarray(field.rgb).resize((field.shape[1] * 3, field.shape[0] * 3)))
    again = find_cells(large, segmenter)
    assert len(again) == 5
    for cell, big in zip(found, again, strict=True):
        enlarged = whole(cell, field.shape).repeat(3, axis=0).repeat(3, axis=1)
        assert overlap(whole(big, large.shape[:2]), enlarged).dice > 0.93


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


def test_a_field_of_sixteen_megapixels_costs_less_memory_than_four_copies_of_it():
    """46 MB of pixels; measured 146 MB on top."""
    done = subprocess.run([sys.executable, "-c", _MEASURE], cwd=ROOT, capture_output=True, text=True, check=True)
    count, megabytes = map(float, done.stdout.split())
    assert count == 16
    assert megabytes < 184
