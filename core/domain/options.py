"""What a person may choose: which cells, which engine, which device.

Light to import, so that a parser of arguments needs no numpy.
"""

from enum import StrEnum
from importlib.util import find_spec
from typing import Final

from core.domain.errors import UsageError


class CellChoice(StrEnum):
    """Which cells of an image are wanted: the one in the middle, every leukocyte, or whichever the image shows."""

    AUTO = "auto"
    ONE = "one"
    ALL = "all"


class FeatureEngine(StrEnum):
    """Who computes pyradiomics' features: the fast engine, with the same numbers, or pyradiomics' own extractor."""

    FAST = "fast"
    REFERENCE = "reference"

    def check_installed(self) -> None:
        """Raise UsageError where the engine's libraries are missing; those of the fast one are always there."""
        if self is FeatureEngine.FAST:
            return
        if missing := [name for name in ("radiomics", "SimpleITK") if find_spec(name) is None]:
            msg = (
                f"the reference engine is pyradiomics, but its modules {' and '.join(missing)} are not installed; run"
                " `pip install 'leukoscope[reference]'` (in a checkout `make reference`), which needs a C compiler, or"
                " use the fast engine: it gives the same numbers"
            )
            raise UsageError(msg)


class Units(StrEnum):
    """What lengths and areas of a table are counted in: pixels or micrometres."""

    PIXELS = "px"
    MICROMETRES = "um"


class Paper(StrEnum):
    """What a report is printed on."""

    A4 = "a4"
    LETTER = "letter"


class Device(StrEnum):
    """What runs the network; `auto` takes CUDA where it works and says so where it does not."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """What the weights of a model are stored in, and the network is run in where the device can."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


# Of how many views the network's fine pass can be the mean: as it is, its four rotations, or these and their mirror
# images.
VIEWS: Final = (1, 4, 8)
