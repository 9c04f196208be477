import pytest

from core.charts.labels import given_scale, number, of_cell, scale_caution, scale_words, um_range, unit, who, with_unit
from core.domain.objects import RedCells
from core.domain.types import GivenScale
from core.features.catalogue import CATALOGUE
from core.populations.summaries import Basis
from core.quality.ruler import pooled, single

RATIO, AREA = "combined_PixelSurface", "cell_shape2D_PixelSurface"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"),
        (float("nan"), "\u2013"),
        (0, "0"),
        (0.55345, "0.553"),
        (13.456, "13.5"),
        (193.2, "193"),
        (13654.4, "13,654"),
        (-2.345, "-2.35"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_units_follow_the_basis():
    assert unit(CATALOGUE[AREA], Basis.MICROMETRES) == "µm²"
    assert unit(CATALOGUE[AREA], Basis.PIXELS) == "px²"
    assert with_unit(CATALOGUE[RATIO], 0.5, Basis.NONE) == "0.500"
    assert with_unit(CATALOGUE["nucleus_firstorder_Energy"], 83.7e6, Basis.NONE).startswith("83.7 \u00d710\u2076")


def test_a_measured_length_is_in_micrometres_where_the_scale_is_known():
    assert of_cell(CATALOGUE[AREA], 1000.0, 0.1) == "10.0 µm²"
    assert of_cell(CATALOGUE[AREA], 1000.0, None) == "1000 px²"
    assert of_cell(CATALOGUE[AREA], None, 0.1) == "\u2013"
    assert of_cell(CATALOGUE[RATIO], 0.5, 0.1) == "0.500"


def test_an_error_of_the_scale_becomes_a_range_of_the_size():
    """By the power of the length: an area may be off by twice the share, and what is counted per length is turned."""
    length = next(spec for spec in CATALOGUE.values() if spec.length_power == 1)
    per_length = next(spec for spec in CATALOGUE.values() if spec.length_power == -1)
    assert of_cell(CATALOGUE[AREA], 10000.0, 0.1, 0.1) == "100 µm² (81.0 to 121)"
    assert of_cell(length, 100.0, 0.1, 0.1) == "10.0 µm (9.00 to 11.0)"
    assert um_range(per_length, 1.0, 0.1, 0.1) == " (9.09 to 11.1)"
    for nothing in ((AREA, None, 0.1, 0.1), (AREA, 1.0, None, 0.1), (AREA, 1.0, 0.1, None), (RATIO, 1.0, 0.1, 0.1)):
        assert um_range(CATALOGUE[nothing[0]], *nothing[1:]) == ""


def test_the_error_of_a_scale_is_said_in_a_sentence():
    assert scale_caution(0.0934, 0.07) == (
        "The scale, 0.0934 µm per pixel, is known within 7 %, so areas within about 14 %: the ranges of sizes stand in"
        " brackets."
    )
    assert scale_caution(0.0934, None) is None
    assert scale_caution(None, 0.07) is None


def test_a_scale_is_said_with_how_it_is_known():
    assert scale_words(0.0934, 0.0713) == "0.0934 µm per pixel, within 7 %"
    assert given_scale(GivenScale(0.1)) == "0.1 µm per pixel"
    assert given_scale(GivenScale(0.1, 0.1, origin="that of A: 25 um on 250 px")) == (
        "0.1 µm per pixel, within 10 %; that of A: 25 µm on 250 px"
    )
    assert given_scale(pooled([RedCells(5, 75.0)] * 20).taken()) == (
        "0.1 µm per pixel, from red cells of 20 images, within 1 %, and 7 % if the patients' red cells are not 7.5 µm"
    )
    assert given_scale(single(RedCells(4, 75.0))) == "0.1 µm per pixel, within 15 %; from 4 red cells of one image"


def test_who_names_cells_patients_and_source(placed):
    assert who(placed["monocyte_other"].reference) == "n = 21 cells, 7 patients, Laboratory 1"
    assert who(placed["lymphocyte_drawn"].reference) == "n = 22 cells, patients not recorded, Laboratory 2"
    assert who(placed["published_monocyte"].reference).startswith("n = 566 images")
