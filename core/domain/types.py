"""The values that flow through the engine. Arrays inside functions, these at the borders; each checks itself once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType

import numpy as np
from numpy.typing import NDArray

from core.domain.compartments import Compartment
from core.domain.errors import ImageError, MaskError, UsageError
from core.domain.objects import FoundObject, RedCells

# (H, W) uint8 whose values are Compartment members; never grey codes such as 128 or 255.
LabelMap = NewType("LabelMap", "NDArray[np.uint8]")


@dataclass(frozen=True)
class QualityFlag:
    """One thing to know before trusting the numbers: a sentence with its consequence.

    `severe` flags keep the cell out of population summaries; the others only inform.
    """

    code: str
    message: str
    severe: bool


@dataclass(frozen=True)
class FileScale:
    """The side of a pixel in micrometres as an image file states it, and where in the file that stands, in words."""

    um_per_px: float
    source: str


# What `um_per_px_source` calls a scale that red cells told.
RED_CELLS: Final = "red cells"


@dataclass(frozen=True)
class GivenScale:
    """A scale that somebody chose, with how well it is known.

    `error` is the share by which the true scale may be larger or smaller (95 %), None where it is exact or nobody
    knows; `source` is what the column `um_per_px_source` says; `origin` says in words how the scale is known.
    """

    um_per_px: float
    error: float | None = None
    source: str = "given"
    origin: str = ""

    def __post_init__(self) -> None:
        """Check both numbers; raises UsageError."""
        if not 0.005 <= self.um_per_px <= 10:
            msg = f"the scale must lie between 0.005 and 10 µm per pixel, but is {self.um_per_px}"
            raise UsageError(msg)
        if self.error is not None and not 0 <= self.error < 1:
            msg = f"the error of the scale is a share from 0 to below 1, but is {self.error}"
            raise UsageError(msg)


@dataclass(frozen=True)
class StainFactors:
    """What the optical density of every pixel is multiplied by before features are measured, a factor a channel.

    They set the stain of a laboratory to that of another; `name` is that of the file they are kept in.
    """

    name: str
    red: float
    green: float
    blue: float

    def __post_init__(self) -> None:
        """Check name and factors; raises UsageError."""
        if len(self.name.split()) != 1 or self.name != self.name.strip():
            msg = f"stain factors must have a name of one word, but it is {self.name!r}; give one as 'ours-to-bcn'"
            raise UsageError(msg)
        for channel, factor in zip(("red", "green", "blue"), self.channels, strict=True):
            if not 0.2 <= factor <= 5:
                msg = (
                    f"stain factors {self.name}: that of {channel} must lie between 0.2 and 5, but is {factor:.4g};"
                    " look whether both laboratories' pictures are of stained cells in colour"
                )
                raise UsageError(msg)

    @classmethod
    def of_text(cls, text: str) -> "StainFactors":
        """Read what `str` gives; raises UsageError."""
        try:
            name, red, green, blue = text.split()
            return cls(name, float(red), float(green), float(blue))
        except ValueError as error:
            msg = f"stain factors must be a name and three numbers, as 'ours-to-bcn 0.85 0.91 1.04', but are {text!r}"
            raise UsageError(msg) from error

    def __str__(self) -> str:
        """Name and factors, as tables hold them."""
        return " ".join([self.name, *(repr(float(factor)) for factor in self.channels)])

    @property
    def channels(self) -> tuple[float, float, float]:
        """The factors of red, green and blue."""
        return self.red, self.green, self.blue

    @property
    def note(self) -> str:
        """What they do, as the notes of an image say it."""
        return (
            f"densities times {self.red:.2f} red, {self.green:.2f} green, {self.blue:.2f} blue before measuring (stain"
            f" factors {self.name})"
        )


@dataclass(frozen=True, eq=False)
class CellImage:
    """One decoded image: `rgb` is uint8 (H, W, 3), read-only; `um_per_px` is None where unknown, never 1.0 by default.

    `sha256` is that of the file's bytes. `notes` say in words what opening did ("frame 1 of 12 used"); what of it
    changes numbers is a flag of every cell of the image, too. `file_scale` is what the file says of its scale, which
    counts only where a person takes it as `um_per_px`. `field_shape` is the (H, W) of the image that this is cut out
    of; None where it is whole. `um_per_px_error` is the share by which the true scale may be larger or smaller, None
    where it was given exactly or is unknown, and `um_per_px_source` is that of a `GivenScale`. `red_cells` are those
    of the whole image, None where nobody looked for them or nothing at all was seen. `stain` is laid over the pixels
    where features are measured (`core.image.stain.measured_pixels`), and nowhere else.
    """

    rgb: NDArray[np.uint8]
    name: str
    sha256: str
    um_per_px: float | None = None
    notes: tuple[str, ...] = ()
    flags: tuple[QualityFlag, ...] = ()
    file_scale: FileScale | None = None
    field_shape: tuple[int, int] | None = None
    um_per_px_error: float | None = None
    um_per_px_source: str | None = None
    red_cells: RedCells | None = None
    stain: StainFactors | None = None

    def __post_init__(self) -> None:
        """Check dtype, shape and scale, and freeze the pixels."""
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            msg = (
                f"{self.name}: an image must be uint8 with shape (H, W, 3), but is {self.rgb.dtype} with shape"
                f" {self.rgb.shape}"
            )
            raise ImageError(msg)
        if self.um_per_px is not None and not 0.005 <= self.um_per_px <= 10:
            msg = f"{self.name}: the scale must lie between 0.005 and 10 µm per pixel, but is {self.um_per_px}"
            raise ImageError(msg)
        self.rgb.setflags(write=False)

    @property
    def scale(self) -> GivenScale | None:
        """The scale with its error and source; None where it is unknown."""
        if self.um_per_px is None:
            return None
        return GivenScale(self.um_per_px, self.um_per_px_error, self.um_per_px_source or "given")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def whole_shape(self) -> tuple[int, int]:
        """Height and width of the whole image, whatever is cut out of it."""
        return self.field_shape or self.shape


def as_label_map(labels: NDArray[np.uint8]) -> LabelMap:
    """Check that an array is a label map: uint8 (H, W) with values of `Compartment`; raises MaskError."""
    if labels.dtype != np.uint8 or labels.ndim != 2 or (labels.size and int(labels.max()) > max(Compartment)):
        msg = (
            f"a label map must be uint8 (H, W) with values 0 to {max(Compartment)}, but is {labels.dtype} "
            f"{labels.shape} with a maximum of {labels.max() if labels.size else 'nothing'}"
        )
        raise MaskError(msg)
    return LabelMap(labels)


class DrawnBy(StrEnum):
    """Whose outline it is."""

    MODEL = "model"
    PERSON = "person"


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A label map and where it came from.

    `labels` has the image's (H, W); `confidence` is the Dice the network itself expects, 0 to 1 (mean of nucleus and
    cytoplasm, or of what is there), None where a person drew over the outline of `model_id`; `other_cells` counts
    further leukocytes that were kept apart. `found` is the object that led to the outline, None where the localiser
    named none; `objects` are those around it, of every kind, itself among them, in the image's pixels (of a cut-out
    those of the cut-out, so that they may lie outside of it).
    """

    labels: LabelMap
    confidence: float | None
    other_cells: int
    model_id: str
    provider: str
    elapsed_ms: float
    found: FoundObject | None = None
    objects: tuple[FoundObject, ...] = ()
    drawn_by: DrawnBy = DrawnBy.MODEL


