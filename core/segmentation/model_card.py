"""The contract a model file carries: JSON in the ONNX metadata under one key. Knows neither onnx nor onnxruntime."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from core.domain.errors import ModelError

METADATA_KEY: Final = "leukoscope_model_card"


@dataclass(frozen=True)
class ModelCard:
    """Everything inference and the pages need to know of a model.

    `input_size` is the side of the square window in pixels; `mean` and `std` are per RGB channel on a 0-1 scale;
    `classes` name the output channels in order; `cell_fill` is the share of the window's side that the cell's longer
    side takes in the fine pass; `coarse_size` is the side of the coarse pass's window in pixels (0: as `input_size`);
    `white_balance` says whether the background's tint is taken away first; `detail` is the side in pixels to which a
    window is reduced before it is enlarged to the network's grid (0: it is not); `finder` names the file, beside the
    model's own, and the SHA-256 of a small network that makes the coarse pass (empty: there is none); `temperature`
    divides the logits, so that the probabilities are calibrated; `scores` holds measured figures by data set; `parity`
    the largest difference of the logits and the share of equal mask pixels, of an fp32 file against torch, of a smaller
    `precision` against the fp32 file; `fidelity` what that precision costs in masks and features on the validation
    part; `appearance` the optical-density statistics of the training images, against which an image can be unlike;
    `validation`, by scheme, what networks scored that were trained in the same way without the images they were scored
    on (`training.experiments`).
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
    coarse_size: int = 0
    white_balance: bool = False
    detail: int = 0
    finder: dict[str, str] = field(default_factory=dict)
    temperature: float = 1.0
    parity: dict[str, float] = field(default_factory=dict)
    fidelity: dict[str, Any] = field(default_factory=dict)
    appearance: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The card as the text kept in the model file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str, origin: str) -> "ModelCard":
        """Read a card; `origin` names the file in errors. Raises ModelError for unknown or missing fields."""
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            msg = (
                f"{origin}: the model card is not valid JSON ({error}); export the model again with `python -m export`"
            )
            raise ModelError(msg) from error
        if not isinstance(raw, dict):
            msg = (
                f"{origin}: the model card must be a JSON object, but is a {type(raw).__name__}; export again with"
                " `python -m export`"
            )
            raise ModelError(msg)
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(raw) - known)
        if unknown:
            msg = f"{origin}: the model card has unknown fields {unknown}; known are {sorted(known)}"
            raise ModelError(msg)
        for name in ("mean", "std", "classes"):
            if name in raw:
                raw[name] = tuple(raw[name])
        try:
            card = cls(**raw)
        except TypeError as error:
            msg = f"{origin}: the model card is incomplete ({error}); export the model again with `python -m export`"
            raise ModelError(msg) from error
        if card.input_size % 32 or card.input_size <= 0:
            msg = f"{origin}: input_size must be a positive multiple of 32, but is {card.input_size}"
            raise ModelError(msg)
        if card.coarse_size % 32 or card.coarse_size < 0:
            msg = (
                f"{origin}: coarse_size must be a multiple of 32, or 0 for that of the fine pass, but is"
                f" {card.coarse_size}"
            )
            raise ModelError(msg)
        if card.finder and (
            set(card.finder) != {"file", "sha256"} or Path(card.finder["file"]).name != card.finder["file"]
        ):
            msg = f"{origin}: finder must be a file beside the model's and its sha256, but is {card.finder}"
            raise ModelError(msg)
        if not card.temperature > 0:
            msg = f"{origin}: temperature must be positive, but is {card.temperature}"
            raise ModelError(msg)
        return card
