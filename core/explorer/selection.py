"""A selection of cells that a person, a database and a link all understand.

A selection is a conjunction of conditions. Each has a key, under which it can be removed, a sentence in plain words,
and SQL over the relation `cells` (`Cohort.query`). An absent value (an unknown patient, an absent feature) meets no
condition on it.

Values of ranges and gates are in the basis of comparison (`core.populations.summaries`): micrometres for a feature with
a length in its unit, over the cells whose scale is known, otherwise as stored.
"""

import base64
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from core.charts.labels import number, with_unit
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import FeatureError, RecordError, SelectionError
from core.features.catalogue import feature_spec
from core.features.spec import FeatureSpec
from core.populations.summaries import basis_of
from core.support import records

MOST_VERTICES: Final = 100  # a lasso drawn by hand has no more after `simplified`
MOST_CHOICES: Final = 1000  # values of one filter, ranges or gates
MOST_CELLS: Final = 20_000  # chosen one by one: as many as a plane draws as points

_LINK_VERSION: Final = "1"
_LONGEST_LINK: Final = 20_000  # characters; browsers and servers cut longer addresses anyway
_LARGEST_TEXT: Final = 2_000_000  # characters of a selection's JSON: no link or file unpacks to more
_LONGEST_VALUE: Final = 500  # characters of a name, an identifier or a source


class Quality(StrEnum):
    """Which cells by quality: those that enter summaries, those that a severe flag keeps out, or both."""

    GOOD = "good"
    LEFT_OUT = "left_out"
    ANY = "any"


class Scale(StrEnum):
    """Which cells by calibration: with known micrometres per pixel, without, or both."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    ANY = "any"


@dataclass(frozen=True)
class Range:
    """A feature between two values, ends included, in the basis of comparison; None leaves an end open."""

    feature: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Check that the feature exists and the ends are finite and ordered; raises FeatureError or SelectionError."""
        spec = feature_spec(self.feature)
        for end in (self.low, self.high):
            if end is not None:
                _check_finite(end, f"the range of {spec.label}")
        if self.low is None and self.high is None:
            msg = f"the range of {spec.label} has no end; give the lowest value, the highest, or both"
            raise SelectionError(msg)
        if self.low is not None and self.high is not None and self.low > self.high:
            msg = f"the range of {spec.label} goes from {self.low:g} to {self.high:g}; give the lower value first"
            raise SelectionError(msg)


@dataclass(frozen=True)
class Gate:
    """A named polygon on the plane of two features, marked by a box or a lasso.

    Parameters
    ----------
    name
        What the person calls it; unique in a selection.
    x, y
        Features on the axes.
    polygon
        At least three vertices (x, y) in the basis of comparison; closed by itself, filled by the even-odd rule. A cell
        on the left or lower edge of a box lies inside, on the right or upper one outside.
    log
        Whether x and y were on logarithmic axes, along which the edges are then straight.
    """

    name: str
    x: str
    y: str
    polygon: tuple[tuple[float, float], ...]
    log: tuple[bool, bool] = (False, False)

    def __post_init__(self) -> None:
        """Check name, features and vertices; raises FeatureError or SelectionError."""
        _check_text(self.name, "a gate's name")
        if not 3 <= len(self.polygon) <= MOST_VERTICES:
            msg = f"gate {self.name!r} has {len(self.polygon)} vertices; draw one of 3 to {MOST_VERTICES}"
            raise SelectionError(msg)
        for axis, feature, log in zip((0, 1), (self.x, self.y), self.log, strict=True):
            spec = feature_spec(feature)
            for vertex in self.polygon:
                _check_finite(vertex[axis], f"gate {self.name!r}")
                on_axis(spec, vertex[axis], log=log)


