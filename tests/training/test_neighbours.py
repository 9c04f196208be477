import numpy as np

from training.neighbours import count_other_nuclei

BACKGROUND, RED_CELL, NUCLEUS = (253, 229, 206), (218, 172, 166), (70, 30, 120)


def with_disc(rgb, y, x, radius, colour):
    rows, columns = np.mgrid[: rgb.shape[0], : rgb.shape[1]]
    mask = np.hypot(rows - y, columns - x) <= radius
    rgb = rgb.copy()
    rgb[mask] = colour
    return rgb, mask


def test_other_nuclei_are_counted_and_red_cells_are_not():
    rgb, nucleus = with_disc(np.full((200, 200, 3), BACKGROUND, np.uint8), 100, 100, 20, NUCLEUS)
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
    assert count_other_nuclei(np.full((120, 120, 3), BACKGROUND, np.uint8), nothing, nothing) == 0
