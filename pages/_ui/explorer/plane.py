"""What the plane shows.

Two features, principal axes or UMAP, each made ready to be drawn, with the way back from an outline to cells.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from skimage.measure import points_in_poly

from core.charts import axes
from core.charts.axes import Axis
from core.charts.groups import DrawnGroup, styled
from core.charts.scatter import Bins, Points, Scatter, colour_bar
from core.charts.theme import Look
from core.charts.trust import graded
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.types import CellAnalysis
from core.explorer import view
from core.explorer.embedding import (
    MOST_CELLS,
    Prepared,
    PrincipalAxes,
    Umap,
    UmapCache,
    prepare,
    principal_axes,
    umap_key,
)
from core.explorer.selection import Gate, Quality, Selection, basis
from core.explorer.view import MOST_POINTS, By, InView, Values
from core.features.catalogue import CATALOGUE
from core.features.spec import Region, Theme
from pages._ui.common import resources
from pages._ui.components.scatter.scatter import Polygon
from pages._ui.explorer.state import MOST_GROUPS

SEED: Final = 0
LASSO: Final = "the outline"  # name of the gate while it has none of a person's


class Kind(StrEnum):
    """What the plane is made of; the value is what the address says."""

    FEATURES = "features"
    PCA = "pca"
    UMAP = "umap"


class About(StrEnum):
    """Which features a computed plane looks at; the value is what the address says."""

    SHAPE = "shape"
    ALL = "all"


@dataclass(frozen=True, eq=False)
class Plane:
    """A picture of cells in a plane.

    `key` names the axes, so that an outline is kept only as long as they are the same; `sentences` say how it was made;
    `choose` returns the selection of the cells within an outline, None where there is none; `shown` are the cells as
    points, None where they are counted.
    """

    drawn: Scatter
    key: str
    sentences: tuple[str, ...]
    choose: Callable[[Polygon], Selection | None]
    shown: Values | None


@dataclass(frozen=True, eq=False)
class Laid:
    """Cells, of many a sample, ready for a computed plane, and their principal axes; `digest` names their values."""

    values: Values
    prepared: Prepared
    principal: PrincipalAxes
    digest: str


# --- two features -----------------------------------------------------------------------------------------------------


def features_plane(
    selection: Selection, x: str, y: str, colour: By | str, own: CellAnalysis | None, look: Look
) -> Plane:
    """The plane of two features, on logarithmic axes where the catalogue says so.

    `colour` is what tells groups, or a feature.
    """
    log = CATALOGUE[x].log_axis, CATALOGUE[y].log_axis
    by, feature = (colour, None) if isinstance(colour, By) else (None, colour)
    found = _scatter(resources.cohort().revision, selection, x, y, by, feature, log)
    titles = [axes.title(name, basis(CATALOGUE[name]), log=of_axis) for name, of_axis in zip((x, y), log, strict=True)]
    own_place = _own_place(own, (x, y), log)
    if found.points is not None:
        places = [axes.drawn(name, found.points.matrix[:, i], log=log[i]) for i, name in enumerate((x, y))]
        x_axis, y_axis = (axes.axis(titles[i], _with(places[i], own_place, i), log=log[i]) for i in (0, 1))
        value = None if feature is None else found.points.matrix[:, 2]
        drawn = _points(found.points, (places[0], places[1]), (x_axis, y_axis), by, feature, value, own_place, look)
    else:
        assert found.bins is not None
        bins = found.bins
        edges = [
            axes.drawn(name, ends, log=log[i]) for i, (name, ends) in enumerate(((x, bins.x_edges), (y, bins.y_edges)))
        ]
        x_axis, y_axis = (Axis(titles[i], float(edges[i][0]), float(edges[i][-1]), log[i]) for i in (0, 1))
        groups, place = _drawn_groups(bins.group_names, bins.counts.sum(axis=(1, 2)), by, look)
        counts = np.zeros((len(groups), *bins.counts.shape[1:]), np.int64)
        np.add.at(counts, place, bins.counts)
        drawn = Scatter(x_axis, y_axis, groups, Bins(counts, edges[0], edges[1], absent=found.absent), own=own_place)

    def choose(polygon: Polygon) -> Selection | None:
        vertices = tuple((axes.measured(x, a, log=log[0]), axes.measured(y, b, log=log[1])) for a, b in polygon)
        return with_gate(selection, Gate(LASSO, x, y, vertices, log))

    absent: tuple[str, ...] = (
        (f"{found.absent:,} cells lack one of the two and are not drawn.",) if found.absent else ()
    )
    if own is not None and own_place is None:
        absent += ("The cell of page Single cell is not drawn: it lacks one of the two, or its scale is unknown.",)
    return Plane(drawn, f"features {x} {y}", absent, choose, found.points)


def with_gate(selection: Selection, gate: Gate) -> Selection:
    """The selection within one gate more."""
    return replace(selection, gates=(*(kept for kept in selection.gates if kept.name != gate.name), gate))


@st.cache_resource(show_spinner="Looking up the cells", max_entries=8)
def _scatter(
    revision: str,  # noqa: ARG001 - the key
    selection: Selection,
    x: str,
    y: str,
    by: By | None,
    feature: str | None,
    log: tuple[bool, bool],
) -> view.JointDistribution:
    cohort = resources.cohort()
    if feature is None:
        return view.scatter(cohort, selection, x, y, by, log=log, bins=(200, 150))
    # Coloured by a value the cells are drawn one by one, of very many a sample.
    points = view.values(cohort, selection, (x, y, feature), sample=MOST_POINTS)
    absent = int(np.count_nonzero(np.isnan(points.matrix[:, :2]).any(axis=1)))
    return view.JointDistribution(x, y, log, points.cells, absent, points, None)


def _own_place(
    own: CellAnalysis | None, features: tuple[str, str], log: tuple[bool, bool]
) -> tuple[float, float] | None:
    """Where the cell of page Single cell lies; None where one of its values cannot be set beside the others."""
    if own is None:
        return None
    place = [axes.drawn(name, own_value(own, name), log=of_axis) for name, of_axis in zip(features, log, strict=True)]
    there = all(np.isfinite(value) and (value > 0 or not of_axis) for value, of_axis in zip(place, log, strict=True))
    return (place[0], place[1]) if there else None


def own_value(own: CellAnalysis, name: str) -> float:
    """Value of a feature of the cell of page Single cell in the basis of comparison; nan where it has none."""
    spec, value, scale = CATALOGUE[name], own.features.values.get(name), own.image.um_per_px
    if value is None or (not spec.scale_free and scale is None):
        return float("nan")
    return spec.in_um(value, scale) if scale is not None else value


def _with(places: NDArray[np.float64], own: tuple[float, float] | None, index: int) -> NDArray[np.float64]:
    return places if own is None else np.append(places, own[index])


# --- computed planes --------------------------------------------------------------------------------------------------


def looked_at(in_view: InView, about: About) -> tuple[str, ...]:
    """Features of a computed plane: reliable, comparable among the cells in view, of the cell itself."""
    reliable = graded(resources.reliability_if_known())
    shape = (Theme.SHAPE, Theme.STRUCTURE)
    return tuple(
        name
        for name in in_view.offered
        if name in reliable
        and CATALOGUE[name].region is not Region.ENVIRONMENT
        and (about is About.ALL or (CATALOGUE[name].theme in shape and not CATALOGUE[name].intensity_dependent))
    )


def laid(selection: Selection, features: tuple[str, ...]) -> Laid:
    """Cells ready for a computed plane; raises UsageError where they are too few."""
    return _laid(resources.cohort().revision, selection, features)


@st.cache_resource(show_spinner="Scaling the features", max_entries=3)
def _laid(revision: str, selection: Selection, features: tuple[str, ...]) -> Laid:  # noqa: ARG001 - the key
    found = view.values(resources.cohort(), selection, features, sample=MOST_CELLS)
    order = np.argsort(found.cell_id.astype(str))  # the files' order may change, the map should not
    found = _rows(found, order)
    prepared = prepare(found.matrix, features)
    digest = hashlib.sha256(np.ascontiguousarray(prepared.z).tobytes()).hexdigest()
    return Laid(_rows(found, np.arange(len(found)), features=()), prepared, principal_axes(prepared), digest)


def _rows(values: Values, rows: NDArray[np.integer], features: tuple[str, ...] | None = None) -> Values:
    """Some of the cells; without their features where none are named."""
    per_cell = ("cell_id", "population", "cell_type", "source", "patient_id", "um_per_px", "groups")
    taken = {name: getattr(values, name)[rows] for name in per_cell}
    matrix = values.matrix[rows] if features is None else np.empty((len(rows), 0))
    return replace(values, **taken, matrix=matrix, features=values.features if features is None else features)


def pca_plane(selection: Selection, found: Laid, colour: By | str, own: CellAnalysis | None, look: Look) -> Plane:
    """The plane of the first two principal axes."""
    principal = found.principal
    titles = [f"Axis {i + 1}, {100 * principal.explained[i]:.0f} % of the variance" for i in (0, 1)]
    own_z = _own_z(own, found)
    own_place = None if own_z is None else (float(principal.place(own_z)[0, 0]), float(principal.place(own_z)[0, 1]))
    words = (*principal.words[:2], f"Principal axes of {found.prepared.sentence}")
    xy = (principal.scores[:, 0], principal.scores[:, 1])
    return _computed(selection, found.values, xy, titles, words, f"pca {found.digest}", colour, own_place, look)


def umap_plane(
    selection: Selection, found: Laid, laid_out: Umap, colour: By | str, own: CellAnalysis | None, look: Look
) -> Plane:
    """The plane that UMAP has computed."""
    own_z = _own_z(own, found)
    own_place = None if own_z is None else laid_out.place(own_z[0], found.prepared.z)
    words = (laid_out.sentence, f"It looks at {found.prepared.sentence}")
    xy = (laid_out.xy[:, 0].astype(np.float64), laid_out.xy[:, 1].astype(np.float64))
    values = _rows(found.values, laid_out.rows)
    return _computed(
        selection, values, xy, ["UMAP 1", "UMAP 2"], words, f"umap {found.digest}", colour, own_place, look
    )


def umap_cache() -> UmapCache:
    """Where maps are computed and kept."""
    return UmapCache(resources.settings().cache / "maps")


def umap_name(found: Laid) -> str:
    """Name of the map of these cells: of their values, so that a note on a cell asks for no new one."""
    return umap_key(found.digest, "", found.prepared.features, SEED)


def _own_z(own: CellAnalysis | None, found: Laid) -> NDArray[np.float64] | None:
    if own is None:
        return None
    row = np.array([[own_value(own, name) for name in found.prepared.features]])
    return None if np.isnan(row).mean() > 0.5 else found.prepared.place(row)


def _computed(
    selection: Selection,
    values: Values,
    xy: tuple[NDArray[np.float64], NDArray[np.float64]],
    titles: list[str],
    words: tuple[str, ...],
    key: str,
    colour: By | str,
    own: tuple[float, float] | None,
    look: Look,
) -> Plane:
    by, feature = (colour, None) if isinstance(colour, By) else (None, colour)
    coloured = _coloured(resources.cohort().revision, key, by, feature, values)
    x_axis, y_axis = (
        axes.axis(title, _with(place, own, i)) for i, (title, place) in enumerate(zip(titles, xy, strict=True))
    )
    value = None if feature is None else coloured.matrix[:, 0]
    drawn = _points(replace(coloured, cells=values.cells), xy, (x_axis, y_axis), by, feature, value, own, look)

    def choose(polygon: Polygon) -> Selection | None:
        inside = points_in_poly(np.column_stack(xy), np.asarray(polygon))
        ids = tuple(sorted(str(cell) for cell in values.cell_id[inside]))
        return replace(selection, cells=ids) if ids else None

    return Plane(drawn, key, words, choose, coloured)


@st.cache_resource(show_spinner=False, max_entries=8)
def _coloured(revision: str, plane: str, by: By | None, feature: str | None, _values: Values) -> Values:  # noqa: ARG001 - the key
    """The same cells in the same order with their groups, and with the values of a feature if one is named."""
    ids = tuple(str(cell) for cell in _values.cell_id)
    found = view.values(
        resources.cohort(), Selection(quality=Quality.ANY, cells=ids), (feature,) if feature else (), by
    )
    row = {str(cell): index for index, cell in enumerate(found.cell_id)}
    return _rows(found, np.array([row[cell] for cell in ids], dtype=np.int64))


# --- groups and colours -----------------------------------------------------------------------------------------------


def _points(
    values: Values,
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    on_axes: tuple[Axis, Axis],
    by: By | None,
    feature: str | None,
    value: NDArray[np.float64] | None,
    own: tuple[float, float] | None,
    look: Look,
) -> Scatter:
    sizes = np.bincount(values.groups, minlength=len(values.group_names))
    groups, place = _drawn_groups(values.group_names, sizes, by, look)
    bar = None
    if feature is not None and value is not None:
        value = axes.drawn(feature, value)
        bar = colour_bar(axes.title(feature, basis(CATALOGUE[feature])), value)
    words = [
        f"{CELL_TYPES[CellType(kind)].short}, {f'patient {patient}' if patient else 'patient unknown'}"
        for kind, patient in zip(values.cell_type, values.patient_id, strict=True)
    ]
    of = values.cells if values.cells > len(values) else None
    marks = Points(places[0], places[1], place[values.groups], [str(cell) for cell in values.cell_id], words, value, of)
    return Scatter(on_axes[0], on_axes[1], groups, marks, bar, own)


def _drawn_groups(
    names: Sequence[str], sizes: NDArray[np.integer], by: By | None, look: Look
) -> tuple[tuple[DrawnGroup, ...], NDArray[np.int64]]:
    """Groups as they are drawn, and the index among these of each group named.

    Of very many the smaller ones become one.
    """
    titles, kinds = resources.population_titles(), resources.population_types()

    def kind(name: str) -> CellType | None:
        if by is By.CELL_TYPE:
            return CellType(name)
        return kinds.get(name) if by is By.POPULATION else None

    def title(name: str) -> str:
        if by is By.CELL_TYPE:
            return CELL_TYPES[CellType(name)].name
        return titles.get(name, name) if by is By.POPULATION else name

    kept = (
        np.arange(len(names))
        if len(names) <= MOST_GROUPS
        else np.sort(np.argsort(-sizes, kind="stable")[: MOST_GROUPS - 1])
    )
    chosen = [names[i] for i in kept]
    drawn = styled(
        [title(name) for name in chosen],
        [int(sizes[i]) for i in kept],
        [None] * len(kept),
        [kind(name) for name in chosen],
    )
    place = np.full(len(names), len(kept), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    others = len(names) - len(kept)
    if others:
        drawn = (
            *drawn,
            DrawnGroup(f"{others} others", int(sizes.sum() - sizes[kept].sum()), None, look.muted, (1, 0), "circle"),
        )
    return drawn, place
