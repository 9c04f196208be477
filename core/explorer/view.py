"""Questions to the cohort about a selection: how many cells of whom, their values, distributions, summaries and rows.

Every value is in the basis of comparison (`core.explorer.selection`): micrometres for a feature with a length in its
unit, as stored otherwise; absent values are nan. Percentiles are linearly interpolated order statistics, the standard
deviation divides by n - 1, and below `core.populations.summaries.SMALL_GROUP` cells there are no percentiles: the cells
are points.

Groups. A grouping is a property of cells (`By`) or several named selections; a cell in more than one of these counts in
the first. Cells whose property is not recorded are a group of their own, the last. Patients of the same pseudonym in
two sources are two.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.flags import LEFT_OUT
from core.domain.options import Units
from core.domain.types import DrawnBy
from core.explorer.selection import (
    CHOICES,
    NOT_LOOKED_AT,
    QUALITY_SQL,
    Quality,
    Scale,
    Selection,
    Sentence,
    axis_sql,
    columns_read,
    conditions,
    value_sql,
    where,
)
from core.features.catalogue import CATALOGUE, feature_spec
from core.features.spec import FeatureSpec
from core.populations.calibration import Calibration
from core.populations.comparison import SAME_SCALE
from core.populations.outlining import OutlineModel, Outlining, model_note
from core.populations.summaries import Basis, FeatureSummary, Statistics, basis_of, count_codes
from core.store.database import Cohort
from core.store.schema import UNITS_KEY

MOST_POINTS: Final = 20_000  # drawn one by one; more are counted in bins
ALL_CELLS: Final = "all cells"  # the only group where none are asked for
NOT_RECORDED: Final = "not recorded"

_MOST_COLUMNS: Final = 30  # of more features the rows of the cells are read, where there is a cache of them
_APART: Final = "\x1f"  # between pseudonym and source: in neither


class By(StrEnum):
    """Property by which cells are grouped: the name of its column."""

    CELL_TYPE = "cell_type"
    SOURCE = "source"
    PATIENT = "patient_id"
    POPULATION = "population"
    DIAGNOSIS = "diagnosis"
    MODEL = "model_id"
    OUTLINE = "outline_status"


Grouping = By | Mapping[str, Selection] | None


@dataclass(frozen=True)
class LeftOut:
    """Cells that one condition alone excludes: they meet all others."""

    sentence: Sentence
    cells: int


@dataclass(frozen=True)
class InView:
    """What a selection shows and what it leaves out.

    `cells` of `total` in the cohort. `patients` counts those that are named, `unknown_patient` the cells that name
    none. Properties are mapped to their numbers of cells, in the order of `groups`. `scales` are the smallest and
    largest known micrometres per pixel, None if no cell has one, and `without_scale` counts the cells that have none.
    `left_out` tells of each condition how many cells it alone excludes; `flagged` counts those that quality excludes,
    by severe flag (a cell with two under both). `models` leaves out the `corrected` cells, whose outline a person drew.
    `scale_errors` are the shares by which the true scale of a source may be larger or smaller, where that is said, and
    `calibrations` those that are laid over the values. `stains` counts the cells by the stain factors with which they
    were measured, "" for none.
    """

    cells: int
    total: int
    patients: int
    unknown_patient: int
    cell_types: Mapping[str, int]
    sources: Mapping[str, int]
    populations: Mapping[str, int]
    models: Mapping[str, int]
    scales: tuple[float, float] | None
    without_scale: int
    left_out: tuple[LeftOut, ...]
    flagged: Mapping[str, int]
    corrected: int = 0
    scale_errors: Mapping[str, float] = field(default_factory=dict)
    calibrations: tuple[Calibration, ...] = ()
    stains: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What to know before comparing the cells in view, one sentence each."""
        warnings = []
        if len(self.sources) > 1:
            tone = (
                "; tone, colour and texture are compared inside each source only"
                if not self.calibrations
                else f", and calibrated by {' and '.join(each.name for each in self.calibrations)}"
            )
            warnings.append(
                f"The cells come from {len(self.sources)} sources: stain, light and camera differ between them, and so"
                f" may patients{tone}."
            )
        if len(self.stains) > 1:
            told = ", ".join(f"{n:,} with {name or 'none'}" for name, n in self.stains.items())
            warnings.append(f"Not all cells were measured with the same stain factors ({told}): tone is not compared.")
        if self.without_scale:
            of = "The" if self.without_scale == self.cells else f"{self.without_scale:,} of {self.cells:,}"
            warnings.append(f"{of} cells have no known scale: sizes and texture cannot be compared.")
        elif self._scales_differ:
            low, high = self.scales or (0.0, 0.0)
            warnings.append(
                f"Scales go from {low:g} to {high:g} µm per pixel: sizes are compared in µm, texture cannot be."
            )
        return (*warnings, *([self.model_note] if self.model_note else []))

    @cached_property
    def model_note(self) -> str | None:
        """What is told where the cells in view are not all outlined by one model."""
        known = {OutlineModel(name): n for name, n in self.models.items() if name != NOT_RECORDED}
        outlined = Outlining(known, self.corrected, self.models.get(NOT_RECORDED, 0))
        return model_note([("cells in view", outlined)])

    def refusal(self, feature: str) -> str | None:
        """Why the cells in view cannot be compared by a feature, in words; None if they can.

        Lengths need a scale of every cell, and what changes with the size of the pixels one scale of all. What depends
        on stain, light and camera is compared across sources only where a calibration closes.
        """
        spec = feature_spec(feature)
        if not spec.scale_free and self.without_scale:
            return f"the scale of {self.without_scale:,} cells is unknown; leave these out, or give it"
        if spec.pixel_bound and self._scales_differ:
            return "it changes with the size of the pixels, and not all cells have the same scale"
        if spec.intensity_dependent and len(self.stains) > 1:
            return "it depends on the stain, and not all cells were measured with the same stain factors"
        return self._stain_refusal(feature) if spec.intensity_dependent and len(self.sources) > 1 else None

    def _stain_refusal(self, feature: str) -> str | None:
        if not self.calibrations:
            return (
                f"it depends on stain, light and camera, and the cells come from {len(self.sources)} sources: compare"
                " inside each of them, or calibrate one to the other"
            )
        by_source = {each.source: each for each in self.calibrations}
        used = [by_source.get(source) for source in self.sources if source != self.calibrations[0].reference]
        if None in used:
            missing = next(source for source in self.sources if source not in by_source)
            return f"it depends on stain, light and camera, and {missing} is not calibrated"
        anchors = {anchor.cell_type for each in used if each for anchor in each.anchors}
        if len(self.cell_types) == 1 and anchors & set(self.cell_types):
            kind = CELL_TYPES[CellType(next(iter(self.cell_types)))].plural
            return f"{kind} were used for the calibration, which makes those of both sources equal by construction"
        return next((reason for each in used if each and (reason := each.refusal(feature))), None)

    def caution(self, feature: str) -> str | None:
        """What qualifies a comparison by a comparable feature; None if nothing does."""
        spec = feature_spec(feature)
        if len(self.sources) < 2:
            return None
        if spec.intensity_dependent:
            told = [f"{each.name}: {each.shifts[feature].told}" for each in self.calibrations if feature in each.shifts]
            return f"Calibrated. {'; '.join(told)}."
        if not spec.length_power:
            return None
        known = [self.scale_errors[source] for source in self.sources if source in self.scale_errors]
        most = f"within {100 * max(known):.0f} %" if known else "but not how exactly"
        return f"The scales of the sources are known {most}; the interval holds that."

    @cached_property
    def offered(self) -> tuple[str, ...]:
        """The features by which the cells in view can be compared, in the order of the catalogue."""
        return tuple(name for name in CATALOGUE if self.refusal(name) is None)

    @property
    def _scales_differ(self) -> bool:
        return self.scales is not None and self.scales[1] / self.scales[0] - 1 > SAME_SCALE


