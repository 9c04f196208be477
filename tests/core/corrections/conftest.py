"""A drawn cell that lies open for correction, and what a person draws over it."""

from pathlib import Path

import numpy as np
import pytest

from core.corrections.deciding import Decision
from core.corrections.opening import OpenCell, open_analysed
from core.domain.types import CellAnalysis, LabelMap
from core.pipeline import remeasured
from core.store.outline_log import OutlineStatus, without_ring


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "own"


@pytest.fixture(scope="session")
def opened(cell) -> OpenCell:
    return open_analysed(cell, model_sha256="f" * 64)


@pytest.fixture(scope="session")
def drawn(opened) -> LabelMap:
    """The model's outline without its upper part, which is what a person cut off."""
    labels = without_ring(opened.analysis.segmentation.labels).copy()
    rows = np.flatnonzero((labels > 0).any(axis=1))
    labels[: rows[0] + 12] = 0
    return LabelMap(labels)


@pytest.fixture(scope="session")
def corrected(opened, drawn, segmenter) -> CellAnalysis:
    return remeasured(opened.analysis, drawn, segmenter)


def saying(status: OutlineStatus, who: str = "A. Reader", **more: object) -> Decision:
    return Decision(status, who, **more)  # type: ignore[arg-type]
