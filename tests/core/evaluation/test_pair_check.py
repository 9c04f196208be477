"""What is said of pairs before a training: each kind of finding, and the same judgement as the training's own."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from core.domain.errors import CoreError, UsageError
from core.evaluation.datasets import data_set
from core.evaluation.pair_check import PairJudgement, PairUse, conclude, in_words, list_pairs, look_at
from core.evaluation.pairs import read_pair
from tests.pairs import cell_and_mask, save_good, save_pair


def checked(folder, folds=5):
    samples, lone = list_pairs(str(folder))
    return conclude("mine", samples, [look_at(sample).pair for sample in samples] + lone, folds)


def of_one(folder, rgb, mask):
    save_pair(folder / "mine", "a", rgb, mask)
    (pair,) = checked(folder / "mine").pairs
    return pair


def codes(pair):
    return [remark.code for remark in pair.remarks if remark.doubtful]


def test_a_good_pair_is_used_as_it_is(tmp_path):
    pair = of_one(tmp_path, *cell_and_mask())
    assert (pair.pair, pair.use, pair.judged, pair.does) == ("mine/a", "as it is", "good", "used as it is")
    assert (pair.size, pair.coding, pair.regions) == (
        (360, 360),
        "grey levels 0, 128 and 255",
        ("nucleus", "cytoplasm"),
    )
    assert pair.remarks == ()


def test_repaired_pixels_are_told_and_many_of_what_is_drawn_are_doubtful(tmp_path):
    rgb, mask = cell_and_mask()
    mask[0, :3] = 7
    pair = of_one(tmp_path, rgb, mask)
    assert (pair.use, pair.judged, pair.repaired) == (PairUse.REPAIRED, PairJudgement.GOOD, 3)
    assert pair.does == "used, 3 pixels repaired, 0.01% of what is drawn"
    small = Image.fromarray(cell_and_mask()[1]).resize((100, 100), Image.Resampling.BICUBIC)
    smooth = of_one(tmp_path, rgb[::3, ::3][:100, :100], np.asarray(small))
    assert (smooth.use, smooth.judged, codes(smooth)[-1]) == ("repaired", "doubtful", "many_repaired")
    assert smooth.repaired < 0.2 * 100 * 100, "beside the background they would look few"


@pytest.mark.parametrize(
    ("levels", "found", "words"),
    [
        ((0, 0, 255, 128), "swapped_mask", "lies around the cytoplasm"),
        ((255, 255, 128, 0), "swapped_mask", "all around the picture"),
        ((0, 0, 255, 255), "wide_nucleus", "it may be the whole cell"),
        ((0, 0, 0, 255), "no_cytoplasm", "draw it as 128"),
        ((0, 0, 128, 128), "no_nucleus", "draw it as 255"),
    ],
)
def test_masks_that_would_teach_something_wrong_are_doubtful(tmp_path, levels, found, words):
    pair = of_one(tmp_path, *cell_and_mask(codes=levels))
    assert (pair.use, pair.judged) == (PairUse.AS_IT_IS, PairJudgement.DOUBTFUL)
    assert words in {remark.code: remark.message for remark in pair.remarks}[found]


def test_a_misplaced_mask_a_tiny_cell_and_cells_that_touch_are_doubtful(tmp_path):
    rgb, mask = cell_and_mask()
    assert codes(of_one(tmp_path, rgb, np.roll(mask, 70, axis=1))) == ["misplaced_mask"]
    tiny = of_one(tmp_path, rgb[::10, ::10], mask[::10, ::10])
    assert "small_cell" in codes(tiny)
    (one, left), (two, right) = cell_and_mask(1), cell_and_mask(2)
    left, right = (each[:, np.flatnonzero(each.any(axis=0))] for each in (left, right))
    touching = np.concatenate([left[:, :-3], right], axis=1)
    pair = of_one(tmp_path, np.full((*touching.shape, 3), 200, np.uint8), touching)
    assert "several_drawn" in codes(pair)
    assert one.shape == two.shape


def test_of_several_cells_it_is_told_that_the_largest_is_used(tmp_path):
    (one, large), (two, small) = cell_and_mask(1), cell_and_mask(1, drawing="lymphocyte")
    pair = of_one(tmp_path, np.concatenate([one, two], axis=1), np.concatenate([large, small], axis=1))
    assert (pair.use, pair.judged) == (PairUse.LARGEST_CELL, PairJudgement.DOUBTFUL)
    assert pair.does.startswith("only the largest of 2 cells or pieces is learnt from; the rest, 33% of what is drawn")


def test_a_cell_at_the_edge_and_levels_of_ones_own_are_told_of_a_good_pair(tmp_path):
    rgb, mask = cell_and_mask(codes=(0, 0, 155, 255))
    pair = of_one(tmp_path, rgb[:, :200], mask[:, :200])
    assert (pair.judged, pair.coding) == ("good", "grey levels 0, 155 and 255")
    said = {remark.code: remark.message for remark in pair.remarks}
    assert said["border"] == "The image's edge cuts the cell: what is visible is learnt from."
    assert said["note"].startswith("Its levels 0, 155 and 255 were read as background, cytoplasm and nucleus")


def test_what_cannot_be_used_stops_nothing_and_comes_first(tmp_path):
    folder = save_good(tmp_path / "mine", 2)
    rgb, mask = cell_and_mask(5)
    save_pair(folder, "alone", rgb, None)
    save_pair(folder, "drawn", None, mask)
    save_pair(folder, "broken", b"text", mask)
    save_pair(folder, "empty", rgb, mask * 0)
    save_pair(folder, "small", rgb, mask[:300])
    save_pair(folder, "two", np.concatenate([rgb, rgb], axis=1), np.concatenate([mask, mask], axis=1))
    found = checked(folder)
    reasons = {pair.pair: pair.does for pair in found.pairs if pair.judged is PairJudgement.REFUSED}
    assert list(reasons) == [f"mine/{name}" for name in ("alone", "broken", "drawn", "empty", "small")]
    assert reasons["mine/alone"].startswith(
        "the image alone.png stands alone: expected a file of the same name in masks/"
    )
    assert reasons["mine/drawn"].startswith("the mask drawn.png stands alone")
    assert reasons["mine/broken"].startswith("the image broken.png: expected a PNG")
    assert reasons["mine/empty"] == "the mask shows no cell; leave the pair out"
    assert "(360, 360) and (300, 360)" in reasons["mine/small"]
    assert [pair.judged for pair in found.pairs[5:]] == ["doubtful", "good", "good"]
    assert found.uses == {"refused": 5, "largest cell only": 1, "repaired": 0, "as it is": 2}
    assert not found.usable
    assert in_words(found)[0] == "8 pairs: 2 used as they are, 1 used for their largest cell only, 5 refused"


def test_it_judges_as_the_training_does(tmp_path):
    folder = save_good(tmp_path / "mine", 1)
    rgb, mask = cell_and_mask(5)
    for name, drawn in (("empty", mask * 0), ("small", mask[:300]), ("one", np.where(mask, 155, 0).astype(np.uint8))):
        save_pair(folder, name, rgb, drawn)
    good, *bad = data_set(str(folder)).samples()
    assert look_at(good).pair.use is PairUse.AS_IT_IS
    for sample in bad:
        with pytest.raises(CoreError) as refusal:
            read_pair(sample)
        assert str(refusal.value) == f"{sample.sample_id}: {look_at(sample).pair.does}"


def test_equal_images_are_one_group_and_told_with_each_other(tmp_path):
    folder = save_good(tmp_path / "mine", 3)
    save_pair(folder, "twin", *cell_and_mask(1))
    found = checked(folder)
    assert found.equal_images == (("mine/cell_01", "mine/twin"),)
    assert found.groups == 3
    twin = next(pair for pair in found.pairs if pair.pair == "mine/twin")
    assert "equal to that of mine/cell_01" in twin.remarks[0].message
    assert "one image under several names, kept in one part: mine/cell_01, mine/twin" in in_words(found)


def test_of_all_pairs_it_is_told_how_they_would_be_divided_and_what_is_lacking(tmp_path):
    for name, number in (("monocyte", 8), ("hairy cells", 2)):
        save_good(tmp_path / "mine" / name, number)
    save_pair(tmp_path / "mine" / "monocyte", "bare", *cell_and_mask(20, (0, 0, 0, 255)))
    rgb, mask = cell_and_mask(21)
    save_pair(tmp_path / "mine" / "monocyte", "other", rgb[:300], mask[:300])
    found = checked(tmp_path / "mine", folds=9)
    assert found.cell_types == {"monocyte": 10, "hcl": 2}
    # Drawn by the same seeds, the hairy folder's pictures equal two of the monocytes'.
    assert (found.groups, found.parts) == (10, {"train": 8, "validation": 2, "test": 2})
    assert found.hints[0].startswith("1 of 12 masks show no cytoplasm")
    assert any("2 ways: grey levels 0, 128 and 255 (11); grey levels 0 and 255 (1)" in hint for hint in found.hints)
    assert any("2 sizes, from 360 x 300 to 360 x 360 pixels" in hint for hint in found.hints)


def test_too_few_images_to_divide_or_to_fold_are_told(tmp_path):
    found = checked(save_good(tmp_path / "mine", 2), folds=3)
    assert found.usable
    assert found.hints[0].startswith("every part needs images, but there are: train 2, validation 0, test 0")
    assert found.hints[1].startswith("3 folds need at least as many independent images, but there are 2")


def test_types_of_which_none_would_be_tested_are_told(tmp_path):
    save_good(tmp_path / "mine" / "monocyte", 5)
    for seed in (7, 8):
        save_pair(tmp_path / "mine" / "basophil", str(seed), *cell_and_mask(seed))
    assert "too few independent images for any to be tested on: basophils (2)" in checked(tmp_path / "mine").hints


def test_masks_that_all_lack_cytoplasm_are_a_fault_of_the_whole(tmp_path):
    for seed in range(3):
        save_pair(tmp_path / "mine", str(seed), *cell_and_mask(seed, (0, 0, 0, 255)))
    found = checked(tmp_path / "mine")
    assert not found.usable
    (fault,) = found.faults
    assert fault.startswith("none of the 3 masks shows cytoplasm")
    assert f"warning: {fault}" in in_words(found)


@pytest.mark.parametrize(
    ("name", "words"), [("nowhere", "unknown data set 'nowhere'"), (".", "expected images/ and masks/")]
)
def test_what_is_no_folder_of_pairs_is_wrong_use(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=words):
        list_pairs(name)


@pytest.mark.data
def test_a_data_set_without_masks_is_wrong_use(data_dir):
    with pytest.raises(UsageError, match="acevedo has none; known ones with masks are set1, set2 and bccd"):
        list_pairs("acevedo")


@pytest.mark.data
@pytest.mark.parametrize(("name", "doubtful"), [("set1", 0), ("set2", 0), ("bccd", 1)])
def test_real_pairs_can_be_used_and_several_cells_of_a_field_are_told(data_dir, name, doubtful):
    found = [look_at(sample).pair for sample in data_set(name).samples(data_dir)[::12]]
    counted = Counter(pair.judged for pair in found)
    assert counted[PairJudgement.REFUSED] == 0
    assert counted[PairJudgement.DOUBTFUL] >= doubtful
    assert {pair.use for pair in found if pair.judged is PairJudgement.DOUBTFUL} <= {PairUse.LARGEST_CELL}
