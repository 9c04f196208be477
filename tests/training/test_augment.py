import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.errors import DataSetError
from core.domain.types import as_label_map
from core.evaluation.datasets import COPIES_MANIFEST, data_set
from core.image.imaging import load
from core.image.masks import cell_mask, with_environment
from tests.training.tiny import DUPLICATES, PER_TYPE
from training.__main__ import main
from training.augment import COPIES, copies, write_copies
from training.augmentation import LabelledImage
from training.data import load_labelled, masked_samples

CELL, GLASS = (60, 20, 120), (235, 225, 215)


def drawn(height, width, row, column, radius=20.0, notch=True):
    """A dark disc on glass with a nucleus in it; a notch to the right tells how it was turned."""
    y, x = np.mgrid[:height, :width]
    cell = np.hypot(y - row, x - column) <= radius
    if notch:
        cell &= ~((np.abs(y - row) < 0.25 * radius) & (x > column + 0.5 * radius))
    labels = np.where(cell, np.uint8(Compartment.CYTOPLASM), np.uint8(Compartment.BACKGROUND))
    labels[np.hypot(y - row, x - column + 0.4 * radius) <= 0.4 * radius] = Compartment.NUCLEUS
    rgb = np.where(cell_mask(as_label_map(labels))[..., None], np.uint8(CELL), np.uint8(GLASS))
    return LabelledImage("drawn/1", rgb, with_environment(as_label_map(labels)))


def dark(rgb):
    return rgb.mean(axis=2) < 128


def test_copy_0_is_the_original_and_right_angles_only_move_pixels():
    item = drawn(90, 110, 40, 60)
    made = list(copies(item))
    assert len(made) == COPIES
    for flipped in (0, 1):
        for quarter in range(4):
            copy = made[8 * flipped + 2 * quarter]
            rgb = np.rot90(item.rgb[:, ::-1] if flipped else item.rgb, quarter)
            labels = np.rot90(item.labels[:, ::-1] if flipped else item.labels, quarter)
            assert np.array_equal(copy.rgb, rgb)
            assert np.array_equal(cell_mask(copy.labels), labels >= Compartment.CYTOPLASM)


def test_copies_are_turned_by_45_degrees_each_and_the_flip_is_another_eight():
    def heading(labels):
        """Direction from the cell's middle to its nucleus, counter-clockwise from the right, in degrees."""
        nucleus = ndimage.center_of_mass(labels == Compartment.NUCLEUS)
        cell = ndimage.center_of_mass(labels >= Compartment.CYTOPLASM)
        return math.degrees(math.atan2(cell[0] - nucleus[0], nucleus[1] - cell[1]))

    made = [copy.labels for copy in copies(drawn(120, 120, 60, 60))]
    for turn in range(8):
        # The nucleus is on the left in the original, on the right in the flip.
        for first, start in ((0, 180), (8, 0)):
            assert (heading(made[first + turn]) - start - 45 * turn + 180) % 360 - 180 == pytest.approx(0, abs=3)


@pytest.mark.parametrize(
    ("height", "width", "row", "column"),
    [
        (100, 100, 50, 50),
        (100, 100, 22, 24),
        (100, 100, 77, 50),
        (60, 140, 30, 30),
        (140, 60, 115, 30),
        (44, 44, 22, 22),
    ],
)
def test_mask_follows_the_image_and_no_cell_is_lost_or_invented(height, width, row, column):
    item = drawn(height, width, row, column)
    area = cell_mask(item.labels).sum()
    for number, copy in enumerate(copies(item)):
        cell = cell_mask(copy.labels)
        assert copy.rgb.shape[:2] == copy.labels.shape
        assert cell.sum() == pytest.approx(area, rel=0.03), "a part of the cell was cut off"
        assert set(np.unique(copy.labels)) <= set(Compartment)
        # Whatever is dark is the cell, and the reverse; interpolation blurs a pixel of the edge.
        assert not (dark(copy.rgb) & ~ndimage.binary_dilation(cell, iterations=2)).any(), (
            f"copy {number} shows a cell the mask has not"
        )
        assert dark(copy.rgb)[ndimage.binary_erosion(cell, iterations=2)].all()
        assert ndimage.label(cell, np.ones((3, 3)))[1] == 1


def test_cell_cut_off_by_its_image_is_not_made_whole_and_does_not_run_out():
    item = drawn(80, 80, 40, 6, notch=False)
    area = cell_mask(item.labels).sum()
    for copy in copies(item):
        cell = cell_mask(copy.labels)
        assert cell.sum() == pytest.approx(area, rel=0.04)
        assert not (dark(copy.rgb) & ~ndimage.binary_dilation(cell, iterations=2)).any()


