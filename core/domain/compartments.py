"""The compartments of a cell image: their label values, grey codes, names and looks. The only list."""

from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final


class Compartment(IntEnum):
    """Value of a pixel in a label map; the grey code in a mask file is 85 times the value."""

    BACKGROUND = 0
    ENVIRONMENT = 1
    CYTOPLASM = 2
    NUCLEUS = 3

    @property
    def grey(self) -> int:
        """Grey level in a mask file: 0, 85, 170 or 255."""
        return 85 * self.value

    @property
    def label(self) -> str:
        """Lower-case name, as in feature columns and on pages."""
        return self.name.lower()


# The network's output channels in order: level k of n evenly spaced mask levels becomes channel k.
CHANNELS: Final = (Compartment.ENVIRONMENT, Compartment.CYTOPLASM, Compartment.NUCLEUS)

# The environment is no drawn object but a ring around the cell: this share of the cell's equivalent diameter wide
# (about 1.3 um on a lymphocyte), at least ENVIRONMENT_MIN_WIDTH_PX. Relative, so that it is the same zone at any scale.
ENVIRONMENT_RING_FRACTION: Final = 0.10
ENVIRONMENT_MIN_WIDTH_PX: Final = 2.0


@dataclass(frozen=True)
class CompartmentStyle:
    """How a compartment is drawn; told apart by colour and by line style."""

    colour: str
    dash: tuple[int, ...]
    fill_opacity: float


STYLES: Final = MappingProxyType(
    {
        Compartment.NUCLEUS: CompartmentStyle("#3B4CC0", (), 1.0),
        Compartment.CYTOPLASM: CompartmentStyle("#E69F00", (6, 3), 1.0),
        Compartment.ENVIRONMENT: CompartmentStyle("#56B4E9", (1, 3), 0.35),
    }
)
