"""`leukoscope exchange`, with the real model where something is measured."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from pycocotools.coco import COCO

from core.cases.cells import pack
from core.cases.store import CaseImage, Cases
from core.cli.main import main
from core.domain.types import GivenScale
from core.explorer.selection import Quality, Selection, to_json
from core.image.imaging import decode, encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import analyse_cells

AREA = "cell_shape2D_PixelSurface"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of two single cells of one stem, and a field."""
    root = tmp_path_factory.mktemp("run")
    pictures = [draw_cell(seed, SYNTHETIC_CELLS["monocyte"])[0].rgb for seed in range(4)]
    (root / "images" / "a").mkdir(parents=True)
    (root / "images" / "a" / "005.png").write_bytes(encode_png(pictures[0]))
    Image.fromarray(pictures[1]).save(root / "images" / "a" / "005.tif")
    (root / "images" / "field.png").write_bytes(encode_png(np.hstack(pictures[2:])))
    assert main(["batch", str(root / "images"), "--out", str(root / "out"), "--um-per-px", "0.1"]) == 0
    return root / "out"


def test_a_run_is_written_for_every_program_and_agrees_with_its_masks(run, tmp_path, capsys):
    arguments = ["exchange", "run", str(run), "--out"]
    assert main([*arguments, str(tmp_path / "tif"), "--format", "label-tiff", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": str(tmp_path / "tif"), "images": 3, "cells": 4, "left_out": {},
    }  # fmt: skip
    files = sorted(path.relative_to(tmp_path / "tif").as_posix() for path in (tmp_path / "tif").rglob("*.tif"))
    assert files == ["a/005.tif", "a/005_tif.tif", "field.tif"]
    for file, mask in (("a/005.tif", "a/005.png.png"), ("field.tif", "field.png.png")):
        grey = np.asarray(Image.open(run / "masks" / mask))
        nucleus, cell, instance = tifffile.imread(tmp_path / "tif" / file)
        np.testing.assert_array_equal(nucleus, grey == 255)
        np.testing.assert_array_equal(cell, grey >= 170)
        if file == "field.tif":
            np.testing.assert_array_equal(instance, np.asarray(Image.open(run / "instances" / "field.png.png")))
    assert main([*arguments, str(tmp_path / "coco"), "--format", "coco"]) == 0
    assert len(COCO(str(tmp_path / "coco" / "instances.json")).getAnnIds()) == 8
    assert main([*arguments, str(tmp_path / "csv"), "--format", "csv", "--units", "um"]) == 0
    table, known = pd.read_csv(tmp_path / "csv" / "cells.csv"), pd.read_csv(run / "cells.csv")
    assert sorted(table[AREA]) == pytest.approx(sorted(known[AREA] * 0.01))
    about = (tmp_path / "csv" / "about.json").read_text()
    assert json.loads(json.loads(about)["settings"])["input"] == "images"
    assert str(run.parent) not in about


def test_what_is_there_is_kept_and_wrong_use_is_told_before_the_work(run, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    arguments = ["exchange", "run", str(run), "--format", "yolo", "--out", str(out)]
    assert main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    assert (out / "mine.txt").read_text() == "mine"
    assert main([*arguments, "--force"]) == 0
    assert not (out / "mine.txt").exists()
    assert main(["exchange", "run", str(tmp_path), "--format", "coco", "--out", str(tmp_path / "x")]) == 2
    assert main(["exchange", "image", "no.png", "--format", "xlsx", "--out", str(tmp_path / "x.csv")]) == 2
    assert "must end in .xlsx" in capsys.readouterr().err


def test_an_image_is_measured_and_handed_over(tmp_path, capsys):
    picture = tmp_path / "cell.png"
    picture.write_bytes(encode_png(draw_cell(7, SYNTHETIC_CELLS["lymphocyte"])[0].rgb))
    out = tmp_path / "out"
    assert main(["exchange", "image", str(picture), "--um-per-px", "0.1", "--format", "qupath", "--out", str(out)]) == 0
    (feature,) = json.loads((out / "cell.geojson").read_text())["features"]
    assert any("µm²" in name for name in feature["properties"]["measurements"])
    mask = ["features", "--image", str(picture), "--mask", str(out / "cell.geojson"), "--json"]
    capsys.readouterr()
    assert main(mask) == 0
    assert AREA in capsys.readouterr().out


def test_populations_and_selections_of_the_cohort(drawn_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(drawn_root))
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(tmp_path / "own"))
    every, chosen = tmp_path / "every.h5ad", tmp_path / "chosen.h5ad"
    arguments = ["exchange", "cohort", "--format", "anndata", "--out"]
    assert main([*arguments, str(every)]) == 0
    (tmp_path / "selection.json").write_text(to_json(Selection(populations=("monocyte_drawn",), quality=Quality.GOOD)))
    assert main([*arguments, str(chosen), "--selection", str(tmp_path / "selection.json")]) == 0
    found = anndata.read_h5ad(chosen)
    assert set(found.obs["population"]) == {"monocyte_drawn"}
    assert found.obs["quality_ok"].all()
    assert 0 < found.n_obs < anndata.read_h5ad(every).n_obs
    assert "population is monocyte_drawn" in found.uns["leukoscope"]["selection"]
    assert main(["exchange", "cohort", "nowhere", "--format", "coco", "--out", str(tmp_path / "x")]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_case_by_its_folder(segmenter, tmp_path):
    cases = Cases(tmp_path / "cases" / "me")
    case = cases.create("Patient 7", "hairy?")
    data = encode_png(draw_cell(3, SYNTHETIC_CELLS["lymphocyte"])[0].rgb)
    image = decode(data, "a.png")
    record = CaseImage("a.png", image.sha256, len(data), GivenScale(0.1), "odd", 1)
    cases.put(case.id, record, data, pack(analyse_cells(image, segmenter)), seen_notes="")
    out = tmp_path / "out.xlsx"
    assert main(["exchange", "case", str(cases.folder / case.id), "--format", "xlsx", "--out", str(out)]) == 0
    table = pd.read_excel(out)
    assert (table["image_path"][0], table["note"][0], table["um_per_px"][0]) == ("a.png", "odd", 0.1)