@dataclass(frozen=True)
class Facet:
    """A value that a filter may choose (None: not recorded), its name, and the cells that meet all other conditions."""

    value: str | None
    label: str
    cells: int


@dataclass(frozen=True)
class Group:
    """A named set of cells: `patients` counts those that are named, `unknown_patient` the cells that name none."""

    name: str
    cells: int
    patients: int
    unknown_patient: int


@dataclass(frozen=True, eq=False)
class Values:
    """Cells with their values: arrays of one entry a cell, and a matrix of one column a feature.

    `patient_id` is None where not recorded, `um_per_px` nan where unknown. `matrix` (n, F) is float64 in the basis of
    comparison, nan where absent. `groups` (n,) holds indices into `group_names`, -1 for a cell in none. `cells` counts
    the selection's cells, of which these may be a sample.
    """

    cell_id: NDArray[np.object_]
    population: NDArray[np.object_]
    cell_type: NDArray[np.object_]
    source: NDArray[np.object_]
    patient_id: NDArray[np.object_]
    um_per_px: NDArray[np.float64]
    features: tuple[str, ...]
    matrix: NDArray[np.float64]
    group_names: tuple[str, ...]
    groups: NDArray[np.int32]
    cells: int

    def __len__(self) -> int:
        return len(self.cell_id)

    @property
    def specs(self) -> tuple[FeatureSpec, ...]:
        """The catalogue's entries for the columns of the matrix."""
        return tuple(CATALOGUE[name] for name in self.features)

    def rows(self, rows: NDArray[np.integer]) -> "Values":
        """Some of the cells, in the order of their indices."""
        per_cell = ("cell_id", "population", "cell_type", "source", "patient_id", "um_per_px", "matrix", "groups")
        return replace(self, **{name: getattr(self, name)[rows] for name in per_cell})

    def without_features(self) -> "Values":
        """The same cells without values, which takes little memory."""
        return replace(self, features=(), matrix=np.empty((len(self), 0)))


