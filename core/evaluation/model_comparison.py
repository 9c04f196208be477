"""Which architecture is better, and how sure that is.

Scores of cross-validation, their paired differences, and what the leak of augmented copies adds.

Folds share most of their training images, so their scores are no independent sample and a plain t-test finds
differences where there are none. All intervals and tests here take the variance of Nadeau and Bengio (Machine Learning
52, 2003): that of the mean of n folds is (1/n + validation/training images) times the variance between folds. Several k
are taken together, as repeated cross-validation. The functions take the tables `folds` and `images` of
`core.evaluation.model_selection`.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

# Titles in the literature, by the name in configs, tables and model cards.
TITLES: Final = {
    "unetplusplus": "UNet++",
    "unet": "UNet",
    "manet": "MAnet",
    "linknet": "LinkNet",
    "fpn": "FPN",
    "pspnet": "PSPNet",
    "pan": "PAN",
    "deeplabv3plus": "DeepLabV3+",
    "u2net": "U2-Net",
    "u2net-small": "U2-Net small",
    "unet-slim": "U-Net slim",
}

# Differences of Dice below this mean nothing in practice: half a point, where two drawings of one cell differ by
# several.
PRACTICALLY_NOTHING: Final = 0.005

# Two folds leave one degree of freedom: an interval would reach 13 standard errors to each side, past any Dice.
MIN_FOLDS: Final = 3
# A fold of fewer images is scored by chance: one that fails moves the mean by a fifth or more.
MIN_FOLD_IMAGES: Final = 5

ALPHA: Final = 0.05
_RESAMPLES: Final = 4000


class Measure(StrEnum):
    """What is compared: a column of the table `folds`."""

    MEAN = "dice_mean"
    NUCLEUS = "dice_nucleus"
    CYTOPLASM = "dice_cytoplasm"


@dataclass(frozen=True)
class Score:
    """Dice of one architecture over its folds; `low` to `high` is the corrected 95 % interval.

    The interval ends where Dice does, at 0 and 1; it is None below MIN_FOLDS, `sd` for one fold.
    """

    architecture: str
    folds: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedDifference:
    """Dice of `first` minus that of `second` over the same folds.

    `p` is of the corrected resampled t-test; `p_adjusted` is Holm's over all pairs of the comparison.
    `practically_equal` is the probability that the true difference is below PRACTICALLY_NOTHING either way (Benavoli et
    al., JMLR 18, 2017: the Bayesian reading of the same t distribution).
    """

    first: str
    second: str
    folds: int
    mean: float
    low: float
    high: float
    p: float
    p_adjusted: float
    practically_equal: float

    @property
    def told_apart(self) -> bool:
        """Whether the difference is more than chance, after correction for the number of pairs."""
        return self.p_adjusted < ALPHA


@dataclass(frozen=True)
class Leak:
    """What rotated copies among the training images add to the Dice of one architecture's validated originals.

    Each original was validated once by networks that had seen none of its copies, and once where folds were drawn over
    the copies. `added` is the mean difference over `originals`; `low` to `high` its 95 % bootstrap interval over them.
    The other two are the means as they would be reported: over all validated images of a protocol.
    """

    architecture: str
    originals: int
    grouped: float
    as_published: float
    added: float
    low: float
    high: float


def title(architecture: str) -> str:
    """Name of an architecture as people write it."""
    return TITLES.get(architecture, architecture)


def fair(folds: pd.DataFrame) -> pd.DataFrame:
    """Finished rows of the (k, fold) pairs that every architecture has finished: only their means are comparable."""
    done = folds[folds["status"] == "done"]
    complete = done.groupby(["k", "fold"])["architecture"].transform("nunique") == done["architecture"].nunique()
    kept: pd.DataFrame = done[complete]
    return kept


def ranking(folds: pd.DataFrame, measure: Measure) -> tuple[Score, ...]:
    """Scores of the architectures, best first, over the folds that all have; `folds` are rows of one protocol."""
    rows = fair(folds)
    scores = []
    for architecture, part in rows.groupby("architecture", sort=True):
        values = part[measure].to_numpy(float)
        error = _standard_error(values, part)
        reach = None
        if error is not None and len(values) >= MIN_FOLDS:
            reach = stats.t.ppf(1 - ALPHA / 2, len(values) - 1) * error
        mean = float(values.mean())
        scores.append(
            Score(
                str(architecture),
                len(values),
                mean,
                None if error is None else float(values.std(ddof=1)),
                None if reach is None else max(0.0, mean - reach),
                None if reach is None else min(1.0, mean + reach),
            )
        )
    return tuple(sorted(scores, key=lambda score: -score.mean))


def paired_differences(folds: pd.DataFrame, measure: Measure) -> tuple[PairedDifference, ...]:
    """Every pair of architectures over the folds that all of them have, the better one first; none below MIN_FOLDS."""
    rows = fair(folds)
    order = [score.architecture for score in ranking(folds, measure)]
    values = rows.pivot_table(index=["k", "fold"], columns="architecture", values=measure)
    sizes = rows.drop_duplicates(["k", "fold"]).set_index(["k", "fold"]).reindex(values.index)
    if len(values) < MIN_FOLDS:
        return ()
    pairs = list(combinations(order, 2))
    differences = [_difference((values[first] - values[second]).to_numpy(float), sizes) for first, second in pairs]
    adjusted = holm([p for *_, p, _ in differences])
    return tuple(
        PairedDifference(first, second, len(values), mean, low, high, p, adjusted_p, equal)
        for (first, second), (mean, low, high, p, equal), adjusted_p in zip(pairs, differences, adjusted, strict=True)
    )


def leaks(folds: pd.DataFrame, images: pd.DataFrame, measure: Measure) -> tuple[Leak, ...]:
    """What the leak adds, for each architecture that both protocols have finished for the same k.

    `folds` and `images` hold both protocols. An interval needs several originals; it is over images, not over repeated
    trainings.
    """
    images = images.assign(dice_mean=(images["dice_nucleus"] + images["dice_cytoplasm"]) / 2)
    leakage = []
    for architecture in sorted(images["architecture"].unique()):
        rows = images[images["architecture"] == architecture]
        complete = [_complete(folds, architecture, protocol) for protocol in ("grouped", "as-published")]
        ks = complete[0] & complete[1]
        rows = rows[rows["k"].isin(ks)]
        if rows.empty:
            continue
        reported = rows.groupby("protocol")[measure.value].mean()
        both = rows[rows["copy"] == 0].pivot_table(index="sample_id", columns="protocol", values=measure.value)
        added = (both["as-published"] - both["grouped"]).dropna().to_numpy(float)
        drawn = np.random.default_rng(0).choice(added, (_RESAMPLES, len(added))).mean(axis=1)
        low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2])
        leakage.append(
            Leak(
                architecture,
                len(added),
                float(reported["grouped"]),
                float(reported["as-published"]),
                float(added.mean()),
                float(low),
                float(high),
            )
        )
    return tuple(leakage)


def hardest(images: pd.DataFrame, measure: Measure, count: int) -> pd.DataFrame:
    """The originals with the lowest mean Dice over the architectures.

    `images` are rows of one protocol. Columns: `sample_id`, `cell_type`, `mean`, `worst`, `best` (over the
    architectures, each over its k), `networks`.
    """
    images = images.assign(dice_mean=(images["dice_nucleus"] + images["dice_cytoplasm"]) / 2)
    originals = images[images["copy"] == 0]
    by_network = originals.groupby(["sample_id", "cell_type", "architecture"], as_index=False)[measure.value].mean()
    grouped = by_network.groupby(["sample_id", "cell_type"])[measure.value]
    table = grouped.agg(mean="mean", worst="min", best="max", networks="size").reset_index()
    worst_first: pd.DataFrame = table.nsmallest(count, "mean").reset_index(drop=True)
    return worst_first


def pareto(cost: NDArray[np.float64], gain: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of n points are on the Pareto front: no other has less or equal cost and more or equal gain; both (n,).

    A point that equals another in both does not beat it.
    """
    cheaper = cost[:, None] <= cost[None, :]
    better = gain[:, None] >= gain[None, :]
    strictly = (cost[:, None] < cost[None, :]) | (gain[:, None] > gain[None, :])
    return np.logical_not((cheaper & better & strictly).any(axis=0))


