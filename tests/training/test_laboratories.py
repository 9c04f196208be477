"""How a model does in a laboratory, with the shipped model on drawn cells."""

import json

import numpy as np
import pytest

from core.domain.options import Device
from core.evaluation.datasets import data_set
from core.image.imaging import encode_png
from core.image.masks import encode_grey
from core.image.synthetic import draw_cell
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter
from training.__main__ import main
from training.laboratories import ImageOutcome, by_laboratory, in_words, score_laboratories, summary


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A laboratory of four drawn cells; the mask of the last lies on another place."""
    folder = tmp_path_factory.mktemp("drawn")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for seed in range(4):
        image, labels = draw_cell(seed)
        mask = np.roll(labels, 90, axis=1) if seed == 3 else labels
        (folder / "images" / f"{seed}.png").write_bytes(encode_png(image.rgb))
        (folder / "masks" / f"{seed}.png").write_bytes(encode_png(encode_grey(mask)))
    return folder


def test_what_is_found_and_outlined_is_compared_with_what_is_drawn(drawn):
    segmenter = OnnxSegmenter.from_entry(find_model(), Device.CPU, threads=1)
    seen: list[int] = []
    outcomes = score_laboratories(segmenter, list(data_set(str(drawn)).samples()), on_image=seen.append)
    assert seen == [1, 2, 3, 4]
    assert all(outcome.fits["cell"] > 0.95 for outcome in outcomes[:3])
    assert outcomes[3].fits["cell"] < 0.8
    (scores,) = by_laboratory(outcomes).values()
    assert (scores["images"], scores["missed"], scores["wrong"]) == (4, 0, 0.25)
    assert scores["cell"]["ci95"][0] < scores["cell"]["mean"] < scores["cell"]["ci95"][1]
    assert "under 0.8 25.0%" in in_words("drawn", scores)


def test_what_is_wrong_and_called_good_is_counted_apart_from_what_is_right_and_refused():
    outcomes = [
        ImageOutcome(f"l/{number}", "l", f"g{number}", {"cell": fit}, 1, 0, 0, good)
        for number, (fit, good) in enumerate([(0.95, True), (0.95, False), (0.5, True), (0.5, False)])
    ]
    scores = summary(outcomes)
    assert (scores["wrong"], scores["wrong_and_unflagged"], scores["right_but_refused"]) == (0.5, 0.25, 0.5)


def test_a_localiser_of_its_own_goes_with_a_run_only(tmp_path, capsys):
    assert main(["laboratories", "--data-sets", "set2", "--localiser", str(tmp_path)]) == 2
    assert "name the run's folder" in capsys.readouterr().err


def test_the_command_prints_one_object_for_programs(drawn, capsys):
    assert main(["laboratories", "--data-sets", str(drawn), "--all", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == find_model().model_id
    assert next(iter(told.values()))
