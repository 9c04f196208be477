"""Pseudo-labels: a network outlines images without masks, and its consistent outlines become a training set.

The folder it makes is a data set like any (`core.evaluation.datasets.data_set` reads it), holds copies of the images,
and must stay out of the repository. Beside the masks lies the teacher's own split: training refuses pseudo-labels whose
teacher saw what is to be tested on.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CellType
from core.domain.compartments import CHANNELS, Compartment
from core.domain.errors import DataSetError, UsageError
from core.domain.types import LabelMap
from core.evaluation.datasets import Sample, data_set
from core.evaluation.metrics import overlap
from core.image.imaging import encode_png, load
from core.image.masks import cell_mask, encode_grey, region_mask
from core.image.window import Window, resample_labels
from core.quality.assessment import assess
from core.segmentation.segmenter import TwoPassSegmenter
from core.support import files
from training.loop import SPLIT_FILE

SEEN_FILE: Final = "seen.csv"
LABELS_FILE: Final = "labels.csv"
# What a data set's terms say where its images must not be trained on.
_FORBIDDEN: Final = "never used for training"
# Rotations by right angles, of the image or of its mirror image, in which the teacher must say the same.
_TURNS: Final = ((1, False), (2, True), (3, False))
_NUCLEUS, _CYTOPLASM = CHANNELS.index(Compartment.NUCLEUS), CHANNELS.index(Compartment.CYTOPLASM)


@dataclass(frozen=True)
class Verdict:
    """The result of one image: the least Dice between its mask and those of turned views, and why it was left out."""

    image_id: str
    cell_type: str
    agreement_nucleus: float
    agreement_cytoplasm: float
    confidence: float
    left_out: str
    duplicate_group: str = ""


def unlabelled_samples(name: str, cell_types: Sequence[CellType], limit: int, seed: int) -> list[Sample]:
    """At most `limit` images of a data set (0: all), drawn evenly over the cell types.

    Raises
    ------
    UsageError
        If the data set's terms forbid training.
    DataSetError
        If it has no such cells.
    """
    entry = data_set(name)
    if _FORBIDDEN in entry.terms:
        msg = f"{name} must not be trained on: {entry.terms}"
        raise UsageError(msg)
    rng = np.random.default_rng(seed)
    by_type: dict[CellType, list[Sample]] = {}
    for sample in entry.samples():
        if sample.cell_type in cell_types:
            by_type.setdefault(sample.cell_type, []).append(sample)
    if not by_type:
        msg = f"{name} has no images of {', '.join(cell_types)}"
        raise DataSetError(msg)
    each = -(-limit // len(by_type))
    chosen = [of_type[int(i)] for of_type in by_type.values() for i in rng.permutation(len(of_type))[: each or None]]
    return sorted(chosen, key=lambda sample: sample.sample_id)


def consistency(teacher: TwoPassSegmenter, rgb: NDArray[np.uint8], labels: LabelMap) -> tuple[float, float]:
    """The least Dice, of nucleus and of cytoplasm, between a label map and the teacher's of turned fine windows."""
    size, least = teacher.card.input_size, {"nucleus": 1.0, "cytoplasm": 1.0}
    for quarters, mirrored in _TURNS:
        turned, expected = (
            np.ascontiguousarray(np.rot90(a[:, ::-1] if mirrored else a, quarters)) for a in (rgb, labels)
        )
        window = Window.around(cell_mask(LabelMap(expected)), teacher.card.cell_fill)
        maps = teacher.probabilities(turned, window)
        cell = maps[_NUCLEUS] + maps[_CYTOPLASM] >= 0.5
        nucleus = cell & (maps[_NUCLEUS] > maps[_CYTOPLASM])
        on_grid = LabelMap(resample_labels(expected, window, size))
        for region, mask in (("nucleus", nucleus), ("cytoplasm", cell & ~nucleus)):
            least[region] = min(
                least[region], float(np.nan_to_num(overlap(mask, region_mask(on_grid, region)).dice, nan=0.0))
            )
    return least["nucleus"], least["cytoplasm"]


def write_pseudo(
    teacher: TwoPassSegmenter,
    split: Path,
    samples: Sequence[Sample],
    folder: Path,
    *,
    least_agreement: float,
    on_image: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Outline every sample and keep the consistent ones as a data set in `folder`; continues a killed run.

    An image is kept where nucleus and cytoplasm agree with every turned view at least so well, no severe flag was
    raised, and no other stained nucleus is in the image. `split` is the teacher's record of what it was trained on.
    Returns the numbers kept and seen.
    """
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / SPLIT_FILE).write_text(split.read_text(encoding="utf-8"), encoding="utf-8")
    seen = _read(folder / SEEN_FILE)
    with (folder / SEEN_FILE).open("a", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [field.name for field in fields(Verdict)])
        if not seen:
            writer.writeheader()
        for number, sample in enumerate(samples, start=1):
            image_id = sample.sample_id.replace("/", "-").removesuffix(sample.image.suffix)
            if image_id not in seen:
                verdict = _judge(teacher, sample, image_id, folder, least_agreement)
                seen[image_id] = {key: str(value) for key, value in asdict(verdict).items()}
                writer.writerow(asdict(verdict))
                handle.flush()
            if on_image:
                on_image(number)
    kept = [row for row in seen.values() if not row["left_out"]]
    # Last: only with it is the folder a data set of typed cells.
    with files.replacing(folder / LABELS_FILE) as made, made.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, [field.name for field in fields(Verdict)])
        writer.writeheader()
        writer.writerows(kept)
    return len(kept), len(seen)


def _read(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as handle:
        return {row["image_id"]: row for row in csv.DictReader(handle)}


def _judge(teacher: TwoPassSegmenter, sample: Sample, image_id: str, folder: Path, least_agreement: float) -> Verdict:
    image = load(sample.image)
    segmentation = teacher.segment(image)
    agreement, reason = (0.0, 0.0), "no cell"
    if cell_mask(segmentation.labels).any():
        agreement = consistency(teacher, image.rgb, segmentation.labels)
        severe = [flag.code for flag in assess(image, segmentation, teacher.card) if flag.severe]
        reason = ""
        if severe:
            reason = " ".join(severe)
        elif segmentation.other_cells:
            reason = "several cells"
        elif min(agreement) < least_agreement:
            reason = "inconsistent"
    if not reason:
        (folder / "masks" / f"{image_id}.png").write_bytes(encode_png(encode_grey(segmentation.labels)))
        (folder / "images" / f"{image_id}{sample.image.suffix}").write_bytes(sample.image.read_bytes())
    nucleus, cytoplasm = (round(value, 4) for value in agreement)
    return Verdict(
        image_id, str(sample.cell_type), nucleus, cytoplasm, round(segmentation.confidence or 0.0, 4), reason
    )
