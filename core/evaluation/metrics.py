"""Overlap of two masks: count once, then each measure is a line of arithmetic."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import MaskError


@dataclass(frozen=True)
class Overlap:
    """Pixels in both masks, only in the prediction, only in the truth; measures are NaN when both masks are empty."""

    both: int
    predicted_only: int
    true_only: int

    @property
    def dice(self) -> float:
        """2 |A and B| / (|A| + |B|)."""
        total = 2 * self.both + self.predicted_only + self.true_only
        return 2 * self.both / total if total else float("nan")

    @property
    def iou(self) -> float:
        """|A and B| / |A or B|."""
        total = self.both + self.predicted_only + self.true_only
        return self.both / total if total else float("nan")


def overlap(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> Overlap:
    """Compare two boolean masks of equal shape; raises MaskError otherwise."""
    if predicted.shape != true.shape:
        msg = f"masks must have equal shapes, but are {predicted.shape} (predicted) and {true.shape} (true)"
        raise MaskError(msg)
    both = int(np.count_nonzero(predicted & true))
    return Overlap(both, int(np.count_nonzero(predicted)) - both, int(np.count_nonzero(true)) - both)
