"""Image and label map -> every feature of the catalogue, or the reason why one is absent."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import ImageError, MaskError
from core.domain.options import FeatureEngine
from core.domain.types import FeatureSet, LabelMap
from core.features import reference
from core.features.catalogue import CATALOGUE, CELL_REGIONS
from core.features.channels import BIN_WIDTH, Channel, planes
from core.features.contour import contour
from core.features.first_order import first_order
from core.features.lobes import lobes
from core.features.position import position
from core.features.projections import projections
from core.features.shape import shape_2d
from core.features.spec import FeatureClass, FeatureSpec, Region
from core.features.spots import granularity, vacuoles
from core.features.texture import UNDEFINED, Levels, discretise, glcm, gldm, glrlm, glszm, ngtdm
from core.image.masks import cell_mask, region_mask
from core.image.morphology import bounds

_REGIONS: Final = tuple(region for region in Region if region is not Region.COMBINED)

# At the highest magnification in use (0.03 um per pixel) a cell of 20 um is 670 px across. Beyond 1,600 px every value
# costs seconds and gigabytes, and what is so large is no cell, but a field or a black picture.
MAX_CELL_PX: Final = 2_000_000
# The box around all that is labelled, with its environment; planes of numbers are made of the whole of it.
MAX_BOX_PX: Final = 6_000_000

# What a family found: values by feature name, or, in place of a value, the reason why there is none.
Measured = Mapping[str, float | str]
# A family measures one region of a cell.
Family = Callable[["Cell", Region], Measured]


@dataclass(frozen=True, eq=False)
class Cell:
    """What is measured: label map and channels, (H, W) each, cut to the cell and its environment."""

    labels: LabelMap
    channels: Mapping[Channel, NDArray[np.float64]]

    @cached_property
    def masks(self) -> Mapping[Region, NDArray[np.bool_]]:
        """Where each region is, bool (H, W)."""
        return {region: region_mask(self.labels, region) for region in _REGIONS}

    @cached_property
    def levels(self) -> Mapping[Region, Levels]:
        """Grey levels of each region whose texture is measured."""
        plane, masks = self.channels[Channel.GREY], self.masks
        return {
            region: discretise(plane, masks[region], BIN_WIDTH[Channel.GREY])
            for region in CELL_REGIONS
            if masks[region].any()
        }


def _on_channel(channel: Channel) -> Family:
    def measure(cell: Cell, region: Region) -> Measured:
        return first_order(cell.channels[channel], cell.masks[region], BIN_WIDTH[channel])

    return measure


def _reference_on_channel(channel: Channel) -> Family:
    def measure(cell: Cell, region: Region) -> Measured:
        return reference.measure(
            FeatureClass.FIRST_ORDER, cell.channels[channel], cell.masks[region], bin_width=BIN_WIDTH[channel]
        )

    return measure


def _reference_on_grey(feature_class: FeatureClass) -> Family:
    def measure(cell: Cell, region: Region) -> Measured:
        values = reference.measure(feature_class, cell.channels[Channel.GREY], cell.masks[region])
        return {name: UNDEFINED if math.isnan(value) else value for name, value in values.items()}

    return measure


def _on_levels(describe: Callable[[Levels], Measured]) -> Family:
    def measure(cell: Cell, region: Region) -> Measured:
        return describe(cell.levels[region])

    return measure


_TEXTURES: Final = MappingProxyType(
    {
        FeatureClass.GLCM: _on_levels(glcm),
        FeatureClass.GLRLM: _on_levels(glrlm),
        FeatureClass.GLSZM: _on_levels(glszm),
        FeatureClass.GLDM: _on_levels(gldm),
        FeatureClass.NGTDM: _on_levels(ngtdm),
    }
)


def _projections(cell: Cell, _: Region) -> Measured:
    masks = cell.masks
    return projections(
        masks[Region.NUCLEUS], masks[Region.CYTOPLASM], masks[Region.ENVIRONMENT], cell.channels[Channel.HAEMATOXYLIN]
    )


def _vacuoles(cell: Cell, _: Region) -> Measured:
    masks = cell.masks
    return vacuoles(
        masks[Region.NUCLEUS],
        masks[Region.CYTOPLASM],
        masks[Region.ENVIRONMENT],
        cell.channels[Channel.OPTICAL_DENSITY],
    )


_STRUCTURES: Final[Mapping[FeatureClass, Family]] = MappingProxyType(
    {
        # What sets nucleus and cell in relation, and is no ratio of two features.
        FeatureClass.RATIO: lambda cell, _: position(cell.masks[Region.NUCLEUS], cell.masks[Region.CELL]),
        FeatureClass.CONTOUR: lambda cell, region: contour(cell.masks[region]),
        FeatureClass.LOBES: lambda cell, region: lobes(cell.masks[region]),
        FeatureClass.PROJECTIONS: _projections,
        FeatureClass.VACUOLES: _vacuoles,
        FeatureClass.GRANULARITY: lambda cell, region: granularity(
            cell.masks[region], cell.masks[Region.CELL], cell.channels[Channel.OPTICAL_DENSITY]
        ),
    }
)

# The order of the catalogue does not matter here; a class without a family would fail the first test.
_FAST: Final[Mapping[FeatureClass, Family]] = MappingProxyType(
    {
        FeatureClass.SHAPE_2D: lambda cell, region: shape_2d(cell.masks[region]),
        **_STRUCTURES,
        **{FeatureClass(channel): _on_channel(channel) for channel in Channel},
        **_TEXTURES,
    }
)
_FAMILIES: Final[Mapping[FeatureEngine, Mapping[FeatureClass, Family]]] = MappingProxyType(
    {
        FeatureEngine.FAST: _FAST,
        FeatureEngine.REFERENCE: {
            **_FAST,
            **{
                feature_class: _reference_on_grey(feature_class)
                for feature_class in (FeatureClass.SHAPE_2D, *_TEXTURES)
            },
            **{FeatureClass(channel): _reference_on_channel(channel) for channel in Channel},
        },
    }
)

_Classes = Mapping[FeatureClass, tuple[FeatureSpec, ...]]


def _by_region() -> Mapping[Region, _Classes]:
    """The catalogue's features that are measured, not divided, by region and class."""
    by_region: dict[Region, dict[FeatureClass, tuple[FeatureSpec, ...]]] = {}
    for spec in CATALOGUE.values():
        if not spec.ratio_of:
            classes = by_region.setdefault(spec.region, {})
            classes[spec.feature_class] = (*classes.get(spec.feature_class, ()), spec)
    return by_region


