"""Scenes to learn from: boxed images at any scale, alone or side by side, in the colours of laboratories never seen."""

import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from core.domain.objects import ObjectKind
from core.image.stain import absorbance
from core.segmentation.preprocessing import look_up, normalise, white_balance
from training.architectures.weights import normalisation
from training.augmentation import jitter_stain
from training.localiser.boxes import KINDS, BoxedImage, completed, log_uniform, median_or
from training.localiser.config import LocaliserConfig
from training.localiser.platelets import add_platelets, platelets_of
from training.localiser.smudges import add_smudge
from training.localiser.targets import Targets

_LEUKOCYTE, _RED_CELL = KINDS.index(ObjectKind.LEUKOCYTE), KINDS.index(ObjectKind.RED_CELL)
# The drawn boxes leave out many red cells that the image's edge cuts: within so many diameters of it none is missed.
_EDGE: Final = 0.45
# The share of the scenes that are cut around a leukocyte, where the image is larger than the scene.
_AROUND_LEUKOCYTE: Final = 0.7
# The share of the scenes in which an image smaller than half the scene stands alone in its own background.
_ALONE: Final = 0.3
_MOST_ABREAST: Final = 4


@dataclass(frozen=True)
class _Tile:
    """A part of the scene, (top, left, height, width)."""

    top: int
    left: int
    height: int
    width: int


class SceneDataset(Dataset[tuple[torch.Tensor, ...]]):
    """Scenes as (image, peaks, weights, distances, measured); each a draw that epoch and index decide."""

    def __init__(self, images: Sequence[BoxedImage], config: LocaliserConfig, *, count: int) -> None:
        self._config, self._count = config, count
        self._by_source = {source: [image for image in images if image.source == source] for source in config.sources}
        shares = np.array(
            [
                share if self._by_source[source] else 0.0
                for source, share in zip(config.sources, config.shares, strict=True)
            ]
        )
        self._shares = shares / shares.sum()
        self._drawn = [image for image in images if image.labels is not None and len(image.boxes) == 1]
        self._platelets = platelets_of(images)
        self._copies = {image.image_id: _halved(image.rgb) for image in images}
        self._scale = normalisation(config.encoder)
        self.epoch = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        scene, targets = self.scene(index)
        arrays = (normalise(scene, *self._scale), targets.peaks, targets.weights, targets.distances, targets.measured)
        return tuple(torch.from_numpy(array) for array in arrays)

    def scene(self, index: int) -> tuple[NDArray[np.uint8], Targets]:
        """An image (S, S, 3) and what is to be said of it."""
        rng = np.random.default_rng((self._config.seed, self.epoch, index))
        images = self._by_source[self._config.sources[rng.choice(len(self._shares), p=self._shares)]]
        scene, targets, white, diameter = self._composed(images, rng)
        if self._platelets and rng.random() < self._config.platelet_probability:
            scene = add_platelets(scene, targets, white, self._platelets, diameter, rng)
        if self._drawn and rng.random() < self._config.smudge_probability:
            scene = add_smudge(scene, targets, white, self._drawn[int(rng.integers(len(self._drawn)))], rng)
        return _photographed(scene, white, rng), targets

    def _composed(
        self, images: Sequence[BoxedImage], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Targets, list[NDArray[np.float32]], float]:
        """Images of one laboratory in one scene, what is to be said of it, and the leukocytes' boxes and diameter."""
        side = self._config.scene
        diameter = log_uniform(self._config.smallest, self._config.largest, rng)
        first = images[int(rng.integers(len(images)))]
        scene = np.empty((side, side, 3), np.uint8)
        targets, white = Targets(side), []
        shown = diameter / first.leukocyte_diameter * max(first.rgb.shape[:2])
        alone = shown < 0.6 * side and rng.random() < _ALONE
        scene[:] = _background(first.rgb)
        for tile in [_anywhere(side, shown, rng)] if alone else _abreast(side, shown):
            image = first if tile.top == tile.left == 0 or alone else images[int(rng.integers(len(images)))]
            scale = diameter / image.leukocyte_diameter * log_uniform(0.9, 1.1, rng)
            white += _put(image, self._copies[image.image_id], scale, tile, scene, targets, rng)
        return scene, targets, white, diameter


