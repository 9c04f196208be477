"""The plane of cells: what is drawn, what an outline chooses, and what becomes of that."""

import base64
import math
from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.charts.scatter import Bins
from core.charts.theme import LIGHT
from core.explorer import view
from core.explorer.selection import Selection, to_link
from core.explorer.view import By
from pages._ui.explorer import answers, scatter_plot
from pages._ui.explorer.scatter import Outline
from pages._ui.explorer.scatter_plot import AxesKind, features_plot
from tests.pages.conftest import texts
from tests.pages.test_explorer_cells import component
from tests.populations import ELONGATION, RATIO, analysed

PAGE = "pages/3_Cohort_explorer.py"
EXPLORED = "leukoscope_explored"
EVERYTHING = ((-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9))


@pytest.fixture
def plane(open_page, monkeypatch, tmp_path):
    """The explorer asked where cells lie."""
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))

    def visit(selection: Selection | None = None, own=None, **chosen: str) -> AppTest:
        app = open_page()
        app.query_params["show"] = "map"
        if selection is not None:
            app.query_params["s"] = to_link(selection)
        if chosen:
            app.query_params["map"] = [f"{name}~{value}" for name, value in chosen.items()]
        if own is not None:
            app.session_state["leukoscope_analysis"] = own
        return app.switch_page(PAGE).run()

    return visit


def _xy(app: AppTest) -> np.ndarray:
    marks = component(app, "map")["marks"]
    return np.array([np.frombuffer(base64.b64decode(marks[name]), "<f4") for name in ("x", "y")])


def _halved(values: np.ndarray) -> tuple[float, int]:
    """A value between two in the middle, and how many lie below it."""
    ordered, half = np.sort(values.astype(np.float64)), len(values) // 2
    return float(ordered[half - 1 : half + 1].mean()), half


def _outline(app: AppTest, polygon, key: str | None = None) -> AppTest:
    plot = key or f"features {app.selectbox(key='map_x').value} {app.selectbox(key='map_y').value}"
    seen = app.session_state[EXPLORED]
    app.session_state[EXPLORED] = replace(seen, map={**seen.map, "outline": Outline(plot, polygon).to_text()})
    return app.run()


def test_every_cell_in_view_is_a_point_of_its_type(plane):
    app = plane()
    assert not app.exception
    sent = component(app, "map")
    assert _xy(app).shape == (2, 71)
    assert {group["name"]: group["n"] for group in sent["groups"]} == {
        "Monocyte": 44,
        "Lymphocyte": 22,
        "Hairy cell (HCL)": 5,
    }
    assert sent["own"] is None
    assert "Nothing chosen" in texts(app)


def test_an_outline_chooses_the_cells_within_and_everything_follows(plane):
    app = plane(x=RATIO, y=ELONGATION)
    middle, expected = _halved(_xy(app)[0])
    app = _outline(app, ((-1, -1), (middle, -1), (middle, 9), (-1, 9)))
    assert not app.exception
    said = texts(app)
    assert f"{expected} of 71 cells chosen" in said
    assert f"The {expected} cells chosen" in said
    assert len(app.get("vega_lite_chart")) == 2
    assert len(component(app, "cells")["items"]) == min(18, expected)
    # Who is sent the address sees the same cells chosen.
    sent = app.query_params["map"]
    again = plane(**dict(value.partition("~")[::2] for value in ([sent] if isinstance(sent, str) else sent)))
    assert f"{expected} of 71 cells chosen" in texts(again)
    # On other axes the outline means nothing, and is not forgotten.
    app.selectbox(key="map_x").set_value("nucleus_shape2D_Sphericity").run()
    assert "Nothing chosen" in texts(app)
    assert "drawn on other axes" in texts(app)
    app.selectbox(key="map_x").set_value(RATIO).run()
    assert f"{expected} of 71 cells chosen" in texts(app)


@pytest.mark.parametrize(
    "text", ["", "features a b", "features a b:1,2 3,4", "x:1,2 3,4 5,nan", "x:1,2 3 4,5", "x:1,2 3,4 5,z"]
)
def test_what_is_no_outline_is_none(text):
    assert Outline.from_text(text) is None


def test_only_the_chosen_groups_lie_on_the_plane_and_a_sentence_says_so(plane):
    app = plane()
    assert "Drawn are" not in texts(app)
    app.button_group(key="groups-cell_type").set_value(["monocyte", "hcl"]).run()
    assert not app.exception
    assert _xy(app).shape == (2, 49)
    assert [group["name"] for group in component(app, "map")["groups"]] == ["Monocyte", "Hairy cell (HCL)"]
    said = texts(app)
    assert "Drawn are the chosen groups only: 49 of the 71 cells in view." in said
    assert "The 49 cells drawn" in said
    assert "49 of 49 cells chosen" in texts(_outline(app, EVERYTHING))
    # The other property: its own colours, and its own groups.
    app.selectbox(key="compare-by").set_value(By.SOURCE).run()
    assert app.selectbox(key="map_colour").value == By.SOURCE
    assert _xy(app).shape == (2, 71)


