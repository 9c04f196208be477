"""The planes in which tone is measured: grey, optical density, the two dyes of a Romanowsky stain, hue and saturation.

Optical density is decadic, as in spectrophotometry: 1 where a tenth of the light passes. (Where nuclei are looked for,
`core.image.stain` counts in natural absorbance, which is ln 10 = 2.3 times as large.)

The dyes are separated by colour deconvolution (Ruifrok and Johnston 2001, Anal Quant Cytol Histol 23:291): optical
densities add up, so a pixel's density in red, green and blue is a sum of the dyes' own directions. The directions are
those published for Giemsa in G. Landini's Colour Deconvolution: the basic dye (methylene blue and its azures), which
like haematoxylin goes to nucleic acids and basophilic cytoplasm, and eosin, which goes to acidophilic granules and
haemoglobin. What neither explains is the residual, along their normal.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.image.imaging import grey


class Channel(StrEnum):
    """A plane of an image, named as the feature class of its first-order features."""

    GREY = "firstorder"
    OPTICAL_DENSITY = "od"
    HAEMATOXYLIN = "haematoxylin"
    EOSIN = "eosin"
    HUE = "hue"
    SATURATION = "saturation"


# Width of a bin for Entropy and Uniformity (and, in grey, texture), in the channel's own unit. Values computed with
# another width cannot be compared with those in a cohort. Grey: pyradiomics' default. The others give as many bins over
# what stained cells show; powers of two, so that the edges are exact.
BIN_WIDTH: Final[Mapping[Channel, float]] = MappingProxyType(
    {
        Channel.GREY: 25.0,
        Channel.OPTICAL_DENSITY: 0.0625,
        Channel.HAEMATOXYLIN: 0.0625,
        Channel.EOSIN: 0.0625,
        Channel.HUE: 8.0,
        Channel.SATURATION: 8.0,
    }
)

# Optical density in red, green and blue of the basic dye and of eosin: "Giemsa" of the Colour Deconvolution plug-in.
BASIC_DYE: Final = np.array([0.834750233, 0.513556283, 0.196330403])
EOSIN: Final = np.array([0.092789, 0.954111, 0.283111])

# Hue is a circle, and mean and spread need a line: it is cut at green, which no Romanowsky stain shows, and runs from
# there over blue (240), violet (270) and red (360) to yellow (420).
HUE_CUT: Final = 120.0


def planes(image: NDArray[np.uint8] | NDArray[np.float64]) -> dict[Channel, NDArray[np.float64]]:
    """Every channel of an image, float64 (H, W) each.

    Parameters
    ----------
    image
        uint8 (H, W, 3) red, green, blue; or grey (H, W), which has no colour and so gives only grey and optical
        density.

    Returns
    -------
    dict
        Grey 0 to 255; optical density, -log10((value + 1) / 256), mean of the three colours; the dyes in the same unit,
        negative where a pixel's colour lies beyond the other dye; hue in degrees, 120 to 480, not a number where a
        pixel is grey; saturation in per cent.
    """
    if image.ndim == 2:
        luma = image.astype(np.float64)
        return {Channel.GREY: luma, Channel.OPTICAL_DENSITY: -np.log10((luma + 1) / 256)}
    rgb = np.asarray(image, dtype=np.uint8)
    red, green, blue = (_DENSITY[rgb[..., colour]] for colour in range(3))
    basic, eosin = (of_red * red + of_green * green + of_blue * blue for of_red, of_green, of_blue in _UNMIXING.T[:2])
    hue, saturation = _hue_and_saturation(rgb)
    return {
        Channel.GREY: grey(rgb),
        Channel.OPTICAL_DENSITY: (red + green + blue) / 3,
        Channel.HAEMATOXYLIN: basic,
        Channel.EOSIN: eosin,
        Channel.HUE: hue,
        Channel.SATURATION: saturation,
    }


_DENSITY: Final = -np.log10((np.arange(256) + 1) / 256)


def _hue_and_saturation(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hue in degrees from `HUE_CUT`, nan in grey pixels, and saturation in per cent (Smith 1978); float64 (H, W)."""
    # What `skimage.color.rgb2hsv` computes, plane by plane, at a tenth of its time.
    red, green, blue = (rgb[..., colour].astype(np.float64) for colour in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    with np.errstate(invalid="ignore"):  # a grey pixel: 0 / 0
        towards_blue = np.where(value == green, 2 + (blue - red) / chroma, 4 + (red - green) / chroma)
        sixth = np.where(value == red, (green - blue) / chroma, towards_blue)
    saturation = np.divide(100 * chroma, value, out=np.zeros_like(value), where=value > 0)
    turned = 60 * sixth - HUE_CUT
    return np.where(turned < 0, turned + 360, turned) + HUE_CUT, saturation


def _unmixing() -> NDArray[np.float64]:
    """Columns that turn a pixel's density (red, green, blue) into basic dye, eosin and residual, (3, 3)."""
    dyes = np.stack([vector / np.linalg.norm(vector) for vector in (BASIC_DYE, EOSIN)])
    normal = np.cross(*dyes)
    return np.linalg.inv(np.vstack([dyes, normal / np.linalg.norm(normal)]))


_UNMIXING: Final = _unmixing()
