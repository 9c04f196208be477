"""What an adapted model takes over: real files of the shipped model, and one under another id that began with it."""

import json

import pytest

from core.domain.errors import ModelError
from core.evaluation import adaptation, agreement
from core.evaluation.adaptation import ACCOUNT_FILE
from core.quality import novelty, outline_quality
from core.segmentation.model_registry import find_model
from export.adapted import carry_over
from tests.accounts import made_account
from tests.models import write_other_model

LIMIT = 3.25


@pytest.fixture
def adapted(tmp_path, monkeypatch, shipped_model):
    """A folder of models with the shipped network under another id, and the run that it would come from."""
    shipped_model()
    shipped = find_model()
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path / "models"))
    run = tmp_path / "run"
    run.mkdir()
    adaptation.save(made_account(base_id=shipped.model_id, novelty_limit=LIMIT), run / ACCOUNT_FILE)
    return run, write_other_model(tmp_path / "models")


def test_what_was_measured_of_the_first_model_is_carried_over_and_says_so(adapted):
    run, entry = adapted
    base = find_model("unet-slim-lite0")
    assert carry_over(run, entry) == ["novelty", "quality", "reliability"]
    found = find_model(entry.model_id)
    assert adaptation.load(found.adaptation) == adaptation.load(run / ACCOUNT_FILE)
    knowledge = novelty.load(found.novelty, entry.sha256)
    assert knowledge.detector.limit == LIMIT
    assert (knowledge.detector.mean == novelty.load(base.novelty, base.sha256).detector.mean).all()
    judge = outline_quality.load(found.quality, entry.sha256)
    assert judge.limit == outline_quality.load(base.quality, base.sha256).limit
    report = agreement.load_report(found.reliability)
    assert report.model_sha256 == entry.sha256
    for told in (knowledge, judge, report):
        assert told.command.startswith(f"carried over from {base.model_id}")


def test_a_run_that_adapted_nothing_takes_nothing_over(adapted):
    run, entry = adapted
    (run / ACCOUNT_FILE).unlink()
    before = (entry.path.parent / "manifest.json").read_bytes()
    assert carry_over(run, entry) == []
    assert (entry.path.parent / "manifest.json").read_bytes() == before


def test_of_a_run_that_began_with_another_run_there_is_only_the_account(adapted):
    run, entry = adapted
    adaptation.save(made_account(base_id="no model of the registry"), run / ACCOUNT_FILE)
    assert carry_over(run, entry) == []
    found = json.loads((entry.path.parent / "manifest.json").read_text())["models"][entry.model_id]
    assert "adaptation" in found
    assert "novelty" not in found


def test_a_damaged_account_is_told(adapted):
    run, entry = adapted
    (run / ACCOUNT_FILE).write_text("{")
    with pytest.raises(ModelError, match="missing or damaged"):
        carry_over(run, entry)
