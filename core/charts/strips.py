"""A tiny strip per measure: where the cell lies among the populations, small enough to stand beside the number.

HTML with inline styles rather than SVG: it takes the width it is given, and its text keeps the page's size.
"""

import html
from collections.abc import Callable, Sequence

from core.charts.labels import who, with_unit
from core.charts.theme import population_colour
from core.domain.cell_types import CELL_TYPES
from core.features.catalogue import CATALOGUE
from core.populations.comparison import FeatureComparison
from core.populations.summaries import ReferencePopulation

_LINE_PX = 13
_LABEL_PX = 60
_MARGIN = 0.04


def strip_html(feature: str, places: Sequence[tuple[ReferencePopulation, FeatureComparison]]) -> str:
    """One line per population on a common axis in the feature's own unit.

    Band 2-98 %, tick at the median, points for small groups.

    The cell is the upright line through all of them. Populations the cell cannot be compared with are left out; without
    any, the text is empty. Text and cell take the page's own colour; hover texts say what each line is.
    """
    spec = CATALOGUE[feature]
    kept = [(reference, c) for reference, c in places if c.comparable and c.value is not None and c.summary is not None]
    if not kept:
        return ""
    value, basis = kept[0][1].value or 0.0, kept[0][1].basis
    edges = [value, *(edge for reference, c in kept for edge in _edges(reference, c))]
    low, high = min(edges), max(edges)
    room = (high - low or 1.0) * _MARGIN

    def at(number: float) -> float:
        return 100 * (number - low + room) / (high - low + 2 * room)

    lines = "".join(_line(reference, c, at) for reference, c in kept)
    this = html.escape(f"{spec.label} of this cell: {with_unit(spec, value, basis)}", quote=True)
    cell = (
        f'<div style="position:absolute;left:{_LABEL_PX}px;right:0;top:0;bottom:0;pointer-events:none"><div'
        f' title="{this}" style="position:absolute;left:calc({at(value):.1f}% -'
        ' 1px);width:2px;top:0;bottom:0;background:currentColor"></div></div>'
    )
    return f'<div style="position:relative;max-width:460px" role="img" aria-label="{this}">{lines}{cell}</div>'


def _edges(reference: ReferencePopulation, comparison: FeatureComparison) -> list[float]:
    summary = comparison.summary
    if summary is not None and summary.p2 is not None and summary.p98 is not None:
        return [summary.p2, summary.p98]
    return [float(v) for v in reference.ordered.get(comparison.feature, ())]


def _line(reference: ReferencePopulation, comparison: FeatureComparison, at: Callable[[float], float]) -> str:
    spec, summary, basis = CATALOGUE[comparison.feature], comparison.summary, comparison.basis
    colour = population_colour(reference.cell_type)
    hint = f"{reference.title}: {who(reference)}"
    if summary is not None and summary.p2 is not None and summary.p50 is not None and summary.p98 is not None:
        p2, p50, p98 = (with_unit(spec, p, basis) for p in (summary.p2, summary.p50, summary.p98))
        hint += f"; 2-98 %: {p2} to {p98}, median {p50}"
        left, width = at(summary.p2), at(summary.p98) - at(summary.p2)
        marks = (
            f'<span style="position:absolute;left:{left:.1f}%;width:{width:.1f}%;top:3px;height:7px;border-radius:4px;'
            f'background:{colour};opacity:.5"></span>'
            f'<span style="position:absolute;left:calc({at(summary.p50):.1f}% - 1px);width:2.5px;top:2px;height:9px;'
            f'background:color-mix(in srgb,{colour} 60%,currentColor)"></span>'
        )
    else:
        marks = "".join(
            f'<span style="position:absolute;left:calc({at(v):.1f}% -'
            f' 3px);width:6px;top:3px;height:6px;border-radius:50%;background:{colour}"></span>'
            for v in _edges(reference, comparison)
        )
    name = html.escape(CELL_TYPES[reference.cell_type].short)
    return (
        f'<div title="{html.escape(hint, quote=True)}"'
        f' style="display:flex;height:{_LINE_PX}px;align-items:center"><span'
        f' style="width:{_LABEL_PX - 6}px;padding-right:6px;text-align:right;font-size:11px;line-height:1;opacity:.8">{name}</span><span'
        f' style="position:relative;flex:1;height:{_LINE_PX}px">{marks}</span></div>'
    )
