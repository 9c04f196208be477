"""`leukoscope cohort compare`, run in this process: all cells together, inside each source, and calibrated."""

import json

import pandas as pd
import pytest

from core.features.catalogue import CATALOGUE
from tests.core.cli.support import run
from tests.laboratories import BARCELONA, JOHNS_HOPKINS


@pytest.fixture(autouse=True)
def own_cohort(calibrated, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(calibrated))


def test_a_calibrated_comparison_says_so_everywhere(capsys, tmp_path):
    pair = ["cohort", "compare", "apl_deepapl", "promyelocyte_acevedo", "--calibrated", "jh-to-bcn"]
    code, out, err = run(capsys, *pair, "--json")
    assert code == 0
    assert "calibrated by jh-to-bcn" in err
    assert "is set to" in err
    rows = {row["feature"]: row for row in json.loads(out)}
    assert {row["calibrated_by"] for row in rows.values()} == {"jh-to-bcn"}
    granularity = rows["nucleus_granularity_Medium"]
    assert granularity["effect"] is None
    assert "does not close" in granularity["not_compared"]
    tone = [row for row in rows.values() if row["effect"] is not None and CATALOGUE[row["feature"]].intensity_dependent]
    assert len(tone) > 20
    assert run(capsys, *pair, "--out", tmp_path / "a.html")[0] == 0
    assert "Values are calibrated." in (tmp_path / "a.html").read_text(encoding="utf-8")
    code, _, err = run(capsys, "cohort", "compare", "apl_deepapl", "promyelocyte_acevedo", "--calibrated", "other")
    assert code == 1
    assert "no calibration 'other'; there are: jh-to-bcn" in err


def test_two_kinds_are_compared_inside_each_source(capsys, tmp_path):
    inside = ["cohort", "compare", "monocyte", "lymphocyte", "--within", "source"]
    code, out, err = run(capsys, *inside, "--json")
    assert code == 0
    assert f"{JOHNS_HOPKINS}: 357 monocytes and 632 lymphocytes, 58 and 69 patients." in err
    rows = json.loads(out)
    assert rows[0]["aspect"] == "Size and shape"
    assert rows[0]["smallest"] > 0.9
    assert f"delta {BARCELONA}" in rows[0]
    assert run(capsys, *inside, "--out", tmp_path / "a.csv")[0] == 0
    assert pd.read_csv(tmp_path / "a.csv")["feature"].tolist() == [row["feature"] for row in rows]
    assert run(capsys, *inside, "--out", tmp_path / "a.html")[0] == 0
    assert "inside each source" in (tmp_path / "a.html").read_text(encoding="utf-8")
    code, _, err = run(capsys, "cohort", "compare", "apl", "promyelocyte", "--within", "source")
    assert code == 2
    assert "no cell in view is of" in err or "no source has 12 cells" in err
