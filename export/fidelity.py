"""The cost of fewer bits: a network's outlines and measurements beside those of its fp32 original, and the limits."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.domain.types import LabelMap
from core.evaluation.datasets import Sample
from core.evaluation.metrics import overlap
from core.features.extract import extract
from core.image.imaging import load
from core.image.masks import region_mask
from core.segmentation.segmenter import Segmenter
from training.data import load_labelled
from training.evaluate import REGIONS

# Features that a reader of the thesis looks at first, and that react differently: size, outline, shape, tone.
KEY_FEATURES: Final = (
    "cell_shape2D_PixelSurface",
    "nucleus_shape2D_PixelSurface",
    "combined_PixelSurface",
    "cell_shape2D_Perimeter",
    "nucleus_shape2D_Perimeter",
    "cell_shape2D_Sphericity",
    "nucleus_shape2D_Sphericity",
    "cell_shape2D_Elongation",
    "nucleus_shape2D_Elongation",
    "nucleus_firstorder_Mean",
    "cytoplasm_firstorder_Mean",
    "nucleus_firstorder_Entropy",
    "cytoplasm_firstorder_Entropy",
)
# Dice with the drawn masks, of nucleus or of cytoplasm, may fall by this much: half of what the scores on a card are
# uncertain by.
MAX_DICE_DROP: Final = 0.002
# Of two measurements with spread 1 and agreement r, the root mean square difference is sqrt(2 (1 - r))
# (core.evaluation.agreement grades by the same formula, "good" from r = 0.75 on). A precision must agree with fp32 to
# 0.99; two drawings of a cell agree far less.
MAX_DRIFT: Final = math.sqrt(2 * (1 - 0.99))


def compare(original: Segmenter, candidate: Segmenter, samples: Sequence[Sample]) -> dict[str, Any]:
    """Measure every sample with both networks, as a user would.

    Returns
    -------
    dict
        `images`; by region `agreement` (mean Dice between the two networks' masks), `least_agreement` (of the worst
        image) and `dice_change` (mean Dice with the drawn mask, candidate minus original); and `drift` by key feature:
        `mean` and root mean square (`rms`) of candidate minus original, in standard deviations between the cells of a
        data set.
    """
    agreement, change = [], []
    values: list[NDArray[np.float64]] = []
    for sample in samples:
        image = load(sample.image)
        drawn = load_labelled(sample)[0].labels
        before, after = original.segment(image).labels, candidate.segment(image).labels
        agreement.append(_dice(after, before))
        change.append(_dice(after, drawn) - _dice(before, drawn))
        values.append(np.array([_measured(image.rgb, labels) for labels in (before, after)]))
    return {
        "images": len(samples),
        "agreement": _by_region(np.nanmean(agreement, axis=0)),
        "least_agreement": _by_region(np.nanmin(agreement, axis=0)),
        "dice_change": _by_region(np.nanmean(change, axis=0)),
        "drift": _drift(np.array(values), np.array([sample.sample_id.split("/")[0] for sample in samples])),
    }


def harm(cost: dict[str, Any]) -> list[str]:
    """Why a precision with these results of `compare` must not be used for measuring, as clauses; empty if it may."""
    falls = [
        f"Dice of the {region} with the drawn masks falls by {-cost['dice_change'][region]:.4f} (at most"
        f" {MAX_DICE_DROP})"
        for region in ("nucleus", "cytoplasm")
        if not cost["dice_change"][region] >= -MAX_DICE_DROP
    ]
    if not cost["drift"]:
        falls.append(
            f"in {cost['images']} validation images no key feature could be measured with both often enough to see what"
            " it does"
        )
    moves = {feature: drift["rms"] for feature, drift in cost["drift"].items() if not drift["rms"] <= MAX_DRIFT}
    worst = max(moves, key=lambda feature: moves[feature], default=None)
    if worst:
        falls.append(
            f"{len(moves)} of {len(cost['drift'])} key features move too far, most of all {worst} "
            f"by {moves[worst]:.2f} standard deviations between cells (at most {MAX_DRIFT:.2f})"
        )
    return falls


def _dice(labels: LabelMap, wanted: LabelMap) -> NDArray[np.float64]:
    return np.array([overlap(region_mask(labels, region), region_mask(wanted, region)).dice for region in REGIONS])


def _by_region(values: NDArray[np.float64]) -> dict[str, float]:
    return {region: round(float(value), 4) for region, value in zip(REGIONS, values, strict=True)}


def _measured(rgb: NDArray[np.uint8], labels: LabelMap) -> list[float]:
    values = extract(rgb, labels).values
    return [math.nan if (value := values[name]) is None else value for name in KEY_FEATURES]


def _drift(values: NDArray[np.float64], sources: NDArray[np.str_]) -> dict[str, dict[str, float]]:
    """Drift by feature of values (cells, 2, features), original first; without features that few cells have."""
    # Data sets differ in magnification and stain, so the spread is that between the cells of one data set, pooled.
    drift: dict[str, dict[str, float]] = {}
    for index, name in enumerate(KEY_FEATURES):
        both = np.isfinite(values[:, :, index]).all(axis=1)
        (before, after), source = values[both, :, index].T, sources[both]
        groups = [before[source == one] for one in np.unique(source)]
        freedom = len(before) - len(groups)
        squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
        if freedom < 2 or squares == 0:
            continue
        spread = math.sqrt(squares / freedom)
        change = (after - before) / spread
        drift[name] = {"mean": round(float(change.mean()), 4), "rms": round(float(np.sqrt((change**2).mean())), 4)}
    return drift
