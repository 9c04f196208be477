import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as real
from scipy import ndimage

from core.exchange.pixel_shapes import pixel_polygons, run_lengths

# pycocotools has not learnt of numpy's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

REGIONS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@settings(deadline=None)
@given(REGIONS, st.integers(0, 3), st.integers(0, 3))
def test_run_lengths_are_those_of_pycocotools(region, top, left):
    if not region.any():
        return
    whole = np.zeros((region.shape[0] + top + 2, region.shape[1] + left), np.uint8)
    whole[top : top + region.shape[0], left:] = region
    wanted = real.encode(np.asfortranarray(whole))["counts"].decode()
    assert run_lengths(region, top, left, whole.shape) == wanted


@settings(deadline=None)
@given(REGIONS)
def test_polygons_fill_the_same_pixels_again_in_pycocotools(region):
    rings, holes = pixel_polygons(region)
    assert holes == bool((ndimage.binary_fill_holes(region, np.ones((3, 3))) & ~region).any())
    if holes or not region.any():
        return
    assert len(rings) == ndimage.label(region)[1]
    shape = region.shape
    encoded = real.frPyObjects([ring.ravel().tolist() for ring in rings], *shape)
    np.testing.assert_array_equal(real.decode(real.merge(encoded)).astype(bool), region)


@pytest.mark.parametrize("size", [1, 300])
def test_a_long_run_is_packed_as_pycocotools_packs_it(size):
    whole = np.zeros((400, 400), np.uint8)
    whole[3 : 3 + size, 7 : 7 + size] = 1
    wanted = real.encode(np.asfortranarray(whole))["counts"].decode()
    assert run_lengths(whole[3 : 3 + size, 7 : 7 + size].astype(bool), 3, 7, (400, 400)) == wanted
