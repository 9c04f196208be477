"""How much darker one laboratory stains than another, told by cells that both have: a factor a channel.

A stain that is twice as dark has twice the optical density everywhere. So the factors are the reference's median
density of lymphocytes' nuclei divided by the laboratory's; they are applied to pixels before features are measured, not
to values (`core.image.stain.restained`). Red cells as the anchor, or factors of single images, did harm when measured
(`docs/laboratories.md`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.types import StainFactors

FEWEST_NUCLEI: Final = 20
_DIGITS: Final = 4  # a nucleus's median density is known to a hundredth

Densities = tuple[float, float, float]


@dataclass(frozen=True)
class LaboratoryStain:
    """Stain factors with what they were made from.

    Parameters
    ----------
    factors
        By which the densities of the laboratory's images are multiplied.
    source, reference
        The laboratory, and the one to whose stain it is set.
    cell_type
        Whose nuclei they were found in.
    cells
        How many of the reference and of the laboratory.
    densities
        The median density of their nuclei in red, green and blue, natural; the reference's first.
    created
        ISO date and time.
    versions
        The software that made it.
    """

    factors: StainFactors
    source: str
    reference: str
    cell_type: CellType
    cells: tuple[int, int]
    densities: tuple[Densities, Densities]
    created: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """That of the factors."""
        return self.factors.name

    @property
    def sentence(self) -> str:
        """What it is and does."""
        red, green, blue = self.factors.channels
        return (
            f"{self.source} is set to the stain of {self.reference}: densities times {red:.2f} red, {green:.2f} green,"
            f" {blue:.2f} blue before features are measured, found in the nuclei of {CELL_TYPES[self.cell_type].plural}"
            f" (n {self.cells[0]:,} / {self.cells[1]:,})."
        )


def factors_of(
    name: str, reference: Sequence[NDArray[np.float64]], laboratory: Sequence[NDArray[np.float64]]
) -> tuple[StainFactors, tuple[Densities, Densities]]:
    """Factors from the densities (3,) of nuclei, and the medians that they are; raises UsageError as `StainFactors`."""
    medians = [np.median(np.stack(nuclei), axis=0) for nuclei in (reference, laboratory)]
    there, here = medians
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.round(there / here, _DIGITS)
    told = tuple((float(red), float(green), float(blue)) for red, green, blue in np.round(medians, _DIGITS))
    return StainFactors(name, *map(float, found)), (told[0], told[1])
