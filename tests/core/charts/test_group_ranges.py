import math
from dataclasses import dataclass

import numpy as np
import pytest

from core.charts.group_ranges import LIMIT, basis_of, group_range_chart, published_group_chart
from core.charts.groups import styled
from core.charts.theme import LIGHT, to_svg
from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.populations.summaries import Basis
from tests.populations import AREA, ELONGATION, grades

ENERGY, SKEWNESS = "nucleus_firstorder_Energy", "nucleus_firstorder_Skewness"
GROUPS = styled(["first", "second", "few"], [1000, 500, 3], [None, 10, 1])


@dataclass(frozen=True)
class Five:
    n: int
    p2: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p98: float | None = None


SUMMARIES = {
    ELONGATION: [Five(1000, 0.5, 0.7, 0.8, 0.9, 0.95), Five(500, 0.6, 0.8, 0.9, 0.95, 0.99), Five(3)],
    AREA: [Five(1000, 40, 80, 100, 125, 250), Five(500, 4, 8, 10, 12.5, 25), Five(3)],
}
CELLS = {ELONGATION: [np.empty(0), np.empty(0), np.array([0.8, 0.9, np.nan])]}


def _rows(spec: dict, key: str) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


def test_every_group_lies_on_the_scale_of_the_first():
    spec = group_range_chart(GROUPS, SUMMARIES, CELLS, {}, LIGHT).to_dict()
    bands = {(row["row"], row["group"]): row for row in _rows(spec, "middle")}
    first, second = (bands[ELONGATION, group.title] for group in GROUPS[:2])
    spread = 0.2 / 1.349
    assert [first[name] for name in ("low", "middle", "high")] == pytest.approx([-0.3 / spread, 0, 0.15 / spread])
    assert second["middle"] == pytest.approx(0.1 / spread)
    assert second["Median"] == "0.900"


def test_a_logarithmic_feature_is_compared_by_its_logarithm_and_held_at_the_edge():
    assert CATALOGUE[AREA].log_axis
    spec = group_range_chart(GROUPS, SUMMARIES, {}, {}, LIGHT).to_dict()
    bands = {row["group"]: row for row in _rows(spec, "middle") if row["row"] == AREA}
    spread = (math.log(125) - math.log(80)) / 1.349
    assert bands[GROUPS[0].title]["high"] == pytest.approx(math.log(2.5) / spread)
    assert bands[GROUPS[1].title]["middle"] == -LIMIT
    assert bands[GROUPS[1].title]["Median"] == "10.0 µm²"


def test_a_group_without_percentiles_is_its_cells():
    spec = group_range_chart(GROUPS, SUMMARIES, CELLS, {}, LIGHT).to_dict()
    assert [(row["group"], row["Value"]) for row in _rows(spec, "z")] == [
        (GROUPS[2].title, "0.800"),
        (GROUPS[2].title, "0.900"),
    ]


def test_features_that_do_not_vary_in_the_first_group_have_no_row_and_poor_ones_say_so():
    flat = SUMMARIES | {SKEWNESS: [Five(1000, 1, 2, 2, 2, 3)] * 3}
    reliability = grades({ELONGATION: Grade.POOR}, among=CATALOGUE)
    chart = group_range_chart(GROUPS, flat, CELLS, reliability, LIGHT)
    assert {row["row"] for row in _rows(chart.to_dict(), "middle")} == {ELONGATION, AREA}
    assert "Nucleus elongation, poor" in to_svg(chart, 800)


def test_the_published_view_is_logarithmic_and_shifts_as_the_thesis_does():
    summaries = {
        SKEWNESS: [Five(1000, -0.5, -0.1, 0.0, 0.1, 1.0), Five(500, -1.5, -1.2, -0.9, 0.1, 1.0), Five(3)],
        ENERGY: [Five(1000, 1e6, 2e6, 3e6, 4e6, 5e6)] * 3,
    }
    spec = published_group_chart(GROUPS, summaries, LIGHT).to_dict()
    assert spec["layer"][0]["encoding"]["y"]["scale"]["type"] == "log"
    rows = _rows(spec, "middle")
    skewness = [row for row in rows if "skewness" in row["row"]]
    assert [(row["group"], row["low"], row["middle"]) for row in skewness] == [(GROUPS[0].title, 0.5, 1.0)], (
        "-1.5 + 1 has no logarithm"
    )
    assert "+ 1" in skewness[0]["row"]
    assert [row["middle"] for row in rows if row not in skewness] == pytest.approx([3, 3, 3])


def test_the_basis_is_that_of_comparisons():
    assert [basis_of(CATALOGUE[name]) for name in (AREA, ELONGATION, ENERGY)] == [
        Basis.MICROMETRES,
        Basis.NONE,
        Basis.PIXELS,
    ]
