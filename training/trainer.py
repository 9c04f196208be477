"""A network in training: optimiser, schedule, averaged weights, one epoch at a time; both pipelines use it."""

import copy
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save

from core.domain.compartments import CHANNELS
from core.domain.errors import TrainingError, UsageError
from core.support import files
from training.config import SelectionConfig, TrainingConfig
from training.losses import OBJECTS, hard_dice, segmentation_loss

# Order of the columns of Dice that `Trainer.validate` gives.
OBJECT_NAMES: Final = tuple(CHANNELS[channel].label for channel in OBJECTS)


class DivergedError(TrainingError):
    """The loss is no longer a finite number."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any library says that memory is exhausted."""
    by_word = isinstance(error, RuntimeError) and re.search(
        r"not enough memory|can't allocate memory|ALLOC_FAILED", str(error)
    )
    return bool(by_word) or isinstance(error, MemoryError | torch.OutOfMemoryError)


class Average:
    """Exponential moving average of the weights, warmed up so that early epochs are not dominated by the start."""

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: torch.nn.Module) -> None:
        """Take the weights of a network in after a step."""
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        for average, current in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(current)


def find_device(name: str) -> torch.device:
    """The device of that name (`cpu`, `cuda`, `cuda:1`; `auto`: CUDA if there is one); raises UsageError without it."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        msg = f"device must be auto, cpu, cuda or cuda:<number>, but is {name!r}"
        raise UsageError(msg) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        msg = (
            f"device {name} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu,"
            " or install a driver"
        )
        raise UsageError(msg)
    return device


class Trainer:
    """AdamW with a one-cycle schedule over `total_steps`, gradients clipped to norm 1, channels last.

    `loss` of logits and targets is minimised; validation always gives the thesis's. The parts of the network that are
    named in `frozen` stay as they are; with `fixed_statistics` so do the statistics of all batch normalisations, and a
    batch is normalised by them.

    On CUDA the network runs in bfloat16 where the card has it (loss and optimiser stay in float32) and cuDNN keeps to
    deterministic algorithms; torch has only slow ones for upsampling and adaptive pooling, which are not asked for, so
    two runs there agree to rounding only. On the CPU they agree exactly.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        config: TrainingConfig | SelectionConfig,
        *,
        total_steps: int,
        device: torch.device,
        loss: Callable[..., torch.Tensor] = segmentation_loss,
        frozen: Sequence[str] = (),
        fixed_statistics: bool = False,
    ) -> None:
        self.device = device
        self._mixed = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if device.type == "cuda":
            torch.backends.cudnn.deterministic = True
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._at_rest = [self.network.get_submodule(name).requires_grad_(requires_grad=False) for name in frozen]
        if fixed_statistics:
            self._at_rest += [part for part in self.network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        self._average = Average(self.network, config.ema_decay)
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser, config.learning_rate, total_steps=total_steps, pct_start=0.15, cycle_momentum=False
        )
        self._loss = loss

    @property
    def precision(self) -> str:
        """Number format of the network's arithmetic."""
        return "bfloat16" if self._mixed else "float32"

    @property
    def averaged(self) -> torch.nn.Module:
        """The network of averaged weights: the one that is validated and kept."""
        return self._average.network

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return float(self._schedule.get_last_lr()[0])

    def train_epoch(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], *, seed: int) -> float:
        """One pass over batches of images (N, 3, S, S) and targets (N, C, S, S); returns the mean loss over images.

        `seed`, another in every epoch, decides the dropout: a run that is continued needs no state of a random
        generator. Raises DivergedError when the loss is no finite number.
        """
        torch.manual_seed(seed)
        self.network.train()
        for part in self._at_rest:
            part.eval()
        total, count = torch.zeros((), device=self.device), 0
        for images, targets in batches:
            self._optimiser.zero_grad(set_to_none=True)
            loss = self._loss(self._logits(self.network, images), targets.to(self.device))
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self._optimiser.step()
            self._schedule.step()
            self._average.update(self.network)
            total, count = total + loss.detach() * len(images), count + len(images)
        mean = float(total) / count
        if not math.isfinite(mean):
            msg = f"the training loss is {mean}; a lower learning_rate may help"
            raise DivergedError(msg)
        return mean

    @torch.no_grad()
    def validate(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, torch.Tensor]:
        """Mean loss, and Dice per image (N, 2) in the order of OBJECT_NAMES, of the averaged weights.

        Raises
        ------
        DivergedError
            If the loss is no finite number.
        """
        losses, scores = [], []
        for images, targets in batches:
            wanted = targets.to(self.device)
            logits = self._logits(self.averaged, images)
            losses.append(segmentation_loss(logits, wanted) * len(images))
            scores.append(hard_dice(logits, wanted))
        dice = torch.cat(scores).cpu()
        mean = float(torch.stack(losses).sum()) / len(dice)
        if not math.isfinite(mean):
            msg = f"the validation loss is {mean}; a lower learning_rate may help"
            raise DivergedError(msg)
        return mean, dice

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, C, S, S) of images (N, 3, S, S), by the averaged weights, on the CPU."""
        logits: torch.Tensor = self._logits(self.averaged, images)
        return logits.cpu()

    def _logits(self, network: torch.nn.Module, images: torch.Tensor) -> Any:  # noqa: ANN401 (one tensor, or U2-Net's list of them)
        moved = images.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._mixed):
            logits = network(moved)
        return logits.float() if isinstance(logits, torch.Tensor) else [output.float() for output in logits]

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on as if nothing had happened."""
        return {
            "network": self.network.state_dict(),
            "average": self.averaged.state_dict(),
            "average_steps": self._average.steps,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state`."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["average"])
        self._average.steps = state["average_steps"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])


def write_weights(path: Path, network: torch.nn.Module, notes: Mapping[str, str] | None = None) -> None:
    """Write the weights of a network, with notes, in one step; raises OSError as `write_checkpoint`."""
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    files.write_bytes(path, save(tensors, dict(notes or {})))


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state in one step; raises OSError where the disk refuses (torch's own writer hides why)."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    files.write_bytes(path, buffer.getbuffer())


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state at that place, on the CPU; None where there is none."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
