"""Where do they lie? The scatter plot, an outline around some of the cells, and what they are."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeVar

import numpy as np
import streamlit as st

from core.charts.distributions import histogram_chart
from core.charts.groups import styled
from core.charts.labels import unit
from core.charts.scatter import Points, Scatter, scatter_chart
from core.charts.theme import Look
from core.charts.trust import is_poor, poor_last
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import CoreError
from core.explorer import view
from core.explorer.scatter import EmbeddedCells, FeatureScope
from core.explorer.selection import Selection
from core.explorer.view import By, InView
from core.features.catalogue import CATALOGUE
from core.features.search import for_choosing
from core.populations.summaries import basis_of
from core.support.text import markdown
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.downloads import download_menu
from pages._ui.common.layout import current_look, empty_state
from pages._ui.common.state import ANALYSIS, CARD, widget_value
from pages._ui.components.scatter.scatter import Polygon, read_polygon, scatter
from pages._ui.explorer import answers
from pages._ui.explorer.cells import look_at, show_cells
from pages._ui.explorer.groups import Compared, show_model_note
from pages._ui.explorer.scatter_plot import (
    LASSO,
    AxesKind,
    ScatterPlot,
    embedded,
    embedding_features,
    features_plot,
    pca_plot,
    umap_cache,
    umap_name,
    umap_plot,
)
from pages._ui.explorer.state import FIRST_FEATURE, LONGEST_NAME, PROBLEM, Question, change, explored, save, select

Choice = TypeVar("Choice", bound=StrEnum)

_KINDS: Final = {AxesKind.FEATURES: "Two features", AxesKind.PCA: "Principal axes", AxesKind.UMAP: "UMAP"}
_ABOUTS: Final = {FeatureScope.SHAPE: "size, shape and structure", FeatureScope.ALL: "all reliable features"}
_COLOURS: Final = {
    By.CELL_TYPE: "Cell type",
    By.SOURCE: "Source",
    By.POPULATION: "Population",
    By.PATIENT: "Patient",
    By.DIAGNOSIS: "Diagnosis",
}
_SECOND: Final = ("cell_shape2D_PixelSurface", "nucleus_shape2D_Elongation")
_HEIGHT: Final = 400
_ROWS: Final = 200
_JOINED: Final = 4  # bins of a large chart that are one of a small one
_CHOSEN, _REST = "chosen", "the rest"
_OUTLINE: Final = "outline"  # its name among what the map keeps
_ELSEWHERE: Final = "An outline is kept that was drawn on other axes or around other cells: it comes back with them."


@dataclass(frozen=True)
class Outline:
    """What was drawn around cells, on which axes."""

    plot: str
    polygon: Polygon

    def to_text(self) -> str:
        """Text for the address."""
        return f"{self.plot}:{' '.join(f'{x:.6g},{y:.6g}' for x, y in self.polygon)}"

    @classmethod
    def from_text(cls, text: str) -> "Outline | None":
        """Read what `to_text` wrote; None for anything else."""
        plot, _, vertices = text.partition(":")
        try:
            polygon = read_polygon([[float(value) for value in vertex.split(",")] for vertex in vertices.split()])
        except ValueError:
            return None
        return None if polygon is None else cls(plot, polygon)


def show_plane(in_view: InView, compared: Compared | None) -> None:
    """Show where the cells of the compared groups lie, and below it how those look that are chosen there.

    Only cells of the chosen groups are drawn, where a filter can say them; a sentence tells where not all in view are.
    """
    selection, said = explored().selection, ""
    if compared is None:
        pass
    elif not isinstance(compared.by, By):
        said = "Saved selections may overlap, so they are not told apart here: all cells in view are drawn."
    elif sum(group.cells for group in compared.groups) < in_view.cells:
        if compared.selection == explored().compared:
            said = "Cells without this property cannot be told apart here: all cells in view are drawn."
        else:
            said = f"Drawn are the chosen groups only: {compared.view.cells:,} of the {in_view.cells:,} cells in view."
            selection, in_view = compared.selection, compared.view
    chosen = _show_scatter(selection, in_view, said)
    show_cells(chosen or selection, "chosen" if chosen else "drawn" if selection != explored().selection else "in view")


def _show_scatter(selection: Selection, in_view: InView, said: str) -> Selection | None:
    """Show the scatter plot and its chosen cells; returns these as a selection, None where none are chosen."""
    if not in_view.offered:
        st.info(
            "These cells cannot be compared by any feature: choose cells of one source, or with a known scale.",
            icon=":material/info:",
        )
        return None
    show_model_note(in_view)
    look = current_look()
    kind, colour = _choose_kind(in_view)
    plot = _plot(kind, colour, in_view, selection, look)
    kept = Outline.from_text(explored().map.get(_OUTLINE, ""))
    outline = kept.polygon if kept is not None and isinstance(plot, ScatterPlot) and kept.plot == plot.key else None
    chosen = plot.choose(outline) if outline is not None and isinstance(plot, ScatterPlot) else None
    left, right = st.columns([2.5, 1], gap="medium")
    with left:
        if isinstance(plot, ScatterPlot):
            scatter(
                _ringed(plot),
                look,
                "map",
                chosen=outline,
                on_select=lambda polygon: _keep_outline(None if polygon is None else Outline(plot.key, polygon)),
                on_pick=look_at,
                height=_HEIGHT,
            )
        elif isinstance(plot, EmbeddedCells):
            _wait_for_umap(plot)
        else:
            empty_state("No picture", markdown(f"{plot[:1].upper()}{plot[1:]}."), "scatter_plot")
    with right, st.container(height=_HEIGHT + 150, border=False, key="map_chosen"):
        if said:
            st.caption(said)
        _show_chosen(chosen, outline is not None, selection, in_view, look)
    if isinstance(plot, ScatterPlot):
        elsewhere = "" if kept is None or outline is not None else _ELSEWHERE
        for sentence in filter(None, (elsewhere, *plot.sentences)):
            st.caption(markdown(sentence))
        download_menu("map", "scatter", lambda: scatter_chart(plot.drawn, look))
        _table(chosen or selection, chosen is not None)
    return chosen


# --- what the plot is made of ----------------------------------------------------------------------------------------


def _choose_kind(in_view: InView) -> tuple[AxesKind, By | str]:
    """The row that chooses the plane and what colours its cells."""
    kind = _kept("plane", AxesKind.FEATURES)
    st.session_state["map_kind"] = kind
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="map_plane"):
        st.segmented_control(
            "Plane", list(AxesKind), required=True, format_func=_KINDS.__getitem__, key="map_kind",
            on_change=_take, args=("plane", "map_kind"),
        )  # fmt: skip
        return kind, _choose_colour(in_view)


def _kept(name: str, default: Choice) -> Choice:
    """A setting of the map from the address or the person; the default for what is no member of its enumeration."""
    said = explored().map.get(name)
    return next((member for member in type(default) if member == said), default)


def _take(name: str, widget: str) -> None:
    value = widget_value(widget)
    if value is not None:
        change(map={**explored().map, name: str(value)})


def _plot(
    kind: AxesKind, colour: By | str, in_view: InView, selection: Selection, look: Look
) -> ScatterPlot | EmbeddedCells | str:
    """The picture; cells that are still to be laid out; or in words why there is none."""
    own, (left, right) = ANALYSIS.get(), st.columns(2, gap="small")
    with left:
        if kind is AxesKind.FEATURES:
            x = _choose_feature("x", "Across", in_view, (FIRST_FEATURE,))
            with right:
                y = _choose_feature("y", "Up", in_view, _SECOND)
            return features_plot(selection, x, y, colour, own, look)
        abouts = {scope.value: words for scope, words in _ABOUTS.items()}
        about = FeatureScope(_chooser("about", "By", abouts, _kept("about", FeatureScope.SHAPE).value))
    try:
        cells = embedded(selection, embedding_features(in_view, about))
    except CoreError as error:
        return str(error)
    if kind is AxesKind.PCA:
        return pca_plot(selection, cells, colour, own, look)
    state = umap_cache().look(umap_name(cells))
    return cells if state.umap is None else umap_plot(selection, cells, state.umap, colour, own, look)


def _choose_feature(name: str, label: str, in_view: InView, preferred: tuple[str, ...]) -> str:
    reliability = model_in_use.reliability_if_known()
    chosen = explored().map.get(name)
    offered = poor_last(for_choosing(in_view.offered, keep=chosen), reliability)
    if chosen not in in_view.offered:
        chosen = next((feature for feature in preferred if feature in in_view.offered), offered[0])
    labels = {
        feature: CATALOGUE[feature].label + ("  ·  poor" if is_poor(feature, reliability) else "")
        for feature in offered
    }
    return _chooser(name, label, labels, chosen)


def _choose_colour(in_view: InView) -> By | str:
    labels: dict[str, str] = {by.value: words for by, words in _COLOURS.items()} | {
        feature: CATALOGUE[feature].label
        for feature in for_choosing(in_view.offered, keep=explored().map.get("colour"))
    }
    first = explored().by or By.CELL_TYPE
    said = explored().map.get("colour", first.value)
    chosen = _chooser("colour", "Coloured by", labels, said if said in labels else first.value)
    return By(chosen) if chosen in list(By) else chosen


def _chooser(name: str, label: str, labels: Mapping[str, str], chosen: str) -> str:
    """A list whose choice is kept with the map."""
    widget = f"map_{name}"
    st.session_state[widget] = chosen
    st.selectbox(
        label,
        list(labels),
        format_func=labels.__getitem__,
        key=widget,
        on_change=_take,
        args=(name, widget),
    )
    return chosen


def _keep_outline(outline: Outline | None) -> None:
    others = {name: value for name, value in explored().map.items() if name != _OUTLINE}
    change(map=others if outline is None else {**others, _OUTLINE: outline.to_text()})


def _wait_for_umap(cells: EmbeddedCells) -> None:
    """Offer to compute the map, or say for how long it has been computing; the page runs again when it is there."""
    name = umap_name(cells)
    state = umap_cache().look(name)
    if state.started is None:
        with st.container(
            border=True, height=_HEIGHT, vertical_alignment="center", horizontal_alignment="center", key="map_umap"
        ):
            st.markdown(
                "### :material/blur_on: Lay the cells out so that those alike lie together",
                text_alignment="center",
                width="content",
            )
            n = len(cells.prepared.z)
            st.markdown(
                f"UMAP of {n:,} cells by {len(cells.prepared.features)} features. It goes on in the background,"
                f" {_long(n)}, and is kept.",
                text_alignment="center",
                width="content",
            )
            st.button(
                "Lay them out",
                type="primary",
                icon=":material/play_arrow:",
                key="map_umap_start",
                on_click=_start,
                args=(name, cells),
            )
            if state.problem is not None:
                st.error(f"The last try ended early: {markdown(state.problem)}", icon=":material/error:")
        return
    _watch_umap(name)


def _long(n: int) -> str:
    return "some seconds" if n < 1500 else "less than a minute" if n < 6000 else "some minutes"


def _start(name: str, cells: EmbeddedCells) -> None:
    try:
        umap_cache().start(name, cells.prepared)
    except CoreError as error:
        PROBLEM.set(str(error))


@st.fragment(run_every=2)
def _watch_umap(name: str) -> None:
    state = umap_cache().look(name)
    if state.started is None:
        st.rerun()
    seconds = max(0, round(datetime.now(UTC).timestamp() - state.started)) if state.started is not None else 0
    with st.container(
        border=True, height=_HEIGHT, vertical_alignment="center", horizontal_alignment="center", key="map_umap"
    ):
        st.markdown("### :material/hourglass_top: Laying the cells out", text_alignment="center", width="content")
        st.markdown(
            f"Since {seconds} seconds, in the background: it goes on when you look at something else, and is shown when"
            " it is done.",
            text_alignment="center",
            width="content",
        )


def _ringed(plot: ScatterPlot) -> Scatter:
    """The picture with a ring around the cell that is looked at closely."""
    card, marks = CARD.get(), plot.drawn.marks
    if card is None or not isinstance(marks, Points) or card not in marks.ids:
        return plot.drawn
    at = list(marks.ids).index(card)
    place = float(marks.x[at]), float(marks.y[at])
    return replace(plot.drawn, highlighted=(place,)) if np.isfinite(place).all() else plot.drawn


# --- what is chosen on it ---------------------------------------------------------------------------------------------


def _show_chosen(chosen: Selection | None, drawn: bool, selection: Selection, in_view: InView, look: Look) -> None:
    """Say which cells were chosen, set them beside the rest, and let them be kept."""
    if chosen is None:
        st.markdown("#### Nothing chosen")
        st.markdown(
            "No cell lies within this outline: draw a larger one."
            if drawn
            else (
                "Press **Lasso** or **Box** and draw around cells. Here stands then which they are and in what they"
                " differ from the rest; below, how they look. A click on a cell shows it closely."
            )
        )
        return
    inside = answers.in_view(chosen)
    st.markdown(f"#### {inside.cells:,} of {in_view.cells:,} cells chosen")
    kinds = ", ".join(
        f"{n:,} {CELL_TYPES[CellType(kind)].plural if kind in list(CellType) else kind}"
        for kind, n in inside.cell_types.items()
    )
    patients = f"; {inside.patients:,} patient{'s' * (inside.patients != 1)} named" if inside.patients else ""
    st.markdown(f"{markdown(kinds)}{patients}.")
    st.text_input(
        "Name",
        max_chars=LONGEST_NAME,
        placeholder="Name for the chosen cells",
        key="map_name",
        label_visibility="collapsed",
        persist_state="session",
    )
    with st.container(horizontal=True, gap="small", key="map_use"):
        st.button(
            "Compare with the rest", type="primary", key="map_compare", on_click=_compare, args=(chosen, selection)
        )
        st.button("Keep only these", key="map_keep", on_click=_keep, args=(chosen,))
    for feature in _axes_features():
        _histogram(feature, chosen, selection, inside.cells, in_view.cells - inside.cells, look)


def _axes_features() -> tuple[str, ...]:
    """Features whose distributions are shown: those of the axes; of an embedding one that is shown elsewhere."""
    if _kept("plane", AxesKind.FEATURES) is AxesKind.FEATURES:
        return tuple(dict.fromkeys((st.session_state["map_x"], st.session_state["map_y"])))
    colour = explored().map.get("colour", "")
    return (colour if colour in CATALOGUE else FIRST_FEATURE,)


def _histogram(feature: str, chosen: Selection, selection: Selection, inside: int, outside: int, look: Look) -> None:
    spec = CATALOGUE[feature]
    histogram = answers.histogram(selection, feature, {_CHOSEN: chosen, _REST: selection}, log=spec.log_axis).joined(
        _JOINED
    )
    groups = styled((_CHOSEN, _REST), (inside, outside), (None, None))
    chart = histogram_chart(groups, feature, basis_of(spec), histogram.edges, histogram.counts, look, log=spec.log_axis)
    st.altair_chart(
        chart,
        width="stretch",
        key=f"map_histogram-{feature}",
        alt=f"{spec.label} of the chosen cells above that of the rest",
    )


def _name() -> str:
    """The person's name for them; read when it is needed, because a name and a click may come in one."""
    return " ".join(str(widget_value("map_name") or "").split()) or "Chosen cells"


