"""How a model does in each laboratory, as a user meets it: what is found, how it is outlined, and whether it knows.

Every image goes through the whole pipeline with default settings. Where a mask is drawn, all cells of the picture
together are compared with it; where only boxes are, the box of each outline with the drawn one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.domain.types import BoundingBox, CellAnalysis, LabelMap
from core.evaluation.datasets import Sample, drawn_mask
from core.evaluation.drawn_boxes import box_iou, leukocyte_boxes
from core.evaluation.metrics import overlap
from core.image.imaging import load
from core.image.masks import cell_mask, region_mask
from core.image.morphology import bounds
from core.pipeline import analyse_cells
from core.segmentation.field_of_view import composed
from core.segmentation.segmenter import Segmenter

# An outline is wrong below the first Dice (or intersection over union of boxes), right from the second on.
WRONG: Final = 0.8
RIGHT: Final = 0.9
# A drawn cell is missed, and a found one false, where no box of the other kind fits its own so well.
_FOUND: Final = 0.3
_RESAMPLES: Final = 2000
REGIONS: Final = ("nucleus", "cytoplasm", "cell")


@dataclass(frozen=True)
class ImageOutcome:
    """The result of one image: `fits` are its Dice by region, or its mean intersection over union of boxes (`box`)."""

    sample_id: str
    laboratory: str
    group: str
    fits: dict[str, float]
    drawn: int
    missed: int
    false: int
    good: bool

    @property
    def fit(self) -> float:
        """What says whether the outline is right: Dice of the cell, or that of the boxes."""
        return self.fits.get("cell", self.fits.get("box", float("nan")))


def score_laboratories(
    segmenter: Segmenter, samples: Sequence[Sample], *, on_image: Callable[[int], None] | None = None
) -> list[ImageOutcome]:
    """Analyse every image and compare it with what is drawn."""
    outcomes = []
    for number, sample in enumerate(samples, start=1):
        image = load(sample.image)
        cells = analyse_cells(image, segmenter)
        placed = [(cell.place or BoundingBox(0, 0, *image.shape[::-1]), cell.segmentation.labels) for cell in cells]
        good = bool(cells) and all(map(_is_good, cells))
        outcomes.append(
            _of_mask(sample, image.shape, placed, good) if sample.mask else _of_boxes(sample, image.shape, placed, good)
        )
        if on_image:
            on_image(number)
    return outcomes


def _is_good(cell: CellAnalysis) -> bool:
    return not any(flag.severe for flag in cell.flags)


def _of_mask(
    sample: Sample, shape: tuple[int, int], placed: Sequence[tuple[BoundingBox, LabelMap]], good: bool
) -> ImageOutcome:
    truth = drawn_mask(sample, shape).labels
    found, _ = composed(shape, placed)
    fits = {region: overlap(region_mask(found, region), region_mask(truth, region)).dice for region in REGIONS}
    return ImageOutcome(
        sample.sample_id, _laboratory(sample), sample.group, fits, 1, int(not cell_mask(found).any()), 0, good
    )


def _of_boxes(
    sample: Sample, shape: tuple[int, int], placed: Sequence[tuple[BoundingBox, LabelMap]], good: bool
) -> ImageOutcome:
    drawn = [box.sides for box in leukocyte_boxes(sample, shape)]
    found = [_box(place, labels) for place, labels in placed if cell_mask(labels).any()]
    best = [max((box_iou(box, other) for other in found), default=0.0) for box in drawn]
    false = sum(max((box_iou(box, other) for other in drawn), default=0.0) < _FOUND for box in found)
    fits = {"box": float(np.mean(best))} if best else {}
    missed = sum(fit < _FOUND for fit in best)
    return ImageOutcome(sample.sample_id, _laboratory(sample), sample.group, fits, len(drawn), missed, false, good)


def _box(place: BoundingBox, labels: LabelMap) -> NDArray[np.float64]:
    rows, columns = bounds(cell_mask(labels))
    corner = np.array([place.left, place.top] * 2)
    return corner + np.array([columns.start, rows.start, columns.stop, rows.stop], dtype=np.float64)


def _laboratory(sample: Sample) -> str:
    """The data set, with the source where it is a collection of several."""
    parts = sample.sample_id.split("/")
    return "/".join(parts[:-1])


def by_laboratory(outcomes: Sequence[ImageOutcome]) -> dict[str, dict[str, Any]]:
    """For each laboratory means with 95 % intervals, and shares, as `summary` gives them."""
    names = sorted({outcome.laboratory for outcome in outcomes})
    return {name: summary([outcome for outcome in outcomes if outcome.laboratory == name]) for name in names}


def summary(outcomes: Sequence[ImageOutcome], *, seed: int = 7) -> dict[str, Any]:
    """Mean fits with a 95 % interval, and what is missed, false, wrong and unflagged, or right and refused.

    The intervals are of a bootstrap over groups: what was taken together is not independent.
    """
    rng = np.random.default_rng(seed)
    fits = np.array([outcome.fit for outcome in outcomes])
    good = np.array([outcome.good for outcome in outcomes])
    known = ~np.isnan(fits)
    result: dict[str, Any] = {"images": len(outcomes), "drawn": sum(outcome.drawn for outcome in outcomes)}
    for name in (*REGIONS, "box"):
        values = np.array([outcome.fits.get(name, np.nan) for outcome in outcomes])
        if not np.isnan(values).all():
            groups = [outcome.group for outcome in outcomes]
            result[name] = {"mean": _rounded(np.nanmean(values)), "ci95": _interval(values, groups, rng)}
    result["wrong"] = _rounded((fits[known] < WRONG).mean()) if known.any() else None
    result["missed"] = sum(outcome.missed for outcome in outcomes)
    result["false"] = sum(outcome.false for outcome in outcomes)
    result["wrong_and_unflagged"] = _rounded(((fits < WRONG) & good)[known].mean()) if known.any() else None
    right = known & (fits >= RIGHT)
    result["right_but_refused"] = _rounded((~good[right]).mean()) if right.any() else None
    return result


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _interval(values: NDArray[np.float64], groups: Sequence[str], rng: np.random.Generator) -> list[float]:
    """2.5 % and 97.5 % of the mean over groups drawn with replacement."""
    names, number = np.unique(groups, return_inverse=True)
    there = ~np.isnan(values)
    sums = np.bincount(number[there], values[there], len(names))
    counts = np.bincount(number[there], minlength=len(names))
    drawn = rng.integers(len(names), size=(_RESAMPLES, len(names)))
    totals = counts[drawn].sum(axis=1)
    means = sums[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    return [_rounded(at) for at in np.percentile(means, [2.5, 97.5])]


def in_words(name: str, scores: dict[str, Any]) -> str:
    """A laboratory's summary on one line."""
    fits = ", ".join(
        f"{region} {scores[region]['mean']:.3f} ({scores[region]['ci95'][0]:.3f}-{scores[region]['ci95'][1]:.3f})"
        for region in (*REGIONS, "box")
        if region in scores
    )
    shares = ", ".join(
        f"{words} {scores[key]:.1%}"
        for key, words in (
            ("wrong", f"under {WRONG:g}"),
            ("wrong_and_unflagged", "of all wrong and called good"),
            ("right_but_refused", f"of those from {RIGHT:g} on refused"),
        )
        if scores[key] is not None
    )
    found = f"{scores['missed']} missed, {scores['false']} false"
    return f"{name}, n = {scores['images']}: {fits}; {shares}; {found}"
