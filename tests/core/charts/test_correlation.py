from itertools import pairwise

import numpy as np
import pytest

from core.charts.correlation import MOST_FEATURES, correlation_chart
from core.charts.theme import LIGHT, to_svg
from core.features.catalogue import CATALOGUE

NAMES = list(CATALOGUE)[:60]
RHO = np.fromfunction(lambda i, j: 1 - np.abs(i - j) / 30, (60, 60))


def _rows(spec: dict, key: str) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


def _axis(spec: dict) -> dict:
    return spec["layer"][0]["encoding"]["y"]


def test_every_pair_of_the_groups_has_its_correlation():
    spec = correlation_chart([NAMES[2:4], NAMES[:1]], NAMES, RHO, LIGHT).to_dict()
    rows = {(row["row"], row["column"]): row["rho"] for row in _rows(spec, "rho")}
    assert len(rows) == 9
    assert rows[NAMES[0], NAMES[3]] == pytest.approx(RHO[0, 3])
    assert _axis(spec)["scale"]["domain"] == [NAMES[2], NAMES[3], NAMES[0]]
    assert [row["row"] for row in _rows(spec, "row") if "rho" not in row] == [NAMES[3]], "a line after the first group"


def test_the_representatives_are_bold():
    axis = _axis(correlation_chart([NAMES[2:4], NAMES[:1]], NAMES, RHO, LIGHT).to_dict())["axis"]
    assert NAMES[2] in axis["labelFontWeight"]["condition"]["test"]
    assert NAMES[3] not in axis["labelFontWeight"]["condition"]["test"]


@pytest.mark.parametrize(("sizes", "drawn"), [((30, 8, 5, 1), 38), ((MOST_FEATURES + 5, 1), MOST_FEATURES)])
def test_only_as_many_groups_are_drawn_as_have_room(sizes, drawn):
    edges = np.cumsum((0, *sizes))
    alike = [NAMES[a:b] for a, b in pairwise(edges)]
    chart = correlation_chart(alike, NAMES, RHO, LIGHT)
    assert len(_axis(chart.to_dict())["scale"]["domain"]) == drawn
    assert CATALOGUE[NAMES[0]].label in to_svg(chart, 700)


def test_no_groups_are_an_empty_chart():
    assert correlation_chart([], NAMES, RHO, LIGHT).to_dict()["height"] > 0