@dataclass(frozen=True)
class Selection:
    """Which cells are chosen; an empty tuple leaves a property free, so `Selection()` is every good cell.

    `patients` are pseudonyms of any source. Populations, patients, diagnoses and models need not exist: then no cell
    matches. `outlines` are what people decided of them (`core.store.outline_log`), or `NOT_LOOKED_AT`. `cells` are
    identifiers, for what no gate on features can say.
    """

    cell_types: tuple[CellType, ...] = ()
    sources: tuple[str, ...] = ()
    populations: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    diagnoses: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    outlines: tuple[str, ...] = ()
    quality: Quality = Quality.GOOD
    scale: Scale = Scale.ANY
    ranges: tuple[Range, ...] = ()
    gates: tuple[Gate, ...] = ()
    cells: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check texts, numbers of values, and that ranges and gates are unique; raises SelectionError."""
        for filter_ in (*CHOICES, "cells"):
            for value in getattr(self, filter_):
                _check_text(value, f"a value of {filter_}")
        for filter_ in (*CHOICES, "ranges", "gates"):
            if len(getattr(self, filter_)) > MOST_CHOICES:
                msg = (
                    f"a selection takes at most {MOST_CHOICES} {filter_}, but got {len(getattr(self, filter_))}; choose"
                    " fewer"
                )
                raise SelectionError(msg)
        if len(self.cells) > MOST_CELLS:
            msg = (
                f"at most {MOST_CELLS:,} cells can be chosen one by one, but got {len(self.cells):,}; choose fewer, or"
                " gate features"
            )
            raise SelectionError(msg)
        _check_unique([given.feature for given in self.ranges], "ranges of the feature")
        _check_unique([gate.name for gate in self.gates], "gates named")


@dataclass(frozen=True)
class Sentence:
    """One condition in plain words, e.g. "cell type is monocyte or lymphocyte"; `key` removes it (`without`)."""

    key: str
    words: str


@dataclass(frozen=True)
class Condition:
    """One condition: its sentence, and SQL that is true, false or null for a cell, with values for its `$names`."""

    sentence: Sentence
    sql: str
    parameters: Mapping[str, Any]


# Fields of a selection that hold chosen values: the column they choose from, and how it is called.
CHOICES: Final[Mapping[str, tuple[str, str]]] = {
    "cell_types": ("cell_type", "cell type"),
    "sources": ("source", "source"),
    "populations": ("population", "population"),
    "patients": ("patient_id", "patient"),
    "diagnoses": ("diagnosis", "diagnosis"),
    "models": ("model_id", "model"),
    "outlines": ("outline_status", "outline"),
}
NOT_LOOKED_AT: Final = "not yet looked at"  # the outline on which nobody has decided

QUALITY_SQL: Final = {Quality.GOOD: "quality_ok", Quality.LEFT_OUT: "NOT quality_ok"}
_QUALITY_WORDS: Final = {Quality.GOOD: "quality is good", Quality.LEFT_OUT: "quality is too low for summaries"}
# Products, as the database takes fifty times as long over a power; and as exact.
_POWER_SQL: Final = {1: "um_per_px", 2: "(um_per_px * um_per_px)", -1: "(1 / um_per_px)"}
_SCALE_SQL: Final = {Scale.KNOWN: "um_per_px IS NOT NULL", Scale.UNKNOWN: "um_per_px IS NULL"}


def value_sql(spec: FeatureSpec) -> str:
    """SQL of a feature in the basis of comparison; null where it is absent, or is a length and the scale is unknown."""
    return f'("{spec.name}" * {_POWER_SQL[spec.length_power]})' if spec.length_power else f'"{spec.name}"'


def axis_sql(spec: FeatureSpec, *, log: bool) -> str:
    """SQL of the place of a cell along an axis: the value, or the logarithm of the shown value; null if undefined."""
    value = value_sql(spec)
    if not log:
        return value
    shown = f"({value} * {spec.display_factor!r}::DOUBLE + {spec.display_offset!r}::DOUBLE)"
    return f"CASE WHEN {shown} > 0 THEN ln({shown}) END"


def on_axis(spec: FeatureSpec, value: float, *, log: bool) -> float:
    """Place of a value along an axis, as `axis_sql`; raises SelectionError if a logarithmic axis has no such place."""
    if not log:
        return value
    shown = value * spec.display_factor + spec.display_offset
    if shown <= 0:
        msg = f"{spec.label} {value:g} has no place on a logarithmic axis; draw to the right of it or above"
        raise SelectionError(msg)
    return math.log(shown)


def conditions(selection: Selection, prefix: str = "s") -> tuple[Condition, ...]:
    """Return all conditions of a selection; names of parameters start with the prefix, so that several fit a query."""
    return tuple(_conditions(selection, prefix))


def where(selection: Selection, prefix: str = "s") -> tuple[str, dict[str, Any]]:
    """SQL condition of a selection and the values of its parameters; `true` for one without conditions.

    Every name of a column comes from the catalogue or from this module, every value is a parameter.
    """
    clauses = conditions(selection, prefix)
    parameters = {name: value for condition in clauses for name, value in condition.parameters.items()}
    return " AND ".join(f"({condition.sql})" for condition in clauses) or "true", parameters


def columns_read(selection: Selection) -> set[str]:
    """Columns of the cohort that the SQL of `where` speaks of."""
    read = {column for key, (column, _) in CHOICES.items() if getattr(selection, key)}
    if selection.quality in QUALITY_SQL:
        read.add("quality_ok")
    if selection.cells:
        read.add("cell_id")
    features = {given.feature for given in selection.ranges} | {
        axis for gate in selection.gates for axis in (gate.x, gate.y)
    }
    return read | features | ({"um_per_px"} if features or selection.scale in _SCALE_SQL else set())


def sentences(selection: Selection) -> tuple[Sentence, ...]:
    """Return the conditions in plain words, in the order of the filters."""
    return tuple(condition.sentence for condition in conditions(selection))


def without(selection: Selection, key: str) -> Selection:
    """Return the selection without the condition of that key; unchanged if it has none."""
    kind, _, name = key.partition(":")
    if kind == "range":
        return replace(selection, ranges=tuple(given for given in selection.ranges if given.feature != name))
    if kind == "gate":
        return replace(selection, gates=tuple(gate for gate in selection.gates if gate.name != name))
    free: dict[str, Any] = {**dict.fromkeys((*CHOICES, "cells"), ()), "quality": Quality.ANY, "scale": Scale.ANY}
    return replace(selection, **{key: free[key]}) if key in free else selection


def to_json(selection: Selection) -> str:
    """Text of a selection for a file, indented; what is left free is left out."""
    return records.to_json({"leukoscope_selection": 1, **_chosen(selection)}, indent=2) + "\n"


def from_json(text: str) -> Selection:
    """Read what `to_json` wrote; raises SelectionError, in words, for anything else."""
    if len(text) > _LARGEST_TEXT:
        msg = (
            f"a selection has at most {_LARGEST_TEXT} characters, but the text has {len(text)}; choose a file saved by"
            " the explorer"
        )
        raise SelectionError(msg)
    try:
        raw = records.parsed(text)
    except RecordError as error:
        msg = "this is no saved selection: it is no JSON; choose a file saved by the explorer"
        raise SelectionError(msg) from error
    if not isinstance(raw, dict) or raw.pop("leukoscope_selection", None) != 1:
        msg = "this is no saved selection of this version; choose a file saved by the explorer"
        raise SelectionError(msg)
    return _read(raw)


def to_link(selection: Selection) -> str:
    """Short text for an address: letters, digits, '-', '_' and one '.'; empty for `Selection()`.

    Raises
    ------
    SelectionError
        If it is too long for an address.
    """
    chosen = _chosen(selection)
    if not chosen:
        return ""
    packed = zlib.compress(records.to_json(chosen, compact=True).encode(), 9)
    link = f"{_LINK_VERSION}.{base64.urlsafe_b64encode(packed).decode().rstrip('=')}"
    if len(link) > _LONGEST_LINK:
        msg = (
            f"the selection is too long for a link ({len(link):,} characters of at most {_LONGEST_LINK:,}); save it as"
            " a file"
        )
        raise SelectionError(msg)
    return link


def from_link(link: str) -> Selection:
    """Read what `to_link` wrote; raises SelectionError, in words, for anything else."""
    if not link:
        return Selection()
    version, _, body = link.partition(".")
    if version != _LINK_VERSION or len(link) > _LONGEST_LINK:
        msg = "the link holds no selection that this version understands; ask for a new one"
        raise SelectionError(msg)
    try:
        packed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        # What would unpack to more than that is cut, and so no JSON.
        raw = records.parsed(zlib.decompressobj().decompress(packed, _LARGEST_TEXT))
    except (ValueError, zlib.error) as error:
        msg = "the link is damaged or cut off; copy it again, whole"
        raise SelectionError(msg) from error
    if not isinstance(raw, dict):
        msg = "the link is damaged: it holds no selection; copy it again, whole"
        raise SelectionError(msg)
    return _read(raw)


def simplified(points: Sequence[tuple[float, float]], most: int = MOST_VERTICES) -> tuple[tuple[float, float], ...]:
    """A lasso's path reduced to at most that many vertices, evenly, with six significant digits."""
    step = max(1, math.ceil(len(points) / most))
    return tuple((float(f"{x:.6g}"), float(f"{y:.6g}")) for x, y in points[::step])


