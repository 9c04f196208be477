import math

import numpy as np
import pytest

from core.compartments import Compartment
from core.masks import cell_mask, with_environment
from core.types import as_label_map
from tests.training.tiny import tiny_config
from training.augmentation import Augmentation, LabelledImage, jitter_stain, paste_neighbour, random_window
from training.config import TrainingConfig

SIDE = 96
GREEN = (0, 255, 0)


def disc(row, column, radius, side=SIDE):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - row, x - column) < radius


def drawn_cell(background, row=48, column=48, radius=20, nucleus=(80, 40, 120), side=SIDE):
    """A flat disc of a cell: colours are known in every pixel."""
    cell, core = disc(row, column, radius, side), disc(row, column, radius * 0.6, side)
    labels = np.where(core, Compartment.NUCLEUS, np.where(cell, Compartment.CYTOPLASM, Compartment.BACKGROUND)).astype(np.uint8)
    rgb = np.full((side, side, 3), background, np.uint8)
    rgb[cell] = (170, 160, 200)
    rgb[core] = nucleus
    return rgb, with_environment(as_label_map(labels))


@pytest.mark.parametrize("seed", range(30))
def test_random_window_holds_the_whole_cell_at_a_scale_within_the_range(seed):
    config = TrainingConfig()
    rng = np.random.default_rng(seed)
    _, labels = drawn_cell(240, row=rng.integers(20, 76), column=rng.integers(20, 76), radius=rng.integers(6, 30))
    window = random_window(labels, config, rng)
    rows, columns = np.nonzero(cell_mask(labels))
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    assert config.minimum_fill <= longer / window.side <= config.maximum_fill
    assert window.top <= rows.min()
    assert rows.max() + 1 <= window.top + window.side
    assert window.left <= columns.min()
    assert columns.max() + 1 <= window.left + window.side


def test_stain_jitter_keeps_glass_light_and_order_of_shades():
    ramp = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    before = ramp.copy()
    rng = np.random.default_rng(1)
    jittered = [jitter_stain(ramp, rng) for _ in range(200)]
    for image in jittered:
        assert (image.dtype, image.shape) == (np.uint8, ramp.shape)
        # The largest offset of optical density is 0.17: white stays above 255 exp(-0.17).
        assert image[0, 255].min() >= 214
        assert (np.diff(image[0].astype(int), axis=0) >= 0).all()
    assert len({image.tobytes() for image in jittered}) == len(jittered)
    assert np.array_equal(ramp, before), "the argument was changed"


@pytest.mark.parametrize("seed", range(40))
def test_pasted_neighbour_spares_the_cell_and_is_background(seed):
    rgb, labels = drawn_cell(240)
    other_rgb, other_labels = drawn_cell(240, nucleus=GREEN)
    mixed, mixed_labels = paste_neighbour(rgb, labels, other_rgb, other_labels, np.random.default_rng(seed))
    cell = cell_mask(labels)
    assert (mixed.dtype, mixed_labels.dtype) == (np.uint8, np.uint8)
    assert np.array_equal(mixed[cell], rgb[cell])
    assert np.array_equal(mixed_labels[cell], labels[cell])
    green = (mixed[..., 1].astype(int) - mixed[..., 0]) > 200
    assert green.any(), "nothing was pasted"
    assert (mixed_labels[green] == Compartment.BACKGROUND).all()
    # The rest of the labels is untouched: background stays background, the ring is lost only under the neighbour.
    changed = mixed_labels != labels
    assert (labels[changed] == Compartment.ENVIRONMENT).all()
    assert (mixed_labels[changed] == Compartment.BACKGROUND).all()


def test_neighbours_touch_now_and_then_and_stand_on_every_side():
    rgb, labels = drawn_cell(240)
    other = drawn_cell(240, nucleus=GREEN)
    lost_ring, sides = 0, set()
    for seed in range(40):
        mixed, mixed_labels = paste_neighbour(rgb, labels, *other, np.random.default_rng(seed))
        lost_ring += bool((mixed_labels != labels).any())
        rows, columns = np.nonzero((mixed[..., 1].astype(int) - mixed[..., 0]) > 200)
        sides.add((bool(rows.mean() < 48), bool(columns.mean() < 48)))
    assert lost_ring > 0
    assert len(sides) == 4


