"""What a run is asked to do, the key that says which results belong together, and its progress."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Final

from core.domain.errors import UsageError
from core.domain.options import CellChoice, FeatureEngine, Units
from core.domain.types import GivenScale, StainFactors
from core.image.depth import NOT_ASKED, Depths
from core.image.file_scale import BY_RED_CELLS, Scale, WantedScale
from core.image.listing import Passed
from core.support import records


@dataclass(frozen=True)
class BatchSettings:
    """What is measured of which images, and what is written of it.

    `input` is a folder, a ZIP file or an fsspec URL, `pattern` a glob on the relative path; `label_from` and
    `patient_from` are as `core.batch.labels` reads them; `um_per_px` is the scale of all images, `file` for
    what each states of itself, or `red-cells` for what the red cells of the images tell, whose answer stands in its
    place once the run has begun; `depths` is what is known of deep images that do not state their depth. `limit` stops
    the listing after so many images. One image, or one cell of a field, may take `time_limit_s` seconds, and an image
    `memory_limit_mb` megabytes beyond what its worker needs anyway. `units` are those of `cells.csv`; shards are in
    pixels. `stain` are the factors with which cells are measured, and stay those of the run whatever becomes of their
    file.
    """

    input: str
    pattern: str | None = None
    um_per_px: WantedScale = None
    cells: str = "auto"
    feature_engine: str = "fast"
    overlay: bool = False
    outlines: bool = False
    label_from: str | None = None
    patient_from: str | None = None
    limit: int | None = None
    time_limit_s: float = 60.0
    memory_limit_mb: int = 2048
    units: str = "px"
    depths: Depths = NOT_ASKED
    stain: StainFactors | None = None

    def __post_init__(self) -> None:
        """Check choices and limits; raises UsageError."""
        for name, value, known in (
            ("cells", self.cells, tuple(CellChoice)),
            ("feature engine", self.feature_engine, tuple(FeatureEngine)),
            ("units", self.units, tuple(Units)),
        ):
            if value not in known:
                msg = f"{name} must be one of {', '.join(known)}, but is {value!r}"
                raise UsageError(msg)
        if not isinstance(self.um_per_px, str | GivenScale | None) and not 0.005 <= self.um_per_px <= 10:
            msg = f"the scale must lie between 0.005 and 10 µm per pixel, but is {self.um_per_px}"
            raise UsageError(msg)
        if self.units == Units.MICROMETRES and self.um_per_px is None:
            msg = "a table in micrometres needs the scale of the images; give --um-per-pixel, or leave it in pixels"
            raise UsageError(msg)
        if (
            not 0 < self.time_limit_s < math.inf
            or self.memory_limit_mb <= 0
            or (self.limit is not None and self.limit < 1)
        ):
            msg = (
                f"limits must be numbers above 0, but are {self.time_limit_s} s, {self.memory_limit_mb} MB and"
                f" {self.limit} images; leave out those that are not wanted"
            )
            raise UsageError(msg)

    @property
    def scale(self) -> Scale:
        """The scale of the images, once a run has begun and red cells were asked, where they are to tell it."""
        assert self.um_per_px != BY_RED_CELLS, "a run asks the red cells before it measures anything"
        return self.um_per_px

    @property
    def one_scale(self) -> GivenScale | None:
        """The scale that all images have; None where it is unknown, or each states its own."""
        if self.um_per_px is None or isinstance(self.um_per_px, str | GivenScale):
            return self.um_per_px if isinstance(self.um_per_px, GivenScale) else None
        return GivenScale(self.um_per_px, origin="given for the run")


# They decide how many images are done and how, or what the finished table looks like, not what a result says.
_NOT_DECIDING: Final = ("limit", "time_limit_s", "memory_limit_mb", "units")


def run_key(settings: BatchSettings, model_sha256: str, versions: Mapping[str, str], labels: str = "") -> str:
    """SHA-256 over everything that decides a result: input, settings, model, versions, digest of a table of labels.

    Results of one key may be in one table; another key begins a new run.
    """
    deciding = {name: value for name, value in asdict(settings).items() if name not in _NOT_DECIDING}
    if settings.stain is None:  # so that runs from before there were factors go on
        del deciding["stain"]
    text = json.dumps([deciding, model_sha256, dict(versions), labels], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class State(StrEnum):
    """What a run is doing, or how it ended."""

    LISTING = "listing"
    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come unless the run is started again."""
        return self in {State.STOPPED, State.FINISHED, State.FAILED}


@dataclass(frozen=True)
class Seen:
    """An image that was just measured, with its cells and the lowest confidence among them (None without any)."""

    image_path: str
    cells: int
    confidence: float | None


@dataclass(frozen=True)
class Progress:
    """What `progress.json` holds, rewritten at most every second.

    Counts of images are `done` (in this start and in earlier ones, good or not), of which `failed` have no result,
    `flagged` a cell that is kept out of summaries, and `skipped` were done before this start; `cells` counts cells.
    `total` is None while images are still being counted; `rate` is in images per second over the last minute,
    `seconds_left` follows from it, both None where they are unknown. `started` and `updated` are ISO times with zone;
    `message` says in words what is going on or went wrong; `last` holds the newest images, newest first.
    `duplicates` are copies of other images, counted once; `unmatched_images` have no row in a table of labels or
    patients, or no patient in their path, and `unmatched_rows` no image; `notes` tell that in sentences.
    `passed_over` counts by ending the files that are no images, as far as they are listed.
    """

    state: State
    total: int | None
    done: int
    cells: int
    flagged: int
    failed: int
    skipped: int
    rate: float | None
    seconds_left: float | None
    started: str
    updated: str
    pid: int
    message: str = ""
    last: tuple[Seen, ...] = ()
    duplicates: int = 0
    unmatched_images: int = 0
    unmatched_rows: int = 0
    notes: tuple[str, ...] = ()
    passed_over: Mapping[str, Passed] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text of `progress.json`."""
        return records.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> "Progress":
        """Read `progress.json`; raises RecordError when it is damaged."""
        return records.from_json(cls, text)
