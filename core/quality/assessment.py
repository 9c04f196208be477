"""Which quality flags a cell gets: the thresholds, without the words (`core.domain.flags`).

Confidence in the shipped cohort, cells of two laboratories the model never saw: median 0.96, 2nd to 98th percentile
0.89 to 0.98 (column `confidence` of `python -m core cohort export`). Blur over all drawn masks (median; 99th
percentile): 0.010; 0.015 of the cell's diameter in the CellaVision images of set 2, 0.028; 0.063 in the coarser ones of
set 1.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.flags import (
    DOUBTFUL_OUTLINE,
    GRANULOCYTE,
    SMUDGE_CELL,
    TOO_SMALL,
    UNLIKE_LEUKOCYTE,
    UNLIKE_TRAINING,
    raised,
)
from core.domain.objects import RED_CELL_UM, ObjectKind, red_cell_diameter
from core.domain.types import CellImage, FeatureSet, QualityFlag, Segmentation
from core.image.imaging import grey
from core.image.masks import cell_mask, region_mask
from core.image.morphology import bounds, dilated, eroded
from core.image.quantiles import BYTES, counted_median, counts
from core.image.stain import appearance, appearance_distance, nuclear_contrast
from core.quality.edge import MOST_MISSING, missing_share
from core.quality.novelty import Knowledge, Traits, traits
from core.quality.outline_quality import JudgedOutline

# Without a judge of outlines the network's own expectation says which are doubtful.
LOW_CONFIDENCE: Final = 0.85
_USUAL_CONFIDENCE: Final = 0.94
# Standard deviation of the blur as a share of the cell's diameter, so that it means the same at every magnification.
# From here on it exceeds nearly all of what the masked data hold.
BLURRED: Final = 0.06
# The further blur by which the present one is measured, as a share of the cell's diameter, and the half-width of the
# zone looked at.
_FURTHER_BLUR: Final = 0.02
_EDGE_ZONE_PX: Final = 2
# Share of the cell's pixels with all channels at 250 or more, or of the nucleus's with all at 5 or less.
CLIPPED_SHARE: Final = 0.15
DARK_BACKGROUND: Final = 90
# Nuclear dye in the nucleus over the surroundings. Measured: 0.8 or more in leukocytes of five sources, 0.5 or less in
# red cells.
MIN_NUCLEAR_CONTRAST: Final = 0.6
# A cell of some 23 px across; the smallest one drawn in the masked data is 49 px across.
SMALL_CELL_PX: Final = 400
# Diameter of the cell in red cells, below which leukocytes are hardly ever: beside red cells of a localiser 1 in 259
# of BCCD lies below it (8 below 0.95) and none of 134 of Acevedo et al., of whose crops of platelets 23 in 27 do.
MIN_RED_CELLS_ACROSS: Final = 0.85
# Diameters in micrometres outside of which the scale is wrong, or what was outlined no leukocyte by far.
POSSIBLE_UM: Final = (3.0, 60.0)
# Flags that hang on the scale given.
_OF_SCALE: Final = (TOO_SMALL, "scale_absurd", "scale_contradicted")


class KnownAppearance(Protocol):
    """What a model's card says of the stain that the model knows: all that is needed of a card here."""

    @property
    def appearance(self) -> Mapping[str, Any]:
        """Mean, covariance and limit of the optical densities of the training images; empty if not recorded."""
        ...


def assess(
    image: CellImage,
    segmentation: Segmentation,
    card: KnownAppearance,
    features: FeatureSet | None = None,
    knowledge: Knowledge | None = None,
    outline: JudgedOutline | None = None,
) -> tuple[QualityFlag, ...]:
    """All flags of a segmented image, the severe ones first; empty when there is nothing to say.

    What opening the image did to its numbers (`CellImage.flags`) is among them.

    Whether the cell is like those the model knows is judged from its features, where these and the model's `knowledge`
    are given. `outline` is what was thought of the outline; without it the network's confidence stands for it.
    """
    nucleus, cytoplasm = (region_mask(segmentation.labels, region) for region in ("nucleus", "cytoplasm"))
    cell = cell_mask(segmentation.labels)
    if not cell.any():
        return (raised("no_cell"), *image.flags)
    kind = _of_size(image, segmentation, cell) + _of_found(segmentation)
    if features and knowledge:
        known = {flag.code for flag in kind}
        of_traits = _of_traits(traits(features.values, segmentation.confidence), knowledge)
        kind += [flag for flag in of_traits if flag.code not in known]
    parts = _of_parts(nucleus, cytoplasm, cell, segmentation.other_cells)
    # The rest concerns the cell and what lies around it, not a whole field.
    around = _surroundings(cell)
    rgb, nucleus, cytoplasm, cell = image.rgb[around], nucleus[around], cytoplasm[around], cell[around]
    flags = [
        *image.flags,
        *_of_stain(rgb, nucleus, cell),
        *kind,
        *parts,
        *_of_light(rgb, nucleus, cell),
        *_of_sharpness(rgb, nucleus, cytoplasm, cell),
        *_of_outline(segmentation.confidence, outline),
        *_of_dye(rgb, nucleus, cytoplasm, card),
    ]
    return tuple(sorted(flags, key=lambda flag: not flag.severe))


