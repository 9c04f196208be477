"""Axes of features: where a value lies on one and back again, the axis's title, and its range."""

import math
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.charts.labels import unit
from core.features.catalogue import CATALOGUE
from core.populations.summaries import Basis

_ROOM: Final = 0.04

Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True)
class Axis:
    """One axis: its title with the unit, where it begins and ends, whether it is logarithmic."""

    title: str
    low: float
    high: float
    log: bool = False

    def along(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Place of values on the axis, 0 at its beginning and 1 at its end; nan for what has no logarithm."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        if self.log:
            values = np.log(np.where(values > 0, values, np.nan))
        return np.asarray((values - low) / (high - low))


def axis(title: str, values: NDArray[np.float64], *, log: bool = False) -> Axis:
    """Return an axis with a little room around all finite values; logarithmic if asked for and a value is positive."""
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    log = log and positive.size > 0
    if log:
        finite = np.log(positive)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = _ROOM * (high - low) or 0.5 * (abs(low) or 1.0)
    low, high = low - room, high + room
    return Axis(title, math.exp(low), math.exp(high), log=True) if log else Axis(title, low, high)


def title(feature: str, basis: Basis, *, log: bool = False) -> str:
    """Label of a feature with its unit; a logarithmic axis says what was added to the value."""
    spec = CATALOGUE[feature]
    added = f" + {spec.display_offset:g}" if log and spec.display_offset else ""
    return spec.label + added + (f" ({unit(spec, basis)})" if unit(spec, basis) else "")


def drawn(feature: str, value: Number, *, log: bool = False) -> Number:
    """Values in the basis of comparison as they stand on the feature's axis."""
    spec = CATALOGUE[feature]
    return value * spec.display_factor + (spec.display_offset if log else 0.0)


def measured(feature: str, value: Number, *, log: bool = False) -> Number:
    """Values on the feature's axis in the basis of comparison: the inverse of `drawn`."""
    spec = CATALOGUE[feature]
    return (value - (spec.display_offset if log else 0.0)) / spec.display_factor
