"""Bars above a slider that show how the values are distributed; HTML, because it takes the slider's width."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_STEPS: Final = 200
_BARS: Final = 48


def round_step(width: float) -> float:
    """A round step of a slider, about a two-hundredth of its width."""
    power = 10.0 ** np.floor(np.log10(width / _STEPS))
    return float(power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - width / _STEPS)))


def bars_html(
    values: NDArray[np.float64], cells: NDArray[np.float64], ends: tuple[float, float], kept: tuple[float, float]
) -> str:
    """Bars from end to end; those of the kept part have the class `kept`.

    `values` are the quantiles below which so many `cells` lie, both ascending.
    """
    edges = np.linspace(*ends, _BARS + 1)
    heights = np.diff(np.interp(edges, values, cells))
    tallest = float(heights.max()) or 1.0
    middles = (edges[:-1] + edges[1:]) / 2
    bars = "".join(
        f'<i style="height:{100 * height / tallest:.0f}%"{" class=kept" if kept[0] <= middle <= kept[1] else ""}></i>'
        for height, middle in zip(heights, middles, strict=True)
    )
    return f'<div class="range-bars">{bars}</div>'
