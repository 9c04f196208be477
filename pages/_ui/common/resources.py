"""What is loaded once and shared by all sessions: the only caches of the app.

The engine is imported inside these functions: onnxruntime, pyradiomics and DuckDB take a second together, and Home
should be on the screen by then.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import streamlit as st

from core.domain.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from core.charts.trust import Reliability
    from core.domain.cell_types import CellType
    from core.explorer.panel import Panels
    from core.explorer.ranking import Ranking
    from core.explorer.selection import Selection
    from core.explorer.separation import Separated, SideSample
    from core.explorer.view import By, Facet, Group, Grouping, Histogram, InView, Quantiles, Summary, Values
    from core.populations.comparison import ReferencePopulation
    from core.segmentation.model_registry import ModelEntry
    from core.segmentation.segmenter import OnnxSegmenter
    from core.store.database import Cohort
    from core.store.queries import PopulationInfo

Sides = tuple[tuple[str, ...], ...]

_MODEL_SELECTION_FILE: Final = "published_model_selection.csv"


def settings() -> Settings:
    """Folders and limits, read anew: they cost nothing."""
    return load_settings()


def default_model() -> ModelEntry:
    """The model the app uses; raises ModelError."""
    from core.segmentation.model_registry import find_model

    return find_model(folder=settings().models)


def segmenter() -> OnnxSegmenter:
    """The default model opened, its checksum verified once; raises ModelError."""
    model = default_model()
    return _segmenter(str(model.path), model.sha256)


@st.cache_resource(show_spinner=False, max_entries=2)
def _segmenter(path: str, sha256: str) -> OnnxSegmenter:  # noqa: ARG001 - the key: a new model is a new session
    from core.image.synthetic import draw_cell
    from core.pipeline import analyse
    from core.segmentation.segmenter import OnnxSegmenter

    opened = OnnxSegmenter.from_entry(default_model())
    # The first analysis of a process loads pyradiomics and allocates: nobody should wait for that with a cell on the
    # screen.
    analyse(draw_cell()[0], opened)
    return opened


def warm_up() -> None:
    """Load what the first click needs, while the person is still choosing an image.

    Problems are told when they matter.
    """
    from core.domain.errors import CoreError

    with suppress(CoreError):
        segmenter()
        references()


@st.cache_resource(show_spinner=False)
def model_problem(path: str, sha256: str, modified: tuple[float, ...]) -> str | None:  # noqa: ARG001 - the key: checked again when a file changes
    """Why the default model's files are not those of the manifest, or None."""
    from core.domain.errors import ModelError
    from core.segmentation.model_registry import verify_model

    try:
        verify_model(default_model())
    except ModelError as error:
        return str(error)
    return None


def cohort() -> Cohort:
    """The shipped and the user's populations, read where they lie."""
    found = settings()
    return _cohort(str(found.reference), str(found.cohort), str(found.cache))


@st.cache_resource(show_spinner=False, max_entries=2)
def _cohort(reference: str, user: str, cache: str) -> Cohort:
    from pathlib import Path

    from core.store.database import Cohort

    return Cohort.open([Path(reference), Path(user)], Path(cache))


def populations() -> tuple[PopulationInfo, ...]:
    """Every measured population with its counts."""
    return _populations(cohort().revision)


@st.cache_resource(show_spinner=False, max_entries=2)
def _populations(revision: str) -> tuple[PopulationInfo, ...]:  # noqa: ARG001 - the key
    from core.store import queries

    return queries.populations(cohort())


def population_titles() -> dict[str, str]:
    """What each population is called, by its identifier."""
    return {stored.population.population_id: stored.population.title for stored in cohort().populations()}


def population_types() -> dict[str, CellType]:
    """The cell type of each population, by its identifier."""
    return {stored.population.population_id: stored.population.cell_type for stored in cohort().populations()}


def named_patients() -> int:
    """How many patients the cells in view name, each once."""
    return _named_patients(cohort().revision)


@st.cache_data(show_spinner=False, max_entries=2)
def _named_patients(revision: str) -> int:  # noqa: ARG001 - the key
    from core.store import queries

    return queries.named_patients(cohort(), populations())


def notes() -> dict[str, str]:
    """What a reader must know of each population before drawing conclusions, and how many cells quality kept out."""
    return {info.population.population_id: _note(info) for info in populations()}


def _note(info: PopulationInfo) -> str:
    kept_out = info.n - info.n_good
    excluded = f" {kept_out} of {info.n} cells are left out for their quality." if kept_out else ""
    return info.population.note + excluded


def references() -> tuple[ReferencePopulation, ...]:
    """Everything a cell can be set beside.

    Measured populations with at least one good cell, then the published tables.
    """
    return _references(cohort().revision)


