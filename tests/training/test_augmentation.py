import math

import numpy as np
import pytest

from core.domain.compartments import Compartment
from core.domain.types import LabelMap, as_label_map
from core.image.masks import cell_mask, with_environment
from core.image.morphology import bounds
from core.image.synthetic import draw_cell
from core.image.window import Window, resample, resample_labels
from tests.training.tiny import tiny_config
from training.augmentation import (
    Augmentation,
    LabelledImage,
    _pipeline,
    add_red_cells,
    beside,
    change_light,
    clutter,
    jitter_stain,
    paste_neighbour,
    random_window,
    seen_in,
    shifted,
    widen_nucleus,
)
from training.config import TrainingConfig

SIDE = 96
GREEN = (0, 255, 0)


def disc(row, column, radius, side=SIDE):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - row, x - column) < radius


def drawn_cell(background, row=48, column=48, radius=20, nucleus=(80, 40, 120), side=SIDE):
    """A flat disc of a cell: colours are known in every pixel."""
    cell, core = disc(row, column, radius, side), disc(row, column, radius * 0.6, side)
    labels = np.where(core, Compartment.NUCLEUS, np.where(cell, Compartment.CYTOPLASM, Compartment.BACKGROUND)).astype(
        np.uint8
    )
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


# --- what is off by default ---


def as_the_shipped_model_was_trained(item, others, config, rng):
    """The augmentation before anything could be set but its probability of pasting, said again."""
    window = random_window(item.labels, config, rng)
    canvas = round(config.input_size * math.sqrt(2))

    def cut(one, at):
        margin = at.side * (canvas / config.input_size - 1) / 2
        wide = Window(at.left - margin, at.top - margin, at.side + 2 * margin)
        return resample(one.rgb, wide, canvas), resample_labels(one.labels, wide, canvas)

    rgb, labels = cut(item, window)
    while rng.random() < config.paste_probability:
        other = others[rng.integers(len(others))]
        fill = Window.around(cell_mask(item.labels), 1).side / window.side * rng.uniform(0.75, 1.25)
        pasted = cut(other, Window.around(cell_mask(other.labels), min(fill, 0.95)))
        turns = int(rng.integers(4))
        rgb, labels = paste_neighbour(
            rgb, labels, *(np.ascontiguousarray(np.rot90(pixels, turns)) for pixels in pasted), rng
        )
    if rng.random() < 0.5:
        rgb = jitter_stain(rgb, rng)
    pipeline = _pipeline(config.input_size)
    pipeline.set_random_seed(int(rng.integers(2**31)))
    done = pipeline(image=rgb, mask=labels)
    return done["image"], done["mask"]


@pytest.mark.parametrize("epoch", [0, 30])
def test_the_shipped_config_trains_on_the_images_it_always_did(items, epoch):
    config = tiny_config(paste_probability=0.5)
    now = Augmentation(config)
    for seed in range(20):
        item = items[seed % len(items)]
        expected = as_the_shipped_model_was_trained(item, items, config, np.random.default_rng(seed))
        found = now(item, items, np.random.default_rng(seed), epoch=epoch)
        assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)), seed


def pastes(monkeypatch, items, epoch=0, **changes):
    """How many things were pasted on each of many images."""
    counts = []

    def counted(rgb, labels, *_, **settings):
        counts[-1].append((settings["gap"], settings["seam"]))
        return rgb, labels

    monkeypatch.setattr("training.augmentation.paste_neighbour", counted)
    augmentation = Augmentation(tiny_config(**changes))
    for seed in range(60):
        counts.append([])
        augmentation(items[0], items, np.random.default_rng(seed), epoch=epoch)
    return counts


@pytest.mark.parametrize("seed", range(8))
def test_red_cells_darken_the_background_beside_the_cell_and_leave_the_cell_alone(seed):
    rgb, labels = drawn_cell(230)
    found, cell = add_red_cells(rgb, labels, np.random.default_rng(seed)), cell_mask(labels)
    assert (found.shape, found.dtype) == (rgb.shape, np.uint8)
    assert np.array_equal(found[cell], rgb[cell])
    # Flat colours come back from optical density up to rounding.
    darker = (rgb.astype(int) - found).max(axis=2) > 5
    assert (found.astype(int) - rgb).max() <= 1
    assert 0.02 < darker[~cell].mean() < 0.95


