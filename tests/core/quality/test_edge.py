"""What the image's edge cuts off, estimated from what is left."""

import numpy as np
import pytest

from core.evaluation.datasets import data_set, drawn_mask
from core.image.masks import cell_mask
from core.image.morphology import bounds
from core.quality.edge import MOST_MISSING, missing_share


def disc(radius=40.0, shape=(120, 120)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - shape[0] / 2 + 0.5, x - shape[1] / 2 + 0.5) < radius


def test_a_whole_cell_lacks_nothing():
    assert missing_share(disc()) == 0


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize("depth", [24, 36, 60])
def test_of_a_disc_the_missing_share_is_told_on_every_side(side, depth):
    whole = disc()
    cut = np.rot90(whole, side)[depth:]
    assert missing_share(cut) == pytest.approx(1 - cut.sum() / whole.sum(), abs=0.02)


def test_in_a_corner_both_sides_count():
    whole = disc()
    cut = whole[30:, 30:]
    assert missing_share(cut) == pytest.approx(1 - cut.sum() / whole.sum(), abs=0.05)


@pytest.mark.data
def test_of_drawn_cells_that_were_cut_the_share_is_told(data_dir):
    rng = np.random.default_rng(1)
    true, told = [], []
    for sample in data_set("set2").samples(data_dir)[::4]:
        whole = cell_mask(drawn_mask(sample).labels)
        whole = np.pad(np.rot90(whole[bounds(whole)], int(rng.integers(4))), 1)
        cut = whole[1 + int(rng.uniform(0.02, 0.45) * len(whole)) :]
        true.append(1 - cut.sum() / whole.sum())
        told.append(missing_share(cut))
    assert np.corrcoef(true, told)[0, 1] > 0.9
    assert np.abs(np.subtract(true, told)).mean() < 0.04
    assert all(share > MOST_MISSING for share, truth in zip(told, true, strict=True) if truth > 0.2)
