"""Cells in a plane, as numbers: two features, or an embedding of many; and which cells lie within an outline."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from skimage.measure import points_in_poly

from core.domain.types import CellAnalysis
from core.explorer import view
from core.explorer.embedding import MOST_CELLS, Prepared, PrincipalAxes, prepare, principal_axes
from core.explorer.selection import Gate, Quality, Selection
from core.explorer.view import By, JointDistribution, Values
from core.features.catalogue import CATALOGUE
from core.features.spec import Region, Theme
from core.store.database import Cohort

# Squares in which very many cells are counted, across and up.
BINS: Final = (200, 150)
_MOST_ABSENT: Final = 0.5  # share of the features that a cell may lack and still be placed among others


class FeatureScope(StrEnum):
    """Which features an embedding uses; the value is what the address says."""

    SHAPE = "shape"
    ALL = "all"


@dataclass(frozen=True, eq=False)
class EmbeddedCells:
    """Cells, or a sample of many, ready to be embedded, and their principal axes.

    `values` are without features; `digest` identifies what is embedded.
    """

    values: Values
    prepared: Prepared
    principal: PrincipalAxes
    digest: str

    def scaled(self, analysis: CellAnalysis) -> NDArray[np.float64] | None:
        """A further cell (1, F), scaled as these; None where it lacks more than half of the features."""
        row = np.array([[comparable_value(analysis, name) for name in self.prepared.features]])
        return None if np.isnan(row).mean() > _MOST_ABSENT else self.prepared.place(row)


def comparable_value(analysis: CellAnalysis, feature: str) -> float:
    """Value of a feature of a cell in the basis of comparison; nan where it has none."""
    spec, value, scale = CATALOGUE[feature], analysis.features.values.get(feature), analysis.image.um_per_px
    if value is None or (not spec.scale_free and scale is None):
        return float("nan")
    return spec.in_um(value, scale) if scale is not None else value


def two_features(
    cohort: Cohort, selection: Selection, x: str, y: str, colour: By | str, *, log: tuple[bool, bool]
) -> JointDistribution:
    """Two features against each other, by group or with the values of a third feature.

    With a third feature the cells come one by one, or as a sample of very many.
    """
    if isinstance(colour, By):
        return view.scatter(cohort, selection, x, y, colour, log=log, bins=BINS)
    points = view.values(cohort, selection, (x, y, colour), sample=view.MOST_POINTS)
    absent = int(np.count_nonzero(np.isnan(points.matrix[:, :2]).any(axis=1)))
    return JointDistribution(x, y, log, points.cells, absent, points, None)


def embedding_features(offered: Sequence[str], reliable: Collection[str], scope: FeatureScope) -> tuple[str, ...]:
    """Features of an embedding: the reliable ones of those offered, of the cell itself."""
    shape = (Theme.SHAPE, Theme.STRUCTURE)
    return tuple(
        name
        for name in offered
        if name in reliable
        and CATALOGUE[name].region is not Region.ENVIRONMENT
        and (scope is FeatureScope.ALL or (CATALOGUE[name].theme in shape and not CATALOGUE[name].intensity_dependent))
    )


def embedded(cohort: Cohort, selection: Selection, features: Sequence[str]) -> EmbeddedCells:
    """Scale cells for an embedding and find their principal axes; raises UsageError where they are too few."""
    cells = view.values(cohort, selection, features, sample=MOST_CELLS)
    cells = cells.rows(np.argsort(cells.cell_id.astype(str)))  # the files' order may change, the picture should not
    prepared = prepare(cells.matrix, features)
    digest = hashlib.sha256(np.ascontiguousarray(prepared.z).tobytes()).hexdigest()
    return EmbeddedCells(cells.without_features(), prepared, principal_axes(prepared), digest)


def coloured(cohort: Cohort, values: Values, colour: By | str) -> Values:
    """The same cells in the same order with their groups, or with the values of a feature."""
    ids = tuple(str(cell) for cell in values.cell_id)
    by, features = (colour, ()) if isinstance(colour, By) else (None, (colour,))
    cells = view.values(cohort, Selection(quality=Quality.ANY, cells=ids), features, by)
    row = {str(cell): index for index, cell in enumerate(cells.cell_id)}
    return replace(cells.rows(np.array([row[cell] for cell in ids], dtype=np.int64)), cells=values.cells)


def within(
    selection: Selection, values: Values, xy: NDArray[np.float64], polygon: Sequence[tuple[float, float]]
) -> Selection | None:
    """The selection of the cells at `xy` (n, 2) that lie within a polygon; None where none does."""
    inside = points_in_poly(xy, np.asarray(polygon))
    ids = tuple(sorted(str(cell) for cell in values.cell_id[inside]))
    return replace(selection, cells=ids) if ids else None


def with_gate(selection: Selection, gate: Gate) -> Selection:
    """The selection with one more gate, replacing one of the same name."""
    return replace(selection, gates=(*(kept for kept in selection.gates if kept.name != gate.name), gate))
