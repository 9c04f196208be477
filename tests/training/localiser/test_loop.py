import dataclasses
import json
import math

import numpy as np
import onnxruntime
import pytest
import torch

from core.domain.errors import ModelError, UsageError
from core.domain.options import Device
from core.segmentation.localiser import FoundObject, Localiser, OnnxLocaliser
from core.segmentation.localiser_card import ObjectKind
from export.__main__ import main as export_main
from tests.training.localiser.boxed import write_boxed
from training.__main__ import main
from training.localiser.boxes import KINDS, read_boxed
from training.localiser.config import LocaliserConfig
from training.localiser.evaluation import (
    TorchLocaliser,
    choose_scores,
    finding_in_words,
    localiser_card,
    score_localiser,
    summarise_finding,
)
from training.localiser.loop import CHECKPOINT_FILE, SCORES_FILE, WEIGHTS_FILE, fit_localiser, load_localiser
from training.localiser.loss import localiser_loss
from training.localiser.targets import Targets

TINY = LocaliserConfig(
    sources=("PBC",),
    shares=(1.0,),
    scene=64,
    largest=60,
    validation=0.5,
    epochs=1,
    scenes_per_epoch=4,
    batch_size=2,
    workers=0,
)


@pytest.fixture(scope="session")
def localiser_run(tiny_root, tmp_path_factory):
    """A run of one epoch, made by the command line."""
    write_boxed(tiny_root)
    folder = tmp_path_factory.mktemp("localiser")
    (folder / "tiny.toml").write_text(TINY.to_toml())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_DATA", str(tiny_root))
        assert main(["localise", "--config", str(folder / "tiny.toml"), "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_a_run_tells_its_split_its_thresholds_and_its_scores_and_is_not_mixed_with_others(localiser_run, tiny_data):
    scores = json.loads((localiser_run / SCORES_FILE).read_text())
    assert set(scores["least_scores"]) == set(ObjectKind)
    assert {row["shrunk"] for row in scores["validation"]} == {1, 2, 4, 8}
    with pytest.raises(UsageError, match="other settings"):
        fit_localiser(dataclasses.replace(TINY, seed=8), localiser_run)
    with pytest.raises(ModelError, match="holds no weights"):
        load_localiser(localiser_run.parent)


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tiny_data, tmp_path):
    write_boxed(tiny_data)
    config = dataclasses.replace(TINY, epochs=2)

    class StopError(Exception):
        pass

    def stop(row):
        raise StopError

    with pytest.raises(StopError):
        fit_localiser(config, tmp_path / "stopped", on_epoch=stop)
    assert (tmp_path / "stopped" / CHECKPOINT_FILE).exists()
    for name in ("stopped", "whole"):
        fit_localiser(config, tmp_path / name)
    one, other = (load_localiser(tmp_path / name)[0].state_dict() for name in ("stopped", "whole"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_after_a_full_disk_the_run_goes_on(tiny_data, tmp_path, full_disk):
    write_boxed(tiny_data)
    for name in ("config.toml", WEIGHTS_FILE, CHECKPOINT_FILE):
        full_disk(name)
        with pytest.raises(OSError, match="No space left") as caught:
            fit_localiser(TINY, tmp_path / "run")
        assert caught.value.filename.endswith(name)
        assert not list((tmp_path / "run").glob(".*"))
    for name in ("run", "whole"):
        fit_localiser(TINY, tmp_path / name)
    one, other = (load_localiser(tmp_path / name)[0].state_dict() for name in ("run", "whole"))
    assert all(torch.equal(value, other[key]) for key, value in one.items())


def test_an_exported_file_says_what_torch_says_and_finding_scores_it(localiser_run, tiny_data, tmp_path, capsys):
    out = tmp_path / "tiny.onnx"
    assert export_main([str(localiser_run), "--out", str(out)]) == 0
    capsys.readouterr()
    exported = OnnxLocaliser(out, Device.CPU, threads=1)
    network, config = load_localiser(localiser_run)
    rgb = read_boxed(("PBC",))[0].rgb
    found, expected = (one.find(rgb, 0.01) for one in (exported, TorchLocaliser(network, localiser_card(config))))
    assert len(found) == len(expected) > 0
    assert found[0].score == pytest.approx(expected[0].score, abs=1e-3)
    assert exported.card.localiser_id == "tiny"
    assert str(tmp_path) not in str(onnxruntime.InferenceSession(str(out)).get_modelmeta().custom_metadata_map)
    assert main(["finding", "--localiser", str(out), "--sources", "PBC", "--shrunk", "1", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["source"], row["leukocyte"]["drawn"]) == ("PBC", 6)


class KnowsAll(Localiser):
    """Finds what it was told of each image, by its mean colour."""

    def __init__(self, answers):
        super().__init__(localiser_card(TINY), "none")
        self.answers = answers

    def maps(self, images):
        raise NotImplementedError

    def find_many(self, images, least=None):
        assert least == 0.05
        return [self.answers[float(rgb.mean())] for rgb in images]


def test_scores_count_what_was_found_and_missed_and_measure_sizes(tiny_data):
    write_boxed(tiny_data)
    images = read_boxed(("PBC",))
    answers = {
        float(image.rgb.mean()): [
            FoundObject(KINDS[kind], left, top, right + 4 * (kind == 0), bottom, 0.9)
            for kind, (left, top, right, bottom) in zip(image.kinds, image.boxes.tolist(), strict=True)
        ]
        for image in images
    }
    key = float(images[0].rgb.mean())
    answers[key] = [*answers[key][1:], FoundObject(ObjectKind.LEUKOCYTE, 5, 150, 45, 190, 0.6)]
    scores = score_localiser(KnowsAll(answers), images, (1,))
    (row,) = summarise_finding(scores, {str(kind): 0.35 for kind in KINDS})
    white = row["leukocyte"]
    assert (white["drawn"], white["false"], white["recall"]) == (6, 1, pytest.approx(5 / 6, abs=1e-4))
    assert white["size_error"] == pytest.approx(math.log(84 / 80) / 2, abs=0.003)
    assert (row["red_cell"]["recall"], row["red_cell"]["precision"], row["ruler_error"]) == (1, 1, 0)
    assert choose_scores(scores)["leukocyte"] > 0.6
    assert "PBC" in finding_in_words([row])


def test_the_loss_is_least_where_the_maps_say_what_is_wanted():
    targets = Targets(64)
    targets.add(0, np.array([10, 10, 50, 50], np.float32), np.array([0, 0, 64, 64], np.float32))
    wanted = [torch.from_numpy(a)[None] for a in (targets.peaks, targets.weights, targets.distances, targets.measured)]
    right = torch.cat([torch.logit(wanted[0].clamp(0.001, 0.999)), wanted[2]], dim=1)
    wrong = torch.cat([right[:, :4].roll(5, dims=3), wanted[2] + 0.5], dim=1)
    assert localiser_loss(right, *wanted) < 0.1 * localiser_loss(wrong, *wanted)
