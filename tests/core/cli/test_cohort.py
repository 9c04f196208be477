"""`leukoscope cohort`, run in this process."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile

from core.cli.main import main
from core.domain.settings import load_settings
from core.explorer.selection import Selection, to_json
from core.explorer.separation import gather, separate
from core.explorer.view import By
from core.features.catalogue import CATALOGUE
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.store import queries
from core.store.database import Cohort
from tests.core.cli.support import run, save_cell
from tests.models import OTHER_MODEL


def import_cells(capsys, folder, *more):
    return run(capsys, "cohort", "import", folder, "--source", "Test lab", *more)


def test_import_list_summary_export_delete(cells, tmp_path, capsys):
    code, out, _ = import_cells(capsys, cells, "--cell-type", "hcl", "--id", "mine", "--um-per-px", "0.1", "--json")
    assert code == 0
    assert json.loads(out) == [
        {"population_id": "mine", "cells": 3, "failures": {}, "duplicates": {}, "passed_over": {}}
    ]

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
        zones = [feature for feature in CATALOGUE if feature.startswith("cell_glszm_")][:8]
        frame = pd.DataFrame({feature: rng.lognormal(-1.5, 0.2, 30) for feature in zones})
        frame["combined_PixelSurface"] = rng.normal(0.4 + 0.2 * shift, 0.02, 30)
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


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("units", ["px", "um"])
def test_what_export_writes_import_table_reads_whole_in_either_unit(tables, capsys, suffix, units):
    file = tables / f"exported.{suffix}"
    assert run(capsys, "cohort", "export", "mono", "--out", file, "--units", units)[0] == 0
    arguments = ("cohort", "import-table", file, "--name", "again", "--source", "A", "--json")
    code, out, _ = run(capsys, *arguments)
    assert (code, json.loads(out)["units"], json.loads(out)["cells"]) == (0, units, 30)
    with Cohort.open() as cohort:
        before, after = (queries.cells(cohort, name) for name in ("mono", "again"))
    pd.testing.assert_frame_equal(after[list(CATALOGUE)], before[list(CATALOGUE)])
    other = "um" if units == "px" else "px"
    code, _, err = run(capsys, *arguments, "--replace", "--units", other)
    assert (code, f"in {units}, but {other} was given" in err) == (1, True)


def test_micrometres_of_cells_without_a_scale_are_refused(tables, capsys):
    pd.DataFrame({"combined_PixelSurface": [0.4, 0.5], "um_per_px": [0.1, None]}).to_csv(tables / "some.csv")
    arguments = ("--name", "some", "--source", "A", "--units", "px", "--cell-type", "hcl")
    assert run(capsys, "cohort", "import-table", tables / "some.csv", *arguments)[0] == 0
    code, _, err = run(capsys, "cohort", "export", "some", "--out", tables / "out.csv", "--units", "um")
    assert (code, "1 of 2 cells have no scale" in err) == (1, True)
    assert not (tables / "out.csv").exists()


def test_populations_and_types_are_compared_with_the_numbers_of_the_page(tables, capsys):
    capsys.readouterr()
    code, out, err = run(capsys, "cohort", "compare", "mono", "lympho", "--json")
    assert code == 0
    rows = json.loads(out)
    with Cohort.open([tables / "cohort"]) as cohort:
        cells = gather(
            cohort, Selection(populations=("mono", "lympho")), By.POPULATION, (("mono",), ("lympho",)), list(CATALOGUE)
        )
    wanted = separate(cells, ("mono", "lympho"), list(CATALOGUE)).ranking.to_frame().set_index("feature")
    assert {row["feature"] for row in rows} == set(wanted.index)
    assert rows[0]["feature"] == "combined_PixelSurface"
    for name in ("effect", "low", "high", "p", "q", "median mono", "patients lympho"):
        assert rows[0][name] == pytest.approx(wanted.loc["combined_PixelSurface", name])
    assert "p is between patients" in err.lower()

    by_type = json.loads(
        run(capsys, "cohort", "compare", "--by", "cell_type", "monocyte", "lymphocyte", "--source", "A", "--json")[1]
    )
    assert [row["effect"] for row in by_type] == [row["effect"] for row in rows]
    # From several sources there is a warning, and what depends on the stain comes last, with the reason.
    code, out, err = run(capsys, "cohort", "compare", "--by", "cell_type", "--json")
    assert "The cells come from 2 sources" in err
    for row in json.loads(out):
        assert (row["not_compared"] is None) == (not CATALOGUE[row["feature"]].intensity_dependent)


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


# --- tables and folders from elsewhere --------------------------------------------------------------------------------

AREA, CELL, SHARE = "nucleus_shape2D_PixelSurface", "cell_shape2D_PixelSurface", "combined_PixelSurface"


def write_table(path, impossible=(), twice=()):
    frame = pd.DataFrame({"image_path": [f"{n}.png" for n in range(20)], "cell_type": "Hairy cell", "patient_id": "p1"})
    frame[AREA], frame[CELL], frame[SHARE] = 9000.0 + frame.index, 18000.0 + 2 * frame.index, 0.5
    frame.loc[list(impossible), AREA] *= -1
    pd.concat([frame, frame.loc[list(twice)]]).to_csv(path, index=False, sep=";", decimal=",")
    return path


def import_table(capsys, table, *more):
    arguments = ("--name", "Mine", "--source", "A", "--units", "px", *more)
    return run(capsys, "cohort", "import-table", table, *arguments)


def test_impossible_and_repeated_rows_are_told_and_written_down(tables, capsys):
    code, out, err = import_table(capsys, write_table(tables / "own.csv", impossible=[4], twice=[7]))
    assert code == 1  # of a row that is left out
    assert "read as UTF-8, separated by semicolon" in out
    assert "mine: 19 cells" in out
    assert f"impossible: row 6, column {AREA}: -9004 cannot be negative" in err
    assert "1 of 21 rows cannot be true and are left out; own.csv.rejected.csv names them" in err
    assert "1 rows say again what another says, and are counted once (row 22 is row 9)" in err
    assert pd.read_csv(tables / "own.csv.rejected.csv")["row"].tolist() == [6]
    told = json.loads(import_table(capsys, tables / "own.csv", "--replace", "--json")[1])
    assert (told["cells"], told["duplicates"], told["cell_types"]) == (19, [[22, 9]], ["hcl"])
    assert [(one["row"], one["column"], one["value"]) for one in told["rejected"]] == [(6, AREA, -9004)]


def test_a_table_that_means_something_else_is_refused_with_the_rows(tables, capsys):
    code, _, err = import_table(capsys, write_table(tables / "own.csv", impossible=range(20)))
    assert code == 1
    assert err.count("impossible: row") == 5
    assert "20 of 20 rows are impossible for one reason, so the table is refused; row 2" in err
    assert "Mine" not in run(capsys, "cohort", "list")[1]


def test_a_dry_run_of_a_table_shows_what_would_be_read(tables, capsys):
    code, out, err = import_table(capsys, write_table(tables / "own.csv", impossible=[4]), "--dry-run")
    assert code == 1
    assert "mine: 19 cells, would be filed, sizes taken for pixels" in out
    assert "  0.png: patient p1, cell type hcl" in out
    assert "--json names them" in err
    assert not (tables / "own.csv.rejected.csv").exists()
    assert "Mine" not in run(capsys, "cohort", "list")[1]


def test_csv_for_excel_begins_with_its_mark(tables, capsys):
    assert run(capsys, "cohort", "export", "mono", "--excel", "--out", tables / "out.csv")[0] == 0
    assert (tables / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert len(pd.read_csv(tables / "out.csv")) == 30


def test_a_cell_type_may_be_given_by_another_name(tables, capsys):
    table = tables / "own.csv"
    table.write_text(f"{SHARE}\n0.5\n", encoding="utf-8")
    assert import_table(capsys, table, "--cell-type", "Hairy cell")[0] == 0
    rows = json.loads(run(capsys, "cohort", "list", "--json")[1])
    assert {row["population"]["cell_type"] for row in rows if row["population"]["title"] == "Mine"} == {"hcl"}


def test_copies_among_images_are_counted_once_and_told(tmp_path, capsys):
    save_cell(tmp_path / "monocyte" / "a.png")
    save_cell(tmp_path / "monocyte" / "b.png")
    arguments = (tmp_path / "monocyte", "--id", "mine")
    code, out, _ = import_cells(capsys, *arguments, "--dry-run")
    assert code == 0
    assert "monocyte: 1 images as monocyte, 1 more are copies" in out
    code, out, err = import_cells(capsys, *arguments, "--json")
    (report,) = json.loads(out)
    assert (code, report["cells"]) == (0, 1)
    assert [name.rpartition("/")[2] for pair in report["duplicates"].items() for name in pair] == ["b.png", "a.png"]
    assert "1 image is a copy and counted once" in err


def test_one_image_in_two_class_folders_is_refused_naming_both(tmp_path, capsys):
    save_cell(tmp_path / "all" / "monocyte" / "a.png")
    save_cell(tmp_path / "all" / "lymphocyte" / "b.png")
    code, _, err = import_cells(capsys, tmp_path / "all", "--layout", "folders", "--dry-run")
    assert code == 1
    assert "lymphocyte/b.png" in err
    assert "monocyte/a.png are the same image, but are filed as lymphocyte and monocyte" in err


def test_folders_that_name_no_type_or_lie_in_a_flat_one_are_told(tmp_path, capsys):
    save_cell(tmp_path / "all" / "monocyte" / "a.png")
    code, _, err = import_cells(capsys, tmp_path / "all", "--dry-run")
    assert code == 0
    assert "no cell type is called 'all', so the cells are filed as other" in err
    assert "sub-folders are called after cell types (monocyte)" in err


def test_a_full_disk_names_the_table_and_leaves_the_former(cells, tmp_path, capsys, full_disk):
    import_cells(capsys, cells, "--cell-type", "hcl", "--id", "mine")
    out = tmp_path / "mine.csv"
    out.write_text("former")
    full_disk("mine.csv")
    code, _, err = run(capsys, "cohort", "export", "mine", "--out", out)
    assert code == 2
    assert f"{out}: No space left on device" in err
    assert out.read_text() == "former"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".mine")] == []


def test_list_names_what_was_set_aside_and_counts_the_rest(cells, capsys):
    import_cells(capsys, cells, "--cell-type", "hcl", "--id", "mine")
    import_cells(capsys, cells, "--cell-type", "hcl", "--id", "other")
    root = load_settings().cohort
    (shard,) = (root / "mine").glob("*.parquet")
    bad = shard.with_name(f"{shard.stem}\udcff.parquet")
    bad.write_text("damaged")
    (root / "other" / "population.json").write_text("[" * 100_000)
    (root / "edits.jsonl").write_text("[" * 100_000)

    code, out, err = run(capsys, "cohort", "list")
    assert code == 1
    assert "3 of 3 cells" in out
    assert len(err.splitlines()) == 3
    assert all(line.startswith("set aside: ") for line in err.splitlines())
    for name in ("population.json", "edits.jsonl: line 1", shard.stem):
        assert name in err

    code, out, _ = run(capsys, "cohort", "list", "--json")
    assert code == 1
    told = {row["population"]["population_id"]: row["set_aside"] for row in json.loads(out)}
    assert len(told["mine"]) == 1
    assert len(told[None]) == 2
    assert run(capsys, "cohort", "summary", "mine")[0] == 0


def test_an_import_takes_each_files_scale_and_tells_what_it_passed_over(tmp_path, capsys):
    folder = tmp_path / "blood" / "lymphocyte"
    folder.mkdir(parents=True)
    rgb = draw_cell(1, SYNTHETIC_CELLS["lymphocyte"])[0].rgb
    for name, scale in (("a", 0.095), ("b", 0.1)):
        metadata = {"PhysicalSizeX": scale, "PhysicalSizeY": scale}
        tifffile.imwrite(folder / f"{name}.tif", rgb, ome=True, photometric="rgb", metadata=metadata)
    for path in (folder / "slide.ndpi", folder.parent / "loose.png"):
        path.write_bytes(b"x")
    options = ("--layout", "folders", "--um-per-px", "file", "--json")
    code, out, err = import_cells(capsys, folder.parent, *options)
    assert code == 0
    (report,) = json.loads(out)
    assert {ending: one["files"] for ending, one in report["passed_over"].items()} == {
        ".ndpi": 1,
        "image in no sub-folder": 1,
    }
    assert "passed over 2 files" in err
    with Cohort.open() as cohort:
        cells = queries.cells(cohort, report["population_id"])
    assert sorted(cells["um_per_px"]) == [0.095, 0.1]
    assert all("scale_absurd" not in flags for flags in cells["quality_flags"])


def test_own_populations_are_rebuilt_with_another_model(cells, tmp_path, capsys, monkeypatch, other_models):
    assert import_cells(capsys, cells, "--cell-type", "hcl", "--id", "mine", "--um-per-px", "0.1")[0] == 0
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(other_models))
    moved = tmp_path / "moved"
    shutil.copytree(cells, moved)
    (moved / "monocyte.png").unlink()
    code, out, err = run(capsys, "cohort", "rebuild", "--images", moved, "--json")
    report = json.loads(out)
    (mine,) = report["populations"]
    assert (code, report["model_id"], mine["measured"], len(mine["kept"])) == (1, OTHER_MODEL, 2, 1)
    # Until the last image is found, the populations are compared with a word.
    _, _, err = run(capsys, "cohort", "compare", "mine", "hcl_marrow", "--json")
    assert f"{OTHER_MODEL} (cells in view: 2 of " in err
    code, out, err = run(capsys, "cohort", "rebuild", "mine", "--images", cells, "--model", OTHER_MODEL)
    assert (code, "mine: cells measured anew by other-model: 1, by it before: 2\n" in out) == (0, True)
    code, out, err = run(capsys, "cohort", "rebuild", "mine", "--images", moved, "--model", "unet-slim-lite0")
    assert (code, "left as they were with their old model: 1\n" in out) == (1, True)
    assert "note: mine: cells left as they were: 1, its image is in none of the folders" in err


def test_only_populations_of_images_of_ones_own_are_rebuilt(tables, capsys):
    code, _, err = run(capsys, "cohort", "rebuild", "mono")
    assert (code, "mono came as a table without them" in err) == (2, True)
    code, out, _ = run(capsys, "cohort", "rebuild")
    assert (code, "nothing was measured" in out) == (0, True)
    code, out, _ = run(capsys, "cohort", "rebuild", "--json")
    assert (code, json.loads(out)["populations"]) == (0, [])
    code, _, err = run(capsys, "cohort", "rebuild", "nobody")
    assert (code, "there is no population 'nobody'; there are: " in err) == (1, True)


def test_a_shipped_population_is_rebuilt_by_build(capsys):
    code, _, err = run(capsys, "cohort", "rebuild", "hcl_marrow")
    assert (code, "hcl_marrow is shipped" in err, "`leukoscope cohort build`" in err) == (2, True, True)
