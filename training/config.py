"""The settings of a training run: one frozen dataclass, TOML in, TOML out beside the weights."""

import json
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from core.errors import UsageError


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the outcome of `python -m training finetune`.

    `train`, `validation` and `test` are shares of the groups of originals; sizes in pixels; `minimum_fill` to
    `maximum_fill` is the range of the window's share that the cell takes; `patience` in epochs without a better
    validation Dice.
    """

    name: str = "unetplusplus-lite0"
    architecture: str = "unetplusplus"
    encoder: str = "tu-tf_efficientnet_lite0"
    data_sets: tuple[str, ...] = ("set1", "set2")
    input_size: int = 224
    cell_fill: float = 0.62
    minimum_fill: float = 0.27
    maximum_fill: float = 0.95
    centre_jitter: float = 0.12
    paste_probability: float = 0.35
    train: float = 0.6
    validation: float = 0.2
    test: float = 0.2
    epochs: int = 50
    batch_size: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema_decay: float = 0.995
    patience: int = 20
    seed: int = 7
    workers: int = 1
    threads: int = 2

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, in words."""
        if abs(self.train + self.validation + self.test - 1) > 1e-9 or min(self.train, self.validation, self.test) <= 0:
            msg = f"train, validation and test must be positive and sum to 1, but are {self.train}, {self.validation}, {self.test}"
            raise UsageError(msg)
        if self.input_size % 32 or self.input_size <= 0:
            msg = f"input_size must be a positive multiple of 32, but is {self.input_size}"
            raise UsageError(msg)
        if not 0 < self.minimum_fill < self.maximum_fill <= 1:
            msg = f"0 < minimum_fill < maximum_fill <= 1 must hold, but they are {self.minimum_fill} and {self.maximum_fill}"
            raise UsageError(msg)
        if not 0 <= self.paste_probability < 1:
            msg = f"paste_probability must be at least 0 and below 1, or pasting never ends, but is {self.paste_probability}"
            raise UsageError(msg)
        if min(self.epochs, self.batch_size, self.patience) < 1:
            msg = f"epochs, batch_size and patience must be at least 1, but are {self.epochs}, {self.batch_size}, {self.patience}"
            raise UsageError(msg)

    @classmethod
    def from_toml(cls, path: Path) -> "TrainingConfig":
        """Read a config; UsageError for no file, no TOML, unknown keys (listing the known ones) and values of another type."""
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            msg = f"{path.name} could not be read as a TOML file of training settings ({error})"
            raise UsageError(msg) from error
        defaults = {f.name: f.default for f in fields(cls)}
        if unknown := sorted(set(raw) - set(defaults)):
            msg = f"{path.name}: unknown settings {unknown}; known are {list(defaults)}"
            raise UsageError(msg)
        if isinstance(raw.get("data_sets"), list):
            raw["data_sets"] = tuple(raw["data_sets"])
        for name, value in raw.items():
            wanted = type(defaults[name])
            # A whole number is a fine value for a fraction.
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                msg = f"{path.name}: {name} must be like {defaults[name]!r}, but is {value!r}"
                raise UsageError(msg)
        return cls(**raw)

    def to_toml(self) -> str:
        """The text `from_toml` reads back."""

        def literal(value: object) -> str:
            if isinstance(value, tuple):
                return "[" + ", ".join(literal(v) for v in value) + "]"
            # A JSON string is a TOML string, escapes included.
            return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)

        return "".join(f"{key} = {literal(value)}\n" for key, value in asdict(self).items())
