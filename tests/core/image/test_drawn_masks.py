"""Files of drawn masks: every kind gives the same label map, or is refused with its cause."""

import io
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from core.domain.compartments import Compartment
from core.domain.errors import ImageError, MaskError
from core.domain.types import as_label_map
from core.exchange.qupath import _geometry
from core.image.drawn_masks import read_mask, without_specks
from core.image.mask_coding import MaskCoding
from core.image.mask_levels import DecodedMask
from core.image.masks import cell_mask, outlines, region_mask
from core.image.synthetic import draw_cell

BACKGROUND, ENVIRONMENT, CYTOPLASM, NUCLEUS = Compartment


@pytest.fixture(scope="module")
def drawn():
    labels = draw_cell(1)[1].copy()
    labels[labels == ENVIRONMENT] = BACKGROUND
    return as_label_map(labels[:340])


@pytest.fixture(scope="module")
def grey(drawn):
    return np.array([0, 0, 128, 255], np.uint8)[drawn]


def saved(folder, image, name="mask.png", **how):
    image.save(folder / name, **how)
    return folder / name


def palette(drawn, *colours):
    image = Image.fromarray(np.where(drawn > 0, drawn - 1, 0).astype(np.uint8))
    image = image.convert("P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def with_alpha(drawn, grey, under=255):
    """Transparent where nothing is drawn, as drawing programs save it: whatever lies there is not seen."""
    value = np.where(drawn > 0, grey, under).astype(np.uint8)
    return np.dstack([value, value, value, np.where(drawn > 0, 255, 0).astype(np.uint8)])


# --- pictures ---


def test_a_mask_is_the_same_in_every_picture_that_holds_its_levels(drawn, grey, tmp_path):
    whole = grey.astype(np.uint16)
    files = [
        saved(tmp_path, Image.fromarray(grey), "L.png"),
        saved(tmp_path, Image.fromarray(grey), "named.jpg", format="PNG"),
        saved(tmp_path, Image.fromarray(np.repeat(grey[..., None], 3, axis=2)), "RGB.png"),
        saved(tmp_path, Image.fromarray(grey), "L.bmp"),
        saved(tmp_path, Image.fromarray(grey), "L.tif", compression="tiff_lzw"),
        saved(tmp_path, Image.fromarray(257 * whole), "I16.png"),
        saved(tmp_path, Image.fromarray(whole), "I16.tif"),
        saved(tmp_path, palette(drawn, (0, 0, 0), (128, 128, 128), (255, 255, 255)), "P.png"),
        saved(tmp_path, Image.fromarray(with_alpha(drawn, grey)), "RGBA.png"),
        saved(tmp_path, Image.fromarray(with_alpha(drawn, grey, under=128)), "RGBA.tif"),
        saved(tmp_path, Image.fromarray(with_alpha(drawn, grey)[..., [0, 3]], "LA"), "LA.png"),
        saved(tmp_path, Image.fromarray((with_alpha(drawn, grey) // (1, 1, 1, 3)).astype(np.uint8)), "faint.png"),
    ]
    numbers = np.where(drawn > 0, drawn - 1, 0)
    for dtype in (np.int32, np.uint32, np.int64, np.int8, np.float32, np.float64):
        name, values = np.dtype(dtype).name, numbers.astype(dtype)
        files.append(tmp_path / f"{name}.tif")
        tifffile.imwrite(files[-1], values)
    tifffile.imwrite(tmp_path / "share.tif", (numbers / 2).astype(np.float32))
    for path in [*files, tmp_path / "share.tif"]:
        decoded = read_mask(path, drawn.shape)
        np.testing.assert_array_equal(decoded.labels, drawn, err_msg=path.name)
        assert decoded.repaired == 0, path.name


def test_a_transparent_entry_of_a_palette_is_background(drawn, tmp_path):
    path = saved(tmp_path, palette(drawn, (255, 255, 255), (128, 128, 128), (255, 255, 255)), transparency=0)
    np.testing.assert_array_equal(read_mask(path).labels, drawn)


def test_colours_of_a_palette_are_refused_and_read_with_a_coding(drawn, tmp_path):
    path = saved(tmp_path, palette(drawn, (0, 0, 0), (128, 0, 0), (0, 128, 0)))
    with pytest.raises(MaskError, match=r"#000000 \(.*#800000 \(|#008000 \("):
        read_mask(path)
    coding = MaskCoding("c.json", {(0,): "background", (128, 0, 0): "cytoplasm", (0, 128, 0): "nucleus"}, {})
    np.testing.assert_array_equal(read_mask(path, coding=coding).labels, drawn)


def test_what_is_wholly_transparent_or_holds_other_numbers_is_refused(drawn, grey, tmp_path):
    hidden = with_alpha(drawn, grey)
    hidden[..., 3] = 0
    with pytest.raises(MaskError, match="the whole picture is transparent"):
        read_mask(saved(tmp_path, Image.fromarray(hidden)))
    tifffile.imwrite(tmp_path / "values.tif", np.linspace(-1, 4, 400, dtype=np.float32).reshape(20, 20))
    with pytest.raises(MaskError, match=r"its values run from -1 to 4"):
        read_mask(tmp_path / "values.tif")


def test_a_tag_that_turns_the_mask_is_followed_and_told(drawn, grey, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(grey).transpose(Image.Transpose.ROTATE_90)
    decoded = read_mask(saved(tmp_path, stored, exif=exif), drawn.shape)
    np.testing.assert_array_equal(decoded.labels, drawn)
    assert decoded.notes == ("the mask was turned as its EXIF tag says",)


def test_of_several_pages_the_first_is_read_and_told(drawn, grey, tmp_path):
    path = saved(tmp_path, Image.fromarray(grey), "mask.tif", save_all=True, append_images=[Image.new("L", (9, 9))])
    assert read_mask(path).notes == ("page 1 of 2 of the mask used",)


def test_a_mask_of_another_size_is_refused_before_its_levels_are_looked_at(drawn, grey, tmp_path):
    path = saved(tmp_path, Image.fromarray(grey.T))
    with pytest.raises(MaskError, match=r"mask\.png: image and mask must agree in size.*rows and columns swapped"):
        read_mask(path, drawn.shape)


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "is empty"), (b"not a mask at all", "none of these, damaged"), (None, "readable mask")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, words):
    if content is not None:
        (tmp_path / "mask.png").write_bytes(content)
    with pytest.raises(ImageError, match=rf"mask\.png: expected .*{words}"):
        read_mask(tmp_path / "mask.png")


def test_a_mask_that_was_cut_short_or_is_too_large_is_refused(grey, tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(grey))
    monkeypatch.setenv("LEUKOSCOPE_MAX_PIXELS", "1000")
    with pytest.raises(ImageError, match="at most 1,000 pixels, but the mask has 360 x 340"):
        read_mask(path)
    monkeypatch.delenv("LEUKOSCOPE_MAX_PIXELS")
    monkeypatch.setenv("LEUKOSCOPE_MAX_BYTES", "100")
    with pytest.raises(ImageError, match="LEUKOSCOPE_MAX_BYTES"):
        read_mask(path)
    monkeypatch.delenv("LEUKOSCOPE_MAX_BYTES")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ImageError, match=r"mask\.png: expected a complete mask"):
        read_mask(path)


# --- black and white ---


def test_white_on_black_is_a_nucleus_and_says_that_no_cytoplasm_is_drawn(drawn, tmp_path):
    for mode, value in (("L", 255), ("1", 255), ("I;16", 1)):
        pixels = np.where(region_mask(drawn, "nucleus"), value, 0).astype(np.uint16 if mode == "I;16" else np.uint8)
        decoded = read_mask(
            saved(tmp_path, Image.fromarray(pixels) if mode != "1" else Image.fromarray(pixels).convert("1"))
        )
        np.testing.assert_array_equal(decoded.labels == NUCLEUS, region_mask(drawn, "nucleus"))
        assert "--nucleus-mask" in decoded.notes[-1]


@pytest.mark.parametrize(("cell_value", "nucleus_value"), [(255, 255), (1, 1), (155, 90)])
def test_a_cell_and_a_nucleus_of_their_own_are_laid_over_each_other(drawn, tmp_path, cell_value, nucleus_value):
    cell = saved(tmp_path, Image.fromarray(np.where(drawn > 0, cell_value, 0).astype(np.uint8)), "cell.png")
    inner = region_mask(drawn, "nucleus")
    nucleus = saved(tmp_path, Image.fromarray(np.where(inner, nucleus_value, 0).astype(np.uint8)), "nucleus.png")
    decoded = read_mask(cell, drawn.shape, nucleus=nucleus)
    np.testing.assert_array_equal(decoded.labels, drawn)
    assert decoded.notes == ("the nucleus was read from a mask of its own",)


def test_a_cell_in_colour_needs_no_coding_beside_its_nucleus(drawn, tmp_path):
    cell = saved(tmp_path, Image.fromarray(np.where(drawn[..., None] > 0, (0, 200, 0), 0).astype(np.uint8)), "cell.png")
    nucleus = saved(tmp_path, Image.fromarray(np.where(drawn == NUCLEUS, 255, 0).astype(np.uint8)), "nucleus.png")
    np.testing.assert_array_equal(read_mask(cell, nucleus=nucleus).labels, drawn)


def test_a_nucleus_outside_of_its_cell_is_refused_and_a_little_over_its_edge_told(drawn, tmp_path):
    cell = saved(tmp_path, Image.fromarray(np.where(drawn > 0, 255, 0).astype(np.uint8)), "cell.png")
    inner = region_mask(drawn, "nucleus")
    far = saved(tmp_path, Image.fromarray(np.where(np.roll(inner, 150, 1), 255, 0).astype(np.uint8)), "far.png")
    with pytest.raises(
        MaskError, match=r"far\.png: \d+ of \d+ pixels of the nucleus lie outside of the cell in cell\."
    ):
        read_mask(cell, nucleus=far)
    rows, columns = np.nonzero(drawn)
    over = inner.copy()
    over[rows[0] - 2 : rows[0], columns[0] - 1 : columns[0] + 2] = True
    path = saved(tmp_path, Image.fromarray(np.where(over, 255, 0).astype(np.uint8)), "over.png")
    assert "6 pixels of the nucleus lie beyond the cell and were added to it" in read_mask(cell, nucleus=path).notes


# --- shapes ---


def test_the_outlines_that_a_batch_writes_are_read_whatever_the_file_is_called(drawn, tmp_path):
    cell = {"type": "Feature", "properties": {"objectType": "cell", "classification": {"name": "Monocyte"}}}
    cell["geometry"], cell["nucleusGeometry"] = (_geometry(outlines(drawn, each)) for each in ("cell", "nucleus"))
    for name in ("cell.geojson", "cell.json", "cell.txt"):
        (tmp_path / name).write_text("\n " + json.dumps({"type": "FeatureCollection", "features": [cell]}))
        np.testing.assert_array_equal(read_mask(tmp_path / name, drawn.shape).labels, drawn)


# --- specks ---


def test_specks_are_left_out_and_told_and_large_pieces_stay(drawn):
    labels = drawn.copy()
    labels[2:5, 2:5], labels[330, 350], labels[320:336, 2:50] = NUCLEUS, CYTOPLASM, CYTOPLASM
    rows, columns = np.nonzero(region_mask(drawn, "cytoplasm"))
    inside = np.flatnonzero(
        [(drawn[r - 2 : r + 3, c - 2 : c + 3] == CYTOPLASM).all() for r, c in zip(rows, columns, strict=True)]
    )[0]
    labels[rows[inside], columns[inside]] = NUCLEUS
    found = without_specks(DecodedMask(as_label_map(labels), 3, ("read",)))
    expected = drawn.copy()
    expected[320:336, 2:50] = CYTOPLASM
    np.testing.assert_array_equal(found.labels, expected)
    assert (found.repaired, found.notes) == (3, ("read",))
    assert found.specks == "2 away from the cell (10 px) and 1 of nucleus in the cytoplasm (1 px)"


def test_a_mask_without_specks_stays_as_it_is(drawn):
    mask = DecodedMask(drawn, 0)
    assert without_specks(mask) is mask
    nothing = DecodedMask(as_label_map(np.zeros((9, 9), np.uint8)), 0)
    assert without_specks(nothing) is nothing
    assert cell_mask(mask.labels).any()


def test_a_smeared_mask_is_read_from_jpeg_too(drawn, grey, tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(grey).convert("RGB").save(buffer, "JPEG", quality=80)
    (tmp_path / "mask.jpg").write_bytes(buffer.getvalue())
    decoded = read_mask(tmp_path / "mask.jpg", drawn.shape)
    assert decoded.repaired > 0
    assert np.count_nonzero(decoded.labels != drawn) < 0.02 * np.count_nonzero(drawn)
