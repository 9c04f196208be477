"""Texture: pyradiomics' classes glcm, glrlm, glszm, gldm and ngtdm."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from core.features.spec import FeatureClass, FeatureRow

# How pages and reports call the class, and its rows.
TEXTURES: Final[Mapping[FeatureClass, tuple[str, tuple[FeatureRow, ...]]]] = MappingProxyType({})