def test_where_the_groups_cannot_be_told_apart_all_cells_are_drawn_and_it_is_said(plane):
    app = plane()
    app.selectbox(key="compare-by").set_value(By.PATIENT).run()
    app.button_group(key="groups-patient_id").set_value(["p0", view.NOT_RECORDED]).run()
    assert not app.exception
    assert "all cells in view are drawn" in texts(app)
    assert _xy(app).shape == (2, 71)


def test_chosen_cells_become_a_gate_or_a_group(plane):
    app = plane(x=RATIO, y=ELONGATION)
    middle, expected = _halved(_xy(app)[0])
    app = _outline(app, ((-1, -1), (middle, -1), (middle, 9), (-1, 9)))
    app.text_input(key="map_name").set_value("round  ones").run()
    app.button(key="map_keep").click().run()
    assert not app.exception
    seen = app.session_state[EXPLORED]
    assert [gate.name for gate in seen.selection.gates] == ["round ones"]
    assert f"{expected} cells in view" in texts(app)
    # Of these a few once more, now against the others.
    low, _ = _halved(_xy(app)[1])
    app = _outline(app, ((-1, -1), (9, -1), (9, low), (-1, low)))
    app.button(key="map_compare").click().run()
    assert not app.exception
    seen = app.session_state[EXPLORED]
    assert seen.question.value == "separation"
    assert list(seen.saved) == ["round ones", "All but round ones"]
    groups = answers.groups(seen.compared, dict(seen.saved))
    assert sum(group.cells for group in groups) == expected
    assert all(group.cells for group in groups)


def test_an_outline_around_nothing_says_so(plane):
    app = _outline(plane(x=RATIO, y=ELONGATION), ((50, 50), (51, 50), (51, 51)))
    assert not app.exception
    assert "0 of 71 cells chosen" in texts(app) or "No cell lies within this outline" in texts(app)


def test_a_feature_colours_and_names_its_bar(plane):
    app = plane(x=RATIO, y=ELONGATION, colour="nucleus_shape2D_Sphericity")
    assert not app.exception
    sent = component(app, "map")
    assert sent["colour"]["title"].startswith("Nucleus sphericity")
    assert sent["colour"]["low"] < sent["colour"]["high"]


def test_the_cell_of_page_single_cell_lies_where_its_values_say(plane):
    own = analysed("monocyte", 5)
    app = plane(own=own, x=RATIO, y=ELONGATION)
    assert component(app, "map")["own"] == pytest.approx([own.features.values[RATIO], own.features.values[ELONGATION]])
    app = plane(own=own, plane="pca")
    assert not app.exception
    assert all(map(math.isfinite, component(app, "map")["own"]))


def test_principal_axes_are_told_in_words_and_an_outline_chooses_by_hand(plane):
    app = plane(plane="pca")
    assert not app.exception
    assert "Axis 1" in texts(app)
    assert "71 cells by" in texts(app)
    app = _outline(app, EVERYTHING, _plane_key())
    assert "71 of 71 cells chosen" in texts(app)


def _plane_key() -> str:
    """Key of the plane of principal axes, as the page makes it."""
    found = scatter_plot.embedded(
        Selection(), scatter_plot.embedding_features(answers.in_view(Selection()), scatter_plot.FeatureScope.SHAPE)
    )
    return f"{AxesKind.PCA} {found.digest}"


def test_a_map_is_computed_in_the_background_only_when_asked_for(plane):
    app = plane(plane="umap")
    assert not app.exception
    assert "UMAP of 71 cells" in texts(app)
    assert not [element for element in app.get("bidi_component") if element.proto.id.endswith("-map")]


def test_too_few_cells_for_a_computed_plane_are_refused_in_words(plane):
    app = plane(Selection(populations=("hcl_drawn",)), plane="pca")
    assert not app.exception
    assert "At least 20 cells are needed" in texts(app)


def test_many_cells_are_counted_in_squares_and_an_outline_still_chooses_exactly(open_page, monkeypatch):
    open_page()
    monkeypatch.setattr(view, "MOST_POINTS", 30)
    scatter_plot.two_features.clear()
    drawn = features_plot(Selection(), RATIO, ELONGATION, By.CELL_TYPE, None, LIGHT)
    assert isinstance(drawn.drawn.marks, Bins)
    assert drawn.drawn.marks.counts.sum() == 71
    chosen = drawn.choose(EVERYTHING)
    assert chosen is not None
    assert answers.in_view(chosen).cells == 71
    scatter_plot.two_features.clear()
