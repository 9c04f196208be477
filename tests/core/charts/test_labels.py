import pytest

from core.charts.labels import number, of_cell, unit, who, with_unit
from core.features.catalogue import CATALOGUE
from core.populations.summaries import Basis

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


def test_who_names_cells_patients_and_source(placed):
    assert who(placed["monocyte_other"].reference) == "n = 21 cells, 7 patients, Laboratory 1"
    assert who(placed["lymphocyte_drawn"].reference) == "n = 22 cells, patients not recorded, Laboratory 2"
    assert who(placed["published_monocyte"].reference).startswith("n = 566 images")
