"""`leukoscope cohort calibrate`, `calibrations` and `laboratories`, run in this process."""

import json

import pytest

from core.domain.cell_types import CellType
from core.domain.types import StainFactors
from core.explorer import laboratory_effect
from core.populations.staining import LaboratoryStain
from core.store import stains
from tests.core.cli.support import run
from tests.laboratories import BARCELONA, JOHNS_HOPKINS


@pytest.fixture(autouse=True)
def own_cohort(calibrated, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(calibrated))


def test_a_calibration_is_listed_and_forgotten(capsys, calibrated):
    code, out, _ = run(capsys, "cohort", "calibrations")
    assert code == 0
    assert out.startswith(f"jh-to-bcn: {JOHNS_HOPKINS} is set to {BARCELONA} by one shift a feature")
    said = json.loads(run(capsys, "cohort", "calibrations", "--json")[1])
    (told,), factors = said["calibrations"], said["stains"]
    assert factors == []
    assert set(told["shifts"]["nucleus_firstorder_Mean"]) == {"shift", "left_out"}
    text = (calibrated / "calibrations" / "jh-to-bcn.json").read_text()
    assert run(capsys, "cohort", "calibrations", "--forget", "jh-to-bcn")[:2] == (0, "")
    (calibrated / "calibrations" / "jh-to-bcn.json").write_text(text[:100])
    code, out, err = run(capsys, "cohort", "calibrations")
    assert (code, out) == (1, "")
    assert "set aside: " in err
    (calibrated / "calibrations" / "jh-to-bcn.json").write_text(text)


def test_stain_factors_are_listed_and_forgotten_too(capsys, calibrated):
    factors = StainFactors("darker", 1.2, 1.1, 1.0)
    nuclei = ((0.5, 0.6, 0.3), (0.4, 0.5, 0.3))
    stains.save(calibrated, LaboratoryStain(factors, "ours", BARCELONA, CellType.LYMPHOCYTE, (50, 40), nuclei))
    assert "darker: ours is set to the stain of" in run(capsys, "cohort", "calibrations")[1]
    code, out, _ = run(capsys, "cohort", "calibrations", "--forget-stain", "darker")
    assert code == 0
    assert "darker" not in out
    assert run(capsys, "cohort", "calibrations", "--forget-stain", "darker")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["Munich, bone marrow", "--to", BARCELONA, "--name", "x"], 2, "share no kind of cells"),
        ([JOHNS_HOPKINS, "--to", "nowhere", "--name", "x"], 2, "no good cell of a source 'nowhere'"),
        ([JOHNS_HOPKINS, "--to", BARCELONA, "--name", "x", "--types", "monocyte"], 2, "share only monocytes"),
        ([JOHNS_HOPKINS, "--to", BARCELONA, "--name", "No Name"], 1, "lower-case letters"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_in_words(capsys, arguments, code, words):
    found, _, err = run(capsys, "cohort", "calibrate", *arguments)
    assert found == code
    assert words in err


def test_the_tables_of_laboratories_are_printed(capsys, monkeypatch):
    monkeypatch.setattr(laboratory_effect, "SPLITS", 1)
    code, out, _ = run(capsys, "cohort", "laboratories")
    assert code == 0
    for words in ("Good cells of each source", "median |delta| by family", "how these agree", "kind left out"):
        assert words in out
    found = json.loads(run(capsys, "cohort", "laboratories", "--json")[1])
    assert [pair["source"] for pair in found["pairs"]] == [JOHNS_HOPKINS]
    assert f"against {BARCELONA}" in out
