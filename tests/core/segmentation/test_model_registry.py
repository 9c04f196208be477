import hashlib
import json
import os
import re
import shutil
from dataclasses import replace

import pytest

from core.domain.errors import ModelError
from core.domain.options import Device
from core.evaluation import agreement
from core.segmentation.model_card import METADATA_KEY
from core.segmentation.model_registry import (
    MANIFEST,
    card_of,
    find_model,
    keep_beside,
    known_models,
    list_models,
    load_manifest,
    use_model,
    verify_model,
    write_manifest,
)
from core.segmentation.segmenter import OnnxSegmenter


@pytest.fixture
def folder(tmp_path, model_entry):
    """A folder of one's own models with two entries of which the second is the default; a shipped model is there, too.

    The files themselves are stand-ins of a few bytes.
    """
    rows = {}
    for name in ("first", "second"):
        (tmp_path / f"{name}.onnx").write_bytes(name.encode())
        rows[name] = {
            "file": f"{name}.onnx",
            "sha256": "0" * 64,
            "card": json.loads(replace(model_entry.card, model_id=name).to_json()),
        }
    rows["first"] |= {"log": "first.log.csv", "reliability": "first.reliability.json", "novelty": "first.novelty.json"}
    (tmp_path / MANIFEST).write_text(json.dumps({"default": "second", "models": rows}))
    return tmp_path


def test_the_shipped_models_are_what_the_manifest_says():
    entries = list_models()
    assert entries
    for entry in entries:
        verify_model(entry)
        assert entry.card.model_id == entry.model_id
        for beside in (entry.log, entry.split, entry.reliability, entry.novelty):
            assert beside is None or beside.is_file()


def test_the_default_comes_first(folder):
    assert [entry.model_id for entry in list_models(folder)] == ["second", "first", find_model().model_id]
    assert find_model(folder=folder).model_id == "second"
    assert find_model("first", folder).path == folder / "first.onnx"


def test_what_lies_beside_a_model_is_where_the_manifest_says_or_absent(folder):
    second, first, _ = list_models(folder)
    assert (first.log, first.split) == (folder / "first.log.csv", None)
    assert (first.reliability, first.novelty) == (folder / "first.reliability.json", folder / "first.novelty.json")
    assert (second.log, second.split, second.reliability, second.novelty) == (None, None, None, None)


def test_a_manifest_is_written_whole(folder):
    manifest = load_manifest(folder)
    manifest["default"] = "first"
    write_manifest(manifest, folder)
    assert find_model(folder=folder).model_id == "first"
    assert sorted(path.name for path in folder.iterdir()) == ["first.onnx", MANIFEST, "second.onnx"]


def test_an_unknown_model_lists_the_known_ones(folder):
    with pytest.raises(ModelError, match="unknown model 'third'; known are first, second, unet"):
        find_model("third", folder)


def test_no_manifest(tmp_path):
    with pytest.raises(ModelError, match=r"no model: expected manifest\.json.*python -m export"):
        load_manifest(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"default": "a", "models": {"a": {}}}', '{"default": "a", "models": []}']
)
def test_a_damaged_manifest(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelError, match=r"manifest\.json in the models folder \S+ is damaged .*python -m export"):
        find_model(folder=tmp_path)


def test_a_missing_file(folder):
    (folder / "first.onnx").unlink()
    with pytest.raises(ModelError, match=r"model first: first\.onnx is missing from the models folder"):
        verify_model(find_model("first", folder))


def test_a_wrong_checksum_tells_both(folder):
    with pytest.raises(
        ModelError,
        match=r"should have SHA-256 0{16}\.\.\., but has [0-9a-f]{16}\.\.\.; the file is damaged or was replaced",
    ):
        verify_model(find_model("first", folder))


