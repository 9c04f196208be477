"""Smudge cells to learn from: there are no boxed ones, so they are made of drawn nuclei.

A smudge cell is a leukocyte that was crushed when the blood was smeared: a bare nucleus, pale, spread, without an
outline.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.compartments import Compartment
from core.domain.objects import ObjectKind
from core.image.stain import absorbance
from training.localiser.boxes import KINDS, BoxedImage
from training.localiser.targets import Targets

_SMUDGE, _RED_CELL = KINDS.index(ObjectKind.SMUDGE), KINDS.index(ObjectKind.RED_CELL)
# Side of the grid on which a smudge is made.
_SIDE: Final = 160
# What is less dense than this share of the smudge's densest parts is not taken into its box.
_SEEN: Final = 0.3
_TRIES: Final = 8
# What fills more of its convex hull looks like a whole nucleus.
_ROUND: Final = 0.86


def add_smudge(
    scene: NDArray[np.uint8],
    targets: Targets,
    white: Sequence[NDArray[np.float32]],
    image: BoxedImage,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """A scene with a smudge cell made of the nucleus of `image`, on no leukocyte; the same where there is no room.

    Its size is that of the scene's leukocytes, times about 1 to 2.
    """
    typical = float(np.median([np.sqrt((box[2:] - box[:2]).prod()) for box in white])) if white else rng.uniform(16, 90)
    length = round(float(np.clip(typical * rng.uniform(1.3, 2.5), 20, 0.95 * len(scene))))
    place = _free_place(len(scene), length, white, rng)
    made = smudge(image, rng)
    if place is None or made is None:
        return scene
    density = cv2.resize(made, (length, length), interpolation=cv2.INTER_AREA)
    strength = density.mean(axis=2)
    seen = strength > _SEEN * np.percentile(strength, 97)
    if not seen.any():
        return scene
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    left, top = place
    box = np.array([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1], dtype=np.float32)
    part = absorbance(scene[top : top + length, left : left + length])
    cover = np.clip(strength / max(float(np.percentile(strength, 95)), 1e-3), 0, 1)[..., None]
    ground = np.percentile(absorbance(scene).reshape(-1, 3)[::5], 15, axis=0).astype(np.float32)
    # A smear of chromatin covers what lies under it.
    mixed = ground + (part - ground) * (1 - 0.8 * cover) + density
    scene = scene.copy()
    scene[top : top + length, left : left + length] = np.clip(256 * np.exp(-mixed) - 1, 0, 255).astype(np.uint8)
    _hide(targets, box)
    targets.add(_SMUDGE, box, np.array([0, 0, len(scene), len(scene)], dtype=np.float32))
    return scene


def _hide(targets: Targets, box: NDArray[np.float32]) -> None:
    """What lies under a smudge is no longer asked for."""
    rows, columns = targets.points(box)
    targets.peaks[:, rows, columns] = 0
    targets.measured[rows, columns] = 0
    targets.weights[_RED_CELL, rows, columns] = 0


def _free_place(
    side: int, length: int, white: Sequence[NDArray[np.float32]], rng: np.random.Generator
) -> tuple[int, int] | None:
    for _ in range(_TRIES):
        left, top = (int(value) for value in rng.integers(0, max(1, side - length), 2))
        inner = np.array([left, top, left + length, top + length]) + np.array([1, 1, -1, -1]) * 0.12 * length
        if all((np.minimum(inner[2:], box[2:]) <= np.maximum(inner[:2], box[:2])).any() for box in white):
            return left, top
    return None


def smudge(image: BoxedImage, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """The optical density (S, S, 3) that a crushed nucleus adds to a scene; None where no nucleus is drawn."""
    nucleus = (image.labels == Compartment.NUCLEUS) if image.labels is not None else np.zeros((1, 1), bool)
    if np.count_nonzero(nucleus) < 100:
        return None
    rows, columns = np.flatnonzero(nucleus.any(axis=1)), np.flatnonzero(nucleus.any(axis=0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    own = absorbance(image.rgb)
    ground = np.percentile(own.reshape(-1, 3)[::5], 15, axis=0).astype(np.float32)
    dense = np.maximum(own[part] - ground, 0) * nucleus[part][..., None]
    inner = round(0.52 * _SIDE)
    before = (_SIDE - inner) // 2
    after = _SIDE - inner - before
    small = cv2.resize(dense.astype(np.float32), (inner, inner), interpolation=cv2.INTER_AREA)
    dense = np.pad(small, [(before, after), (before, after), (0, 0)]).astype(np.float32)
    for _ in range(3):
        dense = _warped(dense, rng)
    dense = _streaked(dense, rng)
    dense = cv2.GaussianBlur(dense, (0, 0), rng.uniform(0.8, 3.0)).astype(np.float32)
    if _solidity(dense) > _ROUND:
        return None
    grain = 1 + rng.uniform(0.1, 0.35) * _smooth_noise(_SIDE, rng.uniform(3, 9), rng)[..., None]
    # Pale: the chromatin of a whole nucleus is about as dense as 0.8 to 1.6.
    strength = rng.uniform(0.25, 0.7) / max(float(np.percentile(dense.mean(axis=2), 95)), 1e-3)
    return np.asarray(np.maximum(dense * grain * min(strength, 1.0), 0), dtype=np.float32)


def _solidity(dense: NDArray[np.float32]) -> float:
    """The share of its convex hull that a smear fills."""
    strength = dense.mean(axis=2)
    seen = (strength > _SEEN * np.percentile(strength, 97)).astype(np.uint8)
    hull = cv2.convexHull(np.argwhere(seen).astype(np.float32))
    return float(np.count_nonzero(seen)) / max(float(cv2.contourArea(hull)), 1.0)


def _smooth_noise(side: int, scale: float, rng: np.random.Generator) -> NDArray[np.float32]:
    noise = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), scale)
    return np.asarray(noise / max(float(noise.std()), 1e-6), dtype=np.float32)


def _warped(density: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Displaced by a smooth random field, so strongly that no round outline is left."""
    side = len(density)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    scale, amount = rng.uniform(8, 24), rng.uniform(5, 14)
    maps = [(grid + amount * _smooth_noise(side, scale, rng)).astype(np.float32) for grid in (x, y)]
    return np.asarray(cv2.remap(density, maps[0], maps[1], cv2.INTER_LINEAR, borderValue=0), dtype=np.float32)


def _streaked(density: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Drawn out along a direction, in threads."""
    angle, length = rng.uniform(0, 180), int(rng.integers(9, 41))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), angle, 1)
    turned = cv2.warpAffine(kernel, turn, (length, length))
    kernel = (turned / max(float(turned.sum()), 1e-6)).astype(np.float32)
    drawn_out = cv2.filter2D(density, -1, kernel, borderType=cv2.BORDER_CONSTANT)
    share = np.clip(0.5 + 0.5 * _smooth_noise(len(density), rng.uniform(2, 6), rng), 0, 1)[..., None]
    return np.asarray(density * (1 - share) + drawn_out * share * rng.uniform(0.9, 1.3), dtype=np.float32)
