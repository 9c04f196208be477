"""How well two measurements of the same cells agree, the grade that follows, and the file that keeps it for a model.

A feature is only as good as the outline it was measured in. The result of `python -m core reliability` says, for every
feature, how the value from the model's outline agrees with the value from the drawn one, and how it changes when image
or outline are disturbed.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import ModelError
from core.segmentation.model_registry import check_seal
from core.support import files, records

# Koo and Li 2016, J Chiropr Med 15:155: not the estimate but its 95 % limits decide, below 0.5 poor, from 0.75 on good.
GOOD_FROM: Final = 0.75
MODERATE_FROM: Final = 0.5
# The same two borders for a change in standard deviations between cells: of two measurements with spread 1 and
# agreement r, the root mean square difference is sqrt(2 (1 - r)).
MODERATE_CHANGE: Final = math.sqrt(2 * (1 - GOOD_FROM))
POOR_CHANGE: Final = math.sqrt(2 * (1 - MODERATE_FROM))

# A standard deviation between cells of fewer degrees of freedom is no yardstick; a data set with fewer does not count.
MIN_FREEDOM: Final = 5
# Values that spread less than this share of their size differ by rounding only.
_ROUNDING: Final = 1e-9
_CONFIDENCE: Final = 0.95
_NORMAL_95: Final = 1.96


class Grade(StrEnum):
    """How far a feature can be trusted when the outline is the model's, the best first."""

    GOOD = "good"
    MODERATE = "moderate"
    POOR = "poor"


class Disturbance(StrEnum):
    """How outline or image were changed, in words."""

    WIDER = "the outline one pixel wider"
    NARROWER = "the outline one pixel narrower"
    SMALLER = "the image at 3/4 of its size"
    LARGER = "the image at 4/3 of its size"
    JPEG_75 = "JPEG quality 75"
    JPEG_50 = "JPEG quality 50"
    DIMMER = "light 10 % dimmer"
    BRIGHTER = "light 10 % brighter"
    PALER = "stain 15 % paler"
    DEEPER = "stain 15 % deeper"
    BLUER = "stain bluer"


# Light and stain do not enter the grade: they move all images of a laboratory together. What they move has to be
# calibrated, or compared within one laboratory, as the pages say of every feature that depends on intensity; there it
# can be trusted. Outline and compression are accidents of one image, which nobody sees in the value.
LIGHT_AND_STAIN: Final = (
    Disturbance.DIMMER,
    Disturbance.BRIGHTER,
    Disturbance.PALER,
    Disturbance.DEEPER,
    Disturbance.BLUER,
)
SCALING: Final = (Disturbance.SMALLER, Disturbance.LARGER)


class DisturbanceEffect(NamedTuple):
    """The median change of a feature by a disturbance, and its root mean square, in SD between cells of a type."""

    shift: float
    size: float


