"""`leukoscope cohort scale`, and runs and imports whose scale red cells tell."""

import json
import re

import pandas as pd
import pytest

from core.domain.types import RED_CELLS
from core.store import queries
from core.store.database import Cohort
from tests.core.cli.support import fails_as_wrong_use, run, save_cell


@pytest.fixture
def crops(data_dir, tmp_path):
    """A few real images with red cells beside the leukocyte."""
    folder = tmp_path / "crops" / "lymphocyte"
    folder.mkdir(parents=True)
    for path in sorted((data_dir / "acevedo" / "lymphocyte").glob("*.jpg"))[:14]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.data
def test_the_scale_of_a_shipped_population_and_of_a_folder_by_red_cells(crops, data_dir, capsys):
    """A shipped one was measured before red cells were kept: its pictures lie in the data folder."""
    marrow = data_dir / "hairy_cell_marrow"
    code, out, _ = run(capsys, "cohort", "scale", "hcl_marrow", crops, marrow, "--json")
    answers = json.loads(out)
    assert code == 1
    assert [answer["source"] for answer in answers] == ["hcl_marrow", str(crops), str(marrow)]
    assert answers[0]["why"] == answers[2]["why"]
    assert answers[0]["um_per_px"] is None
    assert answers[1]["um_per_px"] == pytest.approx(0.094, rel=0.07)
    assert 0.07 < answers[1]["error"] < 0.12
    code, out, _ = run(capsys, "cohort", "scale", crops)
    assert code == 0
    assert out == f"{crops}: {answers[1]['words']}\n"


@pytest.mark.data
def test_an_import_takes_the_scale_of_its_red_cells_and_keeps_what_each_image_said(crops, capsys):
    arguments = ("cohort", "import", crops, "--source", "Test lab", "--id", "mine", "--scale-from", "red-cells")
    code, _, err = run(capsys, *arguments)
    assert code == 0
    assert "note: the scale is 0.09" in err
    with Cohort.open() as cohort:
        population = cohort.population("mine")
        (row, *_) = cohort.cell_rows("population = 'mine'", {})
    assert population.um_per_px == row["um_per_px"] == pytest.approx(0.094, rel=0.07)
    assert population.um_per_px_error == row["um_per_px_error"]
    assert population.um_per_px_origin.endswith("if the patients' red cells are not 7.5 um")
    assert row["um_per_px_source"] == RED_CELLS
    assert row["red_cells"] >= 0
    # Now its own rows tell the scale, without a picture.
    code, out, _ = run(capsys, "cohort", "scale", "mine", "--json")
    (answer,) = json.loads(out)
    assert (code, answer["um_per_px"], answer["words"]) == (0, population.um_per_px, population.um_per_px_origin)


@pytest.mark.data
def test_a_batch_measures_the_scale_first_and_keeps_it(crops, tmp_path, capsys):
    arguments = ("batch", crops, "--out", tmp_path / "out", "--scale-from", "red-cells", "--json")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert json.loads(out)["notes"][0].startswith("the scale is 0.09")
    table = pd.read_csv(tmp_path / "out" / "cells.csv")
    kept = json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["um_per_px"]
    assert set(table["um_per_px"]) == {kept["um_per_px"]}
    assert set(table["um_per_px_error"]) == {kept["error"]}
    assert set(table["um_per_px_source"]) == {RED_CELLS}
    assert table["red_cell_px"].median() == pytest.approx(80, rel=0.1)
    # With other images the same run would get another scale; it goes on with its own.
    for path in sorted(crops.iterdir())[:5]:
        path.unlink()
    code, out, _ = run(capsys, *arguments)
    assert (code, json.loads(out)["skipped"]) == (0, 14)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["um_per_px"] == kept


def test_without_an_answer_nothing_is_begun(cells, tmp_path, capsys):
    for arguments in (
        ("batch", cells, "--out", tmp_path / "out"),
        ("cohort", "import", cells, "--source", "A", "--cell-type", "hcl"),
    ):
        code, out, err = run(capsys, *arguments, "--scale-from", "red-cells")
        assert (code, out) == (2, "")
        assert "at least 10 images with 3 whole red cells are needed, but" in err
        assert "of 3 images" in err
        assert "give the scale, or leave the sizes in pixels" in err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cohort").exists()


def test_a_scale_is_either_given_or_measured(cells, tmp_path):
    assert fails_as_wrong_use("batch", cells, "--out", tmp_path, "--um-per-px", "0.1", "--scale-from", "red-cells")
    arguments = ("cohort", "import", cells, "--source", "A")
    assert fails_as_wrong_use(*arguments, "--um-per-px", "0.1", "--scale-from", "red-cells")
    assert fails_as_wrong_use(*arguments, "--scale-from", "memory")


def test_what_is_neither_population_nor_folder_is_named(tmp_path, capsys):
    code, _, err = run(capsys, "cohort", "scale", "nowhere")
    assert code == 2
    assert "expected a population or a folder, but nowhere is neither; populations are" in err


def test_a_population_of_which_nothing_is_at_hand_says_so(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "gone"
    save_cell(folder / "1.png")
    monkeypatch.setenv("LEUKOSCOPE_ROOTS", "")
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path / "none"))
    table = tmp_path / "cells.csv"
    table.write_text("combined_PixelSurface,cell_type\n0.4,monocyte\n")
    assert run(capsys, "cohort", "import-table", table, "--name", "told", "--source", "A", "--units", "px")[0] == 0
    code, out, _ = run(capsys, "cohort", "scale", "told")
    assert (code, out) == (
        1,
        "told: the red cells tell no scale: its rows say nothing of red cells and name no images\n",
    )


def test_a_given_scale_may_have_an_error_which_stands_beside_it(cells, tmp_path, capsys):
    given = ("--um-per-px", "0.1", "--um-per-px-error", "0.1")
    assert run(capsys, "analyse", cells, "--out", tmp_path / "out", *given)[0] == 0
    table = pd.read_csv(tmp_path / "out" / "features.csv")
    assert set(table["um_per_px_error"]) == {0.1}
    assert set(table["um_per_px_source"]) == {"given"}
    image, mask = cells / "lymphocyte.png", tmp_path / "out" / "masks" / "lymphocyte.png"
    code, out, _ = run(capsys, "features", "--image", image, "--mask", mask, *given)
    (line,) = [line for line in out.splitlines() if line.startswith("cell_shape2D_PixelSurface ")]
    assert code == 0
    value, low, high = map(float, re.search(r" ([\d.]+) µm² \(([\d.]+) to ([\d.]+)\)$", line).groups())
    assert (low, high) == pytest.approx((0.81 * value, 1.21 * value), rel=0.01)
    code, out, _ = run(capsys, "features", "--image", image, "--mask", mask, *given, "--json")
    assert json.loads(out)["um_per_px_error"] == 0.1
    code, _, _ = run(capsys, "cohort", "import", cells, "--source", "A", "--id", "mine", "--cell-type", "hcl", *given)
    assert code == 0
    with Cohort.open() as cohort:
        reference = queries.reference(cohort, "mine")
    assert reference.scale_note == (
        "Scale of the population: given at import (the true one within 10 % of it, so areas within about 20 %)."
    )


def test_an_error_of_no_scale_is_refused(cells, tmp_path, capsys):
    for scale in ((), ("--um-per-px", "file"), ("--scale-from", "red-cells")):
        code, _, err = run(capsys, "batch", cells, "--out", tmp_path / "out", *scale, "--um-per-px-error", "0.1")
        assert code == 2
        assert "--um-per-px-error is that of --um-per-px, but no scale in micrometres is given; give both" in err
