import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from core.domain.cell_types import CellType
from core.domain.compartments import CHANNELS, Compartment
from core.domain.errors import DataSetError, MaskError, UsageError
from core.evaluation.datasets import Sample
from core.image.imaging import encode_png
from core.image.masks import encode_grey
from core.image.synthetic import draw_cell
from tests.training.tiny import DUPLICATES, PER_TYPE, tiny_config
from training.architectures.weights import Normalisation, normalisation
from training.augmentation import LabelledImage
from training.config import TrainingConfig
from training.data import (
    SegDataset,
    hold_to_data,
    load_labelled,
    masked_samples,
    read_pairs,
    split_samples,
    to_channels,
)

PARTS = ("train", "validation", "test")


def test_each_level_of_a_mask_becomes_one_channel():
    labels = np.array([[0, 1, 2, 3], [3, 2, 1, 0]], np.uint8)
    channels = to_channels(labels)
    assert channels.shape == (len(Compartment) - 1, 2, 4)
    assert channels.dtype == np.float32
    for channel, compartment in zip(channels, CHANNELS, strict=True):
        assert np.array_equal(channel, labels == compartment)
    assert np.array_equal(channels.sum(axis=0), labels > 0)


def test_masked_samples_are_all_of_the_named_sets(tiny_data):
    names = [sample.sample_id.split("/")[0] for sample in masked_samples(("set1", "set2"))]
    assert Counter(names) == {name: 2 * count for name, count in PER_TYPE.items()}


def test_data_set_without_masks_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "hairy_cell_smear"
    folder.mkdir()
    (folder / "cell.png").write_bytes(encode_png(np.zeros((20, 20, 3), np.uint8)))
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path))
    with pytest.raises(DataSetError, match=r"drawn masks, but 1 samples have none, first hairy_cell_smear/cell\.png"):
        masked_samples(("hairy_cell_smear",))


def test_pair_is_read_with_its_environment_and_repairs_are_counted(samples, tmp_path):
    item, repaired = load_labelled(samples[0])
    assert item.rgb.shape[:2] == item.labels.shape
    assert set(np.unique(item.labels)) == set(Compartment)
    assert repaired == 0
    grey = np.repeat(np.array([0, 255, 128, 0], np.uint8), 16)[None].repeat(64, axis=0)
    grey[0, :3] = 7
    (tmp_path / "mask.png").write_bytes(encode_png(grey))
    (tmp_path / "image.png").write_bytes(encode_png(np.zeros((64, 64, 3), np.uint8)))
    stray = Sample("set1/stray", tmp_path / "image.png", tmp_path / "mask.png", CellType.OTHER, "set1/stray")
    assert load_labelled(stray)[1] == 3


def test_image_and_mask_of_different_sizes_are_refused(samples, tmp_path):
    other = tmp_path / "mask.png"
    other.write_bytes(encode_png(np.zeros((40, 30), np.uint8)))
    unequal = Sample("set1/unequal", samples[0].image, other, CellType.OTHER, "set1/unequal")
    with pytest.raises(MaskError, match=r"set1/unequal: .* agree in size, but are \(120, 120\) and \(40, 30\)"):
        load_labelled(unequal)


def test_sample_without_mask_is_refused(samples):
    with pytest.raises(DataSetError, match="set1/x has no drawn mask"):
        load_labelled(Sample("set1/x", samples[0].image, None, CellType.OTHER, "set1/x"))


def test_one_image_under_two_names_is_refused(tiny_data):
    with pytest.raises(DataSetError, match=r"16 images come twice, first set1/.*name each data set once"):
        masked_samples(("set1", "set1"))


def coded(tmp_path, name, codes, stray=0):
    """A pair whose mask has the given grey codes for background, cytoplasm and nucleus, and some stray pixels."""
    labels = np.zeros((64, 64), np.intp)
    labels[16:48, 16:48], labels[24:40, 24:40] = 1, 2
    grey = np.array(codes, np.uint8)[labels]
    grey[0, :stray] = 7
    (tmp_path / f"{name}-mask.png").write_bytes(encode_png(grey))
    (tmp_path / f"{name}.png").write_bytes(encode_png(np.full((64, 64, 3), 200, np.uint8)))
    return Sample(
        f"set1/{name}", tmp_path / f"{name}.png", tmp_path / f"{name}-mask.png", CellType.OTHER, f"set1/{name}"
    )


