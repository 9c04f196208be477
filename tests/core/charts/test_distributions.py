from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import norm

from core.charts.distributions import (
    NO_VALUE,
    box_chart,
    cells_chart,
    cumulative_chart,
    density_chart,
    histogram_chart,
    smoothed,
)
from core.charts.groups import styled
from core.charts.theme import DARK, LIGHT, to_svg
from core.populations.summaries import Basis

AREA, ENERGY = "nucleus_shape2D_PixelSurface", "nucleus_firstorder_Energy"
RNG = np.random.default_rng(11)
LARGE, SMALL, NONE = RNG.normal(100, 10, 5000), np.array([90.0, 95.0, 140.0]), np.array([np.nan, np.nan])
CELLS = [LARGE, SMALL, NONE]
GROUPS = styled(["large", "small", "none"], [5000, 3, 2], [None, 3, 2])
EDGES = np.linspace(40, 160, 241)
COUNTS = np.array([np.histogram(v[np.isfinite(v)], EDGES)[0] for v in CELLS])


@dataclass(frozen=True)
class Five:
    n: int
    p2: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p98: float | None = None


SUMMARIES = [Five(5000, *np.percentile(LARGE, [2, 25, 50, 75, 98])), Five(3), Five(0)]


def _rows(spec: dict, *keys: str) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows if set(keys) <= set(row)]


def test_a_smoothed_histogram_is_the_density_of_its_values():
    grid = np.linspace(60, 140, 400)
    values = norm.ppf((np.arange(5000) + 0.5) / 5000, 100, 10)
    found = smoothed(EDGES, np.histogram(values, EDGES)[0], grid)
    assert np.abs(found - norm.pdf(grid, 100, 10)).max() < 0.02 * norm.pdf(0, 0, 10)


@pytest.mark.parametrize("values", [RNG.exponential(20, 3000), RNG.uniform(0, 100, 300), np.full(50, 30.0)])
def test_a_densitys_area_is_one_even_at_a_hard_end(values):
    edges = np.linspace(0, 100, 201)
    grid = np.linspace(0, 100, 2001)
    found = smoothed(edges, np.histogram(values[values <= 100], edges)[0], grid)
    assert np.trapezoid(found, grid) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("log", [False, True])
def test_a_curve_is_not_cut_at_the_outermost_cells(log):
    edges = np.linspace(50, 60, 201) if not log else np.geomspace(50, 60, 201)
    flat = np.full((1, 200), 4)
    rows = _rows(density_chart(GROUPS[:1], AREA, Basis.MICROMETRES, edges, flat, LIGHT, log=log).to_dict(), "frequency")
    heights = [row["frequency"] for row in rows]
    assert heights[0] < 0.01 * max(heights)
    assert heights[-1] < 0.01 * max(heights)
    assert min(row["value"] for row in rows) > 0


def test_a_curve_of_what_cannot_be_negative_begins_at_zero():
    counts = np.r_[np.arange(200, 0, -1)][None]
    edges = np.linspace(0, 10, 201)
    rows = _rows(density_chart(GROUPS[:1], AREA, Basis.MICROMETRES, edges, counts, LIGHT).to_dict(), "frequency")
    assert min(row["value"] for row in rows) == 0


@pytest.mark.parametrize(("log", "look"), [(False, LIGHT), (True, DARK)])
def test_curves_of_large_groups_and_ticks_of_small_ones(log, look):
    spec = density_chart(GROUPS, AREA, Basis.MICROMETRES, EDGES, COUNTS, look, log=log).to_dict()
    assert {row["group"] for row in _rows(spec, "frequency")} == {GROUPS[0].title}
    ticks = [row["value"] for row in _rows(spec, "value", "group") if "frequency" not in row]
    assert ticks == pytest.approx(SMALL, abs=0.5)
    line = spec["layer"][1]["encoding"]
    assert line["strokeDash"]["scale"] == {
        "domain": [g.title for g in GROUPS[:2]],
        "range": [list(g.dash) for g in GROUPS[:2]],
    }
    assert line["color"]["scale"]["range"] == [g.line(look) for g in GROUPS[:2]]
    assert line["x"]["scale"]["type"] == ("log" if log else "linear")


def test_a_histogram_counts_every_cell_once_and_all_rows_share_one_scale():
    halves = styled(["all", "half"], [5000, 2500], [None, None])
    counts = np.array([COUNTS[0], np.histogram(LARGE[:2500], EDGES)[0]])
    rows = _rows(histogram_chart(halves, AREA, Basis.MICROMETRES, EDGES, counts, LIGHT).to_dict(), "Cells")
    for group, of_group in zip(halves, counts, strict=True):
        mine = [row for row in rows if row["group"] == group.title]
        assert sum(int(row["Cells"].replace(",", "")) for row in mine) == of_group.sum()
        heights = [row["y"] - row["top"] for row in mine]
        assert heights == pytest.approx(
            0.8 * of_group[of_group > 0] / of_group.sum() / (counts / counts.sum(axis=1)[:, None]).max()
        )