_MEASURED: Final = _by_region()
_RATIOS: Final = {name: spec.ratio_of for name, spec in CATALOGUE.items() if spec.ratio_of}
# The plane that a class is measured in, where that is one of the channels.
_CHANNELS: Final = {
    **{FeatureClass(channel): channel for channel in Channel},
    FeatureClass.PROJECTIONS: Channel.HAEMATOXYLIN,
}


def extract(
    image: NDArray[np.uint8] | NDArray[np.float64], labels: LabelMap, engine: FeatureEngine = FeatureEngine.FAST
) -> FeatureSet:
    """Measure all features of one cell.

    Parameters
    ----------
    image
        uint8 (H, W, 3) in colour; or grey (H, W), uint8 or float64 from 0 = black to 255 = white, which has no features
        of colour.
    labels
        Label map of the same height and width. Only its pixels that are not background are measured.
    engine
        `FeatureEngine.REFERENCE` asks pyradiomics itself for whatever it can measure, which is many times slower; the
        values agree to 1e-9.

    Returns
    -------
    FeatureSet
        Exactly the names of the catalogue, in its order, in pixels. A region that is missing, or whose pixels all lie
        on one line, has no values but a reason; so have the ratios that need it.

    Raises
    ------
    ImageError
        If the image is neither colour nor grey as above, holds values outside 0 to 255, or what is labelled is larger
        than a cell can be.
    MaskError
        If the label map's shape differs from the image's.
    """
    engine.check_installed()
    _check(image, labels)
    within = bounds(labels > 0) if labels.any() else (slice(0, 0), slice(0, 0))
    _check_size(labels, within)
    cell = Cell(LabelMap(labels[within]), planes(image[within]))

    values: dict[str, float] = {}
    absent: dict[str, str] = {}
    for region, classes in _MEASURED.items():
        obstacle = _obstacle(cell, region)
        for feature_class, specs in classes.items():
            reason = obstacle or (
                None if _CHANNELS.get(feature_class, Channel.GREY) in cell.channels else "the image is grey"
            )
            measured = {} if reason else _FAMILIES[engine][feature_class](cell, region)
            for spec in specs:
                value = reason or measured[spec.feature]
                if isinstance(value, str):
                    absent[spec.name] = value
                else:
                    values[spec.name] = value

    for name, (numerator, denominators) in _RATIOS.items():
        missing = [absent[part] for part in (numerator, *denominators) if part in absent]
        if missing:
            absent[name] = " and ".join(dict.fromkeys(missing))
        else:
            # Never a division by zero: no shape value is 0 unless the region is a line.
            values[name] = values[numerator] / sum(values[part] for part in denominators)

    return FeatureSet(
        {name: values.get(name) for name in CATALOGUE}, {name: absent[name] for name in CATALOGUE if name in absent}
    )


