"""Where the features of a cell stand in a population, in numbers and in words.

Pure functions of numbers; no files, no SQL. Basis, summaries and values frames are those of
`core.populations.summaries`.

Definitions
-----------
Comparable. A feature with a unit of length is compared only in micrometres: cell and population need a scale. One that
changes with the size of the pixels (``pixel_bound``: a sum over them, or a texture, which looks one pixel aside) is
compared only where the cell and all members have the same scale within `SAME_SCALE`.

Percentile of a value x among n values: ``100 * (#{v < x} + #{v = x} / 2) / n``.

Saying the same thing. Two features whose values, of the logarithm where the catalogue says so, correlate among the
members of a population at `SAME_THING` or more (Pearson) share nine tenths of their variance: where a cell lies on the
same side in both, the second tells nothing new.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.domain.types import FeatureSet
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureSpec, Region
from core.populations.robust import log_where
from core.populations.summaries import SMALL_GROUP, Basis, PopulationSummary, ReferencePopulation, basis_of

SAME_SCALE: Final = 0.02  # relative difference; shifts a sum over pixels by 4 %, far less than cells differ
SAME_THING: Final = 0.95

INTENSITY_CAUTION: Final = "Depends on stain, light and camera: another laboratory shifts it."


class Direction(StrEnum):
    """On which side of the population's median a value lies."""

    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True)
class FeatureComparison:
    """One feature of one cell beside one population.

    `value` is in `basis`: that of the comparison, or pixels where `comparable` is False and `reason` says why; it is
    None when the cell has no value. `percentile` (0 to 100), `below` and `above` (per cent of the population strictly
    below and above the value) need the population's values: None for published tables and small groups. `inside` tells
    whether the value lies within the 2-98 % band, ends included; `direction` the side of the median. `caution`
    qualifies a valid comparison.
    """

    feature: str
    population: str
    plural: str
    value: float | None
    basis: Basis
    comparable: bool
    reason: str | None = None
    caution: str | None = None
    percentile: float | None = None
    below: float | None = None
    above: float | None = None
    robust_z: float | None = None
    inside: bool | None = None
    direction: Direction | None = None
    summary: PopulationSummary | None = None

    @property
    def outside(self) -> bool:
        """Whether the value is known to lie outside the 2-98 % band."""
        return self.inside is False


def compare_cell(
    features: FeatureSet, um_per_px: float | None, reference: ReferencePopulation
) -> tuple[FeatureComparison, ...]:
    """Place every catalogue feature of a cell in a population, in catalogue order.

    A feature that is not scale-free is comparable only where both sides have a scale (see the module's text); an absent
    value never is. Features that depend on the grey levels are comparable but carry a caution.
    """
    return tuple(_compare(spec, features, um_per_px, reference) for spec in CATALOGUE.values())


def describe(comparison: FeatureComparison, *, with_n: bool = False) -> str:
    """Say the comparison in plain words: "Larger nucleus area than 97 % of monocytes".

    Per cents are rounded down, so that the sentence never claims more than was counted; "all" means a value beyond
    every member. `with_n` adds the number of cells.
    """
    spec = CATALOGUE[comparison.feature]
    name, lower_name = _sentence_case(spec.label)
    summary = comparison.summary
    if not comparison.comparable or summary is None:
        return f"{name} is not compared: {comparison.reason}"
    count = f" (n = {summary.n})" if with_n else ""
    published = "the published " if summary.published else ""
    more, less = ("Larger", "Smaller") if spec.length_power > 0 else ("Higher", "Lower")
    word = more if comparison.direction is Direction.ABOVE else less
    than = ", than" if "," in lower_name else " than"
    if comparison.percentile is None:
        if summary.small:
            cells = "cell" if summary.n == 1 else "cells"
            return f"{name}: only {summary.n} {cells} to compare with, no percentile is given"
        if comparison.inside:
            return f"{name} within the 2-98 % range of {published}{comparison.plural}{count}"
        return f"{word} {lower_name}{than} the 2-98 % range of {published}{comparison.plural}{count}"
    if comparison.direction is None:
        return f"{name} at the median of {comparison.plural}{count}"
    share = comparison.below if comparison.direction is Direction.ABOVE else comparison.above
    amount = "all" if share == 100 else f"{math.floor(share or 0)} % of"
    return f"{word} {lower_name}{than} {amount} {comparison.plural}{count}"


def differs_most(
    comparisons: Sequence[FeatureComparison], k: int, reference: ReferencePopulation
) -> tuple[FeatureComparison, ...]:
    """Return at most `k` features outside the 2-98 % band of `reference`, largest absolute robust z first.

    One that only repeats a feature before it (see the module's text) is skipped, and so is the environment, which is
    not the cell. Of many features about one in 25 lies outside in any member of the population too.
    """
    chosen: list[tuple[FeatureComparison, NDArray[np.float64]]] = []
    outside = (c for c in comparisons if c.outside and CATALOGUE[c.feature].region is not Region.ENVIRONMENT)
    for candidate in sorted(outside, key=lambda c: -abs(c.robust_z or 0.0)):
        if len(chosen) == k:
            break
        members = _of_members(CATALOGUE[candidate.feature], reference)
        agreements = (
            _correlation(members, others) * (1 if candidate.direction is before.direction else -1)
            for before, others in chosen
        )
        if all(agreement < SAME_THING for agreement in agreements):
            chosen.append((candidate, members))
    return tuple(comparison for comparison, _ in chosen)


