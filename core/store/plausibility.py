"""Whether the numbers of a cell can be true: rules that no leukocyte breaks, for tables that come from outside.

A row that breaks a rule is left out and told. Where many rows break the same one the column means something else, and
the table is refused.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from core.domain.errors import DataSetError
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureClass, FeatureSpec, Region, Unit

# More than this share of the rows, and at least so many, break one rule: then the column is at fault, not the rows.
_MANY: Final = 0.1
_FEWEST: Final = 3
# Relative differences by which two programs may differ in how they count.
_LOOSE: Final = 0.05
_PERIMETER: Final = 0.75
_MOST_KEPT: Final = 100_000

# What programs write for a missing value; no feature takes exactly these, and none is as large.
_MISSING: Final = frozenset({-999.0, -9999.0, -99999.0, -999999.0})
_LARGEST: Final = 1e20


class PlausibilityRule(NamedTuple):
    """What no cell breaks, in words, and the likely cause where many rows do."""

    words: str
    cause: str


RULES: Final = MappingProxyType(
    {
        "missing": PlausibilityRule("stands for a missing value", "leave the fields of missing values empty"),
        "negative": PlausibilityRule(
            "cannot be negative", "the column may hold a difference, a logarithm or a z-score"
        ),
        "range": PlausibilityRule(
            "lies outside what it can be", "the column may be in another unit, in per cent, or normalised"
        ),
        "share": PlausibilityRule(
            "is not a share from 0 to 1", "it may be in per cent: divide by 100, or be defined otherwise"
        ),
        "whole": PlausibilityRule("is more than the cell's", "two columns may be exchanged, or in different units"),
        "parts": PlausibilityRule("is not the sum of nucleus and cytoplasm", "an area may mean something else"),
        "ratio": PlausibilityRule(
            "is not the quotient of the values that it is made of",
            "it may be in per cent or defined otherwise (see `leukoscope catalogue`)",
        ),
        "diameter": PlausibilityRule(
            "is too small for the area", "the two may be in different units, or one is a radius"
        ),
        "perimeter": PlausibilityRule("is too short for the area", "the two may be in different units"),
        "order": PlausibilityRule("is not where its fellow columns say", "two columns may be exchanged"),
    }
)


class Breach(NamedTuple):
    """A column and the key of the rule that its value breaks."""

    column: str
    rule: str


@dataclass(frozen=True)
class Rejected:
    """A row that was left out: its number, the column and value to blame, and why in words."""

    row: int
    column: str
    value: float
    rule: str
    words: str


# --- what a feature can be --------------------------------------------------------------------------------------------

_TONES: Final = (
    FeatureClass.FIRST_ORDER, FeatureClass.OPTICAL_DENSITY, FeatureClass.HAEMATOXYLIN, FeatureClass.EOSIN,
    FeatureClass.HUE, FeatureClass.SATURATION,
)  # fmt: skip
_PLACES: Final = ("10Percentile", "90Percentile", "Maximum", "Mean", "Median", "Minimum", "RootMeanSquared")
_SIGNED: Final = ("Skewness", "ClusterShade", "Imc1")
_DYES: Final = (FeatureClass.OPTICAL_DENSITY, FeatureClass.HAEMATOXYLIN, FeatureClass.EOSIN)
# How far a pixelwise perimeter can take a perfect disc beyond 1.
_ROUND: Final = 1.2
_AT_MOST_ONE: Final = (
    "Uniformity", "ContourShare", "MCC", "Imc2", "JointEnergy", "MaximumProbability", "Id", "Idm", "Idmn", "Idn",
    "ShortRunEmphasis", "RunPercentage", "GrayLevelNonUniformityNormalized", "RunLengthNonUniformityNormalized",
    "SizeZoneNonUniformityNormalized", "ZonePercentage", "SmallAreaEmphasis", "SmallDependenceEmphasis",
    "DependenceNonUniformityNormalized",
)  # fmt: skip


def limits(spec: FeatureSpec) -> tuple[float, float, str]:
    """Least and largest value of a feature, and the rule that says so; of most, only the sign is certain."""
    low, high, rule = 0.0, math.inf, "negative"
    if spec.feature in _SIGNED or (spec.feature_class in _DYES and spec.feature in _PLACES):
        low = -math.inf
    if spec.feature == "Correlation":
        low, high, rule = -1.0, 1.0, "range"
    elif spec.name == "combined_PixelSurface" or spec.feature in _AT_MOST_ONE:
        high, rule = 1.0, "share"
    elif spec.region is not Region.COMBINED and spec.feature in (
        "Elongation", "Sphericity", "Solidity", "Convexity", "FormFactor",
    ):  # fmt: skip
        high, rule = _ROUND, "share"
    elif spec.unit is Unit.GREY:
        high, rule = 255.0, "range"
    elif spec.unit is Unit.PERCENT:
        high, rule = 100.0, "range"
    elif spec.unit is Unit.DEGREE:
        low, high, rule = (120.0, 480.0, "range") if spec.feature in _PLACES else (0.0, 360.0, "range")
    return low, high, rule


class Judge:
    """Finds what is impossible in a row, by the columns that there are."""

    def __init__(self, columns: Collection[str]) -> None:
        there = [CATALOGUE[name] for name in columns if name in CATALOGUE]
        self._limits = [(spec.name, *limits(spec)) for spec in there]
        self._ratios = [
            (spec.name, *spec.ratio_of)
            for spec in there
            if spec.ratio_of and {spec.ratio_of[0], *spec.ratio_of[1]} <= set(columns)
        ]
        # Where the least or the largest tone of a region is there, the others lie between.
        self._tones = sorted(
            {
                spec.name.rpartition("_")[0]
                for spec in there
                if spec.feature_class in _TONES and spec.feature in ("Minimum", "Maximum")
            }
        )

    def breach(self, cell: Mapping[str, object], said: Mapping[str, object]) -> Breach | None:
        """The first rule that a cell breaks, None where all may be true.

        Parameters
        ----------
        cell
            Its features in pixels.
        said
            The same as the table has them, in its own units.
        """
        values = {
            name: value
            for name, *_ in self._limits
            if isinstance(value := cell.get(name), float) and not math.isnan(value)
        }
        for name, low, high, rule in self._limits:
            if (value := values.get(name)) is not None:
                if said[name] in _MISSING or abs(value) >= _LARGEST:
                    return Breach(name, "missing")
                if not low - 1e-6 <= value <= high * (1 + 1e-6):
                    return Breach(name, "negative" if value < 0 and low == 0 else rule)
        return _areas(values) or self._of_quotients(values) or self._of_tones(values)

    def _of_quotients(self, values: Mapping[str, float]) -> Breach | None:
        for name, above, below in self._ratios:
            if all(part in values for part in (name, above, *below)):
                whole = sum(values[part] for part in below)
                if whole > 0 and not _close(values[name], values[above] / whole):
                    return Breach(name, "ratio")
        return None

    def _of_tones(self, values: Mapping[str, float]) -> Breach | None:
        for region in self._tones:
            low, high = values.get(f"{region}_Minimum", -math.inf), values.get(f"{region}_Maximum", math.inf)
            for feature in ("Mean", "Median", "10Percentile", "90Percentile"):
                value = values.get(name := f"{region}_{feature}")
                if value is not None and not low - 1e-6 <= value <= high + 1e-6:
                    return Breach(name, "order")
        return None


def _close(value: float, other: float) -> bool:
    return abs(value - other) <= _LOOSE * max(abs(value), abs(other))


def _areas(values: Mapping[str, float]) -> Breach | None:
    """What areas, and lengths beside them, say of each other."""
    for kind in ("PixelSurface", "MeshSurface"):
        nucleus, cytoplasm, cell = (values.get(f"{r}_shape2D_{kind}") for r in ("nucleus", "cytoplasm", "cell"))
        for region, area in (("nucleus", nucleus), ("cytoplasm", cytoplasm)):
            if area is not None and cell is not None and area > cell * (1 + 0.02):
                return Breach(f"{region}_shape2D_{kind}", "whole")
        if kind == "PixelSurface" and nucleus is not None and cell is not None:
            if cytoplasm is not None and not _close(nucleus + cytoplasm, cell):
                return Breach(f"cell_shape2D_{kind}", "parts")
            share = values.get("combined_PixelSurface")
            if share is not None and cell > 0 and not _close(share, nucleus / cell):
                return Breach("combined_PixelSurface", "ratio")
    return next(filter(None, (_lengths(values, f"{region}_shape2D") for region in ("nucleus", "cell"))), None)


def _lengths(values: Mapping[str, float], region: str) -> Breach | None:
    """Whether the lengths of a region can enclose its area: of all shapes a disc needs the least."""
    area = values.get(f"{region}_PixelSurface", values.get(f"{region}_MeshSurface"))
    major, minor = values.get(f"{region}_MajorAxisLength"), values.get(f"{region}_MinorAxisLength")
    if major is not None and minor is not None and minor > major * (1 + 1e-6):
        return Breach(f"{region}_MinorAxisLength", "order")
    if area is None:
        return None
    largest, perimeter = values.get(f"{region}_MaximumDiameter"), values.get(f"{region}_Perimeter")
    # A region is as much larger as the pixels at its rim are cut in half by an outline.
    most = area / 1.1 - 4
    if largest is not None and math.pi / 4 * largest**2 < most:
        return Breach(f"{region}_MaximumDiameter", "diameter")
    if major is not None and minor is not None and math.pi / 4 * major * minor < most:
        return Breach(f"{region}_MajorAxisLength", "diameter")
    if perimeter is not None and perimeter**2 < _PERIMETER * 4 * math.pi * (area - 4):
        return Breach(f"{region}_Perimeter", "perimeter")
    return None


# --- a whole table ----------------------------------------------------------------------------------------------------


class Judgement:
    """What was found wrong with the rows of a table.

    `rejected` names the rows that were left out, `doubled` those that say again what an earlier row says (row, earlier
    row), `rows` counts all.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.rejected: list[Rejected] = []
        self.doubled: list[tuple[int, int]] = []
        self._broken: dict[Breach, int] = {}
        self._first: dict[Breach, Rejected] = {}

    @property
    def left_out(self) -> int:
        """How many rows broke a rule."""
        return sum(self._broken.values())

    def reject(self, row: int, breach: Breach, value: float) -> None:
        """Count a row that is left out."""
        rejected = Rejected(row, breach.column, value, breach.rule, RULES[breach.rule].words)
        self._broken[breach] = self._broken.get(breach, 0) + 1
        self._first.setdefault(breach, rejected)
        if len(self.rejected) < _MOST_KEPT:
            self.rejected.append(rejected)

    def check(self, name: str) -> None:
        """Raise DataSetError where so many rows break one rule that the table means something else."""
        by_rule: dict[str, int] = {}
        for breach, count in self._broken.items():
            by_rule[breach.rule] = by_rule.get(breach.rule, 0) + count
        if not by_rule:
            return
        rule = max(by_rule, key=by_rule.__getitem__)
        many, all_of_them = by_rule[rule], self.left_out == self.rows
        if not all_of_them and not (many > _MANY * self.rows and many >= _FEWEST):
            return
        breach = max((breach for breach in self._broken if breach.rule == rule), key=self._broken.__getitem__)
        first = self._first[breach]
        msg = (
            f"{name}: {many:,} of {self.rows:,} rows are impossible for one reason, so the table is refused; row"
            f" {first.row}, column {first.column}: {first.value:g} {first.words}; {RULES[rule].cause}"
        )
        raise DataSetError(msg)
