"""The settings of a localiser's training."""

from dataclasses import dataclass
from typing import Final

from training.config import TomlSettings

# The laboratories whose images have boxes, as `training.localiser.boxes` names them.
SOURCES: Final = ("set1", "set2", "bccd", "BCCD", "BCDD", "PBC", "Raabin-WBC")


@dataclass(frozen=True)
class LocaliserConfig(TomlSettings):
    """Everything that decides the outcome of `python -m training localise`.

    `sources` are learnt from, except those in `leave_out`, of which nothing is seen; `shares` say how often a scene is
    made of each. `validation` is the share of each source's groups that thresholds are chosen on. Sides of scenes and
    diameters in pixels: leukocytes are `smallest` to `largest` there, the logarithm being uniform. `frozen` is the
    number of the encoder's first stages that keep their ImageNet weights.
    """

    name: str = "localiser-lite0"
    encoder: str = "tu-tf_efficientnet_lite0"
    width: int = 48
    sources: tuple[str, ...] = SOURCES
    shares: tuple[float, ...] = (0.12, 0.08, 0.12, 0.14, 0.12, 0.2, 0.22)
    leave_out: tuple[str, ...] = ()
    validation: float = 0.12
    scene: int = 192
    smallest: float = 14.0
    largest: float = 190.0
    smudge_probability: float = 0.2
    platelet_probability: float = 0.35
    epochs: int = 30
    scenes_per_epoch: int = 640
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema_decay: float = 0.99
    frozen: int = 2
    seed: int = 7
    workers: int = 1
    threads: int = 1
