from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.flags import raised
from core.domain.objects import FoundObject, ObjectKind
from core.domain.types import CellImage, FileScale, Segmentation, as_label_map
from core.evaluation.datasets import data_set
from core.features.extract import extract
from core.image.imaging import grey, load, rescaled
from core.image.masks import cell_mask, region_mask
from core.image.stain import nuclear_density
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.quality.assessment import BLURRED, assess, assess_scale, blur
from core.quality.novelty import (
    NOVELTY_TRAITS,
    TRAITS,
    Coefficient,
    GranulocyteRule,
    Knowledge,
    LogisticScore,
    NoveltyDetector,
    traits,
)
from core.quality.outline_quality import JudgedOutline
from core.quality.outline_signs import Fault

DRAWINGS = SYNTHETIC_CELLS.values()


RED_CELLS = tuple(FoundObject(ObjectKind.RED_CELL, 0, 0, size, size, 0.9) for size in (78, 79, 80))


def found(labels, confidence=0.97, other_cells=0, *, objects=RED_CELLS, lead=None):
    """A segmentation that is right, so that a flag is about the image alone."""
    return Segmentation(as_label_map(labels), confidence, other_cells, "drawn", "none", 0.0, lead, objects)


def with_pixels(image, rgb):
    return replace(image, rgb=np.clip(np.rint(rgb), 0, 255).astype(np.uint8))


def codes(flags):
    return {flag.code for flag in flags}


@pytest.fixture(scope="module")
def card(segmenter):
    return segmenter.card


@pytest.fixture(scope="module")
def cell():
    image, labels = draw_cell(5)
    return image, np.asarray(labels)


