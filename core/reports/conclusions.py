"""What may be concluded of a cell from the reliable features: where it differs, what it is nearest to."""

from collections.abc import Sequence

from core.charts.trust import Reliability, graded, likeness_features
from core.domain.types import FeatureSet
from core.features.catalogue import CATALOGUE
from core.populations.comparison import FeatureComparison, differs_most
from core.populations.placement import Placed
from core.populations.summaries import ReferencePopulation
from core.populations.typicality import Nearness, nearest


def most_different(
    placed: Placed, reliability: Reliability, shapes: int = 8, tones: int = 4
) -> tuple[tuple[FeatureComparison, ...], tuple[FeatureComparison, ...]]:
    """Reliable features outside the 2-98 % band, most different first: those independent of stain, and the others."""
    allowed = graded(reliability)
    reliable = [c for c in placed.comparisons if c.feature in allowed]
    tone = [c for c in reliable if CATALOGUE[c.feature].intensity_dependent]
    shape = [c for c in reliable if not CATALOGUE[c.feature].intensity_dependent]
    return differs_most(shape, shapes, placed.reference), differs_most(tone, tones, placed.reference)


def nearest_populations(
    features: FeatureSet, references: Sequence[ReferencePopulation], reliability: Reliability
) -> tuple[Nearness, ...]:
    """How typical the cell is of each population, most typical first (`core.populations.typicality`)."""
    return nearest(features, references, likeness_features(reliability))


def nearest_in_words(nearest: Sequence[Nearness]) -> str:
    """Name the nearest population and the runner-up, as a description and no classification; empty without any."""
    if not nearest:
        return ""
    first, *others = nearest
    if first.typicality == 0:
        return (
            "Unlike every population in shape: no cell of any lies as far from the centre of its own. Closest is"
            f" {first.title}, at {first.distance:.1f} typical spreads."
        )
    text = f"Nearest in shape: {first.title} ({_typicality(first)} of {_members(first)} lie as far out or farther)"
    if others:
        text += f", then {others[0].title} ({_typicality(others[0])} of {others[0].n})"
    return f"{text}."


def _typicality(near: Nearness) -> str:
    return "none" if near.typicality == 0 else "fewer than 1 %" if near.typicality < 1 else f"{near.typicality:.0f} %"


def _members(near: Nearness) -> str:
    return f"its {near.n} cells" if near.drawn_from is None else f"{near.n} of its {near.drawn_from} cells"
