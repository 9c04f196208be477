"""How often a cell is nearest to its own type, and what is said of types that the populations lack.

Nothing is judged by what it was fitted with: the cells of a fold are set beside those of the others, a patient's in one
fold where patients are known, else at random, which flatters: cells of one person are alike.
"""

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, Self

import pandas as pd

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.options import CellChoice, Device
from core.domain.types import FeatureSet
from core.evaluation.datasets import DATA_SETS, Sample
from core.evaluation.ood_negatives import evenly
from core.pipeline import AnalysisRequest, analyse_many
from core.populations.nearness import NearestPopulations, Nearness, Unnamed
from core.populations.summaries import SMALL_GROUP, ReferencePopulation
from core.segmentation.model_registry import ModelEntry
from core.store import queries
from core.store.database import Cohort

_FOLDS: Final = 5
_MOST_IMAGES: Final = 60  # of a type in a data set
# Types of one lineage are left out together: a cell of one is rightly near to the other.
_KIN: Final = ((CellType.LYMPHOCYTE,), (CellType.MONOCYTE,), (CellType.PROMYELOCYTE, CellType.APL))
# Types that the shipped populations lack, by the data set that has them.
_LACKING: Final[Mapping[str, tuple[CellType, ...]]] = MappingProxyType(
    {
        "acevedo": (
            CellType.NEUTROPHIL, CellType.EOSINOPHIL, CellType.BASOPHIL, CellType.ERYTHROBLAST, CellType.PLATELET,
        ),
        "bccd": (CellType.NEUTROPHIL, CellType.EOSINOPHIL),
        "set1": (CellType.NEUTROPHIL, CellType.EOSINOPHIL),
        "set2": (CellType.NEUTROPHIL, CellType.EOSINOPHIL),
        "deepapl": (CellType.BLAST,),
    }
)  # fmt: skip


class Setting(StrEnum):
    """What the cells were set beside."""

    HELD_OUT = "held out"
    NO_SCALE = "held out, without a scale"
    WRONG_SCALE = "held out, with a scale a tenth too large"
    OTHER_LABORATORY = "other laboratories only"
    TYPE_LEFT_OUT = "its type left out"
    LACKING = "a type that is lacking"


# By what the scale of a held-out cell is multiplied; a tenth is the error of the shipped populations' scale.
_HELD_OUT: Final = MappingProxyType({Setting.HELD_OUT: 1.0, Setting.NO_SCALE: None, Setting.WRONG_SCALE: 1.1})


@dataclass(frozen=True)
class NearnessCount:
    """What was said of `n` cells called `cells`.

    A flag refused `refused` of them, the granulocyte flag among these; `unlike` every population were so many of the
    others, `first` of its own type was the population named first, and `second` one of the two named. `named` counts
    the types named first, and for `close` cells it was told that they are close to a small group.
    """

    setting: Setting
    cells: str
    n: int
    refused: int
    unlike: int
    first: int
    second: int
    close: int
    named: dict[str, int]