def _final(chosen: Selection, name: str) -> Selection:
    """The chosen cells with the name on their gate."""
    return replace(
        chosen, gates=tuple(replace(gate, name=name) if gate.name == LASSO else gate for gate in chosen.gates)
    )


def _keep(chosen: Selection) -> None:
    """Go on with the chosen cells alone."""
    try:
        select(_final(chosen, _unused(_name(), chosen)))
    except CoreError as error:
        PROBLEM.set(str(error))
        return
    _keep_outline(None)


def _unused(name: str, chosen: Selection) -> str:
    """The name, with a number where a gate has it already."""
    taken = {gate.name for gate in chosen.gates}
    return next(
        tried for tried in (name, *(f"{name} {number}" for number in range(2, len(taken) + 3))) if tried not in taken
    )


def _compare(chosen: Selection, selection: Selection) -> None:
    """Save the chosen cells and the others under names, and ask what separates them."""
    inside = _name()
    outside = f"All but {inside}"[:LONGEST_NAME]
    try:
        save(inside, _final(chosen, _unused(inside, chosen)))
        save(outside, selection)
    except CoreError as error:
        PROBLEM.set(str(error))
        return
    # A cell counts in the first of the named selections in which it lies: what is chosen comes before the cells it was
    # chosen from.
    saved = explored().saved
    first = {kept: saved[kept] for kept in (inside, outside)}
    change(
        saved={**first, **saved},
        by=None,
        groups=(inside, outside),
        pair=(inside, outside),
        question=Question.SEPARATION,
    )


