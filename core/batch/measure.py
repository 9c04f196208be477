"""The unit of work of every engine: images by name in, results out, never an exception because of an image.

This module is light: handing on a `Measurer` needs no image libraries. They are imported when it is opened, in the
worker.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from core.batch.inputs import Inputs
from core.batch.settings import BatchSettings
from core.batch.tasks import ImageResult, Loaded, Task
from core.domain.errors import ImageError
from core.segmentation.model_registry import ModelEntry

if TYPE_CHECKING:
    from core.batch.analysis import Analyst

_GPU_BATCH: Final = 16


class Measurer:
    """Reads and measures images; picklable until it is opened, and opened once in every worker.

    Parameters
    ----------
    inputs
        Where the images are.
    settings
        What is measured and written.
    model
        The model that draws the outlines.
    created
        When the run began: the date of every row, so that the rows of an interrupted run equal those of an undisturbed
        one.
    device
        One of `DEVICES`.
    batch_size
        Images that go through the network together; by default 1 on a CPU, 16 on a GPU.
    """

    def __init__(
        self,
        inputs: Inputs,
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
        self.device = device
        self._batch_size = batch_size
        self._analyst: Analyst | None = None

    def open(self) -> None:
        """Open the model; call it once, in the process that measures.

        Raises
        ------
        ModelError, ProviderError
            If it cannot be opened.
        """
        # Here and not at the top: whoever only hands a measurer on is at work a second sooner.
        from core.batch.analysis import Analyst

        self._analyst = Analyst(self.settings, self._model, self._created, self.device)

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
