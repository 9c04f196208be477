import base64
import io
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from core.charts.overlay import (
    OUTLINED,
    close_up,
    field_png,
    field_svg,
    mask_svg,
    outer_outline,
    outlined_png,
    outlined_svg,
    scale_bar_um,
)
from core.domain.compartments import STYLES, Compartment
from core.domain.types import BoundingBox, CellImage, as_label_map

SVG = "{http://www.w3.org/2000/svg}"


def _square() -> tuple[CellImage, np.ndarray]:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:50, 20:60] = Compartment.CYTOPLASM
    labels[20:40, 30:50] = Compartment.NUCLEUS
    return CellImage(np.full((60, 80, 3), 200, np.uint8), "square.png", "0" * 64, 0.1), as_label_map(labels)


def _area(ring) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2


def test_each_outline_encloses_what_lies_inside_it():
    _, labels = _square()
    (nucleus,) = outer_outline(labels, Compartment.NUCLEUS)
    (cell,) = outer_outline(labels, Compartment.CYTOPLASM)
    assert _area(nucleus) == pytest.approx(20 * 20, abs=2)
    assert _area(cell) == pytest.approx(40 * 40, abs=2)
    assert cell[:, 0].min() == pytest.approx(20, abs=0.51)


def test_the_figure_is_well_formed_and_names_every_compartment_once():
    image, labels = _square()
    root = ET.fromstring(outlined_svg(image, labels))
    assert root.get("viewBox") == "0 0 80 60"
    groups = [g.get("class") for g in root.iter(f"{SVG}g")]
    assert [f"outline {c.label}" for c in OUTLINED] == [g for g in groups if g.startswith("outline ")]
    for compartment in OUTLINED:
        group = next(g for g in root.iter(f"{SVG}g") if g.get("class") == f"outline {compartment.label}")
        line = group.findall(f"{SVG}path")[-1]
        assert line.get("stroke") == STYLES[compartment].colour
        assert (line.get("stroke-dasharray") is None) == (STYLES[compartment].dash == ())


def test_names_from_outside_cannot_break_out_of_the_figure():
    image, labels = _square()
    evil = replace(image, name='"><script>alert(1)</script>.png')
    for text in (outlined_svg(evil, labels), mask_svg(evil, labels)):
        ET.fromstring(text)
        assert "<script" not in text


def test_scale_bar_is_round_and_fits():
    assert scale_bar_um(360, 0.095) == 10
    assert scale_bar_um(80, 0.1) == 2
    image, labels = _square()
    assert "2 µm" in outlined_svg(image, labels)
    bar = re.search(
        r'<g class="scale" data-um-per-px="0.1" data-um="2"><rect[^>]* width="([\d.]+)"', outlined_svg(image, labels)
    )
    assert bar is not None
    assert float(bar[1]) == pytest.approx(2 / 0.1)


def test_unknown_scale_is_said():
    image, labels = _square()
    text = outlined_svg(replace(image, um_per_px=None), labels)
    assert "scale unknown" in text
    assert "µm" not in text


def test_an_image_without_a_cell_is_drawn_bare(synthetic_cell):
    image, labels = synthetic_cell
    nothing = as_label_map(np.zeros_like(labels))
    assert outer_outline(nothing, Compartment.NUCLEUS) == []
    ET.fromstring(outlined_svg(image, nothing))
    assert Image.open(io.BytesIO(outlined_png(image, nothing))).size[0] >= 1024


def test_png_repeats_pixels_and_draws_the_nucleus_in_its_colour():
    image, labels = _square()
    picture = np.asarray(Image.open(io.BytesIO(outlined_png(image, labels, min_side_px=320))))
    assert picture.shape == (240, 320, 3)
    assert (picture[0, -1] == 200).all()
    wanted = [int(STYLES[Compartment.NUCLEUS].colour[i : i + 2], 16) for i in (1, 3, 5)]
    border = picture[4 * 30, 4 * 30 - 3 : 4 * 30 + 3].astype(int)
    assert np.abs(border - wanted).sum(axis=1).min() < 60


# --- fields ---


