"""What is handed over: images with their measured cells, whatever they come from, a few at a time.

A run, the cohort, a case and a field all have rows of `core.store.schema`, so that rows are the source; here they get
what formats ask for besides: outlines in pixels of the whole image, masks, numbers, and names that pair with images.
"""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType, CellTypeInfo
from core.domain.compartments import Compartment
from core.domain.options import Units
from core.domain.types import CellAnalysis, DrawnBy, LabelMap
from core.domain.versions import MODEL_FILE, software_versions
from core.features.catalogue import CATALOGUE
from core.image.masks import filled_outlines, outlines
from core.store.export import in_units
from core.store.schema import OUTLINE_COLUMNS, OUTLINE_REGIONS, CellRow, cell_row, cohort_schema, decode_rings, place_of
from core.support.text import REPLACED, shown

Rings = tuple[NDArray[np.float32], ...]

# Those of every table that is handed over.
COLUMNS: Final = tuple(name for name in cohort_schema().names if name not in OUTLINE_COLUMNS)
# A frame of so many cells and 720 features takes some 6 MB.
_AT_ONCE: Final = 1000
_FORBIDDEN: Final = re.compile(r'[<>:"|?*\\]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)", re.IGNORECASE)  # by Windows
_LONGEST: Final = 120  # bytes of a part of a path

NO_OUTLINE: Final = "no outline is stored"
NO_SIZE: Final = "the size of the whole image is not known; measure it again"


@dataclass(frozen=True, eq=False)
class Mask:
    """A cell in its box: `labels` (h, w) without environment, whose first pixel is at `top`, `left` of the image."""

    top: int
    left: int
    labels: LabelMap

    @property
    def here(self) -> tuple[slice, slice]:
        """The box as an index of the image."""
        height, width = self.labels.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True, eq=False)
class HandedCell:
    """A cell: its row as it holds, its number in its image, from 1, and its outlines in pixels of the whole image."""

    row: CellRow
    number: int
    cell: Rings
    nucleus: Rings

    @property
    def kind(self) -> CellTypeInfo | None:
        """Its type, where that is known."""
        said = self.row.get("cell_type")
        return CELL_TYPES[CellType(said)] if said in set(CellType) else None

    @property
    def flags(self) -> tuple[str, ...]:
        """Codes of its quality flags."""
        return tuple(self.row.get("quality_flags") or ())

    @property
    def drawn_by(self) -> DrawnBy:
        """Whose outline it is."""
        return DrawnBy(self.row.get("outline_by") or DrawnBy.MODEL)

    @property
    def centre(self) -> tuple[float | None, float | None]:
        """X and y of the centre of gravity in the whole image, pixels."""
        return self.row.get("centre_x"), self.row.get("centre_y")

    def mask(self, shape: tuple[int, int]) -> Mask:
        """Its pixels in an image of (H, W): to the pixel those of which the outlines were made."""
        points = np.concatenate(self.cell + self.nucleus)
        left, top = (max(0, math.floor(low)) for low in points.min(axis=0))
        right, bottom = (min(end, math.ceil(high)) for high, end in zip(points.max(axis=0), shape[::-1], strict=True))
        corner = np.array([left, top], np.float32)
        cell, nucleus = ([ring - corner for ring in rings] for rings in (self.cell, self.nucleus))
        return Mask(top, left, filled_outlines((max(0, bottom - top), max(0, right - left)), cell, nucleus))


@dataclass(frozen=True, eq=False)
class HandedImage:
    """An image with its cells.

    Parameters
    ----------
    name
        Its path as it was measured, relative to its folder.
    stem
        What files about it are called: `name` without its ending, made safe, and unlike that of any other image.
    sha256
        That of its file; None where that is not known.
    shape
        Height and width of the whole image; None where they are not known.
    cells
        Its cells, in the order of their numbers.
    """

    name: str
    stem: str
    sha256: str | None
    shape: tuple[int, int] | None
    cells: tuple[HandedCell, ...]

    @property
    def um_per_px(self) -> float | None:
        """The side of a pixel; None where it is unknown, or not the same for all cells."""
        scales = {cell.row.get("um_per_px") for cell in self.cells}
        return scales.pop() if len(scales) == 1 else None

    @cached_property
    def size(self) -> tuple[int, int]:
        """Height and width, of an image whose size is known."""
        assert self.shape is not None
        return self.shape