def test_small_groups_have_no_histogram_and_empty_ones_say_so():
    spec = histogram_chart(GROUPS, AREA, Basis.MICROMETRES, EDGES, COUNTS, LIGHT).to_dict()
    assert {row["group"] for row in _rows(spec, "Cells")} == {GROUPS[0].title}
    ticks = [row for row in _rows(spec, "value", "Who") if "Cells" not in row]
    assert [row["value"] for row in ticks] == pytest.approx(SMALL, abs=0.5)
    assert [row["y"] for row in spec["datasets"][spec["layer"][-1]["data"]["name"]]] == [2.5]
    assert spec["layer"][-1]["mark"]["text"] == NO_VALUE


def test_cumulative_shares_are_those_asked_for():
    shares = np.linspace(0, 1, 201)
    values = np.array([np.quantile(LARGE, shares), np.quantile(SMALL, shares), np.full(201, np.nan)])
    spec = cumulative_chart(GROUPS, AREA, Basis.MICROMETRES, shares, values, LIGHT).to_dict()
    mine = [row for row in _rows(spec, "share") if row["group"] == GROUPS[0].title]
    assert [row["share"] for row in mine] == pytest.approx(100 * shares)
    assert next(row["value"] for row in mine if row["share"] == 50) == pytest.approx(np.median(LARGE))
    assert spec["encoding"]["color"]["scale"]["domain"] == [g.title for g in GROUPS[:2]], (
        "a group without values has no line"
    )


def test_of_many_cells_an_even_sample_with_its_extremes_is_drawn():
    spec = cells_chart(GROUPS, AREA, Basis.MICROMETRES, CELLS, LIGHT).to_dict()
    mine = [row["value"] for row in _rows(spec, "Value") if row["group"] == GROUPS[0].title]
    assert len(mine) == 300
    assert (min(mine), max(mine)) == (LARGE.min(), LARGE.max())
    assert sorted(row["value"] for row in _rows(spec, "Value") if row["group"] == GROUPS[1].title) == SMALL.tolist()
    assert all(abs(row["y"] - 0.5) <= 0.3 for row in _rows(spec, "Value") if row["group"] == GROUPS[0].title)
    medians = [row for row in _rows(spec, "value", "y") if "group" not in row]
    assert [row["value"] for row in medians] == [np.median(LARGE), 95.0]


def test_boxes_stand_at_the_percentiles_and_small_groups_are_points():
    spec = box_chart(GROUPS, AREA, Basis.MICROMETRES, SUMMARIES, CELLS, LIGHT).to_dict()
    (box,) = _rows(spec, "quarter")
    wanted = SUMMARIES[0]
    assert [box[name] for name in ("value", "quarter", "middle", "three", "high")] == [
        wanted.p2, wanted.p25, wanted.p50, wanted.p75, wanted.p98,
    ]  # fmt: skip
    assert "µm²" in box["Median"]
    assert {row["group"] for row in _rows(spec, "Value")} == {GROUPS[1].title}


def test_values_are_drawn_as_tables_print_them():
    spec = box_chart(GROUPS, ENERGY, Basis.PIXELS, SUMMARIES, CELLS, LIGHT).to_dict()
    (box,) = _rows(spec, "quarter")
    assert box["middle"] == pytest.approx(SUMMARIES[0].p50 * 1e-6)


def test_every_form_becomes_a_picture():
    shares = np.array([0, 0.5, 1])
    charts = [
        density_chart(GROUPS, AREA, Basis.MICROMETRES, EDGES, COUNTS, LIGHT, log=True),
        histogram_chart(GROUPS, AREA, Basis.MICROMETRES, EDGES, COUNTS, LIGHT, log=True),
        cumulative_chart(GROUPS, AREA, Basis.MICROMETRES, shares, np.full((3, 3), 100.0), LIGHT, log=True),
        cells_chart(GROUPS, AREA, Basis.MICROMETRES, CELLS, LIGHT, log=True),
        box_chart(GROUPS, AREA, Basis.MICROMETRES, SUMMARIES, CELLS, LIGHT, log=True),
    ]
    for chart in charts:
        svg = to_svg(chart, 700)
        assert "NaN" not in svg
        assert "Nucleus area" in svg
