"""Which cells are most like one: distances in robust standard deviations.

Distance of two cells: the root mean square, over the features both have, of the difference of their robust z
(`core.populations.robust`). `core.populations.nearness` tells which populations a cell is near to.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import UsageError
from core.features.catalogue import CATALOGUE
from core.features.spec import Region

NEAREST: Final = 15
_ENOUGH: Final = 0.5  # share of the features that two cells must have in common
_VALUES_AT_ONCE: Final = 4_000_000  # 32 MB

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The cells nearest to one, the nearest first: rows and distances, of `cells` considered, in at most `features`."""

    rows: NDArray[np.int64]
    distances: Matrix
    features: int
    cells: int


@dataclass(frozen=True)
class Share:
    """Count of a label among the nearest cells, and among all considered."""

    label: str
    nearest: int
    all_cells: int


def comparable_features(reliable: Collection[str]) -> tuple[str, ...]:
    """Those of the reliable features in which cells of any source can be compared, in the catalogue's order.

    Neither magnification nor stain changes them, and they are the cell's own.
    """
    return tuple(
        name
        for name, spec in CATALOGUE.items()
        if name in reliable
        and spec.scale_free
        and not spec.intensity_dependent
        and spec.region is not Region.ENVIRONMENT
    )


def comparable_sizes(reliable: Collection[str]) -> tuple[str, ...]:
    """Those of the reliable features that are sizes of the cell and can be converted to micrometres, likewise."""
    return tuple(
        name
        for name, spec in CATALOGUE.items()
        if name in reliable
        and spec.length_power
        and not spec.scale_free
        and not spec.intensity_dependent
        and spec.region is not Region.ENVIRONMENT
    )


def in_um(values: Matrix, features: Sequence[str], um_per_px: float | Matrix | None) -> Matrix:
    """Values (n, F) in pixels, with sizes in micrometres, nan without a scale; the scale is one or (n, 1)."""
    powers = [0 if CATALOGUE[name].scale_free else CATALOGUE[name].length_power for name in features]
    scale = np.array(np.nan if um_per_px is None else um_per_px)
    converted: Matrix = values * scale ** np.array(powers)  # nan to the power of 0 is 1
    return converted


def nearest(
    query: Matrix, z: NDArray[np.floating], *, count: int = NEAREST, leave_out: int | None = None
) -> Neighbours:
    """Cells nearest to one, exactly.

    Parameters
    ----------
    query
        (F,): the cell, scaled as the others; nan where absent.
    z
        (n, F): cells to look among (`RobustScaling.z`). One that shares less than half of the query's features is not
        considered.
    count
        How many at most.
    leave_out
        Row of the cell itself.

    Raises
    ------
    UsageError
        If the cell has none of the features.
    """
    has = ~np.isnan(query)
    features = int(has.sum())
    if not features:
        msg = f"the cell has none of the {len(query)} features by which neighbours are found; choose others"
        raise UsageError(msg)
    distances = np.empty(len(z))
    step = max(1, _VALUES_AT_ONCE // len(query))
    for start in range(0, len(z), step):
        difference = z[start : start + step][:, has] - query[has]
        shared = features - np.isnan(difference).sum(axis=1)
        enough = shared >= _ENOUGH * features
        mean = np.divide(
            np.nansum(np.square(difference), axis=1), shared, out=np.full(len(difference), np.inf), where=enough
        )
        distances[start : start + step] = np.sqrt(mean)
    if leave_out is not None:
        distances[leave_out] = np.inf
    there = int(np.isfinite(distances).sum())
    count = min(count, there)
    rows = np.argpartition(distances, count - 1)[:count] if count else np.empty(0, dtype=np.int64)
    rows = rows[np.lexsort((rows, distances[rows]))]
    return Neighbours(rows, distances[rows], features, there)


def shares(near: Neighbours, labels: Sequence[str] | NDArray[np.object_]) -> tuple[Share, ...]:
    """Labels of the nearest cells (type, source ...), the most frequent first; `labels` (n,) are those of all cells."""
    every = np.asarray(labels, dtype=object)
    names, counts = np.unique(every[near.rows].astype(str), return_counts=True)
    order = np.lexsort((names, -counts))
    return tuple(Share(str(names[i]), int(counts[i]), int(np.count_nonzero(every == names[i]))) for i in order)


def sentence(near: Neighbours, labels: Sequence[str] | NDArray[np.object_], of: str) -> str:
    """How the nearest cells divide by label ("monocytes"), beside how all do, in features "of shape".

    A type of many cells is often near by its number alone.
    """
    if not len(near.rows):
        return "No cell has enough features in common with this one."
    parts = ", ".join(
        f"{share.nearest} {share.label} ({100 * share.all_cells / len(labels):.0f} % of all)"
        for share in shares(near, labels)
    )
    features = f"{near.features} feature{'s' * (near.features != 1)} {of}"
    return (
        f"Of the {len(near.rows)} nearest among {near.cells:,} cells: {parts}; {near.distances[0]:.2f} to"
        f" {near.distances[-1]:.2f} standard deviations away in {features}."
    )
