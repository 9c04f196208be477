"""The settings of a run: a frozen dataclass for each pipeline, TOML in, TOML out beside the results."""

import json
import re
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from core.domain.errors import RecordError, UsageError
from core.support import records


class TomlSettings:
    """What the frozen dataclasses of settings share: reading and writing themselves as TOML."""

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a config.

        Raises
        ------
        UsageError
            If there is no file or no TOML, a key is unknown (with the known ones), or a value has another type.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            msg = f"{path.name} could not be read as a TOML file of training settings ({error})"
            raise UsageError(msg) from error
        try:
            return records.from_plain(cls, raw)
        except RecordError as error:
            msg = f"{path.name}: {error}"
            raise UsageError(msg) from error

    def to_toml(self) -> str:
        """The text that `from_toml` reads."""

        def literal(value: object) -> str:
            if isinstance(value, tuple):
                return "[" + ", ".join(literal(v) for v in value) + "]"
            # A JSON string is a TOML string, escapes included; so are the words for truth.
            return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)

        return "".join(f"{key} = {literal(value)}\n" for key, value in asdict(self).items())  # type: ignore[call-overload]


@dataclass(frozen=True)
class TrainingConfig(TomlSettings):
    """Everything that decides the outcome of `python -m training finetune`.

    `train`, `validation` and `test` are shares of the groups of originals; sizes in pixels; `minimum_fill` to
    `maximum_fill` is the range of the window's share that the cell takes; `patience` in epochs without a better
    validation Dice.

    All below `threads` except `white_balance` is off, unless it is set:

    - `images_per_epoch` drawn from the training part (0: each image once), so that an epoch costs the same whatever the
      data;
    - `white_balance`, whether the background's tint is removed first; `detail`, side in pixels that a window is reduced
      to before it is enlarged to the network's grid, so that cameras differ less in sharpness (0: it is not);
    - pasting, from epoch `paste_from_epoch` on: a cell's distance from the centred one is drawn from `paste_gap`, in
      shares of its radius, and its seam is as wide as a draw from `paste_seam` (standard deviation in pixels of the
      network's grid); with `clutter_probability` another image's red cell, or an empty piece of its background, is
      pasted; with `red_cell_probability` red cells are drawn;
    - `thin_probability` of a nucleus widened until the cytoplasm is thin;
    - stain and light: with `stain_probability` a jitter `stain_strength` times the ordinary one; `stain_mix` is the
      spread of what each colour's optical density takes from the others', `light_gradient` and `background_change` the
      largest change of optical density across the image and of all that is no cell;
    - `boundary_weight` of a further term of the loss (`training.losses`);
    - `start_from` is the folder of a run, or an exported model (.onnx, its split beside it), whose weights to begin
      with: those of its encoder alone where its decoder is another; images that its split names stay in their part;
    - `loss` and `augmentation` name a person's own, as `module:function` (`training.own`);
    - `average_of` are runs, or exported models, that began alike: nothing is trained, the mean of their weights is
      validated and tested;
    - `pseudo_sets` are folders written by `python -m training.experiments pseudo` or `boxed`, from which an image
      replaces a drawn one with `pseudo_probability`; `pseudo_without` leaves out the sources whose names its images
      begin with.
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
    images_per_epoch: int = 0
    white_balance: bool = True
    detail: int = 0
    paste_from_epoch: int = 0
    paste_gap: tuple[float, float] = (-0.15, 0.25)
    paste_seam: tuple[float, float] = (1.0, 1.0)
    clutter_probability: float = 0.0
    red_cell_probability: float = 0.0
    thin_probability: float = 0.0
    stain_probability: float = 0.5
    stain_strength: float = 1.0
    stain_mix: float = 0.0
    light_gradient: float = 0.0
    background_change: float = 0.0
    boundary_weight: float = 0.0
    loss: str = ""
    augmentation: str = ""
    start_from: str = ""
    average_of: tuple[str, ...] = ()
    pseudo_sets: tuple[str, ...] = ()
    pseudo_probability: float = 0.0
    pseudo_without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, in words."""
        self._check_levers()
        if abs(self.train + self.validation + self.test - 1) > 1e-9 or min(self.train, self.validation, self.test) <= 0:
            msg = (
                f"train, validation and test must be positive and sum to 1, but are {self.train}, {self.validation},"
                f" {self.test}"
            )
            raise UsageError(msg)
        if self.input_size % 32 or self.input_size <= 0:
            msg = f"input_size must be a positive multiple of 32, but is {self.input_size}"
            raise UsageError(msg)
        if not 0 < self.minimum_fill < self.maximum_fill <= 1:
            msg = (
                f"0 < minimum_fill < maximum_fill <= 1 must hold, but they are {self.minimum_fill} and"
                f" {self.maximum_fill}"
            )
            raise UsageError(msg)
        if not 0 <= self.paste_probability < 1:
            msg = (
                "paste_probability must be at least 0 and below 1, or pasting never ends, but is"
                f" {self.paste_probability}"
            )
            raise UsageError(msg)
        if min(self.epochs, self.batch_size, self.patience) < 1:
            msg = (
                f"epochs, batch_size and patience must be at least 1, but are {self.epochs}, {self.batch_size},"
                f" {self.patience}"
            )
            raise UsageError(msg)

    def _check_levers(self) -> None:
        for name in (
            "clutter_probability",
            "red_cell_probability",
            "thin_probability",
            "stain_probability",
            "pseudo_probability",
        ):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} must lie between 0 and 1, but is {getattr(self, name)}"
                raise UsageError(msg)
        for name in (
            "images_per_epoch",
            "detail",
            "paste_from_epoch",
            "stain_strength",
            "stain_mix",
            "light_gradient",
            "background_change",
            "boundary_weight",
        ):
            if getattr(self, name) < 0:
                msg = f"{name} must not be negative, but is {getattr(self, name)}"
                raise UsageError(msg)
        for name in ("paste_gap", "paste_seam"):
            values = getattr(self, name)
            if len(values) != 2 or values[0] > values[1]:
                msg = f"{name} must be two numbers, the smaller first, but is {list(values)}"
                raise UsageError(msg)
        if self.paste_seam[0] <= 0:
            msg = f"paste_seam must be positive, but is {list(self.paste_seam)}"
            raise UsageError(msg)
        if self.loss and self.boundary_weight:
            msg = (
                f"boundary_weight belongs to the program's own loss, but loss is {self.loss!r}; set boundary_weight to"
                " 0, or leave loss empty"
            )
            raise UsageError(msg)
        if self.average_of and self.start_from:
            msg = (
                f"only one of start_from and average_of can be set, but they are {self.start_from!r} and"
                f" {list(self.average_of)}"
            )
            raise UsageError(msg)
        if bool(self.pseudo_sets) != (self.pseudo_probability > 0):
            msg = (
                f"pseudo_sets and pseudo_probability go together, but are {list(self.pseudo_sets)} and"
                f" {self.pseudo_probability}"
            )
            raise UsageError(msg)
        if 0 < self.images_per_epoch < self.batch_size:
            msg = (
                f"an epoch must hold at least one batch, but images_per_epoch is {self.images_per_epoch} of"
                f" {self.batch_size}"
            )
            raise UsageError(msg)


