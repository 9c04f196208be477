"""The engine of a cluster: Ray actors, each with a local engine of one worker, measure chunks of images and save them.

The driver only lists images and hands out names; images and results never pass through it, so input and output must be
reachable from every node. Failures of an image are handled by the local engine of its actor. When an actor or its node
fails, its chunk is done again elsewhere, under the same name of its shard. `docs/cluster.md` says what to start where.
"""

import hashlib
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from typing import Any, Final

from core.batch.local import LocalEngine
from core.batch.measure import Measurer
from core.batch.results import Record, Run, RunFolder
from core.batch.run import FLUSH_BYTES, FLUSH_CELLS, FLUSH_IMAGES, Engine, Tasks
from core.batch.tasks import ImageResult, Stage, Task
from core.domain.errors import ClusterError, CoreError, UsageError
from core.domain.options import FeatureEngine
from core.domain.versions import software_versions

# Images of the first chunks; later ones grow to FLUSH_IMAGES, so that a short run is shared out evenly and a long one
# has few shards.
_FIRST_CHUNK: Final = 8
# A chunk is at most this share of what each actor has been given so far, so the last actor takes no more than this
# much longer than the others.
_SHARE: Final = 1 / 8
# Chunks an actor has: one is measured while the one before is saved.
_AHEAD: Final = 2
# Actors that end before they are ready, one after the other, until the run is given up.
_FAILED_STARTS: Final = 3
# Measuring a cell needs the CPU most of the time, so several actors keep one GPU busy.
_ACTORS_A_GPU: Final = 8
_CONNECT_S: Final = 10.0
_TICK_S: Final = 0.2
_LOOK_S: Final = 5.0
# Only names and records pass through Ray's store of objects.
_STORE_BYTES: Final = 100 * 2**20