def test_masks_of_two_and_of_three_levels_become_the_same_channels_and_stray_values_are_counted(tmp_path):
    two, three = coded(tmp_path, "two", (0, 128, 255), stray=3), coded(tmp_path, "three", (0, 170, 255), stray=2)
    ringed = coded(tmp_path, "ringed", (85, 170, 255))
    numbers, half = coded(tmp_path, "numbers", (0, 1, 2)), coded(tmp_path, "half", (0, 127, 255))
    pairs = [two, three, ringed, numbers, half]
    assert [strays for _, strays in read_pairs(pairs)] == [3, 2, 0, 0, 0]
    data = SegDataset.from_samples(pairs, tiny_config(), augment=False)
    assert len(data) == 5
    for _, target in (data[i] for i in range(5)):
        assert torch.equal(target, data[0][1]), "the ring is drawn, whatever the file says of it"
        assert target.sum(dim=(1, 2)).gt(0).all()


def test_masks_that_do_not_fit_their_images_are_named(tmp_path, caplog):
    image, labels = draw_cell(2)
    (tmp_path / "image.png").write_bytes(encode_png(image.rgb))
    swapped = np.array([0, 0, 255, 128], np.uint8)
    pairs = []
    for name, grey in (
        ("well", encode_grey(labels)),
        ("moved", np.roll(encode_grey(labels), 50, axis=1)),
        ("swapped", swapped[labels]),
    ):
        (tmp_path / f"{name}.png").write_bytes(encode_png(grey))
        pairs.append(Sample(f"a/{name}", tmp_path / "image.png", tmp_path / f"{name}.png", CellType.OTHER, name))
    with caplog.at_level(logging.WARNING):
        assert len(list(read_pairs(pairs))) == 3
    assert [message.split(":")[0] for message in caplog.messages] == ["a/moved", "a/swapped"]
    assert "moved by about 50 px to the left" in caplog.messages[0]


def test_all_pairs_that_cannot_be_used_are_told_at_once(tmp_path, samples):
    empty = coded(tmp_path, "empty", (0, 0, 0))
    own = coded(tmp_path, "own", (0, 155, 155))
    for name in ("text", "cut"):
        coded(tmp_path, name, (0, 128, 255))
    (tmp_path / "text.png").write_bytes(b"no image at all")
    (tmp_path / "cut-mask.png").write_bytes((tmp_path / "cut-mask.png").read_bytes()[:60])
    text, cut = (
        Sample(f"set1/{n}", tmp_path / f"{n}.png", tmp_path / f"{n}-mask.png", CellType.OTHER, n)
        for n in ("text", "cut")
    )
    small = Sample("set1/small", samples[0].image, own.mask, CellType.OTHER, "small")
    read = read_pairs([samples[0], empty, own, text, samples[1], cut, small])
    assert [next(read)[0].sample_id for _ in range(2)] == [samples[0].sample_id, samples[1].sample_id]
    with pytest.raises(DataSetError) as caught:
        next(read)
    first, *faults = str(caught.value).splitlines()
    assert first == "5 of 7 pairs cannot be used:"
    beginnings = (
        "set1/empty: the mask shows no cell",
        "set1/own: beside its background the mask has the one grey level 155",
        "set1/text: the image text.png: expected a PNG",
        "set1/cut: the mask cut-mask.png: expected a complete mask",
        "set1/small: image and mask must agree in size",
    )
    assert all(fault.strip().startswith(wanted) for fault, wanted in zip(faults, beginnings, strict=True))


def test_long_lists_of_faults_are_cut(tmp_path):
    with pytest.raises(DataSetError, match="12 of 12 pairs cannot be used:") as caught:
        list(read_pairs([coded(tmp_path, f"{number}", (0, 0, 0)) for number in range(12)]))
    assert len(str(caught.value).splitlines()) == 12
    assert str(caught.value).endswith("\n  and 2 more")


@pytest.mark.parametrize(("codes", "region"), [((0, 255, 255), "cytoplasm"), ((0, 128, 128), "nucleus")])
def test_masks_that_all_lack_a_region_are_refused_and_one_is_told(tmp_path, caplog, codes, region):
    lacking, whole = coded(tmp_path, "lacking", codes), coded(tmp_path, "whole", (0, 128, 255))
    with pytest.raises(DataSetError, match=f"none of the 2 masks shows {region}"):
        list(read_pairs([lacking, replace(lacking, sample_id="set1/again")]))
    with caplog.at_level(logging.INFO):
        assert len(list(read_pairs([lacking, whole]))) == 2
    assert caplog.messages == [f"1 of 2 masks show no {region}"]


