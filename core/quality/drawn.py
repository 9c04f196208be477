"""What to know of a mask that somebody drew: the checks that the model's outline gets, and those of a drawing.

A drawing can be of other codes, of another place or of more than one cell. Whether it fits its image is judged by the
nuclear stain. Measured over the 322 drawn masks of two laboratories; see the constants.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.flags import raised
from core.domain.types import CellImage, FeatureSet, LabelMap, QualityFlag, Segmentation
from core.image.masks import cell_mask, region_mask
from core.image.morphology import bounds, filled, within
from core.image.stain import nuclear_density
from core.quality.assessment import MIN_NUCLEAR_CONTRAST, assess

# Who drew a mask, where a model would stand.
DRAWN: Final = "drawn"
# A part from this share of the largest on is a cell of its own.
MIN_CELL_SHARE: Final = 0.2
# Cells that touch are parted where the way to the edge is shorter than this share of the longest, if each part and its
# nucleus has so much of the largest's. Measured: none of the drawn cells, 50 of 53 pairs that were pushed together.
_WAIST: Final = 0.6
_PART: Final = 0.35
# Lobes of a nucleus that is drawn without its cytoplasm lie within this share of its diameter.
_LOBES_REACH: Final = 0.25
# Holes of a cell, as a share of it with them. Of the measured ones none has any.
MAX_HOLES: Final = 0.1
# Cytoplasm that so much of lies within the nucleus is drawn inside out, unless it is a small spot beside the nucleus.
_ENCLOSED: Final = 0.9
_SPOT: Final = 0.1
# Of the pixels at the picture's edge no nucleus holds so many.
_AT_THE_EDGE: Final = 0.75
# A drawn nucleus that is stained in less than this share of it is more than the nucleus. Measured: at least 0.64, at
# least 0.75 in 97 of 100; whole cells drawn as nuclei, most of them: 0.26 to 0.6.
MIN_STAINED_SHARE: Final = 0.6
# The same where no cytoplasm is drawn beside it.
MIN_STAINED_SHARE_ALONE: Final = 0.75
# Stain of the nucleus over that of the ring around it, over that at the best other place. Measured: 0.94 or more;
# moved by a fifth of its diameter 0.3 to 0.74.
MAX_MISPLACED_FIT: Final = 0.8
# Measured: 0.5 or more.
_LEAST_FIT: Final = 0.3
_ALIKE: Final = 0.85
_SWAPPED: Final = "swapped"
# A drawn nucleus that takes so much less nuclear stain than the cytoplasm, however faint both are. Measured over three
# laboratories: at least 0.31 more.
_PALER: Final = 0.02
_RING: Final = 0.25
# The stain is looked at on a grid of about so many pixels a side, in which a nucleus has so many; at most on so many.
_SIDE_PX: Final = 384
_NUCLEUS_PX: Final = 24
_LARGEST_PX: Final = 1536
_TURNS: Final[Mapping[str, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]]] = MappingProxyType(
    {
        "turned by a quarter to the left": lambda a: np.rot90(a, 1),
        "turned by a quarter to the right": lambda a: np.rot90(a, -1),
        "turned upside down": lambda a: np.rot90(a, 2),
        "mirrored left to right": lambda a: a[:, ::-1],
        "mirrored top to bottom": lambda a: a[::-1],
        "with rows and columns swapped": lambda a: a.T,
        "with rows and columns swapped and turned upside down": lambda a: np.rot90(a, 2).T,
    }
)


class _NoCard:
    """No model outlined the cell, so none knows a stain."""

    appearance: Mapping[str, Any] = MappingProxyType({})


def assess_drawn(
    image: CellImage, labels: LabelMap, features: FeatureSet | None = None, *, specks: str = ""
) -> tuple[QualityFlag, ...]:
    """All flags of an image with its drawn mask, the severe ones first; those of opening the image are among them.

    Parameters
    ----------
    image
        The image.
    labels
        Its drawn label map, of the same size.
    features
        What was measured.
    specks
        What was left out of the drawing (`core.image.drawn_masks.without_specks`), in words.
    """
    drawing = Segmentation(labels, 1.0, 0, DRAWN, DRAWN, 0.0)
    own = misfits(image.rgb, labels)
    # What is wrong with the drawing is why the stain is missing.
    wrong = {flag.code for flag in own} & {"swapped_mask", "misplaced_mask", "hollow_mask"}
    explained = {"no_nuclear_stain"} if wrong else set()
    if _all_around(region_mask(labels, "nucleus")):
        explained |= {"border", "at_border"}
    flags = [flag for flag in assess(image, drawing, _NoCard(), features) if flag.code not in explained] + own
    if specks:
        flags.append(raised("specks", pieces=specks))
    return tuple(sorted(flags, key=lambda flag: not flag.severe))


def misfits(rgb: NDArray[np.uint8], labels: LabelMap) -> list[QualityFlag]:
    """Flags of a drawing that does not fit its image: swapped codes, another place, several cells."""
    nucleus, cytoplasm = (region_mask(labels, region) for region in ("nucleus", "cytoplasm"))
    if _all_around(nucleus):
        return [raised("swapped_mask", why="what is read as nucleus lies all around the picture")]
    flags = [*_of_number(cell_mask(labels), nucleus, lobes=not cytoplasm.any()), *_of_holes(cell_mask(labels))]
    if not nucleus.any():
        return flags
    if _inside_out(nucleus, cytoplasm):
        return [*flags, raised("swapped_mask", why="the drawn nucleus lies around the cytoplasm, not in it")]
    near, framed = _looked_at(nucleus)
    density, nucleus, cytoplasm = nuclear_density(rgb[near]), nucleus[near], cytoplasm[near]
    place = _better_place(density, nucleus, cytoplasm, near[0].step, framed=framed)
    if place == _SWAPPED:
        return [*flags, raised("swapped_mask", why="the nuclear stain lies in what is drawn as cytoplasm")]
    if place:
        return [*flags, raised("misplaced_mask", place=place)]
    if cytoplasm.any() and float(np.median(density[nucleus]) - np.median(density[cytoplasm])) < -_PALER:
        return [*flags, raised("swapped_mask", why="what is drawn as nucleus is paler than what is drawn as cytoplasm")]
    share = stained_share(density, nucleus, nucleus | cytoplasm)
    if share is not None and share < (MIN_STAINED_SHARE if cytoplasm.any() else MIN_STAINED_SHARE_ALONE):
        flags.append(raised("wide_nucleus", share=share))
    return flags


def _of_number(cell: NDArray[np.bool_], nucleus: NDArray[np.bool_], *, lobes: bool) -> Iterator[QualityFlag]:
    """Whether more than one cell is drawn; lobes of one nucleus are not several."""
    if not cell.any():
        return
    box = bounds(cell)
    cell, nucleus = np.pad(cell[box], 1), np.pad(nucleus[box], 1)
    parts, count = ndimage.label(cell, np.ones((3, 3)))
    if count < 2:
        touching = 1 if lobes else _touching(cell, nucleus)
        if touching > 1:
            yield raised("several_drawn", objects=f"{touching} cells that touch")
        return
    areas = np.bincount(parts.ravel())[1:]
    if lobes:
        reach = _LOBES_REACH * 2 * math.sqrt(areas.sum() / np.pi)
        joined, _ = ndimage.label(within(np.pad(cell, math.ceil(reach)), reach / 2))
        inner = joined[math.ceil(reach) : -math.ceil(reach), math.ceil(reach) : -math.ceil(reach)]
        areas = np.bincount(inner[cell])[1:]
    large = int(np.count_nonzero(areas >= MIN_CELL_SHARE * areas.max()))
    rest = int(np.count_nonzero(areas > 0)) - large
    if large > 1:
        yield raised("several_drawn", objects=f"{large} cells")
    elif rest:
        yield raised("several_drawn", objects=f"a cell and {rest} {'piece' if rest == 1 else 'pieces'} apart from it")


def _touching(cell: NDArray[np.bool_], nucleus: NDArray[np.bool_]) -> int:
    """How many cells a drawn one can be parted into, each with a nucleus: those that a waist sets apart."""
    depth = ndimage.distance_transform_edt(cell)
    cores, count = ndimage.label(depth > _WAIST * depth.max())
    if count < 2:
        return 1
    nearest = ndimage.distance_transform_edt(cores == 0, return_distances=False, return_indices=True)
    owner = np.where(cell, cores[tuple(nearest)], 0)
    areas, nuclei = (np.bincount(owner[part], minlength=count + 1)[1:] for part in (cell, nucleus))
    whole = (areas >= _PART * areas.max()) & (nuclei >= _PART * max(1, nuclei.max()))
    return int(np.count_nonzero(whole))


def _of_holes(cell: NDArray[np.bool_]) -> Iterator[QualityFlag]:
    if cell.any():
        cell = cell[bounds(cell)]
        whole = filled(cell)
        share = float(1 - np.count_nonzero(cell) / np.count_nonzero(whole))
        if share > MAX_HOLES:
            yield raised("hollow_mask", share=share)


def _all_around(nucleus: NDArray[np.bool_]) -> bool:
    """Whether a drawn nucleus is what lies at the picture's edge: black was drawn on white."""
    return bool(np.concatenate([nucleus[0], nucleus[-1], nucleus[:, 0], nucleus[:, -1]]).mean() > _AT_THE_EDGE)


