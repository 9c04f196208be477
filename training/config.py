"""The settings of a training run: one frozen dataclass, TOML in, TOML out beside the weights."""

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
    epochs: int = 60
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

    @classmethod
    def from_toml(cls, path: Path) -> "TrainingConfig":
        """Read a config; unknown keys are an error that lists the known ones."""
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(raw) - set(known)):
            msg = f"{path.name}: unknown settings {unknown}; known are {known}"
            raise UsageError(msg)
        if "data_sets" in raw:
            raw["data_sets"] = tuple(raw["data_sets"])
        return cls(**raw)

    def to_toml(self) -> str:
        """The text `from_toml` reads back."""

        def literal(value: object) -> str:
            if isinstance(value, tuple):
                return "[" + ", ".join(literal(v) for v in value) + "]"
            return f'"{value}"' if isinstance(value, str) else repr(value)

        return "".join(f"{key} = {literal(value)}\n" for key, value in asdict(self).items())