@dataclass(frozen=True, eq=False)
class Handover:
    """Cells to hand over, from any source.

    `rows` gives, each time it is called, the rows of all cells as they hold, those of an image together; `about` says
    in words where they come from: the settings of a run, a selection, a case.
    """

    title: str
    about: Mapping[str, str]
    rows: Callable[[], Iterable[CellRow]]


def of_analyses(title: str, analyses: Sequence[CellAnalysis]) -> Handover:
    """The cells of an image that were analysed a moment ago."""
    rows = [
        cell_row(one, None, outlines={region: outlines(one.segmentation.labels, region) for region in OUTLINE_REGIONS})
        for one in analyses
    ]
    return Handover(title, {"source": "an image", "image": title}, lambda: rows)


@dataclass(eq=False)
class Handing:
    """One handing over: the images for a writer, and what was met on the way.

    `cells` and `images` count what the last pass gave, `left_out` the cells that it could not, by the reason, and
    `models` which model (id, SHA-256 of its file) or person outlined how many.
    """

    what: Handover
    units: Units = Units.PIXELS
    images: int = 0
    cells: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)

    def all_images(self) -> Iterator[HandedImage]:
        """Every image, one after the other."""
        self._begin()
        for image in images_of(self.what.rows()):
            self._count(image)
            yield image

    def drawn_images(self) -> Iterator[HandedImage]:
        """Every image of known size with the cells that have an outline, one after the other."""
        self._begin()
        for image in images_of(self.what.rows()):
            kept = tuple(cell for cell in image.cells if cell.cell and image.shape)
            if len(kept) < len(image.cells):
                self.left_out[NO_OUTLINE if image.shape else NO_SIZE] += len(image.cells) - len(kept)
            if kept:
                drawn = HandedImage(image.name, image.stem, image.sha256, image.shape, kept)
                self._count(drawn)
                yield drawn

    def frames(self) -> Iterator[tuple[list[HandedImage], pd.DataFrame]]:
        """Some images at a time with the table of their cells, a row a cell, with COLUMNS, in the units.

        Raises
        ------
        StoreError
            If micrometres are asked for and cells have no scale.
        """
        waiting: list[HandedImage] = []
        for image in self.all_images():
            waiting.append(image)
            if sum(len(one.cells) for one in waiting) >= _AT_ONCE:
                yield waiting, _frame(waiting, self.units)
                waiting = []
        if waiting:
            yield waiting, _frame(waiting, self.units)

    def provenance(self) -> dict[str, str]:
        """Where the cells come from, by which models, and by which software, as text; after a pass."""
        models = [
            {"model": name, **({"sha256": sha256} if sha256 else {}), "cells": count}
            for (name, sha256), count in sorted(self.models.items())
        ]
        return {
            "title": self.what.title,
            **self.what.about,
            "images": str(self.images),
            "cells": str(self.cells),
            "units": self.units.value,
            "outlined by": json.dumps(models),
            "software": json.dumps(software_versions(), sort_keys=True),
        }

    def _begin(self) -> None:
        self.images = self.cells = 0
        self.left_out.clear()
        self.models.clear()

    def _count(self, image: HandedImage) -> None:
        self.images += 1
        self.cells += len(image.cells)
        for cell in image.cells:
            self.models[_model_of(cell)] += 1


def features_in(frame: pd.DataFrame) -> list[str]:
    """The columns of a table that are features."""
    return [name for name in frame.columns if name in CATALOGUE]


def safe_part(part: str) -> str:
    """A part of a path as every system takes it, and, where it is harmless, as it is.

    Examples
    --------
    >>> safe_part("cell 5"), safe_part('a<b>:"c'), safe_part("nul"), safe_part("..")
    ('cell 5', 'a_b___c', '_nul', '_')
    """
    part = _FORBIDDEN.sub("_", shown(part).replace(REPLACED, "_"))
    part = part.encode()[:_LONGEST].decode("utf-8", "ignore").strip(" .")
    return f"_{part}" if not part or _RESERVED.match(part) else part


