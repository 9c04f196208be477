import json
from dataclasses import replace

import numpy as np
import pytest

from core.corrections.opening import keep_out_of, open_analysed, open_stored, rings_of
from core.domain.errors import StoreError
from core.domain.types import BoundingBox, LabelMap, StainFactors
from core.features.extract import extract
from core.image.masks import cell_mask, region_mask
from core.image.stain import measured_pixels, to_restain
from core.pipeline import remeasured
from core.store.outline_log import without_ring
from core.store.schema import cell_row, corrected_row
from tests.populations import analysed


@pytest.fixture(scope="module")
def row(cell):
    """As a table holds it after a way through a file: lists, numbers and text."""
    return json.loads(json.dumps(cell_row(cell, None, outlines=rings_of(cell)), default=str))


def test_a_stored_cell_opens_as_the_model_drew_it(cell, row):
    opened = open_stored(row, cell.image)
    assert (opened.analysis.segmentation.labels == cell.segmentation.labels).all()
    assert opened.analysis.features.values == cell.features.values
    assert opened.key == open_analysed(cell).key
    assert (opened.analysis.segmentation.confidence, opened.analysis.quality_ok) == (0.97, True)


def test_a_stored_cell_is_measured_like_one_that_was_just_analysed(cell, row, drawn, segmenter):
    stored = remeasured(open_stored(row, cell.image).analysis, drawn, segmenter)
    fresh = remeasured(cell, drawn, segmenter)
    assert stored.features == fresh.features
    assert [flag.code for flag in stored.flags] == [flag.code for flag in fresh.flags]


def test_a_picture_that_opens_otherwise_than_it_was_measured_is_refused(cell, row):
    darker = replace(cell.image, rgb=(cell.image.rgb // 2).astype(np.uint8))
    with pytest.raises(StoreError, match="its grey levels differ"):
        open_stored(row, darker)


def test_what_the_localiser_had_said_stays_with_a_stored_cell_that_is_still_the_same(cell, row, drawn, segmenter):
    smudged = row | {"quality_flags": ["smudge_cell"], "severe_flags": ["smudge_cell"]}
    opened = open_stored(smudged, cell.image)
    assert "smudge_cell" in {flag.code for flag in remeasured(opened.analysis, drawn, segmenter).flags}
    elsewhere = LabelMap(np.zeros_like(drawn))
    elsewhere[2:40, 2:40] = 2
    elsewhere[cell_mask(drawn)] = 0
    assert "smudge_cell" not in {flag.code for flag in remeasured(opened.analysis, elsewhere, segmenter).flags}


def test_other_cells_of_a_field_are_kept_out_of_the_ring(segmenter):
    cell = analysed("lymphocyte", 5)
    height, width = cell.image.shape
    place = BoundingBox(100, 50, width, height)
    beside = BoundingBox(
        100 + int(np.flatnonzero(cell_mask(cell.segmentation.labels).any(axis=0)).max()), 50, width, height
    )
    whole = LabelMap(np.full((height, width), 2, np.uint8))
    kept_out = keep_out_of((height, width), place, [(beside, whole)])
    assert kept_out is not None
    opened = open_analysed(replace(cell, place=place), kept_out)
    found = remeasured(opened.analysis, without_ring(cell.segmentation.labels), segmenter, opened.keep_out)
    ring = region_mask(found.segmentation.labels, "environment")
    assert ring.any()
    assert not (ring & kept_out).any()
    assert keep_out_of((height, width), place, [(BoundingBox(5000, 50, width, height), whole)]) is None


def test_a_cell_that_was_measured_with_stain_factors_is_corrected_with_the_same(cell, drawn, segmenter):
    factors = StainFactors("ours-to-bcn", 0.7, 0.8, 1.2)
    stained = to_restain(cell.image, factors)
    measured = replace(cell, image=stained, features=extract(measured_pixels(stained), cell.segmentation.labels))
    row = cell_row(measured, None, outlines=rings_of(cell))
    opened = open_stored(row, cell.image)
    assert opened.analysis.image.stain == factors
    corrected = remeasured(opened.analysis, drawn, segmenter)
    assert corrected.features == remeasured(measured, drawn, segmenter).features
    assert corrected.features != remeasured(cell, drawn, segmenter).features
    new = corrected_row(row, corrected, outlines=rings_of(corrected))
    assert new["stain"] == row["stain"] == str(factors)
    assert factors.note in new["notes"]
    with pytest.raises(StoreError, match="its grey levels differ"):
        open_stored(row | {"stain": None}, cell.image)
    with pytest.raises(StoreError, match="analyse the image again"):
        open_stored(row | {"stain": "ours-to-bcn 0.7"}, cell.image)
