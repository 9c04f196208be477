"""Cells of a field with several: a cut-out around each nucleus."""

from dataclasses import replace

from core.stain import find_nuclei
from core.types import CellImage, Place


def find_cells(field: CellImage) -> list[tuple[CellImage, Place]]:
    """Cut a square around each stained nucleus, in reading order; a square that leaves the field is cut at its edge."""
    height, width = field.shape
    found = []
    for window in find_nuclei(field.rgb):
        left, top, side = max(0, round(window.left)), max(0, round(window.top)), round(window.side)
        place = Place(left, top, min(side, width - left), min(side, height - top))
        cut = field.rgb[top : top + place.height, left : left + place.width].copy()
        found.append((replace(field, rgb=cut, notes=(*field.notes, "cut out of a field")), place))
    return sorted(found, key=lambda item: (item[1].top // (height // 3 + 1), item[1].left))
