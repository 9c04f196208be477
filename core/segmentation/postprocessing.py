"""Probabilities to a label map: one cell, without holes, its nucleus inside, other cells kept apart."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.compartments import CHANNELS, Compartment
from core.domain.types import LabelMap
from core.image.masks import with_environment
from core.image.morphology import bounds, dilated, filled, within
from core.image.window import Window

# A component is a candidate for the cell from this share of the window's area on; smaller ones are debris or platelets.
# In the masked data the smallest cell covers 4 % of its image.
MIN_CELL_SHARE: Final = 0.004
# A part of the nucleus is kept from this share of the whole nucleus on: segments of a lobed nucleus are, specks are
# not.
MIN_LOBE_SHARE: Final = 0.03
# A hole in the nucleus is filled up to this share of its area: nucleoli and bright grain are, the middle of a ring is
# not. Chosen on the validation part: 1 % gains 0.0005 Dice on set 2 and loses nothing on set 1, 5 % loses 0.0008 there.
MAX_PINHOLE_SHARE: Final = 0.01

_NUCLEUS: Final = CHANNELS.index(Compartment.NUCLEUS)
_CYTOPLASM: Final = CHANNELS.index(Compartment.CYTOPLASM)
# A pixel is cell where its probabilities of nucleus and cytoplasm together reach this.
CELL_FROM: Final = 0.5
# What is no wider than twice this share of the root of the cells' area is a bridge between two of them, at least one
# pixel.
BRIDGE_SHARE: Final = 0.02
# How fast a component's claim to be the cell falls with its distance from the middle.
CENTRALITY: Final = 2.3
# Within so many pixels of the cell the network's doubts count for its confidence.
_NEAR_PX: Final = 3


@dataclass(frozen=True, eq=False)
class CellMap:
    """The chosen cell: its label map and the Dice the network itself expects, 0 when there is no cell."""

    labels: LabelMap
    confidence: float


def middle_cell(
    probabilities: NDArray[np.float32], window: Window
) -> tuple[tuple[slice, slice], NDArray[np.bool_], NDArray[np.bool_]] | None:
    """The cell nearest the centre of a window: a box around all cells, and in it where that one is and where any is.

    A pixel is cell where nucleus and cytoplasm together reach one half of the (len(CHANNELS), H, W) probabilities.
    Among the components the one of greatest area times centrality is the cell. None when there is none.
    """
    mask = probabilities[_NUCLEUS] + probabilities[_CYTOPLASM] >= CELL_FROM
    if not mask.any():
        return None
    # What is no cell anywhere need not be looked at: on a large image that is most of it.
    box = _bounds(mask)
    cells = _parted(mask[box])
    components, count = ndimage.label(cells)
    areas = np.bincount(components.ravel(), minlength=count + 1)[1:]
    if not count or areas.max() < MIN_CELL_SHARE * window.side**2:
        return None
    if count == 1:
        return box, cells, cells
    seen = replace(window, top=window.top - box[0].start, left=window.left - box[1].start)
    chosen = int(np.argmax(areas * _centrality(components, count, seen))) + 1
    return box, components == chosen, cells


def label_cell(probabilities: NDArray[np.float32], window: Window) -> CellMap:
    """Turn (len(CHANNELS), H, W) probabilities into the label map of `middle_cell`; all background if there is none.

    A pixel of the cell is nucleus where that channel is the larger.
    """
    labels = LabelMap(np.zeros(probabilities.shape[1:], np.uint8))
    middle = middle_cell(probabilities, window)
    if middle is None:
        return CellMap(labels, 0.0)
    box, cell, cells = middle
    nucleus_p, cytoplasm_p = probabilities[_NUCLEUS][box], probabilities[_CYTOPLASM][box]
    body = filled(cell)
    nucleus = _tidied(body & (nucleus_p > cytoplasm_p))
    others = np.zeros(labels.shape, bool)
    labels[box][body] = Compartment.CYTOPLASM
    labels[box][nucleus] = Compartment.NUCLEUS
    others[box] = cells & ~body
    confidence = _expected_dice(nucleus, body & ~nucleus, nucleus_p, cytoplasm_p, near=dilated(body, _NEAR_PX))
    return CellMap(with_environment(labels, keep_out=others), confidence)


def _bounds(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest box around all that is set, with a margin for what is near it."""
    rows, columns = (slice(max(0, at.start - _NEAR_PX - 1), at.stop + _NEAR_PX + 1) for at in bounds(mask))
    return rows, columns


def _parted(cell: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cut bridges of a pixel or two between touching cells, without rounding the outline of what remains."""
    radius = max(1, round(BRIDGE_SHARE * float(np.sqrt(cell.sum()))))
    core = ~within(~cell, radius)
    if not core.any():
        return cell
    parts, count = ndimage.label(core)
    if count < 2:
        return cell
    # Every pixel of the cell goes to its nearest core part; a seam is cut where two owners meet.
    nearest = ndimage.distance_transform_edt(~core, return_distances=False, return_indices=True)
    owner = np.where(cell, parts[tuple(nearest)], 0)
    seam = np.zeros_like(cell)
    for axis in (0, 1):
        a, b = np.moveaxis(owner, axis, 0)[:-1], np.moveaxis(owner, axis, 0)[1:]
        np.moveaxis(seam, axis, 0)[:-1] |= (a != b) & (a > 0) & (b > 0)
    return (owner > 0) & ~seam


def _centrality(components: NDArray[np.int32], count: int, window: Window) -> NDArray[np.float64]:
    """1 at the window's centre, about 0.1 half a side away: the wanted cell was photographed on purpose."""
    centres = np.array(ndimage.center_of_mass(np.ones_like(components), components, range(1, count + 1)))
    middle = np.array([window.top, window.left]) + window.side / 2
    offset = (centres - middle) / (window.side / 2)
    return np.asarray(np.exp(-CENTRALITY * (offset**2).sum(axis=1)))


def _tidied(nucleus: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Without specks beside the nucleus and without pinholes in it."""
    area = np.count_nonzero(nucleus)
    kept = nucleus & ~_parts_below(nucleus, MIN_LOBE_SHARE * area)
    holes = filled(kept) & ~kept
    return np.asarray(kept | _parts_below(holes, MAX_PINHOLE_SHARE * area))


def _parts_below(mask: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    parts, _ = ndimage.label(mask)
    small = np.bincount(parts.ravel()) < area
    small[0] = False
    return np.asarray(small[parts])


def _expected_dice(
    nucleus: NDArray[np.bool_],
    cytoplasm: NDArray[np.bool_],
    nucleus_p: NDArray[np.float32],
    cytoplasm_p: NDArray[np.float32],
    near: NDArray[np.bool_],
) -> float:
    """Dice of each object against its own probabilities around the cell, averaged over the objects that are there."""
    scores = []
    for mask, probability in ((nucleus, nucleus_p), (cytoplasm, cytoplasm_p)):
        if mask.any():
            scores.append(2 * float(probability[mask].sum()) / (float(mask.sum()) + float(probability[near].sum())))
    return float(np.mean(scores)) if scores else 0.0
