"""QuPath: GeoJSON, a file an image, each cell an object of type cell with its nucleus, measurements and class."""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.measure import points_in_poly

from core.domain.flags import flag_words
from core.exchange.cells import HandedCell, HandedImage, Handing
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.support.text import encodable

_Rings = Sequence[NDArray[np.float32]]

_TEXTS: Final = ("cell_id", "patient_id", "source", "model_id", "outline_status", "outline_who")


def write(handing: Handing, folder: Path) -> None:
    """Write `<image>.geojson` for every image with an outlined cell."""
    for image in handing.drawn_images():
        path = folder / f"{image.stem}.geojson"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(collection(image)), encoding="utf-8")


def collection(image: HandedImage) -> dict[str, Any]:
    """The cells of an image, as QuPath reads them, in pixels of the whole image."""
    return {"type": "FeatureCollection", "features": [_feature(cell) for cell in image.cells if cell.cell]}


def object_id(image_sha256: str, cell_index: int) -> str:
    """By which a cell is known again when it comes back; QuPath keeps it."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{image_sha256}:{cell_index}"))


def _feature(cell: HandedCell) -> dict[str, Any]:
    row = cell.row
    feature: dict[str, Any] = {
        "type": "Feature",
        "id": object_id(row.get("image_sha256") or row.get("cell_id") or "", row.get("cell_index") or 0),
        "geometry": _geometry(cell.cell),
        "properties": {
            "objectType": "cell",
            "name": str(cell.number),
            "measurements": _measurements(cell),
            "metadata": _metadata(cell),
            "outline_by": cell.drawn_by.value,
            "status": row.get("outline_status"),
        },
    }
    if cell.nucleus:
        feature["nucleusGeometry"] = _geometry(cell.nucleus)
    if (kind := cell.kind) is not None:
        colour = [int(kind.colour[at : at + 2], 16) for at in (1, 3, 5)]
        feature["properties"]["classification"] = {"name": kind.name, "color": colour}
    return feature


def _measurements(cell: HandedCell) -> dict[str, float]:
    """What QuPath lists of an object: numbers, whose names say the unit; an absent one is left out."""
    scale, found = cell.row.get("um_per_px"), {}
    for name in KEY_FEATURES:
        value, spec = cell.row.get(name), CATALOGUE[name]
        if value is not None:
            unit = spec.unit.px if scale is None else spec.unit.um
            found[f"{spec.label} {unit}".strip()] = value if scale is None else spec.in_um(value, scale)
    for label, column in (("Confidence", "confidence"), ("Outline quality", "outline_quality")):
        if cell.row.get(column) is not None:
            found[label] = cell.row[column]
    good = cell.row.get("quality_ok")
    return found if good is None else {**found, "Good quality": float(good)}


def _metadata(cell: HandedCell) -> dict[str, str]:
    """What QuPath keeps of an object as text: where it is from, and why it is flagged."""
    texts = {name: encodable(str(cell.row[name])) for name in _TEXTS if cell.row.get(name) is not None}
    return texts | {"quality_flags": ", ".join(map(flag_words, cell.flags))}


def _geometry(rings: _Rings) -> dict[str, Any]:
    """Rings that are filled by the even-odd rule as a GeoJSON polygon with holes, or several."""
    depth = [sum(bool(points_in_poly(ring[:1], other)[0]) for other in rings if other is not ring) for ring in rings]
    polygons = [[ring] for ring, inside in zip(rings, depth, strict=True) if inside % 2 == 0]
    for hole, inside in zip(rings, depth, strict=True):
        if inside % 2:
            next(polygon for polygon in polygons if points_in_poly(hole[:1], polygon[0])[0]).append(hole)
    coordinates = [[ring.astype(float).round(2).tolist() for ring in polygon] for polygon in polygons]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}