def test_the_localiser_is_checked_as_the_model_is(tmp_path, model_entry):
    content = b"a localiser"
    card = replace(model_entry.card, localiser={"file": "own.onnx", "sha256": hashlib.sha256(content).hexdigest()})
    entry = replace(model_entry, path=tmp_path / model_entry.path.name, card=card)
    entry.path.write_bytes(model_entry.path.read_bytes())
    localiser = tmp_path / "own.onnx"
    with pytest.raises(ModelError, match=rf"{localiser.name} is missing from the models folder"):
        verify_model(entry)
    localiser.write_bytes(b"another")
    with pytest.raises(ModelError, match=rf"{localiser.name} should have SHA-256 .*damaged or was replaced"):
        verify_model(entry)
    localiser.write_bytes(content)
    verify_model(entry)


@pytest.fixture
def copied(tmp_path, model_entry):
    """The shipped model in a folder of its own."""
    shutil.copytree(model_entry.path.parent, tmp_path / "copy")
    return find_model(folder=tmp_path / "copy")


@pytest.mark.parametrize(
    ("kind", "exchanged"),
    [
        ("novelty", lambda text: re.sub('"limit": [0-9.]+', '"limit": 1000000000.0', text)),
        ("quality", lambda text: re.sub('"limit": [0-9.]+', '"limit": 0.0', text, count=1)),
        ("reliability", lambda text: text.replace('"poor"', '"good"').replace('"moderate"', '"good"')),
        ("split", lambda text: text.replace('"test"', '"validation"')),
    ],
)
def test_what_was_measured_of_a_model_cannot_be_exchanged_unnoticed(copied, kind, exchanged):
    path = getattr(copied, kind)
    text = path.read_text()
    assert exchanged(text) != text
    OnnxSegmenter.from_entry(copied, Device.CPU)
    path.write_text(exchanged(text))
    sentence = rf"{path.name} should have SHA-256 .*damaged or was replaced: export the model again, or measure it anew"
    with pytest.raises(ModelError, match=sentence):
        OnnxSegmenter.from_entry(copied, Device.CPU)
    if kind == "reliability":  # it is read where no model is opened, too
        with pytest.raises(ModelError, match=sentence):
            agreement.load(path)
    path.unlink()
    with pytest.raises(ModelError, match=rf"{path.name} is missing from the models folder"):
        verify_model(copied)
    path.write_text(exchanged(text))
    keep_beside(path.parent, copied.model_id, {kind: path.name})  # measured anew
    verify_model(find_model(folder=path.parent))


def test_a_localiser_cannot_be_exchanged_by_the_manifest_alone(copied):
    manifest = load_manifest(copied.path.parent)
    localiser = copied.path.with_name(copied.card.localiser["file"])
    localiser.write_bytes(localiser.read_bytes() + b"\0")
    row = manifest["models"][copied.model_id]
    row["card"]["localiser"]["sha256"] = hashlib.sha256(localiser.read_bytes()).hexdigest()
    write_manifest(manifest, copied.path.parent)
    changed = find_model(folder=copied.path.parent)
    verify_model(changed)
    with pytest.raises(ModelError, match="the card in the manifest is not that of"):
        OnnxSegmenter.from_entry(changed, Device.CPU)


def test_the_shipped_model_is_sealed_whole(model_entry):
    assert model_entry.unsealed == ()
    assert len(model_entry.files) == 7


def test_one_changed_bit_is_noticed(tmp_path, model_entry):
    content = bytearray(model_entry.path.read_bytes())
    content[len(content) // 2] ^= 1
    changed = tmp_path / model_entry.path.name
    changed.write_bytes(content)
    with pytest.raises(ModelError, match="damaged or was replaced"):
        verify_model(replace(model_entry, path=changed))


def test_a_file_without_a_card():
    with pytest.raises(ModelError, match=r"other\.onnx carries no model card"):
        card_of({"producer": "someone"}, "other.onnx")


def test_the_card_of_a_file(model_entry):
    assert card_of({METADATA_KEY: model_entry.card.to_json()}, "model.onnx") == model_entry.card


@pytest.mark.parametrize("make", [lambda path: path.write_text("[" * 100_000), os.mkfifo, os.mkdir])
def test_a_manifest_that_is_none_is_told_in_words(tmp_path, make):
    make(tmp_path / MANIFEST)
    with pytest.raises(ModelError, match="is damaged"):
        list_models(tmp_path)


# --- one's own models and the shipped ones ---


@pytest.fixture
def own(folder, monkeypatch):
    """The two models as one's own."""
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(folder))
    return folder


