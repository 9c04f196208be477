import math

import numpy as np
import pytest
from skimage.measure import regionprops

from core.features.shape import shape_2d


def disc(radius, side=200):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.hypot(y, x) <= radius


@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 7), (40, 25), (60, 60)])
def test_a_rectangle_has_the_values_of_geometry(height, width):
    mask = np.zeros((70, 80), dtype=bool)
    mask[5 : 5 + height, 9 : 9 + width] = True
    values = shape_2d(mask)
    long, short = max(height, width), min(height, width)
    # The outline runs through the middles between pixels and cuts each corner at 45 degrees: half a pixel from both
    # sides.
    perimeter, surface = 2 * (height + width) - 4 + 4 * math.sqrt(0.5), height * width - 0.5
    assert values == pytest.approx(
        {
            "PixelSurface": height * width,
            "MeshSurface": surface,
            "Perimeter": perimeter,
            "PerimeterSurfaceRatio": perimeter / surface,
            "Sphericity": 2 * math.sqrt(math.pi * surface) / perimeter,
            "MaximumDiameter": math.hypot(long, short - 1),
            "MajorAxisLength": 4 * math.sqrt((long**2 - 1) / 12),
            "MinorAxisLength": 4 * math.sqrt((short**2 - 1) / 12),
            "Elongation": math.sqrt((short**2 - 1) / (long**2 - 1)),
        },
        rel=1e-12,
    )


@pytest.mark.parametrize("radius", [20, 45, 90])
def test_a_disc_has_the_values_of_geometry_within_the_grid(radius):
    values = shape_2d(disc(radius))
    assert values["PixelSurface"] == pytest.approx(math.pi * radius**2, rel=0.01)
    assert values["MaximumDiameter"] == pytest.approx(2 * radius, abs=1)
    assert values["MajorAxisLength"] == pytest.approx(2 * radius, rel=0.01)
    assert values["Elongation"] == pytest.approx(1, abs=1e-12)
    # The pixel outline of a circle is a twentieth too long at any size, which the description of Sphericity states.
    assert values["Perimeter"] == pytest.approx(2 * math.pi * radius * 1.055, rel=0.01)
    assert values["Sphericity"] == pytest.approx(0.95, abs=0.01)


def test_the_outline_of_a_ring_has_two_edges():
    outer, inner = shape_2d(disc(60)), shape_2d(disc(40))
    ring = shape_2d(disc(60) & ~disc(40))
    assert ring["Perimeter"] == pytest.approx(outer["Perimeter"] + inner["Perimeter"], rel=1e-12)
    assert ring["PixelSurface"] == outer["PixelSurface"] - inner["PixelSurface"]
    assert ring["MaximumDiameter"] == outer["MaximumDiameter"]
    assert ring["MajorAxisLength"] > outer["MajorAxisLength"]


def test_axes_agree_with_another_library():
    y, x = np.mgrid[:90, :120]
    mask = ((x - 55 + 0.4 * (y - 45)) / 40) ** 2 + ((y - 45) / 22) ** 2 <= 1
    (theirs,) = regionprops(mask.astype(np.uint8))
    ours = shape_2d(mask)
    assert ours["MajorAxisLength"] == pytest.approx(theirs.axis_major_length, rel=1e-9)
    assert ours["MinorAxisLength"] == pytest.approx(theirs.axis_minor_length, rel=1e-9)
    assert ours["PixelSurface"] == theirs.area