@dataclass(frozen=True, eq=False)
class Measurements:
    """Values of cells with their groups and patients but without their ids, for statistics of very many.

    `columns` are the values (n,) of each feature in the basis of comparison, nan where absent; `groups` (n,) indices
    into `group_names`, -1 for none; `patients` (n,) numbers of the patients from 0, -1 where not recorded.
    """

    columns: Mapping[str, NDArray[np.float64]]
    group_names: tuple[str, ...]
    groups: NDArray[np.int32]
    patients: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Summary(FeatureSummary):
    """One feature of the cells of one group."""

    group: str


@dataclass(frozen=True, eq=False)
class Quantiles:
    """Values of a feature below which given shares of each group's cells lie: `values` (G, P), nan for an empty group.

    Drawn as an empirical distribution they need as many numbers as there are shares, whatever the number of cells.
    """

    feature: str
    basis: Basis
    group_names: tuple[str, ...]
    shares: NDArray[np.float64]
    values: NDArray[np.float64]
    n: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Cells of each group between `edges` (B + 1 values, ends included): `counts` (G, B).

    `absent` (G,) have no place on the axis.
    """

    feature: str
    basis: Basis
    log: bool
    group_names: tuple[str, ...]
    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    absent: NDArray[np.int64]

    def joined(self, width: int) -> "Histogram":
        """The same with every `width` bins merged; `width` divides their number."""
        counts = self.counts.reshape(len(self.counts), -1, width).sum(axis=2)
        return replace(self, edges=self.edges[::width], counts=counts)


@dataclass(frozen=True, eq=False)
class Histogram2D:
    """Cells of each group in a grid on two axes: `counts` (G, X, Y) between `x_edges` (X + 1) and `y_edges` (Y + 1)."""

    group_names: tuple[str, ...]
    x_edges: NDArray[np.float64]
    y_edges: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class JointDistribution:
    """Two features against each other: `points` where few enough to draw, else `bins`; `absent` cells lack one of them.

    `log` tells which axes are logarithmic. The points' matrix has the columns x, y and further ones asked for.
    """

    x: str
    y: str
    log: tuple[bool, bool]
    cells: int
    absent: int
    points: Values | None
    bins: Histogram2D | None


def counts(cohort: Cohort, selection: Selection) -> InView:
    """Count what a selection shows and what each of its conditions leaves out."""
    profile, met = _profile(cohort, selection)
    cells = profile["n"].to_numpy()
    inside = _all(met)
    shown = profile.loc[inside]
    scale = shown["um_per_px"].to_numpy(dtype=np.float64, na_value=np.nan)
    known = scale[~np.isnan(scale)]
    named = shown["patient_id"].notna()
    by_person = shown["outline_by"] == DrawnBy.PERSON
    others_met = met.sum(axis=1) == met.shape[1] - 1
    left_out = tuple(
        LeftOut(condition.sentence, int(cells[others_met & ~met[:, index]].sum()))
        for index, condition in enumerate(conditions(selection))
    )
    by_quality = [index for index, given in enumerate(left_out) if given.sentence.key == "quality"]
    kept_out = profile.loc[others_met & ~met[:, by_quality[0]]] if by_quality else profile.iloc[:0]
    flagged = kept_out.assign(flag=kept_out["severe"].str.split(" ")).explode("flag").groupby("flag")["n"].sum()
    return InView(
        cells=int(shown["n"].sum()),
        total=int(cells.sum()),
        patients=len(shown.loc[named, ["source", "patient_id"]].drop_duplicates()),
        unknown_patient=int(shown.loc[~named, "n"].sum()),
        **{f"{by.name.lower()}s": _counted(cohort, shown, by) for by in (By.CELL_TYPE, By.SOURCE, By.POPULATION)},
        models=_counted(cohort, shown.loc[~by_person], By.MODEL),
        scales=(float(known.min()), float(known.max())) if len(known) else None,
        without_scale=int(shown.loc[np.isnan(scale), "n"].sum()),
        left_out=left_out,
        flagged={str(code): int(n) for code, n in flagged.items()},
        corrected=int(shown.loc[by_person, "n"].sum()),
        scale_errors=scale_errors(cohort),
        calibrations=cohort.calibrations,
        stains={str(name): int(n) for name, n in shown.groupby(shown["stain"].fillna(""))["n"].sum().items()},
    )


def scale_errors(cohort: Cohort) -> dict[str, float]:
    """The share by which the true scale of each source may be larger or smaller, where one of its populations says."""
    errors: dict[str, float] = {}
    for stored in cohort.populations():
        if (error := stored.population.um_per_px_error) is not None:
            errors[stored.population.source] = max(error, errors.get(stored.population.source, 0.0))
    return errors


def facets(cohort: Cohort, selection: Selection) -> dict[str, tuple[Facet, ...]]:
    """Values of every filter, by its key (also "quality" and "scale"), with the cells that choosing it would show.

    A filter's own condition does not count, so that what is not chosen keeps its number; values chosen that no cell has
    are listed with 0 cells.
    """
    profile, met = _profile(cohort, selection)
    keys = [condition.sentence.key for condition in conditions(selection)]
    by_filter = {}
    for key, (column, _) in CHOICES.items():
        others = profile.loc[_met_besides(met, keys, key)]
        sizes = _counted(cohort, others, By(column))
        if column != By.PATIENT:
            unknown = sizes.pop(NOT_RECORDED, 0)
        else:
            sizes = {str(name): int(n) for name, n in others.groupby(column)["n"].sum().items()}
            unknown = int(others.loc[others[column].isna(), "n"].sum())
        if key == "outlines":
            sizes, unknown = sizes | ({NOT_LOOKED_AT: unknown} if unknown else {}), 0
        sizes |= {str(value): 0 for value in getattr(selection, key) if value not in sizes}
        listed = [Facet(value, _label(By(column), value), n) for value, n in sizes.items()]
        by_filter[key] = (*listed, *([Facet(None, NOT_RECORDED, unknown)] if unknown else []))
    sides: dict[str, tuple[NDArray[np.bool_], dict[str, str]]] = {
        "quality": (
            profile["quality_ok"].to_numpy(dtype=np.bool_),
            {Quality.GOOD: "good", Quality.LEFT_OUT: f"{LEFT_OUT} of summaries"},
        ),
        "scale": (profile["um_per_px"].notna().to_numpy(), {Scale.KNOWN: "known", Scale.UNKNOWN: "unknown"}),
    }
    for key, (yes, labels) in sides.items():
        among = _met_besides(met, keys, key)
        numbers = [int(profile["n"].to_numpy()[side & among].sum()) for side in (yes, ~yes)]
        by_filter[key] = tuple(
            Facet(value, label, n) for (value, label), n in zip(labels.items(), numbers, strict=True)
        )
    return by_filter


def groups(cohort: Cohort, selection: Selection, by: Grouping) -> tuple[Group, ...]:
    """Return the groups of the cells in view: types and populations in cohort order, others by name, named as given."""
    frame, names = _people(cohort, selection, by)
    return _groups(frame, names)


def groups_by_source(cohort: Cohort, selection: Selection, by: Grouping) -> dict[str, tuple[Group, ...]]:
    """The groups of the cells in view in each source, by its name; a group without a cell there has none."""
    frame, names = _people(cohort, selection, by)
    return {str(source): _groups(rows, names) for source, rows in frame.groupby("source")}


def kinds_by_source(cohort: Cohort, selection: Selection, by: Grouping) -> dict[str, dict[str, set[CellType]]]:
    """The kinds of cells of each group in each source: by the group's name, then by the source's."""
    columns = {"source": "source", "cell_type": "cell_type"}
    frame, names = _fetch(cohort, selection, columns, tuple(columns), by, "GROUP BY ALL")
    found: dict[str, dict[str, set[CellType]]] = {name: {} for name in names}
    for group, source, kind in frame[frame["group"] >= 0][["group", "source", "cell_type"]].itertuples(index=False):
        found[names[group]].setdefault(str(source), set()).add(CellType(kind))
    return found


def _people(cohort: Cohort, selection: Selection, by: Grouping) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The cells of each patient of each source in each group, and the groups' names."""
    columns = {"source": "source", "patient_id": "patient_id", "n": "count(*)"}
    return _fetch(cohort, selection, columns, ["source", "patient_id"], by, "GROUP BY ALL")