def test_red_cells_come_with_their_probability(monkeypatch, items):
    drawn = []
    monkeypatch.setattr("training.augmentation.add_red_cells", lambda rgb, *_: drawn.append(1) or rgb)
    augmentation = Augmentation(tiny_config(red_cell_probability=0.5))
    for seed in range(60):
        augmentation(items[0], items, np.random.default_rng(seed))
    assert 15 < len(drawn) < 45


def test_pasting_can_begin_late(monkeypatch, items):
    assert any(pastes(monkeypatch, items, paste_probability=0.9, epoch=3, paste_from_epoch=3))
    assert not any(pastes(monkeypatch, items, paste_probability=0.9, epoch=2, paste_from_epoch=3))


def test_pasting_takes_gap_and_seam_from_the_config(monkeypatch, items):
    found = pastes(monkeypatch, items, paste_probability=0.5, paste_gap=(0.0, 0.1), paste_seam=(0.5, 2.0))
    assert {settings for one in found for settings in one} == {((0.0, 0.1), (0.5, 2.0))}


def test_clutter_is_pasted_with_its_probability(monkeypatch, items):
    shares = [
        sum(map(len, pastes(monkeypatch, items, paste_probability=0.0, clutter_probability=p))) / 60
        for p in (0.0, 0.5, 1.0)
    ]
    assert shares[0] == 0
    assert 0.3 < shares[1] < 0.7
    assert shares[2] > 0.9


@pytest.mark.parametrize("gap", [-0.2, 0.0, 0.3])
def test_neighbours_lie_at_the_gap_asked_for(gap):
    cell, other = disc(48, 48, 20), disc(60, 30, 10)
    for angle in (0, 1, 2.5, 4):
        moved = shifted(other, *beside(cell, other, angle, gap))
        rows, columns = np.nonzero(moved)
        distance = math.hypot(rows.mean() - 48, columns.mean() - 48)
        assert distance == pytest.approx(19.5 + 9.5 + gap * 19.5, abs=1.2)
        assert math.atan2(rows.mean() - 48, columns.mean() - 48) % (2 * math.pi) == pytest.approx(angle, abs=0.05)


def test_a_wider_seam_is_softer():
    rgb, labels = drawn_cell(240)
    other = drawn_cell(240, nucleus=(0, 0, 0), radius=16)
    sharp, soft = (
        paste_neighbour(rgb, labels, *other, np.random.default_rng(3), gap=(0.5, 0.5), seam=(width, width))[0].astype(
            int
        )
        for width in (0.5, 2.5)
    )
    # The same place and cell; the widest band of grey between the two images is where the seam is soft.
    assert (np.abs(soft - rgb) > 0).any(axis=2).sum() > (np.abs(sharp - rgb) > 0).any(axis=2).sum()


def test_clutter_is_a_red_cell_where_there_is_one():
    rgb, labels = drawn_cell(240)
    red = disc(80, 80, 9)
    rgb[red] = (220, 150, 160)
    found = clutter(rgb, labels, np.random.default_rng(0)) > 0
    assert (found & red).sum() / red.sum() > 0.9
    assert (found & ~red).sum() < 0.1 * red.sum()


def test_clutter_is_a_piece_of_background_where_there_is_nothing():
    rgb, labels = drawn_cell(240)
    sizes = set()
    for seed in range(20):
        found = clutter(rgb, labels, np.random.default_rng(seed)) > 0
        assert found.any()
        assert not (found & (labels > 0)).any()
        sizes.add(int(found.sum()))
    assert len(sizes) > 10
    full = as_label_map(np.full((SIDE, SIDE), Compartment.CYTOPLASM, np.uint8))
    assert clutter(rgb, full, np.random.default_rng(0)) is None


def test_widened_nucleus_fills_the_cell_that_stays_as_it_was():
    rgb, labels = drawn_cell(240, radius=30)
    shares = []
    for seed in range(20):
        image, found = widen_nucleus(rgb, labels, np.random.default_rng(seed))
        nucleus, cell = found == Compartment.NUCLEUS, cell_mask(found)
        assert (cell != cell_mask(labels)).sum() < 0.02 * cell.sum()
        # Image and labels move together: dark is nucleus.
        dark = image[..., 1] < 100
        assert 2 * (dark & nucleus).sum() / (dark.sum() + nucleus.sum()) > 0.97
        shares.append(nucleus.sum() / cell.sum())
    before = (labels == Compartment.NUCLEUS).sum() / cell_mask(labels).sum()
    # Between 0.15 and 0.7 of the width of 12 px remain.
    assert min(shares) > before + 0.1
    assert min(shares) == pytest.approx(((30 - 0.7 * 12) / 30) ** 2, abs=0.1)
    assert max(shares) == pytest.approx(((30 - 0.15 * 12) / 30) ** 2, abs=0.1)


