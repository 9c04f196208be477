from pathlib import Path

import pytest
import torch

from core.evaluation.datasets import Sample
from tests.training.tiny import tiny_config, write_tiny_data
from training.data import load_labelled, masked_samples
from training.loop import fit


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    return write_tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tiny_data(tiny_root, monkeypatch) -> Path:
    """The tiny data set in the place of the real ones."""
    monkeypatch.setenv("LEUKOSCOPE_DATA", str(tiny_root))
    return tiny_root


@pytest.fixture
def samples(tiny_data) -> list[Sample]:
    return masked_samples(("set1",))


@pytest.fixture
def items(samples):
    return [load_labelled(sample)[0] for sample in samples]


@pytest.fixture(autouse=True)
def _own_threads():
    """One thread, which inputs of this size are done with soonest; `fit` sets torch's threads for the whole process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained_run(tiny_root, tmp_path_factory) -> Path:
    """A run of one epoch: its network is poor, but it is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_DATA", str(tiny_root))
        threads = torch.get_num_threads()
        report = fit(tiny_config(epochs=1), tmp_path_factory.mktemp("trained"))
        torch.set_num_threads(threads)
    return report.folder
