"""Scores of a segmenter on drawn masks, found, drawn and post-processed as everywhere else."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain.compartments import CHANNELS, Compartment
from core.domain.types import BoundingBox, CellImage, LabelMap
from core.evaluation.datasets import Sample, drawn_twice
from core.evaluation.metrics import overlap
from core.image.imaging import load
from core.image.masks import cell_mask, region_mask
from core.image.stain import appearance, appearance_distance
from core.pipeline import OutlinedCell, outline_cells
from core.segmentation.field_of_view import composed
from core.segmentation.segmenter import Segmenter
from training.data import load_labelled

REGIONS = ("nucleus", "cytoplasm", "cell")
# An image is unlike the training images from this multiple of their own 99th percentile of distance on: other
# laboratories' cells of the same stain family stay inside (measured: largest 5.2 of 390 cells, limit about 7.1).
APPEARANCE_MARGIN = 1.5
# One image, or several of one cell, do not show how far chance moves a mean.
MIN_GROUPS = 2
# Fewer do not show how they vary: five for each of the six numbers that describe an appearance.
MIN_APPEARANCES = 30


@dataclass(frozen=True)
class ImageScore:
    """Dice and IoU by region of one image, NaN where the region is in neither mask, and the confidence."""

    sample_id: str
    cell_type: str
    dice: dict[str, float]
    iou: dict[str, float]
    confidence: float


def evaluate(
    segmenter: Segmenter, samples: Sequence[Sample], *, on_image: Callable[[int], None] | None = None
) -> list[ImageScore]:
    """Segment every sample and compare it with its drawn mask."""
    scores = []
    for number, sample in enumerate(samples, start=1):
        truth = load_labelled(sample)[0].labels
        cell, labels = drawn_one(load(sample.image), truth, segmenter)
        confidence = cell.segmentation.confidence or 0.0
        scores.append(score_labels(sample.sample_id, sample.cell_type, labels, truth, confidence))
        if on_image:
            on_image(number)
    return scores


def drawn_one(image: CellImage, truth: LabelMap, segmenter: Segmenter) -> tuple[OutlinedCell, LabelMap]:
    """Of the cells found in an image the one that shares most with the drawn cell, and its label map of the image."""
    whole = BoundingBox(0, 0, image.shape[1], image.shape[0])
    found = [
        (cell, composed(image.shape, [(cell.place or whole, cell.segmentation.labels)])[0])
        for cell in outline_cells(image, segmenter)
    ]
    drawn = cell_mask(truth)
    return max(found, key=lambda pair: np.count_nonzero(drawn & cell_mask(pair[1])))


def score_labels(sample_id: str, cell_type: str, predicted: LabelMap, truth: LabelMap, confidence: float) -> ImageScore:
    """Score a label map (H, W) against the drawn one."""
    pairs = {region: overlap(region_mask(predicted, region), region_mask(truth, region)) for region in REGIONS}
    return ImageScore(
        sample_id, cell_type, {k: p.dice for k, p in pairs.items()}, {k: p.iou for k, p in pairs.items()}, confidence
    )


def score_channels(
    sample_id: str, cell_type: str, predicted: NDArray[np.bool_], drawn: NDArray[np.bool_], confidence: float
) -> ImageScore:
    """Score binary channels (len(CHANNELS), H, W) of a network; the cell is nucleus and cytoplasm together."""
    nucleus, cytoplasm = CHANNELS.index(Compartment.NUCLEUS), CHANNELS.index(Compartment.CYTOPLASM)

    def regions(channels: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
        cell = channels[nucleus] | channels[cytoplasm]
        return {"nucleus": channels[nucleus], "cytoplasm": channels[cytoplasm], "cell": cell}

    pairs = {region: overlap(mask, regions(drawn)[region]) for region, mask in regions(predicted).items()}
    return ImageScore(
        sample_id, cell_type, {k: p.dice for k, p in pairs.items()}, {k: p.iou for k, p in pairs.items()}, confidence
    )


def dice_by_image(scores: Sequence[ImageScore]) -> dict[str, dict[str, float]]:
    """The Dice of each image by its id, as `core.evaluation.paired` compares them."""
    return {score.sample_id: score.dice for score in scores}


def summarise(
    scores: Sequence[ImageScore], *, seed: int = 7, groups: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Per region: mean Dice with a 95 % bootstrap interval over images, spread, mean IoU, share under 0.8.

    The interval is empty below MIN_GROUPS; `groups` names those of images that do not stand alone. `mean_dice` is the
    thesis's, the mean of nucleus and cytoplasm. Images in which a region is in neither mask do not count for that
    region; a region that no image has is left out.
    """
    rng = np.random.default_rng(seed)
    result: dict[str, Any] = {"images": len(scores)}
    for region in REGIONS:
        counted = [score for score in scores if not math.isnan(score.dice[region])]
        if not counted:
            continue
        dice, iou = np.array([(score.dice[region], score.iou[region]) for score in counted]).T
        independent = len({groups.get(score.sample_id, score.sample_id) for score in counted})
        resampled = dice[rng.integers(len(dice), size=(2000, len(dice)))].mean(axis=1)
        ends = np.percentile(resampled, [2.5, 97.5]) if independent >= MIN_GROUPS else ()
        result[region] = {
            "dice_mean": round(float(dice.mean()), 4),
            "dice_ci95": [round(float(end), 4) for end in ends],
            "dice_std": round(float(dice.std()), 4),
            "iou_mean": round(float(iou.mean()), 4),
            "below_0.8": round(float((dice < 0.8).mean()), 4),
        }
    means = [result[region]["dice_mean"] for region in ("nucleus", "cytoplasm") if region in result]
    if means:
        result["mean_dice"] = round(sum(means) / len(means), 4)
    return result