def _conditions(selection: Selection, prefix: str) -> Iterator[Condition]:
    for key, (column, called) in CHOICES.items():
        chosen = getattr(selection, key)
        if chosen:
            words = f"{called} is {_either([_value_words(key, value) for value in chosen])}"
            value = f"coalesce({column}, '{NOT_LOOKED_AT}')" if key == "outlines" else column
            yield Condition(
                Sentence(key, words),
                f"list_contains(${prefix}_{key}, {value})",
                {f"{prefix}_{key}": [str(v) for v in chosen]},
            )
    if selection.quality in QUALITY_SQL:
        yield Condition(Sentence("quality", _QUALITY_WORDS[selection.quality]), QUALITY_SQL[selection.quality], {})
    if selection.scale in _SCALE_SQL:
        yield Condition(Sentence("scale", f"scale is {selection.scale.value}"), _SCALE_SQL[selection.scale], {})
    for index, given in enumerate(selection.ranges):
        yield _of_range(given, f"{prefix}_r{index}")
    for index, gate in enumerate(selection.gates):
        yield _of_gate(gate, f"{prefix}_g{index}")
    if selection.cells:
        n = len(selection.cells)
        sql = f"cell_id IN (SELECT unnest(${prefix}_cells))"
        yield Condition(
            Sentence("cells", f"{n:,} cell{'s' * (n != 1)} chosen by hand"),
            sql,
            {f"{prefix}_cells": list(selection.cells)},
        )


