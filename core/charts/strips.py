"""A tiny strip per measure: where the cell lies among the populations, small enough to stand beside the number."""

import html
from collections.abc import Sequence

from core.cell_types import CELL_TYPES
from core.charts.labels import who, with_unit
from core.charts.theme import population_colour
from core.features.catalogue import CATALOGUE
from core.statistics import FeatureComparison, ReferencePopulation

_LINE_PX = 13
_LEFT_PX = 62
_WIDTH_PX = 300
_MARGIN = 0.06


def strip_svg(feature: str, places: Sequence[tuple[ReferencePopulation, FeatureComparison]]) -> str:
    """One line per population on a common axis in the feature's own unit: band 2-98 %, tick at the median, points for small groups.

    The cell is the upright line through all of them. Populations the cell cannot be compared with are left out; without any,
    the text is empty. Colours of text and cell follow the page (`currentColor`); hover texts say what each line is.
    """
    spec = CATALOGUE[feature]
    kept = [(reference, c) for reference, c in places if c.comparable and c.value is not None and c.summary is not None]
    if not kept:
        return ""
    value = kept[0][1].value or 0.0
    basis = kept[0][1].basis
    edges = [value]
    for reference, c in kept:
        summary = c.summary
        if summary is not None and summary.p2 is not None and summary.p98 is not None:
            edges += [summary.p2, summary.p98]
        else:
            edges += [float(v) for v in reference.ordered.get(feature, ())]
    low, high = min(edges), max(edges)
    room = (high - low or 1.0) * _MARGIN

    def x(at: float) -> float:
        return _LEFT_PX + 6 + (at - low + room) / (high - low + 2 * room) * (_WIDTH_PX - _LEFT_PX - 12)

    height = _LINE_PX * len(kept) + 4
    lines = []
    for index, (reference, c) in enumerate(kept):
        y = 2 + _LINE_PX * (index + 0.5)
        colour = population_colour(reference.cell_type)
        summary = c.summary
        hint = f"{reference.title}: {who(reference)}"
        at = f'x="{_LEFT_PX - 4}" y="{y + 3.5:.1f}" text-anchor="end" font-size="11" fill="currentColor" opacity="0.8"'
        marks = f"<text {at}>{html.escape(CELL_TYPES[reference.cell_type].short)}</text>"
        if summary is not None and summary.p2 is not None and summary.p50 is not None and summary.p98 is not None:
            p2, p50, p98 = (with_unit(spec, p, basis) for p in (summary.p2, summary.p50, summary.p98))
            hint += f"; 2-98 %: {p2} to {p98}, median {p50}"
            left, width = x(summary.p2), max(1.0, x(summary.p98) - x(summary.p2))
            marks += (
                f'<rect x="{left:.1f}" y="{y - 3:.1f}" width="{width:.1f}" height="6" rx="3" fill="{colour}" fill-opacity="0.45"/>'
                f'<rect x="{x(summary.p50) - 1:.1f}" y="{y - 4.5:.1f}" width="2" height="9" fill="{colour}"/>'
            )
        else:
            marks += "".join(
                f'<circle cx="{x(float(v)):.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for v in reference.ordered.get(feature, ())
            )
        lines.append(f"<g><title>{html.escape(hint)}</title>{marks}</g>")
    cell = (
        f"<g><title>{html.escape(spec.label)} of this cell: {with_unit(spec, value, basis)}</title>"
        f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="1" y2="{height - 1}" stroke="currentColor" stroke-width="2"/>'
        f'<circle cx="{x(value):.1f}" cy="3" r="3" fill="currentColor"/></g>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH_PX} {height}" width="100%" role="img" '
        f'aria-label="{html.escape(spec.label)} of this cell among the populations" font-family="inherit">{"".join(lines)}{cell}</svg>'
    )
