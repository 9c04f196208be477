from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core.datasets import data_set
from core.fields import find_cells
from core.imaging import load
from core.masks import region_mask
from core.stain import nuclear_stain
from core.synthetic import SYNTHETIC_CELLS, draw_cell
from core.types import CellImage


def as_field(rgb):
    return CellImage(rgb, "field.png", "0" * 64)


@pytest.fixture(scope="module")
def field_of_four():
    """Four drawn cells side by side, two rows of two, and the masks of their nuclei in the field."""
    drawn = [draw_cell(seed, SYNTHETIC_CELLS["hairy_cell"]) for seed in range(4)]
    rows = [np.concatenate([drawn[i][0].rgb, drawn[i + 1][0].rgb], axis=1) for i in (0, 2)]
    nuclei = []
    for i, (image, labels) in enumerate(drawn):
        height, width = image.shape
        mask = np.zeros((2 * height, 2 * width), bool)
        mask[(i // 2) * height :, (i % 2) * width :][:height, :width] = region_mask(labels, "nucleus")
        nuclei.append(mask)
    return as_field(np.concatenate(rows)), nuclei


def window(mask, place):
    return mask[place.top : place.top + place.height, place.left : place.left + place.width]


def test_every_cell_is_found_in_reading_order(field_of_four):
    field, nuclei = field_of_four
    found = find_cells(field)
    assert len(found) == 4
    for (cut, place), nucleus in zip(found, nuclei, strict=True):
        assert cut.shape == (place.height, place.width)
        np.testing.assert_array_equal(cut.rgb, field.rgb[place.top : place.top + place.height, place.left : place.left + place.width])
        assert window(nucleus, place).sum() == nucleus.sum()  # the whole nucleus
        rows, columns = np.nonzero(window(nucleus, place))
        assert np.allclose([rows.mean() / place.height, columns.mean() / place.width], 0.5, atol=0.08)


def test_a_cut_out_keeps_the_files_identity_and_says_what_it_is(field_of_four):
    field = field_of_four[0]
    cut, _ = find_cells(field)[0]
    assert (cut.name, cut.sha256, cut.um_per_px) == (field.name, field.sha256, field.um_per_px)
    assert cut.notes == ("cut out of a field",)


def test_platelets_are_no_cells(field_of_four):
    """A crumb of nuclear stain, a twentieth of a nucleus large."""
    rgb = field_of_four[0].rgb.copy()
    rgb[350:370, 350:370] = (64, 24, 116)
    assert len(find_cells(as_field(rgb))) == 4


@pytest.mark.parametrize("colour", [(255, 255, 255), (253, 229, 206), (0, 0, 0)])
def test_a_blank_field_has_no_cells(colour):
    assert find_cells(as_field(np.full((300, 400, 3), colour, np.uint8))) == []


@pytest.mark.data
def test_the_smear_has_five_hairy_cells(data_dir):
    (sample,) = data_set("hairy_cell_smear").samples(data_dir)
    field = load(sample.image)
    found = find_cells(field)
    assert len(found) == 5
    stained = nuclear_stain(field.rgb)
    # Their five nuclei are all the nuclear stain there is, and each lies in the middle of its own cut-out.
    for _, place in found:
        inner = window(stained, place)
        height, width = inner.shape
        assert inner[height // 4 : -height // 4, width // 4 : -width // 4].mean() > 0.3
    covered = np.zeros_like(stained)
    for _, place in found:
        window(covered, place)[:] = True
    assert stained[covered].sum() > 0.97 * stained.sum()


@pytest.mark.data
def test_a_large_field_gives_the_same_cells_in_bounded_work(data_dir):
    field = load(next((data_dir / "hairy_cell_smear").iterdir()))
    large = replace(field, rgb=np.asarray(Image.fromarray(field.rgb).resize((field.shape[1] * 3, field.shape[0] * 3))).copy())
    small_places, large_places = ([place for _, place in find_cells(image)] for image in (field, large))
    assert len(large_places) == len(small_places) == 5
    for small, big in zip(small_places, large_places, strict=True):
        assert abs(big.left + big.width / 2 - 3 * (small.left + small.width / 2)) < 15
        assert abs(big.top + big.height / 2 - 3 * (small.top + small.height / 2)) < 15
