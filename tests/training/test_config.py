import tomllib
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.errors import UsageError
from core.domain.settings import ROOT
from training.architectures import ARCHITECTURES
from training.config import SelectionConfig, TrainingConfig


def written(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


@given(
    # TOML forbids control characters in a string; escapes, quotes and every script are fine.
    name=st.text(st.characters(exclude_categories=["Cc", "Cs"])),
    seed=st.integers(0, 2**31),
    rate=st.floats(1e-9, 1, allow_subnormal=False),
    data_sets=st.lists(st.sampled_from(["set1", "set2"])).map(tuple),
)
def test_toml_round_trip_changes_nothing(tmp_path_factory, name, seed, rate, data_sets):
    config = TrainingConfig(name=name, seed=seed, learning_rate=rate, data_sets=data_sets)
    assert TrainingConfig.from_toml(written(tmp_path_factory.mktemp("config"), config.to_toml())) == config


def test_settings_left_out_take_their_defaults(tmp_path):
    assert TrainingConfig.from_toml(written(tmp_path, "epochs = 3\nema_decay = 0\n")) == TrainingConfig(
        epochs=3, ema_decay=0
    )


def test_unknown_setting_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match=r"unknown fields epoch; known are .*epochs.*learning_rate"):
        TrainingConfig.from_toml(written(tmp_path, "epoch = 3\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('epochs = "3"\n', "epochs must be a whole number, but is '3'"),
        ("epochs = 3.5\n", "epochs must be a whole number, but is 3.5"),
        ("epochs = true\n", "epochs must be a whole number, but is True"),
        ('data_sets = "set1"\n', "data_sets must be a list, but is 'set1'"),
        ("epochs 3\n", "could not be read as a TOML file"),
    ],
)
def test_file_that_holds_something_else_is_refused_in_words(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        TrainingConfig.from_toml(written(tmp_path, text))


def test_missing_file_is_refused_in_words(tmp_path):
    with pytest.raises(UsageError, match=r"none\.toml could not be read"):
        TrainingConfig.from_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": 0.6, "validation": 0.3, "test": 0.2}, "sum to 1"),
        ({"train": 0.8, "validation": 0.2, "test": 0.0}, "positive"),
        ({"train": 1.2, "validation": 0.2, "test": -0.4}, "positive"),
        ({"input_size": 100}, "multiple of 32, but is 100"),
        ({"input_size": 0}, "multiple of 32, but is 0"),
        ({"input_size": -64}, "multiple of 32, but is -64"),
        ({"minimum_fill": 0.0}, "minimum_fill"),
        ({"minimum_fill": 0.9, "maximum_fill": 0.5}, "minimum_fill"),
        ({"maximum_fill": 1.1}, "maximum_fill"),
        ({"paste_probability": 1.0}, "below 1"),
        ({"paste_probability": -0.1}, "at least 0"),
        ({"epochs": 0}, "at least 1, but are 0"),
        ({"batch_size": 0}, "at least 1"),
        ({"patience": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        TrainingConfig(**changes)


@given(
    grouped=st.lists(st.sampled_from(list(ARCHITECTURES)), unique=True).map(tuple),
    k=st.lists(st.integers(2, 20), min_size=1, unique=True).map(tuple),
    rate=st.floats(1e-9, 1, allow_subnormal=False),
)
def test_settings_of_a_selection_survive_toml(tmp_path_factory, grouped, k, rate):
    config = SelectionConfig(grouped=grouped, k=k, learning_rate=rate)
    assert SelectionConfig.from_toml(written(tmp_path_factory.mktemp("config"), config.to_toml())) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../elsewhere"}, "letters, digits"),
        ({"name": ""}, "letters, digits"),
        ({"grouped": (), "as_published": ()}, "nothing to compare"),
        ({"grouped": ("unet", "unet")}, "grouped names something twice"),
        ({"k": (5, 5)}, "k names something twice"),
        ({"k": ()}, "at least 2"),
        ({"k": (10, 1)}, "at least 2"),
        ({"input_size": 100}, "multiple of 32"),
        ({"cell_fill": 0.0}, "cell_fill"),
        ({"epochs": 0}, "at least 1"),
        ({"images_per_epoch": -1}, "at least 0"),
        ({"images_per_epoch": 7, "batch_size": 8}, "at least one batch"),
    ],
)
def test_settings_of_a_selection_that_cannot_work_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        SelectionConfig(**changes)


def test_list_of_other_things_is_refused_in_words(tmp_path):
    with pytest.raises(UsageError, match=r"k\[0\] must be a whole number, but is '10'"):
        SelectionConfig.from_toml(written(tmp_path, 'k = ["10"]\n'))


def test_configs_that_come_with_the_program_can_be_read_and_name_known_architectures():
    selections = [
        SelectionConfig.from_toml(path) for path in sorted((ROOT / "training" / "configs").glob("select-*.toml"))
    ]
    assert selections
    for config in selections:
        assert set(config.grouped + config.as_published) <= ARCHITECTURES.keys()
        assert len(config.grouped) == (4 if config.name == "set2-lite0-160-with-bccd" else 9)
    first, second, shipped = (
        TrainingConfig.from_toml(ROOT / "training" / "configs" / f"{name}.toml")
        for name in ("teacher-1", "teacher-2", "shipped")
    )
    # The teacher is made in two parts, each from the one before; the shipped model begins with it.
    former = "assets/models/unetplusplus-lite0.onnx"
    assert first.start_from == former
    assert second.average_of == (former, "runs/teacher-1")
    assert (first.name, first.architecture, first.encoder) == (second.name, second.architecture, second.encoder)
    assert shipped.start_from == "runs/models/teacher.onnx"
    assert (shipped.encoder, shipped.input_size, shipped.seed) == (second.encoder, second.input_size, second.seed)


@pytest.mark.parametrize(("name", "settings"), [("finetune", TrainingConfig), ("select", SelectionConfig)])
def test_configs_to_copy_explain_every_setting(name, settings):
    path = ROOT / "training" / "configs" / f"{name}.toml"
    lines = path.read_text().splitlines()
    assert tomllib.loads(path.read_text()).keys() == {field.name for field in fields(settings)}
    # Each block of settings follows a comment.
    assert all(block.startswith("#") for block in path.read_text().split("\n\n")[1:] if not block.startswith("name"))
    assert settings.from_toml(path)
    assert max(map(len, lines)) <= 140


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thin_probability": 1.1}, "thin_probability must lie between 0 and 1, but is 1.1"),
        ({"stain_strength": -1.0}, "stain_strength must not be negative, but is -1.0"),
        ({"paste_gap": (0.3, 0.1)}, r"paste_gap must be two numbers, the smaller first, but is \[0.3, 0.1\]"),
        ({"paste_gap": (0.3,)}, "paste_gap must be two numbers"),
        ({"paste_seam": (0.0, 1.0)}, "paste_seam must be positive"),
        ({"pseudo_sets": ("runs/pseudo",)}, "pseudo_sets and pseudo_probability go together"),
        ({"pseudo_probability": 0.3}, "pseudo_sets and pseudo_probability go together"),
        ({"images_per_epoch": 4}, "an epoch must hold at least one batch, but images_per_epoch is 4 of 8"),
    ],
)
def test_levers_that_cannot_work_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        TrainingConfig(**changes)


def test_ranges_and_truth_are_written_and_read(tmp_path):
    config = TrainingConfig(paste_gap=(-0.05, 0.1), paste_seam=(0.5, 2.0))
    assert TrainingConfig.from_toml(written(tmp_path, config.to_toml())) == config
