"""Drawn cells, what a network outlines there, and its truth."""

import numpy as np
import pandas as pd
import pytest

from core.evaluation.true_cells import box_iou, dice_of_boxes, measure, true_pictures


def test_boxes_that_differ_as_drawn_ones_do_are_no_fault():
    drawn = np.array([10.0, 10, 110, 110])
    assert box_iou(drawn, drawn) == 1
    assert dice_of_boxes(drawn + np.array([2, -2, 1, 2]), drawn) == dice_of_boxes(drawn, drawn)
    assert dice_of_boxes(drawn + np.array([0, 0, 40, 0]), drawn) < 0.85


@pytest.mark.data
@pytest.mark.parametrize("source", ["bccd", "BCDD"])
def test_a_picture_gives_outlines_as_drawn_and_spoilt_with_their_truth(data_dir, segmenter, source):
    (picture,) = true_pictures(1, (source,))
    found = pd.DataFrame(measure(picture, segmenter))
    assert set(found["source"]) == {source}
    assert found["drawn"].all() == (source == "bccd")
    plain = found[found["kind"] == "as it is"]
    assert (plain["dice"] > 0.8).all()
    assert len(found) > len(plain)
