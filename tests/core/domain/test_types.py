import numpy as np
import pytest

from core.domain.errors import ImageError, MaskError, UsageError
from core.domain.types import CellAnalysis, CellImage, FeatureSet, QualityFlag, Segmentation, StainFactors, as_label_map

PIXELS = np.zeros((4, 6, 3), np.uint8)


def test_an_image_knows_its_size_and_cannot_be_changed():
    image = CellImage(PIXELS.copy(), "cell.png", "0" * 64, 0.1)
    assert image.shape == (4, 6)
    with pytest.raises(ValueError, match="read-only"):
        image.rgb[0, 0] = 1


@pytest.mark.parametrize("rgb", [PIXELS.astype(float), PIXELS[..., 0], np.zeros((4, 6, 4), np.uint8)])
def test_only_8_bit_rgb_is_an_image(rgb):
    with pytest.raises(ImageError, match=r"cell\.png: an image must be uint8 with shape \(H, W, 3\), but is"):
        CellImage(rgb, "cell.png", "")


@pytest.mark.parametrize("scale", [0.0, -0.1, 0.004, 11, float("nan"), float("inf")])
def test_an_impossible_scale_is_refused(scale):
    with pytest.raises(ImageError, match=r"scale must lie between 0\.005 and 10"):
        CellImage(PIXELS.copy(), "cell.png", "", scale)


@pytest.mark.parametrize(
    "labels", [np.full((2, 2), 4, np.uint8), np.zeros((2, 2), np.int64), np.zeros((2, 2, 1), np.uint8)]
)
def test_only_compartments_make_a_label_map(labels):
    with pytest.raises(MaskError, match=r"a label map must be uint8 \(H, W\) with values 0 to 3, but is"):
        as_label_map(labels)


def test_a_label_map_is_the_same_array():
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    assert as_label_map(labels) is labels


@pytest.mark.parametrize(("severe", "ok"), [([], True), ([False, False], True), ([False, True], False)])
def test_one_severe_flag_is_enough(severe, ok):
    image = CellImage(PIXELS.copy(), "cell.png", "")
    segmentation = Segmentation(as_label_map(np.zeros((4, 6), np.uint8)), 0.0, 0, "m", "CPU", 1.0)
    flags = tuple(QualityFlag("border", "It is cut.", s) for s in severe)
    assert CellAnalysis(image, segmentation, FeatureSet({}, {}), flags).quality_ok is ok


def test_a_note_that_a_flag_says_is_not_said_again():
    image = CellImage(PIXELS.copy(), "cell.png", "", notes=("page 1 of 2 used", "a preview left aside"))
    segmentation = Segmentation(as_label_map(np.zeros((4, 6), np.uint8)), 0.0, 0, "m", "CPU", 1.0)
    flags = (QualityFlag("one_plane", "Of several pictures one was measured (page 1 of 2 used).", severe=False),)
    assert CellAnalysis(image, segmentation, FeatureSet({}, {}), flags).further_notes == ("a preview left aside",)


def test_stain_factors_say_themselves_in_one_text_and_in_words():
    factors = StainFactors("ours-to-bcn", 0.8512, 1, 1.04)
    assert str(factors) == "ours-to-bcn 0.8512 1.0 1.04"
    assert StainFactors.of_text(str(factors)) == factors
    expected = "densities times 0.85 red, 1.00 green, 1.04 blue before measuring (stain factors ours-to-bcn)"
    assert factors.note == expected


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (("a b", 1, 1, 1), "a name of one word, but it is 'a b'"),
        (("", 1, 1, 1), "a name of one word"),
        (("x", 0.1, 1, 1), "that of red must lie between 0.2 and 5, but is 0.1"),
        (("x", 1, 5.1, 1), "that of green must lie between 0.2 and 5, but is 5.1"),
        (("x", 1, 1, float("nan")), "that of blue must lie between 0.2 and 5, but is nan"),
    ],
)
def test_stain_factors_beyond_reason_are_refused(wrong, words):
    with pytest.raises(UsageError, match=words):
        StainFactors(*wrong)


@pytest.mark.parametrize("text", ["", "x 1 1", "x 1 1 1 1", "x 1 1 one"])
def test_a_text_that_is_no_stain_factors_is_refused(text):
    with pytest.raises(UsageError, match="a name and three numbers"):
        StainFactors.of_text(text)
