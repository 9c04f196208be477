import pytest

from core.charts.populations import published_chart
from core.charts.theme import LIGHT

RATIO, AREA = "combined_PixelSurface", "cell_shape2D_PixelSurface"


@pytest.fixture
def published(placed):
    return [place.reference for place in placed.values() if place.reference.published]


def _rows(spec: dict) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows]


def test_every_published_population_has_a_row_with_its_range_and_its_median(published):
    spec = published_chart(published, RATIO, LIGHT).to_dict()
    rows = {row["population"]: row for row in _rows(spec)}
    assert set(rows) == {f"{r.title} (n = {r.n})" for r in published}
    assert len(rows) > 1
    for reference in published:
        row, summary = rows[f"{reference.title} (n = {reference.n})"], reference.summaries[RATIO]
        assert [row["low"], row["middle"], row["high"]] == [summary.p2, summary.p50, summary.p98]
    assert spec["height"] == 56 * len(rows)


def test_the_axis_holds_every_range_and_begins_at_nothing(published):
    spec = published_chart(published, "combined_MajorAxisLength", LIGHT).to_dict()
    low, high = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low == 0
    assert high == max(row["high"] for row in _rows(spec)) > 1


def test_a_size_that_was_published_without_a_scale_is_left_out(published):
    spec = published_chart(published, AREA, LIGHT).to_dict()
    assert _rows(spec) == []
