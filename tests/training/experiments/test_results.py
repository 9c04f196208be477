import json

import numpy as np
import pandas as pd
import pytest

from core.domain.errors import UsageError
from core.domain.settings import ROOT
from training.config import TrainingConfig
from training.experiments.disturbances import ImagingCondition
from training.experiments.results import NOTES, results_table, write_results
from training.experiments.validation import IMAGES_FILE, REPORT_FILE, criterion

CONFIGS = ROOT / "training" / "configs" / "experiments"


def filed(root, name, change=0.0, **settings):
    """A finished run of ten cells a source, whose Dice are known."""
    rng = np.random.default_rng(0)
    rows = []
    for source, level in (("set1", 0.9), ("set2", 0.8)):
        for cell in range(10):
            for condition in ImagingCondition:
                dice = level + 0.05 * rng.random() + change
                rows.append(
                    {
                        "source": source,
                        "sample_id": f"{source}/{cell}",
                        "condition": str(condition),
                        "dice_nucleus": dice,
                        "dice_cytoplasm": dice - 0.1,
                        "dice_cell": dice,
                    }
                )
    folder = root / f"{name}-leave-one-source-out-n40"
    folder.mkdir(parents=True)
    table = pd.DataFrame(rows)
    table.to_parquet(folder / IMAGES_FILE)
    report = {
        "name": name,
        "plan": {"scheme": "leave-one-source-out", "k": None, "subset": 40},
        "criterion": criterion(table),
        "config": {"name": name, "boundary_weight": 0.0, **settings},
        "confidence": {str(ImagingCondition.CLEAN): {"spearman": 0.5, "auroc": 0.8, "poor": 3}},
        "splits": {"unseen-set1": {"minutes_training": 8.0, "minutes_scoring": 2.0}},
        "commit": "0123456789",
    }
    (folder / REPORT_FILE).write_text(json.dumps(report))
    return table


def test_every_experiment_can_be_read_and_is_named_as_its_file():
    files = sorted(CONFIGS.glob("*.toml"))
    assert files
    for path in files:
        assert TrainingConfig.from_toml(path).name == path.stem


def test_table_sorts_by_criterion_and_tells_changes_and_differences(tmp_path):
    base = filed(tmp_path, "base")
    better = filed(tmp_path, "better", 0.02, boundary_weight=0.5)
    filed(tmp_path, "worse", -0.03)
    lines = results_table(tmp_path, "base").splitlines()
    assert [line.split("|")[1].split("-leave")[0].strip() for line in lines[2:]] == ["better", "base", "worse"]
    assert "boundary_weight 0.5" in lines[2]
    difference = criterion(better) - criterion(base)
    # All cells change by the same, so that the interval is as narrow as it can be.
    assert f"{difference:+.4f} ({difference:+.4f} to {difference:+.4f})" in lines[2]
    assert "| 10 |" in lines[2]
    assert "(" not in lines[3].split("|")[4]
    assert len({line.count("|") for line in lines}) == 1


def test_table_without_runs_says_so(tmp_path):
    assert results_table(tmp_path, "base") == "No run has finished yet."


def test_results_are_written_between_their_marks_only(tmp_path):
    notes = tmp_path / "NOTES.md"
    notes.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    write_results("| new |\\1", notes)
    assert notes.read_text() == "before\n<!-- results -->\n| new |\\1\n<!-- /results -->\nafter\n"
    notes.write_text("nothing")
    with pytest.raises(UsageError, match=r"NOTES\.md has no <!-- results -->"):
        write_results("x", notes)
    assert "<!-- results -->" in NOTES.read_text(encoding="utf-8")
