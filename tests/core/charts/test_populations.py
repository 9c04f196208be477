import pytest

from core.charts.populations import Form, distribution_chart
from core.charts.theme import LIGHT

RATIO, AREA = "combined_PixelSurface", "cell_shape2D_PixelSurface"


def _rows(spec: dict, key: str) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


@pytest.mark.parametrize("form", Form)
def test_distribution_shows_every_population_with_a_value(placed, form):
    references = [p.reference for p in placed.values()]
    spec = distribution_chart(references, RATIO, form, LIGHT).to_dict()
    shown = {row["population"] for row in _rows(spec, "population")}
    assert shown == {f"{r.title} (n = {r.n})" for r in references if RATIO in r.summaries}


def test_histogram_counts_every_cell_once(placed):
    reference = placed["monocyte_drawn"].reference
    rows = _rows(distribution_chart([reference], RATIO, Form.HISTOGRAM, LIGHT).to_dict(), "Cells")
    assert sum(row["Cells"] for row in rows) == reference.n == 23


def test_sizes_without_a_scale_are_left_out(placed):
    references = [
        placed["hcl_drawn"].reference,
        placed["published_monocyte"].reference,
        placed["monocyte_drawn"].reference,
    ]
    rows = _rows(distribution_chart(references, AREA, Form.CELLS, LIGHT).to_dict(), "population")
    assert {row["population"] for row in rows} == {f"{references[2].title} (n = 23)"}


def test_what_changes_with_the_pixels_is_shown_in_pixels(placed):
    references = [p.reference for p in placed.values()]
    rows = _rows(distribution_chart(references, "nucleus_firstorder_Energy", Form.CELLS, LIGHT).to_dict(), "population")
    assert {row["population"] for row in rows} == {f"{r.title} (n = {r.n})" for r in references if not r.published}


def test_cumulative_reaches_one_hundred_per_cent(placed):
    rows = _rows(
        distribution_chart([placed["monocyte_drawn"].reference], RATIO, Form.CUMULATIVE, LIGHT).to_dict(), "share"
    )
    assert max(row["share"] for row in rows) == pytest.approx(100)
    values = [row["value"] for row in rows]
    assert values == sorted(values)
