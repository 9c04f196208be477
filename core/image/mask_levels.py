"""What the grey levels or colours of a drawn mask mean: levels are looked for over the drawn area, not the picture.

A level is a value that fills areas. What is one pixel wide (a rim, the steps of a smoothed edge) or a smear of JPEG is
none, and goes to the level of its surroundings that is nearest in value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.errors import MaskError
from core.domain.types import LabelMap, as_label_map
from core.image.mask_coding import MaskCoding
from core.image.morphology import bounds, within

_BACKGROUND, _CYTOPLASM, _NUCLEUS = Compartment.BACKGROUND, Compartment.CYTOPLASM, Compartment.NUCLEUS
# Grey levels by coding, as shares of 255.
_THREE_LEVEL: Final[Mapping[int, Compartment]] = {0: _BACKGROUND, 128: _CYTOPLASM, 255: _NUCLEUS}
_FOUR_LEVEL: Final[Mapping[int, Compartment]] = {c.grey: c for c in Compartment}
_MOST_LEVELS: Final = len(Compartment)
# What values vary by within one level (JPEG), as a share of the largest, and within four neighbours that are even.
_LEVEL_WIDTH: Final = 0.05
_EVEN: Final = 0.03
# The same for colours, as a distance of red, green and blue.
_COLOUR_WIDTH: Final = 24.0
# Channels that differ by more are a colour, not the noise of a grey JPEG.
_GREY_SPREAD: Final = 24
# Levels are at least so far apart, as a share of the largest: what lies closer together are shades.
_APART: Final = 0.1
# Of the drawn area, what holds less is a stray and no level.
_LEAST_SHARE: Final = 0.01
# Up to this share of the drawn area may be edges between levels: a small cell with smoothed outlines has so many.
_MOST_BETWEEN: Final = 0.5
# Masks with fewer odd pixels than this share of their edges have sharp edges: every pixel at a level is what it says.
_SHARP: Final = 0.2
# Edges are not wider.
_WIDEST_EDGE_PX: Final = 12
_NAMED: Final = 8
# A picture of more levels than compartments, each of so many shades, is a photograph.
_SHADES: Final = 16


@dataclass(frozen=True, eq=False)
class DecodedMask:
    """A mask read: the label map, and how many pixels held a value that no code has.

    `notes` say what was made of the file, `specks` what was left out of it, `coding` how it is drawn, in words.
    """

    labels: LabelMap
    repaired: int
    notes: tuple[str, ...] = ()
    specks: str = ""
    coding: str = ""


class _Values(NamedTuple):
    """The distinct values of a picture, (n, channels), how often each occurs, (n,), and which each pixel has."""

    distinct: NDArray[np.float64]
    occurrences: NDArray[np.int64]
    which: NDArray[np.int64]


class _Level(NamedTuple):
    """A value that fills areas: which of the distinct ones, and how many even pixels are close to it."""

    which: int
    area: int


def decode_pixels(
    pixels: NDArray[np.integer],
    name: str = "mask",
    *,
    hidden: NDArray[np.bool_] | None = None,
    coding: MaskCoding | None = None,
    whole: bool = False,
) -> DecodedMask:
    """Read the pixels of a drawn mask.

    Parameters
    ----------
    pixels
        Whole numbers from 0 on, grey (H, W) or colour (H, W, 3).
    name
        For messages.
    hidden
        Where the mask is transparent, bool (H, W): background whatever its value.
    coding
        What values mean. Without it grey levels near 0/128/255 or 0/85/170/255 are those (also as 0/1/2, 0/1/2/3 or of
        16 bits), and of three or four other levels the lowest is background and the highest nucleus.
    whole
        The mask shows one thing: all that is not background is given as cytoplasm.

    Raises
    ------
    MaskError
        If there are colours without a coding, more levels than compartments, or shades as in a photograph.
    """
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype.kind not in "ui" or not (pixels.ndim == 2 or colour) or (pixels.size and pixels.min() < 0):
        msg = (
            f"{name}: a mask must hold whole numbers from 0 on, grey with shape (H, W) or colour with (H, W, 3), but"
            f" is {pixels.dtype} with shape {pixels.shape}"
        )
        raise MaskError(msg)
    if hidden is not None:
        pixels = np.where(hidden[..., None] if colour else hidden, 0, pixels)
    if not pixels.size:
        return DecodedMask(as_label_map(np.zeros(pixels.shape[:2], np.uint8)), 0)
    values = _values_of(pixels)
    if colour and not _is_coloured(values):
        pixels, colour = _luma(pixels), False
        values = _values_of(pixels)
    if coding is not None:
        decoded = _by_coding(values, coding, name, transparent=hidden is not None)
    elif exact := _exact(values.distinct):
        table = np.array([exact[int(value)] for value in values.distinct[:, 0]], np.uint8)
        own = [f"{value:.0f}" for value in values.distinct[:, 0]]
        decoded = DecodedMask(as_label_map(table[values.which]), 0, coding=_of_levels(own))
    else:
        decoded = _by_levels(values, name, colour=colour, whole=whole)
    labels = decoded.labels
    if hidden is not None:
        labels = as_label_map(np.where(hidden, np.uint8(_BACKGROUND), labels))
    if whole:  # of a mask with an environment the cell, of any other all that is drawn
        drawn = labels >= _CYTOPLASM if (labels >= _CYTOPLASM).any() else labels > _BACKGROUND
        labels = as_label_map(np.where(drawn, np.uint8(_CYTOPLASM), np.uint8(_BACKGROUND)))
    return replace(decoded, labels=labels)


# --- values -----------------------------------------------------------------------------------------------------------


def _values_of(pixels: NDArray[np.integer]) -> _Values:
    keys = pixels.astype(np.int64)
    if pixels.ndim == 3:
        keys = (keys[..., 0] << 16) + (keys[..., 1] << 8) + keys[..., 2]
    if int(keys.max()) < 2**16:
        counts = np.bincount(keys.ravel())
        distinct = np.flatnonzero(counts)
        place = np.zeros(len(counts), np.int64)
        place[distinct] = np.arange(len(distinct))
        counts, index = counts[distinct], place[keys]
    else:
        distinct, index, counts = np.unique(keys, return_inverse=True, return_counts=True)
        index = index.reshape(keys.shape)
    if pixels.ndim == 3:
        return _Values(np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], 1).astype(float), counts, index)
    return _Values(distinct[:, None].astype(float), counts, index)


def _is_coloured(values: _Values) -> bool:
    coloured = np.ptp(values.distinct, axis=1) > _GREY_SPREAD
    drawn = values.occurrences.sum() - values.occurrences.max()
    return bool(values.occurrences[coloured].sum() > _LEAST_SHARE * max(drawn, 1))


def _luma(rgb: NDArray[np.integer]) -> NDArray[np.int64]:
    """Grey of a nearly grey picture: equal channels stay what they are."""
    return np.asarray(np.rint(rgb @ np.array([0.299, 0.587, 0.114])).astype(np.int64))


def _exact(distinct: NDArray[np.float64]) -> Mapping[int, Compartment]:
    """The coding, if all values are its codes; else an empty one."""
    if distinct.shape[1] == 1:
        for coding in (_THREE_LEVEL, _FOUR_LEVEL):
            if set(distinct[:, 0].tolist()) <= set(coding):
                return coding
    return {}


def _even(values: _Values) -> NDArray[np.bool_]:
    """Pixels in a square of two by two that hold nearly one value, bool (H, W)."""
    height, width = values.which.shape
    even = np.ones((max(height - 1, 0), max(width - 1, 0)), bool)
    for channel in values.distinct.T:
        # Bytes, or two of them, since pictures are large and no sum is made.
        largest = float(channel.max())
        plane = channel.astype(np.min_scalar_type(int(largest)))[values.which]
        corners = (plane[:-1, :-1], plane[1:, :-1], plane[:-1, 1:], plane[1:, 1:])
        low, high = (np.minimum, np.maximum)
        spread = high(high(*corners[:2]), high(*corners[2:])) - low(low(*corners[:2]), low(*corners[2:]))
        even &= spread <= _EVEN * largest
    return _corners(even)


def _corners(squares: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of squares of two by two, which are numbered by their upper left ones."""
    covered = np.zeros((squares.shape[0] + 1, squares.shape[1] + 1), bool)
    for down in (0, 1):
        for right in (0, 1):
            covered[down : down + squares.shape[0], right : right + squares.shape[1]] |= squares
    return covered


