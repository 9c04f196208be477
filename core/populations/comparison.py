"""Where a cell stands in a population: summaries, comparisons and distances.

Pure functions of numbers; no files, no SQL.

Definitions
-----------
A *values frame* has one row per cell that passed quality control, the columns ``patient_id`` and ``um_per_px`` (both
may be null) and one column per feature in pixels.

Basis. A feature with ``length_power`` q (1 length, 2 area, -1 reciprocal length) is compared only in micrometres,
``value * um_per_px ** q``, over the cells whose scale is known. A scale-free feature is compared as it is. One that
changes with the size of the pixels (``pixel_bound``: a sum over them, or a texture, which looks one pixel aside) has no
micrometres to convert to: it is compared as it is, and only where the cell and all members have the same scale within
`SAME_SCALE`.

Percentiles. ``p2``, ``p50`` and ``p98`` are linearly interpolated order statistics (numpy's ``linear``). ``std``
divides by n - 1.

Percentile of a value x among n values: ``100 * (#{v < x} + #{v = x} / 2) / n``.

Robust z. ``z = (g(x) - location) / scale`` with ``location = median(g(v))`` and ``scale = 1.4826 * median(|g(v) -
location|)``, or ``IQR / 1.349`` where that is 0; both estimate the standard deviation of a normal sample. ``g`` is the
natural logarithm where the catalogue says ``log_axis``, otherwise the identity; a member whose logarithm does not exist
counts as below all others. A published table gives no values: there ``scale = (g(p98) - g(p2)) / 4.1075``, the same
quantity for a normal population, since its 98th percentile lies 2.0537 standard deviations above the median.

Small groups. Below `SMALL_GROUP` cells there is no band, no percentile and no robust z: the members are points.

Saying the same thing. Two features whose values g(v) correlate among the members of a population at `SAME_THING` or
more (Pearson) share nine tenths of their variance: where a cell lies on the same side in both, the second tells nothing
new.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.types import FeatureSet
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureSpec, Region

SMALL_GROUP: Final = 20  # the 2nd percentile of fewer cells is little more than their minimum
SAME_SCALE: Final = 0.02  # relative difference; shifts a sum over pixels by 4 %, far less than cells differ
SAME_THING: Final = 0.95

_MAD_TO_STD: Final = 1.4826  # 1 / Phi^-1(3/4)
_IQR_TO_STD: Final = 1.349  # 2 * Phi^-1(3/4)
_BAND_TO_STD: Final = 4.1075  # 2 * Phi^-1(0.98)

INTENSITY_CAUTION: Final = "Depends on stain, light and camera: another laboratory shifts it."


class Basis(StrEnum):
    """What a value is counted in: pixels, micrometres, or neither because the feature is scale-free."""

    PIXELS = "px"
    MICROMETRES = "um"
    NONE = "1"


class Direction(StrEnum):
    """On which side of the population's median a value lies."""

    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True)
