import time

import numpy as np
import pytest

from core.image.runs import decode_runs, encode_runs
from core.image.synthetic import draw_cell
from core.store.outline_log import without_ring


def test_a_drawn_cell_comes_back_to_the_pixel_in_a_kilobyte_or_two():
    labels = without_ring(draw_cell()[1])
    text = encode_runs(labels)
    assert (decode_runs(text, labels.shape) == labels).all()
    assert len(text) < 4000


@pytest.mark.parametrize("seed", range(20))
def test_any_outline_comes_back(seed):
    rng = np.random.default_rng(seed)
    blocks = rng.choice(np.array([0, 2, 3], np.uint8), size=rng.integers(1, 40, 2))
    labels = np.repeat(np.repeat(blocks, rng.integers(3, 30), 0), rng.integers(3, 30), 1)
    assert (decode_runs(encode_runs(labels), labels.shape) == labels).all()


def test_the_ring_is_left_out():
    labels = draw_cell()[1]
    assert (decode_runs(encode_runs(labels), labels.shape) == without_ring(labels)).all()


@pytest.mark.parametrize(
    "sent",
    [None, 7, "", "!", "AAAA", "gICAgICAgIAB", encode_runs(np.zeros((5, 5), np.uint8)), "A" * 30_000_000, b"A"],
    ids=["none", "number", "empty", "no base64", "short", "long number", "other size", "30 MB", "bytes"],
)
def test_r33_whatever_does_not_fit_is_none_at_once(sent):
    started = time.perf_counter()
    assert decode_runs(sent, (360, 360)) is None
    assert time.perf_counter() - started < 0.05


def test_r33_a_value_that_nobody_draws_is_none():
    import base64

    assert decode_runs(base64.b64encode(bytes([4 * 4 + 1])).decode(), (2, 2)) is None
