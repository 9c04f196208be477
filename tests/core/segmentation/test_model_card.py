import json
from dataclasses import replace

import pytest

from core.domain.compartments import CHANNELS
from core.domain.errors import ModelError
from core.segmentation.model_card import ModelCard


@pytest.fixture(scope="module")
def card(model_entry):
    return model_entry.card


def changed(card, **fields):
    return json.dumps({**json.loads(card.to_json()), **fields})


def test_a_card_survives_its_text(card):
    assert ModelCard.from_json(card.to_json(), "model.onnx") == card


def test_the_shipped_card_tells_what_inference_and_pages_need(card):
    assert card.classes == tuple(channel.label for channel in CHANNELS)
    assert len(card.mean) == len(card.std) == 3
    assert 0 < card.cell_fill <= 1
    assert all([card.training_data, card.split, card.intended_use, card.limits, card.licence, card.created])
    assert min(card.scores[name]["mean_dice"] for name in ("set1", "set2")) > 0.94
    assert card.scores["bccd"]["mean_dice"] > 0.84
    assert {"mean", "covariance", "limit"} <= set(card.appearance)


def test_text_that_is_no_json(card):
    with pytest.raises(ModelError, match=r"model\.onnx: the model card is not valid JSON.*python -m export"):
        ModelCard.from_json(card.to_json()[:-20], "model.onnx")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"card"'])
def test_json_that_is_no_card(text):
    with pytest.raises(
        ModelError, match=r"model\.onnx: the model card cannot be read: it must be an object, but is .*python -m export"
    ):
        ModelCard.from_json(text, "model.onnx")


def test_unknown_fields_are_named(card):
    with pytest.raises(ModelError, match="unknown fields colour; known are appearance, architecture"):
        ModelCard.from_json(changed(card, colour="blue"), "model.onnx")


def test_missing_fields_are_named(card):
    raw = json.loads(card.to_json())
    del raw["cell_fill"]
    with pytest.raises(ModelError, match="the model card cannot be read: cell_fill is missing"):
        ModelCard.from_json(json.dumps(raw), "model.onnx")


@pytest.mark.parametrize("size", [0, -32, 100])
def test_the_window_must_suit_the_network(card, size):
    with pytest.raises(ModelError, match=rf"input_size must be a positive multiple of 32, but is {size}"):
        ModelCard.from_json(changed(card, input_size=size), "model.onnx")


def test_fields_with_defaults_may_be_absent(card):
    raw = json.loads(card.to_json())
    for name in ("precision", "parity", "appearance"):
        del raw[name]
    assert ModelCard.from_json(json.dumps(raw), "old.onnx") == replace(card, precision="fp32", parity={}, appearance={})


def test_what_former_cards_say_of_a_coarse_pass_is_passed_over(card):
    former = changed(card, coarse_size=128, finder={"file": "a.onnx", "sha256": "0"})
    assert ModelCard.from_json(former, "model.onnx") == card


@pytest.mark.parametrize(
    "localiser", [{"file": "a.onnx"}, {"file": "../a.onnx", "sha256": "0"}, {"file": "a", "sha256": "0", "size": "1"}]
)
def test_the_localiser_is_a_file_beside_the_models(card, localiser):
    with pytest.raises(
        ModelError, match=r"localiser must be a file beside the model's and its sha256, but is \{'file': "
    ):
        ModelCard.from_json(changed(card, localiser=localiser), "model.onnx")
    good = {"file": "a.onnx", "sha256": "0"}
    assert ModelCard.from_json(changed(card, localiser=good), "model.onnx").localiser == good


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_the_temperature_must_be_positive(card, temperature):
    with pytest.raises(ModelError, match="temperature must be positive, but is"):
        ModelCard.from_json(changed(card, temperature=temperature), "model.onnx")


def test_a_card_from_before_these_fields_means_what_it_meant(card):
    raw = json.loads(card.to_json())
    del raw["localiser"], raw["temperature"]
    old = ModelCard.from_json(json.dumps(raw), "model.onnx")
    assert (old.localiser, old.temperature) == ({}, 1.0)
