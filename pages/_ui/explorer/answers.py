"""The cohort's answers to the explorer's questions, each kept for the state of the cohort (`common.caching`)."""

from collections.abc import Mapping

import numpy as np

from core.explorer import contrasts, separation, view
from core.explorer.contrasts import Contrasts, SourceSides
from core.explorer.panel import Panels
from core.explorer.ranking import Ranking
from core.explorer.selection import Selection
from core.explorer.separation import Separated, SideSample
from core.explorer.view import By, Facet, Group, Grouping, Histogram, InView, Quantiles, Summary
from pages._ui.common import cohort_data
from pages._ui.common.caching import cached

Sides = tuple[tuple[str, ...], ...]


@cached("data", max_entries=128)
def in_view(selection: Selection) -> InView:
    """What a selection shows and leaves out."""
    return view.counts(cohort_data.cohort(), selection)


@cached("data", max_entries=64)
def facets(selection: Selection) -> Mapping[str, tuple[Facet, ...]]:
    """What each filter offers."""
    return view.facets(cohort_data.cohort(), selection)


@cached("data", max_entries=64)
def groups(selection: Selection, by: Grouping) -> tuple[Group, ...]:
    """The groups of the cells in view."""
    return view.groups(cohort_data.cohort(), selection, by)


@cached("data", max_entries=64)
def histogram(selection: Selection, feature: str, by: Grouping, *, log: bool) -> Histogram:
    """Cells of each group in bins of a feature."""
    return view.histogram(cohort_data.cohort(), selection, feature, by, bins=200, log=log)


@cached("data", max_entries=64)
def quantiles(selection: Selection, feature: str, by: Grouping = None, count: int = 201) -> Quantiles:
    """The distribution of a feature in each group: `count` quantiles at even shares, extremes included."""
    return view.quantiles(cohort_data.cohort(), selection, feature, by, np.linspace(0, 1, count).tolist())


@cached("data", max_entries=64)
def summaries(selection: Selection, features: tuple[str, ...], by: Grouping) -> tuple[Summary, ...]:
    """Exact summaries of features by group."""
    return view.summary(cohort_data.cohort(), selection, features, by)


@cached("data", max_entries=64)
def group_sources(selection: Selection, by: By) -> dict[str, tuple[str, ...]]:
    """Where the cells of each group come from."""
    return view.group_sources(cohort_data.cohort(), selection, by)


@cached("data", max_entries=64)
def sides_by_source(selection: Selection, by: Grouping, sides: Sides) -> tuple[SourceSides, ...]:
    """The sources that have cells on both of two sides."""
    return contrasts.sides_by_source(cohort_data.cohort(), selection, by, sides)


@cached("resource", max_entries=8)
def contrasted(selection: Selection, by: Grouping, sides: Sides, names: tuple[str, ...]) -> Contrasts:
    """What sets two sides apart inside each source."""
    return contrasts.contrast(cohort_data.cohort(), selection, by, sides, names)


@cached("resource", max_entries=3)
def separated(
    selection: Selection,
    by: Grouping,
    sides: Sides,
    names: tuple[str, ...],
    features: tuple[str, ...],
    reliable: frozenset[str],
    sample: int,
) -> tuple[SideSample, Separated]:
    """Which features separate the sides, by all their cells or a sample, which are returned first."""
    cells = separation.gather(cohort_data.cohort(), selection, by, sides, features, sample)
    return cells, separation.separate(cells, names, reliable)


@cached("resource", max_entries=16)
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
    cells, ranked = separated(selection, by, sides, names, features, reliable, sample)
    return separation.find_panels(cells, names, ranked.redundancy, reliable)


@cached("resource", max_entries=32)
def ranked_exactly(
    selection: Selection, by: Grouping, sides: Sides, names: tuple[str, ...], features: tuple[str, ...]
) -> Ranking:
    """A few features ranked by all cells of the sides."""
    return separation.rank_exactly(cohort_data.cohort(), selection, by, sides, names, features)