def _groups(people: pd.DataFrame, names: Sequence[str]) -> tuple[Group, ...]:
    counted = []
    for code, name in enumerate(names):
        rows = people[people["group"] == code]
        named = rows["patient_id"].notna()
        counted.append(
            Group(
                name,
                int(rows["n"].sum()),
                len(rows.loc[named, ["source", "patient_id"]].drop_duplicates()),
                int(rows.loc[~named, "n"].sum()),
            )
        )
    return tuple(counted)


def group_sources(cohort: Cohort, selection: Selection, by: By) -> dict[str, tuple[str, ...]]:
    """Where the cells of each group come from."""
    sources: dict[str, tuple[str, ...]] = {}
    for source in counts(cohort, selection).sources:
        for group in groups(cohort, replace(selection, sources=(source,)), by):
            name = group.name.removesuffix(f", {source}") if by is By.PATIENT else group.name
            sources[name] = (*sources.get(name, ()), source)
    return sources


def values(
    cohort: Cohort,
    selection: Selection,
    features: Sequence[str],
    by: Grouping = None,
    *,
    sample: int | Mapping[str, int] | None = None,
    seed: int = 0,
) -> Values:
    """Values of features of the cells in view.

    Parameters
    ----------
    cohort, selection
        Which cells.
    features
        Columns of the matrix.
    by
        How the cells are grouped.
    sample
        At most so many cells of each group, or of each group named, none of others; drawn at random and the same for
        the same seed; all if None.
    seed
        Seed of the draw.

    Raises
    ------
    FeatureError
        If the catalogue has no such feature.
    """
    identity = ("cell_id", "population", "cell_type", "source", "patient_id", "um_per_px")
    columns = {name: name for name in identity}
    specs = [feature_spec(name) for name in features]
    by_row = len(specs) > _MOST_COLUMNS and cohort.keeps_rows
    if not by_row:
        columns |= {f"v{index}": value_sql(spec) for index, spec in enumerate(specs)}
    tail, more, total = "", dict[str, Any](), None
    if sample is not None:
        tail, more, total = _draw(cohort, selection, by, sample, seed)
    read = identity if by_row else (*identity, *features)
    frame, names = _fetch(cohort, selection, columns, read, by, tail, more)
    if by_row:
        powers = np.array([spec.length_power for spec in specs])
        matrix = cohort.features_of(frame["cell_id"].tolist(), features)
        lengths = np.flatnonzero(powers)
        matrix[:, lengths] *= _floats(frame["um_per_px"])[:, None] ** powers[lengths]
    else:
        matrix = np.empty((len(frame), len(specs)), order="F")
        for index in range(len(specs)):
            matrix[:, index] = _floats(frame[f"v{index}"])
    texts = {name: _texts(frame[name]) for name in ("cell_id", "population", "cell_type", "source", "patient_id")}
    return Values(
        **texts,
        um_per_px=_floats(frame["um_per_px"]),
        features=tuple(features),
        matrix=matrix,
        group_names=names,
        groups=frame["group"].to_numpy(),
        cells=len(frame) if total is None else total,
    )


