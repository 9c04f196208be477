"""Where a cell stands in a population: summaries, comparisons and distances. Pure functions of numbers; no files, no SQL.

Definitions
-----------
A *values frame* has one row per cell that passed quality control, the columns ``patient_id`` and ``um_per_px`` (both may be
null) and one column per feature in pixels.

Basis. A feature with ``length_power`` q (1 length, 2 area, -1 reciprocal length) is compared only in micrometres,
``value * um_per_px ** q``, over the cells whose scale is known. A scale-free feature is compared as it is. A sum over pixels
(``pixel_bound``) has no micrometres to convert to: it is compared as it is, and only where the cell and all members have the same
scale within `SAME_SCALE`.

Percentiles. ``p2``, ``p50`` and ``p98`` are linearly interpolated order statistics (numpy's ``linear``). ``std`` divides by n - 1.

Percentile of a value x among n values: ``100 * (#{v < x} + #{v = x} / 2) / n``.

Robust z. ``z = (g(x) - location) / scale`` with ``location = median(g(v))`` and ``scale = 1.4826 * median(|g(v) - location|)``, or
``IQR / 1.349`` where that is 0; both estimate the standard deviation of a normal sample. ``g`` is the natural logarithm where the
catalogue says ``log_axis``, otherwise the identity; a member whose logarithm does not exist counts as below all others. A published
table gives no values: there ``scale = (g(p98) - g(p2)) / 4.1075``, the same quantity for a normal population, since its 98th
percentile lies 2.0537 standard deviations above the median.

Small groups. Below `SMALL_GROUP` cells there is no band, no percentile and no robust z: the members are points.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.cell_types import CELL_TYPES, CellType
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureSpec
from core.types import FeatureSet

SMALL_GROUP: Final = 20  # the 2nd percentile of fewer cells is little more than their minimum
SAME_SCALE: Final = 0.02  # relative difference; shifts a sum over pixels by 4 %, far less than cells differ

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

    `n` cells have a value in this basis and `n_absent` good cells have none; `patients` is None unless every one of the n
    cells says its patient. `p2` to `p98` and `location`/`scale` (of the robust z, after the logarithm where `log`) are None
    for a small group, `std` for a single cell, everything for none. `scale` is also None when the values do not vary.
    A `published` summary was read from a table; its n counts the images the table was made from.
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
    """What a cell is compared with: summaries and ordered values by feature, in the basis of comparison (micrometres or none).

    `n` counts the good cells, `patients` theirs (None unless all are known). `scale_note` says where the scale comes from.
    A `published` population has summaries in the basis they were printed in, and no values.
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

    @property
    def plural(self) -> str:
        """The members in words: "monocytes"; for a type without a name of its own, the title."""
        return f"cells of {self.title}" if self.cell_type is CellType.OTHER else CELL_TYPES[self.cell_type].plural


@dataclass(frozen=True)
class FeatureComparison:
    """One feature of one cell beside one population.

    `value` is in `basis`: that of the comparison, or pixels where `comparable` is False and `reason` says why; it is None
    when the cell has no value. `percentile` (0 to 100), `below` and `above` (per cent of the population strictly below and
    above the value) need the population's values: None for published tables and small groups. `inside` tells whether the value
    lies within the 2-98 % band, ends included; `direction` the side of the median. `caution` qualifies a comparison that stands.
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
        Convert features with a unit of length to micrometres, over the cells whose scale is known; else leave them in pixels.
    """
    return tuple(_summary(values, population, spec, in_um=in_um)[0] for spec in CATALOGUE.values())


