import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core.domain.cell_types import CellType
from core.domain.errors import DataSetError, MaskError
from core.evaluation.datasets import DATA_SETS, data_set, drawn_mask
from core.image.imaging import encode_png
from core.image.masks import outlines, with_environment
from core.image.synthetic import draw_cell


def test_every_data_set_states_source_and_terms():
    for name, entry in DATA_SETS.items():
        assert name == entry.name
        assert all([entry.title, entry.citation, entry.terms, entry.tissue, entry.scale_origin, entry.folder])


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(DataSetError, match=r"unknown data set 'set3'; known are set1, set2, bccd"):
        data_set("set3")


def test_a_missing_folder_names_the_source(tmp_path):
    with pytest.raises(
        DataSetError, match=r"set1: expected the folder wbc_zheng/set1 in LEUKOSCOPE_DATA.*Zheng et al\. 2018"
    ):
        data_set("set1").samples(tmp_path)


@pytest.fixture
def masked_folder(tmp_path):
    """A set of three images and masks laid out as set 1; the last two are duplicates of one another."""
    root = tmp_path / "wbc_zheng" / "set1"
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
        for stem in ("003", "001", "002"):
            Image.new("RGB" if part == "images" else "L", (32, 32)).save(root / part / f"{stem}.png")
    (root / "labels.csv").write_text(
        "image_id,cell_type,duplicate_group\n001,monocyte,\n002,lymphocyte,4\n003,lymphocyte,4\n"
    )
    return tmp_path


def test_masked_samples_come_in_pairs_sorted_and_duplicates_share_a_group(masked_folder):
    samples = data_set("set1").samples(masked_folder)
    assert [sample.sample_id for sample in samples] == ["set1/001", "set1/002", "set1/003"]
    assert all(sample.image.stem == sample.mask.stem for sample in samples)
    assert [sample.cell_type for sample in samples] == [CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.LYMPHOCYTE]
    assert samples[0].group != samples[1].group == samples[2].group


@pytest.mark.parametrize(("part", "other"), [("images", "masks"), ("masks", "images")])
def test_an_image_without_its_mask_is_named(masked_folder, part, other):
    (masked_folder / "wbc_zheng" / "set1" / part / "002.png").unlink()
    with pytest.raises(DataSetError, match=rf"but 1 of {other}/ stand without one in {part}/: 002$"):
        data_set("set1").samples(masked_folder)


def test_pairs_that_differ_in_name_are_named_on_both_sides(tmp_path):
    folder = write_pairs(tmp_path / "mine", *"abcdef")
    for path in (folder / "masks").iterdir():
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    wanted = (
        r"6 of images/ stand without one in masks/: a, b, c, d, e \.\.\.; 6 of masks/ stand .*: a_mask, b_mask, .*"
        r" \.\.\.$"
    )
    with pytest.raises(DataSetError, match=wanted):
        data_set(str(folder)).samples()


def test_an_image_that_the_table_lacks_is_named(masked_folder):
    table = masked_folder / "wbc_zheng" / "set1" / "labels.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DataSetError, match=r"labels\.csv has no row for these images: \['003'\]"):
        data_set("set1").samples(masked_folder)


def write_pairs(folder, *stems, suffix=".png"):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            ending = suffix if part == "images" else ".png"
            Image.new("RGB" if part == "images" else "L", (32, 32)).save(folder / part / f"{stem}{ending}")
    return folder


def test_a_plain_folder_of_pairs_is_a_data_set_of_its_own_name(tmp_path):
    folder = write_pairs(tmp_path / "mine", "b", "a", suffix=".jpg")
    (folder / "images" / "Thumbs.db").write_bytes(b"not an image")
    (folder / "masks" / "._a.png").write_bytes(b"not an image")
    entry = data_set(str(folder))
    samples = entry.samples()
    assert entry.name == "mine"
    assert [sample.sample_id for sample in samples] == ["mine/a", "mine/b"]
    assert [(sample.image.name, sample.mask.name) for sample in samples] == [("a.jpg", "a.png"), ("b.jpg", "b.png")]
    assert {sample.cell_type for sample in samples} == {CellType.OTHER}
    assert len({sample.group for sample in samples}) == 2


def test_labels_beside_the_pairs_give_types_and_duplicates(tmp_path):
    folder = write_pairs(tmp_path / "mine", "a", "b", "c")
    (folder / "labels.csv").write_text("image_id,cell_type,duplicate_group\na,monocyte,1\nb,monocyte,1\nc,hcl,\n")
    samples = data_set(str(folder)).samples()
    assert [sample.cell_type for sample in samples] == [CellType.MONOCYTE, CellType.MONOCYTE, CellType.HCL]
    assert samples[0].group == samples[1].group != samples[2].group
    (folder / "labels.csv").write_text("image_id,cell_type\na,monocyte\nb,monocyte\nc,hcl\n")
    assert len({sample.group for sample in data_set(str(folder)).samples()}) == 3