def measurements(cohort: Cohort, selection: Selection, features: Sequence[str], by: Grouping = None) -> Measurements:
    """Values of features of all cells in view, without the identity of the cells."""
    specs = {f"v{index}": feature_spec(name) for index, name in enumerate(features)}
    columns = {"patient": _PATIENT_SQL} | {key: value_sql(spec) for key, spec in specs.items()}
    read = ("patient_id", "source", "um_per_px", *features)
    frame, names = _fetch(cohort, selection, columns, read, by)
    return Measurements(
        {spec.name: _floats(frame[key]) for key, spec in specs.items()},
        names,
        frame["group"].to_numpy(),
        _patient_codes(frame),
    )


def summary(cohort: Cohort, selection: Selection, features: Sequence[str], by: Grouping = None) -> tuple[Summary, ...]:
    """Exact summaries of features by group: feature by feature, in each the groups in the order of `groups`."""
    measured = measurements(cohort, selection, features, by)
    names, members = measured.group_names, _by_group(measured.groups, len(measured.group_names))
    patients = [measured.patients[cells] for cells in members]
    people = [count_codes(codes) for codes in patients]

    def of(feature: str) -> list[Summary]:
        spec, column = CATALOGUE[feature], measured.columns[feature]
        groups = zip(names, members, patients, people, strict=True)
        return [_summary(spec, name, column[cells], codes, known) for name, cells, codes, known in groups]

    with ThreadPoolExecutor(2) as pool:
        return tuple(summary for rows in pool.map(of, features) for summary in rows)


def quantiles(
    cohort: Cohort, selection: Selection, feature: str, by: Grouping = None, shares: Sequence[float] = ()
) -> Quantiles:
    """Return values below which given shares (0 to 1) of each group lie; by default 201 even ones."""
    spec = feature_spec(feature)
    wanted = np.asarray(shares if len(shares) else np.linspace(0, 1, 201), dtype=np.float64)
    frame, names = _fetch(cohort, selection, {"v": value_sql(spec)}, [feature, "um_per_px"], by)
    column = _floats(frame["v"])
    values = np.full((len(names), len(wanted)), np.nan)
    n = np.zeros(len(names), np.int64)
    for code, cells in enumerate(_by_group(frame["group"].to_numpy(), len(names))):
        present = column[cells]
        present = present[~np.isnan(present)]
        n[code] = len(present)
        if len(present):
            values[code] = np.quantile(present, wanted)
    return Quantiles(feature, basis_of(spec), names, wanted, values, n)


