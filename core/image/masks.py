"""Label maps: how they are filed, their regions, the environment ring, outlines. Needs no network."""

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.compartments import ENVIRONMENT_MIN_WIDTH_PX, ENVIRONMENT_RING_FRACTION, Compartment
from core.domain.errors import MaskError
from core.domain.types import LabelMap
from core.image.morphology import bounds, within

# How an outline runs through the square between four pixel centres, region on its right: from the middle of one side
# (top, left, right, bottom) to that of another. By which of the four are in the region (bits: top left, top right,
# bottom left, bottom right); of two opposite ones, each keeps its own.
_SEGMENTS: Final = ("", "tl", "rt", "rl", "lb", "tb", "rt lb", "rb", "br", "tl br", "bt", "bl", "lr", "tr", "lt", "")
# The same as arrays: which segments there are, where each starts and stops (square, segment, down and right, in half
# pixels).
_SIDES: Final = {"t": (0, 1), "l": (1, 0), "r": (1, 2), "b": (2, 1), " ": (0, 0)}
_DRAWN: Final = np.array([[bool(segments), " " in segments] for segments in _SEGMENTS])
_STARTS, _STOPS = (
    np.array([[_SIDES[segments.ljust(5)[i]] for i in (at, at + 3)] for segments in _SEGMENTS]) for at in (0, 1)
)

# Outlines are kept to this tolerance: a quarter of a pixel is below what a 2 px line shows.
OUTLINE_TOLERANCE_PX: Final = 0.25
_TINY: Final = np.finfo(float).tiny


def encode_grey(labels: LabelMap) -> NDArray[np.uint8]:
    """The mask file's pixels: 0 background, 85 environment, 170 cytoplasm, 255 nucleus; uint8 (H, W)."""
    return np.asarray(labels * np.uint8(85))


def check_size(drawn: tuple[int, int], image: tuple[int, int], name: str) -> None:
    """Raise MaskError where a mask and its image differ in size, with what would make them fit."""
    if drawn == image:
        return
    if drawn == image[::-1]:
        remedy = (
            "with rows and columns swapped it would fit: image or mask was turned (photographs are, by their EXIF tag)"
            " or transposed; turn the mask as the image is"
        )
    elif abs(image[1] * drawn[0] / image[0] - drawn[1]) <= 1:
        factor = image[0] / drawn[0]
        remedy = f"it was drawn on a copy of other size; enlarge it by {factor:.3g} without smoothing"
    else:
        remedy = "give the mask of this image, not cut and not resized"
    msg = f"{name}: image and mask must agree in size, but are {image} and {drawn} (height, width); {remedy}"
    raise MaskError(msg)


def cell_mask(labels: LabelMap) -> NDArray[np.bool_]:
    """Nucleus and cytoplasm together, bool (H, W)."""
    return np.asarray(labels >= Compartment.CYTOPLASM)


def islands(labels: LabelMap) -> int:
    """How many parts of the cell lie off its largest; parts hang together by the sides of their pixels.

    A single stray pixel in a corner changes 32 of the 720 features of the drawn example cell by more than a twentieth
    (`tests/core/image/test_masks.py`).
    """
    return max(int(ndimage.label(cell_mask(labels))[1]) - 1, 0)


def region_mask(labels: LabelMap, region: str) -> NDArray[np.bool_]:
    """A region by its name: nucleus, cytoplasm, cell (their union) or environment; bool (H, W)."""
    if region == "cell":
        return cell_mask(labels)
    return np.asarray(labels == Compartment[region.upper()])


def environment_width(cell: NDArray[np.bool_]) -> float:
    """Width in pixels of the ring around a cell: a tenth of its equivalent diameter, at least two pixels."""
    diameter = 2 * math.sqrt(np.count_nonzero(cell) / math.pi)
    return max(ENVIRONMENT_MIN_WIDTH_PX, ENVIRONMENT_RING_FRACTION * diameter)


def with_environment(labels: LabelMap, keep_out: NDArray[np.bool_] | None = None) -> LabelMap:
    """Draw the ring around the cell into the background, but not into other cells (`keep_out`, (H, W)).

    A drawn environment is replaced, so that the ring means the same in every source.
    """
    cell = cell_mask(labels)
    ringed = np.where(cell, labels, np.uint8(Compartment.BACKGROUND))
    if cell.any():
        width = environment_width(cell)
        near = tuple(slice(max(0, math.floor(at.start - width)), math.ceil(at.stop + width)) for at in bounds(cell))
        ring = ~cell[near] & within(cell[near], width)
        if keep_out is not None:
            ring &= ~keep_out[near]
        ringed[near][ring] = Compartment.ENVIRONMENT
    return LabelMap(ringed)


