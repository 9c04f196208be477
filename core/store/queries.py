"""Questions to the cohort, each a named function: what populations there are, their cells, values and summaries."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import pandas as pd

from core.domain.errors import StoreError
from core.domain.objects import RedCells
from core.domain.types import DrawnBy
from core.features.catalogue import CATALOGUE
from core.populations.outlining import Outlining
from core.populations.summaries import (
    PopulationSummary,
    ReferencePopulation,
    count_patients,
    reference_population,
    summarise,
)
from core.populations.typicality import MOST_FITTED
from core.store.database import Cohort
from core.store.schema import Population
from core.store.shards import StoredPopulation, is_shipped

_VALUE_COLUMNS: Final = ("cell_id", "patient_id", "um_per_px")


@dataclass(frozen=True)
class PopulationInfo:
    """What is shown beside a population wherever it is named.

    `n` counts all cells, `n_good` those that enter summaries, and `corrected` those whose outline a person drew;
    `patients` counts the patients of the good cells, None unless all are known. `excluded` counts the others by severe
    flag; a cell with two is counted under both. `scaled` counts the good cells with a scale. `shipped` tells whether it
    comes from the first root. `set_aside` tells, in a sentence each, which of its files are not counted; with a
    `problem` nothing could be.
    """

    population: Population
    n: int
    n_good: int
    patients: int | None
    excluded: dict[str, int]
    scaled: int
    shipped: bool
    problem: str | None = None
    set_aside: tuple[str, ...] = ()
    corrected: int = 0


def populations(cohort: Cohort) -> tuple[PopulationInfo, ...]:
    """Every population with its counts, in the order of `Cohort.populations`; a damaged one has a `problem`."""

    def infos() -> tuple[PopulationInfo, ...]:
        return tuple(
            cohort.answer(stored.population.population_id, "info", partial(_info, cohort, stored))
            for stored in cohort.populations()
        )

    return cohort.answer_of_all("populations", infos)


def cells(
    cohort: Cohort, population_id: str, columns: Sequence[str] | None = None, *, good_only: bool = False
) -> pd.DataFrame:
    """Cells of a population ordered by image and index: all columns or those named; raises StoreError."""
    names = cohort.check_columns(cohort.columns if columns is None else columns)
    chosen = ", ".join(f'"{name}"' for name in names)
    where = "WHERE quality_ok" if good_only else ""
    return cohort.query(
        f"SELECT {chosen} FROM cells {where} ORDER BY image_path, cell_index, cell_id",
        populations=[population_id],
        columns=(*names, "quality_ok", "image_path", "cell_index", "cell_id"),
    )


def values(cohort: Cohort, population_id: str, features: Sequence[str] | None = None) -> pd.DataFrame:
    """Values frame (`core.populations.summaries`) of the good cells.

    Columns `cell_id`, `patient_id`, `um_per_px`, then features in pixels, nan where absent.
    """
    names = tuple(CATALOGUE) if features is None else tuple(features)
    return cells(cohort, population_id, [*_VALUE_COLUMNS, *names], good_only=True)


def sample(cohort: Cohort, population_id: str, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of the good cells for measuring typicality: all, or `MOST_FITTED` random ones, the same each time."""
    names = cohort.check_columns(columns)
    listed = ", ".join(f'"{name}"' for name in names)
    sql = f"SELECT {listed} FROM cells WHERE quality_ok ORDER BY hash(cell_id), cell_id LIMIT $most"
    return cohort.query(sql, {"most": MOST_FITTED}, [population_id], columns=(*names, "quality_ok", "cell_id"))


def red_cells(cohort: Cohort, population_id: str) -> list[RedCells]:
    """What the red cells of each image of a population said when it was measured; none of older shards and tables."""
    sql = (
        "SELECT max(red_cells) AS discs, max(red_cell_px) AS px FROM cells WHERE red_cells IS NOT NULL"
        " GROUP BY coalesce(image_sha256, cell_id)"
    )
    columns = ("red_cells", "red_cell_px", "image_sha256", "cell_id")
    frame = cohort.query(sql, populations=[population_id], columns=columns)
    return [RedCells(int(discs), None if pd.isna(px) else float(px)) for discs, px in frame.itertuples(index=False)]


def summaries(cohort: Cohort, population_id: str, *, in_um: bool) -> tuple[PopulationSummary, ...]:
    """Summaries of all features over the good cells; with `in_um` sizes in micrometres, over the cells with a scale."""
    return summarise(values(cohort, population_id), population_id, in_um=in_um)


