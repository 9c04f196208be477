import re

import numpy as np
import pytest
import torch

from core.domain.errors import UsageError
from core.domain.settings import ROOT
from tests.training.tiny import tiny_config
from training.config import TrainingConfig
from training.data import SegDataset
from training.loop import CONFIG_FILE, LOG_FILE, fit
from training.own import OwnAugmentation, OwnCodeError, OwnLoss, own_code

CPU = torch.device("cpu")
TARGETS = torch.zeros(2, 3, 8, 8)

CODE = """
import numpy as np
import torch

NUMBER = 3

def good(logits, targets):
    return ((torch.sigmoid(logits) - targets) ** 2).mean()

def by_pixel(logits, targets):
    return (logits - targets) ** 2

def number(logits, targets):
    return float(logits.detach().mean())

def endless(logits, targets):
    return logits.mean() / 0

def steep(logits, targets):
    return torch.sqrt((logits * 0).sum()) + logits.mean()

def hard(logits, targets):
    return ((logits > 0).float() - targets).abs().mean()

def failing(logits, targets):
    raise ValueError("no such luck")

class Squared(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, logits, targets):
        return (self.weight * (logits - targets) ** 2).mean()

class Needy:
    def __init__(self, strength):
        pass

def flipped(rgb, labels, rng):
    return rgb[:, ::-1], labels[:, ::-1]

def halved(rgb, labels, rng):
    return rgb[::2], labels[::2]

def as_float(rgb, labels, rng):
    return rgb / 255, labels

def alone(rgb, labels, rng):
    return rgb

def many(rgb, labels, rng):
    return rgb, labels + np.uint8(9)

calls = []

def fails_later(rgb, labels, rng):
    calls.append(rng)
    if len(calls) > 2:
        raise KeyError("nucleus")
    return rgb, labels
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Name of a module in the current folder."""
    name = "own_" + re.sub(r"\W", "_", tmp_path.name)
    (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / f"{name}_broken.py").write_text("import torch\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *[path for path in __import__("sys").path if path]])
    return name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{code}", 'loss must be written as "module:function", but is'),
        ("{code}:", 'loss must be written as "module:function"'),
        ("{code}_gone:good", "cannot be imported from .*No module named"),
        ("{code}_broken:good", "cannot be imported from .*ZeroDivisionError"),
        ("{code}:better", "has no better; it has .*good"),
        ("{code}:NUMBER", "must name a function, but .* is of type int"),
        ("{code}:Needy", "is a class, and cannot be made without arguments .*strength"),
    ],
)
def test_what_cannot_be_taken_is_told_in_words(code, name, message):
    with pytest.raises(OwnCodeError, match=message):
        own_code("loss", name.format(code=code))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("by_pixel", r"gave a tensor of shape \(2, 3, 8, 8\); it must make one finite number"),
        ("number", "gave an object of type float"),
        ("endless", "gave -?inf"),
        ("hard", "gave no gradient"),
        ("steep", "gave a gradient that is not finite"),
        ("failing", r"failed \(ValueError: no such luck\)"),
    ],
)
def test_a_loss_that_nothing_can_be_learnt_from_is_refused(code, name, message):
    with pytest.raises(OwnCodeError, match=message):
        OwnLoss(f"{code}:{name}", CPU).check(TARGETS)


def test_of_several_outputs_the_loss_is_the_sum(code):
    loss = OwnLoss(f"{code}:good", CPU)
    loss.check(TARGETS)
    assert loss(TARGETS, TARGETS) == 0.25
    assert loss([TARGETS, TARGETS], TARGETS) == 0.5


def test_of_a_class_an_object_is_made_and_its_parameters_stay(code, caplog):
    loss = OwnLoss(f"{code}:Squared", CPU)
    loss.check(TARGETS)
    assert loss(TARGETS + 2, TARGETS) == 4
    assert "has parameters: they stay as they are" in caplog.text
    OwnLoss("torch.nn:BCEWithLogitsLoss", CPU).check(TARGETS)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("halved", r"gave an image uint8 \(4, 8, 3\) of uint8 \(8, 8, 3\)"),
        ("as_float", r"gave an image float64 \(8, 8, 3\) of uint8"),
        ("alone", "gave an object of type ndarray"),
        ("many", "gave labels up to 9"),
        ("Squared", "failed"),
    ],
)
def test_an_augmentation_that_gives_something_else_is_refused(code, name, message):
    own = OwnAugmentation(f"{code}:{name}")
    with pytest.raises(OwnCodeError, match=message):
        own(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), np.random.default_rng(0))


def test_an_augmentation_comes_after_ours_and_changes_none_of_its_draws(code, items):
    plain, own = (
        SegDataset(items, tiny_config(augmentation=name), augment=True)[0] for name in ("", f"{code}:flipped")
    )
    for one, other in zip(plain, own, strict=True):
        assert torch.equal(one.flip(2), other)


def test_a_run_that_cannot_learn_from_it_leaves_nothing_behind(code, tiny_data, tmp_path):
    for settings in ({"loss": f"{code}:hard"}, {"augmentation": f"{code}:halved"}, {"loss": f"{code}:better"}):
        with pytest.raises(UsageError, match=code):
            fit(tiny_config(architecture="pspnet", **settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_fails_later_is_told_in_one_sentence(code, tiny_data, tmp_path, workers):
    config = tiny_config(architecture="pspnet", augmentation=f"{code}:fails_later", workers=workers)
    with pytest.raises(OwnCodeError, match=r"^augmentation \S+ failed \(KeyError: 'nucleus'\); it must [^\n]+$"):
        fit(config, tmp_path / "run")
    assert (tmp_path / "run" / CONFIG_FILE).exists()


def test_our_own_loss_has_no_weight_for_outlines():
    with pytest.raises(UsageError, match="boundary_weight belongs to the program's own loss"):
        TrainingConfig(loss="mine:loss", boundary_weight=0.5)


def test_the_example_of_the_tutorial_trains_and_a_run_keeps_to_it(tiny_data, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "tutorials" / "train.md").read_text(encoding="utf-8")
    example, settings = re.search(r"```python\n(import torch\n.+?)```\n.*?```toml\n(.+?)```", text, re.DOTALL).groups()
    (tmp_path / "mine.py").write_text(example)
    (tmp_path / "config.toml").write_text(tiny_config(architecture="pspnet").to_toml())
    monkeypatch.chdir(tmp_path)
    lines = [
        line for line in (tmp_path / "config.toml").read_text().splitlines() if not line.startswith(("loss", "aug"))
    ]
    (tmp_path / "config.toml").write_text("\n".join([*lines, settings]))
    config = TrainingConfig.from_toml(tmp_path / "config.toml")
    assert (config.loss, config.augmentation) == ("mine:focal", "mine:dimmed")
    fit(config, tmp_path / "own")
    fit(tiny_config(architecture="pspnet"), tmp_path / "ours")
    own, ours = ((tmp_path / name / LOG_FILE).read_text() for name in ("own", "ours"))
    assert own != ours
    with pytest.raises(UsageError, match="holds a run with other settings"):
        fit(tiny_config(architecture="pspnet", augmentation="mine:dimmed"), tmp_path / "own")