def _distances(distinct: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each value to each centre, (n, centres)."""
    return np.asarray(np.linalg.norm(distinct[:, None] - centres[None], axis=2))


def _found(values: _Values, width: float | None = None) -> tuple[list[_Level], float]:
    """The levels in ascending order, and how far a value may be from one to belong to it.

    The most frequent value of the even areas is a level and takes all that is close to it; then the next.
    """
    left = np.bincount(values.which[_even(values)], minlength=len(values.occurrences))
    if not left.any():
        left = values.occurrences.copy()
    bright = values.distinct.sum(axis=1)
    if width is None:
        width = _COLOUR_WIDTH if values.distinct.shape[1] == 3 else _LEVEL_WIDTH * float(bright[left > 0].max())
    total, levels = int(left.sum()), []
    while left.any():
        which = int(np.argmax(left))
        close = _distances(values.distinct, values.distinct[[which]])[:, 0] <= width
        levels.append(_Level(which, int(left[close].sum())))
        left[close] = 0
    levels = sorted(levels, key=lambda level: float(bright[level.which]))
    lowest = next(level for level in levels if level.area >= 0.001 * total)
    drawn = total - lowest.area
    return [level for level in levels if level is lowest or level.area >= _LEAST_SHARE * drawn], width


# --- what they mean ---------------------------------------------------------------------------------------------------


def _by_levels(values: _Values, name: str, *, colour: bool, whole: bool) -> DecodedMask:
    levels, width = _found(values)
    if whole and len(levels) <= _MOST_LEVELS:
        meaning = [_BACKGROUND, *[_CYTOPLASM] * (len(levels) - 1)]
    elif colour:
        raise MaskError(_colours_came(values, levels, name))
    else:
        meaning = _meaning(values, levels, name)
    own = [f"{values.distinct[level.which, 0]:.0f}" for level in levels]
    centres = values.distinct[[level.which for level in levels]]
    notes = []
    if not colour and not whole:
        if not all(int(value) in {**_THREE_LEVEL, **_FOUR_LEVEL} for value in own):
            notes.append(f"its levels {_listed(own)} were read as {_listed([part.label for part in meaning])}")
        # A code that is drawn too sparingly to fill an area is a code all the same.
        for code, part in (_THREE_LEVEL if "128" in own else _FOUR_LEVEL).items():
            if part not in meaning and set(own) <= set(map(str, {**_THREE_LEVEL, **_FOUR_LEVEL})):
                centres, meaning = np.append(centres, [[code]], axis=0), [*meaning, part]
        order = np.argsort(centres[:, 0])
        centres, meaning = centres[order], [meaning[at] for at in order]
    labels, repaired = _settle(values, centres, width, meaning, name)
    return DecodedMask(labels, repaired, tuple(notes), coding=_of_levels(own))


def _meaning(values: _Values, levels: Sequence[_Level], name: str) -> list[Compartment]:
    greys = [float(values.distinct[level.which, 0]) for level in levels]
    highest = max(greys)
    if len(levels) > _MOST_LEVELS or not highest or np.diff(greys).min(initial=np.inf) < _APART * highest:
        raise MaskError(_too_many(values, levels, name))
    # 0 to 255 as they are; numbers of compartments, and greys of more bits, as shares of the highest.
    known = [grey if max(Compartment) < highest <= 255 else 255 * grey / highest for grey in greys]
    for coding in (_THREE_LEVEL, _FOUR_LEVEL):
        near = [min(coding, key=lambda code, grey=grey: abs(code - grey)) for grey in known]  # type: ignore[misc]
        if near[0] == 0 and all(abs(code - grey) <= 255 * _LEVEL_WIDTH for code, grey in zip(near, known, strict=True)):
            return [coding[code] for code in near]
    if len(levels) >= 3:
        return [_BACKGROUND, *list(Compartment)[1 - len(levels) :]]
    msg = (
        f"{name}: beside its background the mask has the one grey level {max(greys):.0f}, which does not say whether"
        " nucleus, cytoplasm or the whole cell is drawn; write nucleus as 255 and cytoplasm as 128, or give the cell's"
        " mask with --nucleus-mask, or say what the level means in a file for --mask-coding (mask_coding.json of a"
        " folder of pairs): "
        f'{{"{min(greys):.0f}": "background", "{max(greys):.0f}": "nucleus"}}'
    )
    raise MaskError(msg)


def _of_levels(levels: Sequence[str]) -> str:
    return f"grey level{'s' * (len(levels) > 1)} {_listed(levels)}"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _shares(values: _Values, levels: Sequence[_Level]) -> list[tuple[str, float]]:
    """Levels or colours, as written in a coding, with the share of the picture that holds them, the largest first."""
    total = sum(level.area for level in levels)
    ordered = sorted(levels, key=lambda level: -level.area)[:_NAMED]
    return [(_key(values.distinct[level.which]), level.area / total) for level in ordered]


def _key(value: NDArray[np.float64]) -> str:
    if len(value) == 1:
        return f"{value[0]:.0f}"
    return "#" + "".join(f"{int(channel):02x}" for channel in value)


def _told(shares: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{key} ({share:.1%})" for key, share in shares)


def _colours_came(values: _Values, levels: Sequence[_Level], name: str) -> str:
    if _is_photograph(values, levels):
        return (
            f"{name}: a mask holds a few grey levels or colours, but this has {len(values.occurrences):,} colours;"
            " give the drawn mask, not a photograph"
        )
    shares = _shares(values, levels)
    guess = [_BACKGROUND.label, _CYTOPLASM.label, _NUCLEUS.label]
    line = ", ".join(f'"{key}": "{part}"' for (key, _), part in zip(shares, [*guess, *guess[1:] * 3], strict=False))
    return (
        f"{name}: the mask is drawn in the colours {_told(shares)}, which do not say what they mean; give"
        f" --mask-coding FILE (or mask_coding.json beside the folder of masks) with a line such as {{{line}}}, each"
        " colour with what it shows, or write background as 0, cytoplasm as 128 and nucleus as 255"
    )


def _is_photograph(values: _Values, levels: Sequence[_Level]) -> bool:
    return len(levels) > _NAMED or (len(levels) > _MOST_LEVELS and len(values.occurrences) > _SHADES * len(levels))


def _too_many(values: _Values, levels: Sequence[_Level], name: str) -> str:
    expected = f"{name}: a mask holds the grey levels 0, 128, 255 or 0, 85, 170, 255, or three or four of its own"
    if len(levels) > _NAMED or len(values.occurrences) > 16 * len(levels):
        return (
            f"{expected}, but this has {len(values.occurrences)} levels in all; give the drawn mask, not a photograph"
        )
    return (
        f"{expected}, but its levels are {_told(_shares(values, levels))}; where they number several cells, give one"
        " cell's mask, else say what each means in a file for --mask-coding, or write background as 0, cytoplasm as 128"
        " and nucleus as 255"
    )


def _by_coding(values: _Values, coding: MaskCoding, name: str, *, transparent: bool) -> DecodedMask:
    channels = values.distinct.shape[1]
    given = coding.values(channels)
    if not given:
        msg = (
            f"{name}: {coding.name} gives none of the mask's {'colours' if channels == 3 else 'levels'}"
            f" a meaning; the mask holds {_told(_shares(values, _found(values)[0]))}"
        )
        raise MaskError(msg)
    if transparent:
        given.setdefault((0,) * channels, _BACKGROUND)
    centres, meaning = np.array(list(given), float), list(given.values())
    apart = _distances(centres, centres)
    apart[apart == 0] = np.inf
    levels, width = _found(values)
    width = min(width, float(apart.min()) / 2.5)
    strange = [
        level for level in levels if _distances(values.distinct[[level.which]], centres).min() > max(width, 1e-9)
    ]
    if strange:
        came = ", ".join(_key(values.distinct[level.which]) for level in strange[:_NAMED])
        msg = f"{name}: {coding.name} does not say what {came} shows, which the mask also holds; add it"
        raise MaskError(msg)
    labels, repaired = _settle(values, centres, width, meaning, name)
    coded = f"{'colours' if channels == 3 else 'grey levels'} by {coding.name}"
    return DecodedMask(labels, repaired, (f"read by {coding.name}",), coding=coded)


# --- which pixel is which ---------------------------------------------------------------------------------------------


def _settle(
    values: _Values, centres: NDArray[np.float64], width: float, meaning: Sequence[Compartment], name: str
) -> tuple[LabelMap, int]:
    """The label map, and how many pixels hold no level exactly.

    Raises MaskError where too much of the drawn area lies between the levels.
    """
    distances = _distances(values.distinct, centres)
    # Half way between two levels goes to the higher.
    nearest = distances.shape[1] - 1 - np.argmin(distances[:, ::-1], axis=1)
    off = distances.min(axis=1)
    level = nearest[values.which]
    table = np.array(meaning, np.uint8)
    odd = (off > 0)[values.which]
    repaired = int(np.count_nonzero(odd))
    drawn = values.occurrences[(table[nearest] > _BACKGROUND) | (off > width)].sum()
    between = values.occurrences[off > width].sum()
    if between > _MOST_BETWEEN * drawn:
        msg = (
            f"{name}: a mask holds the grey levels 0, 128, 255 or 0, 85, 170, 255, or a few of its own, but"
            f" {between} of {drawn} drawn pixels lie between them ({len(values.occurrences)} levels in all); give the"
            " drawn mask, not a photograph"
        )
        raise MaskError(msg)
    if repaired:
        edges = np.count_nonzero(np.diff(level, axis=0)) + np.count_nonzero(np.diff(level, axis=1))
        settled = ~odd if repaired <= _SHARP * edges else _filling(level, (off <= width)[values.which])
        _by_surroundings(level, settled, distances, values.which)
    return as_label_map(table[level]), repaired


def _filling(level: NDArray[np.int64], close: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels close to a level, in a square of two by two of the same."""
    key = np.where(close, level, -1)
    first = key[:-1, :-1]
    return _corners((first >= 0) & (first == key[1:, :-1]) & (first == key[:-1, 1:]) & (first == key[1:, 1:]))


def _by_surroundings(
    level: NDArray[np.int64], settled: NDArray[np.bool_], distances: NDArray[np.float64], index: NDArray[np.int64]
) -> None:
    """Give each pixel that is not settled the nearest level, in value, of those around it; in place.

    So the edge of a nucleus against the background, which runs through the grey of cytoplasm, gets no rim of it.
    """
    if settled.all() or not settled.any():
        return
    margin = 2 * _WIDEST_EDGE_PX
    box = tuple(slice(max(0, at.start - margin), at.stop + margin) for at in bounds(~settled))
    level, settled, index = level[box], settled[box], index[box]
    open_ = ~settled
    depth = float(ndimage.distance_transform_edt(open_).max()) if settled.any() else 0.0
    reach = min(_WIDEST_EDGE_PX, 2 * math.ceil(depth) + 1)
    away = distances[index[open_]]
    near = np.stack([within(settled & (level == k), reach)[open_] for k in range(distances.shape[1])], axis=1)
    there = near.any(axis=1)
    away = np.where(near, away, np.inf)[there]
    chosen = level[open_]
    chosen[there] = away.shape[1] - 1 - np.argmin(away[:, ::-1], axis=1)
    level[open_] = chosen
