import dataclasses

import numpy as np
import pytest

from core.segmentation.localiser_card import ObjectKind
from tests.training.localiser.boxed import write_boxed
from training.localiser.boxes import KINDS, read_boxed
from training.localiser.config import LocaliserConfig
from training.localiser.platelets import add_platelets, platelets_of
from training.localiser.scenes import SceneDataset
from training.localiser.smudges import add_smudge, smudge
from training.localiser.targets import Targets

PLAIN = LocaliserConfig(
    sources=("PBC",), shares=(1.0,), scene=96, smudge_probability=0, platelet_probability=0, largest=80
)


@pytest.fixture
def boxed(tiny_data):
    write_boxed(tiny_data)
    return read_boxed(("PBC",))


def test_a_scene_is_drawn_anew_in_every_epoch_and_hangs_on_nothing_else(boxed):
    one, other = (SceneDataset(boxed, PLAIN, count=4) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one[2], other[2], strict=True))
    other.epoch = 1
    assert (one[2][0] != other[2][0]).any()


def test_boxes_move_with_the_image_whatever_its_scale_and_turn(boxed):
    """A leukocyte's nucleus is the darkest there is: where a box is asked for, its middle is dark."""
    data = SceneDataset(boxed, PLAIN, count=24)
    checked = 0
    for number in range(24):
        scene, targets = data.scene(number)
        grey = scene.mean(axis=2)
        for row, column in np.argwhere((targets.peaks[0] > 0.999) & (targets.measured > 0.999)):
            left, top, right, bottom = np.exp(targets.distances[:, row, column])
            x, y = (column + 0.5) * 4, (row + 0.5) * 4
            if min(x - left, y - top) < 0 or max(x + right, y + bottom) > len(grey) or left + right < 20:
                continue
            checked += 1
            middle = grey[round(y - 2) : round(y + 3), round(x - 2) : round(x + 3)].mean()
            assert middle < np.percentile(grey, 60)
            assert 0.8 < (left + right) / (top + bottom) < 1.25
    assert checked > 5


def test_where_a_kind_has_no_boxes_nothing_is_asked_about_it_outside_the_leukocyte(tiny_data):
    config = dataclasses.replace(PLAIN, sources=("set1",), smallest=40)
    data = SceneDataset(read_boxed(("set1",)), config, count=1)
    _, targets = data.scene(0)
    red = KINDS.index(ObjectKind.RED_CELL)
    assert (targets.weights[red] == 0).any()
    assert (targets.weights[0] == 1).all()


def test_an_object_of_which_little_is_seen_is_neither_right_nor_wrong():
    targets = Targets(64)
    shown = np.array([0, 0, 64, 64], np.float32)
    targets.add(0, np.array([-30, 10, 6, 46], np.float32), shown)
    assert not targets.peaks.any()
    assert (targets.weights[0] == 0).any()
    targets.add(0, np.array([-10, 10, 30, 50], np.float32), shown)
    row, column = np.argwhere(targets.peaks[0] > 0.999)[0]
    assert (row, column) == (7, 3)
    x, y = (column + 0.5) * 4, (row + 0.5) * 4
    left, top, right, bottom = np.exp(targets.distances[:, row, column])
    assert [x - left, y - top, x + right, y + bottom] == pytest.approx([-10, 10, 30, 50], abs=0.01)


def test_a_smudge_is_pale(tiny_data):
    images = read_boxed(("set1",))
    made = [
        one
        for seed in range(4)
        for image in images[:3]
        if (one := smudge(image, np.random.default_rng(seed))) is not None
    ]
    assert made
    assert all(one.mean(axis=2).max() < 1.6 for one in made)


def test_smudges_and_platelets_are_set_into_scenes_with_their_boxes(boxed):
    platelets = platelets_of(boxed)
    assert len(platelets) == len(boxed)
    assert [float(side) for side in platelets[0].sides] == pytest.approx([0.2, 0.2], abs=0.02)
    drawn = read_boxed(("set1",))
    empty = np.full((96, 96, 3), 235, np.uint8)
    white = [np.array([60, 60, 90, 90], np.float32)]
    made = np.zeros(len(KINDS), int)
    for seed in range(8):
        rng, targets = np.random.default_rng(seed), Targets(96)
        scene = add_smudge(empty, targets, white, drawn[seed % 4], rng)
        scene = add_platelets(scene, targets, white, platelets, 40, rng)
        made += (targets.peaks > 0.999).any(axis=(1, 2))
        assert (scene[65:85, 65:85] == 235).mean() > 0.5
    assert made[KINDS.index(ObjectKind.SMUDGE)] >= 2
    assert made[KINDS.index(ObjectKind.PLATELET)] >= 5
