import numpy as np
import pytest

from core.image.quantiles import BYTES, channel_counts, counted_median, counted_percentile, counts

PERCENTS = (0, 5, 10, 20, 25, 50, 75, 90, 99.5, 100)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counted_values_have_the_quantiles_of_numpy_to_the_last_bit(dtype):
    rng = np.random.default_rng(1)
    levels = np.sort(rng.normal(size=256)).astype(dtype)
    for size in (1, 2, 3, 10, 999, 50_000):
        for most in (1, 3, 256):
            values = rng.integers(0, most, size)
            occurrences = counts(values.astype(np.uint8))
            assert counted_median(occurrences, levels) == np.median(levels[values])
            for percent in PERCENTS:
                assert counted_percentile(occurrences, levels, percent) == np.percentile(levels[values], percent)
                assert counted_percentile(occurrences, BYTES, percent) == np.percentile(values, percent)


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_values_are_counted_channel_by_channel_within_the_region(share):
    rng = np.random.default_rng(2)
    rgb = rng.integers(0, 256, (50, 61, 3)).astype(np.uint8)[3:, ::2]
    where = rng.random((50, 61))[3:, ::2] < share
    expected = [np.bincount(rgb[..., channel][where], minlength=256) for channel in range(3)]
    assert np.array_equal(channel_counts(rgb, where, where)[1], expected)