def assess_scale(image: CellImage, segmentation: Segmentation, flags: Sequence[QualityFlag]) -> tuple[QualityFlag, ...]:
    """The flags of a cell, as `assess` gave them, when its image has got another scale."""
    cell = cell_mask(segmentation.labels)
    of_scale = [flag for flag in image.flags if flag.code in _OF_SCALE]
    of_scale += _of_size(image, segmentation, cell) if cell.any() else []
    kept = [flag for flag in flags if flag.code not in _OF_SCALE]
    return tuple(sorted([*kept, *of_scale], key=lambda flag: not flag.severe))


def _surroundings(cell: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the cell's bounding box, widened by its longer side on every side."""
    rows, columns = bounds(cell)
    margin = max(rows.stop - rows.start, columns.stop - columns.start)
    return slice(max(0, rows.start - margin), rows.stop + margin), slice(
        max(0, columns.start - margin), columns.stop + margin
    )


def _of_stain(rgb: NDArray[np.uint8], nucleus: NDArray[np.bool_], cell: NDArray[np.bool_]) -> list[QualityFlag]:
    contrast = nuclear_contrast(rgb, nucleus, cell)
    return [] if contrast is None or contrast >= MIN_NUCLEAR_CONTRAST else [raised("no_nuclear_stain")]


def _of_size(image: CellImage, segmentation: Segmentation, cell: NDArray[np.bool_]) -> list[QualityFlag]:
    """By the scale, or else by the red cells beside the cell; without both only what is seen to be a platelet."""
    diameter, scale = 2 * float(np.sqrt(np.count_nonzero(cell) / np.pi)), image.um_per_px
    if scale is not None:
        smallest, largest = POSSIBLE_UM
        if not smallest <= diameter * scale <= largest:
            return [raised("scale_absurd", scale=scale, across=diameter * scale)]
    red_cell = red_cell_diameter(segmentation.objects) if scale is None else RED_CELL_UM / scale
    small = red_cell is not None and diameter < MIN_RED_CELLS_ACROSS * red_cell
    if not small and (segmentation.found is None or segmentation.found.kind is not ObjectKind.PLATELET):
        return []
    if scale is not None:
        return [raised(TOO_SMALL, across=f"{diameter * scale:.1f} um", mend="or check the scale of the image")]
    across = f"{diameter:.0f} pixels" if red_cell is None else f"{diameter / red_cell:.1f} red cells"
    return [raised(TOO_SMALL, across=across, mend="or look whether its outline is whole")]


def _of_found(segmentation: Segmentation) -> list[QualityFlag]:
    """By what the localiser takes the object for; of platelets `_of_size` speaks."""
    kind = segmentation.found.kind if segmentation.found else None
    if kind is ObjectKind.SMUDGE:
        return [raised(SMUDGE_CELL)]
    return [raised(UNLIKE_LEUKOCYTE, why="it looks like a red cell")] if kind is ObjectKind.RED_CELL else []


def _of_traits(traits: Traits, knowledge: Knowledge) -> list[QualityFlag]:
    flags = []
    distance = knowledge.detector.distance(traits)
    if distance is not None and distance > knowledge.detector.limit:
        first, second = knowledge.detector.strangest(traits)
        why = f"it is unlike any that the model has seen, most of all in {first} and {second}"
        flags.append(raised(UNLIKE_LEUKOCYTE, why=why))
    if knowledge.granulocyte.score(traits) > knowledge.granulocyte.limit:
        flags.append(raised(GRANULOCYTE))
    return flags


def _of_parts(
    nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_], cell: NDArray[np.bool_], others: int
) -> list[QualityFlag]:
    flags = []
    if not nucleus.any():
        flags.append(raised("no_nucleus"))
    if not cytoplasm.any():
        flags.append(raised("no_cytoplasm"))
    if missing := missing_share(cell):
        flags.append(raised("border", share=missing) if missing > MOST_MISSING else raised("at_border", share=missing))
    area = np.count_nonzero(cell)
    if area < SMALL_CELL_PX:
        flags.append(raised("small_cell", area=area))
    if others:
        objects = "another stained cell" if others == 1 else f"{others} other stained cells"
        flags.append(raised("several_cells", objects=objects))
    return flags


