"""Two models on the same drawn cells: how much better the second is, image by image, with an interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

REGIONS: Final = ("nucleus", "cytoplasm", "cell")
# Nucleus and cytoplasm averaged: the thesis's figure.
MEAN: Final = "mean"
_RESAMPLES: Final = 2000

# Dice by region, nan where it is in neither mask, of an image by its id.
DiceByImage = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class DiceDifference:
    """Mean Dice of two models over the same images, and the second's less the first's with its 95 % interval.

    The interval is of a bootstrap over groups: what was taken together is not independent. It is None where all images
    are of one group.
    """

    images: int
    groups: int
    first: float
    second: float
    difference: float
    ci95: tuple[float, float] | None


def paired(
    first: DiceByImage, second: DiceByImage, groups: Mapping[str, str], *, seed: int = 7
) -> dict[str, DiceDifference]:
    """Compare two models region by region.

    Parameters
    ----------
    first, second
        Scores of the same images; one that lacks a score for a region in either does not count there.
    groups
        The group of every image by its id.
    seed
        Of the bootstrap.

    Returns
    -------
    A difference for each region that has a score, and for `mean`, nucleus and cytoplasm averaged image by image.
    """
    found = {}
    for region in (*REGIONS, MEAN):
        pairs = [(name, _dice(dice, region), _dice(second[name], region)) for name, dice in first.items()]
        if pairs := [pair for pair in pairs if not math.isnan(pair[1] + pair[2])]:
            found[region] = _difference(pairs, groups, seed)
    return found


def paired_by_data_set(
    first: DiceByImage, second: DiceByImage, groups: Mapping[str, str]
) -> dict[str, dict[str, DiceDifference]]:
    """`paired` of all images, and of each data set in order of name."""
    parts: dict[str, dict[str, Mapping[str, float]]] = {}
    for sample_id in sorted(first):
        parts.setdefault(sample_id.split("/")[0], {})[sample_id] = first[sample_id]
    return {name: paired(part, second, groups) for name, part in {"all": first, **parts}.items()}


def better(differences: Mapping[str, DiceDifference]) -> int:
    """Which has the better mean of nucleus and cytoplasm: 1 the second, -1 the first, 0 where none can be told."""
    low, high = (differences["mean"].ci95 if "mean" in differences else None) or (0.0, 0.0)
    return int(low > 0) - int(high < 0)


def better_in_words(differences: Mapping[str, DiceDifference], first: str, second: str) -> str:
    """The same in a sentence."""
    if not (sign := better(differences)):
        return f"{second} and {first} cannot be told apart on these images"
    best, other = (second, first) if sign > 0 else (first, second)
    points = 100 * abs(differences["mean"].difference)
    return f"{best} is better than {other}, by {points:.2f} points on the mean of nucleus and cytoplasm"


def _dice(dice: Mapping[str, float], region: str) -> float:
    return (dice["nucleus"] + dice["cytoplasm"]) / 2 if region == MEAN else dice[region]


def _difference(pairs: Sequence[tuple[str, float, float]], groups: Mapping[str, str], seed: int) -> DiceDifference:
    first, second = np.array([pair[1:] for pair in pairs]).T
    names, number = np.unique([groups[sample_id] for sample_id, _, _ in pairs], return_inverse=True)
    ci95 = None
    if len(names) > 1:
        sums, counts = np.bincount(number, second - first), np.bincount(number)
        drawn = np.random.default_rng(seed).integers(len(names), size=(_RESAMPLES, len(names)))
        means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        ci95 = (round(float(low), 4), round(float(high), 4))
    return DiceDifference(
        len(pairs),
        len(names),
        round(float(first.mean()), 4),
        round(float(second.mean()), 4),
        round(float((second - first).mean()), 4),
        ci95,
    )


def in_words(differences: Mapping[str, DiceDifference], first: str, second: str) -> str:
    """Lines, one a region: what both score, and the difference in points (hundredths of Dice)."""
    lines = []
    for region, found in differences.items():
        if found.ci95 is None:
            interval = "all of one group, so no interval"
        else:
            interval = f"95 % interval {100 * found.ci95[0]:+.2f} to {100 * found.ci95[1]:+.2f}"
        lines.append(
            f"  {region:9} {first} {found.first:.4f}, {second} {found.second:.4f}: {100 * found.difference:+.2f} points"
            f" ({interval}; {found.images} images, {found.groups} groups)"
        )
    return "\n".join(lines)


def to_plain(differences: Mapping[str, DiceDifference]) -> dict[str, Any]:
    """For JSON."""
    return {region: {**vars(found)} for region, found in differences.items()}
