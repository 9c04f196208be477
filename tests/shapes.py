"""Regions drawn on the pixel grid, for the tests of what is measured on them."""

from itertools import product

import numpy as np


def polar(radius, shape=np.ones_like, centre=(0.0, 0.0)):
    """Region within radius * shape(angle) of the image's middle, moved by `centre`.

    With room for half as much again.
    """
    side = 3 * radius // 2
    y, x = np.mgrid[-side : side + 1, -side : side + 1]
    y, x = y - centre[0], x - centre[1]
    return np.hypot(y, x) <= radius * shape(np.arctan2(y, x))


def disc(row, column, radius, side=200):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - row, x - column) <= radius


def small_patterns():
    """Every pattern of nine pixels but the empty one, and some of thirty-six."""
    rng = np.random.default_rng(36)
    nine = [np.array(bits).reshape(3, 3) for bits in product((False, True), repeat=9)][1:]
    return nine + [rng.random((6, 6)) < share for share in rng.uniform(0.2, 0.9, 300)]