class Interval(NamedTuple):
    """An intraclass correlation with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class SourceAgreement(NamedTuple):
    """Agreement within one data set.

    `bias` is the mean of model minus drawing, `limit_low` and `limit_high` are Bland and Altman's 95 % limits, `spread`
    is the standard deviation between the drawn cells of a type: all in the feature's own unit, in pixels; of the
    natural logarithm where it is `log`.
    """

    n: int
    icc: float
    icc_low: float
    icc_high: float
    bias: float
    limit_low: float
    limit_high: float
    spread: float


@dataclass(frozen=True)
class FeatureReliability:
    """How far one feature of one model can be trusted.

    Parameters
    ----------
    feature
        Name in the catalogue.
    grade, why
        The judgement and its reason, one plain sentence without its capital and full stop.
    n, unpaired
        Cells measured from both outlines, and cells that have the value from one of the two only.
    log
        Compared as logarithms: the feature is positive by nature and skewed among cells, and was positive throughout.
    icc, icc_low, icc_high
        ICC(2,1) of model and drawing among cells of one type and data set, with its 95 % interval; None where
        undefined.
    bias, limit_low, limit_high
        Mean of model minus drawing and Bland and Altman's 95 % limits, in standard deviations between cells of a type.
    mononuclear
        The same ICC of the mononuclear cells alone, for which the model is meant. They are few, so it can only lower
        the grade.
    sources
        The same by data set, in the feature's own unit.
    disturbances
        Change from the undisturbed outline of the model.
    largest
        The disturbance that counts for the grade and changes the feature most; None where none could be measured.
    annotators
        Root mean square difference between two drawings of the same cell, in standard deviations between cells of a
        type; None if unknown.
    """

    feature: str
    grade: Grade
    why: str
    n: int
    unpaired: int
    log: bool
    icc: float | None = None
    icc_low: float | None = None
    icc_high: float | None = None
    bias: float | None = None
    limit_low: float | None = None
    limit_high: float | None = None
    mononuclear: Interval | None = None
    sources: Mapping[str, SourceAgreement] = field(default_factory=dict)
    disturbances: Mapping[Disturbance, DisturbanceEffect] = field(default_factory=dict)
    largest: Disturbance | None = None
    annotators: float | None = None

    @property
    def difference(self) -> float | None:
        """Root mean square of model minus drawing, in SD between cells of a type; compare it with `annotators`."""
        if self.bias is None or self.limit_low is None or self.limit_high is None:
            return None
        return math.hypot(self.bias, (self.limit_high - self.limit_low) / (2 * _NORMAL_95))

    @property
    def calibrate(self) -> Disturbance | None:
        """The change of light or stain that moves the feature most, if beyond `MODERATE_CHANGE`; calibrate it first."""
        beyond = [d for d in LIGHT_AND_STAIN if d in self.disturbances and self.disturbances[d].size > MODERATE_CHANGE]
        return max(beyond, key=lambda d: self.disturbances[d].size, default=None)


def intraclass_correlation(ratings: NDArray[np.float64], groups: NDArray[Any] | None = None) -> Interval | None:
    """ICC(2,1): two-way random effects, absolute agreement, single measurement.

    Shrout and Fleiss 1979, Psychol Bull 86:420; the interval by the F method of McGraw and Wong 1996, Psychol Methods
    1:30, where it is ICC(A,1).

    Parameters
    ----------
    ratings
        float (n, k): n cells, each measured in k ways; no value missing.
    groups
        (n,): a group for each cell. Differences between the groups' means then do not count as differences between
        cells, and each group takes one of their degrees of freedom. A rater's difference that varies between groups is
        error.

    Returns
    -------
    Interval or None
        None where all ratings are equal, so that the correlation is undefined.
    """
    from scipy import stats  # slow to import, and pages only read results

    n, k = ratings.shape
    _, member = np.unique(np.zeros(n) if groups is None else groups, return_inverse=True)
    rows, columns, grand = ratings.mean(axis=1), ratings.mean(axis=0), ratings.mean()
    df_rows, df_error = n - 1 - int(member.max()), (n - 1) * (k - 1)
    ms_rows = k * float(((rows - (np.bincount(member, rows) / np.bincount(member))[member]) ** 2).sum()) / df_rows
    ms_columns = n * float(((columns - grand) ** 2).sum()) / (k - 1)
    ms_error = float(((ratings - rows[:, None] - columns + grand) ** 2).sum()) / df_error

    total = ms_rows + (k - 1) * ms_error + k * (ms_columns - ms_error) / n
    if total == 0:
        return None
    r = (ms_rows - ms_error) / total
    if r >= 1:
        return Interval(1.0, 1.0, 1.0)
    a = k * r / (n * (1 - r))
    b = 1 + k * r * (n - 1) / (n * (1 - r))
    v = (a * ms_columns + b * ms_error) ** 2 / ((a * ms_columns) ** 2 / (k - 1) + (b * ms_error) ** 2 / df_error)
    v = max(v, k - 1)  # Satterthwaite's approximation lies above unless r is negative
    tail = (1 - _CONFIDENCE) / 2
    f_low, f_high = stats.f.isf(tail, df_rows, v), stats.f.isf(tail, v, df_rows)
    rest = k * ms_columns + (k * n - k - n) * ms_error
    low = n * (ms_rows - f_low * ms_error) / (f_low * rest + n * ms_rows)
    high = n * (f_high * ms_rows - ms_error) / (rest + n * f_high * ms_rows)
    return Interval(r, float(low), float(high))


def limits_of_agreement(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Bias and 95 % limits, low and high, of differences (n,): Bland and Altman 1986, Lancet 327:307."""
    bias, spread = float(differences.mean()), float(differences.std(ddof=1))
    return bias, bias - _NORMAL_95 * spread, bias + _NORMAL_95 * spread


