"""Red cells as a ruler: the scale of images from the diameter of the red cells in them.

Measured with the localiser of the shipped models (docs/populations.md, "The ruler"): images of one source agree within
3 to 7 % (robust standard deviation; beside erythroblasts 14 %), no source has more than 2 % of its images further off
than a quarter, and the two CellaVision sources, of two laboratories, agree within 1 %. Large discs are cut by the edge
more often than small ones; beside monocytes, which leave less room, the scale nevertheless differs by only 0.2 %
(Barcelona) and 0.6 % (Johns Hopkins) from that beside lymphocytes. Weighting each disc by one over the places where it
would be whole makes that 0.6 and 0.8 %, a least score of 0.6 makes it 0.5 and 0.5 %, so neither is done.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import UsageError
from core.domain.objects import MIN_RED_CELLS, RED_CELL_UM, RedCells
from core.domain.types import RED_CELLS, GivenScale

# Fewer images with enough red cells give no scale.
MIN_IMAGES: Final = 10
# Robust standard deviation of the images' medians, as a share of their median, from which on they do not agree.
MAX_SPREAD: Final = 0.15
# By so much the red cells of patients may differ in diameter from RED_CELL_UM. Medians of 78 patients of Johns Hopkins
# differ by 3.8 % (robust standard deviation), cells of ten types from one laboratory by up to 5 %.
RED_CELL_ERROR: Final = 0.07
# The same for the scale from a single image: 2 to 4 of 100 images of a source lie further from it.
SINGLE_IMAGE_ERROR: Final = 0.15
# Images whose red cells are larger or smaller than the median by this factor are of another magnification, where they
# are more than this share of all; at most 2 % are in the sources measured.
_OTHER_MAGNIFICATION: Final = 1.25
_MOST_OTHERS: Final = 0.1
# Standard error of a median over that of a mean, times what 95 % lie within; and the MAD of a normal distribution.
_MEDIAN_95: Final = 1.2533 * 1.96
_MAD: Final = 1.4826


@dataclass(frozen=True)
class RedCellScale:
    """The scale that the red cells of several images tell together.

    `images` had enough red cells, `spread` is the robust standard deviation of what they say, as a share, and
    `statistical` the share by which chance may have moved the answer (95 %).
    """

    um_per_px: float
    images: int
    spread: float
    statistical: float

    @property
    def error(self) -> float:
        """The share by which the true scale may be larger or smaller: chance, and red cells that are not 7.5 um."""
        return math.hypot(self.statistical, RED_CELL_ERROR)

    @property
    def words(self) -> str:
        """The scale and how well it is known."""
        within = max(1, math.ceil(100 * self.statistical))
        return (
            f"{self.um_per_px:.3g} µm per pixel, from red cells of {self.images:,} images, within {within} %, and"
            f" {100 * RED_CELL_ERROR:.0f} % if the patients' red cells are not {RED_CELL_UM:g} um"
        )

    def taken(self) -> GivenScale:
        """The scale for whoever takes it."""
        return GivenScale(self.um_per_px, round(self.error, 4), RED_CELLS, self.words)


@dataclass(frozen=True)
class NoRedCellScale:
    """Why the red cells tell no scale, in words, and how many images had enough of them."""

    why: str
    images: int

    @property
    def words(self) -> str:
        """The refusal as a sentence."""
        return f"the red cells tell no scale: {self.why}"

    def taken(self) -> GivenScale:
        """Raise UsageError with the refusal and what to do."""
        msg = f"{self.words}; give the scale, or leave the sizes in pixels"
        raise UsageError(msg)


RulerAnswer: TypeAlias = RedCellScale | NoRedCellScale


def pooled(images: Iterable[RedCells | None]) -> RulerAnswer:
    """The scale that the red cells of images tell together, or why they tell none.

    Parameters
    ----------
    images
        What the red cells of each image say; None of one where nobody looked, or nothing was seen.
    """
    looked = list(images)
    diameters = np.array([one.diameter_px for one in looked if one is not None and one.tell], dtype=np.float64)
    if len(diameters) < MIN_IMAGES:
        return NoRedCellScale(_too_few(looked, len(diameters)), len(diameters))
    middle = float(np.median(diameters))
    spread = _MAD * float(np.median(np.abs(diameters - middle))) / middle
    if (why := _disagreement(diameters, middle, spread)) is not None:
        return NoRedCellScale(why, len(diameters))
    statistical = _MEDIAN_95 * spread / math.sqrt(len(diameters))
    return RedCellScale(float(f"{RED_CELL_UM / middle:.3g}"), len(diameters), spread, statistical)


def single(image: RedCells | None) -> GivenScale | None:
    """The scale that the red cells of one image hint at; None of too few."""
    if image is None or not image.tell or image.diameter_px is None:
        return None
    origin = f"from {image.discs} red cells of one image"
    return GivenScale(float(f"{RED_CELL_UM / image.diameter_px:.2g}"), SINGLE_IMAGE_ERROR, RED_CELLS, origin)


def _too_few(looked: Sequence[RedCells | None], enough: int) -> str:
    of = "1 image" if len(looked) == 1 else f"{len(looked):,} images"
    some = sum(one is not None and one.discs > 0 for one in looked)
    came = f"{enough:,} of {of} {'has' if enough == 1 else 'have'} as many" if enough else f"none of {of} has as many"
    least = f"at least {MIN_IMAGES} images with {MIN_RED_CELLS} whole red cells are needed, but {came}"
    return least if some else f"{least}, and no whole red cell was seen in any"


def _disagreement(diameters: NDArray[np.float64], middle: float, spread: float) -> str | None:
    """Why the images do not tell one scale; None where they do."""
    others = np.abs(np.log(diameters / middle)) > math.log(_OTHER_MAGNIFICATION)
    if spread < MAX_SPREAD and others.mean() <= _MOST_OTHERS:
        return None
    small, large = _halves(np.sort(diameters))
    if min(len(small), len(large)) > _MOST_OTHERS * len(diameters) and _are_apart(small, large):
        return (
            f"the images seem to be of different magnification: red cells measure about {np.median(small):.0f} pixels"
            f" in {len(small):,} images and {np.median(large):.0f} in {len(large):,}; measure them apart"
        )
    return (
        f"the images do not agree: their red cells measure about {middle:.0f} pixels, but {100 * spread:.0f} % more or"
        f" less (at most {100 * MAX_SPREAD:.0f} % are expected)"
    )


def _halves(ordered: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The diameters in two groups that are as narrow as can be, on a logarithmic axis."""
    logs = np.log(ordered)
    within = [logs[:at].var() * at + logs[at:].var() * (len(logs) - at) for at in range(1, len(logs))]
    at = 1 + int(np.argmin(within))
    return ordered[:at], ordered[at:]


def _are_apart(small: NDArray[np.float64], large: NDArray[np.float64]) -> bool:
    """Whether two groups are two magnifications: each narrow, and further from each other than they are wide."""
    widths = [_MAD * float(np.median(np.abs(np.log(group) - np.log(np.median(group))))) for group in (small, large)]
    return max(widths) < MAX_SPREAD and float(np.median(large) / np.median(small)) > _OTHER_MAGNIFICATION
