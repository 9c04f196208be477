"""Which features say nearly the same, and which of them may represent the others.

Two features are alike by the size of Spearman's rank correlation *within* the groups that are compared (the mean over
the groups, each weighted by its cells): between groups that differ, all features that differ are correlated, though
within a group one tells nothing of the other. Groups of features are those of average linkage, cut where the mean |rho|
between two falls below `ALIKE`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from core.domain.errors import UsageError
from core.features.catalogue import feature_spec
from core.features.spec import Aspect

ALIKE: Final = 0.8  # two thirds of the variance of the ranks shared
MOST_CELLS: Final = 5000  # of so many the standard error of rho is 0.015 at most
_FEWEST_CELLS: Final = 10

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class AlikeFeatures:
    """Features that say nearly the same, and which represents them.

    That is a reliable one if there is any, of form rather than structure and of structure rather than stain, and of
    these the one with the best score: a nucleus is larger before its energy is higher.

    `others` are the rest, those most like the representative first, and `rho` their rank correlations with it, which
    may be negative. `reliable` is False where none of them is.
    """

    representative: str
    others: tuple[str, ...]
    rho: tuple[float, ...]
    reliable: bool

    @property
    def members(self) -> tuple[str, ...]:
        """The representative, then the others."""
        return (self.representative, *self.others)

    @property
    def sentence(self) -> str:
        """What the group is, in words."""
        label = feature_spec(self.representative).label
        doubt = "" if self.reliable else " None of them is reliable." if self.others else " It is not reliable."
        if not self.others:
            return f"{label} says something that no other feature says.{doubt}"
        named = ", ".join(
            f"{feature_spec(name).label} ({rho:.2f})" for name, rho in zip(self.others[:3], self.rho[:3], strict=True)
        )
        more = f" and {len(self.others) - 3} more" if len(self.others) > 3 else ""
        noun = "one feature that says" if len(self.others) == 1 else f"{len(self.others)} features that say"
        return f"{label} stands for {noun} nearly the same: {named}{more} (rank correlation within groups).{doubt}"


@dataclass(frozen=True, eq=False)
class Redundancy:
    """All features in groups: those a reliable one speaks for first, aspect by aspect, the best of each first.

    `codes` (F,) is the place in `groups` of each feature asked about. `n` cells of `of` were looked at.
    """

    groups: tuple[AlikeFeatures, ...]
    codes: NDArray[np.int64]
    n: int
    of: int

    @property
    def sentence(self) -> str:
        """How much there is to read."""
        sample = f" (on a sample of {self.n:,} of {self.of:,} cells)" if self.n < self.of else ""
        return (
            f"{len(self.codes)} features say {len(self.groups)} different things: those whose ranks correlate at"
            f" {ALIKE} or more on average, within the groups, count as one{sample}."
        )


def group_alike(
    matrix: Matrix,
    groups: NDArray[np.integer],
    features: Sequence[str],
    scores: Matrix,
    reliable: Collection[str],
    *,
    seed: int = 0,
) -> Redundancy:
    """Group features that say nearly the same.

    Parameters
    ----------
    matrix
        (n, F); nan where absent.
    groups
        (n,): code of each cell's group; cells with -1 are left out.
    features
        Names of the columns.
    scores
        (F,): how well each feature separates the groups, larger is better; nan counts as worst.
    reliable
        Features that may represent others.
    seed
        For the sample of `MOST_CELLS` cells, where there are more.

    Raises
    ------
    UsageError
        If there are fewer than ten cells in groups.
    """
    rows = np.flatnonzero(groups >= 0)
    total = len(rows)
    if total < _FEWEST_CELLS:
        msg = (
            f"at least {_FEWEST_CELLS} cells are needed to see which features say the same, but {total} are chosen;"
            " choose more"
        )
        raise UsageError(msg)
    if total > MOST_CELLS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_CELLS, replace=False))
    rho = rank_correlation(matrix[rows], groups[rows])
    # The best is the smallest: a reliable one before any other, morphology before stain, then by its score.
    worth, aspects = np.nan_to_num(scores, nan=-np.inf), list(Aspect)
    ranks = [
        (name not in reliable, aspects.index(feature_spec(name).aspect), -float(score))
        for name, score in zip(features, worth, strict=True)
    ]
    members = _members(_clusters(rho), ranks)
    codes = np.zeros(len(features), dtype=np.int64)
    for place, inside in enumerate(members):
        codes[inside] = place
    alike = tuple(_alike(inside, rho, features, reliable) for inside in members)
    return Redundancy(alike, codes, len(rows), total)


def _clusters(rho: Matrix) -> NDArray[np.integer]:
    """A number for each feature, the same for those that are alike, (F,)."""
    if len(rho) < 2:
        return np.ones(len(rho), dtype=np.int64)
    clusters: NDArray[np.integer] = fcluster(
        linkage(squareform(1 - np.abs(rho), checks=False), "average"), 1 - ALIKE, "distance"
    )
    return clusters


def _members(clusters: NDArray[np.integer], ranks: Sequence[tuple[bool, int, float]]) -> list[list[int]]:
    """The features of each cluster, the best of them first; the cluster with the best of all first."""
    members = [
        sorted(np.flatnonzero(clusters == cluster).tolist(), key=ranks.__getitem__) for cluster in np.unique(clusters)
    ]
    return sorted(members, key=lambda inside: ranks[inside[0]])


def _alike(members: Sequence[int], rho: Matrix, features: Sequence[str], reliable: Collection[str]) -> AlikeFeatures:
    """The group of these features; the first of them represents it."""
    speaker = members[0]
    others = sorted(sorted(members[1:]), key=lambda other: -abs(rho[speaker, other]))
    return AlikeFeatures(
        representative=features[speaker],
        others=tuple(features[other] for other in others),
        rho=tuple(float(rho[speaker, other]) for other in others),
        reliable=features[speaker] in reliable,
    )


def rank_correlation(matrix: Matrix, groups: NDArray[np.integer]) -> Matrix:
    """Spearman's rho of every two features within groups, (F, F): the mean over groups, weighted by their cells.

    Ranks are those among a feature's present values; where some are absent, the sum runs over the cells that have both.
    A feature that does not vary within any group correlates with nothing (0).
    """
    count = matrix.shape[1]
    products, cells = np.zeros((count, count)), np.zeros((count, count))
    for group in np.unique(groups[groups >= 0]):
        values = matrix[groups == group]
        present = ~np.isnan(values)
        if present.all():
            ranks = rankdata(values, axis=0)
        else:
            ranks = np.zeros_like(values)
            for column, there in enumerate(present.T):
                ranks[there, column] = rankdata(values[there, column])
        n = present.sum(axis=0)
        ranks = np.where(present, ranks - (n + 1) / 2, 0.0)
        deviation = np.sqrt(np.square(ranks).sum(axis=0) / np.maximum(n, 1))
        ranks = np.divide(ranks, deviation, out=np.zeros_like(ranks), where=deviation > 0)
        products += ranks.T @ ranks
        there = present.astype(np.float64)
        cells += there.T @ there
    rho: Matrix = np.clip(np.divide(products, cells, out=np.zeros_like(products), where=cells > 0), -1.0, 1.0)
    np.fill_diagonal(rho, 1.0)
    return rho