def _of_range(given: Range, prefix: str) -> Condition:
    spec = feature_spec(given.feature)
    low, high = (end if end is None else with_unit(spec, end, basis_of(spec)) for end in (given.low, given.high))
    if given.low is not None and high is not None:
        words = f"{number(spec.shown(given.low))} to {high}"
    else:
        words = f"at least {low}" if high is None else f"at most {high}"
    value = value_sql(spec)
    ends = {f"{prefix}_low": (">=", given.low), f"{prefix}_high": ("<=", given.high)}
    kept = {name: (sign, float(end)) for name, (sign, end) in ends.items() if end is not None}
    sql = " AND ".join(f"{value} {sign} ${name}" for name, (sign, _) in kept.items())
    parameters = {name: end for name, (_, end) in kept.items()}
    return Condition(Sentence(f"range:{given.feature}", f"{_mid_sentence(spec.label)} is {words}"), sql, parameters)


def _of_gate(gate: Gate, prefix: str) -> Condition:
    """A gate as SQL: within the box around it, then an odd number of edges to the right of the cell."""
    specs = feature_spec(gate.x), feature_spec(gate.y)
    x, y = (axis_sql(spec, log=log) for spec, log in zip(specs, gate.log, strict=True))
    vertices = [
        tuple(on_axis(s, v, log=log) for s, v, log in zip(specs, vertex, gate.log, strict=True))
        for vertex in gate.polygon
    ]
    parameters: dict[str, float] = {}

    def value(number: float) -> str:
        name = f"{prefix}_{len(parameters)}"
        parameters[name] = float(number)
        return f"${name}"

    ends = [sorted(edge, key=lambda vertex: vertex[1]) for edge in pairwise([*vertices, vertices[0]])]
    edges = [(low, high) for low, high in ends if low[1] < high[1]]  # a level edge is crossed by nothing to its left
    lines = [
        (low[1], high[1], f"{x} < {value(low[0])} + ({y} - {value(low[1])}) * {value(_slope(low, high))}")
        for low, high in edges
    ]
    heights = sorted({height for _, height in vertices})

    def within(first: int, last: int) -> str:
        """Whether cells between two heights are inside: bisected, so that only edges crossing there are tested."""
        if last - first == 1:
            crossing = [line for low, high, line in lines if low <= heights[first] and heights[last] <= high]
            return f"(({' + '.join(f'({line})::TINYINT' for line in crossing)}) % 2 = 1)"
        middle = (first + last) // 2
        return f"CASE WHEN {y} < {value(heights[middle])} THEN {within(first, middle)} ELSE {within(middle, last)} END"

    xs = [vertex[0] for vertex in vertices]
    box = (
        f"{x} BETWEEN {value(min(xs))} AND {value(max(xs))} AND {y} >= {value(heights[0])} AND {y} <"
        f" {value(heights[-1])}"
    )
    inside = within(0, len(heights) - 1) if edges else "false"
    words = f"{_mid_sentence(specs[0].label)} and {_mid_sentence(specs[1].label)} lie in gate {gate.name}"
    return Condition(Sentence(f"gate:{gate.name}", words), f"CASE WHEN {box} THEN {inside} ELSE false END", parameters)


