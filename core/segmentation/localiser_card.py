"""The contract that a localiser's file carries: JSON in the ONNX metadata under a key of its own."""

from dataclasses import dataclass, field
from typing import Any, Final

from core.domain.errors import ModelError, RecordError
from core.domain.objects import ObjectKind
from core.support import records

LOCALISER_KEY: Final = "leukoscope_localiser_card"

# Pixels of the input between two grid points of the output.
STRIDE: Final = 4
# Sides of the input must be multiples of it.
SIDES: Final = 32


@dataclass(frozen=True)
class LocaliserCard:
    """Everything needed to feed a localiser and to read what it says.

    `kinds` name the first output channels in order, four log distances follow; `mean` and `std` are per RGB channel on
    a 0-1 scale; `least_scores` are the scores from which on an object of a kind counts; `smallest` and `largest` the
    diameters of leukocytes on the input, in pixels, that it was trained on; `scores` holds measured figures by data
    set, `parity` the largest differences from torch.
    """

    localiser_id: str
    kinds: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    least_scores: dict[str, float]
    smallest: float
    largest: float
    architecture: str
    encoder: str
    training_data: str
    split: str
    scores: dict[str, Any]
    licence: str
    created: str
    opset: int
    stride: int = STRIDE
    white_balance: bool = True
    parity: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """The card as the text kept in the file."""
        return records.to_json(self, sort_keys=True, ascii_only=True)

    @classmethod
    def from_metadata(cls, metadata: dict[str, str], origin: str) -> "LocaliserCard":
        """The card inside a file's metadata; `origin` names the file in errors.

        Raises
        ------
        ModelError
            If there is none, it cannot be read, or it contradicts itself.
        """
        if LOCALISER_KEY not in metadata:
            msg = f"{origin} carries no localiser card; export it with `python -m export`"
            raise ModelError(msg)
        try:
            card = records.from_json(cls, metadata[LOCALISER_KEY])
        except RecordError as error:
            msg = f"{origin}: the localiser card cannot be read: {error}; export the localiser again"
            raise ModelError(msg) from error
        if wrong := card.contradiction():
            msg = f"{origin}: {wrong}"
            raise ModelError(msg)
        return card

    def contradiction(self) -> str:
        """Which fields contradict each other, in words; empty if none do."""
        if strange := sorted(set(self.kinds) - set(ObjectKind)):
            return f"kinds must be some of {', '.join(ObjectKind)}, but name {', '.join(strange)}"
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            return f"kinds must name each kind once, but are {', '.join(self.kinds) or 'none'}"
        if set(self.least_scores) != set(self.kinds):
            return f"least_scores must have one score for each of {', '.join(self.kinds)}"
        if self.stride <= 0 or SIDES % self.stride:
            return f"stride must divide {SIDES}, but is {self.stride}"
        return ""