def holm(p: list[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Scandinavian Journal of Statistics 6, 1979), in the given order."""
    adjusted, largest = [0.0] * len(p), 0.0
    for step, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - step) * p[index]))
        adjusted[index] = largest
    return adjusted


def verdict(scores: tuple[Score, ...], differences: tuple[PairedDifference, ...]) -> str:
    """The comparison in two sentences: who leads by how much, and which others differ from it beyond chance."""
    first = scores[0]
    if len(scores) == 1:
        return (
            f"{title(first.architecture)} reaches a Dice of {first.mean:.3f} over {first.folds} folds; there is no"
            f" other to compare.{'' if first.low is not None else f' {_of_chance(first.folds)}'}"
        )
    second = scores[1]
    gap = 100 * (first.mean - second.mean)
    points = f"{gap:.1f} points" if gap >= 0.1 else "less than 0.1 points"
    lead = (
        f"{title(first.architecture)} leads with a Dice of {first.mean:.3f}, {points} before"
        f" {title(second.architecture)}."
    )
    others = [each for each in differences if each.first == first.architecture]
    if not others:
        return f"{lead} {_of_chance(first.folds)}"
    close, apart = ([title(each.second) for each in others if each.told_apart is told] for told in (False, True))
    if not close:
        return f"{lead} It is better than every other by more than chance."
    if not apart:
        return f"{lead} Over {first.folds} folds none of the others can be told apart from it."
    if len(apart) < len(close):
        return f"{lead} Over {first.folds} folds only {_listed(apart)} can be told apart from it."
    return f"{lead} Over {first.folds} folds all can be told apart from it but {_listed(close)}."


def _of_chance(folds: int) -> str:
    many = "One fold says" if folds == 1 else f"{folds} folds say"
    return f"{many} nothing of chance: {MIN_FOLDS} are needed at least, and a k of 5 or more is better."


def few_images(images: pd.DataFrame) -> str:
    """What to think of folds that are scored on few originals or copies of them; empty where they are not few.

    `images` are rows of one protocol.
    """
    originals = images.groupby(["k", "fold"])["sample_id"].nunique()
    if originals.empty or originals.min() >= MIN_FOLD_IMAGES:
        return ""
    fewest = int(originals.min())
    return (
        f"A fold is scored on as few as {fewest} image{'s' * (fewest != 1)}: much of what differs between folds and"
        f" networks is chance. {MIN_FOLD_IMAGES} a fold are needed at least: give more images, or a smaller k."
    )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _complete(folds: pd.DataFrame, architecture: str, protocol: str) -> set[int]:
    """The k of which all folds are done."""
    its = folds[(folds["architecture"] == architecture) & (folds["protocol"] == protocol) & (folds["status"] == "done")]
    counts = its["k"].value_counts()
    return {int(k) for k in counts.index[counts == counts.index]}


def _standard_error(values: NDArray[np.float64], sizes: pd.DataFrame) -> float | None:
    """Corrected standard error of the mean of fold scores; `sizes` has `images_validation` and `images_train`."""
    if len(values) < 2:
        return None
    ratio = float((sizes["images_validation"] / sizes["images_train"]).mean())
    return math.sqrt((1 / len(values) + ratio) * float(values.var(ddof=1)))


def _difference(values: NDArray[np.float64], sizes: pd.DataFrame) -> tuple[float, float, float, float, float]:
    """Mean, 95 % interval, two-sided p, and probability of a practical tie, of differences over two folds or more."""
    mean, error, freedom = float(values.mean()), _standard_error(values, sizes) or 0.0, len(values) - 1
    if error == 0:
        return mean, mean, mean, float(mean == 0), float(abs(mean) < PRACTICALLY_NOTHING)
    posterior = stats.t(freedom, mean, error)
    low, high = posterior.interval(1 - ALPHA)
    p = 2 * stats.t.sf(abs(mean) / error, freedom)
    return (
        mean,
        max(-1.0, float(low)),
        min(1.0, float(high)),
        float(p),
        float(posterior.cdf(PRACTICALLY_NOTHING) - posterior.cdf(-PRACTICALLY_NOTHING)),
    )