@dataclass(frozen=True, eq=False)
class Subjects:
    """The cells that were measured more than once: data set, type, whether they are mononuclear; (n,) each."""

    sources: NDArray[np.str_]
    types: NDArray[np.str_]
    mononuclear: NDArray[np.bool_]

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """Number of the data set and type of each cell."""
        return np.unique(np.char.add(np.char.add(self.sources, "/"), self.types), return_inverse=True)[1]


def assess(
    feature: str,
    cells: Subjects,
    drawn: NDArray[np.float64],
    predicted: NDArray[np.float64],
    disturbed: Mapping[Disturbance, NDArray[np.float64]],
    redrawn: Mapping[str, NDArray[np.float64]],
    *,
    log_axis: bool = False,
    pixel_bound: bool = False,
) -> FeatureReliability:
    """Judge one feature.

    Over data sets of different magnification and stain, and over cell types, agreement would mostly be that of their
    means: any outline tells a lobed nucleus from a round one. Therefore a cell is compared with cells of its kind: each
    value is centred on the mean of the drawn cells of its type and data set, and scaled by the standard deviation that
    remains in the data set.

    Parameters
    ----------
    feature
        Its name.
    cells
        The n cells.
    drawn, predicted
        float (n,): the value from the drawn and from the model's outline of each cell; nan where absent.
    disturbed
        (n,) by disturbance: the value from the model's outline after it.
    redrawn
        (m, 2) by data set: the values from two drawings of the same m cells.
    log_axis
        The catalogue compares the feature on a logarithmic scale; done where all values are positive.
    pixel_bound
        The catalogue compares the feature at equal magnification only, so rescaling does not count.
    """
    everything = np.concatenate([drawn, predicted, *disturbed.values(), *(pair.ravel() for pair in redrawn.values())])
    log = log_axis and not (everything <= 0).any()
    scale = np.log if log else np.positive
    drawn, predicted = scale(drawn), scale(predicted)
    both = np.isfinite(drawn) & np.isfinite(predicted)
    unpaired = int((np.isfinite(drawn) ^ np.isfinite(predicted)).sum())

    mean, sources = _within(cells, drawn, predicted, both)
    if not sources:
        why = f"it cannot be judged: {_why_not(cells, both)}"
        return FeatureReliability(feature, Grade.POOR, why, int(both.sum()), unpaired, log)
    spread = np.array([sources[source].spread if source in sources else math.nan for source in cells.sources])
    used = both & np.isfinite(spread)
    pairs = (np.column_stack([drawn, predicted]) - mean[:, None]) / spread[:, None]
    icc = intraclass_correlation(pairs[used], cells.groups[used])
    assert icc is not None
    n, mononuclear = int(used.sum()), _of_mononuclear(pairs, cells, used)
    effects = _effects({what: (scale(values) - predicted) / spread for what, values in disturbed.items()})
    largest = _largest(effects, pixel_bound=pixel_bound)
    grade, why = _judged(icc, n, unpaired, mononuclear, largest, effects)
    return FeatureReliability(
        feature,
        grade,
        why,
        n,
        unpaired,
        log,
        *icc,
        *limits_of_agreement(np.diff(pairs[used]).ravel()),
        mononuclear=mononuclear,
        sources=sources,
        disturbances=effects,
        largest=largest,
        annotators=_between_annotators({source: scale(pairs) for source, pairs in redrawn.items()}, sources),
    )


def _why_not(cells: Subjects, both: NDArray[np.bool_]) -> str:
    """Why a feature cannot be judged that `both` outlines of these cells have."""
    n = int(both.sum())
    if n - len(np.unique(cells.groups[both])) >= MIN_FREEDOM:
        return "the test cells of a type do not differ in it"
    return f"only {n} of {len(both)} test cells have it from both outlines"


def _of_mononuclear(pairs: NDArray[np.float64], cells: Subjects, used: NDArray[np.bool_]) -> Interval | None:
    """The agreement of the mononuclear cells alone; None where they are too few."""
    few = used & cells.mononuclear
    enough = few.sum() - len(np.unique(cells.groups[few])) >= MIN_FREEDOM
    return intraclass_correlation(pairs[few], cells.groups[few]) if enough else None


