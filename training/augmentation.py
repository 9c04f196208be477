"""Augmentation of training samples on the fly. Albumentations is used only here, so that it can be replaced."""

import math
from dataclasses import dataclass
from typing import Any

import albumentations as A  # noqa: N812 (the library's own convention)
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.types import LabelMap
from core.image.masks import cell_mask, with_environment
from core.image.stain import absorbance
from core.image.window import Window, resample, resample_labels
from training.config import TrainingConfig
from training.own import OwnAugmentation

# A square turned by 45 degrees needs sqrt(2) times its side, or its corners are mirrored content.
_MARGIN = math.sqrt(2)

# A thing in the background counts as stained from this optical density over the background on, and as a red cell from
# this share of the leukocyte's area on; smaller ones are platelets and debris.
_STAINED = 0.15
_RED_CELL_SHARE = 0.1
# Rays along which a nucleus is widened, and the share of the pixels inside its rays that must be nucleus: a horseshoe
# is left as it is.
_RAYS = 72
_ROUND = 0.97


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An original with its label map, uint8 (H, W, 3) and (H, W)."""

    sample_id: str
    rgb: NDArray[np.uint8]
    labels: LabelMap


def seen_in(item: LabelledImage, window: Window, size: int) -> tuple[NDArray[np.uint8], LabelMap]:
    """What a window shows of an image, (size, size, 3), and its label map, (size, size), both uint8.

    Beyond the picture's edge the image is mirrored. There a cell that the edge cuts goes on without a seam, so that its
    mirrored part is labelled as the cell, too: a network cannot know where the picture ended. The mirror image of a
    whole cell is another cell, and background.
    """
    labels = LabelMap(resample_labels(item.labels, window, size))
    cell = cell_mask(item.labels)
    if cell[[0, -1]].any() or cell[:, [0, -1]].any():
        mirrored = LabelMap(resample_labels(item.labels, window, size, mirrored=True))
        parts, _ = ndimage.label(cell_mask(mirrored))
        own = np.isin(parts, np.unique(parts[cell_mask(labels)]))
        labels = with_environment(LabelMap(np.where(own, mirrored, np.uint8(Compartment.BACKGROUND))))
    return resample(item.rgb, window, size), labels


def random_window(labels: LabelMap, config: TrainingConfig, rng: np.random.Generator) -> Window:
    """A square around the cell at a random scale (the logarithm is uniform) and a random offset."""
    fill = math.exp(rng.uniform(math.log(config.minimum_fill), math.log(config.maximum_fill)))
    centred = Window.around(cell_mask(labels), fill)
    # A cell that nearly fills the window may only move a little, or it would be cut.
    room = min(config.centre_jitter, max(0.02, (1 - fill) / 2)) * centred.side
    return Window(centred.left + rng.uniform(-room, room), centred.top + rng.uniform(-room, room), centred.side)


def jitter_stain(rgb: NDArray[np.uint8], rng: np.random.Generator, strength: float = 1.0) -> NDArray[np.uint8]:
    """Another stain and lamp: optical density times one global and three channel factors, plus channel offsets."""
    density = -np.log((rgb.astype(np.float32) + 1) / 256)
    factor = rng.uniform(0.6**strength, 1.5**strength) * rng.uniform(0.8**strength, 1.25**strength, size=3)
    offset = rng.uniform(-0.08 * strength, 0.12 * strength) + rng.uniform(-0.05 * strength, 0.05 * strength, size=3)
    return _seen_through(density * factor + offset)


def _seen_through(density: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(256 * np.exp(-density) - 1, 0, 255).astype(np.uint8))


def change_light(
    rgb: NDArray[np.uint8], labels: LabelMap, config: TrainingConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Dyes of other colours, another background, uneven light: each by the config's magnitude, in optical density.

    The dyes change by any mixing matrix near the identity, which includes the scaling of dyes along fixed directions of
    Tellez et al. 2018 (IEEE Trans Med Imaging 37:2126) without the need to know the directions.
    """
    density = absorbance(rgb)
    if config.stain_mix:
        density = density @ (np.eye(3, dtype=np.float32) + rng.normal(0, config.stain_mix, (3, 3)).astype(np.float32))
    if config.background_change:
        outside = cv2.GaussianBlur((~cell_mask(labels)).astype(np.float32), (0, 0), 0.01 * len(rgb))
        tint = rng.uniform(-1, 1) + rng.uniform(-0.5, 0.5, size=3)
        density = density + outside[..., None] * (config.background_change * tint / 1.5).astype(np.float32)
    if config.light_gradient:
        angle = rng.uniform(0, 2 * math.pi)
        y, x = np.mgrid[-0.5 : 0.5 : len(rgb) * 1j, -0.5 : 0.5 : rgb.shape[1] * 1j]
        slope = config.light_gradient * rng.uniform(0, 1) * rng.uniform(0.7, 1, size=3)
        density = density + (math.sin(angle) * y + math.cos(angle) * x)[..., None] * slope
    return _seen_through(density)


