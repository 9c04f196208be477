import math

import numpy as np
import pandas as pd
import pytest

from core.domain.compartments import Compartment
from core.domain.types import as_label_map
from core.image.masks import with_environment
from training.augmentation import LabelledImage
from training.evaluate import appearance_of
from training.experiments.failure_modes import FAILURE_MODES, by_mode, describe

SIDE = 120


@pytest.fixture
def known(samples):
    return appearance_of([*samples] * 3)


def drawn(nucleus_radius, radius=40, row=60, lobes=False):
    y, x = np.mgrid[:SIDE, :SIDE]
    cell = np.hypot(y - row, x - 60) < radius
    nucleus = np.hypot(y - row, x - 60) < nucleus_radius
    if lobes:
        nucleus = (np.hypot(y - row, x - 45) < 12) | (np.hypot(y - row, x - 75) < 12)
    labels = np.where(nucleus, Compartment.NUCLEUS, np.where(cell, Compartment.CYTOPLASM, 0)).astype(np.uint8)
    rgb = np.full((SIDE, SIDE, 3), 240, np.uint8)
    rgb[cell], rgb[nucleus] = (170, 160, 200), (80, 40, 120)
    return LabelledImage("set1/drawn", rgb, with_environment(as_label_map(labels)))


def test_a_round_cell_in_numbers(known):
    found = describe(drawn(20), known)
    assert found["nucleus_share"] == pytest.approx(0.25, abs=0.01)
    assert (found["thin_share"], found["border"], found["neighbours"], found["lobes"]) == (0, 0, 0, 1)
    assert found["fill"] == pytest.approx(79 / SIDE)
    assert found["diameter_px"] == pytest.approx(80, abs=1)
    assert found["stain_distance"] > 0


def test_thin_cytoplasm_lobes_and_the_edge_are_seen(known):
    assert describe(drawn(38), known)["thin_share"] > 0.9
    assert describe(drawn(38), known)["nucleus_share"] > 0.8
    assert describe(drawn(20, lobes=True), known)["lobes"] == 2
    assert describe(drawn(20, row=30), known)["border"] == 1


def test_a_nucleus_without_cytoplasm_is_described_as_far_as_it_goes(known):
    found = describe(drawn(41), known)
    assert found["nucleus_share"] == 1
    assert math.isnan(found["stain_distance"])
    assert math.isnan(found["blur"])


def table(**columns):
    rows = 8
    plain = {
        "source": "set1",
        "nucleus_share": 0.4,
        "thin_share": 0.0,
        "border": 0.0,
        "neighbours": 0.0,
        "lobes": 1.0,
        "vacuoles": 0.0,
    }
    plain |= {"fill": 0.5, "diameter_px": 80.0, "blur": 0.02, "stain_distance": 2.0}
    plain |= {"dice_nucleus": 0.9, "dice_cytoplasm": 0.8, "dice_cell": 0.95}
    return pd.DataFrame({key: [value] * rows for key, value in plain.items()} | columns)


def test_cells_of_a_mode_are_compared_with_the_others_of_their_source():
    values = table(
        source=["set1"] * 4 + ["set2"] * 4,
        border=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
        dice_cytoplasm=[0.5, 0.8, 0.8, 0.8, 0.7, 0.6, 0.6, 0.6],
    )
    found = by_mode(values)["touches the image's edge"]
    assert found["images"] == 2
    assert found["cytoplasm"] == {"dice_mean": 0.6, "against_others": pytest.approx((-0.3 + 0.1) / 2)}
    assert found["nucleus"]["against_others"] == 0


def test_mode_without_cells_has_a_number_only_and_one_of_all_no_comparison():
    found = by_mode(table(neighbours=[1.0] * 8))
    assert found["vacuoles"] == {"images": 0}
    assert found["another stained nucleus in the image"]["cell"] == {"dice_mean": 0.95, "against_others": None}


def test_extremes_are_those_of_each_source():
    values = table(source=["set1"] * 4 + ["set2"] * 4, fill=[0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    assert FAILURE_MODES["smallest tenth of its source"](values).tolist() == [True, False, False, False] * 2
    assert FAILURE_MODES["largest tenth of its source"](values).tolist() == [False, False, False, True] * 2
