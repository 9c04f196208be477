"""The contract a model file carries: JSON in the ONNX metadata under one key. Knows neither onnx nor onnxruntime."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from core.domain.errors import ModelError, RecordError
from core.support import records

METADATA_KEY: Final = "leukoscope_model_card"

# What cards of former model files say of a coarse pass by a network like the model: there is none any more.
_RETIRED: Final = ("finder", "coarse_size")


@dataclass(frozen=True)
class ModelCard:
    """Everything inference and the pages need to know of a model.

    `input_size` is the side of the square window in pixels; `mean` and `std` are per RGB channel on a 0-1 scale;
    `classes` name the output channels in order; `cell_fill` is the share of the window's side that the cell's longer
    side takes in its window; `white_balance` says whether the background's tint is removed first; `detail` is the side
    in pixels to which a window is reduced before it is enlarged to the network's grid (0: it is not); `localiser` names
    the file, beside the model's own, and the SHA-256 of the network that finds the cells (empty: there is none);
    `temperature` divides the logits, so that the probabilities are calibrated; `scores` holds measured figures by data
    set; `parity` the largest difference of the logits and the share of equal mask pixels, of an fp32 file against
    torch, of a smaller `precision` against the fp32 file; `fidelity` what that precision costs in masks and features on
    the validation part; `appearance` the optical-density statistics of the training images, by which an unlike image is
    recognised; `validation`, by scheme, what networks scored that were trained in the same way without the images they
    were scored on (`training.experiments`); `comparison` how much better or worse it was, image by image, than the
    model that was in use when it was exported (`core.evaluation.paired`).
    """

    model_id: str
    architecture: str
    encoder: str
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...]
    cell_fill: float
    training_data: str
    split: str
    scores: dict[str, Any]
    intended_use: str
    limits: str
    licence: str
    created: str
    opset: int
    precision: str = "fp32"
    white_balance: bool = False
    detail: int = 0
    localiser: dict[str, str] = field(default_factory=dict)
    temperature: float = 1.0
    parity: dict[str, float] = field(default_factory=dict)
    fidelity: dict[str, Any] = field(default_factory=dict)
    appearance: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    comparison: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The card as the text kept in the model file."""
        return records.to_json(self, sort_keys=True, ascii_only=True)

    @classmethod
    def from_json(cls, text: str, origin: str) -> "ModelCard":
        """Read a card; `origin` names the file in errors. Raises ModelError for unknown or missing fields."""
        try:
            return cls.from_plain(records.parsed(text), origin)
        except RecordError as error:
            msg = f"{origin}: the model card is not valid JSON: {error}; export the model again with `python -m export`"
            raise ModelError(msg) from error

    @classmethod
    def from_plain(cls, raw: object, origin: str) -> "ModelCard":
        """Read a card from what its JSON holds; the rest as `from_json`."""
        if isinstance(raw, dict):
            raw = {name: value for name, value in raw.items() if name not in _RETIRED}
        try:
            card = records.from_plain(cls, raw)
        except RecordError as error:
            msg = f"{origin}: the model card cannot be read: {error}; export the model again with `python -m export`"
            raise ModelError(msg) from error
        if wrong := card.contradiction():
            msg = f"{origin}: {wrong}"
            raise ModelError(msg)
        return card

    def contradiction(self) -> str:
        """Which fields contradict each other, in words; empty if none do."""
        if self.input_size % 32 or self.input_size <= 0:
            return f"input_size must be a positive multiple of 32, but is {self.input_size}"
        if self.localiser and (
            set(self.localiser) != {"file", "sha256"} or Path(self.localiser["file"]).name != self.localiser["file"]
        ):
            return f"localiser must be a file beside the model's and its sha256, but is {self.localiser}"
        if not self.temperature > 0:
            return f"temperature must be positive, but is {self.temperature}"
        return ""
