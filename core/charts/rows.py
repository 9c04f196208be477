"""Which of the hundreds of features a chart shows, in which order and under which headings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from core.charts.trust import Reliability, is_poor, poor_last
from core.features.catalogue import CATALOGUE
from core.features.spec import FeatureSpec, Region, Theme

MOST_ROWS: Final = 40  # two columns of 20: what a laptop shows at once
_FEW_ROWS: Final = 10
POOR_HEADING: Final = "Poor: do not rely on these"

REGION_WORDS: Final[Mapping[Region, str]] = {
    Region.NUCLEUS: "Nucleus",
    Region.CYTOPLASM: "Cytoplasm",
    Region.CELL: "Whole cell",
    Region.ENVIRONMENT: "Surroundings",
    Region.COMBINED: "Nucleus in the cell",
}

# Printed in the thesis: its regions and classes, without what pyradiomics adds of the same quantity.
_THESIS_GROUPS: Final = ("Nucleus shape", "Cytoplasm shape", "Combined", "Nucleus tone", "Cytoplasm tone")
_NOT_IN_THESIS: Final = ("MeshSurface", "TotalEnergy")


class Block(NamedTuple):
    """A heading and the features below it."""

    heading: str
    features: tuple[str, ...]


def in_thesis(spec: FeatureSpec) -> bool:
    """Whether the thesis has the feature in its charts."""
    return spec.group in _THESIS_GROUPS and spec.feature not in _NOT_IN_THESIS


def themes() -> list[Theme]:
    """Themes that have features, in the order of the pages."""
    return [theme for theme in Theme if any(spec.theme is theme for spec in CATALOGUE.values())]


def regions(theme: Theme) -> list[Region]:
    """Regions to choose from within a theme, in catalogue order; none if the whole theme can be read at once."""
    of_features = [spec.region for spec in CATALOGUE.values() if spec.theme is theme]
    return list(dict.fromkeys(of_features)) if len(of_features) > MOST_ROWS else []


def part(theme: Theme, region: Region | None = None) -> list[str]:
    """Features of a theme, of all its regions or of one, in catalogue order."""
    return [name for name, spec in CATALOGUE.items() if spec.theme is theme and region in (None, spec.region)]


def leading(
    features: Iterable[str], distance: Mapping[str, float], reliability: Reliability, most: int = MOST_ROWS
) -> list[str]:
    """At most `most` features to draw, in the order given: those of largest `distance`, known poor ones last.

    A feature without a distance is the last to be chosen.
    """
    names = list(features)
    ranked = sorted(names, key=lambda name: (is_poor(name, reliability), -distance.get(name, -1.0)))
    chosen = set(ranked[:most])
    return [name for name in names if name in chosen]


def blocks(features: Iterable[str], reliability: Reliability) -> list[Block]:
    """Features under their groups' headings, the poor ones together at the end."""
    grouped: dict[str, list[str]] = {}
    for name in poor_last(features, reliability):
        grouped.setdefault(POOR_HEADING if is_poor(name, reliability) else CATALOGUE[name].group, []).append(name)
    return [Block(heading, tuple(members)) for heading, members in grouped.items()]


def halves(blocks: Sequence[Block]) -> list[list[Block]]:
    """Blocks in two columns of about the same height, few rows in one.

    A block longer than half of all continues in the second column.
    """
    height = sum(1 + len(block.features) for block in blocks)
    if height <= _FEW_ROWS:
        return [list(blocks)] if blocks else []
    left: list[Block] = []
    right: list[Block] = []
    used = 0
    for block in blocks:
        room = round(height / 2) - used - 1
        if right or room <= 1:
            right.append(block)
        elif len(block.features) <= room + 3:  # rather a column a little longer than a block cut short of its end
            left.append(block)
        else:
            left.append(Block(block.heading, block.features[:room]))
            right.append(Block(f"{block.heading} (continued)", block.features[room:]))
        used += 1 + len(block.features)
    return [column for column in (left, right) if column]
