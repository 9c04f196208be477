"""`python -m core`, run in this process; exit code, files and standard output are what a script sees."""

import csv
import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from core.__main__ import main
from core.domain.compartments import Compartment
from core.domain.settings import ROOT
from core.evaluation.metrics import overlap
from core.explorer.selection import Selection, to_json
from core.explorer.separation import gather, separate
from core.explorer.view import By
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.imaging import load
from core.image.masks import encode_grey, region_mask
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.segmentation.model_registry import find_model
from core.store.database import Cohort
from tests.selection_runs import write_run

LEVELS = {0, 85, 170, 255}


def save_cell(path, seed=0, drawing="lymphocyte"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_cell(seed, SYNTHETIC_CELLS[drawing])[0].rgb).save(path)
    return path


@pytest.fixture(autouse=True)
def own_cohort(tmp_path, monkeypatch):
    """Nothing a test imports stays."""
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(tmp_path / "cohort"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    for seed, drawing in enumerate(SYNTHETIC_CELLS):
        save_cell(folder / f"{drawing}.png", seed, drawing)
    return folder


def run(capsys, *arguments):
    """Exit code, standard output and standard error."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fails_as_wrong_use(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code == 2


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
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == ["lymphocyte", "monocyte"]
    result = json.loads(out)
    assert list(result["failed"]) == [str(bad)]
    assert "holds plain text" in result["failed"][str(bad)]
    assert f"failed: {bad}: bad.png: expected" in err


def test_two_images_of_one_stem_do_not_overwrite_each_other(cells, tmp_path, capsys):
    save_cell(tmp_path / "other" / "monocyte.bmp", 5, "monocyte")
    code, out, _ = run(
        capsys, "segment", cells / "monocyte.png", tmp_path / "other", "--out", tmp_path / "out", "--json"
    )
    assert code == 1
    (reason,) = json.loads(out)["failed"].values()
    assert "would overwrite the result of" in reason
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_two_processes_write_the_same(cells, tmp_path, capsys):
    assert run(capsys, "segment", cells, "--out", tmp_path / "one")[0] == 0
    assert run(capsys, "segment", cells, "--out", tmp_path / "two", "--jobs", 2)[0] == 0
    for path in (tmp_path / "one").iterdir():
        difference = load(path).rgb != load(tmp_path / "two" / path.name).rgb
        assert np.count_nonzero(difference.any(axis=2)) <= 5


# --- wrong use ---


def test_unknown_options_and_values_are_wrong_use(cells, tmp_path, capsys):
    assert fails_as_wrong_use("segment", cells, "--out", tmp_path, "--colour", "blue")
    assert fails_as_wrong_use("segment", cells)  # no --out
    assert fails_as_wrong_use("segment", cells, "--out", tmp_path, "--device", "tpu")
    assert fails_as_wrong_use("segment", cells, "--out", tmp_path, "--jobs", "0")
    assert fails_as_wrong_use()
    assert "usage: python -m core" in capsys.readouterr().err


def test_help_is_everywhere(capsys):
    for command in (
        "segment",
        "features",
        "analyse",
        "cohort import",
        "cohort list",
        "reliability",
        "novelty",
        "models verify",
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*command.split(), "--help"])
        assert stopped.value.code == 0
        assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["segment", "analyse"])
def test_a_missing_or_empty_folder_is_wrong_use(tmp_path, capsys, command):
    code, _, err = run(capsys, command, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert code == 2
    assert "does not exist; check the path" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run(capsys, command, tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2
    assert "found none in" in err


def test_an_unknown_model_lists_the_known_ones(cells, tmp_path, capsys):
    code, _, err = run(capsys, "segment", cells, "--out", tmp_path, "--model", "resnet")
    assert code == 1
    assert "unknown model 'resnet'; known are" in err


@pytest.mark.parametrize("command", ["segment", "analyse"])
def test_a_place_that_cannot_be_written_is_told_in_words(cells, tmp_path, capsys, command):
    (tmp_path / "file").write_text("in the way")
    code, _, err = run(capsys, command, cells, "--out", tmp_path / "file")
    assert code == 2
    assert err.startswith("error: ")
    assert "file" in err


def test_the_program_itself(cells, tmp_path):
    """One real process: nothing but the result on standard output, progress on standard error."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "core",
            "segment",
            str(cells / "monocyte.png"),
            "--out",
            str(tmp_path),
            "--json",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"out": str(tmp_path), "cells": 1, "flagged": {}, "failed": {}}
    assert "1/1 images" in done.stderr


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
    assert set(result) == {"features", "absent"}
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