def _slope(low: Sequence[float], high: Sequence[float]) -> float:
    """Change of x for one of y."""
    return (high[0] - low[0]) / (high[1] - low[1])


def _chosen(selection: Selection) -> dict[str, Any]:
    """What differs from `Selection()`."""
    default = vars(Selection())
    return {name: value for name, value in vars(selection).items() if value != default[name]}


def _read(raw: Mapping[str, Any]) -> Selection:
    """Build a selection from what a stranger sent; raises SelectionError."""
    unknown = sorted(set(raw) - set(vars(Selection())))
    if unknown:
        msg = (
            f"the selection has conditions that this version does not know: {', '.join(unknown)[:200]}; update"
            " Leukoscope"
        )
        raise SelectionError(msg)
    try:
        return records.from_plain(Selection, raw)
    except (FeatureError, RecordError) as error:
        msg = f"the selection cannot be read ({str(error)[:200]}); ask for a new one"
        raise SelectionError(msg) from error


def _check_finite(value: float, what: str) -> None:
    if not math.isfinite(value):
        msg = f"{what} needs finite numbers, but has {value}"
        raise SelectionError(msg)


def can_be_chosen(text: str) -> bool:
    """Whether a filter can name a value: one from outside may hold what is no text to be read."""
    return 0 < len(text) <= _LONGEST_VALUE and text.isprintable()


def _check_text(text: str, what: str) -> None:
    if not can_be_chosen(text):
        msg = f"{what} must be 1 to {_LONGEST_VALUE} printable characters, but is {text[:40]!r}"
        raise SelectionError(msg)


def _check_unique(names: Sequence[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"a selection cannot have two {what} {twice[0]!r}; change the one there is"
        raise SelectionError(msg)


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _value_words(key: str, value: str) -> str:
    return _mid_sentence(CELL_TYPES[CellType(value)].name) if key == "cell_types" else value


def _mid_sentence(label: str) -> str:
    """A label within a sentence; "N:C ratio" and "APL cell" keep their capitals."""
    return label if len(label) > 1 and not label[1].islower() else label[:1].lower() + label[1:]
