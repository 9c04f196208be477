"""From an image to its label map: the localiser finds the cell, the network draws it at the canonical scale."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from core.domain.compartments import CHANNELS, Compartment
from core.domain.errors import ModelError, UsageError
from core.domain.objects import FoundObject, ObjectKind
from core.domain.options import VIEWS, Device
from core.domain.types import CellImage, LabelMap, Segmentation
from core.image.masks import cell_mask
from core.image.window import Window
from core.quality.novelty import Knowledge
from core.quality.novelty import load as load_knowledge
from core.quality.outline_quality import OutlineJudge, judge_of_file
from core.segmentation.localiser import Localiser, OnnxLocaliser
from core.segmentation.model_card import ModelCard
from core.segmentation.model_registry import ModelEntry, card_of, find_model, verify_model
from core.segmentation.postprocessing import label_cell
from core.segmentation.preprocessing import network_input, to_image_grid
from core.segmentation.providers import open_session, provider_name, why_no_cuda
from core.segmentation.scene import around, believed, likeliest, of_kind, taken_of, window_around

# A cell is drawn once where it then lies off the middle of its window by no more than this share of its side, and would
# need a window at most so many times smaller or larger. Otherwise it is drawn again in the window of what was drawn.
MOST_OFF: Final = 0.06
MOST_RESIZED: Final = 1.18
# Where nothing is drawn in a window, a window so many times larger is tried.
ROOMIER: Final = 1.6
# Where no leukocyte is sure, what is at least so sure may be the cell that the image was taken of.
LEAST_SCORE: Final = 0.05
# Windows of more pixels a side are labelled on a coarser grid, still finer than the network's, so that a large image
# costs no gigabyte.
MAX_GRID: Final = 2048
# So many windows go through the network at once: more cost memory and gain no time.
_AT_ONCE: Final = 16


class _Part(NamedTuple):
    """A window of an image, at which the network looks."""

    rgb: NDArray[np.uint8]
    window: Window


@dataclass(frozen=True, eq=False)
class DrawnCell:
    """A cell as the network drew it in a window: labels of the part of the image in the window, with its corner.

    `confidence` is 0, and all of the labels background, where there is no cell.
    """

    labels: LabelMap
    top: int
    left: int
    confidence: float

    def on(self, shape: tuple[int, int]) -> LabelMap:
        """The label map of the whole image of (H, W)."""
        labels = np.zeros(shape, np.uint8)
        height, width = self.labels.shape
        labels[self.top : self.top + height, self.left : self.left + width] = self.labels
        return LabelMap(labels)


class Segmenter(Protocol):
    """Anything that finds and outlines cells."""

    card: ModelCard
    provider: str
    knowledge: Knowledge | None
    judge: OutlineJudge | None
    file_sha256: str | None

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[FoundObject, ...]]:
        """The objects of each image, uint8 (H, W, 3)."""
        ...

    def segment(self, image: CellImage) -> Segmentation:
        """The label map of the cell nearest the centre."""
        ...

    def segment_many(
        self, images: Sequence[CellImage], objects: Sequence[Sequence[FoundObject]] | None = None
    ) -> list[Segmentation]:
        """As `segment`, an image each; `objects` are what `find` found in each, where that is known."""
        ...

    def outline(self, rgb: NDArray[np.uint8], windows: Sequence[Window]) -> list[DrawnCell]:
        """The cell in the middle of each window of an image."""
        ...


class TwoPassSegmenter(ABC):
    """The two passes and what follows them, for any engine that turns network inputs into logits.

    The first pass is the `localiser`'s, over the image; the second the network's own, in the window of the cell.
    Without a localiser the first window is the whole image. `views` is the number of rotations and mirror images that
    the second pass is the mean of (one of VIEWS); each costs a pass. `knowledge` comes from the file beside a model of
    the registry, to judge whether a cell is one of those it knows; `file_sha256` is that of such a model.
    """

    knowledge: Knowledge | None = None
    judge: OutlineJudge | None = None
    file_sha256: str | None = None

    def __init__(self, card: ModelCard, provider: str, views: int = 1, localiser: Localiser | None = None) -> None:
        if views not in VIEWS:
            msg = f"views must be one of {', '.join(map(str, VIEWS))}, but is {views}"
            raise UsageError(msg)
        self.card = card
        self.provider = provider
        self.localiser = localiser
        self._views = views

    @abstractmethod
    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, C, S, S) of normalised images (N, 3, S, S), S any multiple of 32."""

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[FoundObject, ...]]:
        """The objects of each image that the localiser is sure of; none without a localiser."""
        if self.localiser is None:
            return [() for _ in images]
        return [believed(found) for found in self.localiser.find_many(images)]

    def segment(self, image: CellImage) -> Segmentation:
        """The label map of the cell that the image was taken of, on its own pixels; all background if none is found."""
        return self.segment_many([image])[0]

    def segment_many(
        self, images: Sequence[CellImage], objects: Sequence[Sequence[FoundObject]] | None = None
    ) -> list[Segmentation]:
        """As `segment` for each image; they go through the network together, which a GPU does much faster."""
        started = time.perf_counter()
        objects = self.find([image.rgb for image in images]) if objects is None else objects
        leads = [self._lead(image, found) for image, found in zip(images, objects, strict=True)]
        drawn = self._drawn([self._part(image, lead) for image, lead in zip(images, leads, strict=True)])
        each_ms = 1000 * (time.perf_counter() - started) / max(len(images), 1)
        return [
            self._segmentation(image, cell, lead, found, each_ms)
            for image, cell, lead, found in zip(images, drawn, leads, objects, strict=True)
        ]

    def outline(self, rgb: NDArray[np.uint8], windows: Sequence[Window]) -> list[DrawnCell]:
        """The cell in the middle of each window of an image; of a large one only what lies around them is looked at."""
        parts, corners = [], []
        for window in windows:
            # A second look may reach beyond the window; a side more on each side is room enough.
            top, left = max(0, int(window.top - window.side)), max(0, int(window.left - window.side))
            crop = rgb[top : int(window.top + 2 * window.side), left : int(window.left + 2 * window.side)]
            parts.append(_Part(crop, Window(window.left - left, window.top - top, window.side)))
            corners.append((top, left))
        return [
            DrawnCell(cell.labels, cell.top + top, cell.left + left, cell.confidence)
            for cell, (top, left) in zip(self._drawn(parts), corners, strict=True)
        ]

    def probabilities(
        self, rgb: NDArray[np.uint8], window: Window, *, size: int | None = None, views: int = 1
    ) -> NDArray[np.float32]:
        """Probabilities (C, S, S) over the window on a grid of `size` (default: the card's), the mean of the views."""
        return self._maps([_Part(rgb, window)], size, views)[0]

    def _lead(self, image: CellImage, objects: Sequence[FoundObject]) -> FoundObject | None:
        """What leads to the cell of an image: a leukocyte, or else whatever is most likely meant."""
        lead = taken_of(objects, image.shape)
        if lead is None and self.localiser is not None:
            lead = likeliest(self.localiser.find(image.rgb, LEAST_SCORE), image.shape)
        return lead

    def _part(self, image: CellImage, lead: FoundObject | None) -> _Part:
        whole = Window.whole(image.shape)
        return _Part(image.rgb, window_around(lead, image.shape, self.card.cell_fill) if lead else whole)

    def _segmentation(
        self,
        image: CellImage,
        cell: DrawnCell,
        lead: FoundObject | None,
        objects: Sequence[FoundObject],
        elapsed_ms: float,
    ) -> Segmentation:
        labels = cell.on(image.shape)
        leukocytes = of_kind(objects, ObjectKind.LEUKOCYTE)
        others = sum(other is not lead and not _in(other, labels) for other in leukocytes)
        near = around([*objects, *([lead] if lead and lead not in objects else [])], lead) if lead else tuple(objects)
        return Segmentation(labels, cell.confidence, others, self.card.model_id, self.provider, elapsed_ms, lead, near)

    # What follows works on many windows at a time, a stage after the other, so that each stage is one batch.

    def _drawn(self, parts: Sequence[_Part]) -> list[DrawnCell]:
        """The cell of each part, drawn again where it does not lie in its window as it should."""
        cells = self._once(parts)
        again = {
            number: _Part(part.rgb, window)
            for number, (part, cell) in enumerate(zip(parts, cells, strict=True))
            if (window := _better_window(cell, part, self.card.cell_fill)) is not None
        }
        for number, cell in zip(again, self._once(list(again.values())), strict=True):
            if cell.confidence > 0:
                cells[number] = cell
        return cells

    def _once(self, parts: Sequence[_Part]) -> list[DrawnCell]:
        cells = []
        for start in range(0, len(parts), _AT_ONCE):
            some = parts[start : start + _AT_ONCE]
            cells += [
                _labelled(maps, part) for maps, part in zip(self._maps(some, None, self._views), some, strict=True)
            ]
        return cells

    def _maps(self, parts: Sequence[_Part], size: int | None, views: int) -> list[NDArray[np.float32]]:
        """Probabilities (C, S, S) over each part, from one batch."""
        images = [network_input(part.rgb, part.window, self.card, size) for part in parts]
        logits = self.logits(np.concatenate([_turned(image, view) for image in images for view in range(views)]))
        return [self._averaged(own) for own in np.split(logits, len(parts))]

    def _averaged(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (C, S, S) from the logits of all views of one part, (views, C, S, S)."""
        maps = special.expit(logits / np.float32(self.card.temperature))
        turned_back = [_turned_back(one, view) for view, one in enumerate(maps)]
        return np.asarray(np.mean(turned_back, axis=0) if len(maps) > 1 else turned_back[0], dtype=np.float32)


def _in(found: FoundObject, labels: LabelMap) -> bool:
    """Whether the middle of an object lies in a drawn cell."""
    row, column = (int(at) for at in found.centre)
    inside = 0 <= row < labels.shape[0] and 0 <= column < labels.shape[1]
    return inside and bool(labels[row, column] >= Compartment.CYTOPLASM)


def _better_window(cell: DrawnCell, part: _Part, fill: float) -> Window | None:
    """Where to look again; None where the cell lies in its window as it was meant to: in the middle, filling `fill`."""
    window = part.window
    if not cell.confidence > 0:
        if window.side >= max(part.rgb.shape):
            return None
        side = ROOMIER * window.side
        return Window(window.left + (window.side - side) / 2, window.top + (window.side - side) / 2, side)
    ideal = Window.around(cell_mask(cell.labels), fill)
    ideal = Window(ideal.left + cell.left, ideal.top + cell.top, ideal.side)
    off = max(
        abs(ideal.left - window.left + (ideal.side - window.side) / 2),
        abs(ideal.top - window.top + (ideal.side - window.side) / 2),
    )
    fits = off <= MOST_OFF * window.side and 1 / MOST_RESIZED <= ideal.side / window.side <= MOST_RESIZED
    return None if fits else ideal


def _turned(image: NDArray[np.float32], view: int) -> NDArray[np.float32]:
    """Views 0 to 3 are rotations of (..., S, S) by right angles, 4 to 7 those of the mirror image."""
    return np.rot90(image[..., ::-1] if view >= 4 else image, view % 4, axes=(-2, -1))


def _turned_back(image: NDArray[np.float32], view: int) -> NDArray[np.float32]:
    straight = np.rot90(image, -view % 4, axes=(-2, -1))
    return straight[..., ::-1] if view >= 4 else straight


class OnnxSegmenter(TwoPassSegmenter):
    """A model file on a verified provider. Safe to share between threads: sessions are stateless."""

    def __init__(
        self,
        path: Path,
        device: Device = Device.AUTO,
        threads: int = 0,
        views: int = 1,
        *,
        expected: ModelCard | None = None,
    ) -> None:
        self._session = open_session(path, device, threads)
        card = card_of(self._session.get_modelmeta().custom_metadata_map, path.name)
        if expected is not None and card != expected:  # it names the localiser's checksum, which was checked
            msg = (
                f"the card in the manifest is not that of {path.name}; restore the manifest from the repository, or"
                " export the model again"
            )
            raise ModelError(msg)
        super().__init__(card, provider_name(self._session), views)
        self._input = self._session.get_inputs()[0].name
        channels = self._session.get_outputs()[0].shape[1]
        if channels != len(self.card.classes):
            msg = (
                f"{path.name}: its card names {len(self.card.classes)} classes, but the network has {channels} output"
                " channels"
            )
            raise ModelError(msg)
        known = tuple(channel.label for channel in CHANNELS)
        if self.card.classes != known:
            msg = (
                f"{path.name}: the channels must be {', '.join(known)}, but its card says"
                f" {', '.join(self.card.classes)}"
            )
            raise ModelError(msg)
        if card.localiser:
            self.localiser = OnnxLocaliser(path.with_name(card.localiser["file"]), device, threads)

    @classmethod
    def from_entry(
        cls, entry: ModelEntry, device: Device = Device.AUTO, threads: int = 0, views: int = 1
    ) -> "OnnxSegmenter":
        """Open a model of the registry after checking the SHA-256 of its files, with what is known beside it."""
        verify_model(entry)
        segmenter = cls(entry.path, device, threads, views, expected=entry.card)
        segmenter.knowledge = load_knowledge(entry.novelty, entry.sha256) if entry.novelty is not None else None
        segmenter.judge = judge_of_file(entry.quality, entry.sha256)
        segmenter.file_sha256 = entry.sha256
        return segmenter

    @classmethod
    def open(
        cls, model: str | None = None, device: Device | str = Device.AUTO, threads: int = 0, views: int = 1
    ) -> "OnnxSegmenter":
        """Open a model by its id, as `leukoscope models list` names them; the default one without.

        Parameters
        ----------
        model
            Id of a model of the manifest.
        device
            `auto`, `cpu` or `cuda`; `auto` takes CUDA where it works.
        threads
            Threads of the network; 0 lets onnxruntime choose.
        views
            1, 4 or 8: of how many rotations and mirror images the outline is the mean.

        Raises
        ------
        ModelError
            The model is unknown, missing or damaged, or CUDA was asked for and does not run.

        Examples
        --------
        >>> segmenter = OnnxSegmenter.open(device="cpu")
        >>> segmenter.provider
        'CPU'
        """
        return cls.from_entry(find_model(model), Device(device), threads, views)

    @property
    def why_no_cuda(self) -> str | None:
        """Why the model does not run on a CUDA GPU, in words; None where it does."""
        return why_no_cuda(self._session)

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """As the session gives them."""
        (logits,) = self._session.run(None, {self._input: images})
        return np.asarray(logits, dtype=np.float32)


def _labelled(maps: NDArray[np.float32], part: _Part) -> DrawnCell:
    """The cell of a window, on the pixels of the part of the image that lies in it."""
    (height, width), window = part.rgb.shape[:2], part.window
    top, left = max(0, math.floor(window.top)), max(0, math.floor(window.left))
    bottom, right = min(height, math.ceil(window.top + window.side)), min(width, math.ceil(window.left + window.side))
    step = math.ceil(window.side / MAX_GRID)
    inner = Window((window.left - left) / step, (window.top - top) / step, window.side / step)
    cell_map = label_cell(
        to_image_grid(maps, inner, (math.ceil((bottom - top) / step), math.ceil((right - left) / step))), inner
    )
    labels = cell_map.labels.repeat(step, axis=0).repeat(step, axis=1)[: bottom - top, : right - left]
    return DrawnCell(LabelMap(labels), top, left, cell_map.confidence)
