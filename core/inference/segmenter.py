"""From an image to its label map: a coarse pass finds the cell, a fine pass sees it at the canonical scale."""

import time
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from core.compartments import CHANNELS
from core.errors import ModelError
from core.inference.model_registry import ModelEntry, card_of, verify_model
from core.inference.providers import Device, open_session, provider_name
from core.masks import cell_mask, region_mask
from core.model_card import ModelCard
from core.postprocessing import CellMap, label_cell
from core.preprocessing import Window, network_input, to_image_grid
from core.stain import count_other_nuclei
from core.types import CellImage, Segmentation

# The fine window never leaves this share of the image: a coarse pass that found only a speck must not zoom into it.
MIN_WINDOW_SHARE = 0.12


class Segmenter(Protocol):
    """Anything that finds the cell of an image."""

    card: ModelCard

    def segment(self, image: CellImage) -> Segmentation:
        """The label map of the cell nearest the centre."""
        ...


class OnnxSegmenter:
    """A model file on a verified provider. Safe to share between threads: sessions are stateless."""

    def __init__(self, path: Path, device: Device = Device.AUTO, threads: int = 0) -> None:
        self._session = open_session(path, device, threads)
        self.card = card_of(self._session.get_modelmeta().custom_metadata_map, path.name)
        self.provider = provider_name(self._session)
        self._input = self._session.get_inputs()[0].name
        channels = self._session.get_outputs()[0].shape[1]
        if channels != len(self.card.classes):
            msg = f"{path.name}: its card names {len(self.card.classes)} classes, but the network has {channels} output channels"
            raise ModelError(msg)
        expected = tuple(channel.label for channel in CHANNELS)
        if self.card.classes != expected:
            msg = f"{path.name}: the channels must be {', '.join(expected)}, but its card says {', '.join(self.card.classes)}"
            raise ModelError(msg)

    @classmethod
    def from_entry(cls, entry: ModelEntry, device: Device = Device.AUTO, threads: int = 0) -> "OnnxSegmenter":
        """Open a model of the registry after checking its SHA-256."""
        verify_model(entry)
        return cls(entry.path, device, threads)

    def segment(self, image: CellImage) -> Segmentation:
        """The label map of the cell nearest the centre, on the image's own pixels; all background when none is found."""
        started = time.perf_counter()
        found = self._pass(image.rgb, Window.whole(image.shape))
        if found.confidence > 0:
            window = Window.around(cell_mask(found.labels), self.card.cell_fill)
            smallest = MIN_WINDOW_SHARE * max(image.shape)
            if window.side >= smallest:
                fine = self._pass(image.rgb, window)
                # A fine pass that lost the cell is no improvement on the coarse one.
                found = fine if fine.confidence > 0 else found
        others = count_other_nuclei(image.rgb, cell_mask(found.labels), region_mask(found.labels, "nucleus"))
        elapsed = 1000 * (time.perf_counter() - started)
        return Segmentation(found.labels, found.confidence, others, self.card.model_id, self.provider, elapsed)

    def probabilities(self, rgb: NDArray[np.uint8], window: Window) -> NDArray[np.float32]:
        """Probabilities (C, H, W) on the image's pixels; 0 outside the window."""
        (logits,) = self._session.run(None, {self._input: network_input(rgb, window, self.card)})
        return to_image_grid(np.asarray(special.expit(logits[0]), dtype=np.float32), window, (rgb.shape[0], rgb.shape[1]))

    def _pass(self, rgb: NDArray[np.uint8], window: Window) -> CellMap:
        return label_cell(self.probabilities(rgb, window), window)