class PopulationSummary:
    """One feature of one population.

    `n` cells have a value in this basis and `n_absent` good cells have none; `patients` is None unless every one of the
    n cells says its patient. `p2` to `p98` and `location`/`scale` (of the robust z, after the logarithm where `log`)
    are None for a small group, `std` for a single cell, everything for none. `scale` is also None when the values do
    not vary. A `published` summary was read from a table; its n counts the images the table was made from.
    """

    population: str
    feature: str
    basis: Basis
    n: int
    n_absent: int
    patients: int | None
    p2: float | None
    p50: float | None
    p98: float | None
    mean: float | None
    std: float | None
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
    """What a cell is compared with.

    Summaries and ordered values by feature, in the basis of comparison (micrometres or none).

    A feature that no member has, because it is younger than the population or cannot be measured there, has neither.
    `n` counts the good cells, `patients` theirs (None unless all are known). `scale_note` says where the scale comes
    from. A `published` population has summaries in the basis they were printed in, and no values.
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
    scale_note: str = ""
    published: bool = False

    @cached_property
    def scales(self) -> tuple[float, float]:
        """Smallest and largest scale of the members in micrometres per pixel; nan unless all have one."""
        found = self.members["um_per_px"].to_numpy(dtype=np.float64, na_value=np.nan)
        return (float(found.min()), float(found.max())) if len(found) else (math.nan, math.nan)

    @property
    def plural(self) -> str:
        """The members in words: "monocytes"; for a type without a name of its own, the title."""
        return f"cells of {self.title}" if self.cell_type is CellType.OTHER else CELL_TYPES[self.cell_type].plural


@dataclass(frozen=True)
class FeatureComparison:
    """One feature of one cell beside one population.

    `value` is in `basis`: that of the comparison, or pixels where `comparable` is False and `reason` says why; it is
    None when the cell has no value. `percentile` (0 to 100), `below` and `above` (per cent of the population strictly
    below and above the value) need the population's values: None for published tables and small groups. `inside` tells
    whether the value lies within the 2-98 % band, ends included; `direction` the side of the median. `caution`
    qualifies a comparison that stands.
    """

    feature: str
    population: str
    plural: str
    value: float | None
    basis: Basis
    comparable: bool
    reason: str | None = None
    caution: str | None = None
    percentile: float | None = None
    below: float | None = None
    above: float | None = None
    robust_z: float | None = None
    inside: bool | None = None
    direction: Direction | None = None
    summary: PopulationSummary | None = None

    @property
    def outside(self) -> bool:
        """Whether the value is known to lie outside the 2-98 % band."""
        return self.inside is False


@dataclass(frozen=True)
class Nearness:
    """How typical a cell would be of one population: a description, never a classification.

    `distance` is the root mean square of the cell's robust z over `features` features; `typicality` the per cent of the
    population's own n cells that lie at least as far from their centre.
    """

    population: str
    title: str
    plural: str
    n: int
    patients: int | None
    features: int
    distance: float
    typicality: float


def summarise(values: pd.DataFrame, population: str, *, in_um: bool) -> tuple[PopulationSummary, ...]:
    """Summaries of all catalogue features in catalogue order.

    Parameters
    ----------
    values : DataFrame
        Values frame (see the module's text); features without a column count as absent in every cell.
    population : str
        Identifier carried into the summaries.
    in_um : bool
        Convert features with a unit of length to micrometres, over the cells whose scale is known; else leave them in
        pixels.
    """
    summaries, _ = _summaries(values, population, in_um=in_um)
    return tuple(summaries[name] for name in CATALOGUE)


def reference_population(
    values: pd.DataFrame, *, population: str, cell_type: CellType, title: str, source: str, scale_note: str = ""
) -> ReferencePopulation:
    """Prepare a measured population for comparisons; `values` is its values frame."""
    summaries, ordered = _summaries(values, population, in_um=True)
    found = values.notna().any()
    measured = [name for name in CATALOGUE if found.get(name, default=False)]
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
        scale_note=scale_note,
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
        basis=Basis.NONE if spec.scale_free else Basis.PIXELS,
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


def compare_cell(
    features: FeatureSet, um_per_px: float | None, reference: ReferencePopulation
) -> tuple[FeatureComparison, ...]:
    """Place every catalogue feature of a cell in a population, in catalogue order.

    A feature that is not scale-free is comparable only where both sides have a scale (see the module's text); an absent
    value never is. Features that depend on the grey levels are comparable but carry a caution.
    """
    return tuple(_compare(spec, features, um_per_px, reference) for spec in CATALOGUE.values())


def describe(comparison: FeatureComparison, *, with_n: bool = False) -> str:
    """Say the comparison in plain words: "Larger nucleus area than 97 % of monocytes".

    Per cents are rounded down, so that the sentence never claims more than was counted; "all" stands for a value beyond
    every member. `with_n` adds the number of cells.
    """
    spec = CATALOGUE[comparison.feature]
    name, lower_name = _sentence_case(spec.label)
    summary = comparison.summary
    if not comparison.comparable or summary is None:
        return f"{name} is not compared: {comparison.reason}"
    count = f" (n = {summary.n})" if with_n else ""
    published = "the published " if summary.published else ""
    more, less = ("Larger", "Smaller") if spec.length_power > 0 else ("Higher", "Lower")
    word = more if comparison.direction is Direction.ABOVE else less
    than = ", than" if "," in lower_name else " than"
    if comparison.percentile is None:
        if summary.small:
            cells = "cell" if summary.n == 1 else "cells"
            return f"{name}: only {summary.n} {cells} to compare with, no percentile is given"
        if comparison.inside:
            return f"{name} within the 2-98 % range of {published}{comparison.plural}{count}"
        return f"{word} {lower_name}{than} the 2-98 % range of {published}{comparison.plural}{count}"
    if comparison.direction is None:
        return f"{name} at the median of {comparison.plural}{count}"
    share = comparison.below if comparison.direction is Direction.ABOVE else comparison.above
    amount = "all" if share == 100 else f"{math.floor(share or 0)} % of"
    return f"{word} {lower_name}{than} {amount} {comparison.plural}{count}"


def differs_most(
    comparisons: Sequence[FeatureComparison], k: int, reference: ReferencePopulation
) -> tuple[FeatureComparison, ...]:
    """Return the at most `k` features outside the 2-98 % band of `reference`, largest absolute robust z first.

    One that only says again what a feature before it says (see the module's text) is passed over, and so is the
    environment, which is not the cell. Of many features about one in 25 lies outside in any member of the population
    too.
    """
    chosen: list[tuple[FeatureComparison, NDArray[np.float64]]] = []
    outside = (c for c in comparisons if c.outside and CATALOGUE[c.feature].region is not Region.ENVIRONMENT)
    for candidate in sorted(outside, key=lambda c: -abs(c.robust_z or 0.0)):
        if len(chosen) == k:
            break
        members = _of_members(CATALOGUE[candidate.feature], reference)
        agreements = (
            _correlation(members, others) * (1 if candidate.direction is before.direction else -1)
            for before, others in chosen
        )
        if all(agreement < SAME_THING for agreement in agreements):
            chosen.append((candidate, members))
    return tuple(comparison for comparison, _ in chosen)


def beside_published(measured: Sequence[ReferencePopulation], published: Sequence[ReferencePopulation]) -> pd.DataFrame:
    """Percentiles of measured populations beside those of printed tables of the same cell type.

    One row per population and feature, with columns measured_p2, published_p2, ... p98; only features that both count
    in the same basis, which leaves out sizes: a printed table's pixels are of unknown size.
    """
    rows = []
    for printed in published:
        for population in (p for p in measured if p.cell_type is printed.cell_type):
            for feature, theirs in printed.summaries.items():
                ours = population.summaries.get(feature)
                if ours is not None and ours.basis is theirs.basis and not ours.small:
                    pairs = {
                        f"{who}_{p}": getattr(s, p)
                        for p in ("p2", "p50", "p98")
                        for who, s in (("measured", ours), ("published", theirs))
                    }
                    rows.append({"population": population.population, "feature": feature, "n": ours.n, **pairs})
    return pd.DataFrame(rows)


def nearest(
    features: FeatureSet, references: Sequence[ReferencePopulation], among: Collection[str] = CATALOGUE
) -> tuple[Nearness, ...]:
    """How far a cell lies from the centre of each population, most typical first.

    Over those features `among` the given ones that are scale-free, do not depend on the grey levels and that the cell
    has, each scaled by the population's own median and robust scale (a diagonal metric: correlations are not removed)::

        distance = sqrt(mean_j(min(|z_j|, 6) ** 2))

    The limit of 6 keeps a single outlying feature from deciding alone. The same distance is computed for every member,
    over the features it has, and `Nearness.typicality` is the per cent of members at least as far out. Published tables
    and groups below `SMALL_GROUP` have no such distribution and are left out. This describes; it does not classify.
    """
    found = [n for n in (_nearness(features, r, among) for r in references) if n is not None]
    return tuple(sorted(found, key=lambda n: (-n.typicality, n.distance)))


def count_patients(patient_ids: pd.Series) -> int | None:
    """Count the different patients; None when there are no cells or one of them does not say its patient."""
    if patient_ids.empty or bool(patient_ids.isna().any()):
        return None
    return int(patient_ids.nunique())


def _sentence_case(label: str) -> tuple[str, str]:
    """Return a label as at the start and as in the middle of a sentence; "N:C ratio" keeps its capital."""
    keeps = len(label) > 1 and not label[1].islower()
    return label[:1].upper() + label[1:], label if keeps else label[:1].lower() + label[1:]


def _transform(values: NDArray[np.float64], *, log: bool) -> NDArray[np.float64]:
    """Return the logarithm where asked for; what is not positive lies below everything else, and nan stays nan."""
    if not log:
        return values
    return np.where(np.isnan(values), np.nan, np.log(values, out=np.full(values.shape, -np.inf), where=values > 0))


def _robust_centres(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median and robust standard deviation of each row of sorted, transformed values.

    Nan where not finite or without variation.
    """
    location = np.median(values, axis=1)
    location[~np.isfinite(location)] = np.nan
    scale = _MAD_TO_STD * np.median(np.abs(values - location[:, None]), axis=1)
    equal = scale == 0  # more than half of the values are
    n = values.shape[1]
    scale[equal] = (values[equal, 3 * n // 4] - values[equal, n // 4]) / _IQR_TO_STD
    scale[~((scale > 0) & (scale < np.inf))] = np.nan
    return location, scale


def _basis(spec: FeatureSpec, *, in_um: bool) -> Basis:
    return Basis.NONE if spec.scale_free else Basis.MICROMETRES if in_um and spec.length_power else Basis.PIXELS


def _columns(values: pd.DataFrame, *, in_um: bool) -> NDArray[np.float64]:
    """All features of the catalogue as rows of a matrix (features, cells), nan where a cell has none in that basis."""
    scale = values["um_per_px"].to_numpy(dtype=np.float64, na_value=np.nan)
    columns = np.full((len(CATALOGUE), len(values)), np.nan)
    for row, spec in zip(columns, CATALOGUE.values(), strict=True):
        if spec.name in values:
            row[:] = values[spec.name].to_numpy(dtype=np.float64, na_value=np.nan)
            if _basis(spec, in_um=in_um) is Basis.MICROMETRES:
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
    summaries, ordered = {}, {}
    for indices in alike.values():
        cells = present[indices[0]]
        patients = count_patients(values.loc[cells, "patient_id"])
        block = np.sort(columns[np.ix_(indices, cells)], axis=1)
        statistics = _statistics(block, np.array([specs[index].log_axis for index in indices]))
        n = block.shape[1]
        for index, row, (p2, p50, p98, mean, std, location, scale) in zip(indices, block, statistics, strict=True):
            spec = specs[index]
            ordered[spec.name] = row
            summaries[spec.name] = PopulationSummary(
                population=population,
                feature=spec.name,
                basis=_basis(spec, in_um=in_um),
                n=n,
                n_absent=len(values) - n,
                patients=patients,
                p2=p2,
                p50=p50,
                p98=p98,
                mean=mean,
                std=std,
                location=location,
                scale=scale,
                log=spec.log_axis,
            )
    return summaries, ordered


def _statistics(block: NDArray[np.float64], log: NDArray[np.bool_]) -> Iterator[list[float | None]]:
    """2nd, 50th, 98th percentile, mean, standard deviation, location and scale of each row of sorted values.

    None where not defined.
    """
    found = np.full((len(block), 7), np.nan)
    n = block.shape[1]
    if n >= SMALL_GROUP:
        found[:, :3] = np.percentile(block, [2, 50, 98], axis=1).T
        transformed = block.copy()
        transformed[log] = _transform(block[log], log=True)
        found[:, 5], found[:, 6] = _robust_centres(transformed)
    if n:
        found[:, 3] = block.mean(axis=1)
    if n > 1:
        found[:, 4] = block.std(axis=1, ddof=1)
    return ([None if math.isnan(value) else value for value in row] for row in found.tolist())


def _of_members(spec: FeatureSpec, reference: ReferencePopulation) -> NDArray[np.float64]:
    """The members' values as they are compared, after the logarithm where the catalogue says so.

    None for a published table.
    """
    if spec.name not in reference.members:
        return np.empty(0)
    column = reference.members[spec.name].to_numpy(dtype=np.float64, na_value=np.nan)
    if spec.length_power:
        column = (
            column * reference.members["um_per_px"].to_numpy(dtype=np.float64, na_value=np.nan) ** spec.length_power
        )
    return _transform(column, log=spec.log_axis)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's r over the members that have both values; 0 where it is not defined."""
    both = np.isfinite(first) & np.isfinite(second) if len(first) == len(second) else np.zeros(0, np.bool_)
    if np.count_nonzero(both) < SMALL_GROUP:
        return 0.0
    a, b = (values[both] - values[both].mean() for values in (first, second))
    spread = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / spread if spread else 0.0


def _obstacle(
    spec: FeatureSpec, features: FeatureSet, um_per_px: float | None, reference: ReferencePopulation
) -> str | None:
    """Why a feature cannot be compared, in words; None if it can."""
    summary = reference.summaries.get(spec.name)
    if features.values.get(spec.name) is None:
        return f"not measured, {features.absent.get(spec.name, 'the feature was not asked for')}"
    if summary is None:
        return "not in this population"
    if not spec.scale_free:
        if um_per_px is None:
            return "scale unknown; enter the micrometres per pixel of this image to compare sizes and texture"
        if spec.length_power and (summary.basis is not Basis.MICROMETRES or summary.n == 0):
            return f"scale unknown; {reference.title} comes without micrometres per pixel, so sizes cannot be compared"
        if not spec.length_power and not all(abs(scale / um_per_px - 1) <= SAME_SCALE for scale in reference.scales):
            return (
                f"it changes with the size of the pixels, and this image and {reference.title} are not all of the same"
                " scale"
            )
    return f"no cell of {reference.title} has a value" if summary.n == 0 else None


def _compare(
    spec: FeatureSpec, features: FeatureSet, um_per_px: float | None, reference: ReferencePopulation
) -> FeatureComparison:
    value, summary = features.values.get(spec.name), reference.summaries.get(spec.name)
    reason = _obstacle(spec, features, um_per_px, reference)
    if reason is not None or value is None or summary is None:
        return FeatureComparison(
            feature=spec.name,
            population=reference.population,
            plural=reference.plural,
            value=value,
            basis=Basis.NONE if spec.scale_free else Basis.PIXELS,
            comparable=False,
            reason=reason,
            summary=summary,
        )
    if summary.basis is Basis.MICROMETRES and um_per_px is not None:
        value = spec.in_um(value, um_per_px)
    cautions = [INTENSITY_CAUTION] if spec.intensity_dependent else []
    if not spec.scale_free and reference.scale_note:
        cautions.append(reference.scale_note)
    percentile = below = above = None
    if not summary.small and not summary.published:
        ordered = reference.ordered[spec.name]
        first, last = int(np.searchsorted(ordered, value, "left")), int(np.searchsorted(ordered, value, "right"))
        below, above = 100 * first / summary.n, 100 * (summary.n - last) / summary.n
        percentile = 50 * (first + last) / summary.n
    inside, direction = None, None
    if summary.p2 is not None and summary.p50 is not None and summary.p98 is not None:
        inside = bool(
            summary.p2 <= value <= summary.p98
        )  # a feature may be one of numpy's numbers, and its truth is no `False`
        direction = Direction.ABOVE if value > summary.p50 else Direction.BELOW if value < summary.p50 else None
    return FeatureComparison(
        feature=spec.name,
        population=reference.population,
        plural=reference.plural,
        value=value,
        basis=summary.basis,
        comparable=True,
        caution=" ".join(cautions) or None,
        percentile=percentile,
        below=below,
        above=above,
        robust_z=summary.robust_z(value),
        inside=inside,
        direction=direction,
        summary=summary,
    )


_Z_LIMIT: Final = 6.0


def _nearness(features: FeatureSet, reference: ReferencePopulation, among: Collection[str]) -> Nearness | None:
    """Distance and typicality in one population, over the features that both the cell and the population have."""
    if reference.published or reference.n < SMALL_GROUP:
        return None
    own, members = [], []
    for name, spec in CATALOGUE.items():
        if name not in among or not spec.scale_free or spec.intensity_dependent:
            continue
        value, summary = features.values.get(name), reference.summaries.get(name)
        z = summary.robust_z(value) if summary is not None and value is not None else None
        if summary is None or summary.location is None or summary.scale is None or z is None:
            continue
        own.append(z)
        members.append((_of_members(spec, reference) - summary.location) / summary.scale)
    if not own:
        return None
    distance = float(_distance(np.array(own)[:, None])[0])
    distances = _distance(np.array(members))
    distances = distances[np.isfinite(distances)]
    return Nearness(
        population=reference.population,
        title=reference.title,
        plural=reference.plural,
        n=len(distances),
        patients=reference.patients,
        features=len(own),
        distance=distance,
        typicality=100 * float(np.count_nonzero(distances >= distance)) / len(distances),
    )


def _distance(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Root mean square over the features (axis 0) of z limited to +-6.

    Absent values are left out, nan where all are.
    """
    limited = np.square(np.clip(z, -_Z_LIMIT, _Z_LIMIT))
    present = ~np.isnan(z)
    count = present.sum(axis=0)
    total = np.where(present, limited, 0.0).sum(axis=0)
    distance: NDArray[np.float64] = np.sqrt(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
    return distance
