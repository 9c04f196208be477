"""What the scatter sends to the browser and takes from it.

That it is drawn and drawn in is shown by the browser's tests.
"""

import base64
import json
import math

import numpy as np
import pytest

from core.charts.axes import Axis, axis
from core.charts.groups import styled
from core.charts.scatter import Bins, Points, Scatter, colour_bar
from core.charts.theme import LIGHT
from core.explorer.view import MOST_POINTS
from pages._ui.components.scatter.scatter import MOST_VERTICES, packed, read_polygon

MOST_BYTES = 2_000_000
GROUPS = styled([f"group {i}" for i in range(8)], [1] * 8, [None] * 8)
UNIT = Axis("x", 0.0, 1.0), Axis("y", 0.0, 1.0)


def _array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_points_arrive_as_they_were():
    x, y, value = np.array([0.25, np.nan, 0.5]), np.array([0.1, 0.2, 0.3]), np.array([1.0, np.nan, 2.0])
    sent = packed(
        Scatter(*UNIT, GROUPS, Points(x, y, np.array([0, 7, -1]), list("abc"), list("ABC"), value, of=10)), LIGHT
    )["marks"]
    assert _array(sent["x"], "<f4") == pytest.approx(x, nan_ok=True)
    assert _array(sent["y"], "<f4") == pytest.approx(y)
    assert _array(sent["value"], "<f4") == pytest.approx(value, nan_ok=True)
    assert _array(sent["group"], "<i2").tolist() == [0, 7, -1]
    assert (sent["words"], sent["of"]) == (["A", "B", "C"], 10)


def test_only_fields_with_cells_are_sent_and_every_count_arrives():
    rng = np.random.default_rng(3)
    counted = rng.poisson(0.2, (8, 50, 50))  # so that one field in five has no cell
    edges, value = np.linspace(0, 1, 51), rng.random((50, 50))
    marks = Bins(counted, edges, edges, value, absent=12)
    sent = packed(Scatter(*UNIT, GROUPS, marks, colour_bar("x", value)), LIGHT)["marks"]
    place, counts = _array(sent["place"], "<u4"), _array(sent["counts"], f"<u{sent['bytes']}").reshape(-1, 8)
    assert (counts.sum(axis=1) > 0).all()
    assert 0 < len(place) < 50 * 50
    restored = np.zeros((8, 50 * 50), int)
    restored[:, place] = counts.T
    assert np.array_equal(restored.reshape(8, 50, 50), marks.counts)
    assert _array(sent["value"], "<f4") == pytest.approx(marks.value.reshape(-1)[place])
    assert sent["absent"] == 12
    assert sent["xEdges"] == pytest.approx(marks.x_edges)


@pytest.mark.parametrize(("most", "size"), [(255, 1), (256, 2), (65_536, 4)])
def test_counts_take_as_few_bytes_as_they_need(most, size):
    marks = Bins(np.array([[[0, most]]]), np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0]))
    sent = packed(Scatter(*UNIT, GROUPS[:1], marks), LIGHT)["marks"]
    assert sent["bytes"] == size
    assert _array(sent["counts"], f"<u{size}").tolist() == [most]


def test_the_largest_pictures_stay_below_two_megabytes():
    rng = np.random.default_rng(5)
    n = MOST_POINTS
    x = rng.normal(size=n)
    names = [f"laboratory/monocyte/MO_{i:06d}.jpg" for i in range(n)]
    points = Points(x, x, rng.integers(0, 8, n), [f"population:{i:016x}:0" for i in range(n)], names, x, of=10**6)
    full = Bins(
        rng.integers(1, 60_000, (8, 200, 200)),
        np.linspace(0, 1, 201),
        np.linspace(0, 1, 201),
        rng.random((200, 200)),
    )
    for marks in (points, full):
        assert (
            len(json.dumps(packed(Scatter(axis("x", x), axis("y", x), GROUPS, marks, colour_bar("c", x)), LIGHT)))
            < MOST_BYTES
        )


def test_what_is_sent_is_json_and_named_by_its_content():
    def name(value: float, own: tuple[float, float] | None = None) -> str:
        one = np.array([value])
        return packed(Scatter(*UNIT, GROUPS, Points(one, one, np.array([0]), ["a"]), own=own), LIGHT)["id"]

    assert name(0.5) == name(0.5)
    assert len({name(0.5), name(0.25), name(0.5, (0.1, 0.1))}) == 3


@pytest.mark.parametrize(
    "sent",
    [None, "polygon", [], [[0, 0], [1, 1]], [[0, 0], [1, 1], [2]], [[0, 0], [1, 1], [2, math.inf]],
     [[0, 0], [1, 1], [True, 0]], [[0, 0], [1, 1], ["2", 0]], [[0, 0]] * (MOST_VERTICES + 1), {"0": [0, 0]}],
)  # fmt: skip
def test_what_is_no_polygon_is_not_taken_for_one(sent):
    assert read_polygon(sent) is None


def test_a_polygon_is_taken_as_it_was_drawn():
    assert read_polygon([[0, 0.5], [1.5, 0], [2, 2]]) == ((0.0, 0.5), (1.5, 0.0), (2.0, 2.0))
    assert len(read_polygon([[0.0, 1.0]] * MOST_VERTICES)) == MOST_VERTICES
