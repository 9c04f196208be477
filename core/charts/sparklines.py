"""Sparklines: where the cell lies among the populations, small enough to fit beside the number.

On a page they are HTML with inline styles rather than SVG: that takes the width it is given, and its text keeps the
page's size, with a few round numbers on the axis. On paper they are SVG with the numbers beside. `Markup.format`
escapes what is put into it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

from markupsafe import Markup

from core.charts.labels import number, who, with_unit
from core.charts.theme import edge_colour, population_colour
from core.domain.cell_types import CELL_TYPES
from core.domain.types import CellAnalysis
from core.features.catalogue import CATALOGUE
from core.populations.comparison import FeatureComparison
from core.populations.summaries import ReferencePopulation

_Place = tuple[ReferencePopulation, FeatureComparison]

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

# Of a strip on paper, in its own units: the columns of names, marks and numbers, the height of a line, and of a letter.
_NAMES, _MARKS, _NUMBERS = 36, 92, 58
_ROW: Final = 8
_LETTERS: Final = 6.6

_PRINTED: Final = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{cell}"'
    ' font-family="Source Sans Pro, sans-serif" font-size="{letters}" fill="#16191d">{lines}'
    '<path d="M{at:.1f} 0V{height}" stroke="#000" stroke-width="1.3"/></svg>'
)
_PRINTED_LINE: Final = Markup(
    '<text x="0" y="{base:.1f}">{name}</text>{marks}<text x="{right}" y="{base:.1f}">{said}</text>'
)
# The edge keeps a light colour from being lost, in grey print too.
_PRINTED_BAND: Final = Markup(
    '<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="4.6" rx="1.6" fill="{colour}" fill-opacity="0.55"'
    ' stroke="{edge}" stroke-width="0.5"/>'
    '<rect x="{median:.1f}" y="{top:.1f}" width="1.8" height="4.6" fill="{edge}"/>'
)
_PRINTED_POINT: Final = Markup(
    '<circle cx="{at:.1f}" cy="{middle:.1f}" r="1.9" fill="{colour}" stroke="{edge}" stroke-width="0.5"/>'
)


def not_placed(feature: str, cell: CellAnalysis) -> str:
    """Why a feature of a cell has no sparkline, in a few words."""
    lacks_scale = CATALOGUE[feature].length_power and cell.image.um_per_px is None
    return cell.features.absent.get(feature) or (
        "give µm per pixel to compare" if lacks_scale else "nothing to compare with"
    )


def sparkline_html(feature: str, places: Sequence[_Place]) -> Markup:
    """One line per population on a common axis in the feature's own unit: band 2-98 %, tick at the median.

    Small groups are points; the cell is the vertical line through all of them. Populations the cell cannot be compared
    with are left out; without any, the text is empty. Text and cell take the page's own colour; hover texts say what
    each line is.
    """
    kept = _kept(places)
    if not kept:
        return Markup()
    at = _axis(kept)
    return _STRIP.format(
        cell=_of_this_cell(feature, kept[0][1]),
        lines=Markup().join(_line(reference, c, at) for reference, c in kept),
        ticks=_numbers(feature, kept, at),
        at=at(kept[0][1].value or 0.0),
    )


def _numbers(feature: str, kept: Sequence[_Place], at: Callable[[float], float]) -> Markup:
    spec = CATALOGUE[feature]
    ticks = _ticks(*(spec.shown(end) for end in _ends(kept)))
    return Markup().join(_TICK.format(at=at(tick / spec.display_factor), number=f"{tick:g}") for tick in ticks)


def _ticks(low: float, high: float) -> list[float]:
    """One to four round numbers between two numbers, as steps of 1, 2 or 5 and their tens and tenths give them."""
    if high <= low:
        return [float(f"{low:.3g}")]
    ten = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    steps = (ten * by for by in (1, 2, 5, 10, 20))
    step = next(each for each in steps if math.floor(high / each) - math.ceil(low / each) < _TICKS)
    return [float(f"{n * step:.6g}") for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def sparkline_svg(feature: str, places: Sequence[_Place]) -> Markup:
    """`sparkline_html` for paper: an SVG of black on white with the 2-98 % range of each population in numbers."""
    kept = _kept(places)
    if not kept:
        return Markup()
    spec, share = CATALOGUE[feature], _axis(kept)

    def at(value: float) -> float:
        return _NAMES + _MARKS * share(value) / 100

    lines = Markup()
    for row, (reference, comparison) in enumerate(kept):
        top, colour, band = _ROW * row + 1.7, population_colour(reference.cell_type), _band(comparison)
        edge = edge_colour(colour)
        if band is not None:
            p2, p50, p98 = map(at, band)
            marks = _PRINTED_BAND.format(left=p2, width=p98 - p2, median=p50 - 0.9, top=top, colour=colour, edge=edge)
            said = " \u2013 ".join(number(spec.shown(value)) for value in (band[0], band[2]))
        else:
            marks = Markup().join(
                _PRINTED_POINT.format(at=at(v), middle=top + 2.3, colour=colour, edge=edge)
                for v in _edges(reference, comparison)
            )
            said = f"n = {reference.n}"
        lines += _PRINTED_LINE.format(
            name=CELL_TYPES[reference.cell_type].short,
            marks=marks,
            said=said,
            base=top + 4.6,
            right=_NAMES + _MARKS + 4,
        )
    return _PRINTED.format(
        cell=_of_this_cell(feature, kept[0][1]),
        lines=lines,
        at=at(kept[0][1].value or 0.0),
        width=_NAMES + _MARKS + _NUMBERS,
        height=_ROW * len(kept),
        letters=_LETTERS,
    )


def _kept(places: Sequence[_Place]) -> list[_Place]:
    return [(reference, c) for reference, c in places if c.comparable and c.value is not None and c.summary is not None]


def _of_this_cell(feature: str, comparison: FeatureComparison) -> str:
    spec = CATALOGUE[feature]
    return f"{spec.label} of this cell: {with_unit(spec, comparison.value, comparison.basis)}"


def _ends(kept: Sequence[_Place]) -> tuple[float, float]:
    """The least and the largest of what is drawn."""
    edges = [kept[0][1].value or 0.0, *(edge for reference, c in kept for edge in _edges(reference, c))]
    return min(edges), max(edges)


def _axis(kept: Sequence[_Place]) -> Callable[[float], float]:
    """Where a value lies on the common axis of the populations and the cell, in per cent of its length."""
    low, high = _ends(kept)
    room = (high - low or 1.0) * _MARGIN
    return lambda value: 100 * (value - low + room) / (high - low + 2 * room)


def _band(comparison: FeatureComparison) -> tuple[float, float, float] | None:
    summary = comparison.summary
    if summary is None or summary.p2 is None or summary.p50 is None or summary.p98 is None:
        return None
    return summary.p2, summary.p50, summary.p98


def _edges(reference: ReferencePopulation, comparison: FeatureComparison) -> list[float]:
    if (band := _band(comparison)) is not None:
        return [band[0], band[2]]
    return [float(v) for v in reference.ordered.get(comparison.feature, ())]


def _line(reference: ReferencePopulation, comparison: FeatureComparison, at: Callable[[float], float]) -> Markup:
    spec, basis = CATALOGUE[comparison.feature], comparison.basis
    colour = population_colour(reference.cell_type)
    hint = f"{reference.title}: {who(reference)}"
    if (band := _band(comparison)) is not None:
        p2, p50, p98 = (with_unit(spec, value, basis) for value in band)
        hint += f"; 2-98 %: {p2} to {p98}, median {p50}"
        left, median, right = map(at, band)
        marks = _BAND.format(left=left, width=right - left, median=median, colour=colour)
    else:
        marks = Markup().join(_POINT.format(at=at(v), colour=colour) for v in _edges(reference, comparison))
    return _LINE.format(hint=hint, name=CELL_TYPES[reference.cell_type].short, marks=marks)
