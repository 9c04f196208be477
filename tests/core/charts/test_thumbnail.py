import base64
import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from core.charts.thumbnail import thumbnail_svg
from core.domain.compartments import STYLES, Compartment
from core.image.masks import outlines

SVG = "{http://www.w3.org/2000/svg}"


def rectangle(left, top, right, bottom):
    """A closed ring."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], np.float32)


CELL = {Compartment.CYTOPLASM: [rectangle(100, 40, 200, 90)], Compartment.NUCLEUS: [rectangle(120, 50, 160, 80)]}
SHAPE = (150, 300)


def drawn(*arguments):
    """The SVG as a tree, and left, top and side of what it shows."""
    tree = ET.fromstring(thumbnail_svg(*arguments))
    left, top, width, height = map(int, tree.attrib["viewBox"].split())
    assert width == height
    return tree, (left, top, width)


def paths(tree):
    return tree.findall(f"{SVG}path")


def picture(tree):
    """The picture's pixels and the rectangle of the image that it is drawn on."""
    (element,) = tree.findall(f"{SVG}image")
    kind, _, content = element.attrib["href"].partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as image:
        pixels = np.asarray(image.convert("RGB"))
    return pixels, tuple(int(element.attrib[name]) for name in ("x", "y", "width", "height"))


def test_the_cell_stands_in_the_middle_with_room_all_round():
    _, (left, top, side) = drawn(CELL, SHAPE)
    assert side == 136  # 18 in 100 of the longer side on either side of it
    assert (left + side / 2, top + side / 2) == (150, 65)


def test_without_an_outline_the_whole_image_is_shown_in_a_square():
    for none in ({}, {Compartment.CYTOPLASM: [], Compartment.NUCLEUS: ()}):
        tree, window = drawn(none, SHAPE, np.zeros((*SHAPE, 3), np.uint8))
        assert window == (0, -75, 300)
        assert {path.attrib["d"] for path in paths(tree)} == {""}
        assert picture(tree)[1] == (0, 0, 300, 150)


def test_without_a_picture_the_outlines_are_filled_as_the_compartments_are_coloured():
    tree, _ = drawn(CELL, SHAPE)
    assert not tree.findall(f"{SVG}image")
    cell, nucleus = paths(tree)
    for path, compartment in ((cell, Compartment.CYTOPLASM), (nucleus, Compartment.NUCLEUS)):
        assert path.attrib["fill"] == path.attrib["stroke"] == STYLES[compartment].colour
        assert path.attrib["fill-rule"] == "evenodd"
    assert 0 < float(cell.attrib["fill-opacity"]) < float(nucleus.attrib["fill-opacity"]) < 1
    assert "stroke-dasharray" not in nucleus.attrib, "nucleus and cell differ in more than colour"
    assert cell.attrib["stroke-dasharray"] == "6 3"


def test_on_a_picture_lines_have_a_pale_casing_and_no_filling():
    tree, _ = drawn(CELL, SHAPE, np.zeros((*SHAPE, 3), np.uint8))
    assert [element.tag for element in tree] == [f"{SVG}image", *[f"{SVG}path"] * 4]
    assert {path.attrib["fill"] for path in paths(tree)} == {"none"}
    for casing, line in zip(paths(tree)[::2], paths(tree)[1::2], strict=True):
        assert casing.attrib["d"] == line.attrib["d"]
        assert casing.attrib["stroke"] == "#fff"
        assert float(casing.attrib["stroke-width"]) > float(line.attrib["stroke-width"])


def test_rings_are_closed_and_a_hole_is_one_of_its_own():
    ring = {Compartment.NUCLEUS: [rectangle(10, 10, 50, 50), rectangle(20, 20, 30.25, 30)]}
    tree, _ = drawn(ring, (60, 60))
    assert (
        paths(tree)[1].attrib["d"]
        == "M10.0 10.0L50.0 10.0L50.0 50.0L10.0 50.0ZM20.0 20.0L30.2 20.0L30.2 30.0L20.0 30.0Z"
    )


def test_the_picture_is_what_lies_in_the_window_where_it_lies(synthetic_cell):
    image, labels = synthetic_cell
    cell = {Compartment.CYTOPLASM: outlines(labels, "cell"), Compartment.NUCLEUS: outlines(labels, "nucleus")}
    tree, (left, top, side) = drawn(cell, image.shape, image.rgb)
    pixels, (x, y, width, height) = picture(tree)
    assert (x, y, width, height) == (left, top, side, side), "the drawn cell lies well inside its image"
    assert pixels.shape == (176, 176, 3)
    whole = Image.fromarray(image.rgb).crop((x, y, x + width, y + height)).resize((176, 176), Image.Resampling.BOX)
    assert np.abs(pixels - np.asarray(whole, int)).mean() < 6
    assert len(thumbnail_svg(cell, image.shape, image.rgb)) < 20_000, "a page shows many"


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (rectangle(0, 0, 100, 50), (0, 0, 118, 93)),  # at a corner: what lies beyond it is left empty
        (rectangle(290, 140, 299, 149), (288, 138, 12, 12)),
        (rectangle(100, 60, 140, 100), (92, 52, 55, 55)),
    ],
)
def test_at_the_border_only_the_image_is_shown_and_never_enlarged(cell, shown):
    rgb = np.zeros((*SHAPE, 3), np.uint8)
    rgb[:] = (200, 100, 50)
    pixels, place = picture(drawn({Compartment.CYTOPLASM: [cell]}, SHAPE, rgb)[0])
    assert place == shown
    assert pixels.shape == (shown[3], shown[2], 3)
    assert np.abs(pixels.reshape(-1, 3).mean(0) - (200, 100, 50)).max() < 3


def test_outlines_of_another_image_are_shown_without_its_picture():
    tree, _ = drawn(
        {Compartment.CYTOPLASM: [rectangle(1000, 1000, 1040, 1050)]}, SHAPE, np.zeros((*SHAPE, 3), np.uint8)
    )
    assert not tree.findall(f"{SVG}image")
    assert paths(tree)[1].attrib["d"]
