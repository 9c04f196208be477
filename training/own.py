"""A person's own loss and augmentation, named in the settings as `module:function`, and held to what they must do."""

import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from core.domain.compartments import Compartment
from core.domain.errors import UsageError
from training.trainer import is_out_of_memory

logger = logging.getLogger(__name__)


class OwnCodeError(UsageError):
    """A person's own code cannot be used, or failed; the message says why."""

    def __init__(self, message: str) -> None:
        # From a process that prepares images it comes wrapped in the text of a traceback, which ends in the message.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


def own_code(setting: str, name: str) -> Callable[..., Any]:
    """What `module:function` names; of a class an object, made without arguments.

    The module is looked for as Python does: in the current folder first, then among what is installed.

    Raises
    ------
    OwnCodeError
        If there is no such module, no such name in it, or it cannot be called.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        msg = f'{setting} must be written as "module:function", but is {name!r}'
        raise OwnCodeError(msg)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        there = vars(import_module(module))
    except Exception as error:
        msg = (
            f"{setting} is {name!r}, but {module} cannot be imported from {here} ({_told(error)}); mend it or the name"
        )
        raise OwnCodeError(msg) from error
    if attribute not in there:
        known = ", ".join(key for key, value in there.items() if callable(value) and not key.startswith("_"))
        msg = f"{setting} is {name!r}, but {module} has no {attribute}; it has {known or 'no function at all'}"
        raise OwnCodeError(msg)
    own = there[attribute]
    try:
        own = own() if isinstance(own, type) else own
    except Exception as error:
        msg = (
            f"{setting} {name} is a class, and cannot be made without arguments ({_told(error)}); name an object of it"
        )
        raise OwnCodeError(msg) from error
    if not callable(own):
        msg = f"{setting} must name a function, but {name} is of type {type(own).__name__}"
        raise OwnCodeError(msg)
    return own  # type: ignore[no-any-return]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Own:
    """What is named; all that it raises is told in words, except that memory is exhausted."""

    setting: str
    duty: str

    def __init__(self, name: str) -> None:
        self.name = name
        self.function = own_code(self.setting, name)

    def _called(self, *given: Any) -> Any:  # noqa: ANN401 (whatever it gives)
        try:
            return self.function(*given)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            msg = f"{self.setting} {self.name} failed ({_told(error)}); {self.duty}"
            raise OwnCodeError(msg) from error

    def _refuse(self, gave: str) -> NoReturn:
        msg = f"{self.setting} {self.name} gave {gave}; {self.duty}"
        raise OwnCodeError(msg)


class OwnLoss(_Own):
    """A loss of logits (N, C, H, W) and targets (N, C, H, W) of 0 and 1: a tensor with one number.

    Of a network with several outputs it is the sum over them, as the program's own. A torch module is moved to the
    device; its parameters are neither trained nor kept.
    """

    setting = "loss"
    duty = "it must make one finite number, with a gradient, of logits and targets, tensors (N, C, H, W)"

    def __init__(self, name: str, device: torch.device) -> None:
        super().__init__(name)
        self._device = device
        if isinstance(self.function, torch.nn.Module):
            self.function = self.function.to(device)
            if any(parameter.requires_grad for parameter in self.function.parameters()):
                logger.warning("the loss %s has parameters: they stay as they are, only the network learns", name)

    def __call__(self, logits: torch.Tensor | Sequence[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        """The loss of a batch."""
        if isinstance(logits, torch.Tensor):
            value: torch.Tensor = self._called(logits, targets)
            return value
        return torch.stack([self(output, targets) for output in logits]).sum()

    def check(self, targets: torch.Tensor) -> None:
        """Try it on some targets and random logits; raises OwnCodeError where nothing can be learnt from it."""
        random = torch.randn(targets.shape, generator=torch.Generator().manual_seed(0))
        logits = random.to(self._device).requires_grad_()
        value = self._called(logits, targets.to(self._device))
        if not isinstance(value, torch.Tensor):
            self._refuse(f"an object of type {type(value).__name__}")
        if value.dim():
            self._refuse(f"a tensor of shape {tuple(value.shape)}")
        if not value.isfinite():
            self._refuse(str(value.item()))
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
        if logits.grad is None or not logits.grad.any():
            self._refuse("no gradient: .detach(), .item(), numpy or a threshold cuts it")
        if not logits.grad.isfinite().all():
            self._refuse("a gradient that is not finite")


class OwnAugmentation(_Own):
    """A change of an image uint8 (H, W, 3) and its label map uint8 (H, W), by a generator: both again, of that size."""

    setting = "augmentation"
    duty = (
        "it must make an image and a label map of an image uint8 (H, W, 3), a label map uint8 (H, W) of 0 to"
        f" {max(Compartment)} and a generator of numpy, both as they came in size and type"
    )

    def __reduce__(self) -> tuple[type["OwnAugmentation"], tuple[str]]:
        # Processes that prepare images look for it again: not all that can be named can be sent.
        return type(self), (self.name,)

    def __call__(
        self, rgb: NDArray[np.uint8], labels: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The changed image and label map; raises OwnCodeError where they are of another kind."""
        made = self._called(rgb, labels, rng)
        if not isinstance(made, tuple | list) or len(made) != 2:
            self._refuse(f"an object of type {type(made).__name__}")
        for one, came, what in zip(made, (rgb, labels), ("an image", "a label map"), strict=True):
            if not isinstance(one, np.ndarray):
                self._refuse(f"as {what} an object of type {type(one).__name__}")
            if one.shape != came.shape or one.dtype != came.dtype:
                self._refuse(f"{what} {one.dtype} {one.shape} of {came.dtype} {came.shape}")
        if made[1].max(initial=0) > max(Compartment):
            self._refuse(f"labels up to {made[1].max()}")
        return np.ascontiguousarray(made[0]), np.ascontiguousarray(made[1])
