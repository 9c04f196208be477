"""The thesis's offline augmentation: an image and its mask become sixteen files, with a manifest of the originals.

Copy 0 is the original; copies 1 to 7 are its rotations by 45 degrees each; copy 8 is the flip, 9 to 15 the flip's
rotations. Right angles only move pixels. The other rotations need content from outside the image: the image is mirrored
there, except where the mirror would show the cell again. Those pixels are filled in from the background around, so that
no copy holds a cell, or a part of one, that is not in the mask. The mask itself is background out there, and a cell
that its own image cuts off stays cut off.
"""

import csv
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.errors import DataSetError
from core.domain.types import LabelMap
from core.evaluation.datasets import COPIES_MANIFEST, Sample
from core.image.imaging import encode_png
from core.image.masks import encode_grey, with_environment
from core.support import files
from training.augmentation import LabelledImage
from training.data import load_labelled, read_pairs

COPIES: Final = 16
_ROTATIONS: Final = 8


@dataclass(frozen=True)
class ManifestRow:
    """One copy on disk.

    `image_id` is its file name without ending, `original` and `group` are those of the image it was made of.
    """

    image_id: str
    original: str
    group: str
    cell_type: str
    copy: int
    flipped: bool
    degrees: int
    repaired_mask_pixels: int


def copies(item: LabelledImage) -> Iterator[LabelledImage]:
    """The sixteen copies in order, under the id of the original; a canvas grows only if a turned cell does not fit."""
    for flipped in (False, True):
        rgb, labels = (item.rgb[:, ::-1], item.labels[:, ::-1]) if flipped else (item.rgb, item.labels)
        around = surrounded(rgb, labels)
        for turn in range(_ROTATIONS):
            if turn % 2 == 0:
                # Counter-clockwise, as np.rot90 and as cv2 with its downward rows count them.
                turned = np.rot90(rgb, turn // 2), np.rot90(labels, turn // 2)
            else:
                turned = _rotated(*around, labels, math.radians(45 * turn))
            image, mask = (np.ascontiguousarray(pixels) for pixels in turned)
            # The ring is drawn anew: beyond the old edge there is room for what had been cut off of it.
            yield LabelledImage(item.sample_id, image, with_environment(LabelMap(mask)))


def _margin(shape: tuple[int, ...]) -> int:
    """Pixels around an image within which any rotation about its centre finds its canvas, wherever the cell is."""
    return math.ceil(math.hypot(*shape) / math.sqrt(2) - min(shape) / 2) + 1


def surrounded(rgb: NDArray[np.uint8], labels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image and label map with `_margin` pixels more on each side: mirrored, but without mirrored cells; background."""
    margin = _margin(labels.shape)
    wide = np.pad(rgb, [(margin, margin), (margin, margin), (0, 0)], mode="symmetric")
    seen = np.pad(labels, margin, mode="symmetric") > 0
    invented = seen.copy()
    inside = (slice(margin, -margin), slice(margin, -margin))
    invented[inside] = False
    if invented.any() and not seen.all():
        # The real cell is hidden from the filling too, or one at the edge would run out into the background.
        filled = cv2.inpaint(wide, seen.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        wide = np.where(invented[..., None], filled, wide)
    return wide, np.pad(labels, margin)


def _rotated(
    wide_rgb: NDArray[np.uint8], wide_labels: NDArray[np.uint8], labels: NDArray[np.uint8], angle: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rotate counter-clockwise about the centre; the canvas keeps its size and is moved to hold the whole cell."""
    height, width = labels.shape
    cosine, sine = math.cos(angle), math.sin(angle)
    rows, columns = np.nonzero(labels)
    x, y = columns - (width - 1) / 2, rows - (height - 1) / 2
    low, size = [], []
    for positions, side in ((cosine * x + sine * y, width), (cosine * y - sine * x, height)):
        first, last = (math.floor(positions.min()), math.ceil(positions.max())) if len(positions) else (0, 0)
        canvas = max(side, last - first + 1)
        low.append(min(max(-(canvas - 1) / 2, last - canvas + 1), first))
        size.append(canvas)
    # From a pixel of the canvas to one of the surrounded image.
    centre = (wide_labels.shape[1] - 1) / 2, (wide_labels.shape[0] - 1) / 2
    back = np.array(
        [
            [cosine, -sine, cosine * low[0] - sine * low[1] + centre[0]],
            [sine, cosine, sine * low[0] + cosine * low[1] + centre[1]],
        ]
    )

    def warp(pixels: NDArray[np.uint8], method: int) -> NDArray[np.uint8]:
        return np.asarray(
            cv2.warpAffine(pixels, back, (size[0], size[1]), flags=method | cv2.WARP_INVERSE_MAP), dtype=np.uint8
        )

    return warp(wide_rgb, cv2.INTER_LINEAR), warp(wide_labels, cv2.INTER_NEAREST)


def write_copies(samples: Sequence[Sample], folder: Path, *, on_image: Callable[[int], None] | None = None) -> int:
    """Write the sixteen copies of every sample as `images/`, `masks/` and `copies.csv`; returns how many.

    Masks have the coding 255/170/85. The folder is a data set of its own: its name can be given wherever that of a data
    set can, and its copies keep the group of their original. All pairs are read before the first copy is written, and
    the manifest comes last: an unfinished folder is no data set. If writing stops with an error, what was written is
    removed.

    Raises
    ------
    DataSetError
        If the folder holds anything already, a pair cannot be used, or images are copies themselves.
    """
    if folder.exists() and any(folder.iterdir()):
        msg = f"{folder} is not empty; give a new folder for the copies, or delete this one"
        raise DataSetError(msg)
    if turned := [sample.sample_id for sample in samples if sample.original is not None]:
        msg = f"{len(turned)} images are copies already, first {turned[0]}; name the data set they were made of"
        raise DataSetError(msg)
    if twice := [name for name, count in Counter(map(_flat_name, samples)).items() if count > 1]:
        msg = f"{len(twice)} images would be written under one name, first {twice[0]}; rename their files or folders"
        raise DataSetError(msg)
    for _ in read_pairs(samples):
        pass
    try:
        rows = _write_images(samples, folder, on_image)
        with files.replacing(folder / COPIES_MANIFEST) as made, made.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, [field.name for field in fields(ManifestRow)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    except BaseException:  # of Ctrl-C as of a full disk
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return len(rows)


def _flat_name(sample: Sample) -> str:
    return sample.sample_id.replace("/", "-")


def _write_images(samples: Sequence[Sample], folder: Path, on_image: Callable[[int], None] | None) -> list[ManifestRow]:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rows = []
    for number, sample in enumerate(samples, start=1):
        item, repaired = load_labelled(sample)
        for copy, turned in enumerate(copies(item)):
            flipped, turn = divmod(copy, _ROTATIONS)
            image_id = f"{_flat_name(sample)}-{copy:02d}"
            (folder / "images" / f"{image_id}.png").write_bytes(encode_png(turned.rgb))
            (folder / "masks" / f"{image_id}.png").write_bytes(encode_png(encode_grey(turned.labels)))
            rows.append(
                ManifestRow(
                    image_id,
                    sample.sample_id,
                    sample.group,
                    sample.cell_type.value,
                    copy,
                    bool(flipped),
                    45 * turn,
                    repaired,
                )
            )
        if on_image:
            on_image(number)
    return rows