def test_repaired_masks_are_named_the_most_repaired_first(tmp_path, caplog):
    pairs = [
        coded(tmp_path, name, (0, 128, 255), stray=stray) for name, stray in (("clean", 0), ("few", 4), ("many", 41))
    ]
    with caplog.at_level(logging.INFO):
        list(read_pairs(pairs))
    assert caplog.messages == [
        "in 2 masks 45 pixels held no grey level of the coding and were given the nearest: set1/many 41 (4.0%),"
        " set1/few 4 (0.4%)"
    ]


def test_equal_images_are_one_group_with_all_that_belongs_to_it(tmp_path):
    for name in "abcd":
        coded(tmp_path, name, (0, 128, 255))
    folder = tmp_path / "mine"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number, name in enumerate("abcde"):
        shade = 7 if name in "be" else number
        (folder / "images" / f"{name}.png").write_bytes(encode_png(np.full((64, 64, 3), shade, np.uint8)))
        (folder / "masks" / f"{name}.png").write_bytes((tmp_path / "a-mask.png").read_bytes())
    (folder / "labels.csv").write_text(
        "image_id,cell_type,duplicate_group\na,other,1\nb,other,1\nc,other,\nd,other,2\ne,other,2\n"
    )
    groups = [sample.group for sample in masked_samples((str(folder),))]
    # b and e are one image: so are their groups, a and d with them.
    assert groups == ["mine/duplicate-1", "mine/duplicate-1", "mine/c", "mine/duplicate-1", "mine/duplicate-1"]


def test_run_is_held_to_the_images_masks_and_groups_it_began_with(tmp_path):
    samples = [coded(tmp_path, name, (0, 128, 255)) for name in "ab"]
    run = tmp_path / "run"
    hold_to_data(run, samples)
    hold_to_data(run, samples)
    more, regrouped = [*samples, coded(tmp_path, "c", (0, 128, 255))], [samples[0], replace(samples[1], group="set1/a")]
    for changed in (more, regrouped):
        with pytest.raises(UsageError, match="run holds a run that began with other images, masks or labels"):
            hold_to_data(run, changed)
    said = tmp_path.parent / "mask_coding.json"
    said.write_text('{"0": "background", "128": "nucleus", "255": "cytoplasm"}')
    with pytest.raises(UsageError, match="other images, masks or labels"):
        hold_to_data(run, samples)
    said.unlink()
    hold_to_data(run, samples)
    coded(tmp_path, "b", (0, 170, 255))
    with pytest.raises(UsageError, match="other images, masks or labels"):
        hold_to_data(run, samples)


# Strata of any shape: for each data set and cell type the sizes of its groups.
STRATA = st.dictionaries(
    st.tuples(st.sampled_from(["set1", "set2"]), st.sampled_from([CellType.LYMPHOCYTE, CellType.MONOCYTE])),
    st.lists(st.integers(1, 4), min_size=1, max_size=30),
    min_size=1,
)
SHARES = st.sampled_from([(0.6, 0.2, 0.2), (0.5, 0.25, 0.25), (0.1, 0.1, 0.8), (0.1, 0.8, 0.1)])


def drawn_samples(strata):
    return [
        Sample(f"{name}/{cell_type}-{group}-{member}", Path("x"), Path("x"), cell_type, f"{name}/{cell_type}-{group}")
        for (name, cell_type), sizes in strata.items()
        for group, size in enumerate(sizes)
        for member in range(size)
    ]


@given(strata=STRATA, shares=SHARES, seed=st.integers(0, 2**31))
def test_split_is_complete_disjoint_grouped_stratified_and_deterministic(strata, shares, seed):
    samples = drawn_samples(strata)
    config = TrainingConfig(seed=seed, train=shares[0], validation=shares[1], test=shares[2])
    parts = split_samples(samples, config)
    assert tuple(parts) == PARTS
    assert sorted(s.sample_id for part in parts.values() for s in part) == sorted(s.sample_id for s in samples)
    groups = {part: {s.group for s in members} for part, members in parts.items()}
    assert sum(len(g) for g in groups.values()) == len({s.group for s in samples}), "a group is in two parts"
    for (name, cell_type), sizes in strata.items():
        for part, share in zip(PARTS[1:], shares[1:], strict=True):
            mine = [g for g in groups[part] if g.startswith(f"{name}/{cell_type}-")]
            assert len(mine) == round(share * len(sizes))
    assert split_samples(samples, config) == parts


def test_another_seed_draws_another_split():
    samples = drawn_samples({("set1", CellType.LYMPHOCYTE): [1] * 30})
    drawn = {tuple(s.sample_id for s in split_samples(samples, TrainingConfig(seed=seed))["test"]) for seed in range(5)}
    assert len(drawn) == 5


