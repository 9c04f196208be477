from dataclasses import replace

import numpy as np
import pytest

from core.domain.types import BoundingBox
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.image.masks import filled_outlines
from core.pipeline import OutlinedCell, analyse, measure
from core.serving.answers import AnalyseQuery, FeatureChoice, image_answer


@pytest.fixture(scope="module")
def analysis(synthetic_cell, segmenter):
    return analyse(synthetic_cell[0], segmenter)


def answered(analysis, model_entry, **query):
    return image_answer(analysis.image, [analysis], AnalyseQuery(**query), model_entry, [])


def test_the_outlines_hold_the_mask_to_the_pixel(analysis, model_entry):
    (cell,) = answered(analysis, model_entry).cells
    rings = [[np.array(ring) for ring in rings] for rings in (cell.cell_outline, cell.nucleus_outline)]
    drawn = filled_outlines(analysis.image.shape, *rings)
    assert (drawn == np.where(analysis.segmentation.labels >= 2, analysis.segmentation.labels, 0)).mean() > 0.9999
    xs = [x for ring in cell.cell_outline for x, _ in ring]
    assert (round(min(xs)), round(max(xs))) == (cell.box_left, cell.box_left + cell.box_width)


def test_values_are_those_measured_and_their_units_are_told(analysis, model_entry):
    plain = replace(analysis, image=replace(analysis.image, um_per_px=None))
    few, every = (answered(plain, model_entry, features=choice) for choice in FeatureChoice)
    assert tuple(few.cells[0].features) == KEY_FEATURES
    assert every.cells[0].features == analysis.features.values
    assert every.units == {name: spec.unit.px for name, spec in CATALOGUE.items()}
    scaled = answered(analysis, model_entry)
    name = "cell_shape2D_PixelSurface"
    assert scaled.cells[0].features[name] == pytest.approx(few.cells[0].features[name] * analysis.image.um_per_px**2)
    assert scaled.units[name] == "µm²"
    assert (few.model_sha256, few.image_sha256) == (model_entry.sha256, analysis.image.sha256)


def test_a_cell_of_a_field_is_told_in_the_pixels_of_the_field(analysis, segmenter, model_entry):
    place = BoundingBox(100, 40, analysis.image.shape[1], analysis.image.shape[0])
    moved = measure(OutlinedCell(analysis.image, analysis.segmentation, 1, place), segmenter)
    at_home, away = (answered(one, model_entry).cells[0] for one in (analysis, moved))
    assert (away.box_left, away.box_top) == (at_home.box_left + 100, at_home.box_top + 40)
    offset = np.subtract(away.cell_outline[0], at_home.cell_outline[0])
    assert np.allclose(offset, [100, 40])