def _table(cells: Selection, some: bool) -> None:
    """List the cells; a click on a row shows the cell closely."""
    opened = st.expander(f"The {'chosen ' if some else ''}cells as a table", on_change="rerun", key="map_table")
    if not opened.open:
        return
    features = _axes_features()
    rows = view.table(
        cohort_data.cohort(),
        cells,
        ["cell_id", "cell_type", "source", "patient_id", *features],
        limit=_ROWS,
        order=features[0],
    )
    shown = rows.assign(cell_type=[CELL_TYPES[CellType(kind)].name for kind in rows["cell_type"]])
    for feature in features:
        shown[feature] = rows[feature] * CATALOGUE[feature].display_factor
    titles = {"cell_type": "Cell type", "source": "Source", "patient_id": "Patient"} | {
        feature: f"{CATALOGUE[feature].label} {unit(CATALOGUE[feature], basis_of(CATALOGUE[feature]))}".strip()
        for feature in features
    }
    ids = rows["cell_id"].tolist()
    # The browser remembers a row by its number, so other rows are another table.
    key = f"map_rows-{hash(tuple(ids))}"

    def take() -> None:
        chosen = widget_value(key)["selection"]["rows"]
        if chosen:
            look_at(ids[chosen[0]])

    opened.dataframe(
        shown.drop(columns="cell_id").rename(columns=titles),
        hide_index=True,
        height=300,
        key=key,
        on_select=take,
        selection_mode="single-row",
        column_config={titles[feature]: st.column_config.NumberColumn(format="%.4g") for feature in features},
    )
    if len(rows) == _ROWS:
        opened.caption(
            f"The first {_ROWS} by {CATALOGUE[features[0]].label.lower()}; all of them can be downloaded below."
        )
