"""The judge of outlines: what it expects, its file, and what is said of a run with a new stain."""

import json
from dataclasses import replace

import numpy as np
import pytest

from core.domain.compartments import Compartment
from core.domain.errors import ModelError
from core.domain.objects import FoundObject, ObjectKind
from core.domain.types import LabelMap, Segmentation
from core.quality.novelty import Coefficient, LogisticScore
from core.quality.outline_quality import OutlineJudge, judge_of_file, load, save, stain_news

SCORE = LogisticScore(
    2.9,
    {
        "certainty": Coefficient(1.3, 0.2, 0.1),
        "box": Coefficient(0.86, 0.25, 0.74),
    },
)
CHECKED = {"cells": 262.0, "dice": 0.951, "poor": 0.012}
JUDGE = OutlineJudge("m", "ab" * 32, "2026-11-30", "python -m core quality", SCORE, 0.9, 0.96, ("set1",), CHECKED, {})


def outline(radius):
    y, x = np.mgrid[:200, :200]
    labels = np.where(np.hypot(y - 99.5, x - 99.5) < radius, Compartment.CYTOPLASM, 0).astype(np.uint8)
    return Segmentation(
        LabelMap(labels), 0.95, 0, "", "", 0.0, FoundObject(ObjectKind.LEUKOCYTE, 60, 60, 140, 140, 0.9)
    )


def test_an_outline_that_fills_its_box_is_believed_and_a_wide_one_is_not():
    right, wide = JUDGE.judged(outline(40)), JUDGE.judged(outline(58))
    assert right.quality > 0.95
    assert not right.doubtful
    assert right.fault is None
    assert wide.quality < 0.9
    assert wide.doubtful
    assert wide.fault.takes_in


def test_what_no_localiser_found_is_not_judged():
    assert JUDGE.judged(replace(outline(40), found=None)) is None


def test_what_is_saved_is_read_again_for_the_same_model_only(tmp_path):
    path = tmp_path / "m.quality.json"
    save(JUDGE, path)
    assert load(path, JUDGE.model_sha256) == JUDGE
    assert judge_of_file(path, JUDGE.model_sha256) == JUDGE
    assert judge_of_file(None, "") is None
    with pytest.raises(ModelError, match="made with another file of the model"):
        load(path, "cd" * 32)


@pytest.mark.parametrize("change", [lambda raw: raw.pop("limit"), lambda raw: raw.update(limit="high")])
def test_a_damaged_file_says_what_to_do(tmp_path, change):
    path = tmp_path / "m.quality.json"
    save(JUDGE, path)
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(ModelError, match=r"missing or damaged .*python -m core quality"):
        load(path, JUDGE.model_sha256)


def test_a_new_stain_is_told_once_and_only_of_runs_that_have_it():
    assert stain_news(3, 100, JUDGE) is None
    assert stain_news(0, 0, JUDGE) is None
    many = stain_news(80, 100, JUDGE)
    for words in ("80 of 100 cells", "nothing against a cell by itself", "262 drawn cells", "0.95", "1.2%"):
        assert words in many
    assert stain_news(1, 1, None).startswith("The stain of this cell is unlike")
