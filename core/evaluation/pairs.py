"""Pairs of an image and its drawn mask as training takes them: one judgement, for training and for a look before it."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.errors import DataSetError, ImageError
from core.domain.types import CellImage, LabelMap
from core.evaluation.datasets import Sample, drawn_mask
from core.image.imaging import load
from core.image.mask_levels import DecodedMask
from core.image.masks import cell_mask, with_environment

logger = logging.getLogger(__name__)

# What some mask of a data set must show.
REGIONS: Final = ("nucleus", "cytoplasm")


@dataclass(frozen=True, eq=False)
class DrawnPair:
    """A pair as it is learnt from.

    `labels` show the largest cell and its environment, `others` where the further cells of the mask lie; `mask` is what
    was read of the file.
    """

    image: CellImage
    mask: DecodedMask
    labels: LabelMap
    others: NDArray[np.bool_]

    @property
    def repaired_share(self) -> float:
        """Repaired pixels over those drawn as nucleus or cytoplasm: beside the background they would look few."""
        return self.mask.repaired / int(np.count_nonzero(cell_mask(self.mask.labels)))


def read_pair(sample: Sample) -> DrawnPair:
    """Read a pair, leave its largest cell alone and draw the environment around it.

    Raises
    ------
    DataSetError
        If there is no mask, one of them cannot be read, or the mask shows no cell.
    MaskError
        If the mask does not say what it shows, or they differ in size.
    """
    part = "image"
    try:
        image = load(sample.image)
        part = "mask"
        mask = drawn_mask(sample, image.shape)
    except ImageError as error:
        msg = f"{sample.sample_id}: the {part} {error}"
        raise DataSetError(msg) from error
    labels, others = _largest_cell(mask.labels)
    if not cell_mask(labels).any():
        msg = f"{sample.sample_id}: the mask shows no cell; leave the pair out"
        raise DataSetError(msg)
    return DrawnPair(image, mask, with_environment(labels, keep_out=others), others)


def _largest_cell(labels: LabelMap) -> tuple[LabelMap, NDArray[np.bool_]]:
    """The label map without any but the largest cell, and where the others are: a window is to show one cell."""
    cells = cell_mask(labels)
    parts, count = ndimage.label(cells)
    if count < 2:
        return labels, np.zeros(labels.shape, bool)
    others = cells & (parts != int(np.argmax(np.bincount(parts[cells]))))
    return LabelMap(np.where(others, np.uint8(Compartment.BACKGROUND), labels)), others


def joined(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with groups that share an image file merged, whatever `labels.csv` says."""
    merged: dict[str, str] = {}
    first: dict[bytes, str] = {}

    def group_of(group: str) -> str:
        while group in merged:
            group = merged[group]
        return group

    for sample in samples:
        mine = group_of(sample.group)
        theirs = group_of(first.setdefault(digest(sample.image), mine))
        if mine != theirs:
            merged[mine] = theirs
    if merged:
        logger.info(
            "%d images are in a group with an equal one: never one of them learnt from and another tested on",
            len(merged),
        )
    return [replace(sample, group=group_of(sample.group)) for sample in samples]


def digest(path: Path) -> bytes:
    """The SHA-256 of a file's content; of a file that cannot be read its name, as reading it will report."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return bytes(path)


def divided(
    samples: Sequence[Sample],
    seed: int,
    validation: float,
    test: float,
    known: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, list[Sample]]:
    """Train, validation and test: groups stay whole, each stratum (data set and cell type) is divided in proportion.

    `validation` and `test` are shares of the groups. `known` are the parts, as ids of samples, of a split that initial
    weights were trained on: what it names stays where it is, or weights would be tested on what they have learnt from.
    """
    rng = np.random.default_rng(seed)
    part_of = {sample_id: part for part, ids in known.items() for sample_id in ids}
    settled = {sample.group: part_of[sample.sample_id] for sample in samples if sample.sample_id in part_of}
    groups: dict[str, list[Sample]] = {}
    parts: dict[str, list[Sample]] = {"train": [], "validation": [], "test": []}
    for sample in samples:
        if sample.group in settled:
            parts[settled[sample.group]].append(sample)
        else:
            groups.setdefault(sample.group, []).append(sample)
    strata: dict[str, list[str]] = {}
    for group, members in groups.items():
        strata.setdefault(f"{members[0].sample_id.split('/')[0]}:{members[0].cell_type}", []).append(group)
    for stratum in sorted(strata):
        names = [strata[stratum][i] for i in rng.permutation(len(strata[stratum]))]
        tested = round(test * len(names))
        validated = round(validation * len(names))
        for part, chosen in (
            ("test", names[:tested]),
            ("validation", names[tested : tested + validated]),
            ("train", names[tested + validated :]),
        ):
            parts[part].extend(sample for name in chosen for sample in groups[name])
    return parts


# --- what stops a training of all of them -----------------------------------------------------------------------------


def shown_by_none(region: str, number: int) -> str:
    """Why nothing is learnt from so many masks of which none shows a region."""
    return f"none of the {number} masks shows {region}; background is 0, cytoplasm 128 (or 170 beside 85), nucleus 255"


def empty_part(parts: Mapping[str, Sequence[Sample]]) -> str:
    """Why a split is none; empty where every part has images."""
    if all(parts.values()):
        return ""
    counts = ", ".join(f"{part} {len(members)}" for part, members in parts.items())
    return f"every part needs images, but there are: {counts}; give more images, or fewer cell types"


def too_few_for_folds(groups: int, k: int) -> str:
    """Why so many independent images cannot be dealt into k folds; empty where they can."""
    if groups >= k:
        return ""
    return (
        f"{k} folds need at least as many independent images, but there are {groups}; give more images, or a smaller k"
    )