def _check(image: NDArray[np.uint8] | NDArray[np.float64], labels: LabelMap) -> None:
    colour = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not colour and not (image.ndim == 2 and image.dtype in (np.uint8, np.float64)):
        msg = (
            "features are measured on a uint8 colour image (H, W, 3) or a grey image (H, W), uint8 or float64, "
            f"but it is {image.dtype} with shape {image.shape}; convert it first"
        )
        raise ImageError(msg)
    if image.shape[:2] != labels.shape:
        msg = (
            f"image and label map must have the same shape, but have {image.shape[:2]} and {labels.shape}; give the"
            " mask of this image"
        )
        raise MaskError(msg)
    # Written so that a value that is not a number fails as well. The width of the grey-level bins assumes this range.
    if image.size and not (image.min() >= 0 and image.max() <= 255):
        msg = (
            f"grey values must lie between 0 and 255, but range from {image.min()} to {image.max()}; scale the image"
            " first"
        )
        raise ImageError(msg)


def _check_size(labels: LabelMap, within: tuple[slice, slice]) -> None:
    area = np.count_nonzero(cell_mask(labels))
    if area > MAX_CELL_PX:
        msg = (
            f"expected a cell of at most {MAX_CELL_PX:,} pixels, but it covers {area:,}: no magnification shows a"
            " leukocyte that large; scale the image down, or cut out the cell"
        )
        raise ImageError(msg)
    height, width = (at.stop - at.start for at in within)
    if height * width > MAX_BOX_PX:
        msg = (
            f"expected the outline of one cell, but what is drawn spans {width} x {height} pixels; draw one cell,"
            " without strokes far from it"
        )
        raise ImageError(msg)


def _obstacle(cell: Cell, region: Region) -> str | None:
    """Why the region cannot be measured, in words; pixels on a line, also a diagonal, have no minor axis."""
    if region is Region.COMBINED:
        reasons = [_obstacle(cell, part) for part in (Region.NUCLEUS, Region.CELL)]
        return next((reason for reason in reasons if reason), None)
    mask = cell.masks[region]
    if np.count_nonzero(mask) > max(mask.shape):
        return None  # no line has room for so many
    positions = np.argwhere(mask)
    if not len(positions):
        return f"no {region} was found"
    if len(positions) == 1:
        return f"the {region} is a single pixel"
    steps = positions - positions[0]
    if np.all(steps[:, 0] * steps[-1, 1] == steps[:, 1] * steps[-1, 0]):
        return f"the {region} is a single pixel wide"
    return None
