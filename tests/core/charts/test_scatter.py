import json

import numpy as np
import pytest

from core.charts.axes import Axis, axis
from core.charts.groups import styled
from core.charts.scatter import NO_GROUP, Bins, Points, Scatter, colour_bar, colours, scatter_chart
from core.charts.theme import DARK, LIGHT, to_svg
from core.domain.cell_types import CellType
from core.explorer.view import MOST_POINTS

GROUPS = styled(["Monocyte", "Lymphocyte"], [3, 2], [None, None], [CellType.MONOCYTE, CellType.LYMPHOCYTE])
X, Y = np.array([1.0, 2.0, 3.0, 4.0, np.nan]), np.array([1.0, 10.0, 100.0, 1000.0, 1.0])
CODES = np.array([0, 0, 0, 1, 1])


def _scatter(marks, **more) -> Scatter:
    return Scatter(axis("x (µm)", X), axis("y", Y, log=True), GROUPS, marks, **more)


def _rows(spec: dict, key: str) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


def test_every_cell_with_both_values_is_a_point_of_its_groups_shape_and_colour():
    spec = scatter_chart(_scatter(Points(X, Y, CODES, list("abcde"))), LIGHT).to_dict()
    assert [(row["cell"], row["group"]) for row in _rows(spec, "cell")] == [
        ("a", "Monocyte (n = 3)"), ("b", "Monocyte (n = 3)"), ("c", "Monocyte (n = 3)"), ("d", "Lymphocyte (n = 2)"),
    ]  # fmt: skip
    encoding = spec["layer"][0]["encoding"]
    assert encoding["shape"]["scale"]["range"] == [g.shape for g in GROUPS]
    assert encoding["color"]["scale"]["range"] == [g.colour for g in GROUPS]
    assert (encoding["x"]["scale"]["type"], encoding["y"]["scale"]["type"]) == ("linear", "log")
    assert encoding["x"]["axis"]["title"] == "x (µm)"


def test_cells_in_no_group_say_so():
    spec = scatter_chart(_scatter(Points(X, Y, np.array([0, -1, 1, 1, 0]), list("abcde"))), LIGHT).to_dict()
    assert {row["cell"] for row in _rows(spec, "cell") if row["group"] == NO_GROUP} == {"b"}


def test_as_many_points_as_may_be_drawn_are_no_limit_to_the_chart():
    rng = np.random.default_rng(0)
    x = rng.normal(size=MOST_POINTS)
    drawn = Scatter(axis("x", x), axis("y", x), GROUPS, Points(x, x, np.zeros(MOST_POINTS, int), ["c"] * MOST_POINTS))
    assert len(_rows(scatter_chart(drawn, LIGHT).to_dict(), "cell")) == MOST_POINTS


def test_squares_have_the_colour_of_most_cells_and_their_count():
    axes = Axis("x", 0.0, 10.0), Axis("y", 0.0, 2000.0)
    marks = Bins(np.array([[[3]], [[1]]]), np.array([0.0, 10.0]), np.array([0.0, 2000.0]))
    (row,) = _rows(scatter_chart(Scatter(*axes, GROUPS, marks), LIGHT).to_dict(), "n")
    assert (row["n"], row["group"], row["strength"]) == (4, "Monocyte (n = 3)", 1.0)
    assert (row["x"], row["x2"], row["y"], row["y2"]) == (0, 10, 0, 2000)


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_a_colour_bar_spans_the_middle_of_the_values(look):
    value = np.append(np.linspace(0, 100, 101), 10_000)
    bar = colour_bar("area", value)
    assert bar.low == pytest.approx(2.02)
    assert bar.high < 101
    assert colour_bar("one", np.array([3.0])).high > 3
    drawn = _scatter(Points(X, Y, CODES, list("abcde"), value=value[:5]), colour=bar)
    colour = scatter_chart(drawn, look).to_dict()["layer"][0]["encoding"]["color"]
    assert colour["scale"]["range"] == list(colours(look))
    assert colour["legend"]["title"] == "area"


def test_the_own_cell_is_on_top_and_ends_up_in_the_svg():
    drawn = _scatter(Points(X, Y, CODES, list("abcde")), own=(2.5, 50.0), highlighted=((3.0, 100.0),))
    chart = scatter_chart(drawn, LIGHT)
    spec = chart.to_dict()
    layers = spec["layer"]
    rows = [spec["datasets"][layer["data"]["name"]] for layer in layers]
    assert [len(found) for found in rows] == [4, 1, 1]
    assert (rows[-1][0]["x"], layers[-1]["mark"]["fill"]) == (2.5, LIGHT.ink)
    assert to_svg(chart, 600).count("<path") >= 6
    assert json.loads(chart.to_json())["height"] == 460
