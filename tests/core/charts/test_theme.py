import re

from core.charts.ranges import range_chart
from core.charts.rows import blocks, part
from core.charts.theme import DARK, LIGHT, edge_colour, look, population_colour, to_svg
from core.domain.cell_types import CELL_TYPES, CellType
from core.features.spec import Theme
from core.populations.placement import Placed


def test_every_cell_type_has_its_own_colour_and_sources_differ():
    assert population_colour(CellType.MONOCYTE) == CELL_TYPES[CellType.MONOCYTE].colour
    assert len({population_colour(kind) for kind in CellType}) == len(CellType)
    assert len({population_colour(CellType.APL, index) for index in range(5)}) == 5
    assert edge_colour("#FFFFFF") == "#B2B2B2"
    assert look(dark=True) is DARK
    assert look(dark=False) is LIGHT


def test_svg_stands_alone(placed):
    place: Placed = placed["lymphocyte_drawn"]
    svg = to_svg(
        range_chart(place.comparisons, place.reference, [], blocks(part(Theme.SHAPE), {}), {}, LIGHT), width=520
    )
    assert svg.startswith("<svg")
    plot = re.search(r'class="background"[^>]* d="M[\d.]+,[\d.]+h([\d.]+)', svg)
    assert plot is not None
    assert float(plot[1]) > 200, "the axes must leave room for the plot"
    assert "Elongation" in svg
    assert "<script" not in svg