def check_nearness(
    model: ModelEntry,
    cohort: Cohort,
    shapes: Sequence[str],
    sizes: Sequence[str],
    *,
    jobs: int = 1,
    device: Device = Device.AUTO,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[NearnessCount]:
    """Count what is said of the cohort's cells, and of images of types that it lacks, in `DATA_SETS`.

    `limit` takes so many cells of a population and images of a type; raises DataSetError where images are missing.
    """
    stored = _Stored.read(cohort, shapes, sizes, limit)
    return [
        *stored.held_out(),
        *stored.in_other_laboratories(),
        *stored.left_out(),
        *_lacking(model, stored.nearest(stored.cells), jobs, device, limit, progress),
    ]


_Said = list[tuple[CellType, Nearness]]


@dataclass(frozen=True, eq=False)
class _Stored:
    """The populations, and all their cells in one table with the columns `population` and `fold`."""

    references: dict[str, ReferencePopulation]
    cells: pd.DataFrame
    shapes: tuple[str, ...]
    sizes: tuple[str, ...]

    @classmethod
    def read(cls, cohort: Cohort, shapes: Sequence[str], sizes: Sequence[str], limit: int | None) -> Self:
        features = [*shapes, *sizes]
        names = [info.population.population_id for info in queries.populations(cohort) if info.n_good]
        columns = ["cell_id", "patient_id", "um_per_px", "quality_flags", "severe_flags", "quality_ok", *features]
        tables = []
        for name in names:
            table = queries.cells(cohort, name, columns).assign(population=name)
            tables.append(table.iloc[evenly(range(len(table)), limit or len(table))])
        cells = pd.concat(tables, ignore_index=True)
        groups = cells["patient_id"].fillna(cells["cell_id"]).astype(str)
        cells["fold"] = [zlib.crc32(group.encode()) % _FOLDS for group in groups]
        references = {name: queries.reference(cohort, name, features) for name in names}
        return cls(references, cells, tuple(shapes), tuple(sizes))

    def nearest(self, members: pd.DataFrame) -> NearestPopulations:
        """The populations of which good cells are among some, with these as members."""
        good = members[members["quality_ok"].astype(bool)]
        kept = [
            replace(self.references[str(name)], sample=sample)
            for name, sample in good.groupby("population", sort=False)
        ]
        return NearestPopulations(kept, self.shapes, self.sizes)

    def said(self, nearest: NearestPopulations, cells: pd.DataFrame, scale: float | None = 1.0) -> _Said:
        """What is said of some cells, with their types; their scale is multiplied, or taken away."""
        found = []
        for row in cells.to_dict("records"):
            features = FeatureSet({name: _number(row[name]) for name in (*self.shapes, *self.sizes)}, {})
            um_per_px = _number(row["um_per_px"])
            given = None if um_per_px is None or scale is None else um_per_px * scale
            nearness = nearest.of(features, given, list(row["quality_flags"]), list(row["severe_flags"]))
            found.append((self.references[row["population"]].cell_type, nearness))
        return found

    def held_out(self) -> Iterator[NearnessCount]:
        """Each fold beside the others."""
        said: dict[tuple[Setting, str], _Said] = {
            (setting, name): [] for setting in _HELD_OUT for name in self.references
        }
        for _, fold in self.cells.groupby("fold"):
            nearest = self.nearest(self.cells.drop(index=fold.index))
            for name, cells in fold.groupby("population"):
                for setting, scale in _HELD_OUT.items():
                    said[setting, str(name)] += self.said(nearest, cells, scale)
        for (setting, name), of_cells in said.items():
            yield _count(setting, self.references[name].title, of_cells)

    def in_other_laboratories(self) -> Iterator[NearnessCount]:
        """The cells of each laboratory beside the others' populations, where one of these is of their type."""
        for name, cells in self.cells.groupby("population", sort=False):
            own = self.references[str(name)]
            others = [n for n, reference in self.references.items() if reference.source != own.source]
            if any(
                self.references[n].cell_type is own.cell_type and self.references[n].n >= SMALL_GROUP for n in others
            ):
                nearest = self.nearest(self.cells[self.cells["population"].isin(others)])
                yield _count(Setting.OTHER_LABORATORY, own.title, self.said(nearest, cells))

    def left_out(self) -> Iterator[NearnessCount]:
        """The cells of each type beside the populations of others."""
        for kin in _KIN:
            without = [name for name, reference in self.references.items() if reference.cell_type in kin]
            of_kin = self.cells["population"].isin(without)
            nearest = self.nearest(self.cells[~of_kin])
            for name, cells in self.cells[of_kin].groupby("population", sort=False):
                yield _count(Setting.TYPE_LEFT_OUT, self.references[str(name)].title, self.said(nearest, cells))


def _lacking(
    model: ModelEntry,
    nearest: NearestPopulations,
    jobs: int,
    device: Device,
    limit: int | None,
    progress: Callable[[int, int], None],
) -> Iterator[NearnessCount]:
    """Images of types that no population has, measured now."""
    todo: dict[tuple[str, CellType], list[Sample]] = {}
    for source, types in _LACKING.items():
        samples = DATA_SETS[source].samples()
        for cell_type in types:
            of_type = [sample for sample in samples if sample.cell_type is cell_type]
            todo[source, cell_type] = evenly(of_type, min(limit or _MOST_IMAGES, _MOST_IMAGES))
    requests = [
        AnalysisRequest(sample.image, DATA_SETS[source].um_per_px, CellChoice.ONE)
        for (source, _), samples in todo.items()
        for sample in samples
    ]
    outcomes = analyse_many(requests, model, jobs=jobs, device=device)
    done = 0
    for (source, cell_type), samples in todo.items():
        said: _Said = []
        for outcome in islice(outcomes, len(samples)):
            done += 1
            progress(done, len(requests))
            for analysis in outcome.analyses[:1]:
                codes = [flag.code for flag in analysis.flags]
                severe = [flag.code for flag in analysis.flags if flag.severe]
                said.append((cell_type, nearest.of(analysis.features, analysis.image.um_per_px, codes, severe)))
        yield _count(Setting.LACKING, f"{CELL_TYPES[cell_type].plural}, {DATA_SETS[source].title}", said)


def _count(setting: Setting, cells: str, said: _Said) -> NearnessCount:
    named = [(own, nearness.populations) for own, nearness in said if nearness.populations]
    first = Counter(populations[0].cell_type for _, populations in named)
    return NearnessCount(
        setting,
        cells,
        n=len(said),
        refused=sum(nearness.unnamed in (Unnamed.FLAG, Unnamed.GRANULOCYTE) for _, nearness in said),
        unlike=sum(nearness.unnamed is Unnamed.UNLIKE for _, nearness in said),
        first=sum(populations[0].cell_type is own for own, populations in named),
        second=sum(own in {near.cell_type for near in populations[:2]} for own, populations in named),
        close=sum(bool(nearness.close_groups) for _, nearness in said),
        named={CELL_TYPES[kind].plural: count for kind, count in first.most_common()},
    )


def nearness_row(count: NearnessCount) -> dict[str, str]:
    """A row for people.

    Shares are of the cells that no flag refuses, except for those that one does; of a type that is lacking, of all.
    """
    known = count.setting not in (Setting.TYPE_LEFT_OUT, Setting.LACKING)
    whole = count.n if count.setting is Setting.LACKING else count.n - count.refused
    row = {
        "cells": count.cells,
        "n": f"{count.n:,}",
        "refused by a flag": _percent(count.refused, count.n),
        "unlike all": _percent(count.unlike, whole),
    }
    if known:
        row |= {"its type first": _percent(count.first, whole), "first or second": _percent(count.second, whole)}
    row["close to a small group"] = _percent(count.close, whole)
    row["named first"] = ", ".join(f"{name} {_percent(n, whole)}" for name, n in count.named.items())
    return row


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"


def _number(value: Any) -> float | None:  # noqa: ANN401 (any cell of a table)
    return None if pd.isna(value) else float(value)
