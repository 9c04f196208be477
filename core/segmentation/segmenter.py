"""From an image to its label map: a coarse pass finds the cell, a fine pass sees it at the canonical scale."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from core.domain.compartments import CHANNELS
from core.domain.errors import ModelError, UsageError
from core.domain.options import VIEWS, Device
from core.domain.types import CellImage, LabelMap, Segmentation
from core.image.masks import cell_mask, region_mask
from core.image.stain import count_other_nuclei, find_nuclei
from core.image.window import Window
from core.quality.novelty import Knowledge
from core.quality.novelty import load as load_knowledge
from core.segmentation.model_card import ModelCard
from core.segmentation.model_registry import ModelEntry, card_of, find_model, verify_model
from core.segmentation.postprocessing import label_cell, middle_cell
from core.segmentation.preprocessing import network_input, to_image_grid
from core.segmentation.providers import open_session, provider_name, why_no_cuda

# The fine window never falls below this share of the coarse one: a coarse pass that found only a speck must not zoom
# into it.
MIN_WINDOW_SHARE = 0.12
# The localiser's window is good enough where the cell that is outlined in it has at least this confidence, lies off its
# middle by no more than this share of its side, and would need a window at most so many times smaller or larger.
# Otherwise the large network looks for the cell: in 2 of 100 images of five collections (`python -m benchmarks
# inference`).
SURE: Final = 0.85
MOST_OFF: Final = 0.06
MOST_RESIZED: Final = 1.18
# Windows of more pixels a side are labelled on a coarser grid, still finer than the network's, so that a large image
# costs no gigabyte.
MAX_GRID = 2048

# A label map of a whole image, and the confidence in it: 0 where there is no cell.
_Outline = tuple[LabelMap, float]


class _Part(NamedTuple):
    """A window of an image, at which a network looks."""

    rgb: NDArray[np.uint8]
    window: Window


class Segmenter(Protocol):
    """Anything that finds the cell of an image."""

    card: ModelCard
    provider: str
    knowledge: Knowledge | None

    def segment(self, image: CellImage) -> Segmentation:
        """The label map of the cell nearest the centre."""
        ...

    def segment_many(self, images: Sequence[CellImage]) -> list[Segmentation]:
        """As `segment`, an image each."""
        ...

    def outline(self, rgb: NDArray[np.uint8], wide: Window) -> tuple[LabelMap, float]:
        """The cell in the middle of a window, over the whole of the image, and the confidence in it."""
        ...


class TwoPassSegmenter(ABC):
    """The two passes and what follows them, for any engine that turns network inputs into logits.

    `views` is the number of rotations and mirror images that the fine pass is the mean of (one of VIEWS); each costs a
    pass. `knowledge` comes from the file beside a model of the registry, to judge whether a cell is one of those it
    knows. `localiser` is a small network that makes the coarse pass where it can: it only has to find the cell, and
    where its window is doubtful, the large network makes both passes.
    """

    knowledge: Knowledge | None = None
    localiser: "TwoPassSegmenter | None" = None

    def __init__(self, card: ModelCard, provider: str, views: int = 1) -> None:
        if views not in VIEWS:
            msg = f"views must be one of {', '.join(map(str, VIEWS))}, but is {views}"
            raise UsageError(msg)
        self.card = card
        self.provider = provider
        self._views = views

    @abstractmethod
    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, C, S, S) of normalised images (N, 3, S, S), S any multiple of 32."""

    def segment(self, image: CellImage) -> Segmentation:
        """The label map of the cell nearest the centre, on the image's own pixels; all background if none is found."""
        return self.segment_many([image])[0]

    def segment_many(self, images: Sequence[CellImage]) -> list[Segmentation]:
        """As `segment` for each image; they go through the network together, which a GPU does much faster."""
        started = time.perf_counter()
        outlines = self._find([image.rgb for image in images])
        others = [
            count_other_nuclei(image.rgb, cell_mask(labels), region_mask(labels, "nucleus"))
            for image, (labels, _) in zip(images, outlines, strict=True)
        ]
        each_ms = 1000 * (time.perf_counter() - started) / max(len(images), 1)
        return [
            Segmentation(labels, confidence, count, self.card.model_id, self.provider, each_ms)
            for (labels, confidence), count in zip(outlines, others, strict=True)
        ]

    def outline(self, rgb: NDArray[np.uint8], wide: Window) -> tuple[LabelMap, float]:
        """The cell of a window by two passes: over the window, then at the canonical scale.

        A label map of the whole image and its confidence, 0 where there is no cell.
        """
        return self._outlines([_Part(rgb, wide)])[0]

    def probabilities(
        self, rgb: NDArray[np.uint8], window: Window, *, size: int | None = None, views: int = 1
    ) -> NDArray[np.float32]:
        """Probabilities (C, S, S) over the window on a grid of `size` (default: the card's), the mean of the views."""
        return self._maps([_Part(rgb, window)], size, views)[0]

    # What follows works on many images at a time, a stage after the other, so that each stage is one batch.

    def _find(self, images: Sequence[NDArray[np.uint8]]) -> list[_Outline]:
        """The cell nearest the middle of each image."""
        outlines = self._outlines([_Part(rgb, Window.whole((rgb.shape[0], rgb.shape[1]))) for rgb in images])
        # The network is trained to ignore cells beside the middle. Where it ignores all, the nucleus nearest the
        # middle leads.
        lost = [number for number, (_, confidence) in enumerate(outlines) if not confidence > 0]
        led = {number: window for number in lost if (window := _around_nucleus(images[number])) is not None}
        again = self._outlines([_Part(images[number], window) for number, window in led.items()])
        for number, outline in zip(led, again, strict=True):
            outlines[number] = outline
        return outlines

    def _outlines(self, wide: Sequence[_Part]) -> list[_Outline]:
        """The cell of each part: in the localiser's window, or, where that is doubtful, by its own two passes."""
        sure: dict[int, _Outline] = {}
        if self.localiser is not None:
            windows = self._windows(wide, self.localiser._coarse(wide))
            sure = {
                number: outline
                for number, outline in self._fine(wide, windows).items()
                if outline[1] >= SURE and _fits(outline[0], windows[number], self.card.cell_fill)
            }
        doubtful = [number for number in range(len(wide)) if number not in sure]
        own = dict(zip(doubtful, self._by_itself([wide[number] for number in doubtful]), strict=True))
        outlines = sure | own
        return [outlines[number] for number in range(len(wide))]

    def _by_itself(self, wide: Sequence[_Part]) -> list[_Outline]:
        """The cell of each part by both passes; the coarse one's where the fine one has no window or loses the cell."""
        coarse = self._coarse(wide)
        fine = self._fine(wide, self._windows(wide, coarse))
        return [
            fine[number] if number in fine and fine[number][1] > 0 else _labelled(maps, part)
            for number, (part, maps) in enumerate(zip(wide, coarse, strict=True))
        ]

    def _coarse(self, wide: Sequence[_Part]) -> list[NDArray[np.float32]]:
        return self._maps(wide, self.card.coarse_size or None, 1)

    def _fine(self, wide: Sequence[_Part], windows: Mapping[int, Window]) -> dict[int, _Outline]:
        """Outlines in the windows of some of the parts, by the number of the part."""
        parts = [_Part(wide[number].rgb, window) for number, window in windows.items()]
        maps = self._maps(parts, None, self._views)
        return dict(zip(windows, map(_labelled, maps, parts), strict=True))

    def _windows(self, wide: Sequence[_Part], coarse: Sequence[NDArray[np.float32]]) -> dict[int, Window]:
        """The windows of the fine pass, by the number of the part."""
        near = [self._near(maps, part.window) for part, maps in zip(wide, coarse, strict=True)]
        return {number: window for number, window in enumerate(near) if window is not None}

    def _near(self, maps: NDArray[np.float32], wide: Window) -> Window | None:
        """The window of the fine pass, from a coarse result over `wide`; None for no cell, or only a speck."""
        size = maps.shape[-1]
        middle = middle_cell(maps, Window(0, 0, size))
        if middle is None:
            return None
        (rows, columns), cell, _ = middle
        near, scale = Window.around(cell, self.card.cell_fill), wide.side / size
        near = Window(near.left + columns.start, near.top + rows.start, near.side)
        window = Window(wide.left + near.left * scale, wide.top + near.top * scale, near.side * scale)
        return window if window.side >= MIN_WINDOW_SHARE * wide.side else None

    def _maps(self, parts: Sequence[_Part], size: int | None, views: int) -> list[NDArray[np.float32]]:
        """Probabilities (C, S, S) over each part, from one batch."""
        if not parts:
            return []
        images = [network_input(part.rgb, part.window, self.card, size) for part in parts]
        logits = self.logits(np.concatenate([_turned(image, view) for image in images for view in range(views)]))
        return [self._averaged(own) for own in np.split(logits, len(parts))]

    def _averaged(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (C, S, S) from the logits of all views of one part, (views, C, S, S)."""
        maps = special.expit(logits / np.float32(self.card.temperature))
        turned_back = [_turned_back(one, view) for view, one in enumerate(maps)]
        return np.asarray(np.mean(turned_back, axis=0) if len(maps) > 1 else turned_back[0], dtype=np.float32)


def _around_nucleus(rgb: NDArray[np.uint8]) -> Window | None:
    """The window around the stained nucleus nearest the middle."""
    middle = np.array(rgb.shape[:2]) / 2
    nuclei = find_nuclei(rgb)
    nearest = min(nuclei, key=lambda nucleus: float(np.hypot(*(np.array(nucleus.centre) - middle))), default=None)
    return None if nearest is None else nearest.window()


def _fits(labels: LabelMap, window: Window, fill: float) -> bool:
    """Whether a cell lies in its window as that was meant to show it: in the middle, filling `cell_fill` of it."""
    ideal = Window.around(cell_mask(labels), fill)
    off = max(
        abs(ideal.left - window.left + (ideal.side - window.side) / 2),
        abs(ideal.top - window.top + (ideal.side - window.side) / 2),
    )
    return off <= MOST_OFF * window.side and 1 / MOST_RESIZED <= ideal.side / window.side <= MOST_RESIZED


def _turned(image: NDArray[np.float32], view: int) -> NDArray[np.float32]:
    """Views 0 to 3 are rotations of (..., S, S) by right angles, 4 to 7 those of the mirror image."""
    return np.rot90(image[..., ::-1] if view >= 4 else image, view % 4, axes=(-2, -1))


def _turned_back(image: NDArray[np.float32], view: int) -> NDArray[np.float32]:
    straight = np.rot90(image, -view % 4, axes=(-2, -1))
    return straight[..., ::-1] if view >= 4 else straight


class OnnxSegmenter(TwoPassSegmenter):
    """A model file on a verified provider. Safe to share between threads: sessions are stateless."""

    def __init__(self, path: Path, device: Device = Device.AUTO, threads: int = 0, views: int = 1) -> None:
        self._session = open_session(path, device, threads)
        super().__init__(
            card_of(self._session.get_modelmeta().custom_metadata_map, path.name), provider_name(self._session), views
        )
        self._input = self._session.get_inputs()[0].name
        channels = self._session.get_outputs()[0].shape[1]
        if channels != len(self.card.classes):
            msg = (
                f"{path.name}: its card names {len(self.card.classes)} classes, but the network has {channels} output"
                " channels"
            )
            raise ModelError(msg)
        expected = tuple(channel.label for channel in CHANNELS)
        if self.card.classes != expected:
            msg = (
                f"{path.name}: the channels must be {', '.join(expected)}, but its card says"
                f" {', '.join(self.card.classes)}"
            )
            raise ModelError(msg)
        if self.card.localiser:
            self.localiser = OnnxSegmenter(path.with_name(self.card.localiser["file"]), device, threads)

    @classmethod
    def from_entry(
        cls, entry: ModelEntry, device: Device = Device.AUTO, threads: int = 0, views: int = 1
    ) -> "OnnxSegmenter":
        """Open a model of the registry after checking its SHA-256, with what is known beside it."""
        verify_model(entry)
        segmenter = cls(entry.path, device, threads, views)
        segmenter.knowledge = load_knowledge(entry.novelty, entry.sha256) if entry.novelty is not None else None
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


def _labelled(maps: NDArray[np.float32], part: _Part) -> _Outline:
    """The cell of a window as a label map of the whole image; computed on the part of the image in the window."""
    (height, width), window = part.rgb.shape[:2], part.window
    top, left = max(0, math.floor(window.top)), max(0, math.floor(window.left))
    bottom, right = min(height, math.ceil(window.top + window.side)), min(width, math.ceil(window.left + window.side))
    step = math.ceil(window.side / MAX_GRID)
    inner = Window((window.left - left) / step, (window.top - top) / step, window.side / step)
    cell_map = label_cell(
        to_image_grid(maps, inner, (math.ceil((bottom - top) / step), math.ceil((right - left) / step))), inner
    )
    labels = np.zeros((height, width), np.uint8)
    labels[top:bottom, left:right] = cell_map.labels.repeat(step, axis=0).repeat(step, axis=1)[
        : bottom - top, : right - left
    ]
    return LabelMap(labels), cell_map.confidence
