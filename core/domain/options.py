"""What a person may choose: which cells, which engine, which device. Light, so that a parser of arguments needs no numpy."""

from enum import StrEnum
from typing import Final


class CellChoice(StrEnum):
    """Which cells of an image are wanted: the one in the middle, every leukocyte, or whatever the image shows."""

    AUTO = "auto"
    ONE = "one"
    ALL = "all"


class FeatureEngine(StrEnum):
    """Who computes what pyradiomics knows: the same numbers in milliseconds, or pyradiomics' own extractor."""

    FAST = "fast"
    REFERENCE = "reference"


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
