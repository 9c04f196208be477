"""What sets two kinds of cells apart in one feature: in each of several sources, and what these tell together.

Effect. Cliff's delta in each source with its 95 % interval (`core.populations.dominance`), of patients where a source
names them all. `Contrast.smallest` is the least of their sizes, 0 where they differ in sign: what holds everywhere.

Pooled. Mean of the deltas weighted by their variances and the variance between sources: random effects of DerSimonian
and Laird 1986 (Controlled Clinical Trials 7:177). I squared is the share of the variance between the deltas that chance
does not explain (Higgins and Thompson 2002); of two sources it is known roughly only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.populations.dominance import TWO_SIDED, Dominance


@dataclass(frozen=True)
class Contrast:
    """One feature between two sides, in each source where it can be compared, and pooled over these.

    `pooled`, its interval `low` to `high`, and `i2` (0 to 1) are None of fewer than two sources.
    """

    feature: str
    by_source: Mapping[str, Dominance]
    pooled: float | None = None
    low: float | None = None
    high: float | None = None
    i2: float | None = None

    @property
    def same_sign(self) -> bool:
        """Whether the first side has the larger values in every source, or in none."""
        return len({each.delta > 0 for each in self.by_source.values()}) == 1

    @property
    def smallest(self) -> float:
        """The difference that holds everywhere: the least of the sizes, 0 where the sources differ in sign."""
        return min(abs(each.delta) for each in self.by_source.values()) if self.same_sign else 0.0


def pool(feature: str, by_source: Mapping[str, Dominance]) -> Contrast:
    """The contrast of a feature from its difference in each source."""
    told = [each for each in by_source.values() if each.error > 0]
    if len(told) < 2:
        return Contrast(feature, by_source)
    deltas, variances = np.array([(each.delta, each.error**2) for each in told]).T
    weights = 1 / variances
    spread = float(weights @ (deltas - np.average(deltas, weights=weights)) ** 2)
    free = len(told) - 1
    between = max(0.0, (spread - free) / float(weights.sum() - (weights**2).sum() / weights.sum()))
    weights = 1 / (variances + between)
    mean, reach = float(np.average(deltas, weights=weights)), TWO_SIDED * float(weights.sum() ** -0.5)
    unexplained = max(0.0, 1 - free / spread) if spread > 0 else 0.0
    return Contrast(feature, by_source, mean, max(-1.0, mean - reach), min(1.0, mean + reach), unexplained)
