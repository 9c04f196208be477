"""How many of its bits a deep image uses, which is what its white is: stated by the file, given, agreed, or judged.

Cameras of 10, 12 or 14 bits store their values in numbers of 16. Which of them the file states (`BitsPerSample`,
`MaxSampleValue`, OME `SignificantBits`, `sBIT`) is taken from there. Where nothing is stated, a file is judged by the
smallest of `BIT_DEPTHS` that holds all but `HOT_SHARE` of its values: a few hot pixels decide nothing, and are clipped.

A single file cannot tell a dark picture of 12 bits from a bright one of 10, which is why a run is asked before it
begins: what more than half of its files of one kind (format, compression, colours, make of the camera) are judged to
use holds for all of the kind, and lifts those that are judged to use one step less. Files two steps away, or that use
more, are of another camera and keep what they are judged by. `Depths` is what a run knows, the same for every file.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import ImageError

BIT_DEPTHS: Final = (8, 10, 12, 14, 16)
# Share of the values that may lie beyond the depth: hot pixels of cameras are about one in ten thousand.
HOT_SHARE: Final = 0.001
_STEP: Final = 2
_CONTAINER: Final = 16
# Of how many files of a run the depths are looked at before it begins.
MOST_ASKED: Final = 64


@dataclass(frozen=True)
class Depths:
    """What is known of the files of a run that do not state their depth.

    `given` is what a person says of all of them; `agreed` has pairs of a kind of file and the bits its files agree on.
    """

    given: int | None = None
    agreed: tuple[tuple[str, int], ...] = ()


NOT_ASKED: Final = Depths()


@dataclass(frozen=True)
class Stated:
    """The bits that a file states, and where."""

    bits: int
    source: str


def used_bits(values: NDArray[np.integer]) -> int:
    """The smallest of BIT_DEPTHS that holds all but HOT_SHARE of the values (0 to 65,535)."""
    most = HOT_SHARE * values.size
    return next((bits for bits in BIT_DEPTHS if np.count_nonzero(values >= 2**bits) <= most), _CONTAINER)


def agree(judged: Iterable[tuple[str, int]], given: int | None = None) -> Depths:
    """What files of a run, each with its kind and the bits it is judged to use, say of all of its kind."""
    by_kind: dict[str, list[int]] = defaultdict(list)
    for kind, bits in judged:
        by_kind[kind].append(bits)
    agreed = []
    for kind, depths in sorted(by_kind.items()):
        bits, count = Counter(depths).most_common(1)[0]
        if count > 1 and 2 * count > len(depths):
            agreed.append((kind, bits))
    return Depths(given, tuple(agreed))


def settled(
    values: NDArray[np.integer], kind: str, stated: Stated | None, depths: Depths, name: str
) -> tuple[int, str]:
    """The bits of an image and how they are known, in words; `stated` is what its own file says.

    Raises
    ------
    ImageError
        If the values need more bits than a person has given.
    """
    used = used_bits(values)
    if depths.given is not None:
        if used > depths.given:
            msg = (
                f"{name}: expected values of at most {depths.given} bits, as given, but they take {used}; leave the"
                " depth out, or give that of this camera"
            )
            raise ImageError(msg)
        return depths.given, "as given"
    if stated is not None and stated.bits < used:
        return _CONTAINER, f"which the values fill, although the file says {stated.bits} ({stated.source})"
    # Programs write the size of the container for want of knowledge; a stained smear is never that dark.
    if stated is not None and (stated.bits < _CONTAINER or used > _CONTAINER - 2 * _STEP):
        return stated.bits, f"as the file says ({stated.source})"
    agreed = dict(depths.agreed).get(kind)
    if agreed is not None and used <= agreed <= used + _STEP:
        return agreed, "as most files of the run use"
    return used, "judged by this image alone"


def to_8_bits(values: NDArray[np.integer], bits: int) -> tuple[NDArray[np.uint8], int]:
    """The upper 8 of so many bits; and how many values were beyond them, and clipped."""
    white = 2**bits - 1
    beyond = int(np.count_nonzero(values > white))
    return (np.minimum(values, white) >> (bits - 8)).astype(np.uint8), beyond
