"""Which populations a cell is near to: the one meaning of "nearest" on the pages, in reports and in what checks it.

Features. Shapes that need no scale, and sizes in micrometres where the cell and the population have a scale. No tone:
it differs between laboratories more than between types.

Distance. Every feature is counted in the robust spread within populations (the root mean square of theirs, so that a
large one counts no more), and correlations within populations are removed (Mahalanobis, with a correlation matrix that
is shrunk towards none). The distance of two cells is the root mean square over the axes that result; that of a cell to
a population is its distance to the fifth nearest of its cells (k nearest neighbours; Loftsgaarden and Quesenberry 1965,
Ann Math Stat 36:1049). The least is named first.

Per cent. How many of the population's own cells are at least as far from their fifth nearest: a conformal p value (Vovk
et al. 2005, Algorithmic Learning in a Random World), comparable between populations in different features. Where all
populations give less than `UNLIKE_BELOW`, the cell is unlike all, and none is named.

Small groups. Fewer than `SMALL_GROUP` cells give no per cent and are not ranked. They are told of where the cell is
nearer to one of theirs than to the population named first, and than any two of theirs are to each other.

A member that agrees with the cell in every feature is the cell itself and does not count. This describes; it does not
classify. `core.evaluation.nearness_check` measures how often it names the right type.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from core.domain.cell_types import CellType
from core.domain.flags import FLAGS, GRANULOCYTE, flag_words
from core.domain.types import FeatureSet
from core.populations.neighbours import in_um
from core.populations.robust import LIMIT, Matrix, RobustScaling, log_where
from core.populations.summaries import SMALL_GROUP, ReferencePopulation

UNLIKE_BELOW: Final = 3.0  # per cent
MOST_MEMBERS: Final = 1000  # of a population; the standard error of a per cent is 1.6 at most

_NEIGHBOUR: Final = 5
_SHRINKAGE: Final = 0.1
_FARTHEST: Final = 20.0  # spreads from the middle; also of a logarithm that does not exist
_ITSELF: Final = 1e-4  # no two cells agree so closely in several features
_ENOUGH: Final = 0.5  # share of the features, and of the members that have one
_MOST_SPACES: Final = 20  # sets of features; cells that lack some have others
_GRANULOCYTES: Final = frozenset({CellType.NEUTROPHIL, CellType.EOSINOPHIL, CellType.BASOPHIL})


class Unnamed(Enum):
    """Why no population is named."""

    FLAG = auto()
    GRANULOCYTE = auto()
    UNLIKE = auto()
    NOTHING = auto()


@dataclass(frozen=True)
class NearPopulation:
    """How near a cell is to a population.

    `distance` is to its fifth nearest cell (of a small group, the nearest), in spreads over the shape features, and the
    sizes where `sized`; `usual` is the median of that among its own cells, of a small group the least. `typicality` is
    the per cent of its `n` cells with at least that distance, None for a small group. `others` tells that the cell is
    one of its cells and was left out; the n are a sample where `drawn_from` gives their number.
    """

    population: str
    cell_type: CellType
    title: str
    n: int
    patients: int | None
    distance: float
    usual: float
    typicality: float | None
    sized: bool
    others: bool
    drawn_from: int | None


@dataclass(frozen=True)
class Nearness:
    """The populations a cell is near to, nearest first, or why none is named; a description, never a classification.

    `close_groups` are small groups that the cell is closer to. `flag` is the code of the flag that refuses the cell;
    `shapes` and `sizes` count the features compared.
    """

    populations: tuple[NearPopulation, ...] = ()
    close_groups: tuple[NearPopulation, ...] = ()
    unnamed: Unnamed | None = None
    flag: str | None = None
    shapes: int = 0
    sizes: int = 0


class NearestPopulations:
    """What a cell's nearest populations are found among; published tables have no cells and take no part.

    Parameters
    ----------
    references
        The populations, of which at most `MOST_MEMBERS` cells each are kept.
    shapes, sizes
        The features that count (`core.populations.neighbours`).
    """

    def __init__(self, references: Iterable[ReferencePopulation], shapes: Sequence[str], sizes: Sequence[str]) -> None:
        self._groups = [_Group.of(r, [*shapes, *sizes]) for r in references if not r.published and len(r.sample)]
        self._shapes, self._sizes = tuple(shapes), tuple(sizes)
        self._spaces: dict[tuple[str, ...], _Space | None] = {}

    def of(
        self, features: FeatureSet, um_per_px: float | None, flags: Collection[str], severe: Sequence[str]
    ) -> Nearness:
        """Name the populations nearest to a cell.

        Parameters
        ----------
        features
            Its values in pixels.
        um_per_px
            Its scale.
        flags, severe
            Codes of its quality flags, and those of them that refuse it.
        """
        if severe:
            return Nearness(unnamed=Unnamed.FLAG, flag=severe[0])
        if GRANULOCYTE in flags and not any(group.reference.cell_type in _GRANULOCYTES for group in self._groups):
            return Nearness(unnamed=Unnamed.GRANULOCYTE)
        shapes, sizes = (
            tuple(name for name in names if features.values.get(name) is not None)
            for names in (self._shapes, self._sizes if um_per_px else ())
        )
        in_shape = self._near(features, None, shapes, self._groups)
        scaled = [group for group in self._groups if group.scaled and group.reference.population in in_shape]
        near = in_shape | (self._near(features, um_per_px, (*shapes, *sizes), scaled) if sizes else {})
        large, small = _ranked(near, in_shape)
        first = large[0] if large else None
        close = tuple(
            group
            for group in small
            if group.distance < group.usual < np.inf
            and (first is None or group.distance < (first if group.sized else in_shape[first.population]).distance)
        )
        counts = len(shapes), len(sizes) if any(p.sized for p in large) else 0
        if not large:
            return Nearness((), close, Unnamed.NOTHING, None, *counts)
        if all((p.typicality or 0) < UNLIKE_BELOW for p in large):
            return Nearness((), close, Unnamed.UNLIKE, None, *counts)
        return Nearness(large, close, None, None, *counts)

    def _near(
        self, features: FeatureSet, um_per_px: float | None, names: tuple[str, ...], groups: Sequence["_Group"]
    ) -> dict[str, NearPopulation]:
        """How near the cell is to those of the groups that can be compared in these features; sizes need a scale."""
        if len(self._spaces) >= _MOST_SPACES and names not in self._spaces:
            self._spaces = {}
        spaces = self._spaces  # another thread may begin a new one
        if names not in spaces:
            spaces[names] = _Space.fit(groups, names)
        space = spaces[names]
        if space is None:
            return {}
        at = space.placed(in_um(features.vector(space.features)[None], space.features, um_per_px))
        return {cells.reference.population: cells.near(at, sized=um_per_px is not None) for cells in space.populations}


def _ranked(
    near: dict[str, NearPopulation], in_shape: dict[str, NearPopulation]
) -> tuple[tuple[NearPopulation, ...], tuple[NearPopulation, ...]]:
    """Large populations and small groups, nearest first; those compared in shape alone take the place they have there.

    That place is behind as many compared in shape and size as are nearer in shape.
    """
    by_distance = sorted(near.values(), key=lambda population: population.distance)
    large = [population for population in by_distance if population.typicality is not None]
    sized = [population for population in large if population.sized]
    places = {population.population: float(place) for place, population in enumerate(sized)}
    for other in (population for population in large if not population.sized):
        nearer = (in_shape[p.population].distance < other.distance for p in sized)
        places[other.population] = sum(nearer) - 0.5
    return (
        tuple(sorted(large, key=lambda population: places[population.population])),
        tuple(population for population in by_distance if population.typicality is None),
    )


# --- in words ---------------------------------------------------------------------------------------------------------


def in_words(nearness: Nearness) -> str:
    """What is nearest, how far to believe it, and the runner-up; or why none is named."""
    return " ".join([_main(nearness), *map(_of_group, nearness.close_groups)])


def _main(nearness: Nearness) -> str:
    none = "No nearest population is named:"
    compared = "shape and size" if nearness.sizes else "shape"
    match nearness.unnamed:
        case Unnamed.FLAG:
            return f"{none} {_flagged(nearness.flag or '')}."
        case Unnamed.GRANULOCYTE:
            return f"{none} the cell looks like a granulocyte, and there are none here to compare it with."
        case Unnamed.UNLIKE:
            return (
                f"Unlike every population here in {compared}: it lies farther from the cells of each than"
                f" {100 - UNLIKE_BELOW:.0f} % of these lie from their neighbours."
            )
        case Unnamed.NOTHING:
            return f"{none} there is nothing to compare the cell with."
    first, *others = nearness.populations
    text = (
        f"Nearest in {_features(first)}: {first.title} ({_share(first)} of its {_cells(first)} lie as far from their"
        " neighbours or farther)"
    )
    for second in others[:1]:
        otherwise = "" if second.sized == first.sized else f", in {_features(second)}"
        text += f", then {second.title} ({_share(second)} of {_cells(second)}{otherwise})"
    return f"{text}."


def _features(near: NearPopulation) -> str:
    return "shape and size" if near.sized else "shape"


def _of_group(group: NearPopulation) -> str:
    return (
        f"Closer{' in shape' * (not group.sized)} to a cell of {group.title} than any two of these are to each other"
        f" (n = {group.n}, too few for a per cent)."
    )


def _flagged(code: str) -> str:
    if code not in FLAGS:
        return f"the cell is flagged as {flag_words(code)}"
    sentence = FLAGS[code].sentence
    return sentence[0].lower() + sentence[1:]


def _share(near: NearPopulation) -> str:
    percent = near.typicality or 0.0
    return "none" if percent == 0 else "fewer than 1 %" if percent < 1 else f"{percent:.0f} %"


def _cells(near: NearPopulation) -> str:
    cells = f"{near.n:,}{' other' * near.others} cells"
    if near.drawn_from is not None:
        cells = f"{near.n:,} of {near.drawn_from:,} cells"
    return f"{cells} of {near.patients:,} patients" if near.patients and near.patients > 1 else cells


# --- distances --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Group:
    """A population, and the values (n, F) in pixels of the members that are looked at, with their scales (n,)."""

    reference: ReferencePopulation
    values: pd.DataFrame
    um_per_px: NDArray[np.float64]

    @classmethod
    def of(cls, reference: ReferencePopulation, features: list[str]) -> Self:
        sample = reference.sample
        if len(sample) > MOST_MEMBERS:
            sample = sample.sample(MOST_MEMBERS, random_state=0)
        scales = sample["um_per_px"].to_numpy(np.float64, na_value=np.nan)
        return cls(reference, sample.reindex(columns=features).astype(np.float64), scales)

    @property
    def scaled(self) -> bool:
        return bool(np.mean(~np.isnan(self.um_per_px)) >= _ENOUGH)

    def matrix(self, features: Sequence[str]) -> Matrix:
        """Values (n, F), sizes in micrometres; nan where absent."""
        return in_um(self.values[list(features)].to_numpy(np.float64), features, self.um_per_px[:, None])


@dataclass(frozen=True, eq=False)
class _Members:
    """Cells of a population in a space (n, F), and how far each is from its own neighbours."""

    reference: ReferencePopulation
    at: Matrix

    @cached_property
    def own(self) -> Matrix:
        """Distance (n,) of each member to its fifth nearest other; of a small group, to the nearest."""
        apart = cdist(self.at, self.at)
        np.fill_diagonal(apart, np.inf)
        return self._reached(apart, len(self.at) - 1)

    def near(self, cell: Matrix, *, sized: bool) -> NearPopulation:
        """How near a cell (1, F) is, if it is a member without itself."""
        apart = cdist(cell, self.at)
        others = apart[0] > _ITSELF
        n, large = int(others.sum()), len(self.at) >= SMALL_GROUP
        distance = float(self._reached(apart[:, others], n)[0]) if n else np.inf
        reference = self.reference
        return NearPopulation(
            population=reference.population,
            cell_type=reference.cell_type,
            title=reference.title,
            n=n,
            patients=reference.patients,
            distance=distance,
            usual=float(np.median(self.own) if large else np.min(self.own)),
            typicality=100 * float(np.mean(self.own[others] >= distance)) if large and n else None,
            sized=sized,
            others=n < len(others),
            drawn_from=reference.n if reference.n > len(self.at) else None,
        )

    def _reached(self, apart: Matrix, there: int) -> Matrix:
        """The distance (m,) within which enough members lie, of distances (m, n) of which `there` are to others."""
        if not there:
            return np.full(len(apart), np.inf)
        at = min(_NEIGHBOUR if len(self.at) >= SMALL_GROUP else 1, there) - 1
        reached: Matrix = np.partition(apart, at, axis=1)[:, at]
        return reached


@dataclass(frozen=True, eq=False)
class _Space:
    """Axes (F, F) of equal spread without correlation, in some features, and the populations in them."""

    features: tuple[str, ...]
    log: NDArray[np.bool_]
    middle: Matrix
    spread: Matrix
    axes: Matrix
    populations: tuple[_Members, ...]

    @classmethod
    def fit(cls, groups: Sequence[_Group], names: Sequence[str]) -> Self | None:
        """Fit to the populations that can be compared, in the features in which they can; None without any."""
        features, matrices = _compared(groups, names)
        large = [matrix for matrix in matrices.values() if len(matrix) >= SMALL_GROUP] or list(matrices.values())
        if not large or not features:
            return None
        scalings = [RobustScaling.fit(matrix, features) for matrix in large]
        spread = np.sqrt(np.mean([np.nan_to_num(np.square(scaling.scale)) for scaling in scalings], axis=0))
        varies = spread > 0
        if not varies.any():
            return None
        log, spread = scalings[0].log[varies], spread[varies]
        middles = np.nan_to_num([scaling.location[varies] for scaling in scalings])
        residuals = [
            np.clip((log_where(matrix[:, varies].T, log).T - middle) / spread, -LIMIT, LIMIT)
            for matrix, middle in zip(large, middles, strict=True)
        ]
        kept = tuple(name for name, used in zip(features, varies, strict=True) if used)
        space = cls(kept, log, middles.mean(axis=0), spread, _uncorrelated(residuals), ())
        return replace(
            space,
            populations=tuple(
                _Members(group.reference, space.placed(matrix[:, varies])) for group, matrix in matrices.items()
            ),
        )

    def placed(self, values: Matrix) -> Matrix:
        """Cells (n, F) in these axes, scaled so that a distance is a root mean square."""
        z = np.clip((log_where(values.T, self.log).T - self.middle) / self.spread, -_FARTHEST, _FARTHEST)
        placed: Matrix = z @ self.axes
        return placed


def _compared(groups: Sequence[_Group], names: Sequence[str]) -> tuple[tuple[str, ...], dict[_Group, Matrix]]:
    """The features that all of the populations have, and the values (n, F) of the members that have all of these.

    A population that lacks most of the features is left out instead.
    """
    matrices = {group: group.matrix(names) for group in groups}
    has = {group: (~np.isnan(matrix)).mean(axis=0) >= _ENOUGH for group, matrix in matrices.items()}
    has = {group: features for group, features in has.items() if len(names) and features.mean() >= _ENOUGH}
    common = np.logical_and.reduce(list(has.values())) if has else np.zeros(len(names), dtype=bool)
    complete = {group: matrices[group][:, common] for group in has}
    complete = {group: matrix[~np.isnan(matrix).any(axis=1)] for group, matrix in complete.items()}
    features = tuple(name for name, used in zip(names, common, strict=True) if used)
    return features, {group: matrix for group, matrix in complete.items() if len(matrix)}


def _uncorrelated(residuals: Sequence[Matrix]) -> Matrix:
    """Axes (F, F) that remove the mean correlation of residuals (n, F), divided by the root of F."""
    covariance = np.mean([np.atleast_2d(np.cov(each, rowvar=False, bias=True)) for each in residuals], axis=0)
    deviation = np.sqrt(np.diag(covariance))
    correlation = (1 - _SHRINKAGE) * covariance / np.outer(deviation, deviation) + _SHRINKAGE * np.eye(len(deviation))
    axes: Matrix = np.linalg.inv(np.linalg.cholesky(correlation)).T / np.sqrt(len(deviation))
    return axes
