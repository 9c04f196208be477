"""Masks that are drawn as shapes: COCO (polygons, run lengths), and GeoJSON as of QuPath and of `leukoscope batch`."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from core.domain.compartments import Compartment
from core.domain.errors import MaskError
from core.domain.types import as_label_map
from core.image.mask_coding import CELL, MaskCoding
from core.image.mask_levels import DecodedMask
from core.image.masks import check_size

_NUCLEUS: Final = frozenset({"nucleus", "nuclei", "nuclear", "nuc"})
_CYTOPLASM: Final = frozenset({"cytoplasm", "cytosol", "cyto"})
_CELLS: Final = frozenset(
    {"cell", "cells", "whole cell", "wbc", "white blood cell", "leukocyte", "leucocyte", "cell outline", "cell body"}
)
_OTHER: Final = frozenset({"background", "environment"})
_PARTS: Final[Mapping[str, Compartment]] = {
    # In the order in which they are laid over each other.
    Compartment.ENVIRONMENT.label: Compartment.ENVIRONMENT,
    CELL: Compartment.CYTOPLASM,
    Compartment.CYTOPLASM.label: Compartment.CYTOPLASM,
    Compartment.NUCLEUS.label: Compartment.NUCLEUS,
}
_REMEDY: Final = "name the classes Nucleus, Cytoplasm or Cell, or say what a name means in a file for --mask-coding"
_NAMED: Final = 8

Shape2D = tuple[int, int]
Ring = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DrawnShape:
    """One shape of a file: the name of its class, and its rings of x, y (even-odd within one polygon) or its pixels."""

    name: str
    polygons: Sequence[Sequence[Ring]] = ()
    pixels: NDArray[np.bool_] | None = None
    is_cell: bool = False


def decode_shapes(
    data: bytes, name: str, shape: Shape2D | None, *, image_name: str = "", coding: MaskCoding | None = None
) -> DecodedMask:
    """Read a COCO or GeoJSON file.

    Parameters
    ----------
    data
        The whole file.
    name
        Its name, for messages.
    shape
        Height and width of the image.
    image_name
        The image's name: which of a COCO file's images is meant. A file of one image is that of any name.
    coding
        What names of classes mean; without it Nucleus, Cytoplasm and Cell are known.

    Raises
    ------
    MaskError
        If it is neither, names no compartment, or belongs to another image.
    """
    if shape is None:
        msg = f"{name}: shapes can only be drawn for an image of known size; give its image, too"
        raise MaskError(msg)
    try:
        root = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        msg = f"{name}: expected COCO or GeoJSON, but the file is no complete JSON ({error}); export it again"
        raise MaskError(msg) from error
    try:
        shapes, notes = _shapes(root, name, shape, image_name)
        return _drawn(shapes, name, shape, coding, notes)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, MaskError):
            raise
        msg = (
            f"{name}: expected COCO or GeoJSON, but a shape is not as these have it ({type(error).__name__}: {error});"
            " export it again"
        )
        raise MaskError(msg) from error


def _shapes(root: Any, name: str, shape: Shape2D, image_name: str) -> tuple[list[DrawnShape], list[str]]:  # noqa: ANN401
    if isinstance(root, list) and root and all(isinstance(entry, dict) and "segmentation" in entry for entry in root):
        root = {"annotations": root}
    if isinstance(root, dict) and isinstance(root.get("annotations"), list):
        return _coco(root, name, shape, image_name)
    if isinstance(root, dict) and "segmentation" in root:
        return _coco({"annotations": [root]}, name, shape, image_name)
    if isinstance(root, list) or (isinstance(root, dict) and ("type" in root or "features" in root)):
        return list(_geojson(root)), []
    if isinstance(root, dict) and {"size", "counts"} <= set(root):
        return [DrawnShape("", pixels=_run_lengths(root, shape, name))], []
    msg = f"{name}: expected a COCO file (with annotations) or GeoJSON (with a type), but the JSON is neither"
    raise MaskError(msg)


# --- COCO -------------------------------------------------------------------------------------------------------------


def _coco(root: Mapping[str, Any], name: str, shape: Shape2D, image_name: str) -> tuple[list[DrawnShape], list[str]]:
    images = {image["id"]: image for image in root.get("images") or []}
    categories = {entry["id"]: str(entry["name"]) for entry in root.get("categories") or []}
    chosen, notes = _image_of(images, root["annotations"], name, image_name)
    size = images.get(chosen, {})
    if "height" in size and "width" in size:
        check_size((int(size["height"]), int(size["width"])), shape, name)
    shapes = []
    for annotation in root["annotations"]:
        if chosen is not None and annotation.get("image_id") != chosen:
            continue
        category = categories.get(annotation.get("category_id"), str(annotation.get("category_id", "")))
        drawn = annotation["segmentation"]
        if isinstance(drawn, dict):
            shapes.append(DrawnShape(category, pixels=_run_lengths(drawn, shape, name)))
        elif drawn:
            rings = [np.asarray(ring, float).reshape(-1, 2) for ring in drawn]
            shapes.append(DrawnShape(category, [[ring] for ring in rings]))
    return shapes, notes


def _image_of(
    images: Mapping[Any, Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]], name: str, image_name: str
) -> tuple[Any, list[str]]:
    """The id of the image that is meant; None for all that is in the file."""
    wanted = PurePath(image_name.replace("\\", "/"))
    files = {number: PurePath(str(image.get("file_name", "")).replace("\\", "/")) for number, image in images.items()}
    for same in (
        [n for n, f in files.items() if f.name == wanted.name],
        [n for n, f in files.items() if f.stem == wanted.stem],
    ):
        if len(same) == 1:
            return same[0], []
    ids = list(files) or list({annotation.get("image_id") for annotation in annotations})
    if len(ids) <= 1:
        other = f"the shapes are those of {files[ids[0]].name}, the only image of {name}" if files else ""
        return (ids[0] if ids else None), [other] if other else []
    there = ", ".join(f.name or str(n) for n, f in list(files.items())[:_NAMED]) or f"{len(ids)} images without names"
    msg = (
        f"{name}: it holds the shapes of {len(ids)} images ({there}{' ...' * (len(files) > _NAMED)}), but which is"
        f" that of {image_name or 'this image'} is not said; give the image the name that it has there"
    )
    raise MaskError(msg)


def _run_lengths(drawn: Mapping[str, Any], shape: Shape2D, name: str) -> NDArray[np.bool_]:
    """The pixels of COCO's run lengths, which go down the columns and begin with what is not drawn."""
    height, width = (int(side) for side in drawn["size"])
    check_size((height, width), shape, name)
    written = drawn["counts"]
    counts = np.array(_unpacked(written) if isinstance(written, str) else written, np.int64)
    if counts.size and (counts.min() < 0 or int(counts.sum()) != height * width):
        msg = (
            f"{name}: run lengths of a mask of {height} x {width} must add up to {height * width}, but give"
            f" {int(counts.sum())}; export it again"
        )
        raise MaskError(msg)
    runs = np.arange(len(counts)) % 2 == 1
    return np.repeat(runs, counts).reshape((width, height)).T if counts.size else np.zeros(shape, bool)


