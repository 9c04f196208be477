"""Models that are scored, and the images that none of them has learnt from."""

import json
from dataclasses import replace

import pytest

from core.domain.errors import ModelError, UsageError
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter
from tests.training.tiny import DUPLICATES
from training.loop import SPLIT_FILE
from training.scored import opened, untouched
from training.segmenter import TorchSegmenter


def test_a_model_is_opened_by_its_id_or_as_the_one_in_use() -> None:
    entry = find_model()
    for model in (opened(entry.model_id), opened(None)):
        assert isinstance(model.segmenter, OnnxSegmenter)
        assert (model.name, model.split) == (entry.model_id, entry.split)
    with pytest.raises(ModelError, match="unknown model 'nobody'"):
        opened("nobody")


def test_the_folder_of_a_run_is_opened_with_the_localiser_of_the_model_in_use(trained_run) -> None:
    model = opened(str(trained_run))
    assert isinstance(model.segmenter, TorchSegmenter)
    assert (model.name, model.split) == (str(trained_run), trained_run / SPLIT_FILE)
    assert model.segmenter.localiser is not None


def test_a_localiser_goes_with_a_run_only(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"--model is not given; name the run's folder"):
        opened(None, localiser=tmp_path)


def test_what_any_model_learnt_from_or_was_chosen_on_is_left_out_with_its_group(samples, tmp_path) -> None:
    ids = [sample.sample_id for sample in samples]
    parts = ({"train": [DUPLICATES[0]], "validation": [ids[2]], "test": ids}, {"train": [ids[3]], "validation": []})
    splits = [tmp_path / "first.json", tmp_path / "second.json"]
    for split, part in zip(splits, parts, strict=True):
        split.write_text(json.dumps(part))
    left = [sample.sample_id for sample in untouched(samples, splits)]
    assert left == [name for name in ids if name not in (*DUPLICATES, ids[2], ids[3])]
    assert untouched(samples, []) == samples
    renamed = [replace(sample, sample_id=f"other/{number}") for number, sample in enumerate(samples)]
    assert untouched(renamed, splits) == renamed
