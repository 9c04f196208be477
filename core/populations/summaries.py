"""What the cells of a population measure: summaries of its features, and the population as cells are compared with it.

Pure functions of numbers; no files, no SQL.

Definitions
-----------
A *values frame* has one row per cell that passed quality control, the columns ``patient_id`` and ``um_per_px`` (both
may be null) and one column per feature in pixels.

Basis. A feature with ``length_power`` q (1 length, 2 area, -1 reciprocal length) is compared only in micrometres,
``value * um_per_px ** q``, over the cells whose scale is known. A scale-free feature is compared as it is, and so is
one that changes with the size of the pixels (``pixel_bound``), which has no micrometres to convert to.

Percentiles are linearly interpolated order statistics (numpy's ``linear``); ``std`` divides by n - 1. ``location`` and
``scale`` are those of the robust z (`core.populations.robust`). A published table gives no values: there ``scale =
(g(p98) - g(p2)) / 4.1075``, the same quantity for a normal population, since its 98th percentile lies 2.0537 standard
deviations above the median.

Small groups. Below `SMALL_GROUP` cells there is no percentile and no robust z: the members are points.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureSpec
from core.populations.outlining import Outlining
from core.populations.robust import log_where, robust_centres

SMALL_GROUP: Final = 20  # the 2nd percentile of fewer cells is little more than their minimum
PERCENTILES: Final = (2, 25, 50, 75, 98)

_BAND_TO_STD: Final = 4.1075  # 2 * Phi^-1(0.98)


class Basis(StrEnum):
    """What a value is counted in: pixels, micrometres, or neither because the feature is scale-free."""

    PIXELS = "px"
    MICROMETRES = "um"
    NONE = "1"


def basis_of(spec: FeatureSpec, *, in_um: bool = True) -> Basis:
    """The basis of a feature's values, where those with a unit of length are converted to micrometres or not."""
    return Basis.NONE if spec.scale_free else Basis.MICROMETRES if in_um and spec.length_power else Basis.PIXELS


@dataclass(frozen=True)
class Statistics:
    """Order statistics, mean and standard deviation of `n` values.

    Percentiles are None below `SMALL_GROUP` values, `std` for fewer than two, everything without any.
    """

    n: int
    p2: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p98: float | None = None
    mean: float | None = None
    std: float | None = None

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Self:
        """Statistics of values (n,) in any order, none of them nan."""
        return cls(len(values), *_or_none(_statistics(np.sort(values)[None])[0]))


@dataclass(frozen=True, kw_only=True)
class FeatureSummary(Statistics):
    """One feature of some cells.

    `n` cells have a value in this basis and `n_absent` have none; `patients` is None unless the patient of each of the
    n cells is known.
    """

    feature: str
    basis: Basis
    n_absent: int
    patients: int | None


@dataclass(frozen=True, kw_only=True)
class PopulationSummary(FeatureSummary):
    """One feature of the good cells of one population.

    `location` and `scale` are those of the robust z, after the logarithm where `log`: None for a small group, `scale`
    also when the values do not vary. A `published` summary was read from a table, without quartiles; its n counts the
    images the table was made from.
    """

    population: str
    location: float | None
    scale: float | None
    log: bool
    published: bool = False

    @property
    def small(self) -> bool:
        """Whether there are too few cells for percentiles: draw them as points."""
        return self.n < SMALL_GROUP

    def robust_z(self, value: float) -> float | None:
        """Robust z of a value in this summary's basis; None where it is not defined."""
        if self.location is None or self.scale is None or (self.log and value <= 0):
            return None
        return ((math.log(value) if self.log else value) - self.location) / self.scale


@dataclass(frozen=True, eq=False)
class ReferencePopulation:
    """What a cell is compared with: summaries and ordered values by feature, in the basis of comparison.

    A feature that no member has, because it is younger than the population or cannot be measured there, has neither.
    `n` counts the good cells, `patients` theirs (None unless all are known). `scale_note` says where the scale comes
    from. A `published` population has summaries in the basis they were printed in, and no values. `sample` are the
    members by which a cell's typicality is measured: all of them, or a random sample of very many. `outlined` says by
    which models the good cells were outlined; of a published table that is not known.
    """

    population: str
    cell_type: CellType
    title: str
    source: str
    n: int
    patients: int | None
    summaries: Mapping[str, PopulationSummary]
    ordered: Mapping[str, NDArray[np.float64]] = field(repr=False)
    members: pd.DataFrame = field(repr=False)
    sample: pd.DataFrame = field(repr=False)
    scale_note: str = ""
    published: bool = False
    outlined: Outlining = field(default_factory=Outlining)

    @cached_property
    def scales(self) -> tuple[float, float]:
        """Smallest and largest scale of the members in micrometres per pixel; nan unless all have one."""
        um_per_px = self.members["um_per_px"].to_numpy(dtype=np.float64, na_value=np.nan)
        return (float(um_per_px.min()), float(um_per_px.max())) if len(um_per_px) else (math.nan, math.nan)

    @property
    def plural(self) -> str:
        """The members in words: "monocytes"; for a type without a name of its own, the title."""
        return f"cells of {self.title}" if self.cell_type is CellType.OTHER else CELL_TYPES[self.cell_type].plural


def summarise(values: pd.DataFrame, population: str, *, in_um: bool) -> tuple[PopulationSummary, ...]:
    """Summaries of all catalogue features in catalogue order.

    Parameters
    ----------
    values
        Values frame (see the module's text); features without a column count as absent in every cell.
    population
        Identifier carried into the summaries.
    in_um
        Convert features with a unit of length to micrometres, over the cells whose scale is known; else leave them in
        pixels.
    """
    summaries, _ = _summaries(values, population, in_um=in_um)
    return tuple(summaries[name] for name in CATALOGUE)