@st.cache_resource(show_spinner=False, max_entries=2)
def _references(revision: str) -> tuple[ReferencePopulation, ...]:  # noqa: ARG001 - the key
    from core.store import queries
    from core.store.published import published_references

    measured = tuple(
        queries.reference(cohort(), info.population.population_id) for info in populations() if info.n_good
    )
    return measured + published_references(settings().reference)


def published() -> tuple[ReferencePopulation, ...]:
    """The published tables."""
    from core.store.published import published_references

    return published_references(settings().reference)


def reliability() -> Reliability:
    """How far each feature from the default model's outlines can be trusted; empty where it is not measured.

    Raises ModelError.
    """
    path = default_model().reliability
    return _reliability(str(path), path.stat().st_mtime) if path is not None and path.is_file() else {}


def reliability_if_known() -> Reliability:
    """The same where no outline is at stake: without a readable model nothing is known, and nothing is marked."""
    from core.domain.errors import ModelError

    try:
        return reliability()
    except ModelError:
        return {}


@st.cache_resource(show_spinner=False, max_entries=2)
def _reliability(path: str, modified: float) -> Reliability:  # noqa: ARG001 - the key: read again when the file changes
    from pathlib import Path

    from core.evaluation.agreement import load

    return load(Path(path))


@st.cache_data(show_spinner=False, max_entries=4)
def training_log(path: str, modified: float) -> pd.DataFrame:  # noqa: ARG001 - the key
    """The training log beside a model, one row per epoch."""
    import pandas as pd

    return pd.read_csv(path)


@st.cache_data(show_spinner=False, max_entries=12)
def selection_table(folder: str, table: str, signature: str) -> pd.DataFrame:  # noqa: ARG001 - the key: read again when a fold ends
    """One table of a model-selection run; raises StoreError."""
    from pathlib import Path

    from core.evaluation import model_selection

    return model_selection.read(Path(folder), table)


@st.cache_data(show_spinner=False, max_entries=32)
def drawn_cell(sample_id: str, data_sets: tuple[str, ...]) -> str | None:
    """SVG of a cell of a data set with its drawn outlines; None where its image is not on this computer."""
    from dataclasses import replace

    from core.charts.overlay import outlined_svg
    from core.domain.errors import CoreError
    from core.domain.types import as_label_map
    from core.evaluation.datasets import data_set
    from core.evaluation.reliability import drawing
    from core.image.imaging import load
    from core.image.morphology import bounds

    for name in data_sets:
        with suppress(CoreError):
            for sample in data_set(name).samples():
                if sample.sample_id == sample_id:
                    image, labels = load(sample.image), drawing(sample)
                    cell = bounds(labels > 0)
                    return outlined_svg(replace(image, rgb=image.rgb[cell].copy()), as_label_map(labels[cell].copy()))
    return None


def published_model_selection() -> pd.DataFrame | None:
    """The thesis's comparison of architectures, or None where its table is not there."""
    import pandas as pd

    path = settings().reference / _MODEL_SELECTION_FILE
    return pd.read_csv(path) if path.is_file() else None


def in_view(selection: Selection) -> InView:
    """What a selection shows and leaves out."""
    return _in_view(cohort().revision, selection)


@st.cache_data(show_spinner=False, max_entries=128)
def _in_view(revision: str, selection: Selection) -> InView:  # noqa: ARG001 - the key
    from core.explorer import view

    return view.counts(cohort(), selection)


def facets(selection: Selection) -> Mapping[str, tuple[Facet, ...]]:
    """What each filter offers."""
    return _facets(cohort().revision, selection)


@st.cache_data(show_spinner=False, max_entries=64)
def _facets(revision: str, selection: Selection) -> dict[str, tuple[Facet, ...]]:  # noqa: ARG001 - the key
    from core.explorer import view

    return view.facets(cohort(), selection)


def groups(selection: Selection, by: Grouping) -> tuple[Group, ...]:
    """The groups of the cells in view."""
    return _groups(cohort().revision, selection, by)


@st.cache_data(show_spinner=False, max_entries=64)
def _groups(revision: str, selection: Selection, by: Grouping) -> tuple[Group, ...]:  # noqa: ARG001 - the key
    from core.explorer import view

    return view.groups(cohort(), selection, by)


def histogram(selection: Selection, feature: str, by: Grouping, *, log: bool) -> Histogram:
    """Cells of each group in bins of a feature."""
    return _histogram(cohort().revision, selection, feature, by, log)


@st.cache_data(show_spinner=False, max_entries=64)
def _histogram(revision: str, selection: Selection, feature: str, by: Grouping, log: bool) -> Histogram:  # noqa: ARG001 - the key
    from core.explorer import view

    return view.histogram(cohort(), selection, feature, by, bins=200, log=log)