@dataclass(frozen=True)
class SelectionConfig(TomlSettings):
    """Everything that decides the outcome of `python -m training select`.

    `name` is the run's id. `grouped` lists the architectures compared on folds of originals, `as_published` those also
    tried on the thesis's folds of copies; `k` the numbers of folds. An epoch is `images_per_epoch` copies drawn from
    the training part (0: all of it), so that the budget of every fold is `epochs * images_per_epoch` images, whatever
    the architecture or the protocol.
    """

    name: str = "selection"
    data_sets: tuple[str, ...] = ("set2",)
    grouped: tuple[str, ...] = (
        "unetplusplus",
        "unet",
        "manet",
        "linknet",
        "fpn",
        "pspnet",
        "pan",
        "deeplabv3plus",
        "u2net",
    )
    as_published: tuple[str, ...] = ("unetplusplus", "unet")
    k: tuple[int, ...] = (10, 8, 6)
    encoder: str = "tu-tf_efficientnet_lite0"
    input_size: int = 224
    cell_fill: float = 0.62
    epochs: int = 30
    images_per_epoch: int = 0
    batch_size: int = 8
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema_decay: float = 0.995
    seed: int = 7
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, in words."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            msg = f"name becomes a folder and may hold letters, digits, '.', '_' and '-' only, but is {self.name!r}"
            raise UsageError(msg)
        if not self.grouped + self.as_published:
            msg = "nothing to compare: name architectures in grouped, as_published, or both"
            raise UsageError(msg)
        for name in ("grouped", "as_published", "k", "data_sets"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                msg = f"{name} names something twice: {list(values)}"
                raise UsageError(msg)
        if not self.k or min(self.k) < 2:
            msg = f"k must list numbers of folds of at least 2, but is {list(self.k)}"
            raise UsageError(msg)
        if self.input_size % 32 or self.input_size <= 0:
            msg = f"input_size must be a positive multiple of 32, but is {self.input_size}"
            raise UsageError(msg)
        if not 0 < self.cell_fill <= 1:
            msg = f"cell_fill must be above 0 and at most 1, but is {self.cell_fill}"
            raise UsageError(msg)
        if min(self.epochs, self.batch_size, self.threads) < 1 or self.images_per_epoch < 0:
            msg = (
                "epochs, batch_size and threads must be at least 1 and images_per_epoch at least 0, but are "
                f"{self.epochs}, {self.batch_size}, {self.threads}, {self.images_per_epoch}"
            )
            raise UsageError(msg)
        if 0 < self.images_per_epoch < self.batch_size:
            msg = (
                f"an epoch must hold at least one batch, but images_per_epoch is {self.images_per_epoch} of"
                f" {self.batch_size}"
            )
            raise UsageError(msg)
