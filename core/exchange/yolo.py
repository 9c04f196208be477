"""YOLO's segmentation: a text a image with a line a part of nucleus or cell, and `data.yaml`; no picture is copied.

YOLO looks for `images/<image>` beside `labels/<image>.txt`. Its shapes have no holes: those of a nucleus are filled.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from skimage.measure import points_in_poly

from core.exchange.cells import HandedImage, Handing, Rings

_DATA: Final = """# Cells outlined by Leukoscope. Put the images into images/, called as their labels are:
# 005.png for 005.txt. Choose a part of them for val yourself: by patient, not by image.
path: .
train: images
val: images
names:
  0: nucleus
  1: cell
"""


def write(handing: Handing, folder: Path) -> None:
    """Write `labels/<image>.txt` for every image with an outlined cell, and `data.yaml`."""
    (folder / "labels").mkdir(parents=True)
    for image in handing.drawn_images():
        path = folder / "labels" / f"{image.stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in _lines(image)), encoding="ascii")
    (folder / "data.yaml").write_text(_DATA, encoding="utf-8")


def _lines(image: HandedImage) -> Iterator[str]:
    """Class, then x and y of each corner as shares of width and height."""
    height, width = image.size
    for cell in image.cells:
        for number, rings in enumerate((cell.nucleus, cell.cell)):
            for ring in _outer(rings):
                shares = np.clip(ring[:-1] / np.array([width, height], np.float32), 0, 1)
                yield f"{number} " + " ".join(f"{share:.6f}" for share in shares.ravel())


def _outer(rings: Rings) -> Iterator[NDArray[np.float32]]:
    for ring in rings:
        if sum(bool(points_in_poly(ring[:1], other)[0]) for other in rings if other is not ring) % 2 == 0:
            yield ring
