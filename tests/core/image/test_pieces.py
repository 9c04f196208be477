import numpy as np

from core.domain.types import LabelMap
from core.features.extract import extract
from core.image.masks import with_environment
from core.image.pieces import StrayPieces, stray_pieces, without_stray_pieces
from core.image.synthetic import draw_cell
from core.store.outline_log import without_ring


def disc(side: int = 60, radius: int = 20, inner: int = 9) -> LabelMap:
    row, column = np.indices((side, side)) - side // 2
    distance = np.hypot(row, column)
    return LabelMap(np.where(distance < inner, 3, np.where(distance < radius, 2, 0)).astype(np.uint8))


def test_a_whole_cell_has_none():
    assert stray_pieces(disc()) == StrayPieces(0, 0, 0)
    assert (without_stray_pieces(disc()) == disc()).all()


def test_nothing_drawn_has_none():
    empty = LabelMap(np.zeros((5, 7), np.uint8))
    assert stray_pieces(empty) == StrayPieces(0, 0, 0)
    assert not without_stray_pieces(empty).any()


def test_islands_holes_and_specks_are_counted_and_mended():
    labels = disc()
    labels[0, 0] = labels[59, 0] = 2  # two islands
    labels[30, 45] = 0  # a hole in the cytoplasm
    labels[30, 15] = 3  # a speck of nucleus
    assert stray_pieces(labels) == StrayPieces(2, 1, 1)
    mended = without_stray_pieces(labels)
    assert (mended == disc()).all()


def test_lobes_are_no_specks_and_corners_do_not_hold_parts_together():
    labels = disc()
    labels[26:34, 26:34] = 2
    labels[27:30, 27:30] = labels[30:33, 30:33] = 3  # two squares that touch in a corner
    assert stray_pieces(labels).specks == 0
    labels[10, 30] = 0
    labels[9, 29] = 2
    assert stray_pieces(labels).islands >= 1


def test_r11_a_single_stray_pixel_spoils_features_and_is_found():
    image, drawn = draw_cell()
    labels = without_ring(drawn)
    stray = labels.copy()
    stray[0, 0] = 2
    assert stray_pieces(LabelMap(stray)).islands == 1
    before, after = (extract(image.rgb, with_environment(LabelMap(one))).values for one in (labels, stray))
    moved = [name for name, value in before.items() if value and abs((after[name] or 0) / value - 1) > 0.05]
    assert len(moved) == 32
    assert [round(one["cell_shape2D_MaximumDiameter"]) for one in (before, after)] == [179, 338]
    assert (without_stray_pieces(LabelMap(stray)) == labels).all()