def widen_nucleus(
    rgb: NDArray[np.uint8], labels: LabelMap, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], LabelMap]:
    """The same cell with a thin cytoplasm: on every ray from its centre the nucleus is widened, the rest compressed.

    The masked data have few such cells, lymphocytes of other laboratories many. A nucleus whose rays cross more than
    nucleus is left.
    """
    nucleus, cell = labels == Compartment.NUCLEUS, cell_mask(labels)
    if not nucleus.any():
        return rgb, labels
    centre_y, centre_x = np.argwhere(nucleus).mean(axis=0)
    y, x = np.mgrid[: len(labels), : labels.shape[1]].astype(np.float32)
    radius = np.hypot(y - centre_y, x - centre_x)
    ray = np.mod(np.arctan2(y - centre_y, x - centre_x) / (2 * math.pi), 1) * _RAYS
    inner, outer = np.zeros(_RAYS), np.zeros(_RAYS)
    for reach, mask in ((inner, nucleus), (outer, cell)):
        np.maximum.at(reach, ray[mask].astype(int) % _RAYS, radius[mask])
    inner, outer = (ndimage.gaussian_filter1d(reach, 1.0, mode="wrap") for reach in (inner, outer))
    narrow, far = (np.asarray(np.interp(ray - 0.5, np.arange(_RAYS), reach, period=_RAYS)) for reach in (inner, outer))
    # Where the nucleus lies at the cell's edge there is nothing to squeeze; rays never cross.
    wide = np.maximum(far, narrow + 1)
    within = radius < narrow
    if not within.any() or nucleus[within].mean() < _ROUND or inner.min() < 1:
        return rgb, labels
    widened = wide - rng.uniform(0.15, 0.7) * (wide - narrow)
    squeezed = narrow + (radius - widened) * (wide - narrow) / (wide - widened)
    source = np.where(radius < widened, radius * narrow / widened, np.where(radius < wide, squeezed, radius))
    share = source / np.maximum(radius, 1e-6)
    maps = [(centre + (place - centre) * share).astype(np.float32) for centre, place in ((centre_x, x), (centre_y, y))]

    def warp(pixels: NDArray[np.uint8], method: int) -> NDArray[np.uint8]:
        return np.asarray(
            cv2.remap(pixels, maps[0], maps[1], method, borderMode=cv2.BORDER_REFLECT_101), dtype=np.uint8
        )

    return warp(rgb, cv2.INTER_LINEAR), LabelMap(warp(labels, cv2.INTER_NEAREST))