def in_words(scores: dict[str, Any]) -> str:
    """The results of `summarise` as lines, one a region."""
    lines = []
    for region in REGIONS:
        if summary := scores.get(region):
            ends = " to ".join(f"{end:.4f}" for end in summary["dice_ci95"])
            interval = (
                f"95 % interval of the mean {ends}" if ends else f"no interval below {MIN_GROUPS} independent images"
            )
            lines.append(f"  {region:9} Dice {summary['dice_mean']:.4f} +- {summary['dice_std']:.4f} ({interval})")
    return "\n".join(lines)


def in_a_line(scores: dict[str, Any]) -> str:
    """The same on one line: mean Dice of each region, and its 95 % interval."""
    summaries = [(region, scores[region]) for region in REGIONS if region in scores]
    return ", ".join(
        f"{region} {summary['dice_mean']:.4f} ({'-'.join(map('{:.4f}'.format, summary['dice_ci95'])) or 'no interval'})"
        for region, summary in summaries
    )


def by_cell_type(scores: Sequence[ImageScore]) -> dict[str, Any]:
    """`summarise` for each cell type, in order of name."""
    names = sorted({str(score.cell_type) for score in scores})
    return {name: summarise([score for score in scores if score.cell_type == name]) for name in names}


def by_data_set(scores: Sequence[ImageScore], *, groups: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """`summarise` for each data set, in order of name."""
    names = sorted({score.sample_id.split("/")[0] for score in scores})
    return {
        name: summarise([score for score in scores if score.sample_id.startswith(f"{name}/")], groups=groups)
        for name in names
    }


def appearance_of(samples: Sequence[Sample]) -> dict[str, Any]:
    """Stain of samples with drawn masks, for the card: mean, covariance, and the distance that counts as unlike.

    Empty for fewer than MIN_APPEARANCES.
    """
    vectors: list[NDArray[np.float64]] = []
    for sample in samples:
        item = load_labelled(sample)[0]
        vector = appearance(item.rgb, region_mask(item.labels, "nucleus"), region_mask(item.labels, "cytoplasm"))
        if vector is not None:
            vectors.append(vector)
    if len(vectors) < MIN_APPEARANCES:
        return {}
    table = np.array(vectors)
    mean, covariance = table.mean(axis=0), np.cov(table.T)
    distances = [appearance_distance(vector, mean, covariance) for vector in table]
    limit = APPEARANCE_MARGIN * float(np.percentile(distances, 99))
    return {"images": len(table), "mean": mean.tolist(), "covariance": covariance.tolist(), "limit": limit}


def annotator_agreement(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Dice between the drawn masks of (near-)identical images: how well the annotators agree with themselves.

    One row per pair of `drawn_twice`, named by `first` and `second`.
    """
    rows = []
    for first, second in drawn_twice(samples):
        a, b = (load_labelled(sample)[0].labels for sample in (first, second))
        dice = {region: round(overlap(region_mask(a, region), region_mask(b, region)).dice, 4) for region in REGIONS}
        rows.append({"first": first.sample_id, "second": second.sample_id, **dice})
    return rows
