"""What tests of several rooms share.

The shipped model, opened once: its outputs are only ever bounded, because it is replaced by better ones. A drawn cell
and the populations it is set beside.
"""

from pathlib import Path

import pytest

from core.domain.options import Device
from core.domain.types import CellAnalysis
from core.populations.summaries import ReferencePopulation
from core.segmentation.model_registry import ModelEntry, find_model
from core.segmentation.segmenter import OnnxSegmenter
from core.store.published import published_references
from tests.models import write_other_model
from tests.populations import analysed, drawn_references


@pytest.fixture(scope="session")
def model_entry() -> ModelEntry:
    return find_model()


@pytest.fixture(scope="session")
def other_models(made_once) -> Path:
    """A models folder with the shipped model and another one, which is its default (`tests.models`)."""
    return made_once("other_models", write_other_model)


@pytest.fixture(scope="session")
def segmenter(model_entry) -> OnnxSegmenter:
    return OnnxSegmenter.from_entry(model_entry, Device.CPU, threads=1)


@pytest.fixture(scope="session")
def cell() -> CellAnalysis:
    return analysed("lymphocyte", 5)


@pytest.fixture(scope="session")
def references(drawn_root) -> tuple[ReferencePopulation, ...]:
    return (*drawn_references(drawn_root), *published_references(drawn_root))
