"""Images with boxes: drawn ones of four laboratories (`txl_pbc`), and those of drawn masks (set1, set2, bccd)."""

import csv
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.errors import DataSetError
from core.domain.objects import ObjectKind
from core.domain.settings import load_settings
from core.domain.types import LabelMap
from core.evaluation.datasets import data_set
from core.image.imaging import load
from training.data import load_labelled
from training.localiser.config import LocaliserConfig

KINDS: Final = tuple(ObjectKind)
_LEUKOCYTE, _PLATELET, _RED_CELL = (
    KINDS.index(kind) for kind in (ObjectKind.LEUKOCYTE, ObjectKind.PLATELET, ObjectKind.RED_CELL)
)
# The classes of txl_pbc's label files.
_CLASSES: Final = (_LEUKOCYTE, _RED_CELL, _PLATELET)
# Images are kept with at most so many pixels a side: their largest objects are then as large as a scene shows them.
_MOST: Final = {"Raabin-WBC": 384}
_MOST_OTHERWISE: Final = 512
# Connected drawn pixels of less area are no cell (BCCD, 640x480).
_LEAST_AREA: Final = 2000
# A box of a leukocyte below so many diameters of the image's red cells was drawn around one of those (Raabin: 3).
_LEAST_OF_RED_CELL: Final = 1.1
# A leukocyte has the diameter of so many red cells, where none shows it.
_LEUKOCYTE_OF_RED_CELL: Final = 1.9


@dataclass(frozen=True, eq=False)
class BoxedImage:
    """An image with the boxes of its objects, in its own pixels, and where it comes from.

    `kinds` number KINDS; of the kinds that are not in `labelled`, not every object has a box. `group` is of images that
    belong together; `labels` the drawn masks where there are any; `scale` how many pixels one of the file's is.
    """

    image_id: str
    source: str
    group: str
    rgb: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    kinds: NDArray[np.intp]
    labelled: frozenset[int]
    scale: float = 1.0
    labels: LabelMap | None = None

    def diameters(self, kind: int) -> NDArray[np.float32]:
        """Of the objects of a kind."""
        boxes = self.boxes[self.kinds == kind]
        return np.asarray(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)), dtype=np.float32)

    @property
    def leukocyte_diameter(self) -> float:
        """The median of its leukocytes, or what its red cells let expect, or a quarter of the image."""
        for kind, times in ((_LEUKOCYTE, 1.0), (_RED_CELL, _LEUKOCYTE_OF_RED_CELL)):
            if len(found := self.diameters(kind)):
                return times * float(np.median(found))
        return float(max(self.rgb.shape[:2])) / 4


def read_boxed(sources: Sequence[str]) -> list[BoxedImage]:
    """All images of some sources, reduced to the size at which scenes are made of them.

    An original that is in `bccd` and among txl_pbc's BCCD comes once, with all its boxes.

    Raises
    ------
    DataSetError
        If a source is unknown or its folder is missing.
    """
    images: list[BoxedImage] = []
    drawn = [source for source in sources if source in ("BCCD", "BCDD", "PBC", "Raabin-WBC")]
    if drawn:
        images += _txl_pbc(drawn)
    known = {image.group for image in images}
    for source in sources:
        if source == "bccd":
            images += [image for image in _bccd() if image.group not in known]
        elif source in ("set1", "set2"):
            images += _masked(source)
        elif source not in drawn:
            msg = f"no boxes are known for the source {source!r}"
            raise DataSetError(msg)
    return [_reduced(image) for image in images]


def split_boxed(
    images: Sequence[BoxedImage], config: LocaliserConfig
) -> tuple[list[BoxedImage], list[BoxedImage], list[BoxedImage]]:
    """Those to learn from, those to choose thresholds on, and those that are left out; groups stay whole.

    BCCD's fields were taken one after the other, and twins lie close to each other: its last ones are for validation.
    """
    held = [image for image in images if image.source in config.leave_out]
    rest = [image for image in images if image.source not in config.leave_out]
    fields = sorted({image.group for image in rest if image.group.startswith("BCCD/")})
    last = set(fields[round((1 - config.validation) * len(fields)) :])
    train: list[BoxedImage] = []
    validation: list[BoxedImage] = []
    for image in rest:
        digest = hashlib.sha256(f"{config.seed} {image.group}".encode()).digest()
        drawn = int.from_bytes(digest[:4], "big") / 2**32 < config.validation
        (validation if (image.group in last if image.group.startswith("BCCD/") else drawn) else train).append(image)
    return train, validation, held