def reference_population(
    values: pd.DataFrame,
    *,
    population: str,
    cell_type: CellType,
    title: str,
    source: str,
    scale_note: str = "",
    sample: pd.DataFrame | None = None,
    outlined: Outlining | None = None,
) -> ReferencePopulation:
    """Prepare a measured population for comparisons, from its values frame.

    `sample` holds some of its rows, for typicality; None for all. `outlined` says by whom, as far as it is known.
    """
    summaries, ordered = _summaries(values, population, in_um=True)
    present = values.notna().any()
    measured = [name for name in CATALOGUE if present.get(name, default=False)]
    return ReferencePopulation(
        population=population,
        cell_type=cell_type,
        title=title,
        source=source,
        n=len(values),
        patients=count_patients(values["patient_id"]),
        summaries={name: summaries[name] for name in measured},
        ordered={name: ordered[name] for name in measured},
        members=values,
        sample=values if sample is None else sample,
        scale_note=scale_note,
        outlined=outlined or Outlining(unknown=len(values)),
    )


def published_summary(
    population: str, feature: str, *, n: int, p2: float, p50: float, p98: float, mean: float, std: float
) -> PopulationSummary:
    """Summary from a printed table; a feature with a unit of length is in pixels of an unknown size."""
    spec = CATALOGUE[feature]
    log = spec.log_axis and p2 > 0
    low, middle, high = (math.log(p) if log else p for p in (p2, p50, p98))
    return PopulationSummary(
        population=population,
        feature=feature,
        basis=basis_of(spec, in_um=False),
        n=n,
        n_absent=0,
        patients=None,
        p2=p2,
        p50=p50,
        p98=p98,
        mean=mean,
        std=std,
        location=middle,
        scale=(high - low) / _BAND_TO_STD if high > low else None,
        log=log,
        published=True,
    )


def count_patients(patient_ids: pd.Series) -> int | None:
    """Count the different patients; None when there are no cells or the patient of one is unknown."""
    return count_codes(pd.factorize(patient_ids)[0])


def count_codes(patients: NDArray[np.integer]) -> int | None:
    """Count the different patients, given as numbers from 0; -1 is unknown."""
    return int(np.count_nonzero(np.bincount(patients))) if len(patients) and patients.min() >= 0 else None


def _columns(values: pd.DataFrame, *, in_um: bool) -> NDArray[np.float64]:
    """All features of the catalogue as a matrix (features, cells), nan where a cell has no value in that basis."""
    scale = values["um_per_px"].to_numpy(dtype=np.float64, na_value=np.nan)
    columns = np.full((len(CATALOGUE), len(values)), np.nan)
    for row, spec in zip(columns, CATALOGUE.values(), strict=True):
        if spec.name in values:
            row[:] = values[spec.name].to_numpy(dtype=np.float64, na_value=np.nan)
            if basis_of(spec, in_um=in_um) is Basis.MICROMETRES:
                row *= scale**spec.length_power
    return columns


def _summaries(
    values: pd.DataFrame, population: str, *, in_um: bool
) -> tuple[dict[str, PopulationSummary], dict[str, NDArray[np.float64]]]:
    """Summary and sorted values of every feature, those that the same cells have in one go."""
    specs, columns = list(CATALOGUE.values()), _columns(values, in_um=in_um)
    alike: dict[bytes, list[int]] = {}
    present = np.isfinite(columns)
    for index, row in enumerate(present):
        alike.setdefault(row.tobytes(), []).append(index)
    patients, _ = pd.factorize(values["patient_id"])
    summaries, ordered = {}, {}
    for indices in alike.values():
        cells = present[indices[0]]
        known = count_codes(patients[cells])
        block = np.sort(columns[np.ix_(indices, cells)], axis=1)
        statistics = _statistics(block)
        location, scale = _centres(block, np.array([specs[index].log_axis for index in indices]))
        n = block.shape[1]
        for row, index in enumerate(indices):
            spec = specs[index]
            ordered[spec.name] = block[row]
            summaries[spec.name] = PopulationSummary(
                n,
                *_or_none(statistics[row]),
                population=population,
                feature=spec.name,
                basis=basis_of(spec, in_um=in_um),
                n_absent=len(values) - n,
                patients=known,
                location=location[row],
                scale=scale[row],
                log=spec.log_axis,
            )
    return summaries, ordered


def _statistics(ascending: NDArray[np.float64]) -> NDArray[np.float64]:
    """Percentiles, mean and standard deviation (F, 7) of each row of ascending values (F, n), nan where not defined."""
    statistics = np.full((len(ascending), len(PERCENTILES) + 2), np.nan)
    n = ascending.shape[1]
    if n >= SMALL_GROUP:
        statistics[:, :-2] = np.percentile(ascending, PERCENTILES, axis=1).T
    if n:
        statistics[:, -2] = ascending.mean(axis=1)
    if n > 1:
        statistics[:, -1] = ascending.std(axis=1, ddof=1)
    return statistics


def _centres(block: NDArray[np.float64], log: NDArray[np.bool_]) -> tuple[list[float | None], list[float | None]]:
    """Location and scale of each row of values (F, n); None where not defined, and in a small group."""
    if block.shape[1] < SMALL_GROUP:
        return [None] * len(block), [None] * len(block)
    location, scale = robust_centres(log_where(block, log))
    return _or_none(location), _or_none(scale)


def _or_none(numbers: NDArray[np.float64]) -> list[float | None]:
    """Numbers (n,), None for nan."""
    return [None if math.isnan(number) else number for number in numbers.tolist()]