def _unpacked(text: str) -> list[int]:
    """COCO's compressed counts: five bits a character, from the third on as differences to the last but one."""
    counts: list[int] = []
    value = shift = 0
    for character in text.encode("ascii"):
        bits = character - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return counts


# --- GeoJSON ----------------------------------------------------------------------------------------------------------


def _geojson(root: Any) -> Iterator[DrawnShape]:  # noqa: ANN401
    if isinstance(root, list):
        for entry in root:
            yield from _geojson(entry)
    elif root.get("type") == "Feature":
        properties = root.get("properties") or {}
        is_cell = properties.get("objectType") == CELL or properties.get("object_type") == CELL
        yield DrawnShape(_class_of(properties), _polygons(root.get("geometry")), is_cell=is_cell)
        nucleus = root.get("nucleusGeometry") or properties.get("nucleusGeometry")
        if nucleus:
            yield DrawnShape(Compartment.NUCLEUS.label, _polygons(nucleus))
    elif "features" in root:
        yield from _geojson(root["features"])
    else:
        yield DrawnShape("", _polygons(root))


def _class_of(properties: Mapping[str, Any]) -> str:
    given = properties.get("classification")
    if isinstance(given, dict):
        given = given.get("name") or ": ".join(given.get("names") or [])
    return str(given or properties.get("class") or properties.get("label") or properties.get("name") or "")