def _effects(changes: Mapping[Disturbance, NDArray[np.float64]]) -> dict[Disturbance, DisturbanceEffect]:
    """The effect of each disturbance that could be measured, from its standardised changes (n,), nan where absent."""
    present = {disturbance: change[np.isfinite(change)] for disturbance, change in changes.items()}
    return {
        disturbance: DisturbanceEffect(float(np.median(change)), _root_mean_square(change))
        for disturbance, change in present.items()
        if len(change)
    }


def _largest(effects: Mapping[Disturbance, DisturbanceEffect], *, pixel_bound: bool) -> Disturbance | None:
    """The disturbance that counts for the grade and changes the feature most."""
    counted = [d for d in effects if d not in LIGHT_AND_STAIN and not (pixel_bound and d in SCALING)]
    return max(counted, key=lambda d: effects[d].size, default=None)


def _between_annotators(
    redrawn: Mapping[str, NDArray[np.float64]], sources: Mapping[str, SourceAgreement]
) -> float | None:
    """Root mean square difference of two drawings of a cell, in standard deviations of its data set."""
    again = [np.diff(pairs).ravel() / sources[name].spread for name, pairs in redrawn.items() if name in sources]
    between = np.concatenate([np.zeros(0), *again])
    between = between[np.isfinite(between)]
    return _root_mean_square(between) if len(between) else None


def _root_mean_square(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values**2).mean()))


def _within(
    cells: Subjects, drawn: NDArray[np.float64], predicted: NDArray[np.float64], both: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], dict[str, SourceAgreement]]:
    """Mean of the drawn cells of each cell's type and data set, (n,), and the agreement in each data set."""
    count = np.bincount(cells.groups, both)
    total = np.bincount(cells.groups, np.where(both, drawn, 0))
    mean = np.divide(total, count, out=np.full(len(count), math.nan), where=count > 0)[cells.groups]
    by_source = {}
    for source in np.unique(cells.sources):
        members = both & (cells.sources == source)
        groups, rest = cells.groups[members], (drawn - mean)[members]
        freedom = len(groups) - len(np.unique(groups))
        if freedom < MIN_FREEDOM or np.abs(rest).max() <= _ROUNDING * np.abs(drawn[members]).max():
            continue
        icc = intraclass_correlation(np.column_stack([drawn, predicted])[members], groups)
        assert icc is not None  # the drawn values differ
        limits = limits_of_agreement((predicted - drawn)[members])
        by_source[str(source)] = SourceAgreement(
            len(groups), *icc, *limits, spread=math.sqrt((rest**2).sum() / freedom)
        )
    return mean, by_source


def _judged(
    icc: Interval,
    n: int,
    unpaired: int,
    mononuclear: Interval | None,
    largest: Disturbance | None,
    effects: Mapping[Disturbance, DisturbanceEffect],
) -> tuple[Grade, str]:
    """Grade and reason: the band of the ICC's lower limit, lowered by mononuclear cells or a disturbance."""
    agreement = _band(icc.low)
    how = {Grade.GOOD: "well", Grade.MODERATE: "only moderately", Grade.POOR: "poorly"}[agreement]
    grade, why = agreement, f"from the model's outline it agrees {how} with the drawn one ({_printed(icc)}, {n} cells)"
    lowering = []
    if mononuclear is not None:
        lowering.append(
            (_band(mononuclear.high), f"among mononuclear cells alone it does not ({_printed(mononuclear)})")
        )
    if largest is not None:
        size = effects[largest].size
        steadiness = list(Grade)[(size > MODERATE_CHANGE) + (size > POOR_CHANGE)]
        lowering.append((steadiness, f"{largest} changes it by {size:.2f} standard deviations between cells of a type"))
    for lower, reason in lowering:
        if list(Grade).index(lower) > list(Grade).index(grade):
            why += f"{', but' if grade is Grade.GOOD else ', and'} {reason}"
            grade = lower
    if unpaired:
        why += f"; {unpaired} more have it from one outline only"
    return grade, why


def _band(icc: float) -> Grade:
    """Of an agreement as it is printed."""
    return list(Grade)[(round(icc, 2) < GOOD_FROM) + (round(icc, 2) < MODERATE_FROM)]


def _printed(icc: Interval) -> str:
    return f"ICC {icc.value:.2f}, {icc.low:.2f} to {icc.high:.2f}"