def test_what_is_filled_in_looks_like_the_background():
    item = drawn(60, 60, 30, 30, radius=28)
    for copy in list(copies(item))[1::2]:
        outside = ~ndimage.binary_dilation(cell_mask(copy.labels), iterations=2)
        assert np.abs(copy.rgb[outside].astype(int) - GLASS).max() <= 12


def test_canvas_keeps_its_size_where_the_cell_fits():
    assert {copy.labels.shape for copy in copies(drawn(100, 100, 30, 60))} == {(100, 100)}


def test_mask_without_a_cell_has_copies_too():
    item = LabelledImage("empty", np.full((30, 40, 3), 200, np.uint8), as_label_map(np.zeros((30, 40), np.uint8)))
    made = list(copies(item))
    assert len(made) == COPIES
    assert all((copy.labels == 0).all() and (copy.rgb == 200).all() for copy in made)


@pytest.fixture
def written(tiny_data, tmp_path, capsys):
    folder = tmp_path / "copies"
    assert main(["augment", "--data-sets", "set1", "--out", str(folder)]) == 0
    assert f"{2 * PER_TYPE['set1'] * COPIES} copies of {2 * PER_TYPE['set1']} images" in capsys.readouterr().out
    return folder


def test_manifest_remembers_the_original_of_every_file(written, samples):
    with (written / COPIES_MANIFEST).open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["image_id"] for row in rows} == {path.stem for path in (written / "images").iterdir()}
    assert {row["image_id"] for row in rows} == {path.stem for path in (written / "masks").iterdir()}
    by_original = {sample.sample_id: sample for sample in samples}
    for original, sample in by_original.items():
        mine = [row for row in rows if row["original"] == original]
        assert [int(row["copy"]) for row in mine] == list(range(COPIES))
        assert [int(row["degrees"]) for row in mine] == 2 * [45 * turn for turn in range(8)]
        assert [row["flipped"] for row in mine] == 8 * ["False"] + 8 * ["True"]
        assert {(row["group"], row["cell_type"]) for row in mine} == {(sample.group, sample.cell_type)}


def test_masks_on_disk_hold_the_published_codes_and_nothing_else(written):
    for path in (written / "masks").iterdir():
        assert set(np.unique(np.asarray(Image.open(path)))) == {0, 85, 170, 255}


def test_folder_of_copies_is_a_data_set_that_keeps_groups_together(written, samples):
    read = masked_samples((str(written),))
    assert len(read) == len(samples) * COPIES
    groups = {}
    for sample in read:
        groups.setdefault(sample.group, set()).add(sample.original)
    assert {frozenset(originals) for originals in groups.values() if len(originals) > 1} == {frozenset(DUPLICATES)}
    first = next(sample for sample in read if sample.copy == 0)
    original = next(sample for sample in samples if sample.sample_id == first.original)
    assert np.array_equal(load(first.image).rgb, load(original.image).rgb)
    assert np.array_equal(load_labelled(first)[0].labels, load_labelled(original)[0].labels)


def test_folder_with_something_in_it_is_left_alone(tmp_path, tiny_data, capsys):
    (tmp_path / "note.txt").write_text("mine")
    assert main(["augment", "--data-sets", "set1", "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_unfinished_copies_do_not_pass_as_images_of_their_own(written):
    (written / COPIES_MANIFEST).write_text(
        "".join((written / COPIES_MANIFEST).read_text().splitlines(keepends=True)[:-3])
    )
    with pytest.raises(DataSetError, match=r"copies\.csv has no row for these images"):
        data_set(str(written)).samples()


def test_copies_are_not_copied_again(written, tmp_path):
    with pytest.raises(
        DataSetError, match=r"256 images are copies already, first copies/set1-lymphocyte-0-00; name the data set"
    ):
        write_copies(masked_samples((str(written),)), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_two_images_of_one_written_name_are_refused(samples, tmp_path):
    one, two = (
        replace(sample, sample_id=name) for sample, name in zip(samples, ("mine/x/1-2", "mine/x-1/2"), strict=False)
    )
    with pytest.raises(DataSetError, match="1 images would be written under one name, first mine-x-1-2"):
        write_copies([one, two], tmp_path / "copies")


def test_nothing_is_written_before_all_pairs_are_known_to_fit(samples, tmp_path):
    wrong = replace(samples[-1], mask=samples[0].image)
    with pytest.raises(DataSetError, match="1 of 16 pairs cannot be used"):
        write_copies([*samples[:-1], wrong], tmp_path / "copies")
    assert not (tmp_path / "copies").exists()


def test_what_stops_the_writing_takes_back_what_was_written(samples, tmp_path):
    def stop(number):
        if number == 2:
            assert len(list((tmp_path / "copies" / "images").iterdir())) == 2 * COPIES
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_copies(samples, tmp_path / "copies", on_image=stop)
    assert not (tmp_path / "copies").exists()
