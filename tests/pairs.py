"""Pairs of drawn cells and their masks, as files in a folder that can be trained on."""

import numpy as np

from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell

# Grey levels of background, environment, cytoplasm and nucleus.
CODES = (0, 0, 128, 255)


def cell_and_mask(seed=0, codes=CODES, drawing="monocyte"):
    """The pixels of a drawn cell and of its mask."""
    image, labels = draw_cell(seed, SYNTHETIC_CELLS[drawing])
    return image.rgb, np.array(codes, np.uint8)[labels]


def save_pair(folder, name, rgb, mask):
    """Write a pair; a part that is None is left out, one of bytes is written as it is."""
    for part, content in (("images", rgb), ("masks", mask)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        if content is not None:
            data = content if isinstance(content, bytes) else encode_png(np.ascontiguousarray(content))
            (folder / part / f"{name}.png").write_bytes(data)


def save_good(folder, number):
    """Write so many pairs that nothing is wrong with."""
    for seed in range(number):
        save_pair(folder, f"cell_{seed:02d}", *cell_and_mask(seed))
    return folder