def test_the_shipped_models_are_listed_beside_ones_own(own):
    entries = list_models()
    assert [(entry.model_id, entry.shipped) for entry in entries[:2]] == [("second", False), ("first", False)]
    assert [entry.shipped for entry in entries[2:]] == [True]
    assert find_model(entries[2].model_id).path.parent != own


def test_without_a_folder_of_ones_own_the_shipped_default_is_in_use(tmp_path, monkeypatch, model_entry):
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path / "none"))
    assert find_model() == model_entry
    assert model_entry.shipped


def test_ones_own_choice_may_be_a_shipped_model(own, model_entry):
    assert use_model(model_entry.model_id).model_id == "second"
    assert load_manifest(own)["default"] == model_entry.model_id
    assert find_model() == model_entry
    assert sorted(load_manifest(own)["models"]) == ["first", "second"]


def test_without_a_choice_of_ones_own_the_shipped_default_is_in_use(own, model_entry):
    write_manifest({"models": load_manifest(own)["models"]}, own)
    assert [entry.model_id for entry in list_models()] == [model_entry.model_id, "first", "second"]


def test_a_model_of_ones_own_hides_a_shipped_one_of_its_name_and_says_so(own, model_entry):
    manifest = load_manifest(own)
    manifest["models"][model_entry.model_id] = manifest["models"]["first"]
    write_manifest(manifest, own)
    hiding = {entry.model_id: (entry.shipped, entry.hides_shipped) for entry in list_models()}
    assert hiding == {"second": (False, False), "first": (False, False), model_entry.model_id: (False, True)}


def test_one_folder_for_both_hides_nothing(monkeypatch, model_entry):
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(model_entry.path.parent))
    assert find_model() == model_entry


def test_a_chosen_model_that_is_gone_is_told_and_can_be_replaced(own, model_entry):
    write_manifest(load_manifest(own) | {"default": "former"}, own)
    with pytest.raises(ModelError, match=r"'former', is not there any more; known are first, second, .*models use ID"):
        find_model()
    assert find_model("first").model_id == "first"
    assert (known_models().chosen, known_models().in_use) == ("former", None)
    assert use_model(model_entry.model_id) is None
    assert find_model() == model_entry


def test_models_of_which_none_was_chosen_are_told(own, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_SHIPPED_MODELS", str(tmp_path / "none"))
    write_manifest({"models": load_manifest(own)["models"]}, own)
    with pytest.raises(ModelError, match="no model is chosen; known are first, second"):
        list_models()


def test_no_model_anywhere(monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_SHIPPED_MODELS", str(tmp_path / "none"))
    with pytest.raises(ModelError, match=r"no model: expected manifest\.json in the models folder none"):
        find_model()


def test_only_an_intact_model_is_used(own):
    with pytest.raises(ModelError, match=r"first\.onnx should have SHA-256"):
        use_model("first")
    with pytest.raises(ModelError, match="unknown model 'third'"):
        use_model("third")
    assert load_manifest(own)["default"] == "second"


def test_a_choice_makes_the_folder_that_keeps_it(monkeypatch, tmp_path, model_entry):
    monkeypatch.setenv("LEUKOSCOPE_MODELS", str(tmp_path / "deep" / "models"))
    assert use_model(model_entry.model_id) == model_entry
    assert load_manifest(tmp_path / "deep" / "models") == {"default": model_entry.model_id, "models": {}}


def test_a_choice_that_cannot_be_kept_leaves_the_former(own, model_entry, full_disk):
    full_disk(MANIFEST)
    with pytest.raises(ModelError, match=r"could not be kept in .*No space left"):
        use_model(model_entry.model_id)
    assert find_model().model_id == "second"
    assert sorted(path.name for path in own.iterdir()) == ["first.onnx", MANIFEST, "second.onnx"]