def references(cohort: Cohort, features: Sequence[str] | None = None) -> tuple[ReferencePopulation, ...]:
    """Every population with a good cell, as `reference` returns it."""

    def all_of_them() -> tuple[ReferencePopulation, ...]:
        return tuple(
            reference(cohort, info.population.population_id, features) for info in populations(cohort) if info.n_good
        )

    named = "every feature" if features is None else ", ".join(features)
    return cohort.answer_of_all(f"references by {named}", all_of_them)


def reference(cohort: Cohort, population_id: str, features: Sequence[str] | None = None) -> ReferencePopulation:
    """Return a population for `core.populations.comparison.compare_cell`, by default with all features.

    Made only once while the population stays as it is: kept in memory and in the cohort's folder of caches.
    """
    names = tuple(CATALOGUE) if features is None else tuple(features)
    return cohort.answer(population_id, names, partial(_reference, cohort, population_id, names))


def _reference(cohort: Cohort, population_id: str, features: tuple[str, ...]) -> ReferencePopulation:
    """The same from the folder of caches, or made anew."""
    state, cache = cohort.states().get(population_id), cohort.references
    if cache is None or state is None:
        return _made_reference(cohort, population_id, features)
    found = cache.read(state, features)
    if found is None:
        found = _made_reference(cohort, population_id, features)
        if cohort.states().get(population_id) == state:
            cache.write(state, features, found)
    return found


def _made_reference(cohort: Cohort, population_id: str, features: tuple[str, ...]) -> ReferencePopulation:
    population, members = cohort.population(population_id), values(cohort, population_id, features)
    return reference_population(
        members,
        population=population_id,
        cell_type=population.cell_type,
        title=population.title,
        source=population.source,
        scale_note=(
            f"Scale of the population: {population.um_per_px_origin}{_within(population)}."
            if population.um_per_px is not None
            else ""
        ),
        sample=_sampled(cohort, population_id, members),
        outlined=outlining(cohort, population_id),
    )


def _within(population: Population) -> str:
    """How well the scale of a population is known, after how it is known."""
    error = population.um_per_px_error
    return (
        f" (the true one within {100 * error:.0f} % of it, so areas within about {200 * error:.0f} %)" if error else ""
    )


def outlining(cohort: Cohort, population_id: str) -> Outlining:
    """By which models the good cells of a population were outlined."""
    return cohort.answer(population_id, "outlining", partial(_outlined, cohort, population_id))


def _outlined(cohort: Cohort, population_id: str) -> Outlining:
    named = ("model_id", "versions", "outline_by")
    listed = ", ".join(named)
    sql = f"SELECT {listed}, count(*) AS n FROM cells WHERE quality_ok GROUP BY ALL ORDER BY n DESC, {listed}"
    counted = cohort.query(sql, populations=[population_id], columns=(*named, "quality_ok"))
    rows = []
    for *texts, n in counted.itertuples(index=False, name=None):
        model_id, versions, drawn_by = (None if pd.isna(text) else str(text) for text in texts)
        rows.append((model_id, versions, drawn_by, n))
    return Outlining.of_rows(rows)


def _sampled(cohort: Cohort, population_id: str, members: pd.DataFrame) -> pd.DataFrame:
    """Those of the members that `sample` draws."""
    if len(members) <= MOST_FITTED:
        return members
    return members[members["cell_id"].isin(sample(cohort, population_id, ["cell_id"])["cell_id"])]


def _info(cohort: Cohort, stored: StoredPopulation) -> PopulationInfo:
    population, shipped = stored.population, is_shipped(stored.root)
    set_aside = tuple(map(str, stored.set_aside))
    try:
        columns = ["quality_ok", "severe_flags", "patient_id", "um_per_px", "outline_by"]
        frame = cells(cohort, population.population_id, columns)
    except StoreError as error:
        return PopulationInfo(population, 0, 0, None, {}, 0, shipped, str(error), set_aside)
    good = frame["quality_ok"].astype(bool)
    reasons = frame.loc[~good, "severe_flags"].explode().dropna().value_counts()
    return PopulationInfo(
        population=population,
        n=len(frame),
        n_good=int(good.sum()),
        patients=count_patients(frame.loc[good, "patient_id"]),
        excluded={str(code): int(count) for code, count in reasons.sort_index().items()},
        scaled=int(frame.loc[good, "um_per_px"].notna().sum()),
        shipped=shipped,
        set_aside=set_aside,
        corrected=int((frame["outline_by"] == DrawnBy.PERSON).sum()),
    )
