"""Windows in and beyond a small image, for the tests of what is seen in them."""

import numpy as np
from hypothesis import strategies as st

from core.image.window import Window

SHAPE = (40, 60)
# Inside, beyond each side, on all sides at once; with fractional corners and sides.
WINDOWS = [
    Window(10, 5, 30),
    Window(-12.25, 5, 30.5),
    Window(40.4, 5.7, 33.3),
    Window(10, -9.5, 30),
    Window(10, 24.6, 31.7),
    Window(-7.5, -17.25, 75),
]
# Any that see some of the image: that is what cells in it give.
windows = st.builds(
    lambda x, y, side: Window(x - side / 2, y - side / 2, side), st.floats(0, 60), st.floats(0, 40), st.floats(12, 90)
)


def noise(shape=SHAPE):
    return np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)


def ramps(window, size):
    """Maps (2, size, size) holding the x and the y, in pixels of the image, of each of their own pixels' centres."""
    centres = (np.arange(size) + 0.5) * window.side / size
    y, x = np.meshgrid(window.top + centres, window.left + centres, indexing="ij")
    return np.stack([x, y]).astype(np.float32)


def pixel_centres(shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return x + 0.5, y + 0.5


def well_inside(window, size, shape=SHAPE):
    """Pixels between the centres of the map's outermost pixels, where interpolation is exact for a ramp."""
    x, y = pixel_centres(shape)
    margin = 0.5 * window.side / size + 1e-3
    low_x, low_y = window.left + margin, window.top + margin
    return (low_x < x) & (x < low_x + window.side - 2 * margin) & (low_y < y) & (y < low_y + window.side - 2 * margin)
