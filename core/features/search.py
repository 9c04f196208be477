"""Search among hundreds of features by words, by theme, by region."""

from typing import Final

from core.features.catalogue import CATALOGUE
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
