"""How well two measurements of the same cells agree, what that is worth, and the file in which a model's agreement is kept.

A feature is only as good as the outline it was measured in. The result of `python -m core reliability` says, for every feature, how the
value from the model's outline agrees with the value from the drawn one, and how it moves when image or outline are disturbed.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import ModelError

# Koo and Li 2016, J Chiropr Med 15:155: not the estimate but its 95 % limits decide, below 0.5 poor, from 0.75 on good.
GOOD_FROM: Final = 0.75
MODERATE_FROM: Final = 0.5
# The same two borders for a change in standard deviations between cells: of two measurements with spread 1 and agreement r, the
# root mean square difference is sqrt(2 (1 - r)).
MODERATE_CHANGE: Final = math.sqrt(2 * (1 - GOOD_FROM))
POOR_CHANGE: Final = math.sqrt(2 * (1 - MODERATE_FROM))

# The standard deviation of fewer cells is no yardstick; a source with fewer pairs does not count.
MIN_CELLS: Final = 5
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
    """What was done to outline or image, in words; `graded` ones enter the grade."""

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

    @property
    def graded(self) -> bool:
        """Whether it counts for the grade.

        Outline, scale and compression are accidents of one image, which the reader cannot see in the value. Light and stain move all
        images of a laboratory together: what they move has to be calibrated or compared within one laboratory, which the pages say of
        every feature that depends on intensity, but it can be trusted there.
        """
        return self not in (Disturbance.DIMMER, Disturbance.BRIGHTER, Disturbance.PALER, Disturbance.DEEPER, Disturbance.BLUER)


class Change(NamedTuple):
    """What a disturbance does to a feature, in standard deviations between cells: the median change, and its root mean square."""

    shift: float
    size: float


class Interval(NamedTuple):
    """An intraclass correlation with its 95 % confidence interval."""

    value: float
    low: float
    high: float


class SourceAgreement(NamedTuple):
    """Agreement within one data set.

    `bias` is the mean of model minus drawing, `limit_low` and `limit_high` are Bland and Altman's 95 % limits, `spread` is the standard
    deviation between the drawn cells: all in the feature's own unit, in pixels; of the natural logarithm where the feature is `log`.
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
    n, unpaired
        Cells measured from both outlines, and cells that have the value from one of the two only.
    log
        Compared as logarithms: the feature is positive by nature and skewed among cells, and was positive throughout.
    icc, icc_low, icc_high
        ICC(2,1) of model and drawing within the data sets, with its 95 % interval; None where it cannot be told.
    bias, limit_low, limit_high
        Mean of model minus drawing and Bland and Altman's 95 % limits, in standard deviations between the cells of a data set.
    sources
        The same by data set, in the feature's own unit.
    disturbances
        Change from the undisturbed outline of the model.
    annotators
        Root mean square difference between two drawings of the same cell, in standard deviations between cells; None if unknown.
    grade, why
        The judgement and its reason, one plain sentence without its capital and full stop.
    """

    feature: str
    n: int
    unpaired: int
    log: bool
    icc: float | None
    icc_low: float | None
    icc_high: float | None
    bias: float | None
    limit_low: float | None
    limit_high: float | None
    sources: Mapping[str, SourceAgreement]
    disturbances: Mapping[Disturbance, Change]
    annotators: float | None
    grade: Grade
    why: str

    @property
    def difference(self) -> float | None:
        """Root mean square of model minus drawing in standard deviations between cells: to be set beside `annotators`."""
        if self.bias is None or self.limit_low is None or self.limit_high is None:
            return None
        return math.hypot(self.bias, (self.limit_high - self.limit_low) / (2 * _NORMAL_95))

    @property
    def largest(self) -> Disturbance | None:
        """The graded disturbance that changes the feature most; None where none could be measured."""
        return max((d for d in self.disturbances if d.graded), key=lambda d: self.disturbances[d].size, default=None)

    @property
    def calibrate(self) -> Disturbance | None:
        """The change of light or stain that moves the feature most, if it moves it beyond `MODERATE_CHANGE`: calibrate before comparing."""
        beyond = [d for d, change in self.disturbances.items() if not d.graded and change.size > MODERATE_CHANGE]
        return max(beyond, key=lambda d: self.disturbances[d].size, default=None)


def intraclass_correlation(ratings: NDArray[np.float64], sources: NDArray[Any] | None = None) -> Interval | None:
    """ICC(2,1): two-way random effects, absolute agreement, single measurement.

    Shrout and Fleiss 1979, Psychol Bull 86:420; the interval by the F method of McGraw and Wong 1996, Psychol Methods 1:30, where it is
    ICC(A,1).

    Parameters
    ----------
    ratings
        float (n, k): n cells, each measured in k ways; no value missing.
    sources
        (n,): where each cell comes from. Differences between the sources' means then do not count as differences between cells, and each
        source takes a degree of freedom of theirs. What a rater does differently in one source than in another is error.

    Returns
    -------
    Interval or None
        None where all ratings are equal, and with them the correlation undefined.
    """
    from scipy import stats  # slow to import, and pages only read results

    n, k = ratings.shape
    _, member = np.unique(np.zeros(n) if sources is None else sources, return_inverse=True)
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


def assess(
    feature: str,
    drawn: NDArray[np.float64],
    predicted: NDArray[np.float64],
    sources: NDArray[np.str_],
    disturbed: Mapping[Disturbance, NDArray[np.float64]],
    redrawn: Mapping[str, NDArray[np.float64]],
    *,
    log_axis: bool,
) -> FeatureReliability:
    """Judge one feature.

    Pooled over data sets of different magnification and stain, agreement would be that of the data sets' means. So each value is centred
    on the mean, and scaled by the standard deviation, of its data set's drawn cells, and agreement is that within the data sets.

    Parameters
    ----------
    drawn, predicted
        float (n,): the value from the drawn and from the model's outline of each cell; nan where absent.
    sources
        (n,): the data set of each cell.
    disturbed
        (n,) by disturbance: the value from the model's outline after it.
    redrawn
        (m, 2) by data set: the values from two drawings of the same m cells.
    log_axis
        The catalogue compares the feature on a logarithmic scale; done where all values are positive.
    """
    everything = np.concatenate([drawn, predicted, *disturbed.values(), *(pair.ravel() for pair in redrawn.values())])
    log = log_axis and not (everything <= 0).any()
    scale = np.log if log else np.positive
    drawn, predicted = scale(drawn), scale(predicted)
    both = np.isfinite(drawn) & np.isfinite(predicted)
    unpaired = int((np.isfinite(drawn) ^ np.isfinite(predicted)).sum())

    mean, spread = np.full(len(drawn), math.nan), np.full(len(drawn), math.nan)
    found: dict[str, SourceAgreement] = {}
    for source in np.unique(sources):
        members = both & (sources == source)
        if members.sum() < MIN_CELLS or np.ptp(drawn[members]) <= _ROUNDING * np.abs(drawn[members]).max():
            continue
        icc = intraclass_correlation(np.column_stack([drawn[members], predicted[members]]))
        assert icc is not None  # the drawn values differ
        sd = float(drawn[members].std(ddof=1))
        found[str(source)] = SourceAgreement(int(members.sum()), *icc, *limits_of_agreement((predicted - drawn)[members]), sd)
        mean[sources == source], spread[sources == source] = drawn[members].mean(), sd

    changes: dict[Disturbance, Change] = {}
    for disturbance, values in disturbed.items():
        change = (scale(values) - predicted) / spread
        change = change[np.isfinite(change)]
        if len(change):
            changes[disturbance] = Change(float(np.median(change)), float(np.sqrt((change**2).mean())))
    again = [np.diff(scale(pairs)).ravel() / found[source].spread for source, pairs in redrawn.items() if source in found]
    between = np.concatenate([np.zeros(0), *again])
    between = between[np.isfinite(between)]
    annotators = float(np.sqrt((between**2).mean())) if len(between) else None

    used = both & np.isfinite(spread)
    if not found:
        few = f"{int(both.sum())} of {len(drawn)} test cells have it from both outlines"
        why = "the test cells do not differ in it" if both.sum() >= MIN_CELLS else f"only {few}"
        why = f"cannot be judged: {why}"
        return FeatureReliability(
            feature, int(both.sum()), unpaired, log, None, None, None, None, None, None, {}, changes, annotators, Grade.POOR, why
        )
    drawn, predicted = (drawn - mean) / spread, (predicted - mean) / spread
    pooled = intraclass_correlation(np.column_stack([drawn, predicted])[used], sources[used])
    assert pooled is not None
    grade, why = _judged(pooled, int(used.sum()), changes)
    bias = limits_of_agreement((predicted - drawn)[used])
    return FeatureReliability(feature, int(used.sum()), unpaired, log, *pooled, *bias, found, changes, annotators, grade, why)


def _judged(icc: Interval, n: int, changes: Mapping[Disturbance, Change]) -> tuple[Grade, str]:
    """Grade and reason: the band of the lower limit of agreement, lowered where a graded disturbance changes the feature too much."""
    grades = list(Grade)
    agreement = grades[(icc.low < GOOD_FROM) + (icc.low < MODERATE_FROM)]
    how = {Grade.GOOD: "well", Grade.MODERATE: "only moderately", Grade.POOR: "poorly"}[agreement]
    why = f"from the model's outline it agrees {how} with the drawn one (ICC {icc.value:.2f}, {icc.low:.2f} to {icc.high:.2f}, {n} cells)"
    worst = max((d for d in changes if d.graded), key=lambda d: changes[d].size, default=None)
    if worst is None:
        return agreement, why
    size = changes[worst].size
    steadiness = grades[(size > MODERATE_CHANGE) + (size > POOR_CHANGE)]
    if grades.index(steadiness) > grades.index(agreement):
        joined = ", but " if agreement is Grade.GOOD else ", and "
        why += f"{joined}{worst} changes it by {size:.1f} standard deviations between cells"
        return steadiness, why
    return agreement, why


# --- the file --------------------------------------------------------------------------------------------------------------------


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
    """The text of the file: a header, then a line a feature, four significant digits."""
    header = {name: getattr(report, name) for name in ("model_id", "model_sha256", "created", "command", "cells", "pairs", "versions")}
    header["unit"] = "bias, limits, changes and annotators in standard deviations between the cells of a data set"
    header["grades"] = {
        "good": f"lower limit of the ICC from {GOOD_FROM} on, no graded disturbance changes it by more than {MODERATE_CHANGE:.2f}",
        "moderate": f"lower limit from {MODERATE_FROM} on, change up to {POOR_CHANGE:.2f}",
    }
    header["graded"] = [d for d in Disturbance if d.graded]
    header["source_columns"] = SourceAgreement._fields
    header["disturbance_columns"] = Change._fields
    header["disturbances"] = list(Disturbance)
    lines = []
    for name, feature in report.features.items():
        row = {key: value for key, value in asdict(feature).items() if key != "feature"}
        row["disturbances"] = [feature.disturbances.get(d) for d in Disturbance]
        lines.append(f"  {json.dumps(name)}: {json.dumps(_rounded(row), separators=(',', ':'))}")
    start = json.dumps(header, indent=1).removesuffix("\n}")
    return start + ',\n "features": {\n' + ",\n".join(lines) + "\n }\n}\n"


def _rounded(value: Any) -> Any:  # noqa: ANN401 (anything JSON holds)
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, (list, tuple)) else value


def save(report: ReliabilityReport, path: Path) -> None:
    """Write the file, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(to_json(report), encoding="utf-8")
    temporary.replace(path)


