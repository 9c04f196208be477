import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.evaluation.datasets import Sample
from core.image.imaging import encode_png
from core.image.masks import cell_mask
from core.image.morphology import bounds
from core.image.synthetic import draw_cell
from tests.training.test_segmenter import SCALE, ByColour
from tests.training.tiny import tiny_config
from training.data import load_labelled, masked_samples
from training.experiments.boxed import LEAST_FIT, write_boxed
from training.experiments.pseudo import LABELS_FILE
from training.loop import SPLIT_FILE, _pseudo_samples
from training.segmenter import TorchSegmenter


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """A drawn cell with the box of its outline, and the same cell with a box that is twice as wide."""
    root = tmp_path_factory.mktemp("boxed")
    image, labels = draw_cell(3)
    rows, columns = bounds(cell_mask(labels))
    height, width = image.shape
    centre = (columns.start + columns.stop) / 2 / width, (rows.start + rows.stop) / 2 / height
    size = (columns.stop - columns.start) / width, (rows.stop - rows.start) / height
    samples = []
    for part in ("images", "labels"):
        (root / part).mkdir()
    for name, wider in (("good", 1.0), ("bad", 2.0)):
        (root / "images" / f"{name}.png").write_bytes(encode_png(image.rgb))
        (root / "labels" / f"{name}.txt").write_text(
            f"0 {centre[0]} {centre[1]} {wider * size[0]} {size[1]}\n1 0.1 0.1 0.1 0.1\n"
        )
        samples.append(
            Sample(f"boxes/Lab/{name}.png", root / "images" / f"{name}.png", None, "other", f"boxes/Lab/{name}")
        )
    split = root / "split.json"
    split.write_text(json.dumps({"train": [], "validation": [], "test": []}))
    teacher = TorchSegmenter(ByColour(), tiny_config(input_size=128), SCALE, torch.device("cpu"))
    kept, seen = write_boxed(teacher, split, samples, root / "pseudo")
    assert (kept, seen) == (1, 2)
    return samples, labels, root / "pseudo"


def test_only_an_outline_that_fits_its_box_becomes_a_training_image(boxed):
    _, drawn, folder = boxed
    with (folder / LABELS_FILE).open(newline="") as handle:
        (row,) = csv.DictReader(handle)
    assert row["image_id"] == "boxes-Lab-good-0"
    assert float(row["fit"]) >= LEAST_FIT
    assert (folder / SPLIT_FILE).is_file()
    (sample,) = masked_samples((str(folder),))
    item, _ = load_labelled(sample)
    area = np.count_nonzero(cell_mask(drawn))
    assert np.count_nonzero(cell_mask(item.labels)) == pytest.approx(area, rel=0.1)


def test_a_source_can_be_left_out_of_training(boxed):
    config = tiny_config(pseudo_sets=(str(boxed[2]),), pseudo_probability=0.5)
    assert len(_pseudo_samples(config)) == 1
    assert _pseudo_samples(replace(config, pseudo_without=("boxes-Lab",))) == []