def test_neighbour_of_a_darker_image_is_brought_to_this_ones_background():
    rgb, labels = drawn_cell(241)
    mixed, _ = paste_neighbour(rgb, labels, *drawn_cell(120, nucleus=(0, 100, 0)), np.random.default_rng(0))
    # In optical density the two backgrounds differ by the factor 242 / 121.
    assert ((mixed[..., 0] <= 1) & (np.abs(mixed[..., 1].astype(int) - (101 * 2 - 1)) <= 1)).any()


@pytest.mark.parametrize("side", ["cell", "other"])
@pytest.mark.parametrize("value", [Compartment.BACKGROUND, Compartment.CYTOPLASM])
def test_images_without_a_cell_or_without_background_are_left_as_they_are(side, value):
    pairs = {"cell": drawn_cell(240), "other": drawn_cell(200)}
    pairs[side] = pairs[side][0], as_label_map(np.full((SIDE, SIDE), value, np.uint8))
    mixed, labels = paste_neighbour(*pairs["cell"], *pairs["other"], np.random.default_rng(0))
    assert np.array_equal(mixed, pairs["cell"][0])
    assert np.array_equal(labels, pairs["cell"][1])


def test_augmented_pairs_have_the_input_size_and_known_labels(items):
    augmentation = Augmentation(tiny_config(paste_probability=0.6))
    for seed in range(40):
        rgb, labels = augmentation(items[seed % len(items)], items, np.random.default_rng(seed))
        assert (rgb.shape, rgb.dtype) == ((64, 64, 3), np.uint8)
        assert (labels.shape, labels.dtype) == ((64, 64), np.uint8)
        assert set(np.unique(labels)) <= set(Compartment)
        assert np.ptp(rgb) > 20
        cell = cell_mask(as_label_map(labels))
        assert cell.any()


def test_augmentation_is_deterministic_by_its_generator(items):
    def drawn(seed):
        # A fresh instance each time: nothing is remembered between calls.
        return Augmentation(tiny_config())(items[0], items, np.random.default_rng(seed))

    for one, two in zip(drawn(5), drawn(5), strict=True):
        assert np.array_equal(one, two)
    assert not np.array_equal(drawn(5)[0], drawn(6)[0])


def test_labels_follow_the_image_through_every_turn():
    # A black nucleus of no symmetry on white: whatever happens to colours, dark is nucleus.
    nucleus = np.zeros((200, 200), bool)
    nucleus[70:130, 75:95] = True
    nucleus[110:130, 75:135] = True
    cell = disc(100, 100, 48, 200)
    labels = with_environment(as_label_map(np.where(nucleus, 3, np.where(cell, 2, 0)).astype(np.uint8)))
    item = LabelledImage("drawn", np.where(nucleus, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2), labels)
    augmentation = Augmentation(tiny_config(input_size=128, minimum_fill=0.6, paste_probability=0.0))
    turned, shifts = set(), []
    for seed in range(40):
        rgb, found = augmentation(item, [item], np.random.default_rng(seed))
        dark = rgb.mean(axis=2) < 128
        drawn = found == Compartment.NUCLEUS
        dice = 2 * (dark & drawn).sum() / (dark.sum() + drawn.sum())
        assert dice > 0.93, seed
        shifts.append(np.argwhere(dark).mean(axis=0) - np.argwhere(drawn).mean(axis=0))
        # Which way the corner of the L points.
        offset = np.argwhere(drawn).mean(axis=0) - np.argwhere(cell_mask(as_label_map(found))).mean(axis=0)
        turned.add(round(math.degrees(math.atan2(*offset)) / 45) % 8)
    assert len(turned) >= 6
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.2, "the image moves against its labels"
