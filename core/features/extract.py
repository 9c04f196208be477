"""Grey image and label map -> every feature of the catalogue, or the reason why one is absent."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.compartments import Compartment
from core.errors import ImageError, MaskError
from core.features import reference
from core.features.catalogue import CATALOGUE, FeatureClass, Region
from core.features.first_order import first_order
from core.features.shape import shape_2d
from core.types import FeatureSet, LabelMap


class Engine(StrEnum):
    """Who computes: the same numbers in milliseconds, or pyradiomics' own extractor."""

    FAST = "fast"
    REFERENCE = "reference"


# A family measures one region: grey and mask, both (H, W) -> values by pyradiomics' feature name.
Family = Callable[[NDArray[np.float64], NDArray[np.bool_]], dict[str, float]]

_FAMILIES: Final[Mapping[FeatureClass, Family]] = MappingProxyType({FeatureClass.SHAPE_2D: shape_2d, FeatureClass.FIRST_ORDER: first_order})

_COMPARTMENTS: Final = MappingProxyType(
    {
        Region.NUCLEUS: (Compartment.NUCLEUS,),
        Region.CYTOPLASM: (Compartment.CYTOPLASM,),
        Region.CELL: (Compartment.NUCLEUS, Compartment.CYTOPLASM),
    }
)


def extract(grey: NDArray[np.float64], labels: LabelMap, engine: Engine = Engine.FAST) -> FeatureSet:
    """Measure all features of one cell.

    Parameters
    ----------
    grey
        float64 (H, W), 0 = black to 255 = white.
    labels
        Label map of the same shape.
    engine
        `Engine.REFERENCE` asks pyradiomics itself, which is many times slower; the values agree to 1e-9.

    Returns
    -------
    FeatureSet
        Exactly the names of the catalogue, in its order, in pixels. A region that is missing, or whose pixels all lie on one line,
        has no values but a reason; so have the ratios that need it.

    Raises
    ------
    ImageError
        The grey image is not float64 (H, W) between 0 and 255.
    MaskError
        The label map's shape differs from the image's.
    """
    _check(grey, labels)
    box = _cell_box(labels)
    grey, cell = grey[box], labels[box]

    values: dict[str, float] = {}
    absent: dict[str, str] = {}
    for region, compartments in _COMPARTMENTS.items():
        mask = np.isin(cell, compartments)
        specs = [spec for spec in CATALOGUE.values() if spec.region is region]
        reason = _obstacle(mask, region)
        if reason:
            absent |= {spec.name: reason for spec in specs}
            continue
        for feature_class in {spec.feature_class for spec in specs}:
            family = reference.family(feature_class) if engine is Engine.REFERENCE else _FAMILIES[feature_class]
            measured = family(grey, mask)
            values |= {spec.name: measured[spec.feature] for spec in specs if spec.feature_class is feature_class}

    for spec in CATALOGUE.values():
        if spec.ratio_of:
            numerator, denominators = spec.ratio_of
            missing = [absent[part] for part in (numerator, *denominators) if part in absent]
            if missing:
                absent[spec.name] = " and ".join(dict.fromkeys(missing))
            else:
                # Never a division by zero: no shape value is 0 unless the region is a line.
                values[spec.name] = values[numerator] / sum(values[part] for part in denominators)

    return FeatureSet({name: values.get(name) for name in CATALOGUE}, {name: absent[name] for name in CATALOGUE if name in absent})


def _check(grey: NDArray[np.float64], labels: LabelMap) -> None:
    if grey.dtype != np.float64 or grey.ndim != 2:
        # 8-bit greys would even be measured wrongly: the binning of pyradiomics wraps round at 255.
        msg = f"features are measured on a float64 grey image (H, W), but it is {grey.dtype} with shape {grey.shape}; convert it first"
        raise ImageError(msg)
    if grey.shape != labels.shape:
        msg = f"image and label map must have the same shape, but have {grey.shape} and {labels.shape}; give the mask of this image"
        raise MaskError(msg)
    # Written so that a value that is not a number fails as well. The width of the grey-level bins assumes this range.
    if grey.size and not (grey.min() >= 0 and grey.max() <= 255):
        msg = f"grey values must lie between 0 and 255, but range from {grey.min()} to {grey.max()}; scale the image first"
        raise ImageError(msg)


def _cell_box(labels: LabelMap) -> tuple[slice, slice]:
    """Rows and columns that hold nucleus or cytoplasm; empty if there are none."""
    cell = np.isin(labels, _COMPARTMENTS[Region.CELL])
    rows, columns = np.flatnonzero(cell.any(axis=1)), np.flatnonzero(cell.any(axis=0))
    if not rows.size:
        return slice(0), slice(0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _obstacle(mask: NDArray[np.bool_], region: Region) -> str | None:
    """Why the region cannot be measured, in words.

    pyradiomics refuses a row or a column of pixels; a diagonal is as much a line: its minor axis is nothing but rounding error.
    """
    positions = np.argwhere(mask)
    if not len(positions):
        return f"no {region} was found"
    if len(positions) == 1:
        return f"the {region} is a single pixel"
    steps = positions - positions[0]
    if np.all(steps[:, 0] * steps[-1, 1] == steps[:, 1] * steps[-1, 0]):
        return f"the {region} is a single pixel wide"
    return None
