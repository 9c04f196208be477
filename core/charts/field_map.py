"""A map of a field: its cells by type and quality, with a legend, as SVG."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import escape

from core.charts.overlay import field_ground, moved, path_of
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.types import BoundingBox, CellImage, LabelMap
from core.image.masks import outlines
from core.support.text import shown

_NOT_SAID: Final = ("Type not said", "#5f6b7a")
# Flagged cells are told by more than a colour: a broken line and no filling.
_FLAGGED: Final = "flagged"
_LINE: Final = 0.004  # of the width
_LETTERS: Final = 0.022


@dataclass(frozen=True, eq=False)
class MappedCell:
    """A cell of a map: its number, its `labels` at `place`, its type where that is known, and whether it is good."""

    number: int
    place: BoundingBox
    labels: LabelMap
    kind: CellType | None = None
    good: bool = True


def field_map_svg(field: CellImage, cells: Sequence[MappedCell]) -> str:
    """The field, paler, with every cell in the colour of its type, flagged ones with a broken line, and a legend.

    The legend counts the cells of each type, and says how many of them are flagged. Names from outside are escaped.
    """
    height, width = field.shape
    letters, line = _LETTERS * width, _LINE * width
    kinds = Counter(_of(cell.kind) for cell in cells)
    flagged = Counter(_of(cell.kind) for cell in cells if not cell.good)
    body = f'<g opacity="0.45">{field_ground(field)}</g>' + "".join(_drawn(cell, line, letters) for cell in cells)
    rows = []
    for row, ((name, colour), count) in enumerate(sorted(kinds.items())):
        of_them = f", {flagged[name, colour]} {_FLAGGED}" if flagged[name, colour] else ""
        top = height + letters * (1 + 1.6 * row)
        rows.append(
            f'<rect x="{letters:.1f}" y="{top:.1f}" width="{letters:.1f}" height="{letters:.1f}" fill="{colour}"/>'
            f'<text x="{2.5 * letters:.1f}" y="{top + 0.85 * letters:.1f}" font-size="{letters:.1f}" fill="#1a1f26">'
            f"{escape(name)}: {count}{of_them}</text>"
        )
    broken = "broken line: flagged" if flagged else "no cell is flagged"
    bottom = height + letters * (1 + 1.6 * len(rows))
    legend = "".join(rows) + (
        f'<text x="{letters:.1f}" y="{bottom + 0.85 * letters:.1f}" font-size="{letters:.1f}" fill="#1a1f26">'
        f"{escape(shown(field.name))}, {broken}</text>"
    )
    whole = bottom + 2 * letters
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {whole:.1f}" font-family="sans-serif" role="img"'
        f' aria-label="{escape(shown(field.name))}: {len(cells)} cells by type and quality">'
        f'<rect width="{width}" height="{whole:.1f}" fill="#fff"/>{body}{legend}</svg>'
    )


def _of(kind: CellType | None) -> tuple[str, str]:
    return _NOT_SAID if kind is None else (CELL_TYPES[kind].name, CELL_TYPES[kind].colour)


def _drawn(cell: MappedCell, line: float, letters: float) -> str:
    """The cell and, darker, its nucleus, with its number in the middle of its cut-out."""
    _, colour = _of(cell.kind)
    whole, nucleus = (path_of(moved(outlines(cell.labels, region), cell.place)) for region in ("cell", "nucleus"))
    dash = "" if cell.good else f' stroke-dasharray="{3 * line:.1f} {2 * line:.1f}"'
    x, y = cell.place.left + cell.place.width / 2, cell.place.top + cell.place.height / 2 + letters / 3
    return (
        f'<g class="cell" data-cell="{cell.number}" data-good="{str(cell.good).lower()}" fill="{colour}"'
        f' fill-rule="evenodd"><path d="{whole}" fill-opacity="{0.35 if cell.good else 0:g}" stroke="{colour}"'
        f' stroke-width="{line:.2f}"{dash}/><path d="{nucleus}" fill-opacity="{0.55 if cell.good else 0.2:g}"/>'
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{letters:.1f}" font-weight="600" text-anchor="middle" fill="#fff"'
        f' stroke="#000" stroke-width="{letters / 6:.2f}" paint-order="stroke">{cell.number}</text></g>'
    )