def test_the_catalogue_is_printed_for_people_and_programs(capsys):
    code, out, _ = run(capsys, "catalogue")
    assert code == 0
    rows = list(csv.DictReader(out.splitlines()))
    assert [row["name"] for row in rows] == list(CATALOGUE)
    code, out, _ = run(capsys, "catalogue", "--json")
    assert json.loads(out) == [spec.row() for spec in CATALOGUE.values()]


def test_repaired_mask_pixels_are_told(drawn, capsys):
    folder, _, labels = drawn
    stray = encode_grey(labels).copy()
    stray[0, :7] = 3
    Image.fromarray(stray).save(folder / "stray.png")
    code, _, err = run(capsys, "features", "--image", folder / "cell.png", "--mask", folder / "stray.png")
    assert code == 0
    assert "stray.png: 7 pixels held a value of no code" in err


@pytest.mark.parametrize(
    ("mask", "words"), [("cell.png", "not a photograph"), ("small.png", "the same shape"), ("gone.png", "gone.png")]
)
def test_a_mask_that_does_not_fit_is_an_error_in_words(drawn, capsys, mask, words):
    folder, _, labels = drawn
    Image.fromarray(encode_grey(labels)[:100, :100]).save(folder / "small.png")
    code, out, err = run(capsys, "features", "--image", folder / "cell.png", "--mask", folder / mask)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert words in err


# --- analyse ---


def test_analyse_writes_a_row_per_cell(cells, tmp_path, capsys):
    out = tmp_path / "out"
    code, text, _ = run(capsys, "analyse", cells, "--out", out, "--um-per-px", "0.095", "--json")
    assert code == 0
    assert json.loads(text) == {"out": str(out), "cells": 3, "failed": {}}
    table = pd.read_parquet(out / "features.parquet")
    assert len(table) == 3
    assert {"image_path", "image_sha256", "cell_index", "um_per_px", "flags", "quality_ok", *CATALOGUE} <= set(table)
    assert table["image_path"].tolist() == [str(path) for path in sorted(cells.iterdir())]
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


def test_analyse_places_each_cell_in_the_populations(cells, tmp_path, capsys):
    assert run(capsys, "analyse", cells / "monocyte.png", "--out", tmp_path)[0] == 0
    places = pd.read_parquet(tmp_path / "places.parquet")
    assert {"image_path", "cell_index", "population", "feature", "value", "percentile", "inside"} <= set(places)
    assert set(places["feature"]) <= set(CATALOGUE)
    assert places["population"].nunique() >= 2  # at least the published tables


def test_nothing_but_bad_files_still_gives_its_tables(tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"")
    code, text, _ = run(capsys, "analyse", tmp_path / "bad.png", "--out", tmp_path / "out", "--json")
    assert code == 1
    assert json.loads(text)["cells"] == 0
    table = pd.read_parquet(tmp_path / "out" / "features.parquet")
    assert table.empty
    assert {"image_path", "flags", *CATALOGUE} <= set(table)
    assert pd.read_csv(tmp_path / "out" / "errors.csv")["image_path"].tolist() == [str(tmp_path / "bad.png")]


# --- fields ---


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """Three drawn cells in a row, as a file."""
    path = tmp_path_factory.mktemp("field") / "field.png"
    Image.fromarray(np.concatenate([draw_cell(seed)[0].rgb for seed in range(3)], axis=1)).save(path)
    return path