def outlines(labels: LabelMap, region: str) -> list[NDArray[np.float32]]:
    """Closed outlines of a region as (N, 2) float32 arrays of x, y in pixels, first point repeated last.

    The origin is the corner of the top-left pixel (as QuPath and SVG have it), so a pixel's centre is at +0.5. Holes
    are outlines of their own (even-odd filling). Simplified to OUTLINE_TOLERANCE_PX; empty list for an absent region.
    """
    mask = region_mask(labels, region)
    if not mask.any():
        return []
    rows, columns = ndimage.find_objects(mask.astype(np.uint8))[0]
    mask = np.pad(mask[rows, columns], 1)
    corner = np.array([columns.start, rows.start], dtype=np.float64)
    rings = []
    for ring in traced(mask):
        simple = simplified(ring, OUTLINE_TOLERANCE_PX)
        if len(simple) >= 4:
            # Traced from pixel centres; -1 undoes the padding, +0.5 moves the origin to the pixel's corner.
            rings.append((simple[:, ::-1] - 0.5 + corner).astype(np.float32))
    return rings


def filled_outlines(
    shape: tuple[int, int], cell: Iterable[NDArray[np.float32]], nucleus: Iterable[NDArray[np.float32]]
) -> LabelMap:
    """The label map of (H, W) that `outlines` were made of, to the pixel, without environment."""
    from skimage.draw import polygon2mask  # a command's help comes without it

    labels = np.zeros(shape, np.uint8)
    for compartment, rings in ((Compartment.CYTOPLASM, cell), (Compartment.NUCLEUS, nucleus)):
        inside = np.zeros(shape, np.bool_)
        for ring in rings:  # even-odd: a ring within another is a hole
            inside ^= polygon2mask(shape, ring[:, ::-1] - 0.5)  # from the pixel's corner to its centre
        labels[inside] = compartment
    return LabelMap(labels)


def traced(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Outlines of a region that touches no edge, half way between pixels in and out: closed (N, 2) row, column.

    What `skimage.measure.find_contours` finds at 0.5, in less than half of its time: parts are 4-connected, and holes
    have outlines.
    """
    inside, stride = mask.view(np.uint8), 2 * mask.shape[1]
    pairs = inside[:, :-1] + 2 * inside[:, 1:]
    squares = (pairs[:-1] + 4 * pairs[1:]).ravel()
    at = np.flatnonzero((squares > 0) & (squares < 15))
    row, column = np.divmod(at, mask.shape[1] - 1)
    # Points are numbered along the rows of a grid of half pixels.
    corners = 2 * (row * stride + column)
    start, stop = (
        (corners[:, None] + (ends @ (stride, 1))[squares[at]])[_DRAWN[squares[at]]] for ends in (_STARTS, _STOPS)
    )
    after = dict(zip(start.tolist(), stop.tolist(), strict=True))
    rings = []
    while after:
        end, point = after.popitem()
        ring = [point]
        while point != end:
            point = after.pop(point)
            ring.append(point)
        rings.append(ring)
    return [np.column_stack(np.divmod([*ring, ring[0]], stride)) / 2 for ring in sorted(rings, key=min)]


def simplified(line: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """A line (N, 2) without the points that it passes within the tolerance anyway; its ends stay.

    Douglas and Peucker 1973; all pieces of a level are cut at once, which is twenty times as fast as one after the
    other (`skimage.measure.approximate_polygon`).
    """
    points = line[:, 0] + 1j * line[:, 1]
    kept = np.zeros(len(line), dtype=bool)
    kept[[0, -1]] = True
    starts, ends = np.array([0]), np.array([len(line) - 1])
    while True:
        longer = ends - starts > 1
        starts, ends = starts[longer], ends[longer]
        if not starts.size:
            return line[kept]
        counts = ends - starts - 1
        first = counts.cumsum() - counts
        inner = np.arange(counts.sum()) + (starts + 1 - first).repeat(counts)
        chords = points[ends] - points[starts]
        # A closed line begins with a chord of no length: its farthest point is that farthest from the start.
        lengths = np.maximum(chords.real**2 + chords.imag**2, _TINY)
        from_start, chord = points[inner] - points[starts].repeat(counts), chords.repeat(counts)
        along = (from_start.real * chord.real + from_start.imag * chord.imag) / lengths.repeat(counts)
        away = from_start - np.minimum(np.maximum(along, 0), 1) * chord
        distances = np.hypot(away.real, away.imag)
        largest = np.maximum.reduceat(distances, first)
        farthest = np.flatnonzero(distances == largest.repeat(counts))
        bent = largest > tolerance
        cuts = inner[farthest[np.searchsorted(farthest, first)]][bent]
        kept[cuts] = True
        starts, ends = np.concatenate([starts[bent], cuts]), np.concatenate([cuts, ends[bent]])