def test_a_folder_of_pairs_per_cell_type_names_the_types(tmp_path):
    write_pairs(tmp_path / "mine" / "Hairy cells", "1")
    write_pairs(tmp_path / "mine" / "lymphocyte", "1", "2")
    (tmp_path / "mine" / "notes").mkdir()
    samples = data_set(str(tmp_path / "mine")).samples()
    found = {sample.sample_id: sample.cell_type for sample in samples}
    assert found == {
        "mine/Hairy cells/1": CellType.HCL,
        "mine/lymphocyte/1": CellType.LYMPHOCYTE,
        "mine/lymphocyte/2": CellType.LYMPHOCYTE,
    }
    assert len({sample.group for sample in samples}) == 3


@pytest.mark.parametrize("part", ["images", "masks"])
def test_pairs_of_a_folder_are_checked_both_ways(tmp_path, part):
    folder = write_pairs(tmp_path / "mine" / "monocyte", "a", "b")
    (folder / part / "b.png").unlink()
    with pytest.raises(DataSetError, match=r"mine/monocyte: every image needs a mask .* one in \w+/: b$"):
        data_set(str(tmp_path / "mine")).samples()


def test_what_has_no_partner_is_left_out_and_listed_where_that_is_asked_for(tmp_path, masked_folder):
    folder = write_pairs(tmp_path / "mine" / "monocyte", "a", "b", "c")
    (folder / "masks" / "b.png").unlink()
    (folder / "images" / "c.png").unlink()
    lone = []
    assert [sample.sample_id for sample in data_set(str(tmp_path / "mine"), lone).samples()] == ["mine/monocyte/a"]
    assert lone == [folder / "images" / "b.png", folder / "masks" / "c.png"]
    (masked_folder / "wbc_zheng" / "set1" / "masks" / "002.png").unlink()
    assert len(data_set("set1", lone).samples(masked_folder)) == 2
    assert lone[-1].name == "002.png"


def test_two_images_of_one_name_are_refused(tmp_path):
    folder = write_pairs(tmp_path / "mine", "a")
    Image.new("RGB", (32, 32)).save(folder / "images" / "a.jpg")
    with pytest.raises(DataSetError, match=r"images/ holds both a\.jpg and a\.png"):
        data_set(str(folder)).samples()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "file,cell_type\na,monocyte\n",
            "needs the columns image_id,cell_type, with commas between, but has no image_id",
        ),
        ("image_id;cell_type\na;monocyte\n", "has no image_id, cell_type"),
        ("image_id,cell_type\na,Monozyt\n", r"names the cell types \['Monozyt'\]; known are monocyte, lymphocyte"),
        ("image_id,cell_type\n", r"has no row for these images: \['a'\]"),
    ],
)
def test_labels_that_cannot_be_read_are_told_in_words(tmp_path, table, message):
    folder = write_pairs(tmp_path / "mine", "a")
    (folder / "labels.csv").write_text(table)
    with pytest.raises(DataSetError, match=rf"mine: labels\.csv .*{message}"):
        data_set(str(folder)).samples()


def test_labels_saved_by_a_spreadsheet_are_read(tmp_path):
    folder = write_pairs(tmp_path / "mine", "a")
    (folder / "labels.csv").write_text("image_id,cell_type\r\na,monocyte\r\n", encoding="utf-8-sig")
    assert [sample.cell_type for sample in data_set(str(folder)).samples()] == [CellType.MONOCYTE]


def test_a_folder_without_an_image_is_none(tmp_path):
    with pytest.raises(DataSetError, match=r"mine: .*mine holds no image; expected \.png"):
        data_set(str(write_pairs(tmp_path / "mine"))).samples()


def test_a_folder_of_a_type_without_its_masks_is_not_passed_over(tmp_path):
    write_pairs(tmp_path / "mine" / "monocyte", "a")
    (tmp_path / "mine" / "lymphocyte" / "images").mkdir(parents=True)
    with pytest.raises(DataSetError, match=r"mine: .*lymphocyte holds images/ alone; expected images/ and masks/"):
        data_set(str(tmp_path / "mine")).samples()


def test_a_folder_of_anything_else_is_told_what_was_expected(tmp_path):
    with pytest.raises(
        DataSetError, match="expected images/ and masks/ with files of equal names, or one folder per cell type"
    ):
        data_set(str(tmp_path)).samples()