def histogram(
    cohort: Cohort, selection: Selection, feature: str, by: Grouping = None, *, bins: int = 60, log: bool = False
) -> Histogram:
    """Count the cells of each group in bins of equal width on the axis, from the least to the greatest value of all."""
    spec = feature_spec(feature)
    frame, names = _fetch(cohort, selection, {"v": axis_sql(spec, log=log)}, [feature, "um_per_px"], by)
    column, codes = _floats(frame["v"]), frame["group"].to_numpy()
    placed = ~np.isnan(column) & (codes >= 0)
    edges = _edges(column[placed], bins)
    flat = codes[placed] * np.int64(bins) + _bin_of(column[placed], edges)
    counted = np.bincount(flat, minlength=len(names) * bins).reshape(len(names), bins)
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    return Histogram(
        feature, basis_of(spec), log, names, _off_axis(spec, edges, log=log), counted, sizes - counted.sum(axis=1)
    )


def scatter(
    cohort: Cohort,
    selection: Selection,
    x: str,
    y: str,
    by: Grouping = None,
    *,
    features: Sequence[str] = (),
    log: tuple[bool, bool] = (False, False),
    bins: tuple[int, int] = (160, 120),
) -> JointDistribution:
    """Two features against each other: up to `MOST_POINTS` cells with ids and further features, more counted in bins.

    The bins are even along the axes, from the least to the greatest value.
    """
    specs = feature_spec(x), feature_spec(y)
    places = [axis_sql(spec, log=of_axis) for spec, of_axis in zip(specs, log, strict=True)]
    frame, names = _fetch(cohort, selection, {"x": places[0], "y": places[1]}, [x, y, "um_per_px"], by)
    codes = frame["group"].to_numpy()
    across, up = _floats(frame["x"]), _floats(frame["y"])
    placed = ~(np.isnan(across) | np.isnan(up)) & (codes >= 0)
    cells, absent = len(frame), int(np.count_nonzero(codes >= 0) - np.count_nonzero(placed))
    if cells <= MOST_POINTS:
        points = values(cohort, selection, (x, y, *features), by)
        return JointDistribution(x, y, log, cells, absent, points, None)
    across, up, codes = across[placed], up[placed], codes[placed]
    edges = _edges(across, bins[0]), _edges(up, bins[1])
    flat = (codes * np.int64(bins[0]) + _bin_of(across, edges[0])) * bins[1] + _bin_of(up, edges[1])
    counted = np.bincount(flat, minlength=len(names) * bins[0] * bins[1]).reshape(len(names), *bins)
    outer = [_off_axis(spec, ends, log=of_axis) for spec, ends, of_axis in zip(specs, edges, log, strict=True)]
    return JointDistribution(x, y, log, cells, absent, None, Histogram2D(names, outer[0], outer[1], counted))


def table(
    cohort: Cohort,
    selection: Selection,
    columns: Sequence[str],
    *,
    limit: int | None = 100,
    offset: int = 0,
    order: str | None = None,
    descending: bool = False,
    units: Units = Units.MICROMETRES,
) -> pd.DataFrame:
    """Rows of the cells in view: features in the units, other columns as stored.

    In micrometres, which is the basis of comparison, lengths of cells without a scale are absent. Sorted by a column,
    absent last, and by `cell_id` within equal values; by `cell_id` alone if None.

    Raises StoreError for unknown columns.
    """
    cohort.check_columns([*columns, *([order] if order else [])])
    condition, parameters = where(selection)
    listed = ", ".join(f'{column_sql(name, units)} AS "{name}"' for name in columns)
    first = f"{column_sql(order, units)} {'DESC' if descending else 'ASC'} NULLS LAST, " if order else ""
    sql = f"SELECT {listed} FROM cells WHERE {condition} ORDER BY {first}cell_id"
    if limit is not None:
        sql += " LIMIT $limit OFFSET $offset"
        parameters |= {"limit": limit, "offset": offset}
    read = {*columns, *([order] if order else []), "cell_id", "um_per_px", *columns_read(selection)}
    return cohort.query(sql, parameters, columns=read)


def column_sql(name: str, units: Units = Units.MICROMETRES) -> str:
    """SQL of a column of `table`: a feature in the units, which `units` names, any other as stored."""
    if name == UNITS_KEY:
        return f"'{units.value}'"
    if units is Units.PIXELS:
        return f'"{name}"'
    return value_sql(CATALOGUE[name]) if name in CATALOGUE else f'"{name}"'


