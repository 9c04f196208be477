"""What passes between the parent of a run and its workers: images to measure, and their results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple


class Stage(StrEnum):
    """The stage at which an image failed, or was left out."""

    LIST = "list"
    READ = "read"
    DECODE = "decode"
    OUTLINE = "outline"
    MEASURE = "measure"
    TIME = "time"
    MEMORY = "memory"
    CRASH = "crash"
    WRITE = "write"
    LABEL = "label"  # the same image stands under contradictory labels
    DUPLICATE = "duplicate"  # a copy of another image, which is counted


class Stamp(NamedTuple):
    """What tells without reading that a file is unchanged: size in bytes; time of change, checksum or entity tag."""

    size: int
    modified: str


@dataclass(frozen=True)
class Task:
    """One image to measure: its path relative to the input, and the labels of its cells (None where not given)."""

    image_path: str
    cell_type: str | None = None
    patient_id: str | None = None


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The result of an image: a row per cell and files to write, or the stage at which it failed and the reason.

    `rows` map the columns of `core.batch.results.cells_schema` to values; `files` map paths in the run's folder to
    contents. `sha256` and `stamp` are None where it could not be read.
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
        """Whether there is a reason in place of a result."""
        return self.stage is not None

    @property
    def flagged(self) -> bool:
        """Whether a cell carries a flag that keeps it out of summaries."""
        return any(not row["quality_ok"] for row in self.rows)

    @property
    def confidence(self) -> float | None:
        """Lowest confidence of its cells."""
        return min((row["confidence"] for row in self.rows), default=None)


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
