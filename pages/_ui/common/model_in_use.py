"""The model the app uses: opened once, its files checked, and how far its features can be trusted.

Which one it is is asked each time, and what is kept is kept by the checksum of its file: a choice counts at once.

The engine is imported inside these functions: onnxruntime, pyradiomics and DuckDB take a second together, and Home
should be on the screen by then.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from pages._ui.common.caching import cached
from pages._ui.common.cohort_data import cohort

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from core.charts.trust import Reliability
    from core.domain.types import CellAnalysis, CellImage
    from core.pipeline import ReceivedImage
    from core.segmentation.model_registry import ModelEntry
    from core.segmentation.segmenter import OnnxSegmenter
    from core.store.database import Cohort
    from core.support.bounded import Desk


def default_model() -> ModelEntry:
    """The model the app uses; raises ModelError."""
    from core.segmentation.model_registry import find_model

    return find_model()


def segmenter(model: ModelEntry | None = None) -> OnnxSegmenter:
    """A model, by default that in use, opened in this process, its checksum verified once; raises ModelError."""
    return _segmenter(model or default_model())


@cached("resource", max_entries=2, key=lambda model: (str(model.path), model.sha256))
def _segmenter(model: ModelEntry) -> OnnxSegmenter:
    from core.segmentation.segmenter import OnnxSegmenter

    return OnnxSegmenter.from_entry(model)


def stain_news(unlike: int, cells: int) -> str | None:
    """What is said once of cells many of which have a stain that the default model does not know; raises ModelError."""
    from core.quality import outline_quality

    return outline_quality.stain_news(unlike, cells, segmenter().judge) if unlike else None


def analysed(received: ReceivedImage, tell: Callable[..., None]) -> tuple[CellImage, tuple[CellAnalysis, ...]]:
    """An image that somebody gave, decoded and analysed by the default model in a process that it cannot hold up.

    Raises
    ------
    CoreError
        If it is no usable image, takes more time or memory than an image may, or there is no model.
    """
    from core.domain.errors import ImageError, LimitError
    from core.pipeline import lost_in_words

    try:
        return _desk(default_model()).ask(received, tell)
    except LimitError as error:
        raise ImageError(lost_in_words(received.name, str(error))) from error


@cached("resource", max_entries=1, key=lambda model: (str(model.path), model.sha256))
def _desk(model: ModelEntry) -> Desk[ReceivedImage, tuple[CellImage, tuple[CellAnalysis, ...]]]:
    from core.pipeline import analyse_received, limits_of_an_image, open_warm
    from core.support.bounded import Desk

    limits = limits_of_an_image()
    most = max(2, (os.cpu_count() or 1) // 4)
    return Desk(analyse_received, partial(open_warm, model, limits.megabytes), limits, most=most)


def warm_up() -> None:
    """Load what the next click needs, while the person is still choosing an image; problems are shown later.

    Beside the pages, so that none waits for it; whoever clicks earlier waits for the rest.
    """
    from core.domain.errors import CoreError

    with suppress(CoreError):
        _desk(default_model()).warm()
    prepare_populations()


def prepare_populations() -> None:
    """Let the populations be read that the next cell is compared with, after a change of the cohort, too."""
    _preparation(compared_features())


def compared_features() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The shapes and the sizes by which the nearest populations are found.

    The members were outlined by the model, so what can be trusted of it decides, whoever drew a cell.
    """
    from core.charts.trust import likeness_features, likeness_sizes

    reliability = reliability_if_known()
    return likeness_features(reliability), likeness_sizes(reliability)


@cached("resource", max_entries=2)
def _preparation(compared: tuple[tuple[str, ...], tuple[str, ...]]) -> threading.Thread:
    """What reads the populations, once for each state of the cohort, and then opens what draws reports."""
    shapes, sizes = compared
    # No daemon: a process that ends while one reads is aborted.
    thread = threading.Thread(target=_prepare, args=(cohort(), (*shapes, *sizes)), name="preparation")
    thread.start()
    return thread


def _prepare(opened: Cohort, compared: tuple[str, ...]) -> None:
    from core.charts.theme import open_converter
    from core.domain.errors import CoreError
    from core.store import queries

    with suppress(CoreError):  # who needs it is told
        for features in (None, compared):
            for info in queries.populations(opened):
                if not threading.main_thread().is_alive():  # the server has ended and waits for this thread
                    return
                if info.n_good:
                    queries.reference(opened, info.population.population_id, features)
            queries.references(opened, features)
    open_converter()


def _file_times(model: ModelEntry) -> object:
    """Changes when one of the model's files changes."""
    times = tuple(path.stat().st_mtime if path.is_file() else 0.0 for path in model.files)
    return str(model.path), model.sha256, times


@cached("resource", max_entries=2, key=_file_times)
def model_problem(model: ModelEntry) -> str | None:
    """Why a model's files are not those of the manifest, or None."""
    from core.domain.errors import ModelError
    from core.segmentation.model_registry import verify_model

    try:
        verify_model(model)
    except ModelError as error:
        return str(error)
    return None


def reliability(model: ModelEntry | None = None) -> Reliability:
    """How far each feature from a model's outlines can be trusted, by default that in use; raises ModelError.

    Empty if it was not measured.
    """
    path = (model or default_model()).reliability
    return _reliability(path) if path is not None and path.is_file() else {}


def reliability_if_known() -> Reliability:
    """The same where no outline is needed: empty without a readable model."""
    from core.domain.errors import ModelError

    try:
        return reliability()
    except ModelError:
        return {}


@cached("resource", max_entries=2, key=lambda path: (str(path), path.stat().st_mtime))
def _reliability(path: Path) -> Reliability:
    from core.evaluation.agreement import load

    return load(path)