def reference_population(
    values: pd.DataFrame, *, population: str, cell_type: CellType, title: str, source: str, scale_note: str = ""
) -> ReferencePopulation:
    """Prepare a measured population for comparisons; `values` is its values frame."""
    pairs = {name: _summary(values, population, spec, in_um=True) for name, spec in CATALOGUE.items()}
    return ReferencePopulation(
        population=population,
        cell_type=cell_type,
        title=title,
        source=source,
        n=len(values),
        patients=count_patients(values["patient_id"]),
        summaries={name: summary for name, (summary, _) in pairs.items()},
        ordered={name: ordered for name, (_, ordered) in pairs.items()},
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


def compare_cell(features: FeatureSet, um_per_px: float | None, reference: ReferencePopulation) -> tuple[FeatureComparison, ...]:
    """Place every catalogue feature of a cell in a population, in catalogue order.

    A feature that is not scale-free is comparable only where both sides have a scale (see the module's text); an absent value
    never is. Features that depend on the grey levels are comparable but carry a caution.
    """
    return tuple(_compare(spec, features, um_per_px, reference) for spec in CATALOGUE.values())


def describe(comparison: FeatureComparison, *, with_n: bool = False) -> str:
    """Say the comparison in plain words: "Larger nucleus area than 97 % of monocytes".

    Per cents are rounded down, so that the sentence never claims more than was counted; "all" stands for a value beyond every
    member. `with_n` adds the number of cells.
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
    if comparison.percentile is None:
        if summary.small:
            cells = "cell" if summary.n == 1 else "cells"
            return f"{name}: only {summary.n} {cells} to compare with, no percentile is given"
        if comparison.inside:
            return f"{name} within the 2-98 % range of {published}{comparison.plural}{count}"
        return f"{word} {lower_name} than the 2-98 % range of {published}{comparison.plural}{count}"
    if comparison.direction is None:
        return f"{name} at the median of {comparison.plural}{count}"
    share = comparison.below if comparison.direction is Direction.ABOVE else comparison.above
    amount = "all" if share == 100 else f"{math.floor(share or 0)} % of"
    return f"{word} {lower_name} than {amount} {comparison.plural}{count}"


def differs_most(comparisons: Sequence[FeatureComparison], k: int) -> tuple[FeatureComparison, ...]:
    """Return the at most `k` features outside the 2-98 % band, largest absolute robust z first.

    Of many features about one in 25 lies outside in any member of the population too.
    """
    outside = [c for c in comparisons if c.outside]
    return tuple(sorted(outside, key=lambda c: -abs(c.robust_z or 0.0))[:k])


def compare_populations(first: ReferencePopulation, second: ReferencePopulation) -> pd.DataFrame:
    """How well each feature separates two measured populations, the best separated first.

    Columns: feature, label, basis, n_first, n_second, median_first, median_second, and Cliff's delta (share of pairs in which the
    first is larger minus share in which it is smaller, -1 to 1). Features without comparable values on both sides are left out.
    """
    rows = []
    for name, spec in CATALOGUE.items():
        a, b = (population.ordered.get(name, np.empty(0)) for population in (first, second))
        if not len(a) or not len(b):
            continue
        delta = float((np.searchsorted(b, a, "left") + np.searchsorted(b, a, "right")).mean() / len(b) - 1)
        basis = first.summaries[name].basis
        rows.append((name, spec.label, str(basis), len(a), len(b), float(np.median(a)), float(np.median(b)), delta))
    columns = ["feature", "label", "basis", "n_first", "n_second", "median_first", "median_second", "cliffs_delta"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("cliffs_delta", key=np.abs, ascending=False, ignore_index=True)


def beside_published(measured: Sequence[ReferencePopulation], published: Sequence[ReferencePopulation]) -> pd.DataFrame:
    """Percentiles of measured populations beside those of printed tables of the same cell type.

    One row per population and feature, with columns measured_p2, published_p2, ... p98; only features that both count in the same
    basis, which leaves out sizes: a printed table's pixels are of unknown size.
    """
    rows = []
    for printed in published:
        for population in (p for p in measured if p.cell_type is printed.cell_type):
            for feature, theirs in printed.summaries.items():
                ours = population.summaries[feature]
                if ours.basis is theirs.basis and not ours.small:
                    pairs = {
                        f"{who}_{p}": getattr(s, p) for p in ("p2", "p50", "p98") for who, s in (("measured", ours), ("published", theirs))
                    }
                    rows.append({"population": population.population, "feature": feature, "n": ours.n, **pairs})
    return pd.DataFrame(rows)


def nearest(features: FeatureSet, references: Sequence[ReferencePopulation]) -> tuple[Nearness, ...]:
    """How far a cell lies from the centre of each population, most typical first.

    Over the scale-free features that do not depend on the grey levels and that the cell has, each scaled by the population's own
    median and robust scale (a diagonal metric: correlations are not removed)::

        distance = sqrt(mean_j(min(|z_j|, 6) ** 2))

    The limit of 6 keeps a single outlying feature from deciding alone. The same distance is computed for every member, over the
    features it has, and `Nearness.typicality` is the per cent of members at least as far out. Published tables and groups below
    `SMALL_GROUP` have no such distribution and are left out. This describes; it does not classify.
    """
    found = [n for n in (_nearness(features, r) for r in references) if n is not None]
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


def _robust_centre(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Median and robust standard deviation of transformed values; None where they are not finite or do not vary."""
    location = float(np.median(values))
    if not math.isfinite(location):
        return None, None
    scale = _MAD_TO_STD * float(np.median(np.abs(values - location)))
    if scale == 0:  # more than half of the values are equal
        low, high = np.sort(values)[[len(values) // 4, 3 * len(values) // 4]]
        scale = float(high - low) / _IQR_TO_STD
    return location, scale if 0 < scale < math.inf else None


def _summary(values: pd.DataFrame, population: str, spec: FeatureSpec, *, in_um: bool) -> tuple[PopulationSummary, NDArray[np.float64]]:
    """Summary and sorted values of one feature."""
    basis = Basis.NONE if spec.scale_free else Basis.MICROMETRES if in_um and spec.length_power else Basis.PIXELS
    column = values[spec.name].to_numpy(dtype=np.float64, na_value=np.nan) if spec.name in values else np.full(len(values), np.nan)
    if basis is Basis.MICROMETRES:
        column = column * values["um_per_px"].to_numpy(dtype=np.float64, na_value=np.nan) ** spec.length_power
    present = np.isfinite(column)
    ordered = np.sort(column[present])
    n = len(ordered)
    log = spec.log_axis
    p2 = p50 = p98 = location = scale = None
    if n >= SMALL_GROUP:
        p2, p50, p98 = (float(p) for p in np.percentile(ordered, [2, 50, 98]))
        location, scale = _robust_centre(_transform(ordered, log=log))
    summary = PopulationSummary(
        population=population,
        feature=spec.name,
        basis=basis,
        n=n,
        n_absent=len(values) - n,
        patients=count_patients(values.loc[present, "patient_id"]),
        p2=p2,
        p50=p50,
        p98=p98,
        mean=float(ordered.mean()) if n else None,
        std=float(ordered.std(ddof=1)) if n > 1 else None,
        location=location,
        scale=scale,
        log=log,
    )
    return summary, ordered


def _obstacle(spec: FeatureSpec, features: FeatureSet, um_per_px: float | None, reference: ReferencePopulation) -> str | None:
    """Why a feature cannot be compared, in words; None if it can."""
    summary = reference.summaries.get(spec.name)
    if features.values.get(spec.name) is None:
        return f"not measured, {features.absent.get(spec.name, 'the feature was not asked for')}"
    if summary is None:
        return f"{reference.title} does not have it"
    if not spec.scale_free:
        if um_per_px is None:
            return "scale unknown; enter the micrometres per pixel of this image to compare sizes"
        if spec.length_power and (summary.basis is not Basis.MICROMETRES or summary.n == 0):
            return f"scale unknown; {reference.title} comes without micrometres per pixel, so sizes cannot be compared"
        if not spec.length_power and not _same_scale(um_per_px, reference.members):
            return f"a sum over pixels, only comparable where this image and all of {reference.title} have the same scale"
    return f"no cell of {reference.title} has a value" if summary.n == 0 else None


def _same_scale(um_per_px: float, members: pd.DataFrame) -> bool:
    scales = members["um_per_px"].to_numpy(dtype=np.float64, na_value=np.nan)
    return len(scales) > 0 and bool(np.all(np.abs(scales / um_per_px - 1) <= SAME_SCALE))


def _compare(spec: FeatureSpec, features: FeatureSet, um_per_px: float | None, reference: ReferencePopulation) -> FeatureComparison:
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
        inside = summary.p2 <= value <= summary.p98
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


def _nearness(features: FeatureSet, reference: ReferencePopulation) -> Nearness | None:
    """Distance and typicality in one population, over the features that both the cell and the population have."""
    if reference.published or reference.n < SMALL_GROUP:
        return None
    own, members = [], []
    for name, spec in CATALOGUE.items():
        value, summary = features.values.get(name), reference.summaries[name]
        if value is None or not spec.scale_free or spec.intensity_dependent or not summary.scale:
            continue
        z = summary.robust_z(value)
        if z is None or summary.location is None:
            continue
        column = reference.members[name].to_numpy(dtype=np.float64, na_value=np.nan)
        own.append(z)
        members.append((_transform(column, log=summary.log) - summary.location) / summary.scale)
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
    """Root mean square over the features (axis 0) of z limited to +-6; absent values are left out, nan where all are."""
    limited = np.square(np.clip(z, -_Z_LIMIT, _Z_LIMIT))
    present = ~np.isnan(z)
    count = present.sum(axis=0)
    total = np.where(present, limited, 0.0).sum(axis=0)
    distance: NDArray[np.float64] = np.sqrt(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0))
    return distance
