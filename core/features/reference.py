"""The reference engine: pyradiomics itself, the slow and trusted way. The only user of its extractor and of SimpleITK."""

import logging
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from core.features.first_order import BIN_WIDTH

if TYPE_CHECKING:
    from radiomics.featureextractor import RadiomicsFeatureExtractor

# On top of pyradiomics' defaults. `additionalInfo` would add versions and hashes, which take most of the time.
SETTINGS: Final = {"binWidth": BIN_WIDTH, "additionalInfo": False}


def family(feature_class: str) -> Callable[[NDArray[np.float64], NDArray[np.bool_]], dict[str, float]]:
    """Family of features that pyradiomics measures, called like those of the fast engine; see `measure`."""
    return lambda grey, mask: measure(feature_class, grey, mask)


def measure(feature_class: str, grey: NDArray[np.float64], mask: NDArray[np.bool_], pixel_size: float = 1.0) -> dict[str, float]:
    """Let `radiomics.featureextractor.RadiomicsFeatureExtractor` measure one class of features in two dimensions.

    Parameters
    ----------
    feature_class
        pyradiomics' name: `shape2D`, `firstorder`, ...
    grey
        float64 (H, W).
    mask
        bool (H, W), True in the region.
    pixel_size
        Side of a pixel; lengths come in its unit.

    Returns
    -------
    dict
        Values by pyradiomics' feature name, of every feature in the class that pyradiomics does not call deprecated.

    Raises
    ------
    ValueError
        pyradiomics refuses the region: it is empty, a single pixel, or a single pixel high or wide.
    """
    from SimpleITK import GetImageFromArray

    image, region = GetImageFromArray(grey), GetImageFromArray(mask.astype(np.uint8))
    for picture in (image, region):
        picture.SetSpacing((pixel_size, pixel_size))  # type: ignore[no-untyped-call]
    prefix = f"original_{feature_class}_"
    result = _extractor(feature_class).execute(image, region)
    return {key.removeprefix(prefix): float(value) for key, value in result.items() if key.startswith(prefix)}


@cache
def _extractor(feature_class: str) -> "RadiomicsFeatureExtractor":
    """Extractor of one class; pyradiomics then logs nothing below an error."""
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    extractor = RadiomicsFeatureExtractor(**SETTINGS)
    extractor.disableAllFeatures()
    extractor.enableFeatureClassByName(feature_class)
    return extractor
