"""What a training sample goes through on the fly. albumentations is used here and nowhere else, so that it can be replaced."""

import math
from dataclasses import dataclass

import albumentations as A  # noqa: N812 (the library's own convention)
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.compartments import Compartment
from core.masks import cell_mask
from core.preprocessing import Window, resample, resample_labels
from core.types import LabelMap
from training.config import TrainingConfig

# A square turned by 45 degrees needs sqrt(2) times its side, or its corners are mirrored content.
_MARGIN = math.sqrt(2)


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An original with its label map, uint8 (H, W, 3) and (H, W)."""

    sample_id: str
    rgb: NDArray[np.uint8]
    labels: LabelMap


def random_window(labels: LabelMap, config: TrainingConfig, rng: np.random.Generator) -> Window:
    """A square around the cell at a random scale (the logarithm is uniform) and a random offset."""
    fill = math.exp(rng.uniform(math.log(config.minimum_fill), math.log(config.maximum_fill)))
    centred = Window.around(cell_mask(labels), fill)
    # A cell that nearly fills the window may only move a little, or it would be cut.
    room = min(config.centre_jitter, max(0.02, (1 - fill) / 2)) * centred.side
    return Window(centred.left + rng.uniform(-room, room), centred.top + rng.uniform(-room, room), centred.side)


def jitter_stain(rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Another stain and lamp: optical density times one global and three channel factors, plus an offset per channel."""
    density = -np.log((rgb.astype(np.float32) + 1) / 256)
    factor = rng.uniform(0.6, 1.5) * rng.uniform(0.8, 1.25, size=3)
    offset = rng.uniform(-0.08, 0.12) + rng.uniform(-0.05, 0.05, size=3)
    jittered = 256 * np.exp(-(density * factor + offset)) - 1
    return np.asarray(np.clip(jittered, 0, 255).astype(np.uint8))


def paste_neighbour(
    rgb: NDArray[np.uint8], labels: LabelMap, other_rgb: NDArray[np.uint8], other_labels: LabelMap, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], LabelMap]:
    """Set another cell beside or against the centred one, as background: only the centred cell is to be outlined.

    Both pairs share a canvas size. The other background is matched to this one's in optical density, channel by channel.
    """
    cell, other = cell_mask(labels), cell_mask(other_labels)
    if not cell.any() or cell.all() or not other.any() or other.all():
        return rgb, labels
    size = cell.shape[0]
    angle = rng.uniform(0, 2 * math.pi)
    direction = np.array([math.sin(angle), math.cos(angle)])

    def reach(mask: NDArray[np.bool_], towards: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        points = np.argwhere(mask).astype(float)
        centre = points.mean(axis=0)
        return centre, float(((points - centre) @ towards).max())

    centre, extent = reach(cell, direction)
    other_centre, other_extent = reach(other, -direction)
    gap = rng.uniform(-0.15, 0.25) * extent
    row_shift, column_shift = np.round(centre + direction * (extent + other_extent + gap) - other_centre).astype(int)

    def shifted(array: NDArray[np.uint8] | NDArray[np.bool_]) -> NDArray[np.uint8] | NDArray[np.bool_]:
        moved = np.zeros_like(array)
        rows = slice(max(0, row_shift), min(size, size + row_shift))
        columns = slice(max(0, column_shift), min(size, size + column_shift))
        from_rows = slice(max(0, -row_shift), min(size, size - row_shift))
        from_columns = slice(max(0, -column_shift), min(size, size - column_shift))
        if rows.start < rows.stop and columns.start < columns.stop:
            moved[rows, columns] = array[from_rows, from_columns]
        return moved

    background, other_background = np.median(rgb[~cell], axis=0), np.median(other_rgb[~other], axis=0)
    ratio = (background + 1) / (other_background + 1)
    matched = np.clip((other_rgb + 1.0) * ratio - 1, 0, 255).astype(np.uint8)
    moved_rgb = shifted(matched)
    moved = shifted(ndimage.binary_dilation(other, iterations=2)) & ~cell
    alpha = cv2.GaussianBlur(moved.astype(np.float32), (0, 0), 1.0)[..., None] * ~cell[..., None]
    mixed = (rgb * (1 - alpha) + moved_rgb * alpha).astype(np.uint8)
    return mixed, LabelMap(np.where(moved, np.uint8(Compartment.BACKGROUND), labels))


def _pipeline(size: int) -> A.Compose:
    return A.Compose(
        [
            A.D4(p=1),
            A.Affine(
                rotate=(-45, 45),
                shear=(-6, 6),
                scale=1.0,
                interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.8,
            ),
            A.CenterCrop(size, size),
            A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=25, val_shift_limit=12, p=0.5),
            A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.4),
            A.RandomGamma(gamma_limit=(75, 135), p=0.3),
            A.OneOf(
                [
                    A.GaussianBlur(blur_limit=(3, 7)),
                    # By default these two move the image by up to 2 and 4 pixels, and leave its labels where they are.
                    A.MotionBlur(blur_limit=5, allow_shifted=False),
                    A.Downscale(scale_range=(0.4, 0.8), interpolation_pair={"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}),
                ],
                p=0.35,
            ),
            A.GaussNoise(std_range=(0.01, 0.05), p=0.2),
            A.ImageCompression(quality_range=(40, 95), p=0.35),
        ]
    )


class Augmentation:
    """Draws training samples: window, neighbour, stain, geometry, camera. One instance per config; deterministic by `rng`."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._pipeline = _pipeline(config.input_size)
        self._canvas = round(config.input_size * _MARGIN)

    def __call__(
        self, item: LabelledImage, others: list[LabelledImage], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """An image (S, S, 3) and its label map (S, S), both uint8; `others` are the neighbours to paste from."""
        window = random_window(item.labels, self._config, rng)
        rgb, labels = self._cut(item, window)
        while rng.random() < self._config.paste_probability:
            other = others[rng.integers(len(others))]
            # The neighbour comes at about the same size, as leukocytes beside each other do.
            fill = Window.around(cell_mask(item.labels), 1).side / window.side * rng.uniform(0.75, 1.25)
            other_rgb, other_labels = self._cut(other, Window.around(cell_mask(other.labels), min(fill, 0.95)))
            turns = int(rng.integers(4))
            rgb, labels = paste_neighbour(
                rgb,
                labels,
                np.ascontiguousarray(np.rot90(other_rgb, turns)),
                LabelMap(np.ascontiguousarray(np.rot90(other_labels, turns))),
                rng,
            )
        if rng.random() < 0.5:
            rgb = jitter_stain(rgb, rng)
        self._pipeline.set_random_seed(int(rng.integers(2**31)))
        done = self._pipeline(image=rgb, mask=labels)
        return done["image"], done["mask"]

    def _cut(self, item: LabelledImage, window: Window) -> tuple[NDArray[np.uint8], LabelMap]:
        margin = window.side * (self._canvas / self._config.input_size - 1) / 2
        wide = Window(window.left - margin, window.top - margin, window.side + 2 * margin)
        return resample(item.rgb, wide, self._canvas), LabelMap(resample_labels(item.labels, wide, self._canvas))