def _profile(cohort: Cohort, selection: Selection) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """All cells of the cohort counted by properties, and whether (rows, conditions) they meet each condition."""
    properties = [column for column, _ in CHOICES.values()]
    clauses = conditions(selection)
    severe = (  # texts are grouped faster
        f"CASE WHEN {QUALITY_SQL[Quality.LEFT_OUT]} THEN array_to_string(severe_flags, ' ') END AS severe"
    )
    listed = [*properties, "quality_ok", "um_per_px", "outline_by", "stain", severe]
    listed += [f"coalesce({condition.sql}, false) AS met_{index}" for index, condition in enumerate(clauses)]
    parameters = {name: value for condition in clauses for name, value in condition.parameters.items()}
    frame = cohort.query(
        f"SELECT {', '.join(listed)}, count(*) AS n FROM cells GROUP BY ALL",
        parameters,
        columns={
            *properties,
            "quality_ok",
            "um_per_px",
            "outline_by",
            "stain",
            "severe_flags",
            *columns_read(selection),
        },
    )
    met = frame[[f"met_{index}" for index in range(len(clauses))]].to_numpy(dtype=np.bool_)
    return frame, met


def _met_besides(met: NDArray[np.bool_], keys: Sequence[str], key: str) -> NDArray[np.bool_]:
    return _all(met[:, [index for index, other in enumerate(keys) if other != key]])


