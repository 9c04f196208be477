import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from core.segmentation.model_card import ModelCard
from export import model_file
from export.__main__ import main
from export.to_onnx import convert
from tests.training.tiny import tiny_config, write_tiny_data
from training.loop import fit, load_network


@dataclass(frozen=True)
class Exported:
    """A run that was really trained (for one epoch), and the model file the command line made of it."""

    data: Path
    run: Path
    model: Path

    @property
    def models(self) -> Path:
        return self.model.parent

    @property
    def network(self) -> torch.nn.Module:
        return load_network(self.run)[0]


@contextmanager
def one_thread():
    """Torch on one thread, which inputs of this size are done with soonest."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="session")
def convert_once(made_once):
    """`convert`, which takes five to ten seconds, done once for the same weights and size in all processes."""

    def once(network: torch.nn.Module, size: int, out: Path) -> dict[str, float]:
        def make(folder: Path) -> None:
            parity = convert(network, size, folder / "network.onnx")
            (folder / "parity.json").write_text(json.dumps(parity))

        digest = hashlib.sha256(f"{network} {size}".encode())
        for tensor in network.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        folder = made_once(f"converted-{digest.hexdigest()[:16]}", make)
        shutil.copyfile(folder / "network.onnx", out)
        return json.loads((folder / "parity.json").read_text())

    return once


@pytest.fixture(autouse=True)
def _converted_once(convert_once, monkeypatch):
    monkeypatch.setattr(model_file, "convert", convert_once)


@pytest.fixture(scope="session")
def exported(made_once, convert_once):
    """A run of one epoch, made once for all processes of the suite."""

    def make(folder: Path) -> None:
        write_tiny_data(folder / "data")
        _train_and_export(
            convert_once, Exported(folder / "data", folder / "run", folder / "models" / "tiny.onnx"), epochs=1
        )

    folder = made_once("export", make)
    return Exported(folder / "data", folder / "run", folder / "models" / "tiny.onnx")


@pytest.fixture(scope="session")
def coarse(exported, made_once, convert_once):
    """A run of the fastest network, trained until it finds the cells, and its fp32 file."""

    def make(folder: Path) -> None:
        made = Exported(exported.data, folder / "run", folder / "models" / "coarse.onnx")
        _train_and_export(convert_once, made, architecture="pspnet", epochs=15)

    folder = made_once("coarse", make)
    return Exported(exported.data, folder / "run", folder / "models" / "coarse.onnx")


def _train_and_export(convert_once, made: Exported, **changes: object) -> None:
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.setenv("LEUKOSCOPE_DATA", str(made.data))
        patch.setenv("LEUKOSCOPE_SHIPPED_MODELS", str(made.data))
        patch.setattr(model_file, "convert", convert_once)
        fit(tiny_config(data_sets=("set1", "set2"), **changes), made.run)
        assert main([str(made.run), "--out", str(made.model)]) == 0


@pytest.fixture(autouse=True)
def shipped_model(monkeypatch) -> Callable[[], None]:
    """No model is shipped, until this is called: to score it beside each exported one would take long."""
    monkeypatch.setenv("LEUKOSCOPE_SHIPPED_MODELS", "no models")
    return lambda: monkeypatch.delenv("LEUKOSCOPE_SHIPPED_MODELS")


@pytest.fixture
def tiny_data(exported, monkeypatch) -> Path:
    """The tiny data set in the place of the real ones."""
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(exported.data))
    return exported.data


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        model_id="other",
        architecture="unet",
        encoder="e",
        input_size=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        classes=("environment", "cytoplasm", "nucleus"),
        cell_fill=0.6,
        training_data="none",
        split="none",
        scores={},
        intended_use="tests",
        limits="many",
        licence="CC0",
        created="2026-11-01",
        opset=20,
    )
