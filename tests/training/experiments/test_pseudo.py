import csv
import json

import numpy as np
import pytest
import torch

from core.domain.cell_types import CellType
from core.domain.errors import DataSetError, UsageError
from core.evaluation.datasets import Sample
from core.evaluation.metrics import overlap
from core.image.imaging import encode_png
from core.image.masks import cell_mask
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from tests.training.test_segmenter import SCALE, ByColour
from tests.training.tiny import tiny_config
from training.data import SegDataset, load_labelled, masked_samples
from training.experiments.pseudo import LABELS_FILE, SEEN_FILE, consistency, unlabelled_samples, write_pseudo
from training.loop import SPLIT_FILE
from training.segmenter import TorchSegmenter

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def teacher():
    return TorchSegmenter(ByColour(), tiny_config(input_size=128), SCALE, CPU)


@pytest.fixture
def split(tmp_path):
    path = tmp_path / "teacher.json"
    path.write_text(json.dumps({"train": ["set1/a"], "validation": ["set1/b"], "test": []}))
    return path


@pytest.fixture
def unlabelled(tmp_path):
    """Two drawn cells, and a picture without one."""
    folder = tmp_path / "third"
    folder.mkdir()
    samples = []
    for name in ("lymphocyte", "monocyte"):
        (folder / f"{name}.png").write_bytes(encode_png(draw_cell(3, SYNTHETIC_CELLS[name])[0].rgb))
        samples.append(Sample(f"third/{name}.png", folder / f"{name}.png", None, CellType(name), f"third/{name}"))
    (folder / "empty.png").write_bytes(encode_png(np.full((200, 200, 3), 240, np.uint8)))
    samples.append(Sample("third/empty.png", folder / "empty.png", None, CellType.MONOCYTE, "third/empty"))
    return samples


def test_consistent_outlines_become_a_data_set_that_training_reads(teacher, split, unlabelled, tmp_path):
    folder = tmp_path / "pseudo"
    seen = []
    kept, looked_at = write_pseudo(teacher, split, unlabelled, folder, least_agreement=0.5, on_image=seen.append)
    assert (kept, looked_at, seen) == (2, 3, [1, 2, 3])
    samples = masked_samples((str(folder),))
    assert [sample.cell_type for sample in samples] == [CellType.LYMPHOCYTE, CellType.MONOCYTE]
    items = [load_labelled(sample)[0] for sample in samples]
    for item, drawn in zip(
        items, (draw_cell(3, SYNTHETIC_CELLS[name]) for name in ("lymphocyte", "monocyte")), strict=True
    ):
        assert np.array_equal(item.rgb, drawn[0].rgb)
        assert overlap(cell_mask(item.labels), cell_mask(drawn[1])).dice > 0.8
    config = tiny_config(pseudo_sets=(str(folder),), pseudo_probability=1.0)
    assert SegDataset(items, config, augment=True, pseudo=items)[0][0].shape == (3, 64, 64)
    assert json.loads((folder / SPLIT_FILE).read_text()) == json.loads(split.read_text())
    with (folder / SEEN_FILE).open() as handle:
        reasons = {row["image_id"]: row["left_out"] for row in csv.DictReader(handle)}
    assert reasons["third-empty"] not in ("", "inconsistent")


def test_inconsistent_outlines_are_left_out(teacher, split, unlabelled, tmp_path):
    assert write_pseudo(teacher, split, unlabelled[:2], tmp_path / "strict", least_agreement=1.0) == (0, 2)
    with (tmp_path / "strict" / SEEN_FILE).open() as handle:
        assert {row["left_out"] for row in csv.DictReader(handle)} == {"inconsistent"}
    assert not list((tmp_path / "strict" / "images").iterdir())


def test_a_killed_run_goes_on_and_comes_to_the_same(teacher, split, unlabelled, tmp_path):
    class KilledError(Exception):
        pass

    def kill(number):
        if number == 1:
            raise KilledError

    with pytest.raises(KilledError):
        write_pseudo(teacher, split, unlabelled, tmp_path / "killed", least_agreement=0.5, on_image=kill)
    assert not (tmp_path / "killed" / LABELS_FILE).exists()
    assert write_pseudo(teacher, split, unlabelled, tmp_path / "killed", least_agreement=0.5) == (2, 3)
    write_pseudo(teacher, split, unlabelled, tmp_path / "whole", least_agreement=0.5)
    for name in (SEEN_FILE, LABELS_FILE):
        assert (tmp_path / "killed" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_consistency_is_one_where_turning_changes_nothing_and_less_where_it_does(teacher, synthetic_cell):
    image, _ = synthetic_cell
    labels = teacher.segment(image).labels
    own = consistency(teacher, image.rgb, labels)
    moved = consistency(teacher, image.rgb, np.roll(labels, 12, axis=1))
    assert min(own) > 0.9
    assert max(moved) < min(own)


def test_images_that_must_not_be_trained_on_are_refused():
    with pytest.raises(UsageError, match=r"deepapl must not be trained on: no open licence"):
        unlabelled_samples("deepapl", [CellType.MONOCYTE], 10, 7)


def test_images_are_drawn_evenly_over_the_types_and_the_same_again(tmp_path, monkeypatch):
    folder = tmp_path / "acevedo"
    folder.mkdir()
    rows = [
        f"{cell_type}/{number}.jpg,{cell_type}"
        for cell_type in ("monocyte", "lymphocyte", "platelet")
        for number in range(9)
    ]
    (folder / "manifest.csv").write_text("path,cell_type\n" + "\n".join(rows) + "\n")
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tmp_path))
    types = [CellType.MONOCYTE, CellType.LYMPHOCYTE]
    chosen = unlabelled_samples("acevedo", types, 8, 7)
    assert [str(sample.cell_type) for sample in chosen].count("monocyte") == 4
    assert len(chosen) == 8
    assert unlabelled_samples("acevedo", types, 8, 7) == chosen != unlabelled_samples("acevedo", types, 8, 8)
    assert len(unlabelled_samples("acevedo", types, 0, 7)) == 18
    with pytest.raises(DataSetError, match="acevedo has no images of basophil"):
        unlabelled_samples("acevedo", [CellType.BASOPHIL], 0, 7)
