"""The reference engine: pyradiomics itself, slow and trusted. The only user of its extractor and of SimpleITK."""

import logging
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from core.features.channels import BIN_WIDTH, Channel

if TYPE_CHECKING:
    from radiomics.featureextractor import RadiomicsFeatureExtractor

GREY_BIN_WIDTH: Final = BIN_WIDTH[Channel.GREY]


def measure(
    feature_class: str,
    plane: NDArray[np.float64],
    mask: NDArray[np.bool_],
    pixel_size: float = 1.0,
    bin_width: float = GREY_BIN_WIDTH,
) -> dict[str, float]:
    """Let `radiomics.featureextractor.RadiomicsFeatureExtractor` measure one class of features in two dimensions.

    Parameters
    ----------
    feature_class
        pyradiomics' name: `shape2D`, `firstorder`, ...
    plane
        float64 (H, W); pixels that are not a number are taken out of the mask.
    mask
        bool (H, W), True in the region.
    pixel_size
        Side of a pixel; lengths come in its unit.
    bin_width
        Width of the bins of Entropy, Uniformity and texture, in the unit of the plane.

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

    known = ~np.isnan(plane)
    image, region = GetImageFromArray(np.where(known, plane, 0.0)), GetImageFromArray((mask & known).astype(np.uint8))
    for picture in (image, region):
        picture.SetSpacing((pixel_size, pixel_size))  # type: ignore[no-untyped-call]
    prefix = f"original_{feature_class}_"
    result = _extractor(feature_class, bin_width).execute(image, region)
    return {key.removeprefix(prefix): float(value) for key, value in result.items() if key.startswith(prefix)}


@cache
def _extractor(feature_class: str, bin_width: float) -> "RadiomicsFeatureExtractor":
    """Extractor of one class; pyradiomics then logs nothing below an error."""
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    # On top of pyradiomics' defaults. `additionalInfo` would add versions and hashes, which take most of the time.
    extractor = RadiomicsFeatureExtractor(binWidth=bin_width, additionalInfo=False)
    extractor.disableAllFeatures()
    extractor.enableFeatureClassByName(feature_class)
    return extractor