def _inside_out(nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_]) -> bool:
    """Whether the drawn nucleus lies around the cytoplasm; a pale spot in it, drawn as cytoplasm, is too small."""
    area = np.count_nonzero(cytoplasm)
    if area <= _SPOT * np.count_nonzero(nucleus):
        return False
    around = bounds(nucleus | cytoplasm)
    return bool(np.count_nonzero(filled(nucleus[around]) & cytoplasm[around]) > _ENCLOSED * area)


def stained_share(density: NDArray[np.float32], nucleus: NDArray[np.bool_], cell: NDArray[np.bool_]) -> float | None:
    """The share of a drawn nucleus that is stained at least half as much as its darker part; None without stain."""
    if cell.all():
        return None
    ground = float(np.percentile(density[~cell], 20))
    dark = float(np.percentile(density[nucleus], 80)) - ground
    if dark < MIN_NUCLEAR_CONTRAST:
        return None
    return float(np.mean(density[nucleus] - ground >= dark / 2))


# --- another place ----------------------------------------------------------------------------------------------------


def _looked_at(nucleus: NDArray[np.bool_]) -> tuple[tuple[slice, slice], bool]:
    """Every how many rows and columns the stain is looked at, and whether in the whole image or only near."""
    diameter = 2 * math.sqrt(np.count_nonzero(nucleus) / np.pi)
    step = max(1, min(-(-max(nucleus.shape) // _SIDE_PX), int(diameter / _NUCLEUS_PX)))
    if max(nucleus.shape) <= _LARGEST_PX * step:
        return (slice(None, None, step), slice(None, None, step)), True
    reach = _LARGEST_PX * step // 2
    rows, columns = (slice(max(0, at.start - reach), at.stop + reach, step) for at in bounds(nucleus))
    return (rows, columns), False


def _better_place(
    density: NDArray[np.float32], nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_], step: int, *, framed: bool
) -> str:
    """Where the drawn nucleus fits the stain much better than where it lies, in words; empty where it lies well.

    Where it lies on a nucleus, that of another cell may be darker without harm: only what is near is better then. Turns
    are those of the whole image, so they are tried where it is `framed`.
    """
    if not nucleus.any() or nucleus.all():
        return ""
    stain = np.clip(density, 0, None)
    here, diameter = _fit(stain, nucleus), 2 * math.sqrt(np.count_nonzero(nucleus) / np.pi)
    fits, moves = _moves(stain, nucleus)
    turned = {how: turn(nucleus) for how, turn in _TURNS.items() if framed and turn(nucleus).shape == nucleus.shape}
    fit_turned = {how: _fit(stain, other) for how, other in turned.items()}
    middle = np.argwhere(nucleus).mean(axis=0)
    near = [
        fits[np.hypot(*moves) <= diameter / 2].max(initial=here),
        *(
            fit_turned[how]
            for how, other in turned.items()
            if np.hypot(*(np.argwhere(other).mean(0) - middle)) <= diameter
        ),
    ]
    swapped = _fit(stain, cytoplasm) if cytoplasm.any() else 0.0
    if here >= _LEAST_FIT and here >= MAX_MISPLACED_FIT * max(*near, swapped):
        return ""
    how = max(fit_turned, key=lambda each: fit_turned[each], default="")
    best = max(float(fits.max()), fit_turned.get(how, 0.0), swapped)
    if best < _LEAST_FIT or here > MAX_MISPLACED_FIT * best:
        return ""
    # Between explanations that fit alike the plainer one holds: a shift has most freedom.
    if swapped >= _ALIKE * best:
        return _SWAPPED
    if how and fit_turned[how] >= _ALIKE * best:
        return how
    down, right = (step * int(axis.ravel()[fits.argmax()]) for axis in moves)
    sideways = f"{abs(right)} px to the {'right' if right > 0 else 'left'}" if right else ""
    upright = f"{abs(down)} px {'down' if down > 0 else 'up'}" if down else ""
    return f"moved by about {' and '.join(filter(None, (sideways, upright)))}"


def _ring(nucleus: NDArray[np.bool_]) -> NDArray[np.bool_]:
    width = max(2.0, _RING * 2 * math.sqrt(np.count_nonzero(nucleus) / np.pi))
    return within(nucleus, width) & ~filled(nucleus)


def _fit(stain: NDArray[np.float32], nucleus: NDArray[np.bool_]) -> float:
    """Mean stain in the nucleus over that in the ring around it."""
    ring = _ring(nucleus)
    return float(stain[nucleus].mean() - (stain[ring].mean() if ring.any() else 0))


def _moves(
    stain: NDArray[np.float32], nucleus: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The fit at all places that keep nucleus and ring in the image, and how far down and right each of them is."""
    from scipy.signal import fftconvolve  # slow to import

    ring = _ring(nucleus)
    box = bounds(nucleus | ring)
    inner, outer = nucleus[box].astype(np.float64), ring[box].astype(np.float64)
    kernel = inner / inner.sum() - outer / max(1.0, outer.sum())
    fits = fftconvolve(stain, kernel[::-1, ::-1], mode="valid")
    down, right = np.indices(fits.shape)
    return fits, (down - box[0].start, right - box[1].start)
