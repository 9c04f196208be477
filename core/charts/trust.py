"""How far a feature can be trusted with the model that drew the outlines: the grades in words, and what they exclude.

`Reliability` is what `core.evaluation.agreement` measured of one model: a feature from its outlines beside the same
feature from drawn ones. It is empty where nothing was measured: then nothing is marked, and every feature is used.
Where it was measured, a feature it does not know counts as unknown, and is not relied on.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from core.evaluation.agreement import FeatureReliability, Grade
from core.features.catalogue import CATALOGUE
from core.populations.neighbours import comparable_features, comparable_sizes

Reliability = Mapping[str, FeatureReliability]

NOT_MEASURED: Final = "not measured"
RELIABLE: Final = (Grade.GOOD, Grade.MODERATE)


def trust(feature: str, reliability: Reliability) -> str:
    """Grade of a feature in one word: good, moderate, poor; or "not measured"."""
    return reliability[feature].grade.value if feature in reliability else NOT_MEASURED


def why(feature: str, reliability: Reliability) -> str:
    """Grade and reason in a sentence; empty where nothing was measured."""
    if feature in reliability:
        entry = reliability[feature]
        return f"{entry.grade.value.capitalize()}: {entry.why}."
    return f"{NOT_MEASURED.capitalize()} with this model." if reliability else ""


def is_poor(feature: str, reliability: Reliability) -> bool:
    """Whether the feature is known not to be reliable: shown last, greyed, and left out of conclusions."""
    return feature in reliability and reliability[feature].grade is Grade.POOR


def poor_last(features: Iterable[str], reliability: Reliability) -> list[str]:
    """Features in their order, the poor ones after all others."""
    return sorted(features, key=lambda feature: is_poor(feature, reliability))


def graded(reliability: Reliability, grades: Collection[Grade] = RELIABLE) -> Collection[str]:
    """Features of these grades, from which conclusions may be drawn; the whole catalogue where nothing was measured."""
    if not reliability:
        return CATALOGUE
    return {feature for feature, entry in reliability.items() if entry.grade in grades}


def likeness_features(reliability: Reliability) -> tuple[str, ...]:
    """Features for telling which cells are typical or alike, on every page: comparable between sources and graded good.

    A distance gives every feature the same weight. In a feature graded moderate a quarter to a half of the variance
    between cells comes from the outline (an ICC of 0.75 to 0.5), so it would say as much about the outline as about the
    cell. Moderate features may be shown and ranked, but do not count here.
    """
    return comparable_features(graded(reliability, (Grade.GOOD,)))


def likeness_sizes(reliability: Reliability) -> tuple[str, ...]:
    """Sizes of grade good, which count as well where all that is compared has a scale."""
    return comparable_sizes(graded(reliability, (Grade.GOOD,)))
