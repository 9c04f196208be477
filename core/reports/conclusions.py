"""What may be concluded of a cell from the reliable features: where it differs most from a population."""

from core.charts.trust import Reliability, graded
from core.features.catalogue import CATALOGUE
from core.populations.comparison import FeatureComparison, differs_most
from core.populations.placement import Placed


def most_different(
    placed: Placed, reliability: Reliability, shapes: int = 8, tones: int = 4
) -> tuple[tuple[FeatureComparison, ...], tuple[FeatureComparison, ...]]:
    """Reliable features outside the 2-98 % band, most different first: those independent of stain, and the others."""
    allowed = graded(reliability)
    reliable = [c for c in placed.comparisons if c.feature in allowed]
    tone = [c for c in reliable if CATALOGUE[c.feature].intensity_dependent]
    shape = [c for c in reliable if not CATALOGUE[c.feature].intensity_dependent]
    return differs_most(shape, shapes, placed.reference), differs_most(tone, tones, placed.reference)