def ray_engine(address: str | None = None, actors: int | None = None) -> Callable[[RunFolder, Run, Measurer], Engine]:
    """Make the engine of a run for `core.batch.run.Batch`.

    Parameters
    ----------
    address
        Address of the cluster to join, as `ray start` prints it; without it one is started on this machine, and ended
        with the run.
    actors
        How many; by default as many as the cluster has CPUs (or 8 a GPU, if it has any), also of nodes that join later.

    Raises
    ------
    ClusterError
        If Ray is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address is None or address.startswith(("127.0.0.1", "localhost")):
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = (
            "0"  # so Ray is told, on any system, to listen at 127.0.0.1 only
        )
    try:
        with _sigterm_kept():
            import ray
    except ImportError as error:
        msg = (
            f"expected Ray for --engine ray, but it cannot be imported ({error}); pip install -r"
            " requirements-cluster.txt"
        )
        raise ClusterError(msg) from error
    return lambda folder, run, measurer: _ClusterEngine(ray, address, actors, folder, run, measurer)


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray puts its own handler of SIGTERM in the place of the run's, which saves and stops."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@dataclass(eq=False)
class _Chunk:
    """Images that one actor measures into one shard; a `suspect` chunk was with an actor that ended."""

    tasks: Sequence[Task | ImageResult]
    suspect: bool = False

    @property
    def name(self) -> str:
        """Name of the shard without its ending: the same images have the same, so doing them again overwrites it."""
        return f"cells-{hashlib.sha256(chr(0).join(task.image_path for task in self.tasks).encode()).hexdigest()[:32]}"

    def halves(self) -> tuple["_Chunk", "_Chunk"]:
        """The two chunks that replace it."""
        middle = len(self.tasks) // 2
        return _Chunk(self.tasks[:middle], suspect=True), _Chunk(self.tasks[middle:], suspect=True)


@dataclass(eq=False)
class _Member:
    """An actor and its chunks; it is given nothing before it is ready, and nothing besides a suspect."""

    actor: Any
    ready: bool = False
    chunks: list[_Chunk] = field(default_factory=list)

    @property
    def alone(self) -> bool:
        """Whether what it has is to be alone."""
        return any(chunk.suspect for chunk in self.chunks)


class _ClusterEngine:
    """Hands out chunks; `ray` is the module."""

    def __init__(
        self,
        ray: Any,  # noqa: ANN401
        address: str | None,
        actors: int | None,
        folder: RunFolder,
        run: Run,
        measurer: Measurer,
    ) -> None:
        self._ray = ray
        self._address = address
        self._actors = actors
        self._folder = folder
        self._key = run.key
        self._measurer = measurer
        self._members: list[_Member] = []
        # What is awaited: a chunk, or None for an actor that gets ready.
        self._awaited: dict[Any, tuple[_Member, _Chunk | None]] = {}
        # Chunks whose actor ended: done again alone, and halved if it happens again, until the image to blame is alone.
        self._suspects: deque[_Chunk] = deque()
        self._given = 0
        self._failed_starts = 0
        self._looked = -_LOOK_S

    def __call__(self, tasks: Tasks, may_submit: Callable[[bool], bool]) -> Generator[Record | None, None, None]:
        """Records as their chunks are saved; the cluster is only met if there is something to do."""
        first = next(tasks, None)
        if first is None:
            return
        self._connect()
        try:
            yield from self._work(chain([first], tasks), may_submit)
        except self._ray.exceptions.RaySystemError as error:
            msg = f"the connection to the cluster was lost ({error}); when it is there again, the same command goes on"
            raise ClusterError(msg) from error
        finally:
            self._ray.shutdown()  # which ends the actors, and the cluster if it was started here

    def _connect(self) -> None:
        host, _, port = (self._address or "").rpartition(":")
        try:
            if port.isdigit():  # Ray itself would try for many minutes
                socket.create_connection((host, int(port)), _CONNECT_S).close()
        except OSError as error:
            msg = (
                f"expected a cluster at {self._address}, but {error.strerror or error}; look at `ray status` there, or"
                " start one"
            )
            raise ClusterError(msg) from error
        how: dict[str, Any] = {"address": self._address or "local"}
        if not self._address:
            how |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES, "num_cpus": self._actors}
        try:
            with _sigterm_kept():
                self._ray.init(**how, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            msg = f"Ray cannot work at {self._address or 'this machine'}: {error}; look at `ray status` there"
            raise ClusterError(msg) from error

    def _work(self, tasks: Tasks, may_submit: Callable[[bool], bool]) -> Generator[Record | None, None, None]:
        exhausted = False
        while True:
            self._keep_up()
            under_way = any(chunk for _, chunk in self._awaited.values())
            if may_submit(not under_way):
                exhausted = self._submit(tasks)
                if exhausted and not self._suspects and not any(chunk for _, chunk in self._awaited.values()):
                    return
            done, _ = self._ray.wait(list(self._awaited), timeout=_TICK_S) if self._awaited else ([], [])
            for reference in done:
                yield from self._take(reference)
            if not done:
                yield None

    def _keep_up(self) -> None:
        """Keep as many actors as the cluster has room for: replace lost ones, use nodes that join."""
        if time.monotonic() - self._looked < _LOOK_S and self._members:
            return
        self._looked = time.monotonic()
        resources = self._ray.cluster_resources()
        room, share = int(resources.get("CPU", 0)), 0.0
        if resources.get("GPU") and self._measurer.device != "cpu":
            room, share = min(room, int(resources["GPU"] * _ACTORS_A_GPU)), 1 / _ACTORS_A_GPU
        for _ in range(len(self._members), self._actors or max(room, 1)):
            remote = self._ray.remote(num_cpus=1, num_gpus=share, max_concurrency=_AHEAD, max_restarts=0)(_Actor)
            versions = software_versions(FeatureEngine(self._measurer.settings.feature_engine))
            member = _Member(remote.remote(self._folder.out, self._key, self._measurer, versions))
            self._members.append(member)
            self._awaited[member.actor.open.remote()] = (member, None)

    def _submit(self, tasks: Tasks) -> bool:
        """Give every ready actor what it may have; returns whether there is nothing left to give."""
        for ahead in range(_AHEAD):
            for member in self._members:
                if member.ready and len(member.chunks) == ahead and not member.alone:
                    chunk = self._suspects.popleft() if self._suspects and not member.chunks else self._next(tasks)
                    if chunk is None:
                        return True
                    member.chunks.append(chunk)
                    self._awaited[member.actor.measure.remote(chunk.tasks, chunk.name)] = (member, chunk)
        return False

    def _next(self, tasks: Tasks) -> _Chunk | None:
        size = int(min(max(_SHARE * self._given / max(len(self._members), 1), _FIRST_CHUNK), FLUSH_IMAGES))
        taken = list(islice(tasks, size))
        self._given += len(taken)
        return _Chunk(taken) if taken else None

    def _take(self, reference: Any) -> Iterator[Record]:  # noqa: ANN401
        """Take what an actor has done, or see that it is no more."""
        member, chunk = self._awaited.pop(reference)
        try:
            records = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            if member in self._members:
                self._members.remove(member)
                self._looked = -_LOOK_S
            if chunk is not None:
                self._lost(chunk)
                return
            self._failed_starts += 1
            if self._failed_starts == _FAILED_STARTS:
                msg = (
                    f"no actor gets ready on the cluster ({error}); every node needs this version of Leukoscope, see"
                    " docs/cluster.md"
                )
                raise ClusterError(msg) from error
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, CoreError):
                raise error.cause from None
            raise
        else:
            self._failed_starts = 0
            if chunk is None:
                member.ready = True
            else:
                member.chunks.remove(chunk)
                yield from records

    def _lost(self, chunk: _Chunk) -> None:
        """Have it done again: the first time the node, or another chunk, may have been to blame."""
        if not chunk.suspect:
            self._suspects.append(replace(chunk, suspect=True))
        elif len(chunk.tasks) > 1:
            self._suspects.extend(chunk.halves())
        else:
            path = chunk.tasks[0].image_path
            reason = f"{path}: the actors of the cluster that had it ended; look at the image, then use --retry-failed"
            stamp = self._measurer.inputs.stamp(path)
            self._suspects.append(_Chunk([ImageResult(path, stamp=stamp, stage=Stage.CRASH, reason=reason)]))


class _Given(Iterator[Task | ImageResult]):
    """Tasks that an actor was given and has not begun; ends when none is left, and goes on when more were given."""

    def __init__(self) -> None:
        self._tasks: deque[Task | ImageResult] = deque()

    def extend(self, tasks: Sequence[Task | ImageResult]) -> None:
        """Add tasks."""
        self._tasks.extend(tasks)

    def __next__(self) -> Task | ImageResult:
        if not self._tasks:
            raise StopIteration
        return self._tasks.popleft()


class _Actor:
    """A node's worker: a local engine of one process that outlives the chunks, and a results folder of its own."""

    def __init__(self, out: str, key: str, measurer: Measurer, versions: Mapping[str, str]) -> None:
        self._out = out
        self._key = key
        self._measurer = measurer
        self._versions = versions
        self._one_at_a_time = threading.Lock()
        self._given = _Given()
        self._left = 0

    def open(self) -> None:
        """Get ready; raises CoreError where this node differs from the driver."""
        if (here := software_versions(FeatureEngine(self._measurer.settings.feature_engine))) != self._versions:
            names = sorted(
                name for name in here.keys() | self._versions.keys() if here.get(name) != self._versions.get(name)
            )
            differ = ", ".join(f"{name} {here.get(name)} instead of {self._versions.get(name)}" for name in names)
            msg = (
                f"the node {socket.gethostname()} has {differ}; install the same there, or results could not stand in"
                " one table"
            )
            raise UsageError(msg)
        self._folder = RunFolder(self._out)
        # It keeps its worker from chunk to chunk; as long as a chunk is not done, it may take from what was given.
        self._results = LocalEngine(self._measurer, jobs=1).results(self._given, lambda _: self._left > 0)

    def measure(self, tasks: Sequence[Task | ImageResult], name: str) -> list[Record]:
        """Measure a chunk and save it; raises CoreError if the model cannot be opened or results cannot be written."""
        records: list[Record] = []
        results: list[ImageResult] = []
        parts = cells = size = 0
        save = partial(self._folder.save, key=self._key)
        with self._one_at_a_time:
            self._given.extend(tasks)
            self._left = len(tasks)
            while self._left:
                result = next(self._results)
                if result is None:
                    continue
                self._left -= 1
                results.append(result)
                cells, size = cells + len(result.rows), size + sum(map(len, result.files.values()))
                if self._left and (cells >= FLUSH_CELLS or size >= FLUSH_BYTES):
                    parts += 1
                    records += save(results, name=f"{name}-{parts}.parquet")
                    results, cells, size = [], 0, 0
        # The next chunk is measured while this one is saved.
        return records + save(results, name=f"{name}.parquet")
