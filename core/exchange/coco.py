"""COCO: `instances.json` with run lengths, exact to the pixel, and `instances_polygons.json` for what reads only these.

Categories are nucleus and cell; the cell takes in its nucleus. Polygons follow the edges of the pixels, so that the
same pixels are filled again; what has holes cannot be a polygon of COCO, and has run lengths there, too.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.exchange.cells import HandedCell, HandedImage, Handing, parts
from core.exchange.pixel_shapes import pixel_polygons, run_lengths
from core.image.morphology import bounds

CATEGORIES: Final = ({"id": 1, "name": "nucleus", "supercategory": "cell"}, {"id": 2, "name": "cell"})
_FILES: Final = ("instances.json", "instances_polygons.json")
_IDS: Final = {str(category["name"]): category["id"] for category in CATEGORIES}


def write(handing: Handing, folder: Path) -> None:
    """Write both files, an image at a time."""
    folder.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations = 0
    with ExitStack() as opened:
        both = [opened.enter_context((folder / name).open("w", encoding="utf-8")) for name in _FILES]
        for file in both:
            file.write(f'{{"categories": {json.dumps(CATEGORIES)},\n"annotations": [')
        for image in handing.drawn_images():
            height, width = image.size
            known = {"id": len(images) + 1, "file_name": image.name, "height": height, "width": width}
            images.append(known | ({} if image.um_per_px is None else {"um_per_px": image.um_per_px}))
            for shapes in _annotations(image):
                annotations += 1
                ids = {"id": annotations, "image_id": len(images)}
                for file, shape in zip(both, shapes, strict=True):
                    file.write(",\n" * (annotations > 1) + json.dumps(ids | shape))
        for file in both:
            file.write(f'],\n"images": {json.dumps(images)},\n"info": {json.dumps(_info(handing))}}}\n')


def _info(handing: Handing) -> dict[str, str]:
    return {"description": handing.what.title, **handing.provenance()}


def _annotations(image: HandedImage) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Of nucleus and cell of each cell the annotation with run lengths, and that with polygons, if it can have any."""
    for cell in image.cells:
        mask = cell.mask(image.size)
        for name, region in parts(mask.labels):
            exact = {"size": list(image.size), "counts": run_lengths(region, mask.top, mask.left, image.size)}
            rings, holes = pixel_polygons(region)
            polygons = [np.add(ring, (mask.left, mask.top)).ravel().tolist() for ring in rings]
            said = {"category_id": _IDS[name], **_box(region, mask.top, mask.left), "iscrowd": 0, **_said(cell)}
            yield {"segmentation": exact, **said}, {"segmentation": exact if holes else polygons, **said}


def _box(region: NDArray[np.bool_], top: int, left: int) -> dict[str, Any]:
    rows, columns = bounds(region)
    box = [columns.start + left, rows.start + top, columns.stop - columns.start, rows.stop - rows.start]
    return {"bbox": [int(side) for side in box], "area": int(np.count_nonzero(region))}


def _said(cell: HandedCell) -> dict[str, Any]:
    row = cell.row
    return {
        "attributes": {
            "cell_id": row.get("cell_id"),
            "number": cell.number,
            "cell_type": row.get("cell_type"),
            "quality_ok": row.get("quality_ok"),
            "quality_flags": list(cell.flags),
            "confidence": row.get("confidence"),
            "outline_by": cell.drawn_by.value,
        }
    }