def _halved(rgb: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """An image, and copies of half and a quarter of its size."""
    copies: list[NDArray[np.uint8]] = [rgb]
    for _ in range(2):
        height, width = copies[-1].shape[0] // 2 * 2, copies[-1].shape[1] // 2 * 2
        even = copies[-1][:height, :width]
        smaller = cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        copies.append(np.asarray(smaller, dtype=np.uint8))
    return copies


def _background(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(np.percentile(rgb.reshape(-1, 3)[::7], 85, axis=0), dtype=np.uint8)


def _anywhere(side: int, shown: float, rng: np.random.Generator) -> _Tile:
    length = max(8, min(side, round(shown)))
    top, left = (int(value) for value in rng.integers(side - length + 1, size=2))
    return _Tile(top, left, length, length)


def _abreast(side: int, shown: float) -> list[_Tile]:
    """So many tiles side by side that an image fills each."""
    count = min(max(1, math.ceil(side / max(shown, 1) - 0.15)), _MOST_ABREAST)
    edges = np.linspace(0, side, count + 1).round().astype(int)
    return [
        _Tile(int(top), int(left), int(bottom - top), int(right - left))
        for top, bottom in itertools.pairwise(edges)
        for left, right in itertools.pairwise(edges)
    ]


def _put(
    image: BoxedImage,
    copies: Sequence[NDArray[np.uint8]],
    scale: float,
    tile: _Tile,
    scene: NDArray[np.uint8],
    targets: Targets,
    rng: np.random.Generator,
) -> list[NDArray[np.float32]]:
    """Show an image, turned and scaled, in a tile; returns the boxes of its leukocytes."""
    height, width = image.rgb.shape[:2]
    boxes = completed(image.boxes, (height, width))
    turn, flip = int(rng.integers(4)), bool(rng.integers(2))
    sides = np.array([scale * rng.uniform(0.94, 1.06), scale * rng.uniform(0.94, 1.06)])
    matrix = np.diag(sides) @ _quarter_turns(turn, flip=flip)
    corners = np.array([[0, 0], [width, height]]) @ matrix.T
    low, extent = corners.min(axis=0), np.abs(corners[1] - corners[0])
    moved = _moved(boxes, matrix, -low)
    offset = _offset(moved[image.kinds == _LEUKOCYTE], extent, tile, rng)
    moved += np.tile(offset, 2).astype(np.float32)
    shift = offset - low
    affine = np.concatenate([matrix, shift[:, None]], axis=1)
    # Pixel centres lie at half pixels.
    affine[:, 2] += matrix @ (0.5, 0.5) - 0.5 - (tile.left, tile.top)
    # From one of the half-size copies, so that bilinear sampling skips no pixel.
    halvings = min(len(copies) - 1, max(0, math.floor(-math.log2(scale) + 0.2)))
    affine[:, :2] *= 2**halvings
    affine[:, 2] += affine[:, :2] @ (0.5, 0.5) - matrix @ (0.5, 0.5)
    place = scene[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
    cv2.warpAffine(
        copies[halvings],
        affine,
        (tile.width, tile.height),
        dst=place,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
    ends = np.concatenate([offset, offset + extent])
    within = (tile.left, tile.top, tile.left + tile.width, tile.top + tile.height)
    shown = np.array([*np.maximum(ends[:2], within[:2]), *np.minimum(ends[2:], within[2:])], dtype=np.float32)
    _say(image, moved, shown, ends.astype(np.float32), targets)
    return [box for box, kind in zip(moved, image.kinds, strict=True) if kind == _LEUKOCYTE]


def _say(
    image: BoxedImage,
    boxes: NDArray[np.float32],
    shown: NDArray[np.float32],
    ends: NDArray[np.float32],
    targets: Targets,
) -> None:
    """Enter an image's objects, and what is not known of it, into the targets."""
    for kind in range(len(KINDS)):
        if kind not in image.labelled:
            targets.ignore(kind, shown)
            for box in boxes[image.kinds == _LEUKOCYTE]:
                targets.forbid(kind, np.concatenate([np.maximum(box[:2], shown[:2]), np.minimum(box[2:], shown[2:])]))
    red = boxes[image.kinds == _RED_CELL]
    margin = _EDGE * median_or(np.asarray((red[:, 2:] - red[:, :2]).mean(axis=1)), 0)
    if margin:
        left, top, right, bottom = ends
        for strip in (
            (left, top, right, top + margin),
            (left, bottom - margin, right, bottom),
            (left, top, left + margin, bottom),
            (right - margin, top, right, bottom),
        ):
            part = np.concatenate([np.maximum(strip[:2], shown[:2]), np.minimum(strip[2:], shown[2:])])
            if (part[2:] > part[:2]).all():
                targets.ignore(_RED_CELL, part.astype(np.float32))
    # The largest last, because their distances hold where two share a grid point.
    for number in np.argsort((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)):
        targets.add(int(image.kinds[number]), boxes[number], shown)


def _quarter_turns(turn: int, *, flip: bool) -> NDArray[np.float64]:
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][turn]
    return np.array([[cosine, -sine], [sine, cosine]], dtype=float) @ np.diag([-1.0 if flip else 1.0, 1.0])


def _moved(boxes: NDArray[np.float32], matrix: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float32]:
    first, second = (boxes[:, part] @ matrix.T + shift for part in (slice(0, 2), slice(2, 4)))
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1).astype(np.float32)


def _offset(
    white: NDArray[np.float32], extent: NDArray[np.float64], tile: _Tile, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Where the image's corner comes to lie in the scene.

    Mostly with a leukocyte in the tile, and with no more room beside the image than needed.
    """
    corner, sides = np.array([tile.left, tile.top], dtype=float), np.array([tile.width, tile.height], dtype=float)
    room = sides - extent
    offset = np.where(room >= 0, rng.uniform(0, 1, 2) * room, rng.uniform(room.clip(max=0), 0))
    if len(white) and rng.random() < _AROUND_LEUKOCYTE:
        box = white[int(rng.integers(len(white)))]
        wanted = rng.uniform(0.05, 0.95, 2) * sides - (box[:2] + box[2:]) / 2
        offset = np.where(room >= 0, offset, np.clip(wanted, room, 0))
    return np.asarray(corner + offset)


def _photographed(
    scene: NDArray[np.uint8], white: Sequence[NDArray[np.float32]], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Another stain, lamp and camera, and what preprocessing makes of it."""
    if rng.random() < 0.5:
        scene = _recoloured(scene, white, rng)
    if rng.random() < 0.7:
        scene = jitter_stain(scene, rng, rng.uniform(0.5, 1.6))
    if rng.random() < 0.35:
        scene = _shifted_hue(scene, rng)
    if rng.random() < 0.3:
        scene = _exposed(scene, rng)
    if rng.random() < 0.3:
        scene = _unevenly_lit(scene, rng)
    if rng.random() < 0.88:
        scene = look_up(scene, white_balance(scene))
    return _taken(scene, rng)


def _recoloured(
    scene: NDArray[np.uint8], white: Sequence[NDArray[np.float32]], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Dyes of other colours, one mixture for leukocytes and another for all else: red cells become blue, or pale."""
    side = len(scene)
    mask = np.zeros((side, side), np.float32)
    for box in white:
        middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        cv2.ellipse(mask, tuple(int(v) for v in middle), tuple(int(max(v, 1)) for v in half * 0.97), 0, 0, 360, 1.0, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), 1.2)[..., None]
    density = absorbance(scene)
    ground = np.percentile(density.reshape(-1, 3)[::5], 15, axis=0).astype(np.float32)
    spread = rng.uniform(0.05, 0.3)
    inside, outside = (
        np.eye(3) * rng.uniform(0.75, 1.3) + rng.normal(0, share * spread, (3, 3)) for share in (0.6, 1.2)
    )
    outside = _hued(outside * rng.uniform(0.6, 1.3), rng.uniform(0, 0.9), rng)
    inside = _hued(inside, rng.uniform(0, 0.25), rng)
    apart = density - ground
    mixed = (apart @ inside.astype(np.float32)) * soft + (apart @ outside.astype(np.float32)) * (1 - soft)
    tint = ground + rng.uniform(-0.04, 0.12) + rng.uniform(-0.06, 0.06, 3)
    return np.asarray(np.clip(256 * np.exp(-(mixed + tint)) - 1, 0, 255).astype(np.uint8))


def _hued(mixture: NDArray[np.float64], share: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A mixture of densities in which a share of what is absorbed has a colour that does not depend on the dye's."""
    colour = rng.dirichlet((3, 3, 3)) * 3
    return (1 - share) * mixture + share * np.outer(np.full(3, 1 / 3), colour)


def _shifted_hue(scene: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    hsv = cv2.cvtColor(scene, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.normal(0, 8)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.25, 1.4), 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), dtype=np.uint8)


def _exposed(scene: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Over- or underexposed, and with another gamma."""
    light = scene.astype(np.float32) / 255
    light = np.clip(light * rng.uniform(0.7, 1.35), 0, 1) ** rng.uniform(0.6, 1.5)
    return np.asarray((255 * light).astype(np.uint8))


def _unevenly_lit(scene: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[-0.5 : 0.5 : len(scene) * 1j, -0.5 : 0.5 : scene.shape[1] * 1j]
    slope = rng.uniform(0, 0.35) * rng.uniform(0.7, 1, 3)
    fall = np.exp(-((math.sin(angle) * y + math.cos(angle) * x + 0.5)[..., None]) * slope)
    return np.asarray((scene * fall).astype(np.uint8))


def _taken(scene: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """By another camera: blurred, sharpened, noisy, compressed."""
    light = scene.astype(np.float32)
    if rng.random() < 0.3:
        light = cv2.GaussianBlur(light, (0, 0), log_uniform(0.4, 1.8, rng)).astype(np.float32)
    elif rng.random() < 0.2:
        light += np.float32(rng.uniform(0.3, 1.0)) * (light - cv2.GaussianBlur(light, (0, 0), 1.0))
    if rng.random() < 0.25:
        light += rng.normal(0, rng.uniform(2, 10), scene.shape).astype(np.float32)
    taken = np.clip(light, 0, 255).astype(np.uint8)
    return _compressed(taken, int(rng.integers(25, 95))) if rng.random() < 0.3 else taken


def _compressed(scene: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(scene).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))
