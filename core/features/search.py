"""Search among hundreds of features by words, by theme, by region."""

from collections.abc import Collection
from typing import Final

from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.features.spec import FeatureSpec, Region, Theme


def _text(spec: FeatureSpec) -> str:
    return " ".join((spec.label, spec.group, spec.theme, spec.name, spec.description)).lower()


_TEXTS: Final = {name: _text(spec) for name, spec in CATALOGUE.items()}


def matching(words: str, theme: Theme | None = None, region: Region | None = None) -> list[str]:
    """Features of a theme and region (None: any) with every word in their name, label, heading or description."""
    wanted = words.lower().split()
    return [
        name
        for name, spec in CATALOGUE.items()
        if theme in (None, spec.theme)
        and region in (None, spec.region)
        and all(word in _TEXTS[name] for word in wanted)
    ]


# Sizes that order the reference cells as another does (Spearman 0.98 or more over 4,257 cells), and that other.
_SAME_SIZE: Final = {
    f"{region}_shape2D_{size}": f"{region}_shape2D_{same}"
    for region in (Region.NUCLEUS, Region.CELL)
    for size, same in (("MeshSurface", "PixelSurface"), ("MajorAxisLength", "MaximumDiameter"))
}


def for_choosing(names: Collection[str], keep: str | None = None) -> list[str]:
    """Features in the order of a list to choose from: the N:C ratio and areas first, one line for sizes that are alike.

    A size is left out where the one that says the same is among `names`, unless it is `keep`; a search finds both.
    """
    first = [name for name in KEY_FEATURES if name in names]
    left_out = {name for name, same in _SAME_SIZE.items() if same in names and name != keep}
    return [*first, *(name for name in names if name not in first and name not in left_out)]
