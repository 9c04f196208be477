"""The cohort, opened once: its populations, and what a cell can be compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import streamlit as st

from core.domain.settings import load_settings
from core.support.text import markdown
from pages._ui.common.caching import cached
from pages._ui.common.state import AS_DRAWN, CALIBRATED

if TYPE_CHECKING:
    from core.domain.cell_types import CellType
    from core.populations.calibration import Calibration
    from core.populations.summaries import ReferencePopulation
    from core.store.database import Cohort
    from core.store.queries import PopulationInfo

_MOST_TOLD: Final = 50


def cohort() -> Cohort:
    """The shipped and the user's populations, read where they lie.

    As the model drew them, and with calibrations of laboratories, where that is asked for.
    """
    chosen = CALIBRATED.get()
    if chosen:
        return _calibrated(chosen, as_drawn=bool(AS_DRAWN.get()))
    return corrected_cohort().as_drawn() if AS_DRAWN.get() else corrected_cohort()


def _of_calibrations(*args: object, **kwargs: object) -> object:
    """A key for what is made of the files of calibrations, whatever the cells are."""
    from core.store import calibrations as stored

    settings = load_settings()
    folders = (str(settings.reference), str(settings.cohort), str(settings.cache))
    return folders, stored.revision(settings.cohort), args, kwargs


@cached("resource", max_entries=4, key=_of_calibrations)
def _calibrated(chosen: tuple[str, ...], *, as_drawn: bool) -> Cohort:
    """The cohort with calibrations laid over it; made once, as it is asked for with every question."""
    opened = corrected_cohort().as_drawn() if as_drawn else corrected_cohort()
    return opened.calibrated([each for each in calibrations() if each.name in chosen])


@cached("resource", max_entries=2, key=_of_calibrations)
def calibrations() -> tuple[Calibration, ...]:
    """The calibrations that were made; those that are damaged are told by the explorer."""
    from core.store import calibrations as stored

    return stored.kept(load_settings().cohort)[0]


def corrected_cohort() -> Cohort:
    """The same with people's corrections of outlines, whatever is asked for."""
    settings = load_settings()
    return _cohort(str(settings.reference), str(settings.cohort), str(settings.cache))


def decisions() -> int:
    """On how many cells of the cohort people have decided."""
    from core.store import outline_log

    standing = outline_log.all_standing(load_settings().cohort)
    return sum(verdict.cell.cell_id is not None for verdict in standing)


@cached("resource", max_entries=2, key=lambda *folders: folders)
def _cohort(reference: str, user: str, cache: str) -> Cohort:
    from pathlib import Path

    from core.store.database import Cohort

    return Cohort.open([Path(reference), Path(user)], Path(cache))


@cached("resource", max_entries=2)
def populations() -> tuple[PopulationInfo, ...]:
    """Every measured population with its counts."""
    from core.store import queries

    return queries.populations(cohort())


def population_titles() -> dict[str, str]:
    """What each population is called, by its identifier."""
    return {stored.population.population_id: stored.population.title for stored in cohort().populations()}


def population_types() -> dict[str, CellType]:
    """The cell type of each population, by its identifier."""
    return {stored.population.population_id: stored.population.cell_type for stored in cohort().populations()}


def shipped() -> frozenset[str]:
    """Identifiers of the populations that come with the program."""
    return frozenset(info.population.population_id for info in populations() if info.shipped)


def notes() -> dict[str, str]:
    """What a reader must know of each population before drawing conclusions, and how many cells quality kept out."""
    return {info.population.population_id: _note(info) for info in populations()}


def _note(info: PopulationInfo) -> str:
    kept_out = info.n - info.n_good
    excluded = f" {kept_out} of {info.n} cells are left out for their quality." if kept_out else ""
    corrected = f" People corrected {info.corrected:,} of {info.n:,} outlines." if info.corrected else ""
    return info.population.note + excluded + corrected


@cached("resource", max_entries=2)
def references() -> tuple[ReferencePopulation, ...]:
    """Everything a cell can be compared with: measured populations with a good cell, then the published tables."""
    from core.store import queries

    return queries.references(cohort()) + published()


def published() -> tuple[ReferencePopulation, ...]:
    """The published tables."""
    from core.store.published import published_references

    return published_references(load_settings().reference)


def show_set_aside() -> None:
    """Tell, folded up, what of the cohort is damaged and not counted; nothing where all of it is sound."""
    problems = cohort().problems
    if problems:
        what = "1 part" if len(problems) == 1 else f"{len(problems):,} parts"
        with st.expander(f"Set aside: {what} of the cohort", icon=":material/warning:", key="set_aside"):
            st.markdown("\n".join(f"- {markdown(str(problem))}" for problem in problems[:_MOST_TOLD]))
            if len(problems) > _MOST_TOLD:
                st.caption(f"and {len(problems) - _MOST_TOLD:,} more; `leukoscope cohort list` names all.")