def _polygons(geometry: Mapping[str, Any] | None) -> list[list[Ring]]:
    """The polygons of a geometry, each with its outer ring and its holes; points and lines enclose nothing."""
    if not geometry:
        return []
    kind = geometry["type"]
    if kind == "GeometryCollection":
        return [polygon for part in geometry["geometries"] for polygon in _polygons(part)]
    if kind not in {"Polygon", "MultiPolygon"}:
        return []
    polygons = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
    return [[np.asarray(ring, float)[:, :2] for ring in polygon] for polygon in polygons]


# --- drawing ----------------------------------------------------------------------------------------------------------


def _part(shape: DrawnShape, coding: MaskCoding | None) -> str | None:
    """What a shape shows: a key of `_PARTS`, "" for what is to be left out, None where its name does not say."""
    name = shape.name.strip().lower()
    if coding is not None and name in coding.names:
        return coding.names[name] if coding.names[name] in _PARTS else ""
    if shape.is_cell or name in _CELLS:
        return CELL
    if name in _OTHER:
        return ""
    words = set(re.split(r"[^a-z]+", name))
    if words & _NUCLEUS:
        return Compartment.NUCLEUS.label
    return Compartment.CYTOPLASM.label if words & _CYTOPLASM else None


def _drawn(
    shapes: Sequence[DrawnShape], name: str, size: Shape2D, coding: MaskCoding | None, notes: list[str]
) -> DecodedMask:
    parts = [(_part(shape, coding), shape) for shape in shapes]
    unknown = Counter(shape.name or "without a name" for part, shape in parts if part is None)
    came = ", ".join(f"{key} ({count})" for key, count in unknown.most_common(_NAMED))
    if not any(part for part, _ in parts):
        msg = (
            f"{name}: expected shapes of nucleus and cytoplasm or cell, but"
            f" {f'their classes are {came}' if unknown else 'there is none'}; {_REMEDY}"
        )
        raise MaskError(msg)
    if unknown:
        notes = [*notes, f"shapes of other classes were left out: {came}"]
    labels = np.zeros(size, np.uint8)
    outside = total = 0.0
    for wanted, compartment in _PARTS.items():
        for part, shape in parts:
            if part == wanted:
                for polygon in shape.polygons:
                    beyond, area = _beyond(polygon[0], size)
                    outside, total = outside + beyond, total + area
                    labels[_filled(polygon, size)] = compartment
                if shape.pixels is not None:
                    labels[shape.pixels] = compartment
    if not labels.any() or outside > 0.5 * total:
        msg = (
            f"{name}: the shapes lie outside the image of {size[0]} x {size[1]} pixels ({_extent(shapes)}); export them"
            " in pixels of this image, not of a larger one and not in micrometres"
        )
        raise MaskError(msg)
    if outside > 0:
        notes = [*notes, "parts of the shapes lie beyond the image's edge and were cut off"]
    coded = f"{len(shapes)} drawn shape{'s' * (len(shapes) > 1)}{f' by {coding.name}' if coding else ''}"
    return DecodedMask(as_label_map(labels), 0, tuple(notes), coding=coded)


def _filled(polygon: Sequence[Ring], size: Shape2D) -> NDArray[np.bool_]:
    """Pixels whose centres are in a polygon and not in its holes; its origin is the corner of the first pixel."""
    inside = np.zeros(size, np.bool_)
    for ring in polygon:
        inside ^= polygon2mask(size, ring[:, ::-1] - 0.5)
    return inside


def _beyond(ring: Ring, size: Shape2D) -> tuple[float, float]:
    """How much of a ring's box lies beyond the image by more than a pixel, and its whole box, in square pixels."""
    low, high = ring.min(axis=0), ring.max(axis=0)
    area = float(np.prod(np.maximum(high - low, 1)))
    inner = np.maximum(np.minimum(high, [size[1] + 1, size[0] + 1]) - np.maximum(low, -1), 0)
    return max(0.0, area - float(np.prod(np.minimum(inner, np.maximum(high - low, 1))))), area


def _extent(shapes: Sequence[DrawnShape]) -> str:
    rings = [ring for shape in shapes for polygon in shape.polygons for ring in polygon]
    if not rings:
        return "nothing is drawn"
    points = np.concatenate(rings)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return f"x from {left:.0f} to {right:.0f}, y from {top:.0f} to {bottom:.0f}"