def test_horseshoe_nucleus_is_not_widened():
    rgb, labels = drawn_cell(240, radius=30)
    gap = disc(48, 60, 14)
    horseshoe = as_label_map(
        np.where((labels == Compartment.NUCLEUS) & gap, Compartment.CYTOPLASM, labels).astype(np.uint8)
    )
    image, found = widen_nucleus(rgb, horseshoe, np.random.default_rng(0))
    assert np.array_equal(image, rgb)
    assert np.array_equal(found, horseshoe)


def test_background_changes_without_the_cell():
    rgb, labels = drawn_cell(220)
    core, far = disc(48, 48, 12), ~disc(48, 48, 40)
    moved = set()
    for seed in range(10):
        changed = change_light(rgb, labels, tiny_config(background_change=0.3), np.random.default_rng(seed)).astype(int)
        assert np.abs(changed[core] - rgb[core]).max() <= 1
        moved.add(tuple(changed[far].mean(axis=0).round().astype(int)))
        # exp(-0.3) at most.
        assert 220 * math.exp(-0.31) < changed[far].min()
    assert len(moved) == 10


def test_light_falls_off_across_the_image():
    flat = np.full((SIDE, SIDE, 3), 180, np.uint8)
    labels = drawn_cell(240)[1]
    spans = []
    for seed in range(30):
        lit = change_light(flat, labels, tiny_config(light_gradient=0.4), np.random.default_rng(seed)).astype(float)
        spans.append(math.log((lit.max() + 1) / (lit.min() + 1)))
        assert lit.mean() == pytest.approx(180, rel=0.03), "brighter or darker as a whole"
    assert max(spans) < 0.4 * math.sqrt(2) + 0.02
    assert np.ptp(spans) > 0.2


def test_dyes_change_colour_and_glass_does_not():
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    image[:, ::2] = (120, 60, 160)
    labels = drawn_cell(240)[1]
    colours = set()
    for seed in range(20):
        changed = change_light(image, labels, tiny_config(stain_mix=0.1), np.random.default_rng(seed))
        assert changed[:, 1::2].min() >= 254
        colours.add(tuple(changed[0, 0]))
    spread = np.array(sorted(colours)).std(axis=0)
    assert len(colours) > 15
    assert (spread > 5).all()


def test_strength_widens_the_jitter_of_the_stain():
    rgb = drawn_cell(220)[0]
    moves = [
        np.mean(
            [
                np.abs(jitter_stain(rgb, np.random.default_rng(seed), strength).astype(int) - rgb).mean()
                for seed in range(50)
            ]
        )
        for strength in (0.0, 0.5, 1.0, 1.5)
    ]
    assert moves[0] < 1
    assert moves == sorted(moves)


def test_all_levers_together_give_valid_pairs(items):
    config = tiny_config(
        paste_probability=0.5,
        paste_seam=(0.5, 2.0),
        clutter_probability=0.5,
        thin_probability=0.5,
        stain_strength=1.5,
        stain_mix=0.05,
        light_gradient=0.2,
        background_change=0.2,
    )
    for seed in range(30):
        rgb, labels = Augmentation(config)(items[seed % len(items)], items, np.random.default_rng(seed), epoch=seed)
        assert (rgb.shape, rgb.dtype, labels.shape) == ((64, 64, 3), np.uint8, (64, 64))
        assert set(np.unique(labels)) <= set(Compartment)
        assert cell_mask(as_label_map(labels)).any()


def test_a_cell_cut_by_the_edge_goes_on_in_the_mirror_and_a_whole_one_does_not():
    image, labels = draw_cell(0)
    rows, columns = bounds(cell_mask(labels))
    side = max(rows.stop - rows.start, columns.stop - columns.start) + 80
    window = Window(columns.start - 40, rows.start - 40, side)
    middle = (columns.start + columns.stop) // 2
    for left, share in ((columns.start - 2, 0.0), (middle, 0.5)):
        cut = LabelledImage("cut", image.rgb[:, left:], LabelMap(labels[:, left:]))
        moved = Window(window.left - left, window.top, window.side)
        seen = cell_mask(seen_in(cut, moved, 200)[1])
        without = cell_mask(LabelMap(resample_labels(cut.labels, moved, 200)))
        assert seen[without].all()
        assert 1 - without.sum() / seen.sum() == pytest.approx(share, abs=0.02)
