"""Masks of the cells of one image, as files to download."""

from collections.abc import Sequence

from core.domain.types import CellAnalysis
from core.image.imaging import encode_png
from core.image.masks import encode_grey
from core.segmentation.field_of_view import composed


def mask_files(stem: str, shape: tuple[int, int], cells: Sequence[CellAnalysis]) -> dict[str, bytes]:
    """Masks of the cells of one image of (H, W) as PNG files by name; for a field also their 16-bit numbers."""
    of_field = [(cell.place, cell.segmentation.labels) for cell in cells if cell.place]
    if not of_field:
        return {f"{stem}.png": encode_png(encode_grey(cells[0].segmentation.labels))}
    labels, numbers = composed(shape, of_field)
    return {f"{stem}.png": encode_png(encode_grey(labels)), f"{stem}_instances.png": encode_png(numbers)}