def load_report(path: Path) -> ReliabilityReport:
    """Read a file with its header; raises ModelError when it is missing or not as written by `save`."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        names = [Disturbance(name) for name in raw["disturbances"]]
        features = {name: _feature(name, row, names) for name, row in raw["features"].items()}
        return ReliabilityReport(
            model_id=raw["model_id"],
            model_sha256=raw["model_sha256"],
            created=raw["created"],
            command=raw["command"],
            cells=raw["cells"],
            pairs=tuple((first, second) for first, second in raw["pairs"]),
            versions=raw["versions"],
            features=MappingProxyType(features),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path.name} in the models folder is missing or damaged ({error!r}); restore it or run `python -m core reliability` again"
        raise ModelError(msg) from error


def load(path: Path) -> Mapping[str, FeatureReliability]:
    """Every feature's result by its name; raises ModelError as `load_report`."""
    return load_report(path).features


def _feature(name: str, row: dict[str, Any], names: list[Disturbance]) -> FeatureReliability:
    parts = {
        "sources": {source: SourceAgreement(*values) for source, values in row["sources"].items()},
        "disturbances": {d: Change(*values) for d, values in zip(names, row["disturbances"], strict=True) if values is not None},
        "grade": Grade(row["grade"]),
    }
    return FeatureReliability(feature=name, **{**row, **parts})
