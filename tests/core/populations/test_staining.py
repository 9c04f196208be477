"""Factors from the densities of nuclei."""

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.errors import UsageError
from core.populations.staining import LaboratoryStain, factors_of


def test_factors_are_the_ratio_of_the_medians_and_one_odd_nucleus_moves_none():
    there = [np.array([1.0, 1.2, 0.4])] * 20
    here = [np.array([2.0, 1.0, 0.4])] * 20 + [np.array([9.0, 9.0, 9.0])]
    factors, densities = factors_of("x", there, here)
    assert factors.channels == (0.5, 1.2, 1.0)
    assert densities == ((1.0, 1.2, 0.4), (2.0, 1.0, 0.4))
    stain = LaboratoryStain(factors, "ours", "theirs", CellType.LYMPHOCYTE, (20, 21), densities)
    assert stain.name == "x"
    assert stain.sentence == (
        "ours is set to the stain of theirs: densities times 0.50 red, 1.20 green, 1.00 blue before features are"
        " measured, found in the nuclei of lymphocytes (n 20 / 21)."
    )


def test_nuclei_without_any_density_are_refused_in_words():
    with pytest.raises(UsageError, match=r"that of blue must lie between 0\.2 and 5, but is inf"):
        factors_of("x", [np.array([1.0, 1.0, 0.4])], [np.array([1.0, 1.0, 0.0])])
