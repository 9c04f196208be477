import re
from dataclasses import replace

import numpy as np
import pytest

from core.charts.labels import number
from core.charts.sparklines import _ticks, not_placed, sparkline_html, sparkline_svg
from core.populations.placement import place_cell

RATIO, AREA = "combined_PixelSurface", "cell_shape2D_PixelSurface"


def test_strip_sets_the_cell_among_the_populations(placed):
    places = [(p.reference, p.of(RATIO)) for p in placed.values() if not p.reference.published]
    text = sparkline_html(RATIO, places)
    assert text.count("n = ") == 4
    assert text.count("border-radius:50%") == 5, "five hairy cells, five points"
    assert "currentColor" in text


def test_strip_is_empty_where_nothing_can_be_compared(cell, placed):
    bare = replace(cell, image=replace(cell.image, um_per_px=None))
    (place,) = place_cell(bare, [placed["monocyte_drawn"].reference])
    assert sparkline_html(AREA, [(place.reference, place.of(AREA))]) == ""


def test_titles_are_escaped(placed):
    place = placed["monocyte_drawn"]
    evil = replace(place.reference, title="<script>\" onload='x'")
    text = sparkline_html(RATIO, [(evil, place.of(RATIO))])
    assert "<script" not in text
    assert '" onload' not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.4, 0.95, [0.4, 0.6, 0.8]),
        (51, 190, [100, 150]),
        (-0.01, 0.02, [-0.01, 0, 0.01, 0.02]),
        (0.9211, 0.9214, [0.9211, 0.9212, 0.9213, 0.9214]),
        (5, 5, [5]),
    ],
)
def test_numbers_on_the_axis_are_round_and_few(low, high, ticks):
    assert _ticks(low, high) == ticks


def test_there_is_a_number_on_every_axis():
    rng = np.random.default_rng(3)
    for low in rng.uniform(-1, 1, 500) * 10 ** rng.uniform(-4, 5, 500):
        for share in (0.01, 0.3, 40):
            ticks = _ticks(low, low + share * abs(low))
            assert 1 <= len(ticks) <= 4
            assert all(low - 1e-4 * abs(low) <= tick <= low + (share + 1e-4) * abs(low) for tick in ticks)


def test_a_number_stands_where_its_value_lies(placed):
    text = sparkline_html(RATIO, [(p.reference, p.of(RATIO)) for p in placed.values() if not p.reference.published])
    numbers = [(float(at), float(n)) for at, n in re.findall(r"left:([\d.]+)%;transform[^>]*>([\d.]+)<", text)]
    value = placed["monocyte_drawn"].of(RATIO).value
    cell = float(re.search(r"left:calc\(([\d.]+)% - 1px\);width:2px", text)[1])
    slope, start = np.polyfit([n for _, n in numbers], [at for at, _ in numbers], 1)
    assert len(numbers) >= 2
    assert slope * value + start == pytest.approx(cell, abs=0.2)


def test_a_strip_on_paper_has_names_numbers_and_edges_that_grey_print_keeps(placed):
    places = [(p.reference, p.of(RATIO)) for p in placed.values() if not p.reference.published]
    text = sparkline_svg(RATIO, places)
    summary = placed["monocyte_drawn"].of(RATIO).summary
    assert f">{number(summary.p2)} \u2013 {number(summary.p98)}</text>" in text
    assert ">Mono</text>" in text
    assert ">n = 5</text>" in text
    assert text.count("<circle") == 5, "five hairy cells, five points"
    assert text.count("stroke=") == text.count("<circle") + text.count("fill-opacity") + 1
    assert "currentColor" not in text, "black on white, whatever the page"


def test_a_strip_on_paper_puts_the_cell_where_its_value_is(placed):
    place = placed["monocyte_drawn"]
    comparison = place.of(RATIO)
    middle = replace(comparison, value=comparison.summary.p50)
    text = sparkline_svg(RATIO, [(place.reference, middle)])
    line = float(re.search(r"<path d=\"M([\d.]+) 0V", text)[1])
    tick, width = map(float, re.findall(r"<rect x=\"([\d.]+)\"[^>]*? width=\"([\d.]+)\"", text)[1])
    assert line == pytest.approx(tick + width / 2, abs=0.15)
    assert sparkline_svg(RATIO, []) == ""


def test_why_there_is_no_strip(cell):
    assert cell.image.um_per_px is not None
    unscaled = replace(cell, image=replace(cell.image, um_per_px=None))
    assert not_placed(AREA, unscaled) == "give µm per pixel to compare"
    assert not_placed(AREA, cell) == "nothing to compare with"
    assert not_placed(RATIO, unscaled) == "nothing to compare with"
    hollow = replace(cell, features=replace(cell.features, absent={RATIO: "no cytoplasm"}))
    assert not_placed(RATIO, hollow) == "no cytoplasm"
