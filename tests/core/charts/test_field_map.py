from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np

from core.charts.field_map import MappedCell, field_map_svg
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.types import BoundingBox
from core.image.synthetic import draw_cell

SVG = "{http://www.w3.org/2000/svg}"


def drawn(cells, name="field.png"):
    image, _ = draw_cell()
    field = replace(image, rgb=np.hstack([image.rgb, image.rgb]), name=name)
    return ET.fromstring(field_map_svg(field, cells))


def mapped(number, left, **said):
    _, labels = draw_cell()
    return MappedCell(number, BoundingBox(left, 0, 360, 360), labels, **said)


def test_cells_have_the_colour_of_their_type_and_flagged_ones_a_broken_line():
    root = drawn([mapped(1, 0, kind=CellType.MONOCYTE), mapped(2, 360, kind=CellType.MONOCYTE, good=False)])
    good, flagged = root.findall(f"{SVG}g[@class='cell']")
    assert {cell.get("fill") for cell in (good, flagged)} == {CELL_TYPES[CellType.MONOCYTE].colour}
    outer = [cell.find(f"{SVG}path") for cell in (good, flagged)]
    assert [path.get("stroke-dasharray") is not None for path in outer] == [False, True]
    assert [cell.get("data-good") for cell in (good, flagged)] == ["true", "false"]
    starts = [float(path.get("d")[1:].split()[0]) for path in outer]
    assert starts[1] - starts[0] == 360


def test_the_legend_counts_types_and_flagged_cells_and_escapes_names():
    root = drawn([mapped(1, 0), mapped(2, 360, kind=CellType.HCL, good=False)], name="<b>&x")
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert "Type not said: 1" in texts
    assert f"{CELL_TYPES[CellType.HCL].name}: 1, 1 flagged" in texts
    assert "<b>&x, broken line: flagged" in texts
    assert "field.png, no cell is flagged" in [text.text for text in drawn([mapped(1, 0)]).findall(f"{SVG}text")]