def test_apl_is_promyelocyte_or_blast_of_a_patient_with_apl(tmp_path):
    (tmp_path / "deepapl").mkdir()
    (tmp_path / "deepapl" / "manifest.csv").write_text(
        "path,cell_class,patient_id,diagnosis\na.jpg,blast,P1,APL\nb.jpg,blast,P2,AML\nc.jpg,promyelocyte,P1,APL\nd.jpg,lymphocyte,P1,APL\n"
    )
    samples = data_set("deepapl").samples(tmp_path)
    assert [sample.cell_type for sample in samples] == [CellType.APL, CellType.BLAST, CellType.APL, CellType.LYMPHOCYTE]
    assert [sample.patient_id for sample in samples] == ["P1", "P2", "P1", "P1"]
    assert samples[0].group == samples[2].group == samples[3].group != samples[1].group


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("set1", 242),
        ("set2", 80),
        ("acevedo", 2742),
        ("deepapl", 1997),
        ("hairy_cell_marrow", 12),
        ("hairy_cell_smear", 1),
    ],
)
def test_the_real_data_sets_are_complete(data_dir, name, count):
    samples = data_set(name).samples(data_dir)
    assert len(samples) == len({sample.sample_id for sample in samples}) == count
    assert all(sample.image.is_file() and (sample.mask is None or sample.mask.is_file()) for sample in samples)


@pytest.mark.data
def test_what_the_reference_cohort_is_made_of(data_dir):
    kinds = Counter(sample.cell_type for sample in data_set("acevedo").samples(data_dir))
    assert (kinds[CellType.LYMPHOCYTE], kinds[CellType.MONOCYTE], kinds[CellType.PROMYELOCYTE]) == (1000, 1000, 592)
    deepapl = data_set("deepapl").samples(data_dir)
    assert len({sample.patient_id for sample in deepapl}) == 80
    assert all(sample.diagnosis == "APL" for sample in deepapl if sample.cell_type is CellType.APL)
    groups = Counter(sample.group for sample in data_set("set1").samples(data_dir))
    assert sorted(groups.values())[-4:] == [1, 2, 2, 2]  # three pairs of duplicates


# --- drawn masks ---


def test_masks_of_a_folder_may_be_shapes_or_colours_that_a_file_explains(tmp_path):
    image, labels = draw_cell(1)
    folder = tmp_path / "mine"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for stem in ("colours", "shapes"):
        (folder / "images" / f"{stem}.png").write_bytes(encode_png(image.rgb))
    colours = np.array([(0, 0, 0), (0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)[labels]
    (folder / "masks" / "colours.png").write_bytes(encode_png(colours))
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "MultiPolygon", "coordinates": [[ring.tolist()] for ring in outlines(labels, region)]},
            "properties": {"classification": {"name": region}},
        }
        for region in ("cell", "nucleus")
    ]
    (folder / "masks" / "shapes.geojson").write_text(json.dumps(features))
    of_colours, of_shapes = data_set(str(folder)).samples()
    np.testing.assert_array_equal(with_environment(drawn_mask(of_shapes).labels), labels)
    with pytest.raises(MaskError, match=r"mine/colours: .*#ff0000.*mask_coding\.json"):
        drawn_mask(of_colours)
    coding = {"#000000": "background", "#ff0000": "cytoplasm", "#0000ff": "nucleus"}
    (folder / "mask_coding.json").write_text(json.dumps(coding))
    np.testing.assert_array_equal(with_environment(drawn_mask(of_colours, image.shape).labels), labels)
    with pytest.raises(DataSetError, match="mine/colours has no drawn mask"):
        drawn_mask(replace(of_colours, mask=None))


@pytest.mark.data
def test_fields_of_bccd_are_grouped_by_ranges_and_have_masks(data_dir):
    samples = data_set("bccd").samples()
    assert len(samples) == 252
    assert all(sample.mask.is_file() and sample.image.is_file() for sample in samples)
    ranges = {sample.sample_id: sample.group for sample in samples}
    assert ranges["bccd/BloodImage_00000"] == ranges["bccd/BloodImage_00024"] != ranges["bccd/BloodImage_00026"]
    assert Counter(sample.cell_type for sample in samples)[CellType.NEUTROPHIL] > 130


@pytest.mark.data
def test_boxed_images_are_grouped_by_slide_or_original(data_dir):
    samples = data_set("txl_pbc").samples()
    assert Counter(sample.sample_id.split("/")[1] for sample in samples) == {
        "PBC": 463, "Raabin-WBC": 306, "BCCD": 88, "BCDD": 52,
    }  # fmt: skip
    slides = {sample.group for sample in samples if sample.group.startswith("txl_pbc/Raabin-WBC/")}
    assert len(slides) == 22
