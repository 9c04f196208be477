import math
from dataclasses import replace

import numpy as np
import pytest

from core.domain.objects import FoundObject, ObjectKind, red_cell_diameter
from core.segmentation.localiser import Localiser, decode
from tests.core.segmentation.scenes import LOCALISER_CARD

CARD = replace(LOCALISER_CARD, mean=(0.5,) * 3, std=(0.5,) * 3, least_scores=dict.fromkeys(LOCALISER_CARD.kinds, 0.3))
# Colours that the localiser below takes for kinds.
COLOURS = {
    ObjectKind.LEUKOCYTE: (255, 0, 0),
    ObjectKind.PLATELET: (0, 0, 255),
    ObjectKind.RED_CELL: (0, 255, 0),
}


class ByColour(Localiser):
    """Finds squares of pure colours that are at least `smallest` pixels wide, as a network finds cells."""

    def __init__(self, smallest=12):
        super().__init__(CARD, "none")
        self.smallest = smallest
        self.seen = []

    def maps(self, images):
        self.seen.append(images.shape)
        return np.stack([self._one(image) for image in images])

    def _one(self, image):
        from scipy import ndimage

        _, height, width = image.shape
        maps = np.full((len(CARD.kinds) + 4, height // 4, width // 4), -9, np.float32)
        for channel, kind in enumerate(CARD.kinds):
            if kind not in COLOURS:
                continue
            colour = np.array(COLOURS[kind], np.float32)[:, None, None] / 127.5 - 1
            parts, _ = ndimage.label((np.abs(image - colour) < 0.5).all(axis=0))
            for rows, columns in ndimage.find_objects(parts):
                if columns.stop - columns.start < self.smallest:
                    continue
                row, column = (rows.start + rows.stop) // 8, (columns.start + columns.stop) // 8
                x, y = column * 4 + 2, row * 4 + 2
                maps[channel, row, column] = 3
                edges = (x - columns.start, y - rows.start, columns.stop - x, rows.stop - y)
                maps[-4:, row, column] = np.log(np.maximum(edges, 0.1))
        return maps


def picture(shape, *squares):
    rgb = np.full((*shape, 3), 255, np.uint8)
    for kind, left, top, side in squares:
        rgb[max(top, 0) : top + side, max(left, 0) : left + side] = COLOURS[kind]
    return rgb


def box(found):
    return pytest.approx((found.left, found.top, found.right, found.bottom), abs=4)


def test_an_object_is_told_in_the_pixels_of_the_image_whatever_its_size():
    for shape, square in [((360, 363), (120, 90, 140)), ((96, 120), (30, 20, 60)), ((480, 640), (400, 200, 190))]:
        left, top, side = square
        found = ByColour().find(picture(shape, (ObjectKind.LEUKOCYTE, *square)))
        assert [one.kind for one in found] == [ObjectKind.LEUKOCYTE]
        assert (left, top, left + side, top + side) == box(found[0])
        assert not found[0].cut


def test_a_large_field_is_looked_at_in_tiles_until_its_cells_are_large_enough_and_each_is_found_once():
    squares = [(ObjectKind.LEUKOCYTE, x, y, 48) for x in range(60, 1000, 210) for y in range(40, 700, 200)]
    localiser = ByColour()
    found = localiser.find(picture((800, 1100), *squares))
    assert len(found) == len(squares)
    assert {round(one.diameter / 4) for one in found} == {12}
    assert localiser.seen[0] == (1, 3, 192, 256)
    assert len(localiser.seen) > 1


def test_a_crop_with_a_large_cell_costs_one_look():
    localiser = ByColour()
    localiser.find(picture((360, 360), (ObjectKind.LEUKOCYTE, 100, 100, 140)))
    assert localiser.seen == [(1, 3, 256, 256)]


def test_images_of_one_shape_are_looked_at_together_and_the_answers_are_those_of_each_alone():
    images = [picture((360, 360), (ObjectKind.LEUKOCYTE, 60 + 20 * number, 100, 140)) for number in range(3)]
    images.insert(1, picture((200, 300), (ObjectKind.LEUKOCYTE, 60, 60, 90)))
    together = ByColour()
    found = together.find_many(images)
    assert sorted(together.seen) == [(1, 3, 192, 256), (3, 3, 256, 256)]
    assert found == [ByColour().find(image) for image in images]


def test_objects_are_cut_where_their_box_reaches_the_edge_and_only_whole_red_cells_are_a_ruler():
    red = [(ObjectKind.RED_CELL, x, 100, 40) for x in (20, 90, 160)]
    found = ByColour().find(picture((256, 256), *red, (ObjectKind.RED_CELL, 230, 20, 60)))
    assert sorted(one.cut for one in found) == [False, False, False, True]
    assert red_cell_diameter(found) == pytest.approx(40, abs=1)
    assert red_cell_diameter(found[:2]) is None


def test_one_image_has_one_magnification():
    kind = ObjectKind
    crop = picture((256, 256), (kind.LEUKOCYTE, 60, 60, 130), (kind.RED_CELL, 5, 5, 20), (kind.LEUKOCYTE, 210, 20, 24))
    found = sorted(ByColour().find(crop), key=lambda one: one.diameter)
    assert [one.kind for one in found] == [kind.PLATELET, kind.LEUKOCYTE]


def test_the_least_score_of_a_kind_may_be_undercut():
    weak = np.full((8, 8, 8), -9, np.float32)
    weak[0, 3, 4], weak[-4:] = -1.4, math.log(6)
    assert not len(decode(weak, np.full(4, 0.3, np.float32), 4).scores)
    candidates = decode(weak, np.full(4, 0.05, np.float32), 4)
    assert candidates.boxes.tolist() == [pytest.approx([12, 8, 24, 20])]


def test_a_box_tells_its_middle_and_its_diameter():
    found = FoundObject(ObjectKind.RED_CELL, -10, 0, 10, 5, 0.5)
    assert (found.centre, found.diameter, found.width) == ((2.5, 0), 10, 20)
