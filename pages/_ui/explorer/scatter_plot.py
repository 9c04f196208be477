"""What the scatter plot shows: two features, principal axes or UMAP, and which cells lie within an outline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.charts import axes
from core.charts.axes import Axis
from core.charts.groups import DrawnGroup, styled
from core.charts.scatter import Bins, Points, Scatter, colour_bar
from core.charts.theme import Look
from core.charts.trust import graded
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.settings import load_settings
from core.domain.types import CellAnalysis
from core.explorer import scatter, view
from core.explorer.embedding import Umap, UmapCache, umap_key
from core.explorer.groups import smaller_merged
from core.explorer.scatter import EmbeddedCells, FeatureScope, comparable_value, with_gate, within
from core.explorer.selection import Gate, Selection
from core.explorer.view import By, InView, Values
from core.features.catalogue import CATALOGUE
from core.populations.summaries import basis_of
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.caching import cached, state_of_cohort
from pages._ui.components.scatter.scatter import Polygon
from pages._ui.explorer.state import MOST_GROUPS

SEED: Final = 0
LASSO: Final = "the outline"  # name of the gate while it has none of a person's

Place = tuple[float, float]


class AxesKind(StrEnum):
    """What the axes are; the value is what the address says."""

    FEATURES = "features"
    PCA = "pca"
    UMAP = "umap"


@dataclass(frozen=True, eq=False)
class ScatterPlot:
    """A picture of cells in a plane.

    `key` names the axes, so that an outline is kept only as long as they are the same; `sentences` say how it was made;
    `choose` returns the selection of the cells within an outline, None where there is none.
    """

    drawn: Scatter
    key: str
    sentences: tuple[str, ...]
    choose: Callable[[Polygon], Selection | None]


# --- two features -----------------------------------------------------------------------------------------------------


def features_plot(
    selection: Selection, x: str, y: str, colour: By | str, own: CellAnalysis | None, look: Look
) -> ScatterPlot:
    """Two features against each other, on logarithmic axes where the catalogue says so.

    `colour` chooses groups, or a feature.
    """
    log = CATALOGUE[x].log_axis, CATALOGUE[y].log_axis
    cells = two_features(selection, x, y, colour, log)
    titles = [
        axes.title(name, basis_of(CATALOGUE[name]), log=of_axis) for name, of_axis in zip((x, y), log, strict=True)
    ]
    own_place = _own_place(own, (x, y), log)
    if cells.points is not None:
        places = [axes.drawn(name, cells.points.matrix[:, i], log=log[i]) for i, name in enumerate((x, y))]
        x_axis, y_axis = (axes.axis(titles[i], _with(places[i], own_place, i), log=log[i]) for i in (0, 1))
        value = None if isinstance(colour, By) else cells.points.matrix[:, 2]
        drawn = _points(cells.points, (places[0], places[1]), (x_axis, y_axis), colour, value, own_place, look)
    else:
        assert cells.bins is not None
        bins = cells.bins
        edges = [
            axes.drawn(name, ends, log=log[i]) for i, (name, ends) in enumerate(((x, bins.x_edges), (y, bins.y_edges)))
        ]
        x_axis, y_axis = (Axis(titles[i], float(edges[i][0]), float(edges[i][-1]), log[i]) for i in (0, 1))
        groups, place = _drawn_groups(bins.group_names, bins.counts.sum(axis=(1, 2)), colour, look)
        counts = np.zeros((len(groups), *bins.counts.shape[1:]), np.int64)
        np.add.at(counts, place, bins.counts)
        drawn = Scatter(x_axis, y_axis, groups, Bins(counts, edges[0], edges[1], absent=cells.absent), own=own_place)

    def choose(polygon: Polygon) -> Selection | None:
        vertices = tuple((axes.measured(x, a, log=log[0]), axes.measured(y, b, log=log[1])) for a, b in polygon)
        return with_gate(selection, Gate(LASSO, x, y, vertices, log))

    absent: tuple[str, ...] = (
        (f"{cells.absent:,} cells lack one of the two and are not drawn.",) if cells.absent else ()
    )
    if own is not None and own_place is None:
        absent += ("The cell of page Single cell is not drawn: it lacks one of the two, or its scale is unknown.",)
    return ScatterPlot(drawn, f"features {x} {y}", absent, choose)


@cached("resource", max_entries=8, spinner="Looking up the cells")
def two_features(
    selection: Selection, x: str, y: str, colour: By | str, log: tuple[bool, bool]
) -> view.JointDistribution:
    """Cells by two features (`core.explorer.scatter.two_features`)."""
    return scatter.two_features(cohort_data.cohort(), selection, x, y, colour, log=log)


def _own_place(own: CellAnalysis | None, features: tuple[str, str], log: tuple[bool, bool]) -> Place | None:
    """Where the cell of page Single cell lies; None where one of its values is not comparable."""
    if own is None:
        return None
    place = [
        axes.drawn(name, comparable_value(own, name), log=of_axis) for name, of_axis in zip(features, log, strict=True)
    ]
    there = all(np.isfinite(value) and (value > 0 or not of_axis) for value, of_axis in zip(place, log, strict=True))
    return (place[0], place[1]) if there else None


def _with(places: NDArray[np.float64], own: Place | None, index: int) -> NDArray[np.float64]:
    return places if own is None else np.append(places, own[index])


# --- embeddings -------------------------------------------------------------------------------------------------------


def embedding_features(in_view: InView, scope: FeatureScope) -> tuple[str, ...]:
    """Features of an embedding: reliable, comparable among the cells in view, of the cell itself."""
    return scatter.embedding_features(in_view.offered, graded(model_in_use.reliability_if_known()), scope)


@cached("resource", max_entries=3, spinner="Scaling the features")
def embedded(selection: Selection, features: tuple[str, ...]) -> EmbeddedCells:
    """Cells ready to be embedded; raises UsageError where they are too few."""
    return scatter.embedded(cohort_data.cohort(), selection, features)


def pca_plot(
    selection: Selection, cells: EmbeddedCells, colour: By | str, own: CellAnalysis | None, look: Look
) -> ScatterPlot:
    """The first two principal axes."""
    principal = cells.principal
    titles = [f"Axis {i + 1}, {100 * principal.explained[i]:.0f} % of the variance" for i in (0, 1)]
    scaled = None if own is None else cells.scaled(own)
    own_place = None if scaled is None else (float(principal.place(scaled)[0, 0]), float(principal.place(scaled)[0, 1]))
    words = (*principal.words[:2], f"Principal axes of {cells.prepared.sentence}")
    return _embedding(
        selection, cells.values, principal.scores[:, :2], titles, words, f"pca {cells.digest}", colour, own_place, look
    )


def umap_plot(
    selection: Selection, cells: EmbeddedCells, umap: Umap, colour: By | str, own: CellAnalysis | None, look: Look
) -> ScatterPlot:
    """What UMAP has computed."""
    scaled = None if own is None else cells.scaled(own)
    own_place = None if scaled is None else umap.place(scaled[0], cells.prepared.z)
    words = (umap.sentence, f"It looks at {cells.prepared.sentence}")
    return _embedding(
        selection,
        cells.values.rows(umap.rows),
        umap.xy.astype(np.float64),
        ["UMAP 1", "UMAP 2"],
        words,
        f"umap {cells.digest}",
        colour,
        own_place,
        look,
    )


def umap_cache() -> UmapCache:
    """Where maps are computed and kept."""
    return UmapCache(load_settings().cache / "maps")


def umap_name(cells: EmbeddedCells) -> str:
    """Name of the map of these cells: of their values, so that a note on a cell asks for no new one."""
    return umap_key(cells.digest, "", cells.prepared.features, SEED)


def _embedding(
    selection: Selection,
    values: Values,
    xy: NDArray[np.float64],
    titles: list[str],
    words: tuple[str, ...],
    key: str,
    colour: By | str,
    own: Place | None,
    look: Look,
) -> ScatterPlot:
    cells = _coloured(key, colour, values)
    x_axis, y_axis = (axes.axis(title, _with(xy[:, i], own, i)) for i, title in enumerate(titles))
    value = None if isinstance(colour, By) else cells.matrix[:, 0]
    drawn = _points(cells, (xy[:, 0], xy[:, 1]), (x_axis, y_axis), colour, value, own, look)
    return ScatterPlot(drawn, key, words, lambda polygon: within(selection, values, xy, polygon))


@cached("resource", max_entries=8, key=lambda plot, colour, _: (state_of_cohort(), plot, colour))
def _coloured(plot: str, colour: By | str, values: Values) -> Values:  # noqa: ARG001 - `plot` names the cells
    return scatter.coloured(cohort_data.cohort(), values, colour)


# --- groups and colours -----------------------------------------------------------------------------------------------


def _points(
    values: Values,
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    on_axes: tuple[Axis, Axis],
    colour: By | str,
    value: NDArray[np.float64] | None,
    own: Place | None,
    look: Look,
) -> Scatter:
    sizes = np.bincount(values.groups, minlength=len(values.group_names))
    groups, place = _drawn_groups(values.group_names, sizes, colour, look)
    bar = None
    if value is not None:
        value = axes.drawn(colour, value)
        bar = colour_bar(axes.title(colour, basis_of(CATALOGUE[colour])), value)
    words = [
        f"{CELL_TYPES[CellType(kind)].short}, {f'patient {patient}' if patient else 'patient unknown'}"
        for kind, patient in zip(values.cell_type, values.patient_id, strict=True)
    ]
    of = values.cells if values.cells > len(values) else None
    marks = Points(places[0], places[1], place[values.groups], [str(cell) for cell in values.cell_id], words, value, of)
    return Scatter(on_axes[0], on_axes[1], groups, marks, bar, own)


def _drawn_groups(
    names: Sequence[str], sizes: NDArray[np.integer], by: By | str, look: Look
) -> tuple[tuple[DrawnGroup, ...], NDArray[np.int64]]:
    """Groups as they are drawn, and each named group's index among these; of very many the smaller are merged."""
    titles, kinds = cohort_data.population_titles(), cohort_data.population_types()

    def kind(name: str) -> CellType | None:
        if by is By.CELL_TYPE:
            return CellType(name)
        return kinds.get(name) if by is By.POPULATION else None

    def title(name: str) -> str:
        if by is By.CELL_TYPE:
            return CELL_TYPES[CellType(name)].name
        return titles.get(name, name) if by is By.POPULATION else name

    kept, place = smaller_merged(sizes, MOST_GROUPS)
    chosen = [names[i] for i in kept]
    drawn = styled(
        [title(name) for name in chosen],
        [int(sizes[i]) for i in kept],
        [None] * len(kept),
        [kind(name) for name in chosen],
    )
    others = len(names) - len(kept)
    if others:
        drawn = (
            *drawn,
            DrawnGroup(f"{others} others", int(sizes.sum() - sizes[kept].sum()), None, look.muted, (1, 0), "circle"),
        )
    return drawn, place