@dataclass(frozen=True)
class FeatureSet:
    """Values by catalogue name, in catalogue order; a value that is absent is None and has its reason in `absent`.

    Lengths are in pixels, areas in square pixels; `core.features.catalogue.FeatureSpec.in_um` converts.
    """

    values: dict[str, float | None]
    absent: dict[str, str]

    def vector(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Values (F,) of some features in their order, nan where absent."""
        return np.array([self.values.get(name) for name in names], dtype=np.float64)


@dataclass(frozen=True)
class BoundingBox:
    """A rectangle in an image: left, top, width and height in its pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class OutlineReview:
    """What a person decided of an outline (`core.store.outline_log.OutlineStatus`), when, and why, if it was said."""

    status: str
    who: str
    when: datetime
    why: str | None = None


@dataclass(frozen=True, eq=False)
class CellAnalysis:
    """All that is known of one cell: what a page shows and what the store keeps.

    Of a field with several cells `image` is the cut-out at `place`, and `cell_index` the cell's number in it, from 0.
    `outline_quality` is the Dice that a careful drawing would probably reach with the outline; None where nobody
    judged. Where a person corrected the outline, `base` is the model's; `review` is what a person decided of it.
    """

    image: CellImage
    segmentation: Segmentation
    features: FeatureSet
    flags: tuple[QualityFlag, ...]
    cell_index: int = 0
    place: BoundingBox | None = None
    versions: dict[str, str] = field(default_factory=dict)
    outline_quality: float | None = None
    base: Segmentation | None = None
    review: OutlineReview | None = None

    @property
    def quality_ok(self) -> bool:
        """Whether the cell may enter population summaries."""
        return not any(flag.severe for flag in self.flags)

    @property
    def certainty(self) -> float | None:
        """How sure the outline is: the quality judged, or else the network's own confidence; None of a person's."""
        return self.segmentation.confidence if self.outline_quality is None else self.outline_quality

    @property
    def further_notes(self) -> tuple[str, ...]:
        """What opening the image did, without what a flag says of it already."""
        return tuple(note for note in self.image.notes if not any(note in flag.message for flag in self.flags))

    @property
    def box(self) -> BoundingBox | None:
        """The cell's bounding box, without its environment, in the whole image; None where there is no cell."""
        cell = self.segmentation.labels >= Compartment.CYTOPLASM
        if not cell.any():
            return None
        rows, columns = np.flatnonzero(cell.any(axis=1)), np.flatnonzero(cell.any(axis=0))
        left, top = self._corner
        return BoundingBox(left + int(columns[0]), top + int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)

    @property
    def centre(self) -> tuple[float, float] | None:
        """X and y of the cell's centre of gravity in the whole image, whose upper left corner is 0, 0."""
        rows, columns = np.nonzero(self.segmentation.labels >= Compartment.CYTOPLASM)
        if not len(rows):
            return None
        left, top = self._corner
        return left + float(columns.mean()) + 0.5, top + float(rows.mean()) + 0.5

    @property
    def _corner(self) -> tuple[int, int]:
        return (self.place.left, self.place.top) if self.place else (0, 0)
