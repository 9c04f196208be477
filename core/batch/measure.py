"""The unit of work of every engine: images by name in, results out, never an exception because of an image.

This module is light: whoever hands a `Measurer` on needs no image libraries. They are imported when it is opened, in the worker.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.batch.settings import BatchSettings
from core.errors import ImageError
from core.inference.model_registry import ModelEntry

if TYPE_CHECKING:
    from core.batch.analysis import Analyst

_GPU_BATCH: Final = 16


class Stage(StrEnum):
    """At what an image failed."""

    LIST = "list"
    READ = "read"
    DECODE = "decode"
    OUTLINE = "outline"
    MEASURE = "measure"
    TIME = "time"
    MEMORY = "memory"
    CRASH = "crash"
    WRITE = "write"


@dataclass(frozen=True)
class Stamp:
    """What tells without reading that a file is still the same: size in bytes and time of change, checksum or entity tag."""

    size: int
    modified: str


@dataclass(frozen=True)
class Task:
    """One image to measure: its path relative to the input, and what its cells are filed under; None where nothing was said."""

    image_path: str
    cell_type: str | None = None
    patient_id: str | None = None


@dataclass(frozen=True, eq=False)
class ImageResult:
    """What became of an image: a row per cell and files to write, or the stage at which it failed and the reason in words.

    `rows` map the columns of `core.batch.results.cells_schema` to values; `files` map paths in the run's folder to contents. `sha256` and
    `stamp` are None where it could not be read.
    """

    image_path: str
    sha256: str | None = None
    stamp: Stamp | None = None
    rows: Sequence[Mapping[str, Any]] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    stage: Stage | None = None
    reason: str | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no result but a reason."""
        return self.stage is not None

    @property
    def flagged(self) -> bool:
        """Whether a cell carries a flag that keeps it out of summaries."""
        return any(not row["quality_ok"] for row in self.rows)

    @property
    def confidence(self) -> float | None:
        """Lowest confidence of its cells."""
        return min((row["confidence"] for row in self.rows), default=None)


class Reads(Protocol):
    """Where images are read from: `core.batch.inputs.Inputs`, as far as a worker needs it."""

    def read(self, path: str) -> tuple[bytes, Stamp]:
        """Content of an image; raises ImageError."""
        ...

    def stamp(self, path: str) -> Stamp | None:
        """What tells whether it changed."""
        ...


@dataclass(frozen=True, eq=False)
class Loaded:
    """A task with the content of its image, or the reason why it could not be read."""

    task: Task
    data: bytes = b""
    stamp: Stamp | None = None
    problem: str | None = None

    def failed(self, stage: Stage, reason: str, sha256: str | None = None) -> ImageResult:
        """The result of an image that cannot be measured."""
        return ImageResult(self.task.image_path, sha256, self.stamp, stage=stage, reason=reason)


class Measurer:
    """Reads and measures images; picklable until it is opened, and opened once in every worker.

    Parameters
    ----------
    inputs : Reads
        Where the images are.
    settings : BatchSettings
        What is measured and written.
    model : ModelEntry
        The model that draws the outlines.
    created : datetime
        When the run began: the date of every row, so that an interrupted run's are those of an undisturbed one.
    device : str
        One of `DEVICES`.
    batch_size : int, optional
        Images that go through the network together; by default 1 on a CPU, 16 on a GPU.
    """

    def __init__(
        self,
        inputs: Reads,
        settings: BatchSettings,
        model: ModelEntry,
        created: datetime,
        device: str = "auto",
        batch_size: int | None = None,
    ) -> None:
        self.inputs = inputs
        self.settings = settings
        self._model = model
        self._created = created
        self._device = device
        self._batch_size = batch_size
        self._analyst: Analyst | None = None

    def open(self) -> None:
        """Open the model; raises ModelError or ProviderError where it cannot be. Call it once, in the process that measures."""
        # Here and not at the top: whoever only hands a measurer on is at work a second sooner.
        from core.batch.analysis import Analyst

        self._analyst = Analyst(self.settings, self._model, self._created, self._device)

    @property
    def batch_size(self) -> int:
        """Images that go through the network together."""
        return self._batch_size or (_GPU_BATCH if self._opened.on_gpu else 1)

    @property
    def on_gpu(self) -> bool:
        """Whether the model runs on a GPU."""
        return self._opened.on_gpu

    def read(self, task: Task) -> Loaded:
        """Content of an image."""
        try:
            data, stamp = self.inputs.read(task.image_path)
        except ImageError as error:
            return Loaded(task, stamp=self.inputs.stamp(task.image_path), problem=str(error))
        return Loaded(task, data, stamp)

    def measure(self, loaded: Sequence[Loaded], alive: Callable[[], None] = lambda: None) -> list[ImageResult]:
        """Results in the order of the images; no image raises an error. `alive` is called after every cell."""
        return self._opened.analyse(loaded, alive)

    def results(self, tasks: Iterable[Task], alive: Callable[[], None] = lambda: None) -> Iterator[ImageResult]:
        """Results in the order of the tasks; the next images are read while one is measured."""
        ready: queue.Queue[Loaded | BaseException | None] = queue.Queue(maxsize=self.batch_size + 1)

        def read_ahead() -> None:
            try:
                for task in tasks:
                    ready.put(self.read(task))
                ready.put(None)
            except BaseException as error:  # noqa: BLE001  # raised again where the results are taken
                ready.put(error)

        threading.Thread(target=read_ahead, daemon=True, name="reads ahead").start()
        ended = False
        while not ended:
            together: list[Loaded] = []
            while not ended and len(together) < self.batch_size and not (together and ready.empty()):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    ended = True
                else:
                    together.append(item)
            if together:
                yield from self.measure(together, alive)

    @property
    def _opened(self) -> "Analyst":
        assert self._analyst is not None, "open() comes first"
        return self._analyst