def add_red_cells(rgb: NDArray[np.uint8], labels: LabelMap, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one to six red cells beside, against and under the cell, all of one size, colour and pallor.

    They are the neighbours of every leukocyte, in another colour in every laboratory. The cell's own pixels stay, and
    overlapping objects absorb more light.
    """
    cell = cell_mask(labels)
    away = ndimage.distance_transform_edt(~cell)
    radius = rng.uniform(0.45, 0.9) * math.sqrt(np.count_nonzero(cell) / math.pi)
    colour, pallor = rng.uniform((0.02, 0.25, 0.1), (0.35, 0.8, 0.6)), rng.uniform(0, 0.9)
    places = np.argwhere((away > 0.8 * radius) & (away < 1.4 * radius))
    if not len(places):
        return rgb
    density = absorbance(rgb)
    y, x = np.mgrid[: len(rgb), : rgb.shape[1]]
    for row, column in places[rng.integers(len(places), size=rng.integers(1, 7))]:
        angle, squeeze = rng.uniform(0, math.pi), rng.uniform(0.8, 1)
        along = math.cos(angle) * (x - column) + math.sin(angle) * (y - row)
        across = (math.cos(angle) * (y - row) - math.sin(angle) * (x - column)) / squeeze
        reach = np.hypot(along, across) / radius
        # The outline is as soft as a pixel or two of the network's grid.
        thickness = np.clip((1 - reach) * radius / 1.5, 0, 1) * (1 - pallor * np.exp(-((reach / 0.45) ** 2)))
        density = density + np.where(cell, 0, thickness)[..., None] * (colour * rng.uniform(0.9, 1.1)).astype(
            np.float32
        )
    return np.where(cell[..., None], rgb, _seen_through(density))


def clutter(rgb: NDArray[np.uint8], labels: LabelMap, rng: np.random.Generator) -> LabelMap | None:
    """A thing in the background marked as if it were the cell: a red cell or an empty disc; None without room.

    The disc teaches that a seam alone does not mean a neighbour.
    """
    free = ~ndimage.binary_dilation(labels > Compartment.BACKGROUND, iterations=2)
    if not free.any():
        return None
    area = int(np.count_nonzero(cell_mask(labels)))
    density = absorbance(rgb).mean(axis=2)
    stained = free & (density > np.percentile(density[free], 20) + _STAINED)
    parts, _ = ndimage.label(ndimage.binary_opening(stained, iterations=2))
    areas = np.bincount(parts.ravel())
    # What the picture's edge cuts off would be pasted with a straight side.
    areas[np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])] = 0
    large = np.flatnonzero(areas[1:] >= _RED_CELL_SHARE * area) + 1
    if len(large):
        thing = ndimage.binary_fill_holes(parts == rng.choice(large)) & free
    else:
        radius = rng.uniform(0.3, 0.8) * math.sqrt(area / math.pi)
        places = np.argwhere(free[math.ceil(radius) : -math.ceil(radius), math.ceil(radius) : -math.ceil(radius)])
        if not len(places):
            return None
        row, column = rng.choice(places) + math.ceil(radius)
        y, x = np.ogrid[: len(labels), : labels.shape[1]]
        thing = free & (np.hypot(y - row, x - column) < radius)
    return LabelMap(np.where(thing, np.uint8(Compartment.CYTOPLASM), np.uint8(Compartment.BACKGROUND)))


def beside(cell: NDArray[np.bool_], other: NDArray[np.bool_], angle: float, gap: float) -> tuple[int, int]:
    """By how many rows and columns to move `other` so that it lies in that direction from `cell`.

    `gap` is the distance between them as a share of the cell's own extent that way, from its centre; negative where
    they overlap.
    """
    direction = np.array([math.sin(angle), math.cos(angle)])

    def reach(mask: NDArray[np.bool_], towards: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        points = np.argwhere(mask).astype(float)
        centre = points.mean(axis=0)
        return centre, float(((points - centre) @ towards).max())

    centre, extent = reach(cell, direction)
    other_centre, other_extent = reach(other, -direction)
    rows, columns = np.round(centre + direction * (extent + other_extent + gap * extent) - other_centre).astype(int)
    return int(rows), int(columns)


def shifted(array: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """An array (H, W, ...) moved down and to the right; 0 where nothing came from."""
    height, width = array.shape[:2]
    moved = np.zeros_like(array)
    to_rows, to_columns = (
        slice(max(0, rows), min(height, height + rows)),
        slice(max(0, columns), min(width, width + columns)),
    )
    if to_rows.start < to_rows.stop and to_columns.start < to_columns.stop:
        from_rows, from_columns = (
            slice(max(0, -rows), min(height, height - rows)),
            slice(max(0, -columns), min(width, width - columns)),
        )
        moved[to_rows, to_columns] = array[from_rows, from_columns]
    return moved


def paste_neighbour(
    rgb: NDArray[np.uint8],
    labels: LabelMap,
    other_rgb: NDArray[np.uint8],
    other_labels: LabelMap,
    rng: np.random.Generator,
    *,
    gap: tuple[float, float] = (-0.15, 0.25),
    seam: tuple[float, float] = (1.0, 1.0),
) -> tuple[NDArray[np.uint8], LabelMap]:
    """Set another cell beside or against the centred one, as background: only the centred cell is to be outlined.

    Both pairs share a canvas size. The other background is matched to this one's in optical density, channel by
    channel. `gap` is the range of `beside`'s, `seam` that of the blending's standard deviation in pixels.
    """
    cell, other = cell_mask(labels), cell_mask(other_labels)
    if not cell.any() or cell.all() or not other.any() or other.all():
        return rgb, labels
    rows, columns = beside(cell, other, rng.uniform(0, 2 * math.pi), rng.uniform(*gap))
    # A fixed width takes no draw: the default config trains from the same numbers as the shipped model did.
    softness = rng.uniform(*seam) if seam[0] < seam[1] else seam[0]

    background, other_background = np.median(rgb[~cell], axis=0), np.median(other_rgb[~other], axis=0)
    ratio = (background + 1) / (other_background + 1)
    matched = np.clip((other_rgb + 1.0) * ratio - 1, 0, 255).astype(np.uint8)
    moved_rgb = shifted(matched, rows, columns)
    moved = shifted(ndimage.binary_dilation(other, iterations=max(1, round(2 * softness))), rows, columns) & ~cell
    alpha = cv2.GaussianBlur(moved.astype(np.float32), (0, 0), softness)[..., None] * ~cell[..., None]
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
                    A.Downscale(
                        scale_range=(0.4, 0.8),
                        interpolation_pair={"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR},
                    ),
                ],
                p=0.35,
            ),
            A.GaussNoise(std_range=(0.01, 0.05), p=0.2),
            A.ImageCompression(quality_range=(40, 95), p=0.35),
        ]
    )


class Augmentation:
    """Draws training samples: window, neighbour, stain, geometry, camera; one per config, deterministic by `rng`."""

    def __init__(self, config: TrainingConfig) -> None:
        self._config = config
        self._pipeline = _pipeline(config.input_size)
        self._canvas = round(config.input_size * _MARGIN)
        self._own = OwnAugmentation(config.augmentation) if config.augmentation else None

    def __call__(
        self, item: LabelledImage, others: list[LabelledImage], rng: np.random.Generator, *, epoch: int = 0
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """An image (S, S, 3) and its label map (S, S), both uint8; `others` are the neighbours to paste from."""
        # What is off takes no draw, so that a run's images depend on nothing but the settings that it knows.
        config = self._config
        window = random_window(item.labels, config, rng)
        rgb, labels = self._cut(item, window)
        share = Window.around(cell_mask(item.labels), 1).side / window.side
        if config.thin_probability and rng.random() < config.thin_probability:
            rgb, labels = widen_nucleus(rgb, labels, rng)
        if config.red_cell_probability and rng.random() < config.red_cell_probability:
            rgb = add_red_cells(rgb, labels, rng)
        if config.clutter_probability and rng.random() < config.clutter_probability:
            rgb, labels = self._paste(rgb, labels, others, share, rng, whole_cell=False)
        while epoch >= config.paste_from_epoch and rng.random() < config.paste_probability:
            rgb, labels = self._paste(rgb, labels, others, share, rng, whole_cell=True)
        if rng.random() < config.stain_probability:
            rgb = jitter_stain(rgb, rng, config.stain_strength)
        if config.stain_mix or config.background_change or config.light_gradient:
            rgb = change_light(rgb, labels, config, rng)
        self._pipeline.set_random_seed(int(rng.integers(2**31)))
        done = self._pipeline(image=rgb, mask=labels)
        rgb, labels = done["image"], done["mask"]
        return self._own(rgb, labels, rng) if self._own else (rgb, labels)

    def _paste(
        self,
        rgb: NDArray[np.uint8],
        labels: LabelMap,
        others: list[LabelledImage],
        share: float,
        rng: np.random.Generator,
        *,
        whole_cell: bool,
    ) -> tuple[NDArray[np.uint8], LabelMap]:
        """Paste another image's leukocyte, or a background object, where the cell takes `share` of the window."""
        other = others[rng.integers(len(others))]
        # The neighbour comes at about the same size, as leukocytes beside each other do.
        fill = share * rng.uniform(0.75, 1.25)
        other_rgb, other_labels = self._cut(other, Window.around(cell_mask(other.labels), min(fill, 0.95)))
        marked = other_labels if whole_cell else clutter(other_rgb, other_labels, rng)
        if marked is None:
            return rgb, labels
        turns = int(rng.integers(4))
        return paste_neighbour(
            rgb,
            labels,
            np.ascontiguousarray(np.rot90(other_rgb, turns)),
            LabelMap(np.ascontiguousarray(np.rot90(marked, turns))),
            rng,
            gap=self._config.paste_gap,
            seam=self._config.paste_seam,
        )

    def _cut(self, item: LabelledImage, window: Window) -> tuple[NDArray[np.uint8], LabelMap]:
        margin = window.side * (self._canvas / self._config.input_size - 1) / 2
        wide = Window(window.left - margin, window.top - margin, window.side + 2 * margin)
        return seen_in(item, wide, self._canvas)
