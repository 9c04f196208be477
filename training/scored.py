"""A model that is to be scored, of a models folder or of a training run, and the images that it has not learnt from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.domain.errors import UsageError
from core.domain.options import Device
from core.evaluation.datasets import Sample
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter, TwoPassSegmenter
from training.localiser.evaluation import scored_localiser
from training.loop import SPLIT_FILE
from training.segmenter import TorchSegmenter, shipped_localiser
from training.trainer import find_device


@dataclass(frozen=True)
class ScoredModel:
    """An opened model, its name, and the split of the images that it was trained with, None where nobody knows it."""

    name: str
    segmenter: TwoPassSegmenter
    split: Path | None


def opened(given: str | None, *, views: int = 1, localiser: Path | None = None) -> ScoredModel:
    """The model of that id (None: that in use), or of the training run whose folder is given.

    `localiser` is the run of the localiser that finds the cells for a training run, by default that of the app's model.

    Raises
    ------
    ModelError
        If there is no such model, or the run has none yet.
    UsageError
        If a localiser is given for anything but a training run.
    """
    if given and (run := Path(given)).is_dir():
        finder = scored_localiser(localiser) if localiser else shipped_localiser()
        segmenter = TorchSegmenter.from_run(run, find_device("cpu"), views=views, localiser=finder)
        return ScoredModel(given, segmenter, run / SPLIT_FILE)
    if localiser:
        msg = (
            f"--localiser goes with the run of a network, but --model is {given or 'not given'}; name the run's folder"
        )
        raise UsageError(msg)
    entry = find_model(given)
    return ScoredModel(entry.model_id, OnnxSegmenter.from_entry(entry, Device.CPU, views=views), entry.split)


def untouched(samples: Sequence[Sample], splits: Sequence[Path]) -> list[Sample]:
    """Those that no model of these splits learnt from or was chosen on, nor anything of their group."""
    known: set[str] = set()
    for split in splits:
        parts = json.loads(split.read_text(encoding="utf-8"))
        known |= {*parts["train"], *parts["validation"]}
    groups = {sample.group for sample in samples if sample.sample_id in known}
    return [sample for sample in samples if sample.sample_id not in known and sample.group not in groups]