@pytest.mark.parametrize("drawing", DRAWINGS, ids=SYNTHETIC_CELLS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_good_cell_has_no_flag(card, drawing, seed):
    image, labels = draw_cell(seed, drawing)
    assert assess(image, found(labels), card) == ()


def test_without_a_cell_nothing_else_is_said(card, cell):
    (flag,) = assess(cell[0], found(np.zeros_like(cell[1]), confidence=0.0), card)
    assert (flag.code, flag.severe) == ("no_cell", True)


def test_no_nucleus(card, cell):
    image, labels = cell
    flags = assess(
        image, found(np.where(labels == Compartment.NUCLEUS, Compartment.CYTOPLASM, labels).astype(np.uint8)), card
    )
    assert codes(flags) == {"no_nucleus"}
    assert flags[0].severe


def test_a_red_cell_taken_for_a_leukocyte_is_told_by_its_stain(card):
    rgb = np.full((200, 200, 3), (253, 229, 206), np.uint8)
    y, x = np.mgrid[:200, :200]
    distance = np.hypot(y - 100, x - 100)
    rgb[distance < 40], rgb[distance < 15] = (218, 172, 166), (236, 204, 190)
    labels = np.where(distance < 40, Compartment.NUCLEUS, 0).astype(np.uint8)
    labels[(distance < 40) & (distance >= 30)] = Compartment.CYTOPLASM
    flags = assess(CellImage(rgb, "red.png", "0" * 64), found(labels), card)
    assert (flags[0].code, flags[0].severe) == ("no_nuclear_stain", True)


@pytest.mark.data
def test_real_red_cells_are_never_taken_for_a_good_cell(data_dir, segmenter):
    """Corners of pictures of one cell, where they hold no nuclear stain."""
    corners = [
        load(sample.image).rgb[part].copy()
        for sample in data_set("acevedo").samples(data_dir)[::150]
        for part in (np.s_[:110, :110], np.s_[-110:, -110:])
    ]
    without = [rgb for rgb in corners if np.ptp(nuclear_density(rgb)) < 1]
    assert len(without) > 10
    for rgb in without:
        image = CellImage(rgb, "corner.png", "0" * 64)
        assert any(flag.severe for flag in assess(image, segmenter.segment(image), segmenter.card))


@pytest.mark.data
@pytest.mark.parametrize("name", ["set1", "set2", "acevedo", "deepapl"])
def test_real_leukocytes_have_nuclear_stain_and_are_mostly_good(data_dir, segmenter, name):
    samples = [sample for sample in data_set(name).samples(data_dir) if sample.cell_type in ("monocyte", "lymphocyte")]
    flagged = []
    for sample in samples[:: len(samples) // 12][:12]:
        image = load(sample.image)
        flagged.append({flag.code for flag in assess(image, segmenter.segment(image), segmenter.card) if flag.severe})
    assert not any("no_nuclear_stain" in found for found in flagged)
    assert sum(not found for found in flagged) >= 8


def test_no_cytoplasm_only_informs(card, cell):
    image, labels = cell
    flags = assess(image, found(np.where(labels == Compartment.NUCLEUS, labels, 0).astype(np.uint8)), card)
    assert codes(flags) == {"no_cytoplasm"}
    assert not flags[0].severe


@pytest.mark.parametrize("side", range(4))
@pytest.mark.parametrize(("depth", "code", "severe"), [(0.04, "at_border", False), (0.3, "border", True)])
def test_a_cell_cut_by_the_border_is_refused_only_where_a_part_that_matters_is_missing(
    card, cell, side, depth, code, severe
):
    rgb, labels = (np.rot90(part, side) for part in (cell[0].rgb, cell[1]))
    rows = np.flatnonzero(cell_mask(as_label_map(labels)).any(axis=1))
    top = rows[0] + round(depth * len(rows))
    flags = assess(replace(cell[0], rgb=rgb[top:].copy()), found(labels[top:].copy()), card)
    assert {(flag.code, flag.severe) for flag in flags} == {(code, severe)}
    assert "% of it lies outside" in flags[0].message


def test_a_cell_that_only_comes_near_the_border_is_not_cut(card, cell):
    image, labels = cell
    rows, columns = (np.flatnonzero(cell_mask(labels).any(axis=axis)) for axis in (1, 0))
    part = np.s_[rows[0] - 1 : rows[-1] + 2, columns[0] - 1 : columns[-1] + 2]
    flags = assess(replace(image, rgb=image.rgb[part].copy()), found(labels[part].copy()), card)
    assert not codes(flags) & {"border", "at_border"}


def test_a_cell_of_few_pixels(card, cell):
    image, labels = cell
    small = np.asarray(Image.fromarray(image.rgb).resize((45, 45), Image.Resampling.BOX))
    few = np.asarray(Image.fromarray(labels).resize((45, 45), Image.Resampling.NEAREST))
    flags = assess(replace(image, rgb=small.copy()), found(few.copy()), card)
    assert "small_cell" in codes(flags)
    assert str(np.count_nonzero(few >= Compartment.CYTOPLASM)) in next(
        flag.message for flag in flags if flag.code == "small_cell"
    )


@pytest.mark.parametrize(("others", "words"), [(1, "another stained cell"), (3, "3 other stained cells")])
def test_other_cells_are_told_and_only_inform(card, cell, others, words):
    (flag,) = assess(cell[0], found(cell[1], other_cells=others), card)
    assert (flag.code, flag.severe) == ("several_cells", False)
    assert words in flag.message


def test_over_exposed(card, cell):
    image, labels = cell
    flags = assess(with_pixels(image, 2.2 * image.rgb.astype(float)), found(labels), card)
    assert {"over_exposed"} <= codes(flags)
    assert "under_exposed" not in codes(flags)


@pytest.mark.parametrize("darken", [lambda rgb: 0.25 * rgb, lambda rgb: rgb - 125], ids=["little light", "black level"])
def test_under_exposed(card, cell, darken):
    image, labels = cell
    flags = assess(with_pixels(image, darken(image.rgb.astype(float))), found(labels), card)
    assert {"under_exposed"} <= codes(flags)
    assert "over_exposed" not in codes(flags)


@pytest.mark.parametrize("gain", [0.85, 1.05])
def test_ordinary_light_is_neither(card, cell, gain):
    image, labels = cell
    flags = codes(assess(with_pixels(image, gain * image.rgb.astype(float)), found(labels), card))
    assert not flags & {"over_exposed", "under_exposed", "blurred", "unlike_training"}


@pytest.mark.parametrize("drawing", DRAWINGS, ids=SYNTHETIC_CELLS)
def test_a_blurred_cell(card, drawing):
    image, labels = draw_cell(3, drawing)
    sigma = 0.08 * drawing.cell_diameter_px
    flags = assess(
        with_pixels(image, ndimage.gaussian_filter(image.rgb.astype(float), (sigma, sigma, 0))), found(labels), card
    )
    assert "blurred" in codes(flags)


@pytest.mark.parametrize("share", [0.02, 0.04, 0.08])
@pytest.mark.parametrize("drawing", DRAWINGS, ids=SYNTHETIC_CELLS)
def test_blur_is_measured_as_what_it_is_whatever_the_contrast(drawing, share):
    image, labels = draw_cell(3, drawing)
    nucleus, whole = region_mask(labels, "nucleus"), cell_mask(labels)
    luma = ndimage.gaussian_filter(grey(image.rgb), share * drawing.cell_diameter_px)
    assert blur(luma, nucleus, whole) == pytest.approx(share, rel=0.4)
    assert blur(0.3 * luma + 80, nucleus, whole) == pytest.approx(blur(luma, nucleus, whole))
    assert blur(luma[::2, ::2], nucleus[::2, ::2], whole[::2, ::2]) == pytest.approx(
        blur(luma, nucleus, whole), abs=0.01
    )


def test_a_sharp_cell_is_far_from_blurred_and_a_flat_one_has_no_edge(cell):
    image, labels = cell
    nucleus, whole = region_mask(as_label_map(labels), "nucleus"), cell_mask(as_label_map(labels))
    assert blur(grey(image.rgb), nucleus, whole) < 0.3 * BLURRED
    assert blur(np.full(labels.shape, 90.0), nucleus, whole) == np.inf


def test_without_a_judge_the_networks_own_doubt_makes_an_outline_doubtful(card, cell):
    (flag,) = assess(cell[0], found(cell[1], confidence=0.62), card)
    assert (flag.code, flag.severe) == ("doubtful_outline", True)
    assert "0.62" in flag.message


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (Fault(True, "a red cell", "on the right"), "takes_in_neighbour", "seems to take in a red cell on the right"),
        (Fault(False, "", "at the top"), "cuts_off", "seems to be missing at the top"),
    ],
)
def test_a_doubtful_outline_is_refused_with_words_for_what_seems_wrong(card, cell, fault, code, words):
    outline = JudgedOutline(0.7, True, 0.95, fault)
    doubtful, told = assess(cell[0], found(cell[1]), card, outline=outline)
    assert (doubtful.code, doubtful.severe) == ("doubtful_outline", True)
    assert "0.70" in doubtful.message
    assert (told.code, told.severe) == (code, False)
    assert words in told.message