def beside_published(measured: Sequence[ReferencePopulation], published: Sequence[ReferencePopulation]) -> pd.DataFrame:
    """Percentiles of measured populations beside those of printed tables of the same cell type.

    One row per population and feature, with columns measured_p2, published_p2, ... p98; only features that both count
    in the same basis, which leaves out sizes: a printed table's pixels are of unknown size.
    """
    rows = []
    for printed in published:
        for population in (p for p in measured if p.cell_type is printed.cell_type):
            for feature, theirs in printed.summaries.items():
                ours = population.summaries.get(feature)
                if ours is not None and ours.basis is theirs.basis and not ours.small:
                    pairs = {
                        f"{who}_{p}": getattr(s, p)
                        for p in ("p2", "p50", "p98")
                        for who, s in (("measured", ours), ("published", theirs))
                    }
                    rows.append({"population": population.population, "feature": feature, "n": ours.n, **pairs})
    return pd.DataFrame(rows)


def _sentence_case(label: str) -> tuple[str, str]:
    """Return a label as at the start and as in the middle of a sentence; "N:C ratio" keeps its capital."""
    keeps = len(label) > 1 and not label[1].islower()
    return label[:1].upper() + label[1:], label if keeps else label[:1].lower() + label[1:]


def _of_members(spec: FeatureSpec, reference: ReferencePopulation) -> NDArray[np.float64]:
    """The members' values, or their logarithms where the catalogue says so; empty for a published table."""
    if spec.name not in reference.members:
        return np.empty(0)
    values: NDArray[np.float64] = reference.members[spec.name].to_numpy(dtype=np.float64, na_value=np.nan)
    if spec.length_power:
        values = values * reference.members["um_per_px"].to_numpy(np.float64, na_value=np.nan) ** spec.length_power
    return log_where(values[None], np.array([spec.log_axis])).ravel()


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's r over the members that have both values; 0 where it is not defined."""
    both = np.isfinite(first) & np.isfinite(second) if len(first) == len(second) else np.zeros(0, np.bool_)
    if np.count_nonzero(both) < SMALL_GROUP:
        return 0.0
    a, b = (values[both] - values[both].mean() for values in (first, second))
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread else 0.0


def _obstacle(
    spec: FeatureSpec, features: FeatureSet, um_per_px: float | None, reference: ReferencePopulation
) -> str | None:
    """Why a feature cannot be compared, in words; None if it can."""
    summary = reference.summaries.get(spec.name)
    if features.values.get(spec.name) is None:
        return f"not measured, {features.absent.get(spec.name, 'the feature was not asked for')}"
    if summary is None:
        return "not in this population"
    if not spec.scale_free:
        if um_per_px is None:
            return "scale unknown; enter the micrometres per pixel of this image to compare sizes and texture"
        if spec.length_power and (summary.basis is not Basis.MICROMETRES or summary.n == 0):
            return f"scale unknown; {reference.title} comes without micrometres per pixel, so sizes cannot be compared"
        if not spec.length_power and not all(abs(scale / um_per_px - 1) <= SAME_SCALE for scale in reference.scales):
            return (
                f"it changes with the size of the pixels, and this image and {reference.title} are not all of the same"
                " scale"
            )
    return f"no cell of {reference.title} has a value" if summary.n == 0 else None


def _compare(
    spec: FeatureSpec, features: FeatureSet, um_per_px: float | None, reference: ReferencePopulation
) -> FeatureComparison:
    value, summary = features.values.get(spec.name), reference.summaries.get(spec.name)
    reason = _obstacle(spec, features, um_per_px, reference)
    if reason is not None or value is None or summary is None:
        return FeatureComparison(
            feature=spec.name,
            population=reference.population,
            plural=reference.plural,
            value=value,
            basis=basis_of(spec, in_um=False),
            comparable=False,
            reason=reason,
            summary=summary,
        )
    if summary.basis is Basis.MICROMETRES and um_per_px is not None:
        value = spec.in_um(value, um_per_px)
    cautions = [INTENSITY_CAUTION] if spec.intensity_dependent else []
    if not spec.scale_free and reference.scale_note:
        cautions.append(reference.scale_note)
    percentile = below = above = None
    if not summary.small and not summary.published:
        ordered = reference.ordered[spec.name]
        first, last = int(np.searchsorted(ordered, value, "left")), int(np.searchsorted(ordered, value, "right"))
        below, above = 100 * first / summary.n, 100 * (summary.n - last) / summary.n
        percentile = 50 * (first + last) / summary.n
    inside, direction = None, None
    if summary.p2 is not None and summary.p50 is not None and summary.p98 is not None:
        inside = bool(
            summary.p2 <= value <= summary.p98
        )  # a feature may be one of numpy's numbers, and its truth is no `False`
        direction = Direction.ABOVE if value > summary.p50 else Direction.BELOW if value < summary.p50 else None
    return FeatureComparison(
        feature=spec.name,
        population=reference.population,
        plural=reference.plural,
        value=value,
        basis=summary.basis,
        comparable=True,
        caution=" ".join(cautions) or None,
        percentile=percentile,
        below=below,
        above=above,
        robust_z=summary.robust_z(value),
        inside=inside,
        direction=direction,
        summary=summary,
    )
