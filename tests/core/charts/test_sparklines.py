from dataclasses import replace

from core.charts.sparklines import sparkline_html
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