def test_what_the_judge_finds_right_is_no_doubt_of_the_networks(card, cell):
    assert assess(cell[0], found(cell[1], confidence=0.7), card, outline=JudgedOutline(0.95, False, 0.95, None)) == ()


@pytest.mark.parametrize(
    ("kind", "code"), [(ObjectKind.SMUDGE, "smudge_cell"), (ObjectKind.RED_CELL, "unlike_leukocyte")]
)
def test_what_the_localiser_takes_for_something_else_is_refused(card, cell, kind, code):
    led = replace(found(cell[1]), found=FoundObject(kind, 10, 10, 90, 90, 0.9))
    (flag,) = assess(cell[0], led, card)
    assert (flag.code, flag.severe) == (code, True)


@pytest.mark.parametrize(
    "swap", [lambda rgb: rgb[..., ::-1], lambda rgb: 255 - rgb.astype(float)], ids=["red for blue", "negative"]
)
def test_other_colours_are_unlike_the_training_images(card, cell, swap):
    flags = assess(with_pixels(cell[0], swap(cell[0].rgb)), found(cell[1]), card)
    assert [flag.severe for flag in flags if flag.code == "unlike_training"] == [False]


def test_a_model_that_knows_no_appearance_does_not_judge_it(card, cell):
    image = with_pixels(cell[0], cell[0].rgb[..., ::-1])
    assert assess(image, found(cell[1]), replace(card, appearance={})) == ()


# --- what the model knows ---


@pytest.fixture(scope="module")
def features(cell):
    return extract(cell[0].rgb, as_label_map(cell[1]))


def knowing(features, *, granulocyte=-5.0):
    """Knowledge of cells like the one with these features; `granulocyte` is the score that any cell gets."""
    known = traits(features.values, 0.97)
    cloud = NoveltyDetector(
        np.array([known[name] for name in NOVELTY_TRAITS]),
        np.full(len(NOVELTY_TRAITS), 0.3),
        np.eye(len(NOVELTY_TRAITS)),
        1.5,
    )
    score = LogisticScore(granulocyte, {"dye": Coefficient(0.0, 1.0, 0.0)})
    return Knowledge("drawn", "", "", "", cloud, GranulocyteRule(score, score, 1.0), {})


def test_a_known_cell_is_not_unlike_and_without_knowledge_none_is(card, cell, features):
    image, labels = cell
    assert assess(image, found(labels), card, features, knowing(features)) == ()
    swapped = replace(
        features, values={**features.values, "nucleus_contour_Solidity": 0.5, "cell_contour_FormFactor": 0.3}
    )
    assert assess(image, found(labels), card, swapped) == ()


