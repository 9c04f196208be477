"""Cells of a field with several: where the nuclei are, and a cut-out around each."""

from dataclasses import replace
from typing import Final

import numpy as np
from scipy import ndimage
from skimage.morphology import disk

from core.stain import coarse_step, nuclear_stain
from core.types import CellImage, Place

# A nucleus is kept from this share of the largest one's area on: platelets and debris are smaller.
MIN_NUCLEUS_SHARE: Final = 0.25
# The cut-out's side over the nucleus's longer extent: room for an ample cytoplasm and some surroundings.
CUT_OUT_SIDE: Final = 2.6


def find_cells(field: CellImage) -> list[tuple[CellImage, Place]]:
    """Cut a square around each stained nucleus, in reading order; nuclei whose square leaves the field are cut at its edge.

    Segments of one nucleus (gaps up to a fifth of its size) count as one.
    """
    step = coarse_step(field.shape)
    stained = nuclear_stain(field.rgb[::step, ::step])
    typical = float(np.sqrt(max(stained.sum(), 1) / np.pi))
    solid = ndimage.binary_opening(stained, disk(max(1, round(0.04 * typical))))
    joined = ndimage.binary_closing(solid, disk(max(1, round(0.08 * typical))))
    parts, count = ndimage.label(joined)
    if not count:
        return []
    areas = np.bincount(parts.ravel())[1:]
    height, width = field.shape
    found = []
    for label, box in enumerate(ndimage.find_objects(parts), start=1):
        if areas[label - 1] < MIN_NUCLEUS_SHARE * areas.max():
            continue
        rows, columns = box
        side = round(CUT_OUT_SIDE * step * max(rows.stop - rows.start, columns.stop - columns.start))
        top = max(0, (step * (rows.start + rows.stop) - side) // 2)
        left = max(0, (step * (columns.start + columns.stop) - side) // 2)
        place = Place(left, top, min(side, width - left), min(side, height - top))
        cut = field.rgb[top : top + place.height, left : left + place.width].copy()
        found.append((replace(field, rgb=cut, notes=(*field.notes, "cut out of a field")), place))
    return sorted(found, key=lambda item: (item[1].top // (height // 3 + 1), item[1].left))
