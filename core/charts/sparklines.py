"""Sparklines: where the cell lies among the populations, small enough to fit beside the number.

A few round numbers stand on the axis, so that it is read without hovering, on paper and under a finger.

HTML with inline styles rather than SVG: it takes the width it is given, and its text keeps the page's size.
`Markup.format` escapes what is put into it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

from markupsafe import Markup

from core.charts.labels import who, with_unit
from core.charts.theme import population_colour
from core.domain.cell_types import CELL_TYPES
from core.features.catalogue import CATALOGUE
from core.populations.comparison import FeatureComparison
from core.populations.summaries import ReferencePopulation

_LINE_PX: Final = 13
_LABEL_PX: Final = 60
_MARGIN: Final = 0.04
_TICKS: Final = 4  # at most

_STRIP: Final = Markup(
    '<div style="position:relative;max-width:460px" role="img" aria-label="{cell}">{lines}'
    f'<div style="position:relative;height:12px;margin-left:{_LABEL_PX}px;font-size:10px;line-height:12px" '
    'aria-hidden="true">{ticks}</div>'
    f'<div style="position:absolute;left:{_LABEL_PX}px;right:0;top:0;bottom:12px;pointer-events:none">'
    '<div title="{cell}" style="position:absolute;left:calc({at:.1f}% - 1px);width:2px;top:0;bottom:0;'
    'background:currentColor"></div></div></div>'
)
_LINE: Final = Markup(
    f'<div title="{{hint}}" style="display:flex;height:{_LINE_PX}px;align-items:center">'
    f'<span style="width:{_LABEL_PX - 6}px;padding-right:6px;text-align:right;font-size:11px;line-height:1;'
    f'opacity:.8">{{name}}</span><span style="position:relative;flex:1;height:{_LINE_PX}px">{{marks}}</span></div>'
)
_BAND: Final = Markup(
    '<span style="position:absolute;left:{left:.1f}%;width:{width:.1f}%;top:3px;height:7px;border-radius:4px;'
    'background:{colour};opacity:.5"></span>'
    '<span style="position:absolute;left:calc({median:.1f}% - 1px);width:2.5px;top:2px;height:9px;'
    'background:color-mix(in srgb,{colour} 60%,currentColor)"></span>'
)
_TICK: Final = Markup(
    '<span style="position:absolute;left:{at:.1f}%;transform:translateX(-50%);opacity:.8;'
    'font-variant-numeric:tabular-nums">{number}</span>'
)
_POINT: Final = Markup(
    '<span style="position:absolute;left:calc({at:.1f}% - 3px);width:6px;top:3px;height:6px;border-radius:50%;'
    'background:{colour}"></span>'
)


def sparkline_html(feature: str, places: Sequence[tuple[ReferencePopulation, FeatureComparison]]) -> Markup:
    """One line per population on a common axis in the feature's own unit: band 2-98 %, tick at the median.

    Small groups are points; the cell is the vertical line through all of them. Populations the cell cannot be compared
    with are left out; without any, the text is empty. Text and cell take the page's own colour; hover texts say what
    each line is.
    """
    spec = CATALOGUE[feature]
    kept = [(reference, c) for reference, c in places if c.comparable and c.value is not None and c.summary is not None]
    if not kept:
        return Markup()
    value, basis = kept[0][1].value or 0.0, kept[0][1].basis
    edges = [value, *(edge for reference, c in kept for edge in _edges(reference, c))]
    low, high = min(edges), max(edges)
    room = (high - low or 1.0) * _MARGIN

    def at(number: float) -> float:
        return 100 * (number - low + room) / (high - low + 2 * room)

    return _STRIP.format(
        cell=f"{spec.label} of this cell: {with_unit(spec, value, basis)}",
        lines=Markup().join(_line(reference, c, at) for reference, c in kept),
        ticks=Markup().join(
            _TICK.format(at=at(tick / spec.display_factor), number=f"{tick:g}")
            for tick in _ticks(spec.shown(low), spec.shown(high))
        ),
        at=at(value),
    )


def _ticks(low: float, high: float) -> list[float]:
    """One to four round numbers between two numbers, as steps of 1, 2 or 5 and their tens and tenths give them."""
    if high <= low:
        return [float(f"{low:.3g}")]
    ten = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    steps = (ten * by for by in (1, 2, 5, 10, 20))
    step = next(each for each in steps if math.floor(high / each) - math.ceil(low / each) < _TICKS)
    return [float(f"{n * step:.6g}") for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _edges(reference: ReferencePopulation, comparison: FeatureComparison) -> list[float]:
    summary = comparison.summary
    if summary is not None and summary.p2 is not None and summary.p98 is not None:
        return [summary.p2, summary.p98]
    return [float(v) for v in reference.ordered.get(comparison.feature, ())]


def _line(reference: ReferencePopulation, comparison: FeatureComparison, at: Callable[[float], float]) -> Markup:
    spec, summary, basis = CATALOGUE[comparison.feature], comparison.summary, comparison.basis
    colour = population_colour(reference.cell_type)
    hint = f"{reference.title}: {who(reference)}"
    if summary is not None and summary.p2 is not None and summary.p50 is not None and summary.p98 is not None:
        p2, p50, p98 = (with_unit(spec, p, basis) for p in (summary.p2, summary.p50, summary.p98))
        hint += f"; 2-98 %: {p2} to {p98}, median {p50}"
        left = at(summary.p2)
        marks = _BAND.format(left=left, width=at(summary.p98) - left, median=at(summary.p50), colour=colour)
    else:
        marks = Markup().join(_POINT.format(at=at(v), colour=colour) for v in _edges(reference, comparison))
    return _LINE.format(hint=hint, name=CELL_TYPES[reference.cell_type].short, marks=marks)