def test_an_unknown_cell_is_refused_with_what_is_strange_about_it(card, cell, features):
    image, labels = cell
    strange = replace(
        features, values={**features.values, "nucleus_contour_Solidity": 0.5, "cell_contour_FormFactor": 0.3}
    )
    (flag,) = assess(image, found(labels), card, strange, knowing(features))
    assert (flag.code, flag.severe) == ("unlike_leukocyte", True)
    for name in ("nucleus_solidity", "cell_roundness"):
        assert TRAITS[name].words in flag.message
    for part in ("Expected is a stained leukocyte", "unlike any that the model has seen", "Look at it"):
        assert part in flag.message


def test_a_granulocyte_is_told_and_only_informs(card, cell, features):
    image, labels = cell
    (flag,) = assess(image, found(labels), card, features, knowing(features, granulocyte=2.0))
    assert (flag.code, flag.severe) == ("granulocyte", False)
    assert "neutrophil or eosinophil" in flag.message
    assert "Look at the nucleus" in flag.message


def test_what_is_smaller_than_a_red_cell_is_no_leukocyte_by_the_scale_or_by_the_red_cells(card, cell):
    image, labels = cell
    small = np.zeros_like(labels)
    rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]]
    middle = np.argwhere(labels == Compartment.NUCLEUS).mean(axis=0)
    distance = np.hypot(rows - middle[0], columns - middle[1])
    small[distance < 30], small[distance < 20] = Compartment.CYTOPLASM, Compartment.NUCLEUS
    for scale, words in ((0.1, "6.0 um across"), (None, "red cells across")):
        flags = [
            flag for flag in assess(replace(image, um_per_px=scale), found(small), card) if flag.code == "too_small"
        ]
        assert len(flags) == 1
        assert flags[0].severe
        assert words in flags[0].message
    assert "too_small" not in codes(assess(replace(image, um_per_px=0.5), found(small), card))


def test_a_platelet_is_what_the_localiser_calls_one(card, cell):
    image, labels = cell
    unscaled = replace(image, um_per_px=None)
    platelet = FoundObject(ObjectKind.PLATELET, 100, 100, 250, 250, 0.9)
    for objects, words in ((RED_CELLS, "2.1 red cells across"), ((), "pixels across")):
        (flag,) = assess(unscaled, found(labels, objects=objects, lead=platelet), card)
        assert (flag.code, flag.severe) == ("too_small", True)
        assert words in flag.message
    leukocyte = replace(platelet, kind=ObjectKind.LEUKOCYTE)
    assert assess(unscaled, found(labels, objects=(), lead=leukocyte), card) == ()


def test_severe_flags_come_first_and_each_message_is_a_sentence(card, cell):
    image, labels = cell
    columns = np.flatnonzero(cell_mask(labels).any(axis=0))
    part = np.s_[:, columns[0] + 40 :]
    cut = CellImage(image.rgb[part].copy(), "cut.png", image.sha256)
    flags = assess(cut, found(labels[part].copy(), confidence=0.5, other_cells=2), card)
    assert [flag.severe for flag in flags] == [True, True, False]
    assert all(flag.message[0].isupper() and flag.message.endswith(".") for flag in flags)


def test_the_whole_path_finds_good_cells_good(segmenter):
    for drawing in DRAWINGS:
        image, _ = draw_cell(7, drawing)
        assert not any(flag.severe for flag in assess(image, segmenter.segment(image), segmenter.card)), drawing.name


# --- the scale --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("um_per_px", "said"), [(1.0, "16"), (0.01, "1.6")])
def test_a_cell_of_a_size_that_no_leukocyte_has_speaks_against_the_scale(card, cell, um_per_px, said):
    image, labels = cell
    (flag,) = assess(replace(image, um_per_px=um_per_px), found(labels), card)
    assert flag.code == "scale_absurd"
    assert flag.severe
    assert f"With {um_per_px:g} µm per pixel what was outlined is {said}" in flag.message


def test_what_opening_did_is_a_flag_of_the_cell_too(card, cell):
    image, labels = cell
    opened = replace(image, flags=(raised("grey"),))
    assert codes(assess(opened, found(labels), card)) == {"grey"}
    assert "grey" in codes(assess(opened, found(np.zeros_like(labels)), card))


def test_another_scale_changes_the_flags_that_hang_on_it_and_no_other(card, cell):
    image, labels = cell
    image = replace(image, file_scale=FileScale(0.1, "OME metadata"), flags=(raised("grey"),))
    for before in (None, 0.095, 0.5, 1.0):
        first = rescaled(image, before)
        flags = assess(first, found(labels, confidence=0.5), card)
        for after in (None, 0.1, 0.5, 1.0, 0.02):
            second = rescaled(first, after)
            fresh = assess(rescaled(image, after), found(labels, confidence=0.5), card)
            assert codes(assess_scale(second, found(labels), flags)) == codes(fresh)
