"""What the levels and colours of a drawn mask mean, told over the drawn area and not over the picture."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.errors import MaskError
from core.domain.types import as_label_map
from core.evaluation.datasets import data_set
from core.image.drawn_masks import read_mask
from core.image.mask_coding import MaskCoding
from core.image.mask_levels import decode_pixels
from core.image.masks import cell_mask, encode_grey, region_mask
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell

BACKGROUND, ENVIRONMENT, CYTOPLASM, NUCLEUS = Compartment

label_maps = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 3))


def distance_from_centre(side):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - (side - 1) / 2, x - (side - 1) / 2)


@pytest.fixture(scope="module", params=sorted(SYNTHETIC_CELLS))
def drawn(request):
    """The label map of a drawn cell without environment, as most masks have it."""
    labels = draw_cell(3, SYNTHETIC_CELLS[request.param])[1].copy()
    labels[labels == ENVIRONMENT] = BACKGROUND
    return as_label_map(labels)


def coded(labels, *codes, dtype=np.uint8):
    """The pixels of a mask with these codes for background, cytoplasm and nucleus."""
    return np.array([codes[0], 0, *codes[1:]], dtype)[labels]


def in_a_large_picture(pixels):
    """The cell covers less than a tenth of it."""
    return np.pad(pixels, ((0, 200), (500, 0), *[(0, 0)] * (pixels.ndim - 2)))


def same_within(decoded, labels, share=0.01):
    for region in ("nucleus", "cell"):
        expected, found = (np.count_nonzero(region_mask(each, region)) for each in (labels, decoded.labels))
        assert found == pytest.approx(expected, rel=share)
    odd = np.count_nonzero(decoded.labels != labels)
    assert odd < 0.02 * np.count_nonzero(cell_mask(labels))


# --- codings that are known ---


@given(label_maps)
def test_what_is_encoded_is_decoded(labels):
    decoded = decode_pixels(encode_grey(as_label_map(labels)))
    np.testing.assert_array_equal(decoded.labels, labels)
    assert decoded.repaired == 0


def test_the_older_coding_has_no_environment():
    decoded = decode_pixels(np.array([[0, 0, 128, 255]], np.uint8))
    assert decoded.labels.tolist() == [[BACKGROUND, BACKGROUND, CYTOPLASM, NUCLEUS]]
    assert decoded.repaired == 0


@pytest.mark.parametrize(("coding", "cytoplasm"), [("older", 128), ("four levels", 170)])
def test_stray_values_are_counted_and_go_to_the_nearest_code(coding, cytoplasm):
    grey = np.zeros((40, 40), np.uint8)
    grey[8:32, 8:32], grey[16:24, 16:24] = cytoplasm, 255
    clean = decode_pixels(grey).labels
    grey[0, :2], grey[8, 8:11], grey[16, 16:18] = [1, 30], [cytoplasm - 7, cytoplasm + 5, cytoplasm + 20], [250, 230]
    decoded = decode_pixels(grey)
    assert decoded.repaired == 7
    np.testing.assert_array_equal(decoded.labels, clean)


# --- levels of one's own ---


@pytest.mark.parametrize(
    ("codes", "dtype"),
    [
        ((0, 127, 255), np.uint8),
        ((0, 155, 255), np.uint8),
        ((0, 100, 200), np.uint8),
        ((0, 170, 255), np.uint8),
        ((0, 60, 120), np.uint8),
        ((0, 1, 2), np.uint8),
        ((0, 2, 3), np.uint8),
        ((1, 2, 3), np.uint8),
        ((0, 1, 2), np.uint16),
        ((0, 128, 255), np.uint16),
        ((0, 32768, 65535), np.uint16),
        ((0, 2048, 4095), np.uint16),
        ((0, 43690, 65535), np.uint16),
    ],
)
def test_three_levels_in_ascending_order_are_read_however_little_of_the_picture_they_fill(drawn, codes, dtype):
    decoded = decode_pixels(coded(drawn, *codes, dtype=dtype))
    np.testing.assert_array_equal(decoded.labels, drawn)
    assert decoded.repaired == 0
    if codes not in {(0, 128, 255), (0, 170, 255)}:
        assert decoded.notes == (
            f"its levels {codes[0]}, {codes[1]} and {codes[2]} were read as background, cytoplasm and nucleus",
        )
    if codes[0] == 0:
        large = decode_pixels(in_a_large_picture(coded(drawn, *codes, dtype=dtype)))
        np.testing.assert_array_equal(large.labels, in_a_large_picture(drawn))


@pytest.mark.parametrize("codes", [(0, 1, 2, 3), (0, 60, 120, 200), (0, 21845, 43690, 65535)])
def test_four_levels_have_an_environment(codes):
    labels = draw_cell(3)[1]
    decoded = decode_pixels(np.array(codes, np.uint16)[labels])
    np.testing.assert_array_equal(decoded.labels, labels)


@pytest.mark.parametrize("codes", [(0, 128, 255), (0, 127, 255), (0, 155, 255), (0, 170, 255)])
def test_a_rim_of_one_pixel_and_strays_are_no_levels(drawn, codes):
    grey = coded(drawn, *codes)
    cell, nucleus = cell_mask(drawn), region_mask(drawn, "nucleus")
    rims = [(ndimage.binary_dilation(cell) & ~cell, 85 if codes[1] != 170 else 64)]
    rims += [(ndimage.binary_dilation(nucleus) & ~nucleus, 200)]
    for rim, value in rims:
        grey[rim] = value
    decoded = decode_pixels(grey)
    at_rims = np.logical_or.reduce([rim for rim, _ in rims])
    assert np.count_nonzero(decoded.labels[~at_rims] != drawn[~at_rims]) <= 5
    assert decoded.repaired == np.count_nonzero(at_rims)
    assert not region_mask(decoded.labels, "environment").any()


def test_stray_pixels_at_the_codes_of_another_coding_do_not_outvote_the_levels(drawn):
    grey = coded(drawn, 0, 127, 255)
    rows, columns = np.nonzero(region_mask(drawn, "cytoplasm"))
    grey[rows[::80][:18], columns[::80][:18]] = 170
    decoded = decode_pixels(grey)
    np.testing.assert_array_equal(decoded.labels, drawn)
    assert decoded.repaired == len(rows[::80][:18])


@pytest.mark.parametrize("codes", [(0, 128, 255), (0, 127, 255), (0, 170, 255), (0, 155, 255)])
@pytest.mark.parametrize("blur", [0.7, 1.5])
def test_smoothed_edges_are_within_one_per_cent_and_get_no_rim_of_cytoplasm(codes, blur):
    labels = draw_cell(3)[1].copy()
    labels[labels == ENVIRONMENT] = BACKGROUND
    labels[:, :175] = BACKGROUND  # so the nucleus lies against the background
    decoded = decode_pixels(ndimage.gaussian_filter(coded(labels, *codes).astype(float), blur).round().astype(np.uint8))
    assert decoded.repaired > 0
    same_within(decoded, labels)
    against = np.count_nonzero(region_mask(decoded.labels, "cytoplasm")[:, :177])
    assert against < 1.5 * np.count_nonzero(region_mask(labels, "cytoplasm")[:, :177]) + 10


def test_a_mask_saved_as_jpeg_is_read(drawn):
    for quality in (50, 75, 95):
        buffer = io.BytesIO()
        Image.fromarray(coded(drawn, 0, 128, 255)).save(buffer, "JPEG", quality=quality)
        same_within(decode_pixels(np.asarray(Image.open(buffer))), drawn, share=0.02)


def test_an_anti_aliased_edge_is_repaired_within_a_pixel():
    distance = distance_from_centre(120)
    smooth = np.clip(30.5 - distance, 0, 1) * 128 + np.clip(15.5 - distance, 0, 1) * 127
    decoded = decode_pixels(smooth.round().astype(np.uint8))
    assert 0 < decoded.repaired < 0.03 * distance.size
    np.testing.assert_array_equal(cell_mask(decoded.labels), distance < 30.5 - 64 / 128)
    np.testing.assert_array_equal(decoded.labels[distance < 14], NUCLEUS)


def test_an_edge_in_steps_through_a_code_gets_no_rim():
    """Drawn twice as large and reduced: half of white is 128, the code of cytoplasm."""
    large = np.where(distance_from_centre(240) < 80, 255, 0).astype(np.uint8)
    grey = large.reshape(120, 2, 120, 2).mean(axis=(1, 3)).round().astype(np.uint8)
    assert 128 in grey
    decoded = decode_pixels(grey)
    assert set(np.unique(decoded.labels)) == {BACKGROUND, NUCLEUS}
    assert np.count_nonzero(decoded.labels) == pytest.approx(np.pi * 40**2, rel=0.01)


# --- what does not say what it means ---


def test_one_level_that_is_no_code_is_refused(drawn):
    grey = np.where(drawn > 0, 155, 0).astype(np.uint8)
    with pytest.raises(MaskError, match=r"the one grey level 155.*--nucleus-mask.*--mask-coding"):
        decode_pixels(grey, "mask.png")
    np.testing.assert_array_equal(cell_mask(decode_pixels(grey, whole=True).labels), cell_mask(drawn))


@pytest.mark.parametrize("value", [1, 255, 65535])
def test_a_mask_of_black_and_white_is_a_nucleus_or_what_is_asked_for(drawn, value):
    grey = np.where(drawn > 0, value, 0).astype(np.uint16)
    np.testing.assert_array_equal(region_mask(decode_pixels(grey).labels, "nucleus"), drawn > 0)
    whole = decode_pixels(grey, whole=True).labels
    assert set(np.unique(whole)) == {BACKGROUND, CYTOPLASM}


@pytest.mark.parametrize(
    ("codes", "coding"),
    [
        ((0, 128, 255), "grey levels 0, 128 and 255"),
        ((0, 155, 255), "grey levels 0, 155 and 255"),
        ((0, 0, 255), "grey levels 0 and 255"),
        ((0, 0, 0), "grey level 0"),
    ],
)
def test_it_is_told_how_a_mask_is_drawn(drawn, codes, coding):
    assert decode_pixels(coded(drawn, *codes)).coding == coding


def test_numbers_of_cells_are_refused_with_their_levels():
    numbers = np.kron(np.arange(9).reshape(3, 3), np.ones((12, 12))).astype(np.uint16)
    with pytest.raises(MaskError, match=r"not a photograph|number several cells"):
        decode_pixels(numbers)
    with pytest.raises(MaskError, match=r"its levels are 6 \(33\.3%\), .*where they number several cells"):
        decode_pixels(np.minimum(numbers, 6))


def test_a_photograph_is_refused(synthetic_cell):
    rgb = synthetic_cell[0].rgb
    with pytest.raises(MaskError, match=r"cell\.png.*0, 128, 255 or 0, 85, 170, 255.*not a photograph"):
        decode_pixels(rgb[..., 0], "cell.png")
    with pytest.raises(MaskError, match=r"cell\.png.*colours.*not a photograph"):
        decode_pixels(rgb, "cell.png")


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4)), np.full((4, 4), -1)])
def test_only_whole_numbers_of_grey_or_colour_are_a_mask(pixels):
    with pytest.raises(MaskError, match=r"whole numbers from 0 on, grey with shape \(H, W\) or colour"):
        decode_pixels(pixels)


# --- colours ---

PALETTE = np.array([(0, 0, 0), (0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
CODING = MaskCoding("coding.json", {(0, 0, 0): "background", (255, 0, 0): "cytoplasm", (0, 0, 255): "nucleus"}, {})


def test_colours_are_refused_with_the_colours_named_and_the_line_to_write(drawn):
    with pytest.raises(MaskError) as refused:
        decode_pixels(in_a_large_picture(PALETTE[drawn]), "mask.png")
    for word in ("#000000 (9", "#ff0000 (", "#0000ff (", "--mask-coding", '"#000000": "background"', "mask.png"):
        assert word in str(refused.value)


def test_colours_with_a_coding_are_read_also_with_smoothed_edges(drawn):
    decoded = decode_pixels(PALETTE[drawn], coding=CODING)
    np.testing.assert_array_equal(decoded.labels, drawn)
    assert (decoded.repaired, decoded.notes) == (0, ("read by coding.json",))
    assert decoded.coding == "colours by coding.json"
    smooth = ndimage.gaussian_filter(PALETTE[drawn].astype(float), (1, 1, 0)).round().astype(np.uint8)
    decoded = decode_pixels(smooth, coding=CODING)
    assert decoded.repaired > 0
    same_within(decoded, drawn, share=0.02)


def test_a_colour_that_the_coding_lacks_is_named(drawn):
    pixels = PALETTE[drawn]
    pixels[:60, :60] = (0, 200, 0)
    with pytest.raises(MaskError, match=r"coding\.json does not say what #00c800 shows"):
        decode_pixels(pixels, coding=CODING)


def test_a_coding_gives_grey_levels_any_meaning(drawn):
    swapped = MaskCoding("c.json", {(0,): "background", (255,): "cytoplasm", (128, 128, 128): "nucleus"}, {})
    np.testing.assert_array_equal(decode_pixels(coded(drawn, 0, 255, 128), coding=swapped).labels, drawn)
    numbers = MaskCoding("c.json", {(0,): "background", (1,): "nucleus", (2,): "cytoplasm"}, {})
    np.testing.assert_array_equal(decode_pixels(coded(drawn, 0, 2, 1), coding=numbers).labels, drawn)
    with pytest.raises(MaskError, match=r"c\.json does not say what 0 shows"):
        decode_pixels(coded(drawn, 0, 2, 1), coding=MaskCoding("c.json", {(1,): "nucleus", (2,): "cytoplasm"}, {}))


def test_a_grey_mask_saved_in_colour_is_grey(drawn):
    grey = coded(drawn, 0, 128, 255)
    np.testing.assert_array_equal(decode_pixels(np.repeat(grey[..., None], 3, axis=2)).labels, drawn)


def test_what_is_transparent_is_background_whatever_its_value(drawn):
    for under in (0, 77, 255):
        grey = coded(drawn, under, 128, 255)
        np.testing.assert_array_equal(decode_pixels(grey, hidden=drawn == 0).labels, drawn)
    black = MaskCoding("c.json", {(0, 0, 0): "nucleus", (255, 0, 0): "cytoplasm"}, {})
    colours = np.array([(9, 9, 9), (0, 0, 0), (255, 0, 0), (0, 0, 0)], np.uint8)[drawn]
    np.testing.assert_array_equal(decode_pixels(colours, hidden=drawn == 0, coding=black).labels, drawn)


# --- real masks ---


@pytest.mark.data
@pytest.mark.parametrize("name", ["set1", "set2"])
def test_real_masks_decode_with_few_repairs(data_dir, name):
    repaired = {}
    for sample in data_set(name).samples(data_dir):
        decoded = read_mask(sample.mask)
        assert region_mask(decoded.labels, "nucleus").any()
        assert not region_mask(decoded.labels, "environment").any()
        if decoded.repaired:
            repaired[sample.sample_id] = decoded.repaired
    assert len(repaired) == {"set1": 0, "set2": 5}[name]  # known damage of the source
    assert all(count < 500 for count in repaired.values())


@pytest.mark.data
@pytest.mark.parametrize("codes", [(0, 127, 255), (0, 155, 255), (0, 1, 2)])
def test_real_masks_are_the_same_in_another_coding(data_dir, codes):
    for sample in data_set("set1").samples(data_dir)[::12] + data_set("set2").samples(data_dir)[::6]:
        labels = read_mask(sample.mask).labels
        np.testing.assert_array_equal(decode_pixels(coded(labels, *codes), sample.sample_id).labels, labels)