def _of_light(rgb: NDArray[np.uint8], nucleus: NDArray[np.bool_], cell: NDArray[np.bool_]) -> list[QualityFlag]:
    # Channel by channel: numpy is ten times slower along an axis of three.
    channels = np.ascontiguousarray(np.moveaxis(rgb, 2, 0))
    darkest, brightest = channels.min(axis=0), channels.max(axis=0)
    if (darkest[cell] >= 250).mean() > CLIPPED_SHARE:
        return [raised("over_exposed")]
    dark_background = not cell.all() and counted_median(counts(brightest[~cell]), BYTES) < DARK_BACKGROUND
    if dark_background or (nucleus.any() and (brightest[nucleus] <= 5).mean() > CLIPPED_SHARE):
        return [raised("under_exposed")]
    return []


def _of_sharpness(
    rgb: NDArray[np.uint8], nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_], cell: NDArray[np.bool_]
) -> list[QualityFlag]:
    if not (nucleus.any() and cytoplasm.any()) or blur(grey(rgb), nucleus, cell) <= BLURRED:
        return []
    return [raised("blurred")]


def blur(luma: NDArray[np.float64], nucleus: NDArray[np.bool_], cell: NDArray[np.bool_]) -> float:
    """Standard deviation of the blur at the nucleus's edge over the cell's diameter; infinite where there is no edge.

    A further, known blur flattens a sharp edge much and a blurred one little; the ratio of the slopes gives the blur
    whatever the contrast (Zhuo and Sim 2011, Pattern Recognition 44:1852).
    """
    diameter = 2 * float(np.sqrt(np.count_nonzero(cell) / np.pi))
    further = _FURTHER_BLUR * diameter
    zone = dilated(nucleus, _EDGE_ZONE_PX) & ~eroded(nucleus, _EDGE_ZONE_PX)
    # What the filters reach from the edge is enough of the picture.
    reach = 4 * math.ceil(np.hypot(0.7, further)) + 1
    near = tuple(slice(max(0, at.start - reach), at.stop + reach) for at in bounds(zone))
    luma, zone = luma[near], zone[near]
    # Pixel noise is smoothed away before slopes are taken.
    present, flattened = (
        float(np.square(ndimage.gaussian_gradient_magnitude(luma, np.hypot(0.7, extra))[zone]).mean())
        for extra in (0, further)
    )
    return further / float(np.sqrt(present / flattened - 1)) / diameter if present > flattened > 0 else float("inf")


def _of_outline(confidence: float | None, outline: JudgedOutline | None) -> list[QualityFlag]:
    """Whether the model's outline is doubtful, and what seems wrong with it; nothing of a person's."""
    if outline is None:
        doubtful = confidence is not None and confidence < LOW_CONFIDENCE
        return [raised(DOUBTFUL_OUTLINE, quality=confidence, usual=_USUAL_CONFIDENCE)] if doubtful else []
    flags = []
    if outline.doubtful:
        flags.append(raised(DOUBTFUL_OUTLINE, quality=outline.quality, usual=outline.usual))
    if outline.fault is not None and outline.fault.takes_in:
        flags.append(raised("takes_in_neighbour", what=outline.fault.what, where=outline.fault.where))
    elif outline.fault is not None:
        flags.append(raised("cuts_off", where=outline.fault.where))
    return flags


def _of_dye(
    rgb: NDArray[np.uint8], nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_], card: KnownAppearance
) -> list[QualityFlag]:
    vector, known = appearance(rgb, nucleus, cytoplasm), card.appearance
    if not known or vector is None:
        return []
    distance = appearance_distance(vector, np.asarray(known["mean"]), np.asarray(known["covariance"]))
    return [raised(UNLIKE_TRAINING)] if distance > known["limit"] else []