# --- the file ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReliabilityReport:
    """What was measured, on what, and every feature's result; `pairs` are the cells drawn twice."""

    model_id: str
    model_sha256: str
    created: str
    command: str
    cells: Mapping[str, int]
    pairs: tuple[tuple[str, str], ...]
    versions: Mapping[str, str]
    features: Mapping[str, FeatureReliability]


def to_json(report: ReliabilityReport) -> str:
    """The text of the file: a header, then a line a feature, with significant digits only."""
    header = {f.name: getattr(report, f.name) for f in fields(report) if f.name != "features"}
    header["unit"] = (
        "agreement, annotators and disturbances in standard deviations between cells of a type and data set; sources in"
        " the feature's"
    )
    header["grades"] = {
        Grade.GOOD: (
            f"lower limit of the ICC from {GOOD_FROM} on, largest change that counts at most {MODERATE_CHANGE:.2f}"
        ),
        Grade.MODERATE: (
            f"lower limit of the ICC from {MODERATE_FROM} on, largest change that counts at most {POOR_CHANGE:.2f}"
        ),
        "lowered": (
            f"where the upper limit of the mononuclear cells' ICC is below {GOOD_FROM} (moderate) or {MODERATE_FROM}"
            " (poor)"
        ),
        "not counted": [*LIGHT_AND_STAIN, "rescaling, where the feature is compared at equal magnification only"],
    }
    header["columns"] = {
        "icc": Interval._fields,
        "agreement": ["bias", "limit_low", "limit_high"],
        "sources": SourceAgreement._fields,
        "disturbances": DisturbanceEffect._fields,
    }
    header["disturbances"] = list(Disturbance)
    lines = [
        f"  {json.dumps(name)}: {records.to_json(_row(f), compact=True, ascii_only=True)}"
        for name, f in report.features.items()
    ]
    start = records.to_json(header, indent=1, ascii_only=True).removesuffix("\n}")
    return start + ',\n "features": {\n' + ",\n".join(lines) + "\n }\n}\n"


def _row(feature: FeatureReliability) -> dict[str, Any]:
    return {
        "grade": feature.grade,
        "why": feature.why,
        "n": feature.n,
        "unpaired": feature.unpaired,
        "log": feature.log,
        "icc": _short(feature.icc, feature.icc_low, feature.icc_high),
        "agreement": _short(feature.bias, feature.limit_low, feature.limit_high),
        "mononuclear": feature.mononuclear and _short(*feature.mononuclear),
        "annotators": _short(feature.annotators)[0],
        "largest": feature.largest,
        "sources": {
            source: [agreement.n, *_short(*agreement[1:4]), *(float(f"{value:.4g}") for value in agreement[4:])]
            for source, agreement in feature.sources.items()
        },
        "disturbances": [
            _short(*feature.disturbances[d], digits=2) if d in feature.disturbances else None for d in Disturbance
        ],
    }


def _short(*values: float | None, digits: int = 3) -> list[float | None]:
    """To a thousandth: of a correlation or a standard deviation that is nothing."""
    return [None if value is None else round(value, digits) for value in values]


def save(report: ReliabilityReport, path: Path) -> None:
    """Write the file, whole or not at all."""
    files.write_text(path, to_json(report))


def load_report(path: Path) -> ReliabilityReport:
    """Read a file with its header; raises ModelError when it is missing, not as written by `save`, or exchanged."""
    try:
        content = files.read_bytes(path)
        check_seal(path, content)
        raw = records.parsed(content)
        raw["features"] = {name: _unfolded(name, row, raw["disturbances"]) for name, row in raw["features"].items()}
        return records.from_plain(ReliabilityReport, raw, others=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"{path.name} in the models folder is missing or damaged ({error!r}); restore it or run `python -m core"
            " reliability` again"
        )
        raise ModelError(msg) from error


def load(path: Path) -> Mapping[str, FeatureReliability]:
    """Every feature's result by its name; raises ModelError as `load_report`."""
    return load_report(path).features


def _unfolded(name: str, row: dict[str, Any], disturbances: list[str]) -> dict[str, Any]:
    """A line as `_row` folded it, field by field."""
    changes = zip(disturbances, row["disturbances"], strict=True)
    return {
        **row,
        "feature": name,
        **dict(zip(("icc", "icc_low", "icc_high"), row["icc"], strict=True)),
        **dict(zip(("bias", "limit_low", "limit_high"), row["agreement"], strict=True)),
        "disturbances": {disturbance: change for disturbance, change in changes if change is not None},
    }
