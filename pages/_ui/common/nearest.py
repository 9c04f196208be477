"""The populations nearest to a cell: the same answer, and the same words, on every page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from core.support.text import markdown
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.caching import cached

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from core.domain.types import CellAnalysis, FeatureSet
    from core.populations.nearness import NearestPopulations, Nearness


def nearness_of(
    features: FeatureSet, um_per_px: float | None, flags: Collection[str], severe: Sequence[str]
) -> Nearness:
    """Which populations of the cohort a cell is near to, by its values in pixels, its scale and its flags' codes."""
    nearest = _nearest_populations(*model_in_use.compared_features())
    return nearest.of(features, um_per_px, flags, severe)


def nearness_of_cell(cell: CellAnalysis) -> Nearness:
    """The same for a cell that was analysed here."""
    flags = [flag.code for flag in cell.flags]
    severe = [flag.code for flag in cell.flags if flag.severe]
    return nearness_of(cell.features, cell.image.um_per_px, flags, severe)


def show_nearness(nearness: Nearness) -> None:
    """Say what is nearest, or why nothing is named."""
    from core.populations.nearness import in_words

    named = " A description, no classification." if nearness.populations else ""
    st.markdown(f":material/near_me: {markdown(in_words(nearness))}{named}", help=_how(nearness) or None)


def _how(nearness: Nearness) -> str:
    if not nearness.shapes:
        return ""
    sizes = f" and {nearness.sizes} sizes in micrometres" if nearness.sizes else ""
    return (
        f"Compared by {nearness.shapes} shape features that need no scale{sizes}, all that can be trusted. How far a"
        " cell is from a population is its distance to the fifth nearest of the population's cells, counted in the"
        " spread within populations and without what features share. The least distance comes first. The per cent tells"
        " how usual such a distance is there: how many of the population's own cells are as far from the others. Tone"
        " is left out, because staining differs between laboratories."
    )


@cached("resource", max_entries=2, spinner="Reading the populations to compare with")
def _nearest_populations(shapes: tuple[str, ...], sizes: tuple[str, ...]) -> NearestPopulations:
    from core.populations.nearness import NearestPopulations
    from core.store import queries

    return NearestPopulations(queries.references(cohort_data.cohort(), [*shapes, *sizes]), shapes, sizes)
