"""Outline and structure: what a haematologist names beyond pyradiomics - lobes, indentation, projections, vacuoles, granules."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from core.features.spec import FeatureClass, FeatureRow, Region

# By class: the regions it is measured in, and its rows.
STRUCTURES: Final[Mapping[FeatureClass, tuple[tuple[Region, ...], tuple[FeatureRow, ...]]]] = MappingProxyType({})

# What sets nucleus and cell in relation without being a ratio of two catalogued features.
COMBINED: Final[tuple[FeatureRow, ...]] = ()
