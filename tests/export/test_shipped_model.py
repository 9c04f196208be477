"""The model the app opens with scores what its card says, on the images it was never shown."""

import json

import pytest

from core.domain.options import Device
from core.domain.settings import ROOT
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter
from training.config import TrainingConfig
from training.data import masked_samples, split_samples
from training.evaluate import by_data_set, evaluate, summarise

CONFIG = ROOT / "training" / "configs" / "shipped.toml"
# Other processors and thread counts move a pixel here and there.
TOLERANCE = 0.002
# What a first model had to reach: cytoplasm and nucleus on the test part of each data set.
REQUIRED = {"set1": {"cytoplasm": 0.94, "nucleus": 0.965}, "set2": {"cytoplasm": 0.92, "nucleus": 0.975}}


@pytest.fixture(scope="module")
def entry():
    return find_model(folder=ROOT / "assets" / "models")


@pytest.fixture(scope="module")
def split(entry):
    return json.loads(entry.path.with_name(f"{entry.model_id}.split.json").read_text())


def test_recorded_split_is_the_one_the_card_tells(entry, split):
    train, validation, test = (split[part] for part in ("train", "validation", "test"))
    assert entry.card.split.startswith(f"{len(train)} train, {len(validation)} validation, {len(test)} test images")
    assert len({*train, *validation, *test}) == len(train) + len(validation) + len(test)


@pytest.mark.data
def test_recorded_split_names_every_image_once_and_keeps_groups_whole(data_dir, split):
    config = TrainingConfig.from_toml(CONFIG)
    samples = masked_samples(config.data_sets)
    parts_of_group: dict[str, set[str]] = {}
    for part, ids in split.items():
        for sample in samples:
            if sample.sample_id in ids:
                parts_of_group.setdefault(sample.group, set()).add(part)
    assert all(len(parts) == 1 for parts in parts_of_group.values())
    # What a training that goes on from this model divides.
    parts = split_samples(samples, config, split)
    assert {part: sorted(sample.sample_id for sample in samples) for part, samples in parts.items()} == split


@pytest.mark.data
def test_shipped_model_scores_what_its_card_says(data_dir, entry, split):
    wanted = set(split["test"])
    samples = masked_samples(TrainingConfig.from_toml(CONFIG).data_sets)
    samples = [sample for sample in samples if sample.sample_id in wanted]
    scores = evaluate(OnnxSegmenter.from_entry(entry, Device.CPU), samples)
    measured = {"test": summarise(scores), **by_data_set(scores)}
    for name, stated in entry.card.scores.items():
        assert measured[name]["images"] == stated["images"]
        for region in ("nucleus", "cytoplasm", "cell"):
            assert measured[name][region]["dice_mean"] == pytest.approx(stated[region]["dice_mean"], abs=TOLERANCE), (
                name,
                region,
            )
    for name, regions in REQUIRED.items():
        for region, least in regions.items():
            assert measured[name][region]["dice_mean"] >= least, (name, region)
