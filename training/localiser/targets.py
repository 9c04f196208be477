"""What the network is to say of a scene: peaks of the kinds, log distances, and where nothing is asked of it."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.segmentation.localiser_card import STRIDE
from training.localiser.boxes import KINDS

# The standard deviation of a peak as a share of the diameter of what is seen of the object, and the least, in grid
# points.
_SPREAD: Final = 0.085
_LEAST_SPREAD: Final = 0.6
# Distances are learnt where the peak is at least so high.
_MEASURED: Final = 0.35
# Of an object cut by the scene's edge, at least so much must be seen; less is neither right nor wrong.
_SEEN: Final = 0.3
# Smaller objects are neither right nor wrong (pixels).
_SMALLEST: Final = 5.0


@dataclass
class Targets:
    """Of one scene: peaks and their weights (K, h, w), log distances (4, h, w) and their weights (h, w)."""

    side: int
    peaks: NDArray[np.float32] = field(init=False)
    weights: NDArray[np.float32] = field(init=False)
    distances: NDArray[np.float32] = field(init=False)
    measured: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with a scene in which nothing is."""
        points = self.side // STRIDE
        self.peaks = np.zeros((len(KINDS), points, points), np.float32)
        self.weights = np.ones_like(self.peaks)
        self.distances = np.zeros((4, points, points), np.float32)
        self.measured = np.zeros((points, points), np.float32)

    def ignore(self, kind: int, box: NDArray[np.float32]) -> None:
        """Ask nothing about a kind within a box of the scene, except where one has its peak."""
        rows, columns = self.points(box)
        part = self.weights[kind, rows, columns]
        part[self.peaks[kind, rows, columns] == 0] = 0

    def forbid(self, kind: int, box: NDArray[np.float32]) -> None:
        """Say that none of a kind is in the ellipse of a box."""
        rows, columns = self.points(box)
        y, x = np.mgrid[rows, columns] * STRIDE + STRIDE / 2
        middle, half = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, 1)
        inside = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2 < 1
        self.weights[kind, rows, columns][inside] = 1

    def add(self, kind: int, box: NDArray[np.float32], shown: NDArray[np.float32]) -> None:
        """An object of which only what lies in the box `shown` is seen; its peak is in the middle of that."""
        seen = np.concatenate([np.maximum(box[:2], shown[:2]), np.minimum(box[2:], shown[2:])])
        sides = seen[2:] - seen[:2]
        if (sides <= 1).any():
            return
        whole = np.maximum(box[2:] - box[:2], 1)
        if sides.prod() < _SEEN * whole.prod() or np.sqrt(whole.prod()) < _SMALLEST:
            self.ignore(kind, seen)
            return
        spread = np.maximum(_SPREAD * sides / STRIDE, _LEAST_SPREAD)
        points = np.arange(len(self.measured))
        middle = (seen[:2] + seen[2:]) / (2 * STRIDE) - 0.5
        # The peak lies on a grid point: that is where it will be looked for.
        middle = np.clip(np.rint(middle), 0, len(points) - 1)
        along_x, along_y = (
            np.exp(-0.5 * ((points - at) / width) ** 2) for at, width in zip(middle, spread, strict=True)
        )
        peak = np.outer(along_y, along_x).astype(np.float32)
        self.peaks[kind] = np.maximum(self.peaks[kind], peak)
        self.weights[kind][peak > 0.1] = 1
        self._measure(box, peak)

    def _measure(self, box: NDArray[np.float32], peak: NDArray[np.float32]) -> None:
        better = (peak >= _MEASURED) & (peak > self.measured)
        at = (np.arange(len(peak)) + 0.5) * STRIDE
        x, y = np.meshgrid(at, at)
        distances = np.stack([x - box[0], y - box[1], box[2] - x, box[3] - y])
        better &= (distances > 1).all(axis=0)
        self.distances[:, better] = np.log(distances[:, better])
        self.measured[better] = peak[better]

    def points(self, box: NDArray[np.float32]) -> tuple[slice, slice]:
        """The grid points in a box."""
        points = len(self.measured)
        low = np.clip(np.floor(box[:2] / STRIDE), 0, points).astype(int)
        high = np.maximum(np.clip(np.ceil(box[2:] / STRIDE), 0, points).astype(int), low)
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
