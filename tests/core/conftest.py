"""The shipped model, opened once: its outputs are only ever bounded, because it is replaced by better ones."""

import pytest

from core.domain.options import Device
from core.segmentation.model_registry import ModelEntry, find_model
from core.segmentation.segmenter import OnnxSegmenter


@pytest.fixture(scope="session")
def model_entry() -> ModelEntry:
    return find_model()


@pytest.fixture(scope="session")
def segmenter(model_entry) -> OnnxSegmenter:
    return OnnxSegmenter.from_entry(model_entry, Device.CPU, threads=1)