def quantiles(selection: Selection, feature: str, by: Grouping = None, count: int = 201) -> Quantiles:
    """The distribution of a feature in each group, in so many numbers at even shares, the least and the greatest among them."""
    return _quantiles(cohort().revision, selection, feature, by, count)


@st.cache_data(show_spinner=False, max_entries=64)
def _quantiles(revision: str, selection: Selection, feature: str, by: Grouping, count: int) -> Quantiles:  # noqa: ARG001 - the key
    import numpy as np

    from core.explorer import view

    return view.quantiles(cohort(), selection, feature, by, np.linspace(0, 1, count).tolist())


def summaries(selection: Selection, features: tuple[str, ...], by: Grouping) -> tuple[Summary, ...]:
    """Exact summaries of features by group."""
    return _summaries(cohort().revision, selection, features, by)


@st.cache_data(show_spinner=False, max_entries=64)
def _summaries(revision: str, selection: Selection, features: tuple[str, ...], by: Grouping) -> tuple[Summary, ...]:  # noqa: ARG001 - the key
    from core.explorer import view

    return view.summary(cohort(), selection, features, by)


def sampled(selection: Selection, features: tuple[str, ...], by: Grouping, sample: int) -> Values:
    """Values of at most so many cells of each group, the same for the same selection."""
    return _sampled(cohort().revision, selection, features, by, sample)


@st.cache_resource(show_spinner=False, max_entries=6)
def _sampled(revision: str, selection: Selection, features: tuple[str, ...], by: Grouping, sample: int) -> Values:  # noqa: ARG001 - the key
    from core.explorer import view

    return view.values(cohort(), selection, features, by, sample=sample)


def group_sources(selection: Selection, by: By) -> dict[str, tuple[str, ...]]:
    """Where the cells of each group come from."""
    return _group_sources(cohort().revision, selection, by)


@st.cache_data(show_spinner=False, max_entries=64)
def _group_sources(revision: str, selection: Selection, by: By) -> dict[str, tuple[str, ...]]:  # noqa: ARG001 - the key
    from dataclasses import replace

    from core.explorer import view
    from core.explorer.view import By

    found: dict[str, tuple[str, ...]] = {}
    for source in view.counts(cohort(), selection).sources:
        for group in view.groups(cohort(), replace(selection, sources=(source,)), by):
            name = group.name.removesuffix(f", {source}") if by is By.PATIENT else group.name
            found[name] = (*found.get(name, ()), source)
    return found


def separated(
    selection: Selection,
    by: Grouping,
    sides: Sides,
    names: tuple[str, ...],
    features: tuple[str, ...],
    reliable: frozenset[str],
    sample: int,
) -> tuple[SideSample, Separated]:
    """Which features separate the sides, by all their cells or a sample, which come first."""
    return _separated(cohort().revision, selection, by, sides, names, features, reliable, sample)


@st.cache_resource(show_spinner=False, max_entries=3)
def _separated(
    revision: str,  # noqa: ARG001 - the key
    selection: Selection,
    by: Grouping,
    sides: Sides,
    names: tuple[str, ...],
    features: tuple[str, ...],
    reliable: frozenset[str],
    sample: int,
) -> tuple[SideSample, Separated]:
    from core.explorer import separation

    cells = separation.gather(cohort(), selection, by, sides, features, sample)
    return cells, separation.separate(cells, names, reliable)


def panels(
    selection: Selection,
    by: Grouping,
    sides: Sides,
    names: tuple[str, ...],
    features: tuple[str, ...],
    reliable: frozenset[str],
    sample: int,
) -> Panels:
    """A few features that together tell the sides apart."""
    return _panels(cohort().revision, selection, by, sides, names, features, reliable, sample)


@st.cache_resource(show_spinner=False, max_entries=16)
def _panels(
    revision: str,
    selection: Selection,
    by: Grouping,
    sides: Sides,
    names: tuple[str, ...],
    features: tuple[str, ...],
    reliable: frozenset[str],
    sample: int,
) -> Panels:
    from core.explorer import separation

    cells, found = _separated(revision, selection, by, sides, names, features, reliable, sample)
    return separation.find_panels(cells, names, found.redundancy, reliable)


def ranked_exactly(
    selection: Selection, by: Grouping, sides: Sides, names: tuple[str, ...], features: tuple[str, ...]
) -> Ranking:
    """A few features ranked by all cells of the sides."""
    return _ranked_exactly(cohort().revision, selection, by, sides, names, features)


@st.cache_resource(show_spinner=False, max_entries=32)
def _ranked_exactly(
    revision: str,  # noqa: ARG001 - the key
    selection: Selection,
    by: Grouping,
    sides: Sides,
    names: tuple[str, ...],
    features: tuple[str, ...],
) -> Ranking:
    from core.explorer import separation

    return separation.rank_exactly(cohort(), selection, by, sides, names, features)