def _all(met: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = np.logical_and.reduce(met, axis=1)
    return mask


def _counted(cohort: Cohort, profile: pd.DataFrame, by: By) -> dict[str, int]:
    """Cells by value of a property, in the order of the groups."""
    sizes = profile.groupby(_keys(profile, by))["n"].sum()
    return {name: int(sizes[key]) for key, name in _named(cohort, sizes.index.tolist(), by)}


def _keys(frame: pd.DataFrame, by: By) -> pd.Series:
    keys = frame[by.value].fillna(NOT_RECORDED)
    return keys if by is not By.PATIENT else keys + _APART + frame["source"]


def _label(by: By, value: str) -> str:
    return CELL_TYPES[CellType(value)].name if by is By.CELL_TYPE else value


def _named(cohort: Cohort, keys: Sequence[str], by: By) -> list[tuple[str, str]]:
    """Keys of a property's groups with their names, in cohort order or by name; what is not recorded last."""
    if by is By.CELL_TYPE:
        order = [kind.value for kind in CellType]
    elif by is By.POPULATION:
        order = [stored.population.population_id for stored in cohort.populations()]
    else:
        order = sorted(keys)
    ordered = sorted(
        keys,
        key=lambda key: (key.split(_APART)[0] == NOT_RECORDED, order.index(key) if key in order else len(order), key),
    )
    if by is not By.PATIENT:
        return [(key, key) for key in ordered]
    pseudonyms = [key.split(_APART)[0] for key in ordered]
    return [
        (key, name if pseudonyms.count(name) == 1 or name == NOT_RECORDED else key.replace(_APART, ", "))
        for key, name in zip(ordered, pseudonyms, strict=True)
    ]


def _key_sql(by: By) -> str:
    """SQL of the key of a cell's group by a property; null where it is not recorded."""
    return f"patient_id || '{_APART}' || source" if by is By.PATIENT else by.value


def _group_sql(by: Grouping) -> tuple[str, dict[str, Any]]:
    """SQL of a cell's group: its index for named selections, the hash of its key for a property (fast to fetch)."""
    if by is None:
        return "0", {}
    if isinstance(by, By):
        return f"hash({_key_sql(by)})", {}
    cases: list[str] = []
    parameters: dict[str, Any] = {}
    for index, selection in enumerate(by.values()):
        condition, more = where(selection, f"g{index}")
        cases.append(f"WHEN {condition} THEN {index}")
        parameters |= more
    return f"CASE {' '.join(cases)} ELSE -1 END" if cases else "-1", parameters


def _columns_of_groups(by: Grouping) -> set[str]:
    """Columns that the SQL of `_group_sql` speaks of."""
    if by is None:
        return set()
    if isinstance(by, By):
        return {by.value, "source"} if by is By.PATIENT else {by.value}
    return {column for selection in by.values() for column in columns_read(selection)}


def _fetch(
    cohort: Cohort,
    selection: Selection,
    columns: Mapping[str, str],
    read: Collection[str],
    by: Grouping,
    tail: str = "",
    more: Mapping[str, Any] | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Columns (SQL by name) of the cells in view with `group`, indices into the names of groups that come second."""
    # `read` are the columns of the cohort that the SQL uses.
    condition, parameters = where(selection)
    of_cells = columns_read(selection) | _columns_of_groups(by)
    group, of_groups = _group_sql(by)
    listed = ", ".join(f'{sql} AS "{name}"' for name, sql in {"group": group, **columns}.items())
    frame = cohort.query(
        f"SELECT {listed} FROM cells WHERE {condition} {tail}",
        {**parameters, **of_groups, **(more or {})},
        columns=of_cells.union(read) or {"population"},  # a number of cells is that of any column
    )
    if isinstance(by, By):
        key = _key_sql(by)
        keys = cohort.query(
            f"SELECT DISTINCT {key} AS key, hash({key}) AS hash FROM cells WHERE {condition}",
            parameters,
            columns=of_cells,
        )
        hashes = dict(zip(keys["key"].fillna(NOT_RECORDED), keys["hash"], strict=True))
        named = _named(cohort, list(hashes), by)
        codes, group_hashes = pd.factorize(frame["group"].to_numpy(dtype=np.uint64))
        place = {hashes[key]: index for index, (key, _) in enumerate(named)}
        # A key that came between the two questions is in none.
        frame["group"] = np.array([place.get(hash_, -1) for hash_ in group_hashes], dtype=np.int32)[codes]
        return frame, tuple(name for _, name in named)
    frame["group"] = frame["group"].to_numpy(dtype=np.int32)
    return frame, (ALL_CELLS,) if by is None else tuple(by)


def _draw(
    cohort: Cohort, selection: Selection, by: Grouping, sample: int | Mapping[str, int], seed: int
) -> tuple[str, dict[str, Any], int]:
    """SQL that keeps at most so many cells of each group, with its parameters; and how many cells there are."""
    # A cell's draw is the hash of its id and the seed; the lowest of each group are kept. What is fetched first is one
    # number a cell.
    frame, names = _fetch(cohort, selection, {"lot": "hash(cell_id, $seed)"}, ["cell_id"], by, more={"seed": seed})
    lots = frame["lot"].to_numpy(dtype=np.uint64)
    kept = [np.empty(0, np.uint64)]
    # Those in no group (-1) come first.
    for name, cells in zip((None, *names), _by_group(frame["group"].to_numpy() + 1, len(names) + 1), strict=True):
        most = sample if isinstance(sample, int) else 0 if name is None else sample.get(name, 0)
        kept.append(np.partition(lots[cells], most - 1)[:most] if len(cells) > most > 0 else lots[cells][:most])
    chosen = np.concatenate(kept)
    if len(chosen) == len(lots):
        return "", {}, len(lots)
    return (
        "AND hash(cell_id, $seed) IN (SELECT unnest($lots)) ORDER BY cell_id",
        {"seed": seed, "lots": chosen.tolist()},
        len(lots),
    )


def _floats(column: pd.Series) -> NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _texts(column: pd.Series) -> NDArray[np.object_]:
    texts: NDArray[np.object_] = column.astype(object).to_numpy(copy=True)
    texts[column.isna().to_numpy()] = None
    return texts


_PATIENT_SQL: Final = "CASE WHEN patient_id IS NULL THEN 0 ELSE hash(source, patient_id) END"


def _patient_codes(frame: pd.DataFrame) -> NDArray[np.int64]:
    """A number from 0 for each patient of each source, from the column `patient` of `_PATIENT_SQL`; -1 if unknown."""
    codes, patients = pd.factorize(frame["patient"].to_numpy(dtype=np.uint64))
    numbers = np.cumsum(patients != 0) - 1
    numbers[patients == 0] = -1
    return numbers[codes]


def _by_group(codes: NDArray[np.integer[Any]], groups: int) -> list[NDArray[np.intp]]:
    """Rows of the cells of each group, ascending."""
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.arange(groups + 1))
    return [order[start:end] for start, end in pairwise(ends)]


def _summary(
    spec: FeatureSpec, group: str, column: NDArray[np.float64], patients: NDArray[np.int64], known: int | None
) -> Summary:
    """Summarise a column; `patients` are those of its cells, and `known` is how many there are."""
    present = ~np.isnan(column)
    statistics = Statistics.of(column[present])
    if statistics.n < len(column):
        known = count_codes(patients[present])
    return Summary(
        **vars(statistics),
        feature=spec.name,
        group=group,
        basis=basis_of(spec),
        n_absent=len(column) - statistics.n,
        patients=known,
    )


def _edges(column: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Even edges from the least to the greatest value; around a single one, and from 0 to 1 without any."""
    low, high = (float(column.min()), float(column.max())) if len(column) else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    return np.linspace(low, high, bins + 1)


def _bin_of(column: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    bins = len(edges) - 1
    indices: NDArray[np.int64] = np.minimum(
        ((column - edges[0]) * (bins / (edges[-1] - edges[0]))).astype(np.int64), bins - 1
    )
    return indices


def _off_axis(spec: FeatureSpec, places: NDArray[np.float64], *, log: bool) -> NDArray[np.float64]:
    """Values at places along an axis: the inverse of `core.explorer.selection.on_axis`."""
    return (np.exp(places) - spec.display_offset) / spec.display_factor if log else places