def _field(factor: int = 1):
    """The square twice in a larger image."""
    _, labels = _square()
    places = [BoundingBox(20, 30, 80, 60), BoundingBox(150, 100, 80, 60)]
    side = 300 * factor
    return CellImage(np.full((side, side, 3), 200, np.uint8), '<"field">.png', "0" * 64, 0.1), [
        (place, labels) for place in places
    ]


def test_every_cell_of_a_field_is_drawn_in_its_place_with_its_number():
    root = ET.fromstring(field_svg(*_field()))
    assert root.get("viewBox") == "0 0 300 300"
    cells = [group for group in root.iter(f"{SVG}g") if group.get("class") == "cell"]
    assert [group.get("data-cell") for group in cells] == ["1", "2"]
    assert [group.find(f"{SVG}text").text for group in cells] == ["1", "2"]
    for group, (left, top) in zip(cells, ((40, 40), (170, 110)), strict=True):
        numbers = [float(value) for value in re.findall(r"[\d.]+", group.find(f"{SVG}path").get("d"))]
        assert min(numbers[::2]) == pytest.approx(left, abs=0.6)
        assert min(numbers[1::2]) == pytest.approx(top, abs=0.6)


def test_the_picture_of_a_large_field_is_reduced_to_an_overview():
    field, cells = _field(20)
    (href,) = (image.get("href") for image in ET.fromstring(field_svg(field, cells)).iter(f"{SVG}image"))
    kind, data = href.split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert 800 < max(picture.size) <= 1600


@pytest.mark.parametrize(("factor", "side"), [(1, 1200), (8, 2400)])
def test_a_field_can_be_taken_away_with_its_outlines_and_numbers(factor, side):
    field, cells = _field(factor)
    with Image.open(io.BytesIO(field_png(field, cells))) as picture:
        assert picture.size == (side, side)
        pixels = np.asarray(picture).astype(int)
    scale = side // (300 * factor)
    # The left border of the first cell, and the right border of the second one's nucleus, in their colours.
    for at, colour in (((60, 40), "#E69F00"), ((130, 200), "#3B4CC0")):
        around = pixels[scale * at[0] - 4 : scale * at[0] + 4, scale * at[1] - 6 : scale * at[1] + 6].reshape(-1, 3)
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(around - wanted).sum(axis=1).min() < 60


def test_a_close_up_is_square_and_holds_all_that_is_drawn():
    image, labels = _square()
    other = np.zeros_like(labels)
    other[8:12, 20:24] = Compartment.CYTOPLASM
    near, (cut, cut_other) = close_up(image, labels, as_label_map(other))
    assert near.shape == cut.shape == cut_other.shape == (53, 53), "42 rows and columns, and a quarter"
    assert np.count_nonzero(cut) == np.count_nonzero(labels)
    assert np.count_nonzero(cut_other) == 16
    assert (near.um_per_px, near.name) == (image.um_per_px, image.name)


def test_a_close_up_ends_where_the_image_does():
    image, labels = _square()
    wide = np.zeros_like(labels)
    wide[:, 4:] = Compartment.CYTOPLASM
    near, (cut,) = close_up(image, as_label_map(wide))
    assert near.shape == (60, 80)
    assert np.array_equal(cut, wide)
    whole, _ = close_up(image, as_label_map(np.zeros_like(labels)))
    assert whole is image


def test_printed_lines_take_a_share_of_the_picture_and_letters_lie_over_their_edge():
    image, labels = _square()
    for factor in (1, 4):
        big = CellImage(np.repeat(np.repeat(image.rgb, factor, 0), factor, 1), "b.png", "0" * 64, 0.1 / factor)
        drawn = as_label_map(np.repeat(np.repeat(labels, factor, 0), factor, 1))
        text = outlined_svg(big, drawn, printed=True)
        assert "vector-effect" not in text
        assert f'stroke="{STYLES[Compartment.NUCLEUS].colour}" stroke-width="{0.4 * factor:g}"' in text
        assert text.count("2 µm</text>") == 2
    assert 'class="scale"' not in outlined_svg(image, labels, printed=True, scale_bar=False)


def test_a_name_with_what_no_xml_may_hold_gives_a_figure_all_the_same():
    image, labels = _square()
    ET.fromstring(outlined_svg(replace(image, name="a\x00\u202eb.png"), labels))
