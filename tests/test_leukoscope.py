"""The public face: its examples run, importing it is light, and it says the same as the engine."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import leukoscope
from core.domain.errors import ImageError, MaskError, UsageError
from core.domain.settings import ROOT
from core.features.catalogue import CATALOGUE
from core.image.synthetic import draw_cell
from core.segmentation import segmenter as segmenter_module


@pytest.mark.parametrize("module", [leukoscope, segmenter_module], ids=lambda module: module.__name__)
def test_every_example_in_a_docstring_runs(module):
    outcome = doctest.testmod(module)
    assert outcome.attempted
    assert not outcome.failed


def test_every_public_name_has_words_and_an_example():
    for name in set(leukoscope.__all__) - {"__version__", "Cohort", "Segmenter"}:
        assert ">>> " in getattr(leukoscope, name).__doc__, name
    for name in ("table", "overlay"):
        assert ">>> " in getattr(leukoscope.Analysis, name).__doc__, name


def test_importing_it_loads_no_library():
    code = "import sys, leukoscope; print({'numpy', 'pandas', 'onnxruntime', 'duckdb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        leukoscope.colour  # noqa: B018 (asking is the test)
    assert set(leukoscope.__all__) == set(dir(leukoscope))


def test_a_cell_is_a_row_a_picture_and_a_page_of_a_notebook():
    found = leukoscope.analyse(leukoscope.example())
    table = found.table()
    assert list(table["cell_index"]) == [0]
    assert set(CATALOGUE) <= set(table.columns)
    picture = found.overlay(min_side_px=360)
    assert picture.shape == (360, 360, 3)
    assert not np.array_equal(picture, leukoscope.example().rgb)
    page = found._repr_html_()
    assert page.startswith('<img src="data:image/png;base64,')
    assert "Nucleus area" in page


def test_a_field_is_a_row_for_every_cell(tmp_path):
    cells = [draw_cell(seed)[0].rgb for seed in range(4)]
    Image.fromarray(np.vstack([np.hstack(cells[:2]), np.hstack(cells[2:])])).save(tmp_path / "field.png")
    found = leukoscope.analyse(tmp_path / "field.png", cells="all")
    assert list(found.table()["cell_label"]) == [1, 2, 3, 4]
    assert found.overlay().shape[1] >= 720


def test_a_given_outline_is_measured_with_units_and_reasons():
    image, labels = draw_cell(2)
    found = leukoscope.measure(image, labels)
    assert list(found.index) == list(CATALOGUE)
    assert found.loc["nucleus_shape2D_PixelSurface", "value"] == pytest.approx((labels == 3).sum() * image.um_per_px**2)
    bare = leukoscope.measure(image, np.where(labels == 3, 2, labels).astype(np.uint8))
    assert "no nucleus" in bare.loc["nucleus_shape2D_PixelSurface", "absent"]


def test_a_wrong_use_is_an_error_in_words(tmp_path):
    with pytest.raises(UsageError, match="lymphocyte, monocyte, hairy_cell, but 'blast' was asked for"):
        leukoscope.example("blast")
    with pytest.raises(MaskError, match="values 0 to 3"):
        leukoscope.measure(leukoscope.example(), np.full((360, 360), 255, np.uint8))
    Image.new("RGB", (300, 300), "white").save(tmp_path / "white.png")
    with pytest.raises(ImageError, match="no stained leukocyte was found"):
        leukoscope.analyse(tmp_path / "white.png", cells="all")


def test_the_cohort_of_the_settings_opens_by_itself():
    with leukoscope.Cohort.open() as cohort:
        assert "lymphocyte_acevedo" in [stored.population.population_id for stored in cohort.populations()]
