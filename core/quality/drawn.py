"""What to know of a mask that somebody drew: the checks that the model's outline gets, and those of a drawing.

A drawing can be of other codes, of another place or of more than one cell. Whether it fits its image is judged by the
nuclear stain. Measured over the 365 drawn masks of two laboratories; see the constants.
"""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.types import CellImage, FeatureSet, LabelMap, QualityFlag, Segmentation
from core.image.masks import cell_mask, region_mask
from core.image.morphology import bounds, filled, within
from core.image.stain import nuclear_density
from core.quality.assessment import MIN_NUCLEAR_CONTRAST, assess
from core.quality.flags import raised

# Who drew a mask, where a model would stand.
DRAWN: Final = "drawn"
# A part from this share of the largest on is a cell of its own.
MIN_CELL_SHARE: Final = 0.2
# Lobes of a nucleus that is drawn without its cytoplasm lie within this share of its diameter.
_LOBES_REACH: Final = 0.25
# Cytoplasm that so much of lies within the nucleus is drawn inside out.
_ENCLOSED: Final = 0.9
# Nuclear dye in drawn cytoplasm over drawn nucleus, in optical density.
MIN_SWAPPED_DENSITY: Final = 0.1
# A drawn nucleus that is stained in less than this share of it is more than the nucleus.
MIN_STAINED_SHARE: Final = 0.6
# Contrast of the nucleus with the ring around it, over that at the best other place.
MAX_MISPLACED_FIT: Final = 0.6
_RING: Final = 0.25
_SIDE_PX: Final = 384
_TURNS: Final = MappingProxyType(
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
    flags = [*assess(image, drawing, _NoCard(), features), *misfits(image.rgb, labels)]
    if specks:
        flags.append(raised("specks", pieces=specks))
    return tuple(sorted(flags, key=lambda flag: not flag.severe))


def misfits(rgb: NDArray[np.uint8], labels: LabelMap) -> list[QualityFlag]:
    """Flags of a drawing that does not fit its image: swapped codes, another place, several cells."""
    nucleus, cytoplasm = (region_mask(labels, region) for region in ("nucleus", "cytoplasm"))
    flags = list(_of_number(cell_mask(labels), lobes=not cytoplasm.any()))
    if not nucleus.any():
        return flags
    density = nuclear_density(rgb)
    swapped = _inside_out(nucleus, cytoplasm) or _stain_outside(density, nucleus, cytoplasm)
    if swapped:
        return [*flags, raised("swapped_mask", why=swapped)]
    place = _better_place(density, nucleus)
    if place:
        return [*flags, raised("misplaced_mask", place=place)]
    share = stained_share(density, nucleus, cell_mask(labels))
    if share is not None and share < MIN_STAINED_SHARE:
        flags.append(raised("wide_nucleus", share=share))
    return flags


def _of_number(cell: NDArray[np.bool_], *, lobes: bool) -> Iterator[QualityFlag]:
    """Whether more than one cell is drawn; lobes of one nucleus are not several."""
    if not cell.any():
        return
    cell = np.pad(cell[bounds(cell)], 1)
    parts, count = ndimage.label(cell, np.ones((3, 3)))
    if count < 2:
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


def _inside_out(nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_]) -> str:
    if not cytoplasm.any():
        return ""
    around = bounds(nucleus | cytoplasm)
    enclosed = np.count_nonzero(filled(nucleus[around]) & cytoplasm[around]) / np.count_nonzero(cytoplasm)
    # A nucleus with a pale spot that is drawn as cytoplasm encloses it, too; but it is no ring.
    ring = np.count_nonzero(cytoplasm) > 0.1 * np.count_nonzero(nucleus)
    return "the drawn nucleus lies around the cytoplasm, not in it" if enclosed > _ENCLOSED and ring else ""


def _stain_outside(density: NDArray[np.float32], nucleus: NDArray[np.bool_], cytoplasm: NDArray[np.bool_]) -> str:
    if not cytoplasm.any():
        return ""
    excess = float(np.median(density[cytoplasm]) - np.median(density[nucleus]))
    # Not where the mask lies beside the cell: there neither is stained.
    strong = float(np.median(density[cytoplasm])) > MIN_NUCLEAR_CONTRAST
    return "the nuclear stain lies in what is drawn as cytoplasm" if excess > MIN_SWAPPED_DENSITY and strong else ""


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


def _better_place(density: NDArray[np.float32], nucleus: NDArray[np.bool_]) -> str:
    """Where the drawn nucleus fits the stain much better than where it lies, in words; empty where it lies well."""
    step = -(-max(density.shape) // _SIDE_PX)
    density, nucleus = density[::step, ::step], nucleus[::step, ::step]
    if not nucleus.any() or nucleus.all():
        return ""
    stain = np.clip(density, 0, None)
    here = _fit(stain, nucleus)
    turned = {how: _fit(stain, turn(nucleus)) for how, turn in _TURNS.items() if turn(nucleus).shape == nucleus.shape}
    how = max(turned, key=lambda each: turned[each])
    moved, (down, right) = _best_move(stain, nucleus)
    best = max(turned[how], moved)
    if best < MIN_NUCLEAR_CONTRAST / 2 or here > MAX_MISPLACED_FIT * best:
        return ""
    if turned[how] >= 0.9 * moved:
        return how
    sideways = f"{abs(right) * step} px to the {'right' if right > 0 else 'left'}" if right else ""
    upright = f"{abs(down) * step} px {'down' if down > 0 else 'up'}" if down else ""
    return f"moved by {' and '.join(filter(None, (sideways, upright)))}"


def _ring(nucleus: NDArray[np.bool_]) -> NDArray[np.bool_]:
    width = max(2.0, _RING * 2 * math.sqrt(np.count_nonzero(nucleus) / np.pi))
    return within(nucleus, width) & ~filled(nucleus)


def _fit(stain: NDArray[np.float32], nucleus: NDArray[np.bool_]) -> float:
    """Mean stain in the nucleus over that in the ring around it."""
    ring = _ring(nucleus)
    return float(stain[nucleus].mean() - (stain[ring].mean() if ring.any() else 0))


def _best_move(stain: NDArray[np.float32], nucleus: NDArray[np.bool_]) -> tuple[float, tuple[int, int]]:
    """The best fit over all places that keep the nucleus in the image, and how far down and right that is."""
    from scipy.signal import fftconvolve  # slow to import

    ring = _ring(nucleus)
    box = bounds(nucleus | ring)
    kernel = nucleus[box] / np.count_nonzero(nucleus) - ring[box] / max(1, np.count_nonzero(ring))
    fits = fftconvolve(stain, kernel[::-1, ::-1], mode="valid")
    down, right = np.unravel_index(int(np.argmax(fits)), fits.shape)
    return float(fits[down, right]), (int(down) - box[0].start, int(right) - box[1].start)