def test_a_field_gives_a_row_for_every_cell_one_mask_and_numbers(field, cells, tmp_path, capsys):
    code, text, _ = run(capsys, "analyse", field, cells / "monocyte.png", "--out", tmp_path, "--overlay", "--json")
    assert code == 0
    assert json.loads(text)["cells"] == 4
    table = pd.read_csv(tmp_path / "features.csv").sort_values("image_path", key=lambda paths: paths != str(field))
    assert table["cell_index"].tolist() == [0, 1, 2, 0]
    assert table["cell_label"].tolist() == [1, 2, 3, 1]
    assert sorted(set(pd.read_parquet(tmp_path / "places.parquet")["cell_index"])) == [0, 1, 2]
    labels = np.asarray(Image.open(tmp_path / "masks" / "field.png"))
    numbers = np.asarray(Image.open(tmp_path / "masks" / "instances" / "field.png"))
    assert (labels.shape, numbers.shape, numbers.dtype) == ((360, 1080), (360, 1080), np.uint16)
    for row in table[:3].to_dict("records"):
        rows, columns = np.nonzero(numbers == row["cell_label"])
        assert [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1] == [
            row[name] for name in ("x", "y", "width", "height")
        ]
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
GOOD = {"cmyk.jpg", "deep.tif", "transparent.png", "moving.gif", "=1+1;calc.png", "C:\\cells\\..\\up.png", "good.png"}


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
    assert any(line.startswith("'=1+1;calc.png") for line in lines)


# --- cohort ---


def import_cells(capsys, folder, *more):
    return run(capsys, "cohort", "import", folder, "--source", "Test lab", *more)


