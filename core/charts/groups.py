"""How a chart names and draws a group of cells: a name with its n, and a colour, a dash and a shape of its own.

No group is told by colour alone: the dashes of lines and the shapes of points differ for eight groups, and for more
than eight every pair of colour and dash is still unique.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from core.charts.theme import DARK, Look, edge_colour, population_colour
from core.domain.cell_types import CellType

# Okabe and Ito's colours that read on white and on black alike, then two of ColorBrewer's Dark2.
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#A6761D", "#7570B3")
DASHES: Final = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (14, 4), (4, 2, 1, 2, 1, 2), (1, 3), (5, 5))
SHAPES: Final = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)


@dataclass(frozen=True)
class DrawnGroup:
    """A named set of `n` cells; `patients` is None unless all are known. `shape` is one of Vega's symbols."""

    name: str
    n: int
    patients: int | None
    colour: str
    dash: tuple[int, ...]
    shape: str

    @property
    def title(self) -> str:
        """Name with its n, as it stands on axes and in legends."""
        return f"{self.name} (n = {self.n:,})"

    @property
    def who(self) -> str:
        """How many cells of how many patients."""
        cells = f"n = {self.n:,} cell{'s' * (self.n != 1)}"
        return f"{cells}, " + (
            "patients not all known"
            if self.patients is None
            else f"{self.patients} patient{'s' * (self.patients != 1)}"
        )

    def line(self, look: Look) -> str:
        """Colour of its lines and edges; darker on a light page, because light colours are lost on white."""
        return self.colour if look == DARK else edge_colour(self.colour)


def styled(
    names: Sequence[str],
    n: Sequence[int],
    patients: Sequence[int | None],
    cell_types: Sequence[CellType | None] | None = None,
) -> tuple[DrawnGroup, ...]:
    """Groups in order, each with a colour, a dash and a shape.

    A group of one cell type has that type's colour, in another shade for its second and later groups, and always the
    same dash and shape, where they are free. Other groups, and all where `cell_types` is None, have the colours of
    `PALETTE` that no cell type here has taken.
    """
    kinds = [None] * len(names) if cell_types is None else list(cell_types)
    taken = {population_colour(kind) for kind in kinds if kind is not None}
    free = [colour for colour in PALETTE if colour not in taken] or list(PALETTE)
    seen: dict[CellType | None, int] = {}
    drawn: list[DrawnGroup] = []
    for i, (name, count, known, kind) in enumerate(zip(names, n, patients, kinds, strict=True)):
        index = seen.get(kind, 0)
        seen[kind] = index + 1
        colour = free[index % len(free)] if kind is None else population_colour(kind, index)
        turn = _turn(i, kind if not index else None, {group.shape for group in drawn})
        drawn.append(DrawnGroup(name, count, known, colour, DASHES[turn], SHAPES[turn]))
    return tuple(drawn)


def _turn(place: int, kind: CellType | None, taken: Collection[str]) -> int:
    """Which dash and shape a group has: its cell type's if free, else the first free one; after eight they repeat."""
    free = [i for i in range(len(SHAPES)) if SHAPES[i] not in taken]
    own = list(CellType).index(kind) % len(SHAPES) if kind is not None else -1
    if own in free:
        return own
    return free[0] if free else (place + place // len(SHAPES)) % len(SHAPES)