def test_filed_duplicates_stay_together(samples):
    for seed in range(10):
        parts = split_samples(samples, tiny_config(seed=seed))
        assert sum(bool(set(DUPLICATES) & {s.sample_id for s in part}) for part in parts.values()) == 1


def test_training_item_is_drawn_anew_by_seed_epoch_and_index_and_by_nothing_else(items):
    def item(index, *, epoch=0, seed=7, before=()):
        data = SegDataset(items, tiny_config(seed=seed), augment=True)
        data.epoch = epoch
        for earlier in before:
            data[earlier]
        return data[index]

    image, target = item(2)
    again, target_again = item(2, before=(0, 5, 2))
    assert torch.equal(image, again)
    assert torch.equal(target, target_again)
    for other in (item(3), item(2, epoch=1), item(2, seed=8)):
        assert not torch.equal(image, other[0])


@pytest.mark.timeout(120)
def test_worker_process_draws_the_same_items(items):
    config = tiny_config()
    data = SegDataset(items[:3], config, augment=True)
    data.epoch = 4
    ((images, targets),) = DataLoader(data, batch_size=3, num_workers=1)
    assert torch.equal(images, torch.stack([data[i][0] for i in range(3)]))
    assert torch.equal(targets, torch.stack([data[i][1] for i in range(3)]))


@pytest.mark.parametrize("augment", [True, False])
def test_items_are_normalised_images_and_binary_channels(items, augment):
    data = SegDataset(items, tiny_config(), augment=augment)
    assert len(data) == len(items)
    image, target = data[0]
    assert (image.shape, image.dtype) == ((3, 64, 64), torch.float32)
    assert (target.shape, target.dtype) == ((len(CHANNELS), 64, 64), torch.float32)
    assert set(target.unique().tolist()) == {0, 1}
    assert target.sum(dim=0).max() == 1
    mean, std = normalisation(tiny_config().encoder)
    low, high = (0 - mean[0]) / std[0], (1 - mean[0]) / std[0]
    assert low - 1e-6 <= image.min() < image.max() <= high + 1e-6


def test_another_normalisation_gives_the_same_pixels_on_another_scale(items):
    ours, other = normalisation(tiny_config().encoder), Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    pixels = [
        SegDataset(items[:1], tiny_config(), augment=False, scale=scale)[0][0] * torch.tensor(scale.std)[:, None, None]
        + torch.tensor(scale.mean)[:, None, None]
        for scale in (ours, other)
    ]
    assert torch.allclose(pixels[0], pixels[1], atol=1e-6)


@pytest.mark.parametrize("cell_fill", [0.4, 0.62, 0.8])
def test_validation_item_shows_the_cell_centred_at_its_canonical_scale(items, cell_fill):
    config = tiny_config(cell_fill=cell_fill, input_size=128)
    data = SegDataset(items, config, augment=False)
    objects = [CHANNELS.index(Compartment.CYTOPLASM), CHANNELS.index(Compartment.NUCLEUS)]
    for index in range(len(items)):
        rows, columns = np.nonzero(data[index][1][objects].sum(dim=0).numpy())
        sides = rows.max() + 1 - rows.min(), columns.max() + 1 - columns.min()
        assert max(sides) == pytest.approx(cell_fill * config.input_size, abs=2)
        assert (rows.max() + 1 + rows.min()) / 2 == pytest.approx(64, abs=2)
        assert (columns.max() + 1 + columns.min()) / 2 == pytest.approx(64, abs=2)


def test_an_index_beyond_the_pairs_is_another_draw_of_one(items):
    data = SegDataset(items[:2], tiny_config(), augment=True)
    first, again = data[1], data[3]
    assert not torch.equal(first[0], again[0])
    still = SegDataset(items[:2], tiny_config(), augment=False)
    assert torch.equal(still[1][0], still[3][0])


def test_pseudo_labelled_images_come_with_their_probability_and_only_in_training(items):
    blank = LabelledImage("pseudo/blank", np.full((120, 120, 3), 77, np.uint8), items[0].labels)
    settings = {"paste_probability": 0.0, "stain_probability": 0.0, "pseudo_sets": ("somewhere",)}

    def share(probability, augment=True):
        config = tiny_config(pseudo_probability=probability, **settings)
        data = SegDataset(items[:2], config, augment=augment, pseudo=[blank])
        # Flat but for noise and compression, which the drawn cells never are.
        return np.mean([float(data[i][0].std(dim=(1, 2)).max()) < 0.25 for i in range(40)])

    assert share(1.0) > 0.8
    assert 0.15 < share(0.5) < 0.75
    assert share(1.0, augment=False) == 0
