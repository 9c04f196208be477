"""Label images: OME-TIFF, an image an image, with a plane for nuclei, one for cells, and one for their numbers."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import tifffile

from core.domain.compartments import Compartment
from core.exchange.cells import HandedImage, Handing

PLANES: Final = ("nucleus", "cell", "instance")


def write(handing: Handing, folder: Path) -> None:
    """Write `<image>.tif`, uint16 (3, H, W), for every image with an outlined cell.

    In the planes nucleus and cell 1 is inside, and the cell takes in its nucleus; in the plane instance every cell has
    its number, that of pictures and of the column `cell_label`. Where outlines overlap, the later number lies on top.
    """
    for image in handing.drawn_images():
        path = folder / f"{image.stem}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(
            path, _planes(image), ome=True, photometric="minisblack", compression="zlib", metadata=_described(image)
        )


def _planes(image: HandedImage) -> np.ndarray[Any, np.dtype[np.uint16]]:
    planes = np.zeros((len(PLANES), *image.size), np.uint16)
    for cell in image.cells:
        mask = cell.mask(image.size)
        inside = mask.labels >= Compartment.CYTOPLASM
        planes[2][mask.here][inside] = cell.number
        planes[1][mask.here][inside] = 1
        planes[0][mask.here][inside] = mask.labels[inside] == Compartment.NUCLEUS
    return planes


def _described(image: HandedImage) -> dict[str, Any]:
    described: dict[str, Any] = {"axes": "CYX", "Name": image.name, "Channel": {"Name": list(PLANES)}}
    if image.um_per_px is not None:
        for side in "XY":
            described |= {f"PhysicalSize{side}": image.um_per_px, f"PhysicalSize{side}Unit": "µm"}
    return described
