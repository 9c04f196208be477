"""`leukoscope segment`, `analyse` and `features`, run in this process: exit code, files and standard output."""

import json
import re
import shutil
import struct
import zlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from core.cli.images import result_names
from core.domain.compartments import Compartment
from core.domain.settings import load_settings
from core.evaluation.metrics import overlap
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.imaging import encode_png, load
from core.image.masks import encode_grey, region_mask
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.store import queries
from core.store.database import Cohort
from tests.core.cli.support import fails_as_wrong_use, run, save_cell
from tests.models import OTHER_MODEL
from tests.pdf import page_sizes

LEVELS = {0, 85, 170, 255}


# --- segment ---


def test_segment_writes_one_mask_per_image(cells, tmp_path, capsys):
    code, out, err = run(capsys, "segment", cells, "--out", tmp_path / "out")
    assert (code, out) == (0, "")
    assert "3/3 images" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "hairy_cell.png",
        "lymphocyte.png",
        "monocyte.png",
    ]
    for seed, drawing in enumerate(SYNTHETIC_CELLS):
        with Image.open(tmp_path / "out" / f"{drawing}.png") as mask:
            assert (mask.mode, mask.size) == ("L", (360, 360))
            levels = np.asarray(mask)
        assert set(np.unique(levels)) == LEVELS
        _, true = draw_cell(seed, SYNTHETIC_CELLS[drawing])
        assert overlap(levels == 255, region_mask(true, "nucleus")).dice > 0.95


def test_segment_draws_outlines_when_asked(cells, tmp_path, capsys):
    assert run(capsys, "segment", cells / "monocyte.png", "--out", tmp_path, "--overlay")[0] == 0
    with Image.open(tmp_path / "overlays" / "monocyte.png") as picture:
        assert picture.mode == "RGB"
        assert not np.array_equal(np.asarray(picture.resize((360, 360))), load(cells / "monocyte.png").rgb)