def images_of(rows: Iterable[CellRow]) -> Iterator[HandedImage]:
    """The images of rows, of which those of an image come one after the other."""
    taken: set[str] = set()
    for (name, _, sha256), group in itertools.groupby(rows, _image_of):
        own = list(group)
        sides = own[0].get("image_height"), own[0].get("image_width")
        shape = None if None in sides else (int(sides[0] or 0), int(sides[1] or 0))
        if shape is not None and any(_beyond(row, shape) for row in own):
            shape = None
        yield HandedImage(name, _free_stem(name, own[0].get("population"), taken), sha256, shape, _cells(own))


def _image_of(row: CellRow) -> tuple[str, str | None, str | None]:
    return str(row.get("image_path") or row.get("cell_id") or "image"), row.get("population"), row.get("image_sha256")


def _beyond(row: CellRow, shape: tuple[int, int]) -> bool:
    """Whether the cell was cut out of an image larger than that: earlier shards say the size of the cut-out."""
    place = _place(row)
    return place is not None and (place.left + place.width > shape[1] or place.top + place.height > shape[0])


def _place(row: CellRow) -> Any:  # noqa: ANN401
    return place_of(row) if "place_left" in row else None


def _free_stem(name: str, population: str | None, taken: set[str]) -> str:
    """The name without its ending; with it, the population or a number where another image is called so already."""
    *folders, last = (part for part in re.split(r"[/\\]", name) if part) if name.strip("/\\") else ("image",)
    stem, dot, ending = last.rpartition(".")
    stem = stem if dot and stem else last
    head = "/".join(map(safe_part, folders))
    head = f"{head}/" if head else ""
    wanted = [head + safe_part(stem), head + safe_part(f"{stem}_{ending}")]
    wanted += [f"{safe_part(population)}/{head}{safe_part(stem)}"] if population else []
    numbered = (f"{head}{safe_part(stem)}-{number}" for number in itertools.count(2))
    found = next(one for one in itertools.chain(wanted, numbered) if one.casefold() not in taken)
    taken.add(found.casefold())
    return found


def _cells(rows: Sequence[CellRow]) -> tuple[HandedCell, ...]:
    rows = sorted(rows, key=lambda row: row.get("cell_index") or 0)
    numbers = [int(row.get("cell_label") or (row.get("cell_index") or 0) + 1) for row in rows]
    if len(set(numbers)) < len(numbers):  # a table may say anything there
        numbers = list(range(1, len(rows) + 1))
    return tuple(_cell(row, number) for row, number in zip(rows, numbers, strict=True))


def _cell(row: CellRow, number: int) -> HandedCell:
    place = _place(row)
    corner = np.array([place.left, place.top] if place else [0, 0], np.float32)
    cell, nucleus = (
        tuple(ring + corner for ring in decode_rings(row.get(f"{region}_outline"))) for region in ("cell", "nucleus")
    )
    return HandedCell(row, number, cell, nucleus)


def _model_of(cell: HandedCell) -> tuple[str, str]:
    if cell.drawn_by is DrawnBy.PERSON:
        return "a person", ""
    try:
        known = json.loads(cell.row.get("versions") or "{}")
    except ValueError:
        known = {}
    return cell.row.get("model_id") or "not recorded", str(known.get(MODEL_FILE, "")) if isinstance(known, dict) else ""


def _frame(images: Sequence[HandedImage], units: Units) -> pd.DataFrame:
    rows = [cell.row for image in images for cell in image.cells]
    table = pa.Table.from_pylist(rows, schema=cohort_schema()).select(list(COLUMNS))
    # Whole numbers stay whole beside absent ones.
    return in_units(table.to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get), units)


def parts(labels: LabelMap) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Nucleus and whole cell, by name, as (H, W); an absent one is left out."""
    for name, region in (("nucleus", labels == Compartment.NUCLEUS), ("cell", labels >= Compartment.CYTOPLASM)):
        if region.any():
            yield name, region
