"""Platelets to learn from: few images show any, so those that have boxes are set into other scenes."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from core.domain.objects import ObjectKind
from core.image.stain import absorbance
from training.localiser.boxes import KINDS, BoxedImage
from training.localiser.targets import Targets

_PLATELET = KINDS.index(ObjectKind.PLATELET)
# So much wider than its box is what is cut out around a platelet.
_ROOM: Final = 1.3
_MOST: Final = 5


class Platelet(NamedTuple):
    """What a platelet adds in optical density (S, S, 3), and its box's sides in diameters of a leukocyte there."""

    density: NDArray[np.float32]
    sides: NDArray[np.float32]


def platelets_of(images: Sequence[BoxedImage]) -> list[Platelet]:
    """All that have a box and lie in their image as a whole."""
    found = []
    for image in images:
        for box in image.boxes[image.kinds == _PLATELET]:
            middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * _ROOM
            left, top = np.floor(middle - half).astype(int)
            right, bottom = np.ceil(middle + half).astype(int)
            if min(left, top) < 0 or right > image.rgb.shape[1] or bottom > image.rgb.shape[0]:
                continue
            part = absorbance(image.rgb[top:bottom, left:right])
            y, x = np.mgrid[-1 : 1 : len(part) * 1j, -1 : 1 : part.shape[1] * 1j]
            away = np.hypot(x, y)
            ground = np.median(part[away > 0.95], axis=0)
            # Only what is denser than what lies around it, and nothing of that.
            inside = np.clip((1 - away) / 0.2, 0, 1)[..., None]
            density = (np.maximum(part - ground, 0) * inside).astype(np.float32)
            found.append(Platelet(density, (box[2:] - box[:2]) / np.float32(image.leukocyte_diameter)))
    return found


def add_platelets(
    scene: NDArray[np.uint8],
    targets: Targets,
    white: Sequence[NDArray[np.float32]],
    platelets: Sequence[Platelet],
    diameter: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """A scene with a few platelets more, not on its leukocytes, whose diameter there is given."""
    density = absorbance(scene)
    for number in rng.integers(len(platelets), size=rng.integers(1, _MOST)):
        platelet = platelets[int(number)]
        sides = platelet.sides * diameter * rng.uniform(0.8, 1.5)
        width, height = (max(3, round(float(side) * _ROOM)) for side in sides)
        if width >= len(scene) or height >= len(scene):
            continue
        left, top = int(rng.integers(len(scene) - width)), int(rng.integers(len(scene) - height))
        around = np.array([left, top, left + width, top + height], dtype=np.float32)
        if any((np.minimum(around[2:], box[2:]) > np.maximum(around[:2], box[:2])).all() for box in white):
            continue
        added = cv2.resize(platelet.density, (width, height), interpolation=cv2.INTER_AREA)
        added = np.rot90(added, 2) if rng.random() < 0.5 else added
        density[top : top + height, left : left + width] += added * np.float32(rng.uniform(0.7, 1.3))
        middle = (around[:2] + around[2:]) / 2
        box = np.concatenate([middle - sides / 2, middle + sides / 2]).astype(np.float32)
        targets.add(_PLATELET, box, np.array([0, 0, len(scene), len(scene)], dtype=np.float32))
    return np.asarray(np.clip(256 * np.exp(-density) - 1, 0, 255).astype(np.uint8))