def test_a_bad_file_among_good_ones_is_named_and_the_others_written(cells, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_text("not an image")
    code, out, err = run(
        capsys, "segment", cells / "monocyte.png", bad, cells / "lymphocyte.png", "--out", tmp_path / "out", "--json"
    )
    assert code == 1
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert written == [f"{cells.name}/lymphocyte.png", f"{cells.name}/monocyte.png"]
    result = json.loads(out)
    assert list(result["failed"]) == [str(bad)]
    assert "holds plain text" in result["failed"][str(bad)]
    assert f"failed: {bad}: bad.png: expected" in err


def test_results_keep_the_sub_folders_and_two_images_of_one_stem_their_endings(tmp_path, capsys):
    for seed, name in enumerate(["p1/1.png", "p2/1.png", "p2/1.bmp"]):
        save_cell(tmp_path / "in" / name, seed)
    code, out, _ = run(capsys, "segment", tmp_path / "in", "--out", tmp_path / "out", "--overlay", "--json")
    assert code == 0
    told = {image["image_path"]: image["mask"] for image in json.loads(out)["images"]}
    assert told == {"p1/1.png": "p1/1.png", "p2/1.bmp": "p2/1.bmp.png", "p2/1.png": "p2/1.png.png"}
    for name, mask in told.items():
        levels = np.asarray(Image.open(tmp_path / "out" / mask))
        alone = tmp_path / "alone" / mask
        assert run(capsys, "segment", tmp_path / "in" / name, "--out", alone)[0] == 0
        np.testing.assert_array_equal(levels, np.asarray(Image.open(alone / "1.png")))
        assert (tmp_path / "out" / "overlays" / mask).is_file()


@pytest.mark.parametrize(
    ("names", "results"),
    [
        (["a.png", "b.tif", "p/a.tif"], ["a.png", "b.png", "p/a.png"]),
        (["a.png", "a.tif", "b.tif"], ["a.png.png", "a.tif.png", "b.png"]),
        (["a.png", "a.tif", "a.png.bmp"], ["a.png.png", "a.tif.png", "a.png.bmp.png"]),
    ],
)
def test_no_two_images_share_a_result(names, results):
    assert result_names(names) == results


def test_a_folder_that_is_called_as_those_of_results_is_refused_before_anything_is_measured(tmp_path, capsys):
    save_cell(tmp_path / "in" / "overlays" / "1.png")
    save_cell(tmp_path / "in" / "1.png")
    code, _, err = run(capsys, "segment", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 2
    assert "must not be called instances or overlays" in err
    assert not list((tmp_path / "out").iterdir())


def test_two_processes_write_the_same(cells, tmp_path, capsys):
    assert run(capsys, "segment", cells, "--out", tmp_path / "one")[0] == 0
    assert run(capsys, "segment", cells, "--out", tmp_path / "two", "--jobs", 2)[0] == 0
    for path in (tmp_path / "one").iterdir():
        difference = load(path).rgb != load(tmp_path / "two" / path.name).rgb
        assert np.count_nonzero(difference.any(axis=2)) <= 5


# --- features of a drawn mask ---


@pytest.fixture
def drawn(tmp_path):
    """An image with its drawn mask in both codings."""
    image, labels = draw_cell(4)
    Image.fromarray(image.rgb).save(tmp_path / "cell.png")
    Image.fromarray(encode_grey(labels)).save(tmp_path / "four.png")
    Image.fromarray(np.array([0, 0, 128, 255], np.uint8)[labels]).save(tmp_path / "three.png")
    return tmp_path, image, labels


def features_of(capsys, folder, mask, *more):
    code, out, _ = run(capsys, "features", "--image", folder / "cell.png", "--mask", folder / mask, "--json", *more)
    assert code == 0
    return json.loads(out)


@pytest.mark.parametrize("mask", ["four.png", "three.png"])
def test_features_are_those_of_the_engine_in_either_coding(drawn, capsys, mask):
    folder, image, labels = drawn
    result = features_of(capsys, folder, mask)
    expected = extract(image.rgb, labels)
    assert {"features", "absent", "quality_flags", "quality_ok", "notes", "repaired", "um_per_px"} <= set(result)
    assert (result["quality_flags"], result["quality_ok"], result["repaired"]) == ([], True, 0)
    assert result["notes"] == []
    assert list(result["features"]) == list(CATALOGUE)
    assert result["features"] == expected.values
    assert result["absent"] == expected.absent


def test_pyradiomics_itself_gives_the_same(drawn, capsys):
    folder, _, _ = drawn
    fast, reference = (
        features_of(capsys, folder, "four.png", "--feature-engine", name) for name in ("fast", "reference")
    )
    assert reference["absent"] == fast["absent"]
    for name, value in fast["features"].items():
        assert value is None or reference["features"][name] == pytest.approx(value, rel=1e-9)


def test_an_absent_feature_is_null_with_a_reason(drawn, capsys):
    folder, _, labels = drawn
    Image.fromarray(np.where(labels == 3, 255, 0).astype(np.uint8)).save(folder / "nucleus.png")
    result = features_of(capsys, folder, "nucleus.png")
    nulls = {name for name, value in result["features"].items() if value is None}
    assert nulls == set(result["absent"])
    assert all(name.startswith(("cytoplasm", "combined", "cell_projections")) for name in nulls)
    assert result["absent"]["combined_PixelSurface"] == "no cytoplasm was found"


def test_a_scale_turns_sizes_into_micrometres(drawn, capsys):
    folder, _, _ = drawn
    pixels, microns = (
        features_of(capsys, folder, "four.png", *scale)["features"] for scale in ([], ["--um-per-px", "0.5"])
    )
    for name, power in [
        ("nucleus_shape2D_Perimeter", 1),
        ("cell_shape2D_PixelSurface", 2),
        ("combined_PixelSurface", 0),
    ]:
        assert microns[name] == pytest.approx(pixels[name] * 0.5**power)
    result = features_of(capsys, folder, "four.png", "--um-per-px", "0.5")
    assert (result["um_per_px"], result["units"]["nucleus_shape2D_PixelSurface"]) == (0.5, "µm²")


def test_features_for_people_have_units(drawn, capsys):
    folder, _, _ = drawn
    code, out, _ = run(capsys, "features", "--image", folder / "cell.png", "--mask", folder / "four.png")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert list(lines) == list(CATALOGUE)
    assert lines["nucleus_shape2D_PixelSurface"].endswith(" px²")


def test_a_mask_without_environment_gets_the_usual_ring_and_a_drawn_one_is_kept(drawn, capsys):
    folder, _, labels = drawn
    assert features_of(capsys, folder, "three.png") == features_of(capsys, folder, "four.png")
    half = np.where(
        (labels == Compartment.ENVIRONMENT) & (np.arange(labels.shape[1]) < labels.shape[1] // 2), 0, labels
    )
    Image.fromarray(encode_grey(half.astype(np.uint8))).save(folder / "half.png")
    environment = "environment_firstorder_Mean"
    assert (
        features_of(capsys, folder, "half.png")["features"][environment]
        != features_of(capsys, folder, "four.png")["features"][environment]
    )


def test_repaired_mask_pixels_are_told(drawn, capsys):
    folder, _, labels = drawn
    stray = encode_grey(labels).copy()
    stray[0, :7] = 3
    Image.fromarray(stray).save(folder / "stray.png")
    code, _, err = run(capsys, "features", "--image", folder / "cell.png", "--mask", folder / "stray.png")
    assert code == 0
    assert "stray.png: 7 pixels held a value of no code" in err


@pytest.mark.parametrize(
    ("mask", "words"), [("cell.png", "not a photograph"), ("small.png", "agree in size"), ("gone.png", "gone.png")]
)
def test_a_mask_that_does_not_fit_is_an_error_in_words(drawn, capsys, mask, words):
    folder, _, labels = drawn
    Image.fromarray(encode_grey(labels)[:100, :100]).save(folder / "small.png")
    code, out, err = run(capsys, "features", "--image", folder / "cell.png", "--mask", folder / mask)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert words in err


def test_a_whole_cell_with_its_nucleus_and_colours_with_their_coding_give_the_same(drawn, capsys):
    folder, _, labels = drawn
    expected = features_of(capsys, folder, "three.png")
    Image.fromarray(np.where(labels >= Compartment.CYTOPLASM, 255, 0).astype(np.uint8)).save(folder / "whole.png")
    Image.fromarray(np.where(labels == Compartment.NUCLEUS, 255, 0).astype(np.uint8)).save(folder / "nucleus.png")
    result = features_of(capsys, folder, "whole.png", "--nucleus-mask", folder / "nucleus.png")
    assert result["features"] == expected["features"]
    assert result["notes"] == ["the nucleus was read from a mask of its own"]
    colours = np.array([(0, 0, 0), (0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)[labels]
    Image.fromarray(colours).save(folder / "colours.png")
    (folder / "coding.json").write_text('{"#000000": "background", "#ff0000": "cytoplasm", "#0000ff": "nucleus"}')
    result = features_of(capsys, folder, "colours.png", "--mask-coding", folder / "coding.json")
    assert result["features"] == expected["features"]
    code, out, err = run(capsys, "features", "--image", folder / "cell.png", "--mask", folder / "colours.png")
    assert (code, out) == (1, "")
    assert all(word in err for word in ("#ff0000", "#0000ff", "--mask-coding"))


def test_flags_and_notes_are_told_to_programs_and_to_people(drawn, capsys):
    folder, _, labels = drawn
    swapped = np.array([0, 0, 250, 120], np.uint8)[labels]
    swapped[3:6, 3:6] = 250
    Image.fromarray(swapped).save(folder / "swapped.png")
    result = features_of(capsys, folder, "swapped.png")
    assert (result["quality_flags"], result["severe_flags"]) == (["swapped_mask", "specks"], ["swapped_mask"])
    assert not result["quality_ok"]
    assert set(result["flag_messages"]) == {"swapped_mask", "specks"}
    assert result["notes"] == ["its levels 0, 120 and 250 were read as background, cytoplasm and nucleus"]
    code, _, err = run(capsys, "features", "--image", folder / "cell.png", "--mask", folder / "swapped.png")
    assert code == 0
    assert "note: its levels 0, 120 and 250 were read" in err
    assert "swapped_mask: The regions of the drawn mask are swapped" in err


def test_a_speck_far_off_changes_no_diameter_and_is_told(drawn, capsys):
    folder, _, labels = drawn
    grey = encode_grey(labels).copy()
    grey[1:4, 1:4] = 255
    Image.fromarray(grey).save(folder / "speck.png")
    result, expected = (features_of(capsys, folder, name) for name in ("speck.png", "four.png"))
    assert result["features"] == expected["features"]
    assert (result["quality_flags"], result["quality_ok"]) == (["specks"], True)


def test_an_image_that_its_file_turns_and_a_mask_that_is_not_turned_are_told(drawn, capsys):
    folder, image, labels = drawn
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image.rgb).save(folder / "cell.png", exif=exif)
    result = features_of(capsys, folder, "four.png")
    assert "misplaced_mask" in result["severe_flags"]
    assert "turned by a quarter to the right" in result["flag_messages"]["misplaced_mask"]
    assert any("EXIF orientation 6" in note for note in result["notes"])
    Image.fromarray(encode_grey(labels)).save(folder / "turned.png", exif=exif)
    result = features_of(capsys, folder, "turned.png")
    assert result["quality_ok"]
    assert result["features"]["nucleus_shape2D_PixelSurface"] == np.count_nonzero(labels == Compartment.NUCLEUS)


@pytest.fixture
def cases():
    """Masks from other people's worlds beside the real images, if they are there."""
    folder = load_settings().data.parent / "cases" / "masks"
    if not folder.is_dir():
        pytest.skip("the collected masks are not there")
    return folder


@pytest.mark.parametrize("mask", ["m_127.png", "m_rgba_transparent_bg.png", "m_antialias.png"])
def test_collected_masks_of_other_codings_are_read_as_the_plain_one(cases, capsys, mask):
    def areas(name):
        code, out, _ = run(capsys, "features", "--image", cases / "img.png", "--mask", cases / name, "--json")
        assert code == 0
        return json.loads(out)

    expected, found = areas("m_base.png"), areas(mask)
    for name in ("nucleus_shape2D_PixelSurface", "cell_shape2D_PixelSurface", "combined_PixelSurface"):
        assert found["features"][name] == pytest.approx(expected["features"][name], rel=0.01)
    assert found["quality_ok"]


@pytest.mark.parametrize(
    ("image", "mask", "flag"),
    [
        ("img.png", "m_swapped.png", "swapped_mask"),
        ("img.png", "s_shift60.png", "misplaced_mask"),
        ("two.png", "t_two.png", "several_drawn"),
        ("../images/sq_exif6.jpg", "m_base.png", "misplaced_mask"),
    ],
)
def test_collected_masks_that_do_not_fit_are_flagged(cases, capsys, image, mask, flag):
    code, out, _ = run(capsys, "features", "--image", cases / image, "--mask", cases / mask, "--json")
    assert code == 0
    assert flag in json.loads(out)["severe_flags"]


# --- analyse ---


def test_analyse_writes_a_row_per_cell(cells, tmp_path, capsys):
    out = tmp_path / "out"
    code, text, _ = run(capsys, "analyse", cells, "--out", out, "--um-per-px", "0.095", "--json")
    assert code == 0
    told = json.loads(text)
    images = told.pop("images")
    assert told == {"out": str(out), "cells": 3, "model_notes": [], "stain": None, "failed": {}, "passed_over": {}}
    assert [image["image_path"] for image in images] == sorted(path.name for path in cells.iterdir())
    assert {(image["cells"], len(image["flags"]), len(image["notes"])) for image in images} == {(1, 0, 0)}
    table = pd.read_parquet(out / "features.parquet")
    assert len(table) == 3
    assert {"image_path", "image_sha256", "cell_index", "um_per_px", "quality_flags", "quality_ok", *CATALOGUE} <= set(
        table
    )
    assert table["image_path"].tolist() == sorted(path.name for path in cells.iterdir())
    assert table["image_sha256"].tolist() == [load(path).sha256 for path in sorted(cells.iterdir())]
    assert table["quality_ok"].all()
    assert set(table["cell_index"]) == {0}
    # The numbers are those of the masks written beside them.
    for path, row in zip(sorted(cells.iterdir()), table.to_dict("records"), strict=True):
        levels = np.asarray(Image.open(out / "masks" / path.name))
        assert row["nucleus_shape2D_PixelSurface"] == np.count_nonzero(levels == 255)
    assert pq.read_schema(out / "features.parquet").field("nucleus_shape2D_Perimeter").metadata[b"unit"] == b"px"
    assert len(pd.read_csv(out / "features.csv")) == 3
    assert pd.read_csv(out / "errors.csv").empty


@pytest.mark.parametrize(("options", "size"), [((), (210, 297)), (("--paper", "letter"), (216, 279))])
def test_analyse_writes_a_page_about_each_cell_as_pdf(cells, tmp_path, capsys, options, size):
    run(capsys, "analyse", cells, "--out", tmp_path / "out", "--um-per-px", "0.095", "--report", "pdf", *options)
    made = sorted((tmp_path / "out" / "reports").iterdir())
    assert [path.name for path in made] == sorted(f"{path.stem}.pdf" for path in cells.iterdir())
    for path in made:
        assert page_sizes(path.read_bytes()) == [size]


def test_a_field_has_one_report_with_a_page_for_each_cell(tmp_path, capsys):
    rows = [np.concatenate([draw_cell(seed)[0].rgb for seed in seeds], axis=1) for seeds in ((0, 1), (2, 3))]
    (tmp_path / "field.png").write_bytes(encode_png(np.concatenate(rows)))
    run(capsys, "analyse", tmp_path / "field.png", "--out", tmp_path / "out", "--cells", "all", "--report", "html")
    text = (tmp_path / "out" / "reports" / "field.html").read_text(encoding="utf-8")
    assert text.count('<article class="page"') == 4
    assert "field.png, cell 4" in text
    assert re.search("Nearest in shape|Unlike every population|No nearest population", text)


def test_no_report_is_written_where_none_is_asked_for(cells, tmp_path, capsys):
    run(capsys, "analyse", next(cells.iterdir()), "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "reports").exists()


def test_what_analyse_writes_import_table_reads_whole(tmp_path, capsys, monkeypatch):
    save_cell(tmp_path / "in" / "p1" / "1.png", 0)
    Image.fromarray(draw_cell(1)[0].rgb).convert("L").save(tmp_path / "in" / "1.png")
    (tmp_path / "in" / "p1" / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "in" / "p1" / "deep")
    assert run(capsys, "analyse", "../..", "--out", tmp_path / "out", "--units", "um")[0] == 2
    code, text, _ = run(
        capsys, "analyse", "../..", "--out", tmp_path / "out", "--um-per-px", "0.1", "--units", "um", "--json"
    )
    assert code == 0
    told = {image["image_path"]: image for image in json.loads(text)["images"]}
    assert set(told) == {"1.png", "p1/1.png"}
    assert told["1.png"]["notes"] == ["grey image, no colour"]
    assert "unlike_training" in told["1.png"]["flags"]
    table = pd.read_parquet(tmp_path / "out" / "features.parquet")
    assert set(table["units"]) == {"um"}
    for name in ("features.csv", "features.parquet"):
        file, called = tmp_path / "out" / name, name.replace(".", "_")
        arguments = ("cohort", "import-table", file, "--name", called, "--source", "A", "--cell-type", "lymphocyte")
        assert run(capsys, *arguments)[0] == 0
        with Cohort.open() as cohort:
            found = queries.cells(cohort, called)
        assert found["image_path"].tolist() == ["1.png", "p1/1.png"]
        for feature, spec in CATALOGUE.items():
            assert (found[feature] * 0.1**spec.length_power).tolist() == pytest.approx(
                table[feature].tolist(), rel=1e-12, nan_ok=True
            )
        for column in ("notes", "quality_flags", "severe_flags"):
            assert [list(words) for words in found[column]] == [list(words) for words in table[column]]
        assert run(capsys, *arguments, "--units", "px", "--replace")[0] == 1


def test_analyse_places_each_cell_in_the_populations(cells, tmp_path, capsys):
    assert run(capsys, "analyse", cells / "monocyte.png", "--out", tmp_path)[0] == 0
    places = pd.read_parquet(tmp_path / "places.parquet")
    assert {"image_path", "cell_index", "population", "feature", "value", "percentile", "inside"} <= set(places)
    assert set(places["feature"]) <= set(CATALOGUE)
    assert places["population"].nunique() >= 2  # at least the published tables
    assert places["model_note"].isna().all()


def test_another_model_than_that_of_the_populations_is_told_at_every_place(
    cells, tmp_path, capsys, monkeypatch, other_models
):
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(other_models))
    code, text, err = run(capsys, "analyse", cells / "monocyte.png", "--out", tmp_path, "--json")
    (note,) = json.loads(text)["model_notes"]
    assert code == 0
    assert f"{OTHER_MODEL} (this cell), unet-" in note
    assert f"note: {note}" in err
    places = pd.read_parquet(tmp_path / "places.parquet")
    measured = ~places["population"].str.startswith("published")
    assert places.loc[measured, "model_note"].str.contains(f"{OTHER_MODEL} (this cell), ", regex=False).all()
    assert places.loc[~measured, "model_note"].isna().all()


def test_nothing_but_bad_files_still_gives_its_tables(tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"")
    code, text, _ = run(capsys, "analyse", tmp_path / "bad.png", "--out", tmp_path / "out", "--json")
    assert code == 1
    assert json.loads(text)["cells"] == 0
    table = pd.read_parquet(tmp_path / "out" / "features.parquet")
    assert table.empty
    assert {"image_path", "quality_flags", *CATALOGUE} <= set(table)
    assert pd.read_csv(tmp_path / "out" / "errors.csv")["image_path"].tolist() == ["bad.png"]


# --- fields ---


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Three drawn cells in a row, as a file."""
    path = tmp_path_factory.mktemp("field") / "field.png"
    Image.fromarray(np.concatenate([draw_cell(seed)[0].rgb for seed in range(3)], axis=1)).save(path)
    return path


def test_a_field_gives_a_row_for_every_cell_one_mask_and_numbers(field, cells, tmp_path, capsys):
    shutil.copy(cells / "monocyte.png", field.parent)
    code, text, _ = run(capsys, "analyse", field.parent, "--out", tmp_path, "--overlay", "--json")
    assert code == 0
    assert json.loads(text)["cells"] == 4
    table = pd.read_csv(tmp_path / "features.csv").sort_values("image_path", key=lambda names: names != field.name)
    assert table["cell_index"].tolist() == [0, 1, 2, 0]
    assert table["cell_label"].tolist() == [1, 2, 3, 1]
    assert sorted(set(pd.read_parquet(tmp_path / "places.parquet")["cell_index"])) == [0, 1, 2]
    labels = np.asarray(Image.open(tmp_path / "masks" / "field.png"))
    numbers = np.asarray(Image.open(tmp_path / "masks" / "instances" / "field.png"))
    assert (labels.shape, numbers.shape, numbers.dtype) == ((360, 1080), (360, 1080), np.uint16)
    for row in table[:3].to_dict("records"):
        rows, columns = np.nonzero(numbers == row["cell_label"])
        assert [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1] == [
            row[f"box_{name}"] for name in ("left", "top", "width", "height")
        ]
        assert [row["centre_x"], row["centre_y"]] == pytest.approx([columns.mean() + 0.5, rows.mean() + 0.5])
        assert (row["image_width"], row["image_height"]) == (1080, 360)
        assert np.count_nonzero((labels == 255) & (numbers == row["cell_label"])) == row["nucleus_shape2D_PixelSurface"]
    assert not (tmp_path / "masks" / "instances" / "monocyte.png").exists()
    assert load(tmp_path / "masks" / "overlays" / "field.png").shape == (360, 1080)


def test_which_cells_are_wanted_can_be_said(field, tmp_path, capsys):
    for cells, count in (("one", 1), ("all", 3), ("auto", 3)):
        code, text, _ = run(capsys, "segment", field, "--out", tmp_path / cells, "--cells", cells, "--json")
        assert (code, json.loads(text)["cells"]) == (0, count)
        assert (tmp_path / cells / "instances").exists() == (count > 1)
    assert fails_as_wrong_use("segment", str(field), "--out", str(tmp_path), "--cells", "two")


# --- what people really feed it ---


def huge_png():
    """A few kilobytes that claim 20,000 x 20,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def red_cells():
    rgb = np.full((240, 240, 3), (253, 229, 206), np.uint8)
    y, x = np.mgrid[:240, :240]
    for row, column in [(60, 60), (70, 170), (170, 110)]:
        rgb[np.hypot(y - row, x - column) < 38] = (218, 172, 166)
    return Image.fromarray(rgb)


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """Every kind of file the project promises to survive, and one good cell among them."""
    folder = tmp_path_factory.mktemp("strange")
    cell = Image.fromarray(draw_cell(1)[0].rgb)
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("this is not an image\n" * 20)
    (folder / "huge.png").write_bytes(huge_png())
    Image.new("RGB", (1, 1)).save(folder / "pixel.png")
    cell.save(folder / "cut.jpg", quality=90)
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:4000])
    Image.new("RGB", (200, 200), "white").save(folder / "white.png")
    red_cells().save(folder / "red cells.png")
    cell.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    tifffile.imwrite(folder / "deep.tif", np.asarray(cell).astype(np.uint16) * 257, photometric="rgb")
    transparent = cell.convert("RGBA")
    transparent.putalpha(Image.fromarray(np.pad(np.full((320, 320), 255, np.uint8), 20)))
    transparent.save(folder / "transparent.png")
    cell.save(folder / "moving.gif", save_all=True, append_images=[Image.new("RGB", cell.size)] * 2)
    cell.save(folder / "=1+1;calc.png")
    cell.save(folder / "C:\\cells\\..\\up.png")
    cell.save(folder / "good.png")
    return folder


REFUSED = {
    "empty.png": "is empty",
    "text.png": "holds plain text",
    "huge.png": "at most 25,000,000 pixels",
    "pixel.png": "at least 16 pixels",
    "cut.jpg": "damaged or cut short",
}
NO_CELL = {"white.png", "red cells.png"}
GOOD = {"cmyk.jpg", "deep.tif", "transparent.png", "moving.gif", "=1+1;calc.png", "up.png", "good.png"}


def test_each_strange_file_has_its_message_or_result_and_the_rest_goes_on(strange, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(strange)
    code, text, _ = run(capsys, "analyse", ".", "--out", tmp_path / "out", "--json")
    assert code == 1
    result = json.loads(text)
    assert set(result["failed"]) == set(REFUSED)
    for name, words in REFUSED.items():
        assert words in result["failed"][name]
        assert result["failed"][name].startswith(f"{name}: expected")
    table = pd.read_parquet(tmp_path / "out" / "features.parquet").set_index("image_path")
    assert set(table.index) == GOOD | NO_CELL
    assert table.loc[sorted(GOOD), "quality_ok"].all()
    assert not table.loc[sorted(NO_CELL), "quality_ok"].any()
    # A cell is the same cell in every wrapping.
    shares = table.loc[sorted(GOOD), "combined_PixelSurface"]
    assert shares.max() - shares.min() < 0.03
    # Nothing was written outside the folder, and nothing runs when a spreadsheet opens the table.
    masks = {path.name for path in (tmp_path / "out" / "masks").iterdir()}
    assert len(masks) == len(GOOD | NO_CELL)
    lines = (tmp_path / "out" / "features.csv").read_text().splitlines()
    assert not any(line.startswith(("=", "+", "-", "@")) for line in lines)
    assert any(",'=1+1;calc.png," in line for line in lines)


# --- pictures of other people's programs ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """One drawn cell as other programs write it, and files that are no images."""
    folder = tmp_path_factory.mktemp("others")
    rgb = draw_cell(2, SYNTHETIC_CELLS["monocyte"])[0].rgb
    planes = np.moveaxis(rgb, -1, 0)
    scale = {"axes": "CYX", "PhysicalSizeX": 0.095, "PhysicalSizeY": 0.095}
    Image.fromarray(rgb).save(folder / "base.png")
    tifffile.imwrite(folder / "ome.ome.tif", planes, ome=True, photometric="minisblack", metadata=scale)
    tifffile.imwrite(folder / "bits12.tif", rgb.astype(np.uint16) << 4, photometric="rgb", compression="lzw")
    Image.fromarray(rgb).save(folder / "camera.jfif", "PNG")
    for name in ("slide.svs", "scan.dcm", "notes.txt"):
        (folder / name).write_bytes(b"x")
    return folder


def test_pictures_of_other_programs_are_measured_as_their_base_and_told(others, tmp_path, capsys):
    code, out, err = run(capsys, "analyse", others, "--out", tmp_path, "--json", "--um-per-px", "file")
    assert code == 0
    table = pd.read_parquet(tmp_path / "features.parquet")
    table.index = [name.rsplit("/", 1)[-1] for name in table["image_path"]]
    for name in table.index:
        found, base = (table.loc[one, list(CATALOGUE)].to_numpy(float) for one in (name, "base.png"))
        np.testing.assert_array_equal(found, base)
    assert table["um_per_px"].dropna().to_dict() == {"ome.ome.tif": 0.095}
    flags = {name: list(found) for name, found in table["quality_flags"].items()}
    assert flags == {
        "base.png": [],
        "bits12.tif": ["reduced_depth"],
        "camera.jfif": [],
        "ome.ome.tif": ["colour_assembled"],
    }
    passed = json.loads(out)["passed_over"]
    assert {ending: (one["files"], one["first"]) for ending, one in passed.items()} == {
        ".dcm": (1, ["scan.dcm"]),
        ".svs": (1, ["slide.svs"]),
        ".txt": (1, ["notes.txt"]),
    }
    assert "passed over 3 files: 1 .dcm (scan.dcm)" in err
    assert "QuPath" in err


def test_a_foreign_file_that_is_named_is_refused_with_the_way(others, tmp_path, capsys):
    code, out, err = run(capsys, "segment", others / "slide.svs", others / "base.png", "--out", tmp_path, "--json")
    assert code == 1
    assert "whole-slide image; open it in QuPath" in json.loads(out)["failed"][str(others / "slide.svs")]
    assert "slide.svs" in err


def test_a_scale_that_is_no_number_is_wrong_use(others, tmp_path):
    assert fails_as_wrong_use("segment", others, "--out", tmp_path, "--um-per-px", "files")
    assert fails_as_wrong_use("segment", others, "--out", tmp_path, "--bit-depth", "7")


def test_the_depth_of_deep_files_can_be_given(others, tmp_path, capsys):
    code, out, _ = run(capsys, "segment", others / "bits12.tif", "--out", tmp_path, "--json", "--bit-depth", "10")
    assert code == 1
    assert "at most 10 bits, as given, but they take 12" in json.loads(out)["failed"][str(others / "bits12.tif")]