def test_import_list_summary_export_delete(cells, tmp_path, capsys):
    code, out, _ = import_cells(capsys, cells, "--cell-type", "hcl", "--id", "mine", "--um-per-px", "0.1", "--json")
    assert code == 0
    assert json.loads(out) == [{"population_id": "mine", "cells": 3, "failures": {}}]

    code, out, _ = run(capsys, "cohort", "list", "--json")
    assert code == 0
    (row,) = [row for row in json.loads(out) if row["population"]["population_id"] == "mine"]
    assert (row["n"], row["n_good"], row["population"]["cell_type"], row["population"]["source"]) == (
        3,
        3,
        "hcl",
        "Test lab",
    )
    assert "mine" in run(capsys, "cohort", "list")[1]

    code, out, _ = run(capsys, "cohort", "summary", "mine", "--json")
    summaries = json.loads(out)
    assert code == 0
    assert [summary["feature"] for summary in summaries] == list(CATALOGUE)
    assert all(
        summary["n"] + summary["n_absent"] == 3 and summary["p2"] is None for summary in summaries
    )  # three have no percentiles
    assert {summary["feature"] for summary in summaries if summary["n_absent"]} <= {"cell_projections_MeanHeight"}

    for suffix in ("csv", "parquet"):
        assert run(capsys, "cohort", "export", "mine", "--out", tmp_path / f"mine.{suffix}")[0] == 0
    assert len(pd.read_csv(tmp_path / "mine.csv")) == len(pd.read_parquet(tmp_path / "mine.parquet")) == 3

    assert run(capsys, "cohort", "delete", "mine")[0] == 0
    assert "mine" not in [
        row["population"]["population_id"] for row in json.loads(run(capsys, "cohort", "list", "--json")[1])
    ]


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Three populations of two sources out of tables of a few features, without shipped ones."""
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(tmp_path / "none"))
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(tmp_path / "cohort"))
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(5)
    for name, kind, source, shift in (
        ("mono", "monocyte", "A", 0.5),
        ("lympho", "lymphocyte", "A", 0.0),
        ("far", "monocyte", "B", 1.0),
    ):
        frame = pd.DataFrame({feature: rng.lognormal(0, 0.2, 30) for feature in list(CATALOGUE)[:8]})
        frame["combined_PixelSurface"] = rng.normal(2 + shift, 0.1, 30)
        frame["patient_id"] = [f"p{row % 6}" for row in range(30)]
        frame.assign(cell_type=kind, um_per_px=0.1).to_csv(tmp_path / f"{name}.csv", index=False)
        arguments = ("--name", name, "--source", source, "--units", "px")
        assert main(["cohort", "import-table", str(tmp_path / f"{name}.csv"), *arguments]) == 0
    return tmp_path


def test_a_table_is_imported_and_what_was_not_taken_is_told(tables, capsys):
    table = tables / "more.csv"
    table.write_text("combined_PixelSurface,remark\n0.5,x\n", encoding="utf-8")
    capsys.readouterr()
    code, _, err = run(
        capsys, "cohort", "import-table", table, "--name", "More cells", "--source", "A", "--units", "um"
    )
    assert (code, "give --cell-type" in err) == (2, True)
    code, out, _ = run(
        capsys,
        "cohort",
        "import-table",
        table,
        "--name",
        "More cells",
        "--source",
        "A",
        "--units",
        "um",
        "--cell-type",
        "hcl",
    )
    assert code == 0
    assert "more_cells: 1 cells, sizes taken for micrometres" in out
    assert "not taken: remark" in out
    assert f"{len(CATALOGUE) - 1} features of the catalogue are not in the table" in out
    table.write_text("combined_PixelSurface\ninf\n", encoding="utf-8")
    code, _, err = run(
        capsys, "cohort", "import-table", table, "--name", "Bad", "--source", "A", "--units", "px", "--cell-type", "hcl"
    )
    assert (code, "row 2, column combined_PixelSurface" in err) == (1, True)
    assert "bad" not in run(capsys, "cohort", "list")[1]


def test_populations_and_types_are_compared_with_the_numbers_of_the_page(tables, capsys):
    capsys.readouterr()
    code, out, err = run(capsys, "cohort", "compare", "mono", "lympho", "--json")
    assert code == 0
    rows = json.loads(out)
    with Cohort.open([tables / "cohort"]) as cohort:
        cells = gather(
            cohort, Selection(populations=("mono", "lympho")), By.POPULATION, (("mono",), ("lympho",)), list(CATALOGUE)
        )
    wanted = separate(cells, ("mono", "lympho"), list(CATALOGUE)).ranking.to_frame()
    assert [row["feature"] for row in rows] == wanted["feature"].tolist()
    assert rows[0]["feature"] == "combined_PixelSurface"
    for name in ("effect", "low", "high", "p", "q", "median mono", "patients lympho"):
        assert rows[0][name] == pytest.approx(wanted[name].iloc[0])
    assert "p is between patients" in err.lower()

    by_type = json.loads(
        run(capsys, "cohort", "compare", "--by", "cell_type", "monocyte", "lymphocyte", "--source", "A", "--json")[1]
    )
    assert [row["effect"] for row in by_type] == [row["effect"] for row in rows]
    # From several sources there is a warning, and no size is compared.
    code, out, err = run(capsys, "cohort", "compare", "--by", "cell_type", "--json")
    assert "The cells come from 2 sources" in err
    assert all(CATALOGUE[row["feature"]].scale_free for row in json.loads(out))


def test_a_comparison_is_written_as_table_and_report(tables, capsys):
    assert run(capsys, "cohort", "compare", "mono", "lympho", "--out", tables / "out.csv")[0] == 0
    frame = pd.read_csv(tables / "out.csv")
    assert frame["feature"].iloc[0] == "combined_PixelSurface"
    (tables / "chosen.json").write_text(to_json(Selection(patients=("p1", "p2", "p3"))), encoding="utf-8")
    arguments = ("mono", "lympho", "--selection", tables / "chosen.json", "--out", tables / "out.html")
    assert run(capsys, "cohort", "compare", *arguments)[0] == 0
    text = (tables / "out.html").read_text(encoding="utf-8")
    assert "Mono beside lympho" in text
    assert "patient is p1, p2 or p3" in text.lower()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mono", "lympho", "--out", "x.pdf"], "--out must end in .csv or .html"),
        (["mono"], "two or more groups"),
        (["--by", "cell_type", "monocyte", "basophil"], "no cell in view is of 'basophil'"),
        (["mono", "lympho", "--patient", "p1", "nobody", "--cell-type", "hcl"], "no cell in view"),
    ],
)
def test_a_comparison_that_makes_no_sense_is_refused(tables, capsys, arguments, words):
    code, _, err = run(capsys, "cohort", "compare", *arguments)
    assert code == 2
    assert words in err


def test_a_taken_id_needs_replace(cells, capsys):
    assert import_cells(capsys, cells / "monocyte.png", "--id", "mine")[0] == 0
    code, _, err = import_cells(capsys, cells / "monocyte.png", "--id", "mine")
    assert code == 1
    assert "there is a population 'mine' already" in err
    assert import_cells(capsys, cells / "monocyte.png", "--id", "mine", "--replace")[0] == 0


def test_a_collection_with_a_folder_per_type_as_mll23(tmp_path, capsys):
    root = tmp_path / "MLL23"
    for folder, seeds in (("Hairy cell", (0, 1)), ("monocyte", (2,))):
        for seed in seeds:
            path = root / folder / f"image_{seed}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, np.asarray(draw_cell(seed)[0].rgb), photometric="rgb")
    (root / "Hairy cell" / "bad.tif").write_bytes(b"II*\x00 and no more")
    code, out, err = import_cells(capsys, root, "--layout", "folders", "--um-per-px", "0.0868", "--json")
    assert code == 1
    hairy, monocytes = json.loads(out)
    assert (hairy["population_id"], hairy["cells"], list(hairy["failures"])) == ("hairy_cell_test_lab", 2, ["bad.tif"])
    assert (monocytes["population_id"], monocytes["cells"]) == ("monocyte_test_lab", 1)
    assert "failed: hairy_cell_test_lab: bad.tif: " in err
    types = {
        row["population"]["population_id"]: row["population"]["cell_type"]
        for row in json.loads(run(capsys, "cohort", "list", "--json")[1])
    }
    assert (types["hairy_cell_test_lab"], types["monocyte_test_lab"]) == ("hcl", "monocyte")


def test_chosen_folders_only(tmp_path, capsys):
    for folder in ("hairy_cell", "monocyte"):
        save_cell(tmp_path / "MLL23" / folder / "a.png")
    code, out, _ = import_cells(capsys, tmp_path / "MLL23", "--layout", "folders", "--only", "monocyte", "--json")
    assert (code, [report["population_id"] for report in json.loads(out)]) == (0, ["monocyte_test_lab"])
    code, _, err = import_cells(capsys, tmp_path / "MLL23", "--layout", "folders", "--only", "basophil")
    assert code == 2
    assert "--only names folders that are not there: basophil; there are hairy_cell, monocyte" in err
    assert import_cells(capsys, tmp_path / "MLL23", "--layout", "folders", "--id", "mine")[0] == 2


@pytest.mark.parametrize(
    "action",
    [
        ["summary", "nobody"],
        ["compare", "nobody", "nobody"],
        ["export", "nobody", "--out", "x.csv"],
        ["delete", "nobody"],
    ],
)
def test_an_unknown_population_is_an_error_in_words(capsys, action):
    code, _, err = run(capsys, "cohort", *action)
    assert code == 1
    assert "nobody" in err


def test_export_needs_a_known_suffix(cells, tmp_path, capsys):
    assert import_cells(capsys, cells / "monocyte.png", "--id", "mine")[0] == 0
    code, _, err = run(capsys, "cohort", "export", "mine", "--out", tmp_path / "mine.xlsx")
    assert code == 2
    assert "--out must end in .csv or .parquet" in err
    assert run(capsys, "cohort", "export", "mine", "--out", tmp_path / "nowhere" / "mine.csv")[0] == 2


# --- reliability ---


@pytest.mark.data
def test_reliability_is_measured_told_and_kept_where_asked(data_dir, tmp_path, capsys):
    out = tmp_path / "few.json"
    code, printed, err = run(capsys, "reliability", "--limit", 2, "--device", "cpu", "--out", out, "--json")
    assert code == 0
    assert printed == out.read_text()
    assert list(json.loads(printed)["features"]) == list(CATALOGUE)
    assert "2/2 images" in err
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.data
def test_reliability_is_kept_with_the_model_and_counted_for_people(
    data_dir, tmp_path, monkeypatch, model_entry, capsys
):
    """On two images only, by a split of its own."""
    models = tmp_path / "models"
    models.mkdir()
    for path in (*model_entry.files, model_entry.novelty, model_entry.path.with_name("manifest.json")):
        (models / path.name).write_bytes(path.read_bytes())
    (models / model_entry.split.name).write_text(json.dumps({"test": ["set1/112", "set1/139"]}))
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(models))
    code, out, _ = run(capsys, "reliability")
    assert code == 0
    assert out.splitlines() == ["good: 0 features", "moderate: 0 features", f"poor: {len(CATALOGUE)} features"]
    assert find_model().reliability == models / f"{model_entry.model_id}.reliability.json"


@pytest.mark.parametrize("command", ["reliability", "novelty"])
def test_few_images_are_not_kept_with_the_model(capsys, command):
    code, _, err = run(capsys, command, "--limit", 2)
    assert code == 2
    assert "with --limit give --out FILE as well" in err


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, capsys):
    code, out, err = run(capsys, "reliability", "--out", tmp_path / "nowhere" / "few.json")
    assert (code, out) == (2, "")
    assert "cannot be kept in" in err
    assert "give --out FILE in another folder" in err
    assert "images" not in err


def test_reliability_without_images_says_which_are_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path))
    code, _, err = run(capsys, "reliability", "--out", tmp_path / "x.json")
    assert code == 1
    assert "expected the folder wbc_zheng/set1 in LEUKOSCOPE_DATA, but it is not there. Source: Zheng et al." in err
    assert not list(tmp_path.iterdir())


@pytest.mark.data
def test_novelty_is_learnt_told_and_kept_where_asked(data_dir, tmp_path, capsys):
    out = tmp_path / "few.json"
    code, printed, err = run(capsys, "novelty", "--limit", 5, "--jobs", 2, "--device", "cpu", "--out", out)
    assert code == 0
    assert "A cell is flagged as unlike a leukocyte beyond a distance of" in printed
    for words in (
        "What is no leukocyte",
        "photograph",
        "Leukocytes: shares",
        "lymphocyte",
        "Neutrophils and eosinophils",
        "precision",
    ):
        assert words in printed
    assert "images, " in err
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    kept = json.loads(out.read_text())
    assert kept["command"].endswith("--limit 5")
    assert set(kept["measured"]) == {"kinds", "cells", "granulocytes"}
    told = [row for row in kept["measured"]["kinds"] if row["kind"] in ("photograph", "tissue section", "scanned text")]
    assert len(told) == 3
    assert all(row["auc_unseen"] > 0.95 and row["refused"][0] >= 0.8 for row in told)


# --- models ---


def test_models_are_listed_and_verified(capsys):
    code, out, _ = run(capsys, "models", "list", "--json")
    listed = json.loads(out)
    assert code == 0
    assert listed["default"] in [row["model_id"] for row in listed["models"]]
    assert "opened by default" in run(capsys, "models", "list")[1]
    code, out, err = run(capsys, "models", "verify", "--device", "cpu", "--json")
    assert code == 0
    assert all(row["ok"] and row["provider"] == "CPU" for row in json.loads(out))
    assert "checksum right, runs on CPU" in err


def test_a_damaged_model_is_told_and_the_exit_code_says_so(tmp_path, monkeypatch, model_entry, capsys):
    folder = model_entry.path.parent
    (tmp_path / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    content = bytearray(model_entry.path.read_bytes())
    content[1000] ^= 255
    (tmp_path / model_entry.path.name).write_bytes(content)
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path))
    code, out, _ = run(capsys, "models", "verify", "--json")
    assert code == 1
    assert not json.loads(out)[0]["ok"]
    assert "damaged or was replaced" in json.loads(out)[0]["reason"]


def test_without_models_every_command_says_what_to_do(tmp_path, monkeypatch, cells, capsys):
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path))
    for command in (["models", "list"], ["segment", str(cells), "--out", str(tmp_path / "out")]):
        code, _, err = run(capsys, *command)
        assert code == 1
        assert "no model: expected manifest.json" in err


def test_the_comparison_of_architectures_is_told_in_words_and_as_json(tmp_path, monkeypatch, capsys):
    write_run(tmp_path)
    monkeypatch.setenv("LEUKOSCOPE_SELECTION", str(tmp_path))
    assert main(["selection"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("UNet leads with a Dice of 0.950")
    assert "UNet: twins in the training images add +2.00 points" in said
    assert main(["selection", "drawn", "--of", "nucleus", "--protocol", "as-published", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measure"] == "dice_nucleus"
    assert [row["architecture"] for row in found["ranking"]] == ["unet"]
    assert found["differences"] == []


def test_a_comparison_that_is_not_there_is_wrong_use(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_SELECTION", str(tmp_path))
    assert main(["selection"]) == 2
    assert "python -m training select" in capsys.readouterr().err
    write_run(tmp_path, skip=[("unet", fold) for fold in (1, 2, 3)] + [("fpn", fold) for fold in (4, 5)])
    assert main(["selection", "other"]) == 2
    assert "there are drawn" in capsys.readouterr().err
    assert main(["selection"]) == 2
    assert "no grouped fold is finished by every architecture" in capsys.readouterr().err
