"""`leukoscope cohort stain`, and `--stain` of the commands that measure."""

import json
from pathlib import Path

import pandas as pd
import pytest

from core.store import stains
from tests.core.cli.support import fails_as_wrong_use, run, save_cell
from tests.stained import OURS, THEIRS, TRUE, write_stained


@pytest.fixture
def two(tmp_path):
    """Two sources in the cohort of the test; where their pictures are."""
    write_stained(tmp_path / "cohort", tmp_path / "pictures")
    return tmp_path / "pictures"


def find(capsys, *more):
    return run(capsys, "cohort", "stain", OURS, "--to", THEIRS, "--name", TRUE.name, *more)


def keep(root: Path, **changes: float) -> None:
    """A record of factors, as `cohort stain` leaves it."""
    channels = {"red": 0.7, "green": 0.8, "blue": 1.2} | changes
    plain = {
        "factors": {"name": "x", **channels},
        "source": "a",
        "reference": "b",
        "cell_type": "lymphocyte",
        "cells": [20, 20],
        "densities": [[1, 1, 1], [1, 1, 1]],
    }
    (root / "stains").mkdir(parents=True, exist_ok=True)
    (root / "stains" / "x.json").write_text(json.dumps(plain))


def test_factors_are_found_in_pictures_kept_and_told(two, tmp_path, capsys):
    code, out, err = find(capsys, "--images", two)
    assert code == 0
    assert err.startswith("ours is set to the stain of theirs: densities times")
    assert "red: 0." in out
    assert f"--stain {TRUE.name}` measures with it" in out
    kept = stains.find(tmp_path / "cohort", TRUE.name)
    assert kept.factors.channels == pytest.approx(TRUE.channels, rel=0.05)
    code, out, _ = find(capsys, "--images", two, "--json", "--check", "20")
    told = json.loads(out)
    assert told["stain"]["factors"]["red"] == kept.factors.red
    assert {effect["cell_type"] for effect in told["effect"]} == {"monocyte", "lymphocyte"}


def test_what_tells_no_factors_is_refused_in_words(two, capsys):
    code, _, err = find(capsys)
    assert code == 2
    assert "theirs has 0 (of 24 good lymphocytes in the cohort); give the folders of its images (--images)" in err
    assert "but 5 were asked for" in find(capsys, "--check", "5")[2]
    assert fails_as_wrong_use("cohort", "stain", OURS, "--name", "x")


def test_analyse_measures_with_the_factors_and_says_so(tmp_path, capsys):
    keep(tmp_path / "cohort")
    image = save_cell(tmp_path / "images" / "a.png")
    tables = {}
    for name, more in (("plain", ()), ("stained", ("--stain", "x"))):
        out = tmp_path / name
        code, told, _ = run(capsys, "analyse", image, "--out", out, "--json", *more)
        assert code == 0
        tables[name] = pd.read_parquet(out / "features.parquet")
    note = "densities times 0.70 red, 0.80 green, 1.20 blue before measuring (stain factors x)"
    assert note in json.loads(told)["images"][0]["notes"]
    assert tables["plain"]["stain"].isna().all()
    assert tables["stained"]["stain"].tolist() == ["x 0.7 0.8 1.2"]
    means = [tables[name]["nucleus_od_Mean"].item() for name in ("plain", "stained")]
    assert means[0] != means[1]
    code, _, err = run(capsys, "analyse", image, "--out", tmp_path / "none", "--stain", "y")
    assert code != 0
    assert "there is no record of stain factors 'y'; there are: x" in err


def test_a_batch_keeps_its_factors_and_others_begin_a_new_run(tmp_path, capsys):
    keep(tmp_path / "cohort")
    save_cell(tmp_path / "images" / "a.png")

    def batch(*more):
        code, said, _ = run(capsys, "batch", tmp_path / "images", "--out", tmp_path / "out", "--json", *more)
        assert code == 0
        return json.loads(said)["skipped"], pd.read_csv(tmp_path / "out" / "cells.csv")["stain"].tolist()

    assert batch("--stain", "x") == (0, ["x 0.7 0.8 1.2"])
    assert batch("--stain", "x") == (1, ["x 0.7 0.8 1.2"])
    assert "0.7" in (tmp_path / "out" / "run.json").read_text()
    keep(tmp_path / "cohort", red=0.75)  # the same name, other factors
    assert batch("--stain", "x") == (0, ["x 0.75 0.8 1.2"])


def test_an_imported_population_remembers_its_factors(tmp_path, capsys):
    keep(tmp_path / "cohort")
    save_cell(tmp_path / "images" / "a.png")
    code, *_ = run(
        capsys, "cohort", "import", tmp_path / "images", "--source", "here", "--cell-type", "lymphocyte", "--id", "own",
        "--stain", "x",
    )  # fmt: skip
    assert code == 0
    assert run(capsys, "cohort", "export", "own", "--out", tmp_path / "own.csv")[0] == 0
    table = pd.read_csv(tmp_path / "own.csv")
    assert table["stain"].tolist() == ["x 0.7 0.8 1.2"]
    assert "stain factors x" in table["notes"].item()
    # What export writes, import reads, and factors that are none are refused.
    again = ["--source", "here", "--cell-type", "lymphocyte", "--id", "again", "--name", "Again"]
    assert run(capsys, "cohort", "import-table", tmp_path / "own.csv", *again)[0] == 0
    table.assign(stain="x 0.7").to_csv(tmp_path / "bad.csv", index=False)
    code, _, err = run(capsys, "cohort", "import-table", tmp_path / "bad.csv", *again, "--replace")
    assert code != 0
    assert "a name and three factors from 0.2 to 5" in err