def _folder(name: str) -> Path:
    folder = load_settings().data / name
    if not folder.is_dir():
        msg = f"the data folder has no {name}; its README names the public source to download"
        raise DataSetError(msg)
    return folder


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _txl_pbc(sources: Sequence[str]) -> Iterator[BoxedImage]:
    folder = _folder("txl_pbc")
    for row in _rows(folder):
        if row["source"] not in sources:
            continue
        rgb = load(folder / "images" / row["file"]).rgb
        text = (folder / "labels" / row["file"]).with_suffix(".txt").read_text(encoding="utf-8")
        table = np.array([line.split() for line in text.splitlines()], dtype=np.float32).reshape(-1, 5)
        middle, half = table[:, 1:3], table[:, 3:5] / 2
        sides = np.array([rgb.shape[1], rgb.shape[0]] * 2, dtype=np.float32)
        boxes = np.concatenate([middle - half, middle + half], axis=1) * sides
        kinds = np.array([_CLASSES[int(number)] for number in table[:, 0]], dtype=np.intp)
        image = BoxedImage(row["file"], row["source"], _group(row), rgb, boxes, kinds, frozenset(range(len(KINDS))))
        if _plausible(image):
            yield image


def _group(row: dict[str, str]) -> str:
    if row["source"] == "BCCD":
        return _bccd_group(row["original"])
    return f"{row['source']}/{row['slide'] or row['file']}"


def _bccd_group(name: str) -> str:
    return f"BCCD/{int(re.findall(r'[0-9]+', name)[-1]):05d}"


def _plausible(image: BoxedImage) -> bool:
    """Whether none of an image's leukocyte boxes was drawn around a red cell (Raabin's are the largest leukocytes)."""
    red = image.diameters(_RED_CELL)
    white = image.diameters(_LEUKOCYTE)
    return not (
        image.source == "Raabin-WBC" and len(red) and len(white) and white.min() < _LEAST_OF_RED_CELL * np.median(red)
    )


def _bccd() -> Iterator[BoxedImage]:
    folder = _folder("bccd")
    for row in _rows(folder):
        rgb = load(folder / "images" / row["file"]).rgb
        grey = np.asarray(Image.open((folder / "masks" / row["file"]).with_suffix(".png")).convert("L"))
        drawn = np.where(grey > 191, Compartment.NUCLEUS, np.where(grey > 63, Compartment.CYTOPLASM, 0))
        parts, _ = ndimage.label(grey > 63)
        large = [part for part in np.unique(parts[parts > 0]) if np.count_nonzero(parts == part) >= _LEAST_AREA]
        boxes = np.array([_box(parts == part) for part in large], dtype=np.float32).reshape(-1, 4)
        kinds = np.full(len(boxes), _LEUKOCYTE, dtype=np.intp)
        labels = LabelMap(drawn.astype(np.uint8))
        group = _bccd_group(row["file"])
        yield BoxedImage(row["file"], "bccd", group, rgb, boxes, kinds, _WHITE_ONLY, labels=labels)


# Where only leukocytes have boxes; nothing on these images is a smudge cell.
_WHITE_ONLY: Final = frozenset({_LEUKOCYTE, KINDS.index(ObjectKind.SMUDGE)})


def _masked(name: str) -> Iterator[BoxedImage]:
    for sample in data_set(name).samples():
        item, _ = load_labelled(sample)
        cell = (item.labels == Compartment.NUCLEUS) | (item.labels == Compartment.CYTOPLASM)
        boxes = np.array([_box(cell)], dtype=np.float32)
        kinds = np.array([_LEUKOCYTE], dtype=np.intp)
        yield BoxedImage(sample.sample_id, name, sample.group, item.rgb, boxes, kinds, _WHITE_ONLY, labels=item.labels)


def _box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _reduced(image: BoxedImage) -> BoxedImage:
    """With fewer pixels where it has more than a scene needs."""
    height, width = image.rgb.shape[:2]
    factor = _MOST.get(image.source, _MOST_OTHERWISE) / max(height, width)
    if factor >= 1:
        return image
    size = (round(width * factor), round(height * factor))
    rgb = np.asarray(Image.fromarray(image.rgb).resize(size, Image.Resampling.BILINEAR))
    labels = image.labels
    if labels is not None:
        labels = LabelMap(np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)))
    boxes = image.boxes * np.float32(factor)
    return replace(image, rgb=rgb, boxes=boxes, labels=labels, scale=factor)


def completed(boxes: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes that end at the image's edge made as long, across that edge, as they are along it: cells are round."""
    whole = boxes.copy()
    sides = boxes[:, 2:] - boxes[:, :2]
    ends = (shape[1], shape[0])
    for axis in (0, 1):
        lacking = np.maximum(sides[:, 1 - axis] - sides[:, axis], 0)
        near = 0.02 * sides.max(axis=1) + 1
        at_start, at_end = boxes[:, axis] <= near, boxes[:, axis + 2] >= ends[axis] - near
        whole[:, axis] -= np.where(at_start & ~at_end, lacking, 0)
        whole[:, axis + 2] += np.where(at_end & ~at_start, lacking, 0)
    return whole


def median_or(values: NDArray[np.float32], otherwise: float) -> float:
    """The median, or something else of nothing."""
    return float(np.median(values)) if len(values) else otherwise


def log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """A draw whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))
