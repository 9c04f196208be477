"""The settings of an adaptation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.domain.errors import UsageError
from training.config import TomlSettings

DEFAULT: Final = Path(__file__).resolve().parents[1] / "configs" / "adapt.toml"


@dataclass(frozen=True)
class AdaptationConfig(TomlSettings):
    """Everything but the images and the model that decides the outcome of `python -m training adapt`.

    - `images` are the draws, each with its own augmentation, that a network is shown; `batch_size` at a time;
    - `known_share` of them is drawn from the images that the model was trained on, as far as they are there, so that it
      forgets nothing;
    - `frozen` names parts of the network that stay as they are, as far as it has them: what sees edges and colours
      needs no other laboratory, and not to learn it saves a third of the time;
    - `learning_rate` is the highest of the schedule, `ema_decay` the memory of the averaged weights;
    - `folds`: so many networks are each taught without one part of the corrected cells, which it is scored on;
    - `shares` are the parts of the way from the model's weights to the adapted ones that are tried (1: all of it);
    - `forgets` is what a laboratory that the model knows may lose at most, in Dice.
    """

    images: int = 400
    batch_size: int = 8
    known_share: float = 0.5
    frozen: tuple[str, ...] = (
        "encoder.model.conv_stem",
        "encoder.model.bn1",
        "encoder.model.blocks.0",
        "encoder.model.blocks.1",
        "encoder.model.blocks.2",
    )
    learning_rate: float = 5e-4
    weight_decay: float = 1e-2
    ema_decay: float = 0.97
    folds: int = 3
    shares: tuple[float, ...] = (1.0, 0.5)
    forgets: float = 0.005
    seed: int = 7
    workers: int = 1
    threads: int = 2

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, in words."""
        if min(self.images // max(self.batch_size, 1), self.batch_size, self.threads) < 1 or self.workers < 0:
            msg = (
                "images must be at least batch_size, both and threads at least 1, and workers at least 0, but they are"
                f" {self.images}, {self.batch_size}, {self.threads} and {self.workers}"
            )
            raise UsageError(msg)
        if self.folds < 2:
            msg = f"folds must be at least 2, or nothing would be held back to score on, but is {self.folds}"
            raise UsageError(msg)
        if not 0 <= self.known_share < 1:
            msg = f"known_share must be at least 0 and below 1, or nothing new is learnt, but is {self.known_share}"
            raise UsageError(msg)
        if not self.shares or not all(0 < share <= 1 for share in self.shares):
            msg = f"shares must list numbers above 0 and at most 1, but is {list(self.shares)}"
            raise UsageError(msg)
        if min(self.learning_rate, self.forgets) <= 0:
            msg = f"learning_rate and forgets must be positive, but are {self.learning_rate} and {self.forgets}"
            raise UsageError(msg)
